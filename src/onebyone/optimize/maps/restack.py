"""Restack: one map in the place of siblings, or siblings in the place of one map.

Weights are put together and cut, never computed with: every number stays the one it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.edit import Edit
from onebyone.optimize.maps.siblings import Sibling

__all__ = ["Editor"]


@dataclass(frozen=True)
class _Spot:
    """Where new nodes go, and what their results are like."""

    before: ir.Node
    shape: ir.Shape
    like: ir.Value
    stem: str


@dataclass(frozen=True)
class Editor:
    """A graph that is being changed.

    Args:
        graph: with shapes inferred.
        edit: of the graph.
        order: where its nodes stand; new ones count as standing where they are put before.
    """

    graph: ir.Graph
    edit: Edit
    order: dict[ir.Node, int]

    @classmethod
    def of(cls, graph: ir.Graph) -> Editor:
        """An editor of a graph as it stands."""
        return cls(graph, Edit(graph), {node: k for k, node in enumerate(graph)})

    def merge(self, siblings: Sequence[Sibling]) -> ir.Value:
        """[f(W₁x + b₁); f(W₂x + b₂); …] as one map, where the first of the siblings stands."""
        weight = np.concatenate([s.weight for s in siblings], siblings[0].out_axis)
        biases = [np.zeros(s.channels) if s.bias is None else s.bias for s in siblings]
        bias = np.concatenate(biases) if any(s.bias is not None for s in siblings) else None
        return self._map(siblings[0], weight, bias, self._first(siblings), "stacked")

    def part(self, whole: Sibling, start: int, stop: int) -> ir.Value:
        """Channels start … stop − 1 of a map, as a map."""
        weight = np.take(whole.weight, range(start, stop), whole.out_axis)
        bias = None if whole.bias is None else whole.bias[start:stop]
        return self._map(whole, weight, bias, whole.node, "part")

    def merge_and_split(self, siblings: Sequence[Sibling]) -> None:
        """Put one map and a Split in the place of siblings."""
        results, counts = [s.result for s in siblings], [s.channels for s in siblings]
        spot = _Spot(self._first(siblings), ir.Shape(()), results[0], "")
        values = self._split(self.merge(siblings), counts, siblings[0].axis, spot)
        for value, old in zip(values, results, strict=True):
            value.shape, value.type = old.shape, old.type
            value.name = self.edit.mint(f"{old.name}.stacked")
            self.replace(old, value)
        self.remove(node for s in siblings for node in reversed(s.nodes))

    def concatenate(self, node: ir.Node, values: Sequence[ir.Value]) -> None:
        """Let a Concat read other operands; of one alone it goes."""
        old, made = node.outputs[0], values[0]
        if len(values) > 1:
            assert old.shape is not None
            spot = _Spot(node, old.shape, old, f"{old.name}.stacked")
            made = self._node("Concat", values, node.attributes.values(), spot)
        self.replace(old, made)
        self.remove([node])

    def replace(self, old: ir.Value, new: ir.Value) -> None:
        """Let all who read one value read another; an output of the graph keeps its name."""
        self.edit.replace(old, new)

    def remove(self, nodes: Iterable[ir.Node]) -> None:
        """Remove nodes that nobody reads any more, readers first."""
        for node in nodes:
            self.graph.remove(node, safe=True)

    def _first(self, siblings: Sequence[Sibling]) -> ir.Node:
        return min((s.node for s in siblings), key=self.order.__getitem__)

    def _map(
        self, like: Sibling, weight: Array, bias: Array | None, before: ir.Node, what: str
    ) -> ir.Value:
        """A map as `like` with other weights, and what is behind it."""
        shape = ir.Shape(like.result.shape or ())
        shape[like.axis] = int(weight.shape[like.out_axis])
        held = like.node.inputs[1]
        spot = _Spot(before, shape, like.result, f"{held.name if held is not None else ''}.{what}")
        terms = [self._stored(weight, spot)]
        added = [] if bias is None else [self._stored(bias, replace(spot, stem=f"{spot.stem}.b"))]
        if like.node.op_type != "MatMul":
            terms, added = [*terms, *added], []
        spot = replace(spot, stem=f"{like.result.name}.{what}")
        attributes = like.node.attributes.values()
        value = self._node(like.node.op_type, [like.operand, *terms], attributes, spot)
        if added:
            value = self._node("Add", [value, *added], (), spot)
        if like.then is not None:
            inputs = [value, *like.then.inputs[1:]]
            value = self._node(like.then.op_type, inputs, like.then.attributes.values(), spot)
        return value

    def _split(self, x: ir.Value, counts: list[int], axis: int, spot: _Spot) -> Sequence[ir.Value]:
        inputs, attributes = [x], [ir.AttrInt64("axis", axis)]
        if self.graph.opset_imports[""] < 13:
            attributes.append(ir.AttrInt64s("split", counts))
        else:
            inputs.append(self.edit.integers(counts))
        name = self.edit.mint(f"{x.name}.Split")
        node = ir.Node("", "Split", inputs, attributes, num_outputs=len(counts), name=name)
        self._insert(node, spot.before)
        return node.outputs

    def _node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Iterable[ir.Attr],
        spot: _Spot,
    ) -> ir.Value:
        name = self.edit.mint(spot.stem)
        node = ir.Node("", op_type, inputs, list(attributes), num_outputs=1, name=name)
        value = node.outputs[0]
        value.name, value.shape, value.type = name, spot.shape, spot.like.type
        self._insert(node, spot.before)
        return value

    def _insert(self, node: ir.Node, before: ir.Node) -> None:
        self.graph.insert_before(before, node)
        self.order[node] = self.order[before]

    def _stored(self, array: Array, spot: _Spot) -> ir.Value:
        """A constant in the type of the result; the numbers are of that type already."""
        dtype = spot.like.dtype
        assert dtype is not None
        return self.edit.constant(array, spot.stem, dtype)
