"""Nodes that take some positions of their operand: Slice, Gather, one piece of a Split, a crop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onebyone.algebra.selection import Pad, Select, Slice
from onebyone.graph.axes import Spatial, integers
from onebyone.graph.spatial import spatial
from onebyone.optimize.positions.picks import MAX_JOINED, Order, Picks, picked

__all__ = ["Selector", "selector"]


@dataclass(frozen=True, eq=False)
class Selector:
    """What a node takes of its first operand.

    Args:
        result: the output that is read.
        orders: axis of the operand -> the positions that are taken; of all other axes, all.
        dropped: the axis that the result no longer has (a Gather of one position).
    """

    result: ir.Value
    orders: Mapping[int, Order]
    dropped: int | None = None

    def axis_after(self, axis: int) -> int | None:
        """Where an axis of the operand stands in the result; None where it is dropped."""
        if self.dropped is None or axis < self.dropped:
            return axis
        return None if axis == self.dropped else axis - 1

    def axis_before(self, axis: int) -> int:
        """Which axis of the operand stands at `axis` of the result."""
        return axis if self.dropped is None or axis < self.dropped else axis + 1


def selector(node: ir.Node) -> Selector | None:
    """Read a node as a selector; None where it is none, or takes what is known only at run time.

    >>> import numpy as np
    >>> x = ir.val("x", ir.DataType.FLOAT, (2, 7, 3))
    >>> index = ir.val("i", const_value=ir.tensor(np.array(-1)))
    >>> taken = selector(ir.node("Gather", [x, index], {"axis": 1}))
    >>> taken.orders, taken.dropped
    ({1: (6,)}, 1)
    """
    if node.domain != "" or not node.inputs or node.inputs[0] is None:
        return None
    if node.op_type == "Split":
        return _piece(node)
    found = spatial(node) if node.op_type in ("Slice", "Gather", "Pad") else None
    if not isinstance(found, Spatial) or not found.maps or found.runtime:
        return None
    shape = node.inputs[0].shape
    assert shape is not None
    orders = {axis: _order(axis_map, shape[axis]) for axis, axis_map in found.maps.items()}
    if any(order is None for order in orders.values()):
        return None
    taken = {
        axis: order
        for axis, order in orders.items()
        if order is not None and (order != _all(shape[axis]) or axis in found.vanished)
    }
    return Selector(node.outputs[0], taken, *found.vanished)


def _all(size: int | ir.SymbolicDim) -> range | None:
    return range(size) if isinstance(size, int) else None


def _order(axis_map: object, size: int | ir.SymbolicDim) -> Order | None:
    """The positions that a map of one axis copies; None where it does more than that."""
    if not isinstance(axis_map, Slice | Select | Pad) or not axis_map.is_selection:
        return None
    if isinstance(axis_map, Pad) and max(axis_map.before, axis_map.after) > 0:
        return None
    return _counted(axis_map, size) if isinstance(size, int) else _free(axis_map)


def _counted(axis_map: Slice | Select | Pad, size: int) -> Order | None:
    """Of an axis of known size, which may be too large to list its positions."""
    if isinstance(axis_map, Slice):
        cut = slice(axis_map.start, axis_map.stop, axis_map.step)
        return range(*cut.indices(size)) or None
    if isinstance(axis_map, Pad):
        return range(-axis_map.before, size + axis_map.after) or None
    listed = axis_map.indices
    if len(listed) > MAX_JOINED or any(not -size <= k < size for k in listed):
        return None
    return tuple(k % size for k in axis_map.indices) or None


def _free(axis_map: Slice | Select | Pad) -> Order | None:
    """On an axis of any size: what one slice says, as long as the model can run at all."""
    if isinstance(axis_map, Slice):
        return axis_map if axis_map.step > 0 else None
    if isinstance(axis_map, Pad):
        return Slice(-axis_map.before, axis_map.after or None)
    if len(axis_map.indices) > 1:
        return None
    (index,) = axis_map.indices
    return Slice(index, index + 1 or None)


def _piece(node: ir.Node) -> Selector | None:
    """A Split of which one piece is read."""
    x = node.inputs[0]
    read = [k for k, v in enumerate(node.outputs) if v.uses() or v.is_graph_output()]
    if x is None or x.shape is None or len(read) != 1:
        return None
    axis = node.attributes.get_int("axis", 0) % x.shape.rank()
    sizes = _pieces(node, x.shape[axis])
    if sizes is None:
        return None
    start = sum(sizes[: read[0]])
    taken = range(start, start + sizes[read[0]])
    return Selector(node.outputs[read[0]], {axis: taken}) if taken else None


def _pieces(node: ir.Node, size: int | ir.SymbolicDim) -> list[int] | None:
    if not isinstance(size, int):
        return None
    told = integers(node, 1, "split")
    if told is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        return None
    each = -(-size // len(node.outputs))  # the last piece is what is left
    sizes = told or [min(each, size - each * k) for k in range(len(node.outputs))]
    return sizes if sum(sizes) == size and min(sizes) >= 0 else None


def picks_of(
    order: Order, whole: int | ir.SymbolicDim, taken: int | ir.SymbolicDim
) -> Picks | None:
    """The set of the positions that a selector takes; None for all of them.

    Args:
        order: what it takes.
        whole: the size of the operand's axis.
        taken: how many, as the shape of the result tells.
    """
    if not isinstance(order, Slice):
        assert isinstance(whole, int)
        return picked(order, whole)
    return Picks(order, None, taken)
