"""How a node is told its axes, once its operand has them in another order.

An order lists axes: axis k of what is turned is axis order[k] of what was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from onebyone.graph.axes import integers, rank
from onebyone.graph.edit import Spelling
from onebyone.graph.values import input_at

__all__ = ["Turned", "along_axis", "with_axes", "with_pads"]

Turned = Callable[[ir.Node, Sequence[int], int], Spelling | None]
"""Of a node, an order and the opset; None: the axes hang together, or are not known before."""


def along_axis(default: int, since: int = 1) -> Turned:
    """Of an operator with one axis, `default` if it is not named; in opsets from `since` on."""

    def told(node: ir.Node, order: Sequence[int], version: int) -> Spelling | None:
        if version < since or not rank(node):
            return None
        axis = node.attributes.get_int("axis", default) % rank(node)
        return {"axis": order.index(axis)}

    return told


def with_axes(index: int, default: bool) -> Turned:
    """Of an operator that lists axes, as operand `index` or attribute.

    Where it need not, and does not, it has all of them, if that is the `default`; else it stays.
    """

    def told(node: ir.Node, order: Sequence[int], _version: int) -> Spelling | None:
        axes = integers(node, index, "axes")
        if not rank(node) or not node.attributes.get_int("keepdims", 1):
            return None
        if axes:
            place = _place(node, index, "axes")
            return {place: [order.index(axis % rank(node)) for axis in axes]}
        # An empty list of axes, and one that is computed, is somebody's special case.
        if default and input_at(node, index) is None:
            return {}
        return None

    return told


def with_pads(node: ir.Node, order: Sequence[int], _version: int) -> Spelling | None:
    """Of padding: one number for each end of every axis."""
    pads = integers(node, 1, "pads")
    if pads is None or len(pads) != 2 * len(order):
        return None
    turned = [pads[axis + k] for k in (0, len(order)) for axis in order]
    return {_place(node, 1, "pads"): turned}


def _place(node: ir.Node, index: int, attribute: str) -> int | str:
    """Where a list stands: it is an operand, if there is one, or else an attribute."""
    if input_at(node, index) is None:
        return attribute
    return index
