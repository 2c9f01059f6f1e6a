"""Averages by weights that are computed when the model runs: what attention does to positions.

    y = A v     A: (…, L_out, L_in), v: (…, L_in, C)     channels last
    y = v A     v: (…, C, L_in), A: (…, L_in, L_out)     channels first

Such a product is a space map whatever A holds. Only of a Softmax along L_in is it known that no
weight is negative and that those of each result sum to one: then it is an average, as a pool is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onebyone.algebra.laws import refused
from onebyone.algebra.refusal import Refusal
from onebyone.graph.constants import is_float
from onebyone.graph.ops import Role, operator_of, role
from onebyone.graph.values import maker, rank_of
from onebyone.graph.views import view_axis

__all__ = ["Average", "average", "average_axis", "sums_to_one"]


@dataclass(frozen=True)
class Average:
    """A node that averages positions of a value, alike in every channel.

    Args:
        operand: the value.
        axis, along: its axes of the channels and of the positions that are averaged.
        slot: the input that it is.
        weights: what they are weighed by.
    """

    operand: ir.Value
    axis: int
    along: int
    slot: int
    weights: ir.Value


def average(node: ir.Node, axis: int) -> Average | Refusal | None:
    """Read `node` as an average of positions, with channels on `axis` of its result.

    >>> s, v = (ir.val(name, ir.DataType.FLOAT, (2, 5, 5)) for name in "sv")
    >>> weights = ir.node("Softmax", [s], {"axis": 2}).outputs[0]
    >>> weights.shape, weights.dtype = s.shape, s.dtype
    >>> product = ir.node("MatMul", [weights, v])
    >>> product.outputs[0].dtype = ir.DataType.FLOAT
    >>> average(product, 2).operand is v, average(product, 1) is None
    (True, False)
    """
    reader = operator_of(node).weighed
    if reader is None or not is_float(node.outputs[0]):
        return None
    found = reader(node, axis)
    if found is None:
        return None
    operand, weights = node.inputs[found.slot], node.inputs[found.weights]
    if operand is None or weights is None or operand is weights:
        return None
    if not sums_to_one(weights, found.summed):
        return refused("commute", "weighed", operator=node.op_type)
    return Average(operand, found.axis, found.along, found.slot, weights)


def average_axis(node: ir.Node, axes: Mapping[ir.Value, int]) -> int | None:
    """On which axis of an average the channels of its operand stand; `axes`: those of values."""
    rank = rank_of(node.outputs[0]) or 0
    for axis in (rank - 1, rank - 2):
        found = average(node, axis)
        if isinstance(found, Average) and axes.get(found.operand) == found.axis:
            return axis
    return None


def sums_to_one(value: ir.Value, axis: int) -> bool:
    """Whether a Softmax made a value, along `axis`, with nothing but views since.

    >>> s = ir.val("s", ir.DataType.FLOAT, (2, 3, 5))
    >>> weights = ir.node("Softmax", [s], {"axis": 2}).outputs[0]
    >>> weights.shape = s.shape
    >>> sums_to_one(weights, 2), sums_to_one(weights, 1), sums_to_one(s, 2)
    (True, False, False)
    """
    node = maker(value)
    if node is None or rank_of(value) is None:
        return False
    if operator_of(node).shares:
        return _axes_mixed(node) == {axis}
    before = _axis_before(node, axis)
    operand = node.inputs[0] if node.inputs else None
    return before is not None and operand is not None and sums_to_one(operand, before)


def _axes_mixed(node: ir.Node) -> set[int]:
    mixes, graph = operator_of(node).mixes, node.graph
    # Where no graph tells the opset, the one under which a node mixes the most.
    version = 0 if graph is None else graph.opset_imports.get("", 0)
    return set() if mixes is None else set(mixes(node, version))


def _axis_before(node: ir.Node, axis: int) -> int | None:
    """The axis of its operand that stands, whole, as this one of what moves or hands it on."""
    part, unchanged = role(node), operator_of(node).unchanged
    if part is Role.IDENTITY and unchanged is not None and unchanged(node) == 0:
        return axis
    return view_axis(node, axis) if part is Role.VIEW else None
