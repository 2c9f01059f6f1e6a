"""Nodes that take some positions of their operand: slices, gathers, crops, pieces, and strides.

    K_s x = K S_s x        K_s: a convolution or pool that sees one position at a time, of stride s

So a 1×1 of stride s is a selection of every s-th position, and the same 1×1 without a stride.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onebyone.algebra.selection import Pad, Select, Slice
from onebyone.graph.axes import Spatial, integers
from onebyone.graph.spatial import spatial
from onebyone.graph.values import are_read, input_at
from onebyone.optimize.positions.picks import MAX_JOINED, Order, Size
from onebyone.optimize.positions.windows import WINDOWS, windows_of

__all__ = ["Selector", "selector"]


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


def selector(node: ir.Node) -> Selector | None:
    """Read a node as a selector; None where it is none, or takes what is known only at run time.

    >>> import numpy as np
    >>> x = ir.val("x", ir.DataType.FLOAT, (2, 7, 3))
    >>> index = ir.val("i", const_value=ir.tensor(np.array(-1)))
    >>> taken = selector(ir.node("Gather", [x, index], {"axis": 1}))
    >>> taken.orders, taken.dropped
    ({1: (6,)}, 1)
    """
    reader, x = _READERS.get(node.op_type), input_at(node, 0)
    if reader is None or node.domain != "" or x is None or x.shape is None:
        return None
    return reader(node, x.shape)


def _mapped(node: ir.Node, shape: ir.Shape) -> Selector | None:
    """A Slice, a Gather, or a Pad by less than nothing."""
    found = spatial(node)
    if not isinstance(found, Spatial) or not found.maps or found.runtime:
        return None
    orders = {axis: _order(axis_map, shape[axis]) for axis, axis_map in found.maps.items()}
    known = {axis: order for axis, order in orders.items() if order is not None}
    if len(known) < len(orders):
        return None
    taken = {
        axis: order
        for axis, order in known.items()
        if axis in found.vanished or order != _every(1, shape[axis])
    }
    return Selector(node.outputs[0], taken, next(iter(found.vanished), None))


def _every(step: int, size: Size) -> Order:
    """Every so many-th position from the first on."""
    if isinstance(size, int):
        return range(0, size, step)
    return Slice(0, None, step)


def _order(axis_map: object, size: Size) -> Order | None:
    """The positions that a map of one axis copies; None where it does more than that."""
    if not isinstance(axis_map, Slice | Select | Pad) or not axis_map.is_selection:
        return None
    if isinstance(axis_map, Pad) and max(axis_map.before, axis_map.after) > 0:
        return None
    if isinstance(size, int):
        return _counted(axis_map, size)
    return _free(axis_map)


def _counted(axis_map: Slice | Select | Pad, size: int) -> Order | None:
    """Of an axis of known size, which may be too large to list its positions."""
    if isinstance(axis_map, Slice):
        cut = slice(axis_map.start, axis_map.stop, axis_map.step)
        return range(*cut.indices(size)) or None
    if isinstance(axis_map, Pad):  # by less than nothing, which cuts off
        return range(-axis_map.before, size + axis_map.after) or None
    listed = axis_map.indices
    if len(listed) > MAX_JOINED or any(not -size <= k < size for k in listed):
        return None
    return tuple(k % size for k in listed) or None


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


def _strided(node: ir.Node, shape: ir.Shape) -> Selector | None:
    """A convolution or pool, along the axes where its stride skips what no window sees."""
    windows = windows_of(node)
    skipping = {k: w.stride for k, w in windows.items() if w.is_single and w.stride > 1}
    if not skipping or are_read(node.outputs[1:]):
        return None
    orders = {axis: _every(stride, shape[axis]) for axis, stride in skipping.items()}
    # The average and the maximum of one position are that position.
    pools = node.op_type in ("AveragePool", "MaxPool")
    copies = pools and all(window.is_single for window in windows.values())
    return Selector(node.outputs[0], orders, copies=copies)


def _piece(node: ir.Node, shape: ir.Shape) -> Selector | None:
    """A Split of which one piece is read."""
    # Of two pieces that are read, each leaves what the other takes: nothing is skipped.
    read = [k for k, value in enumerate(node.outputs) if are_read([value])]
    axis = node.attributes.get_int("axis", 0) % shape.rank()
    sizes = _pieces(node, shape[axis])
    if sizes is None or len(read) != 1:
        return None
    start = sum(sizes[: read[0]])
    taken = range(start, start + sizes[read[0]])
    if not taken:
        return None
    return Selector(node.outputs[read[0]], {axis: taken})


def _pieces(node: ir.Node, size: Size) -> list[int] | None:
    if not isinstance(size, int):
        return None
    told = integers(node, 1, "split")
    # Sizes that are computed when the model runs.
    if told is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        return None
    # Without sizes the pieces are equal, rounded up.
    each = -(-size // len(node.outputs))  # the last piece is what is left
    sizes = told or [min(each, size - each * k) for k in range(len(node.outputs))]
    if sum(sizes) != size or min(sizes) < 0:
        return None
    return sizes


_READERS: dict[str, Callable[[ir.Node, ir.Shape], Selector | None]] = {
    **dict.fromkeys(("Gather", "Pad", "Slice"), _mapped),
    **dict.fromkeys(WINDOWS, _strided),
    "Split": _piece,
}
