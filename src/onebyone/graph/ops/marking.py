"""One-hot vectors: OneHot, and what says the same, a comparison with 0, 1, 2, …

    y[…, k, …] = on where k is the index at that position, off elsewhere,    k = 0 … depth − 1

An index of OneHot in −depth … −1 counts from the end; one outside marks nothing. A comparison marks
nothing for negative ones either. A row with an index that is no whole number is left alone: by the
standard it is cut to one, ONNX Runtime marks nothing for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onebyone.algebra.laws import refused
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.weights import Array
from onebyone.graph.axes import integers, permutation
from onebyone.graph.constants import constant, is_float
from onebyone.graph.ops.call import Call
from onebyone.graph.ops.ranges import integer_range
from onebyone.graph.ops.row import Effort, Operator, Rounding
from onebyone.graph.values import made_by, rank_of, shape_of, size

__all__ = ["ROWS", "OneHot", "marked_axis", "one_hot"]

_INDEX_TYPES = frozenset({
    ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64,
    ir.DataType.UINT8, ir.DataType.UINT16,
})  # fmt: skip

LARGE = 1 << 16
"""Numbers that are not stored twice to save an operator."""

_WHOLE = frozenset({*_INDEX_TYPES, ir.DataType.BOOL, ir.DataType.UINT32, ir.DataType.UINT64})

_NEGATIVE_FROM_THE_END = 11
_CUTS_INTEGERS = 12  # Clip


Pair = tuple[float, float]
"""What stands where nothing is marked, and where something is."""


@dataclass(frozen=True, eq=False)
class OneHot:
    """A value whose vectors along one axis are one-hot.

    Args:
        indices: integers, of the shape of the value without that axis.
        axis: the axis, not negative.
        depth: how long it is.
        off, on: what stands where the index does not point, and where it does.
        wraps: whether −depth … −1 count from the end.
        squeezed: where the indices have the axis, too, with one position; None if they do not.
        makers: the nodes that are not needed where nobody reads the value.
    """

    indices: ir.Value
    axis: int
    depth: int
    off: float
    on: float
    wraps: bool
    squeezed: int | None = None
    makers: tuple[ir.Node, ...] = ()

    @property
    def bounds(self) -> tuple[int, int]:
        """Which indices there may be; all outside of −depth − 1 … depth mark what these do."""
        least, largest = -1 - self.depth * self.wraps, self.depth
        found = integer_range(self.indices) or (least, largest)
        return min(max(found[0], least), largest), max(min(found[1], largest), least)

    @property
    def is_inside(self) -> bool:
        """Whether no index lies outside of `bounds`, whatever the model is given."""
        found, (least, largest) = integer_range(self.indices), self.bounds
        return found is not None and found[0] >= least and found[1] <= largest

    @property
    def has_other_type(self) -> bool:
        """Whether the indices are of a type that no gather takes."""
        return self.indices.dtype not in (ir.DataType.INT32, ir.DataType.INT64)

    def numbers(self, width: int) -> tuple[int, ...]:
        """The rows of a table that the indices stand for, 0 … the largest, then the least … −1.

        Empty where they are the rows themselves. In a large table, of so many columns, the rows
        for negative indices are not stored a second time.
        """
        least, largest = self.bounds
        if least >= 0 or not self.wraps or (-least) * width < LARGE:
            return ()
        listed = (*range(largest + 1), *range(least, 0))
        return tuple(k if 0 <= k < self.depth else self._from_the_end(k) for k in listed)

    def _from_the_end(self, index: int) -> int:
        """The row for an index that is negative or outside; that of the latter is the last one."""
        if -self.depth <= index < 0:
            return index + self.depth
        return self.depth

    def steps(self, width: int) -> int:
        """How many operators make row numbers of indices: a Cast, a Clip, a Squeeze, a Gather."""
        renumbered = bool(self.numbers(width))
        return self.has_other_type + (not self.is_inside) + (self.squeezed is not None) + renumbered

    def rows(self, width: int) -> int:
        """How many rows `table` has."""
        if self.numbers(width):
            return self.depth + 1
        least, largest = self.bounds
        return max(largest, -1) + 1 - min(least, 0)

    def table(self, weight: Array) -> Array:
        """What a linear map makes of the vectors, so that index i picks its row i.

        Args:
            weight: (C_out, depth).

        Returns:
            (rows, C_out): of 0 … the largest index, then of the least … −1; where there are
            `numbers` for these, of 0 … depth.

        >>> i = ir.val("i", ir.DataType.INT64, (3,))
        >>> OneHot(i, 1, 2, 0.0, 1.0, wraps=False).table(np.array([[5, 7]])).T.tolist()
        [[5.0, 7.0, 0.0, 0.0]]
        """
        least, largest = self.bounds
        listed = [*range(max(largest, -1) + 1), *range(min(least, 0), 0)]
        if self.numbers(len(weight)):
            listed = [*range(self.depth + 1)]
        # off·1 + (on − off) e_k, so that nothing as large as depth × depth is made.
        wide = weight.astype(np.float64)
        none = self.off * wide.sum(axis=1)
        return np.stack([self._row(k, wide, none) for k in listed])

    def _row(self, index: int, weight: Array, none: Array) -> Array:
        """(C_out,): what one index gives."""
        if index < 0 and self.wraps:
            index += self.depth
        if 0 <= index < self.depth:
            return np.asarray(none + (self.on - self.off) * weight[:, index])
        return none


def one_hot(value: ir.Value | None) -> OneHot | Refusal | None:
    """A floating value as one-hot vectors, by OneHot or a comparison, cast or chosen by it.

    None where it is nothing of the kind; a refusal where it is one that no table stands for.

    >>> i, d = ir.val("i", ir.DataType.INT64, (3,)), ir.val("d", const_value=ir.tensor([4]))
    >>> v = ir.val("v", const_value=ir.tensor([0.0, 1.0]))
    >>> y = ir.node("OneHot", [i, d, v]).outputs[0]
    >>> y.dtype, y.shape = ir.DataType.FLOAT, ir.Shape((3, 4))
    >>> found = one_hot(y)
    >>> found.axis, found.depth, found.on, found.bounds
    (1, 4, 1.0, (-5, 4))
    """
    if value is None or not is_float(value) or (rank := rank_of(value)) is None:
        return None
    # Which axis of what is marked each axis of the value is.
    order, casts, marked = list(range(rank)), [value.dtype], value
    while (node := made_by(marked, "Cast", "Transpose")) is not None:
        assert node.inputs[0] is not None
        marked = node.inputs[0]
        casts.append(marked.dtype)
        if node.op_type == "Transpose":
            turned = permutation(node) or ()
            order = [turned[k] for k in order]
    found = _marked(marked)
    if not isinstance(found, OneHot):
        return found
    if [k for k in order if k != found.axis] != [k for k in range(rank) if k != found.axis]:
        return None  # the indices would have to be turned, too
    values = _cast((found.off, found.on), casts[::-1])
    if values is None:
        return None
    if not found.is_inside and (version := _opset(value)) < _CUTS_INTEGERS:
        return refused("onehot", "old", version=f"opset {version}")
    off, on = values
    makers = tuple(_makers(value))
    return replace(found, axis=order.index(found.axis), off=off, on=on, makers=makers)


def _marked(value: ir.Value) -> OneHot | Refusal | None:
    """By the operator that marks, or by a choice between two numbers."""
    if (node := made_by(value, "OneHot")) is not None:
        return _of_operator(node)
    if (node := made_by(value, "Where")) is None:
        return _of_comparison(value, 0.0, 1.0)
    on, off = (constant(v) for v in node.inputs[1:3])
    if on is None or off is None or on.size != 1 or off.size != 1:
        return None
    if node.inputs[0] is None or shape_of(node.inputs[0]) != shape_of(value):
        return None
    return _of_comparison(node.inputs[0], float(off.item()), float(on.item()))


def _cast(values: Pair, types: Sequence[ir.DataType | None]) -> Pair | None:
    """Two numbers cast from type to type; None where that is more than to round them."""
    found = np.array(values)
    for dtype in types:
        if dtype is None or dtype == ir.DataType.STRING:
            return None
        last = found
        found = found.astype(dtype.numpy()).astype(np.float64)
        if not np.isfinite(found).all() or (dtype in _WHOLE and (found != last).any()):
            return None
    off, on = found
    return float(off), float(on)


def _opset(value: ir.Value) -> int:
    return _CUTS_INTEGERS if value.graph is None else value.graph.opset_imports.get("", 0)


def _makers(value: ir.Value) -> Iterator[ir.Node]:
    """The nodes that make one-hot vectors, as long as nobody reads anything else of them."""
    node = value.producer()
    while node is not None and len(value.uses()) == 1 and not value.is_graph_output():
        yield node
        if node.op_type in ("OneHot", "Equal") or node.inputs[0] is None:
            return
        value = node.inputs[0]
        node = value.producer()


def marked_axis(
    op_type: str, operands: Sequence[ir.Value | None], axis: int, rank: int
) -> tuple[int, int] | None:
    """Of a node that marks: which operand are the indices, and along which axis of its result.

    Args:
        op_type, operands: of the node.
        axis: its attribute, −1 where it has none.
        rank: of the result.

    >>> listed = ir.val("n", const_value=ir.tensor([0, 1, 2]))
    >>> marked_axis("Equal", [listed, ir.val("i", ir.DataType.INT64, (7, 1))], -1, 2)
    (1, 1)
    """
    if op_type == "OneHot":
        return 0, axis % rank
    if op_type != "Equal":
        return None
    for index in (0, 1):
        listed = constant(operands[1 - index])
        if listed is not None and (long := _numbered(listed, rank)) is not None:
            return index, long
    return None


def _numbered(listed: Array, rank: int) -> int | None:
    """The axis along which a constant, aligned to a rank, is 0, 1, 2, …, and one long elsewhere."""
    long = [k for k, n in enumerate(listed.shape, rank - listed.ndim) if n != 1]
    if len(long) != 1 or long[0] < 0:
        return None
    if listed.reshape(-1).tolist() != list(range(listed.size)):
        return None
    return long[0]


def _of_operator(node: ir.Node) -> OneHot | Refusal | None:
    indices, shape = node.inputs[0], shape_of(node.outputs[0])
    depth, values = constant(node.inputs[1]), constant(node.inputs[2])
    if indices is None or not shape:
        return None
    if depth is None or values is None:
        return refused("onehot", "late")
    if indices.dtype not in _INDEX_TYPES:
        return refused("onehot", "numbers", operator=node.op_type)
    axis, count = node.attributes.get_int("axis", -1) % len(shape), int(depth.reshape(-1)[0])
    if shape[axis] != count or values.size != 2 or values.dtype.kind not in "bif":
        return None
    off, on = (float(v) for v in values.reshape(-1))
    return OneHot(indices, axis, count, off, on, wraps=True)


def _of_comparison(value: ir.Value | None, off: float, on: float) -> OneHot | None:
    """Of i = [0, 1, 2, …], whichever comes first."""
    node, shape = made_by(value, "Equal"), shape_of(value)
    if node is None or not shape:
        return None
    found = marked_axis(node.op_type, node.inputs, -1, len(shape))
    if found is None:
        return None
    (at, axis), depth = found, size(value, found[1])
    indices = node.inputs[at]
    # Nothing else is broadcast, so that each index marks one vector.
    beside = [1 if k == axis else n for k, n in enumerate(shape)]
    if indices is None or indices.dtype not in _INDEX_TYPES or depth is None:
        return None
    if [*(shape_of(indices) or ())] != beside:
        return None
    added = made_by(indices, "Unsqueeze")
    # Without the axis, if that was made for the comparison.
    if added is not None and [k % len(shape) for k in integers(added, 1, "axes") or ()] == [axis]:
        assert added.inputs[0] is not None
        return OneHot(added.inputs[0], axis, depth, off, on, wraps=False)
    return OneHot(indices, axis, depth, off, on, wraps=False, squeezed=axis)


def _one_hot(call: Call, indices: Array, depth: Array, values: Array) -> Array | None:
    """The onnx package's own counts every index from the end, however far outside it lies."""
    if indices.dtype.kind not in "iu" or indices.dtype == np.uint64:
        return None
    if call.version < _NEGATIVE_FROM_THE_END:
        return None  # engines and the standard differ
    count, whole = int(np.ravel(depth)[0]), indices.astype(np.int64)
    whole = np.where(whole < 0, whole + count, whole)
    axis = call.get("axis", -1) % (whole.ndim + 1)
    numbers = np.arange(count).reshape(-1, *[1] * (whole.ndim - axis))
    marked = np.expand_dims(whole, axis) == numbers
    return np.asarray(np.where(marked, values[1], values[0]))


ROWS = (
    Operator("OneHot", value=_one_hot, rounding=Rounding.NEVER, effort=Effort.MOVES, grows=True,
             settings=(1, 2), names_positions=True),
)  # fmt: skip
