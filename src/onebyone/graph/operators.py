"""The names under which the laws on positions still read the roles of operators."""

from onebyone.graph.ops import Role, role
from onebyone.graph.ops.conversion import is_of_int8_codes

__all__ = ["Role", "is_of_int8_codes", "role"]
