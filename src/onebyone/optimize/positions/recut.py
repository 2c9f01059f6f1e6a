"""Recut: nodes are given fewer positions, and what took them before is made to fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onebyone.algebra.selection import Slice
from onebyone.algebra.weights import Array
from onebyone.graph.constants import constant
from onebyone.graph.edit import Edit
from onebyone.graph.shape_reads import ShapeReads, entries_used
from onebyone.optimize.positions.demand import drop
from onebyone.optimize.positions.picks import Order, Picks, even, within
from onebyone.optimize.positions.resized import sizes_of
from onebyone.optimize.positions.selectors import Selector
from onebyone.optimize.positions.through import WINDOWS, reshaped, window

__all__ = ["Asked", "Cutter", "Key", "key"]

Asked = Mapping[int, Picks]
"""Axis -> the positions that are asked for; of all other axes, all."""

Key = tuple[tuple[int, Picks], ...]

Size = int | ir.SymbolicDim

_FAR = 2**31 - 1


def key(asked: Asked) -> Key:
    """The same for the same positions of the same axes."""
    return tuple(sorted(asked.items(), key=lambda item: item[0]))


@dataclass(eq=False)
class Cutter:
    """Changes a graph. Readers are changed before what they read, so that shapes are the old ones.

    Args:
        graph: it is changed in place.
        edit: of the graph.
        cut: what was selected already, so that equal selections are made once.
    """

    graph: ir.Graph
    edit: Edit
    cut: dict[tuple[ir.Value, Key], ir.Value] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: ir.Graph) -> Cutter:
        return cls(graph, Edit(graph))

    # Sizes -------------------------------------------------------------------------------------

    def read_elsewhere(self, node: ir.Node, axes: set[int], reads: ShapeReads) -> None:
        """Let a Shape whose operand loses positions along `axes` read sizes that stay."""
        x = node.inputs[0]
        if x is None or x.shape is None or not entries_used(node, x.shape.rank()) & axes:
            return
        self.edit.replace(node.outputs[0], reads.rebuild(node, self.edit))

    # Operands ----------------------------------------------------------------------------------

    def select(self, node: ir.Node, index: int, asked: Asked, have: Asked) -> None:
        """Let a node read only what is `asked` of an operand, of which it will `have` a part."""
        x = node.inputs[index]
        if x is None or not asked:
            return
        what = x, key(asked)
        if what not in self.cut:
            made = self._narrowed(x, asked, have) if constant(x) is None else self._part(x, asked)
            self.cut[what] = made
        node.replace_input_with(index, self.cut[what])

    def _part(self, x: ir.Value, asked: Asked) -> ir.Value:
        """Positions of a constant."""
        array = constant(x)
        assert array is not None
        for axis, picks in asked.items():
            assert not isinstance(picks.taken, Slice)
            array = np.take(array, list(picks.taken), axis)
        return self._stored(array, f"{x.name}.taken")

    def _narrowed(self, x: ir.Value, asked: Asked, have: Asked) -> ir.Value:
        assert x.shape is not None
        dims = [have[axis].size if axis in have else size for axis, size in enumerate(x.shape)]
        orders = {axis: within(picks.taken, have.get(axis)) for axis, picks in asked.items()}
        sizes = {axis: picks.size for axis, picks in asked.items()}
        made = self._selected(x, dims, orders, sizes)
        maker = x.producer()
        if maker is None:
            self.graph.insert_before(self.graph[0], made)
        else:
            self.graph.insert_after(maker, made)
        return made[-1].outputs[0]

    # Nodes -------------------------------------------------------------------------------------

    def rewrite(self, node: ir.Node, results: Asked, operands: Mapping[int, Asked]) -> None:
        """Let a node compute `results` from these parts of its operands."""
        if node.op_type == "Reshape":
            target = reshaped(node, results, operands[0])
            assert target is not None
            node.replace_input_with(1, self.edit.integers(target))
            node.attributes.pop("allowzero", None)
        if node.op_type in WINDOWS:
            self._window(node, results)
        sizes = sizes_of(node, results)
        if sizes is not None:
            node.replace_input_with(3, self.edit.integers(sizes))
        for value in node.outputs:
            if value.shape is not None:
                dims = list(value.shape)
                for axis, picks in results.items():
                    dims[axis] = picks.size
                value.shape = ir.Shape(dims)

    def _window(self, node: ir.Node, results: Asked) -> None:
        x = node.inputs[0]
        assert x is not None
        assert x.shape is not None
        spatial = x.shape.rank() - 2
        strides = list(node.attributes.get_ints("strides", (1,) * spatial))
        pads = list(node.attributes.get_ints("pads", (0,) * 2 * spatial))
        for axis, picks in results.items():
            found = window(node, axis, picks) if axis > 1 else None
            if found is not None:
                at = axis - 2
                strides[at], pads[at], pads[at + spatial] = found.stride, found.begin, found.end
        node.attributes["strides"] = ir.AttrInt64s("strides", strides)
        if any(pads) or "pads" in node.attributes:
            node.attributes["pads"] = ir.AttrInt64s("pads", pads)

    def reselect(self, node: ir.Node, found: Selector, orders: Mapping[int, Order | None]) -> None:
        """Let a selector take these positions of what it reads now; None: all that is there."""
        x, result = node.inputs[0], found.result
        assert x is not None
        if found.dropped is not None:
            order = orders[found.dropped]
            index = 0 if order is None else _first(order)
            node.replace_input_with(1, self._stored(np.array(index, np.int64), "index"))
            return
        left = {axis: order for axis, order in orders.items() if order is not None}
        if not left:
            drop(node, x, self.graph, result)
            return
        assert x.shape is not None
        assert result.shape is not None
        sizes = {axis: result.shape[axis] for axis in left}
        made = self._selected(x, list(x.shape), left, sizes)
        self.graph.insert_before(node, made)
        new, name = made[-1].outputs[0], result.name
        result.replace_all_uses_with(new, replace_graph_outputs=True)
        self.graph.remove(node, safe=True)
        new.name = name

    # Making nodes ------------------------------------------------------------------------------

    def _selected(
        self,
        x: ir.Value,
        dims: list[Size],
        orders: Mapping[int, Order | None],
        sizes: Mapping[int, Size],
    ) -> list[ir.Node]:
        """One Slice of all axes that are taken evenly, a Gather for each of the others."""
        evenly = {axis: even(order) for axis, order in orders.items() if order is not None}
        cuts = {axis: _bounds(cut) for axis, cut in evenly.items() if cut is not None}
        made: list[ir.Node] = []
        if cuts:
            starts, stops, steps = map(list, zip(*cuts.values(), strict=True))
            columns = (starts, stops, [*cuts], steps)
            operands = [self.edit.integers(column) for column in columns]
            dims = [sizes[axis] if axis in cuts else size for axis, size in enumerate(dims)]
            made.append(self._node("Slice", [x, *operands], dims, x.dtype))
        for axis, order in orders.items():
            if order is not None and not isinstance(order, Slice) and axis not in cuts:
                operands = [made[-1].outputs[0] if made else x]
                operands.append(self.edit.integers(order))
                dims = [sizes[axis] if k == axis else size for k, size in enumerate(dims)]
                along = [ir.AttrInt64("axis", axis)]
                made.append(self._node("Gather", operands, dims, x.dtype, along))
        return made

    def _node(
        self,
        op: str,
        inputs: Sequence[ir.Value],
        dims: Sequence[Size],
        dtype: ir.DataType | None,
        attributes: Sequence[ir.Attr] = (),
    ) -> ir.Node:
        name = self.edit.mint(f"{inputs[0].name}.{op}")
        node = ir.Node("", op, inputs, attributes, num_outputs=1, name=name)
        value = node.outputs[0]
        value.name, value.shape = name, ir.Shape(dims)
        if dtype is not None:
            value.dtype = dtype
        return node

    def _stored(self, array: Array, stem: str) -> ir.Value:
        name = self.edit.mint(stem)
        tensor = ir.tensor(np.array(array, order="C"), name=name)
        value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape))
        value.dtype = tensor.dtype
        self.graph.register_initializer(value)
        return value


def _first(order: Order) -> int:
    if not isinstance(order, Slice):
        return order[0]
    assert order.start is not None
    return order.start


def _bounds(cut: Slice) -> tuple[int, int, int]:
    """start, stop and step as ONNX has them, where an open end is a number beyond it."""
    far = _FAR if cut.step > 0 else -_FAR
    return cut.start or 0, far if cut.stop is None else cut.stop, cut.step
