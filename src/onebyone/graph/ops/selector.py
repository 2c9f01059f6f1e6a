"""Nodes that take some positions of their operand: slices, gathers, crops, pieces, and strides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.algebra.refusal import Refusal
from onebyone.algebra.selection import Beside, Gathered, Pad, Select, Slice, SourceMap
from onebyone.algebra.weights import Array
from onebyone.graph.axes import Spatial
from onebyone.graph.constants import is_float
from onebyone.graph.ops.needs import Needs, of_first
from onebyone.graph.picks import MAX_JOINED, Late, Order, Picks, Size
from onebyone.graph.values import shape_of, size

__all__ = ["Selector", "by_indices", "every", "picked", "selects"]


@dataclass(frozen=True, eq=False)
class Selector:
    """What a node takes of its first operand.

    Args:
        result: the output that is read.
        orders: axis of the operand -> the positions that are taken; of all other axes, all.
        dropped: the axis that the result no longer has (a Gather of one position).
        copies: whether to take them is all that it does; a convolution computes with them.
    """

    result: ir.Value
    orders: Mapping[int, Order]
    dropped: int | None = None
    copies: bool = True

    def axis_after(self, axis: int) -> int | None:
        """Where an axis of the operand stands in the result; None where it is dropped."""
        if axis == self.dropped:
            return None
        return axis - (self.dropped is not None and axis > self.dropped)

    def axis_before(self, axis: int) -> int:
        """Which axis of the operand stands at `axis` of the result."""
        return axis + (self.dropped is not None and axis >= self.dropped)


def every(step: int, length: Size) -> Order:
    """Every so many-th position from the first on."""
    if isinstance(length, int):
        return range(0, length, step)
    return Slice(0, None, step)


def selects(space: Callable[[ir.Node], Spatial | Refusal]) -> dict[str, Any]:
    """The fields of a row that follow from its map of positions, where that selects."""

    def takes(node: ir.Node, shape: ir.Shape) -> Selector | None:
        if not is_float(node.inputs[0]):
            return None
        return _selector(node, shape, space(node))

    def needs(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
        """Along the axes of which it takes all."""
        x = node.inputs[0]
        found = None if x is None or x.shape is None else takes(node, x.shape)
        if found is None or found.axis_before(axis) in found.orders:
            return None
        return of_first(node, found.axis_before(axis), axis, picks)

    return {"space": space, "takes": takes, "needs": needs}


def picked(node: ir.Node, found: Spatial | Refusal | None) -> tuple[int, Array] | None:
    """The one axis along which a node selects, and what it picks there of its operand.

    None where the axis vanishes, or the sizes or the choice are not known.
    """
    if not isinstance(found, Spatial) or found.vanished or found.runtime or len(found.maps) != 1:
        return None
    ((axis, choice),) = found.maps.items()
    before, after = size(node.inputs[0], axis), size(node.outputs[0], axis)
    if before is None or after is None or not isinstance(choice, SourceMap):
        return None
    return axis, np.asarray(choice.sources(before, after))


def _selector(node: ir.Node, shape: ir.Shape, found: Spatial | Refusal) -> Selector | None:
    if not isinstance(found, Spatial) or not found.maps:
        return None
    if found.runtime:
        return by_indices(node, shape, found)
    orders = {axis: _order(axis_map, shape[axis]) for axis, axis_map in found.maps.items()}
    known = {axis: order for axis, order in orders.items() if order is not None}
    if len(known) < len(orders):
        return None
    taken = {
        axis: order
        for axis, order in known.items()
        if axis in found.vanished or order != every(1, shape[axis])
    }
    return Selector(node.outputs[0], taken, next(iter(found.vanished), None))


def by_indices(node: ir.Node, shape: ir.Shape, found: Spatial | Refusal) -> Selector | None:
    """What a node picks of one axis by indices that are known only when the model runs."""
    out = node.outputs[0].shape
    if not isinstance(found, Spatial) or out is None or found.added or found.vanished:
        return None
    # Where there is one position, there are no others with picks of their own.
    beside = [k for k, each in found.maps.items() if isinstance(each, Beside) and shape[k] != 1]
    axes = [k for k, each in found.maps.items() if isinstance(each, Gathered)]
    (indices,), (axis, *more) = found.runtime, axes
    length, batch = out[axis], len(beside)
    others = [k for k in range(len(shape)) if k != axis]
    if more or not isinstance(length, int) or any(shape[k] != out[k] for k in others):
        return None
    # The picks of each batch are along the axis behind it.
    if batch and beside != list(range(axis)):
        return None
    order = Late(indices, batch, length)
    return Selector(node.outputs[0], {axis: order}) if _holds(indices, order) else None


def _holds(indices: ir.Value, order: Late) -> bool:
    """Whether indices have as many numbers as are picked, for each of the batch."""
    sizes = shape_of(indices) or ()
    return [n for n in sizes[order.batch :] if n != 1] in ([order.size], [])


def _order(axis_map: object, length: Size) -> Order | None:
    """The positions that a map of one axis copies; None where it does more than that."""
    if not isinstance(axis_map, Slice | Select | Pad) or not axis_map.is_selection:
        return None
    if isinstance(axis_map, Pad) and max(axis_map.before, axis_map.after) > 0:
        return None
    if isinstance(length, int):
        return _counted(axis_map, length)
    return _free(axis_map)


def _counted(axis_map: Slice | Select | Pad, length: int) -> Order | None:
    """Of an axis of known size, which may be too large to list its positions."""
    if isinstance(axis_map, Slice):
        cut = slice(axis_map.start, axis_map.stop, axis_map.step)
        return range(*cut.indices(length)) or None
    if isinstance(axis_map, Pad):  # by less than nothing, which cuts off
        return range(-axis_map.before, length + axis_map.after) or None
    listed = axis_map.indices
    if len(listed) > MAX_JOINED or any(not -length <= k < length for k in listed):
        return None
    return tuple(k % length for k in listed) or None


def _free(axis_map: Slice | Select | Pad) -> Order | None:
    """On an axis of any size: what one slice says, as long as the model can run at all."""
    if isinstance(axis_map, Pad):
        return Slice(-axis_map.before, axis_map.after or None)
    if isinstance(axis_map, Slice) and axis_map.step > 0:
        return axis_map
    if isinstance(axis_map, Slice) or len(axis_map.indices) > 1:
        return None
    # The last position is -1:, since -1:0 would be nothing.
    (index,) = axis_map.indices
    return Slice(index, index + 1 or None)
