"""Stack: siblings on one input as one map, and apart again where that is cheaper.

    [f(W₁x + b₁); f(W₂x + b₂)] = f([W₁; W₂]x + [b₁; b₂])          f elementwise, the same for all

Where the siblings' results are concatenated, side by side, the stacked map takes the place of both
and of the concat. Elsewhere its result has to be cut up again, and the cost decides: one operator
less for each sibling but the first, x read once, against the copies of a Split. The same prices
take a map that is only split into its siblings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import prod

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.constants import constant
from onebyone.graph.operators import Role, role
from onebyone.graph.shapes import Sizes
from onebyone.optimize.cost import Cost, Profile
from onebyone.optimize.place import Names

__all__ = ["Stacked", "stack"]


@dataclass(frozen=True, eq=False)
class Stacked:
    """Siblings that became one map, or the map that became siblings, and the modelled costs."""

    root: str
    nodes: tuple[str, ...]
    before: Cost
    after: Cost


@dataclass(frozen=True, eq=False)
class _Sibling:
    """A map of a value, and the elementwise operator behind it, if it is the only reader.

    `key` is equal for maps that can be stacked: operator, attributes, the operand, the kernel.
    """

    node: ir.Node
    operand: ir.Value
    then: ir.Node | None
    key: tuple[object, ...]

    @property
    def result(self) -> ir.Value:
        return (self.then or self.node).outputs[0]

    @property
    def nodes(self) -> list[ir.Node]:
        return [self.node] if self.then is None else [self.node, self.then]

    @property
    def channels(self) -> int:
        return int(_weight(self.node).shape[_out_axis(self.node)])


def stack(graph: ir.Graph, sizes: Sizes, profile: Profile) -> Iterator[Stacked]:
    """Stack siblings and take stacks apart, in place, wherever it is cheaper."""
    editor = _Editor(graph, Names.of(graph), sizes, profile)
    for node in list(graph):
        if node.graph is not None and node.op_type == "Concat" and node.domain == "":
            yield from editor.concatenated(node)
    for node in list(graph):
        if node.graph is not None and node.op_type == "Split" and node.domain == "":
            yield from editor.taken_apart(node)
    values = dict.fromkeys(v for node in graph for v in node.inputs if v is not None)
    for value in values:
        yield from editor.split_after(value)


# Recognising siblings -----------------------------------------------------------------------------


def _sibling(node: ir.Node | None, result: ir.Value | None = None) -> _Sibling | None:
    """A node as a sibling; with `result`, what makes that value, read by one node only."""
    if node is None or node.domain != "":
        return None
    if role(node) is Role.ELEMENTWISE and len(node.inputs) == 1 and result is not None:
        x = node.inputs[0]
        inner = None if x is None or not _once(x) else _sibling(x.producer())
        if inner is None or inner.then is not None:
            return None
        return _Sibling(
            inner.node, inner.operand, node, (*inner.key, node.op_type, *_attributes(node))
        )
    x = node.inputs[0] if node.op_type in ("Conv", "Gemm", "MatMul") else None
    if x is None:
        return None
    rest = [v for v in node.inputs[1:] if v is not None]
    if any(constant(v) is None for v in rest) or node.attributes.get_int("group", 1) != 1:
        return None
    weight = _weight(node)
    if weight.ndim < 2 or (node.op_type == "MatMul" and weight.ndim != 2):
        return None
    if len(rest) > 1 and _bias(node) is None:
        return None
    kernel = weight.shape[2:] if node.op_type == "Conv" else ()
    return _Sibling(node, x, None, (node.op_type, id(x), kernel, *_attributes(node)))


def _attributes(node: ir.Node) -> tuple[object, ...]:
    return tuple(sorted((name, str(a.value)) for name, a in node.attributes.items()))


def _once(value: ir.Value) -> bool:
    return len(value.uses()) == 1 and not value.is_graph_output()


def _weight(node: ir.Node) -> Array:
    weight = constant(node.inputs[1])
    assert weight is not None
    return weight


def _out_axis(node: ir.Node) -> int:
    """The axis of the weight that the outputs lie on."""
    if node.op_type == "Conv":
        return 0
    return 0 if node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1 else 1


def _bias(node: ir.Node) -> Array | None:
    """(C_out,) the bias of a Conv or Gemm; zeros if it has none, None if it is no vector."""
    channels = _weight(node).shape[_out_axis(node)]
    held = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if held is None:
        return np.zeros(channels)
    return held.reshape(-1) if held.size == channels == held.shape[-1] else None


def _channel_axis(sibling: _Sibling) -> int:
    shape = sibling.result.shape
    return 1 if sibling.node.op_type != "MatMul" or shape is None else shape.rank() - 1


# Changing the graph -------------------------------------------------------------------------------


@dataclass(eq=False)
class _Editor:
    graph: ir.Graph
    names: Names
    sizes: Sizes
    profile: Profile

    def concatenated(self, node: ir.Node) -> Iterator[Stacked]:
        """Neighbours in a Concat that are siblings become one operand."""
        operands = list(node.inputs)
        found = [_sibling(v.producer(), v) if v and _once(v) else None for v in operands]
        merged: list[ir.Value] = []
        told = []
        pairs = zip(operands, found, strict=True)
        for key, run in groupby(pairs, lambda pair: pair[1] and pair[1].key):
            members = list(run)
            siblings = [s for _, s in members if s is not None]
            if key is None or len(siblings) < 2 or not self._along(node, siblings[0]):
                merged += [operand for operand, _ in members if operand is not None]
                continue
            before = self._cost(siblings) + self._copy(siblings)
            merged.append(self._merged(siblings))
            told.append(
                Stacked(
                    node.outputs[0].name or "", _names(siblings), before, self._cost_of(siblings)
                )
            )
        if not told:
            return
        if len(merged) == 1 and not node.outputs[0].is_graph_output():
            node.outputs[0].replace_all_uses_with(merged[0])
            self.graph.remove(node, safe=True)
        else:
            changed = ir.Node(
                "", "Concat", merged, list(node.attributes.values()), num_outputs=1, name=node.name
            )
            self._take_over(node, changed)
        yield from told

    def _take_over(self, node: ir.Node, changed: ir.Node) -> None:
        old, new = node.outputs[0], changed.outputs[0]
        new.name, new.shape, new.type = old.name, old.shape, old.type
        self.graph.insert_before(node, changed)
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        self.graph.remove(node, safe=True)

    def _along(self, node: ir.Node, sibling: _Sibling) -> bool:
        shape = node.outputs[0].shape
        axis = node.attributes.get_int("axis", 1)
        return shape is not None and axis % shape.rank() == _channel_axis(sibling)

    def split_after(self, x: ir.Value) -> Iterator[Stacked]:
        """Siblings that are cheaper as one map and a Split."""
        found = [s for use in x.uses() if (s := self._free(use.node, x))]
        found.sort(key=lambda s: (str(s.key[2:]), s.key[0], s.result.name or ""))
        for _, run in groupby(found, key=lambda s: s.key):
            siblings = list(run)
            before, after = self._cost(siblings), self._cost_of(siblings) + self._copy(siblings)
            if len(siblings) > 1 and after < before:
                names, root = _names(siblings), siblings[0].result.name or ""
                self._split(siblings)
                yield Stacked(root, names, before, after)

    def _free(self, node: ir.Node, x: ir.Value) -> _Sibling | None:
        """A reader of x as a sibling, with the elementwise operator behind it."""
        plain = _sibling(node) if node.inputs[0] is x else None
        if plain is None or node.graph is not self.graph:
            return None
        result = node.outputs[0]
        reader = next(iter(result.uses())).node if _once(result) else None
        then = None if reader is None else _sibling(reader, reader.outputs[0])
        found = then if then is not None and then.node is node else plain
        return found if found.result.uses() and not found.result.is_graph_output() else None

    def taken_apart(self, node: ir.Node) -> Iterator[Stacked]:
        """A map that is only split, as siblings."""
        x = node.inputs[0]
        found = None if x is None or not _once(x) else _sibling(x.producer(), x)
        counts = [_channels(v, found) for v in node.outputs] if found is not None else []
        if found is None or not self._along_split(node, found) or None in counts:
            return
        before = self._cost([found]) + self._copy([found])
        after = sum((self._price(found, n or 0) for n in counts), Cost())
        if not after < before:
            return
        ends = np.cumsum([n or 0 for n in counts])
        for value, start, stop in zip(node.outputs, [0, *ends[:-1]], ends, strict=True):
            made = self._part(found, int(start), int(stop), value)
            value.replace_all_uses_with(made, replace_graph_outputs=True)
        yield Stacked(node.outputs[0].name or "", _names([found]), before, after)

    def _along_split(self, node: ir.Node, sibling: _Sibling) -> bool:
        shape = sibling.result.shape
        axis = node.attributes.get_int("axis", 0)
        outputs = not any(v.is_graph_output() for v in node.outputs)
        return outputs and shape is not None and axis % shape.rank() == _channel_axis(sibling)

    # Prices ---------------------------------------------------------------------------------------

    def _cost(self, siblings: Sequence[_Sibling]) -> Cost:
        return sum((self._price(s, s.channels) for s in siblings), Cost())

    def _cost_of(self, siblings: Sequence[_Sibling]) -> Cost:
        return self._price(siblings[0], sum(s.channels for s in siblings))

    def _price(self, sibling: _Sibling, channels: int) -> Cost:
        """Of one map to `channels` channels; what is elementwise is fused into it."""
        weights = _weight(sibling.node).size // sibling.channels * channels
        positions = self._positions(sibling)
        before = prod(self.sizes.shape(sibling.operand) or ())
        moved = before + positions * channels + weights
        macs = positions * weights
        return Cost(self.profile.time(macs, moved), macs, weights)

    def _positions(self, sibling: _Sibling) -> int:
        return prod(self.sizes.shape(sibling.node.outputs[0]) or ()) // sibling.channels

    def _copy(self, siblings: Sequence[_Sibling]) -> Cost:
        """Of a Concat or a Split of the results."""
        elements = sum(self._positions(s) * s.channels for s in siblings)
        return Cost(self.profile.time(elements=2 * elements))

    # Nodes ----------------------------------------------------------------------------------------

    def _merged(self, siblings: Sequence[_Sibling]) -> ir.Value:
        """The stacked map, where the last of the siblings stands."""
        weight = np.concatenate([_weight(s.node) for s in siblings], _out_axis(siblings[0].node))
        biases = [_bias(s.node) for s in siblings if s.node.op_type != "MatMul"]
        has_bias = any(len(s.node.inputs) > 2 for s in siblings)
        bias = np.concatenate([b for b in biases if b is not None]) if has_bias else None
        position = {node: k for k, node in enumerate(self.graph)}
        at = min((n for s in siblings for n in s.nodes[:1]), key=position.__getitem__)
        return self._map(siblings[0], weight, bias, sum(s.channels for s in siblings), at)

    def _split(self, siblings: Sequence[_Sibling]) -> None:
        made = self._merged(siblings)
        counts = [s.channels for s in siblings]
        axis = ir.AttrInt64("axis", _channel_axis(siblings[0]))
        operands: list[ir.Value] = [made]
        attributes: list[ir.Attr] = [axis]
        if self.graph.opset_imports[""] < 13:
            attributes.append(ir.AttrInt64s("split", counts))
        else:
            operands.append(self._stored(np.array(counts), made, ir.DataType.INT64))
        name = self.names.mint(f"{made.name}.Split")
        node = ir.Node("", "Split", operands, attributes, num_outputs=len(counts), name=name)
        maker = made.producer()
        assert maker is not None
        self.graph.insert_after(maker, node)
        for value, sibling in zip(node.outputs, siblings, strict=True):
            old = sibling.result
            value.name, value.shape, value.type = (
                self.names.mint(f"{old.name}.part"),
                old.shape,
                old.type,
            )
            old.replace_all_uses_with(value)

    def _part(self, whole: _Sibling, start: int, stop: int, like: ir.Value) -> ir.Value:
        axis = _out_axis(whole.node)
        weight = np.take(_weight(whole.node), range(start, stop), axis)
        bias = _bias(whole.node) if len(whole.node.inputs) > 2 else None
        part = None if bias is None else bias[start:stop]
        return self._map(whole, weight, part, stop - start, whole.node)

    def _map(
        self, like: _Sibling, weight: Array, bias: Array | None, channels: int, before: ir.Node
    ) -> ir.Value:
        """A map as `like`, and what is elementwise behind it, with other weights."""
        operands = [like.operand, self._stored(weight, like.node.inputs[1])]
        if bias is not None:
            operands.append(self._stored(bias, like.node.inputs[1]))
        value = operands[0]
        for node in like.nodes:
            inputs = operands if node is like.node else [value]
            attributes = list(node.attributes.values())
            name = self.names.mint(f"{node.outputs[0].name}.stacked")
            made = ir.Node("", node.op_type, inputs, attributes, num_outputs=1, name=name)
            value = made.outputs[0]
            old = node.outputs[0]
            assert old.shape is not None
            dims = list(old.shape.dims)
            dims[_channel_axis(like)] = channels
            value.name, value.type, value.shape = name, old.type, ir.Shape(dims)
            self.graph.insert_before(before, made)
        return value

    def _stored(
        self, array: Array, like: ir.Value | None, dtype: ir.DataType | None = None
    ) -> ir.Value:
        assert like is not None
        kind = dtype or like.dtype
        assert kind is not None
        name = self.names.mint(f"{like.name}.stacked")
        tensor = ir.tensor(np.ascontiguousarray(array.astype(kind.numpy())), name=name)
        value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape))
        value.dtype = kind
        self.graph.register_initializer(value)
        return value


def _names(siblings: Sequence[_Sibling]) -> tuple[str, ...]:
    return tuple(sorted(node.name or node.op_type for s in siblings for node in s.nodes))


def _channels(value: ir.Value, like: _Sibling) -> int | None:
    if value.shape is None:
        return None
    size = value.shape[_channel_axis(like)]
    return size if isinstance(size, int) else None
