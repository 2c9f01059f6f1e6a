"""The laws that look beyond one linear region, each a pass over the whole graph.

Regions are planned by `search`; these passes move strides, drop or reorder channels and factor
maps where the regions have nothing left to gain, so each finds products as they will be. Which they
are, and where, says the row of each law (`algebra/laws.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pkgutil import resolve_name

import onnx_ir as ir

from onebyone.algebra.laws import LAWS
from onebyone.algebra.refusal import Refusal
from onebyone.optimize.rewritten import Rewrite, Task

__all__ = ["FIRST", "NEAR_MISSES", "PASSES", "Pass"]

Pass = tuple[str, Callable[[Task], Iterator[Rewrite]]]
"""A law, and the function that carries it out, in place, telling what it did."""

# The optimizer goes from the last row to the first.
_ROWS = tuple(reversed(LAWS.values()))

PASSES: tuple[Pass, ...] = tuple(
    (law.name, resolve_name(f"{__package__}.{law.realised}")) for law in _ROWS if law.realised
)
"""Run in this order, each where all before it have nothing left to do."""

FIRST: tuple[Pass, ...] = tuple(row for row in PASSES if LAWS[row[0]].first)
"""Run once, before the regions."""

NearMisses = Callable[[Task], Iterator[tuple[ir.Node, Refusal]]]
"""Of a graph as it is in the end."""

NEAR_MISSES: tuple[tuple[str, NearMisses], ...] = tuple(
    (law.name, resolve_name(f"{__package__}.{law.near_misses}")) for law in _ROWS if law.near_misses
)
"""A law, and the function that reads off a graph at which nodes it was refused, and why."""
