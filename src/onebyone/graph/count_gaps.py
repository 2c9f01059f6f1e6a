"""What a count leaves out, and why: nothing that computes goes unmentioned."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from onebyone.counting.gaps import ARITHMETIC, CONSTANT, INTEGER, NO_FORMULA, Uncounted, grouped
from onebyone.graph.count_formulas import PRODUCTS
from onebyone.graph.count_walk import FREE_VIEWS, Walk, name_of, tensors, traffic
from onebyone.graph.count_weights import holds_graph, operator

__all__ = ["uncounted"]

_MOVING = """
    BitCast Cast CastLike CenterCropPad Compress Concat ConcatFromSequence Constant ConstantOfShape
    DepthToSpace Expand EyeLike Gather GatherElements GatherND OneHot Optional OptionalGetElement
    OptionalHasElement Pad ReverseSequence Scatter ScatterElements ScatterND SequenceAt
    SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength Slice SpaceToDepth
    Split SplitToSequence TensorScatter Tile Transpose Trilu Where
"""
_MOVES = FREE_VIEWS | set(_MOVING.split())
_UNKNOWN = (
    "has multiply-accumulates, but the shape of an operand or of the result is unknown, or is none "
    "that it can have"
)
_NO_FORMULA = {"AffineGrid", "DFT", "Det", "LinearAttention", "STFT"}


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
    if node.op_type in PRODUCTS:
        return _UNKNOWN
    if node.op_type in _NO_FORMULA:
        return NO_FORMULA
    return None if _moves(node) else _elementary(node, walk)


def _elementary(node: ir.Node, walk: Walk) -> str:
    if walk.fixed(node):
        return CONSTANT
    if all(map(_is_integer, tensors(node))):
        return INTEGER
    return ARITHMETIC


def _moves(node: ir.Node) -> bool:
    """Whether the operator only copies, selects or converts numbers."""
    if node.op_type in ("Resize", "Upsample"):
        return node.attributes.get_string("mode", "nearest") == "nearest"
    return node.op_type in _MOVES and node.attributes.get_string("reduction", "none") == "none"


def _is_integer(value: ir.Value) -> bool:
    return value.dtype is not None and (value.dtype.is_integer() or value.dtype == ir.DataType.BOOL)
