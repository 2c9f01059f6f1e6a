"""Editing a graph for a crop: nodes get fewer positions, and what read them is made to fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import copysign
from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.algebra.selection import Slice
from onebyone.graph.constants import constant
from onebyone.graph.edit import CUT, Edit
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.selector import Selector
from onebyone.graph.picks import (
    Asked,
    Late,
    Order,
    Size,
    even,
    sizes_left,
    step_of,
    within,
)
from onebyone.graph.shape_reads import ShapeReads, entries_used
from onebyone.graph.values import rank_of

__all__ = ["CropEdit", "Key", "key", "selecting"]

Key = tuple[tuple[int, object], ...]

_FAR = 2**31 - 1
_RANKS_OF_POOLS = (3, 4, 5)


def key(asked: Asked) -> Key:
    """What is asked of a value, to look up whether that was selected of it already."""
    return tuple(sorted(asked.items(), key=lambda item: item[0]))


@dataclass(eq=False)
class CropEdit:
    """Changes a graph in place, readers before what they read, so that shapes are the old ones.

    Args:
        edit: of the graph.
        cut: what was selected already, so that equal selections are made once.
        indices: by which that was done, in the shapes that they are read in.
    """

    edit: Edit
    cut: dict[tuple[ir.Value, Key], ir.Value] = field(default_factory=dict)
    indices: dict[tuple[ir.Value, tuple[int, ...]], ir.Value] = field(default_factory=dict)

    def read_elsewhere(self, node: ir.Node, axes: set[int], reads: ShapeReads) -> None:
        """Let a Shape whose operand loses positions along `axes` read sizes that stay."""
        x = node.inputs[0]
        if x is None or x.shape is None or not entries_used(node, x.shape.rank()) & axes:
            return
        self.edit.replace(node.outputs[0], reads.rebuild(node, self.edit))

    # Nodes that compute less -------------------------------------------------------------------

    def rewrite(self, node: ir.Node, results: Asked, operands: Mapping[int, Asked]) -> None:
        """Let a node compute `results` from these parts of its operands."""
        spelled = operator_of(node).spelled
        if spelled is not None:
            self.edit.spell(node, spelled(node, results, operands))
        for value in node.outputs:
            if value.shape is not None:
                value.shape = ir.Shape(sizes_left(value.shape, results))

    def stride(self, node: ir.Node, axis: int, stride: int) -> None:
        """Let the windows of a convolution or pool move by another stride."""
        x = node.inputs[0]
        assert x is not None
        assert x.shape is not None
        strides = list(node.attributes.get_ints("strides", (1,) * (x.shape.rank() - 2)))
        strides[axis - 2] = stride
        node.attributes["strides"] = ir.AttrInt64s("strides", strides)

    # Selections --------------------------------------------------------------------------------

    def select(self, node: ir.Node, index: int, asked: Asked, have: Asked) -> None:
        """Let a node read only what is `asked` of an operand, of which it will `have` a part."""
        x = node.inputs[index]
        if x is None or not asked:
            return
        what = x, key(asked)
        if what not in self.cut:
            late = any(isinstance(picks.taken, Late) for picks in asked.values())
            take = self._narrowed if late or constant(x) is None else self._part
            self.cut[what] = take(x, asked, have)
        node.replace_input_with(index, self.cut[what])

    def _part(self, x: ir.Value, asked: Asked, _have: Asked) -> ir.Value:
        """Positions of a constant."""
        array = constant(x)
        assert array is not None
        for axis, picks in asked.items():
            # The sizes of a constant are known.
            assert not isinstance(picks.taken, Slice | Late)
            array = np.take(array, list(picks.taken), axis)
        return self.edit.constant_like(x, array, "taken")

    def _narrowed(self, x: ir.Value, asked: Asked, have: Asked) -> ir.Value:
        orders = {axis: within(picks.taken, have.get(axis)) for axis, picks in asked.items()}
        sizes = {axis: picks.size for axis, picks in asked.items()}
        maker, place = x.producer(), {"before": self.edit.graph[0]}
        if maker is not None:  # any of the readers may come first
            place = {"after": maker}
        return self._selected(x, have, orders, sizes, place)

    def reselect(
        self, node: ir.Node, found: Selector, orders: Mapping[int, Order | None], have: Asked
    ) -> None:
        """Let a selector take these positions of what there will be; None: all of them."""
        x, result = node.inputs[0], found.result
        assert x is not None
        if found.dropped is not None:
            # One position is picked: by its place in what is there, where there may be no other.
            index = _first(orders[found.dropped] or (0,))
            place = self.edit.constant(np.array(index, np.int64), "index", ir.DataType.INT64)
            node.replace_input_with(1, place)
            return
        new = x
        if any(order is not None for order in orders.values()):
            assert result.shape is not None
            new = self._selected(x, have, orders, dict(enumerate(result.shape)), {"before": node})
        # Its readers keep the name of the result, if the caller asked for it.
        self.edit.replace(result, new)
        self.edit.graph.remove(node, safe=True)

    def _selected(
        self,
        x: ir.Value,
        have: Asked,
        orders: Mapping[int, Order | None],
        sizes: Mapping[int, Size],
        place: dict[str, ir.Node],
    ) -> ir.Value:
        """These positions of a value, by nodes one behind the other (`selecting`).

        Args:
            x: the value, with the shape of all its positions.
            have: what there will be of it.
            orders: what is taken of that; None: all.
            sizes: the sizes of the result.
            place: before or after which node the first of them stands.
        """
        assert x.shape is not None
        dims, result = sizes_left(x.shape, have), x
        for op_type, taken in selecting(x, orders, dims):
            operands, attributes = self._form(op_type, taken, dims)
            if op_type == "GatherND" and dims[0] == 1:
                op_type, attributes = "Gather", {"axis": 0}
                result, operands = self._for_each(result, taken, dims, place)
            for axis in taken:
                dims[axis] = sizes[axis]
            result = self.edit.node(
                op_type,
                [result, *operands],
                attributes,
                **place,
                stem=f"{result.name}.{op_type}",
                dtype=x.dtype,
                shape=dims,
            )
            maker = result.producer()
            assert maker is not None
            place = {"after": maker}
        return result

    def _for_each(
        self,
        x: ir.Value,
        taken: Mapping[int, Order],
        dims: list[Size],
        place: dict[str, ir.Node],
    ) -> tuple[ir.Value, list[ir.Value]]:
        """What is picked from, and by what, where a table is the same for each of a batch.

        That is an axis that the table loses, and the indices give the result.
        """
        ((_, order),) = taken.items()
        assert isinstance(order, Late)
        assert order.indices.shape is not None
        target = self.edit.integers(n for n in dims[1:] if isinstance(n, int))
        table = self.edit.node("Reshape", [x, target], {}, **place, stem=f"{x.name}.Reshape",
                               dtype=x.dtype, shape=dims[1:])  # fmt: skip
        dims[0] = order.indices.shape[0]
        return table, [self._indices(order, (0, -1))]

    def _indices(self, order: Late, shape: tuple[int, ...]) -> ir.Value:
        """Indices in the shape that an operator reads them in, where 0 copies one of their sizes.

        They may be computed behind what is picked from: the graph is put in order again.
        """
        what = order.indices, shape
        if what not in self.indices:
            self.indices[what] = self._reshaped(order.indices, shape)
            known = tuple(order.indices.shape or ())
            sizes = {-1: order.size, 1: 1}
            dims = [sizes.get(n) or known[k] for k, n in enumerate(shape)]
            self.indices[what].shape = ir.Shape(dims)
        return self.indices[what]

    def _reshaped(self, indices: ir.Value, shape: tuple[int, ...]) -> ir.Value:
        if rank_of(indices) == len(shape) == 1:
            return indices
        operands, stem = [indices, self.edit.integers(shape)], f"{indices.name}.Reshape"
        maker = indices.producer()
        if maker is None:
            return self.edit.node("Reshape", operands, before=self.edit.graph[0], stem=stem,
                                  dtype=indices.dtype)  # fmt: skip
        return self.edit.node("Reshape", operands, after=maker, stem=stem, dtype=indices.dtype)

    def _form(
        self, op_type: str, taken: Mapping[int, Order], dims: Sequence[Size]
    ) -> tuple[list[ir.Value], dict[str, Any]]:
        """How an operator is told which positions it takes: its operands, and its attributes."""
        if op_type == "Gather":
            ((axis, order),) = taken.items()
            assert not isinstance(order, Slice)  # which is even, and no Gather's
            if isinstance(order, Late):
                return [self._indices(order, (-1,))], {"axis": axis}
            return [self.edit.integers(order)], {"axis": axis}
        if op_type == "GatherND":
            ((axis, order),) = taken.items()
            assert isinstance(order, Late)
            return [self._indices(order, (*(0,) * order.batch, -1, 1))], {"batch_dims": axis}
        if op_type == "AveragePool":
            found = {axis: step_of(order, dims[axis]) for axis, order in taken.items()}
            steps = [found.get(axis) or 1 for axis in range(2, len(dims))]
            return [], {"kernel_shape": [1] * len(steps), "strides": steps}
        bounds = [_bounds(cut) for cut in map(even, taken.values()) if cut is not None]
        starts, stops, hops = zip(*bounds, strict=True)
        return [self.edit.integers(row) for row in (starts, stops, [*taken], hops)], {}


def selecting(
    x: ir.Value, orders: Mapping[int, Order | None], sizes: Sequence[Size]
) -> Iterator[tuple[str, dict[int, Order]]]:
    """The operators that take some positions of a value, one behind the other, and what each takes.

    Args:
        x: the value.
        orders: axis -> what is taken there; None: all.
        sizes: those that the value will have.
    """
    left = {axis: order for axis, order in orders.items() if order is not None}
    strided = all(axis > 1 and step_of(order, sizes[axis]) for axis, order in left.items())
    # A pool of single positions takes what a stride does: engines compute it in the layout that
    # they keep images in. Else a Slice takes what is even, a Gather what is left of each axis.
    if left and strided and _pools(x):
        yield "AveragePool", left
        return
    cuts = {axis: order for axis, order in left.items() if even(order) is not None}
    if cuts:
        yield CUT, cuts
    for axis, order in left.items():
        if axis not in cuts:
            by_batch = isinstance(order, Late) and order.batch > 0
            yield "GatherND" if by_batch else "Gather", {axis: order}


def _pools(x: ir.Value) -> bool:
    """Whether ONNX Runtime has a pooling for the type of a value, and for as many axes."""
    return rank_of(x) in _RANKS_OF_POOLS and x.dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16)


def _first(order: Order) -> int:
    assert not isinstance(order, Late)
    if not isinstance(order, Slice):
        return order[0]
    assert order.start is not None
    return order.start


def _bounds(cut: Slice) -> tuple[int, int, int]:
    """start, stop and step as ONNX has them, where an open end is a number beyond it."""
    stop = cut.stop
    if stop is None:
        stop = int(copysign(_FAR, cut.step))
    return cut.start or 0, stop, cut.step
