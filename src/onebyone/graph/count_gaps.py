"""What a count leaves out, and why: nothing that computes goes unmentioned."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from onebyone.counting.gaps import ARITHMETIC, CONSTANT, INTEGER, NO_FORMULA, Uncounted, grouped
from onebyone.graph.count_walk import Walk, name_of, tensors, traffic
from onebyone.graph.count_weights import holds_graph, operator
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.row import Effort

__all__ = ["uncounted"]

_UNKNOWN = (
    "has multiply-accumulates, but the shape of an operand or of the result is unknown, or is none "
    "that it can have"
)


def uncounted(nodes: Collection[ir.Node], walk: Walk) -> tuple[Uncounted, ...]:
    """What the figures leave out of `nodes`, which have no MACs that were counted.

    One row for each operator and reason, the most frequent first.
    """
    rows = [(node, reason) for node in nodes if (reason := _arithmetic(node, walk))]
    found = [*rows, *_unknown_bytes(walk)]
    return grouped((operator(node), reason, name_of(node)) for node, reason in found)


def _unknown_bytes(walk: Walk) -> list[tuple[ir.Node, str]]:
    reason = "its bytes are not counted: the shape or type of an operand or result is unknown"
    return [(node, reason) for node in walk.graph if traffic(node, walk) is None]


def _arithmetic(node: ir.Node, walk: Walk) -> str | None:
    """Why what a node computes is not counted; None if it computes nothing."""
    if any(map(holds_graph, node.attributes.values())):
        return "its subgraphs are not entered: nothing in them is counted, parameters neither"
    if node.domain:
        return "operator of another domain: what it computes is not known"
    row = operator_of(node)
    if row.work is not None:
        return _UNKNOWN
    effort = row.effort(node) if callable(row.effort) else row.effort
    if effort is Effort.PRODUCTS:
        return NO_FORMULA
    return _elementary(node, walk) if effort is Effort.COMPUTES else None


def _elementary(node: ir.Node, walk: Walk) -> str:
    if walk.fixed(node):
        return CONSTANT
    if all(map(_is_integer, tensors(node))):
        return INTEGER
    return ARITHMETIC


def _is_integer(value: ir.Value) -> bool:
    return value.dtype is not None and (value.dtype.is_integer() or value.dtype == ir.DataType.BOOL)
