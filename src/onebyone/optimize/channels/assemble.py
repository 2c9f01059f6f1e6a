"""Values put together from stretches of channels: the splits, concats and gathers of a plan."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.optimize.channels.labels import Labels
from onebyone.optimize.channels.links import channels_of
from onebyone.optimize.names import Names, integers

__all__ = ["Builder", "Piece"]

Piece = tuple[ir.Value, int, int]
"""A stretch of the channels of a source, as stored: source, first, end."""


@dataclass(eq=False)
class Builder:
    graph: ir.Graph
    names: Names
    labels: Labels
    orders: Mapping[ir.Value, Array]
    cut: dict[ir.Value, dict[int, ir.Value]] = field(default_factory=dict)

    def value(
        self,
        value: ir.Value,
        pieces: Sequence[Piece],
        cuts: Mapping[ir.Value, list[int]],
        gather: Array | None,
    ) -> ir.Value:
        """The operators that put a value together."""
        before = self.labels.moves[value].nodes[-1]
        parts = [part for piece in pieces for part in self._stretch(piece, cuts[piece[0]])]
        made = parts[0]
        axis = [ir.AttrInt64("axis", 1)]
        if len(parts) > 1:
            count = sum(b - a for _, a, b in pieces)
            made = self._node("Concat", parts, value, count, before, axis)
        if gather is not None:
            operands = [made, integers(gather, self.graph, self.names)]
            made = self._node("Gather", operands, value, len(gather), before, axis)
        return made

    def _stretch(self, piece: Piece, cuts: list[int]) -> list[ir.Value]:
        """The parts of a source that a stretch consists of."""
        source, a, b = piece
        if (a, b) == (0, self._channels(source)):
            return [source]
        if source not in self.cut:
            self.cut[source] = self._cut(source, cuts)
        inside = cuts[bisect_left(cuts, a) : bisect_left(cuts, b)]
        return [self.cut[source][k] for k in inside]

    def _cut(self, source: ir.Value, cuts: list[int]) -> dict[int, ir.Value]:
        """Each part of a source by where it begins."""
        readers = [use.node for use in source.uses() if use.node in self.labels.inner]
        first = min(readers, key=self.labels.rank.__getitem__)
        ends = pairwise(cuts)
        if cuts[0] == 0 and cuts[-1] == self._channels(source):
            return self._split(source, cuts, first)
        return {a: self._slice(source, a, b, first) for a, b in ends}

    def _channels(self, source: ir.Value) -> int:
        if source in self.orders:
            return len(self.orders[source])
        return channels_of(source, 1) or 0

    def _split(self, source: ir.Value, cuts: list[int], before: ir.Node) -> dict[int, ir.Value]:
        counts = np.diff(cuts)
        axis = ir.AttrInt64("axis", 1)
        operands, attributes = [source, integers(counts, self.graph, self.names)], [axis]
        if self.graph.opset_imports[""] < 13:
            operands, attributes = [source], [axis, ir.AttrInt64s("split", counts.tolist())]
        name = self.names.mint(f"{source.name}.Split")
        node = ir.Node("", "Split", operands, attributes, num_outputs=len(counts), name=name)
        for k, (value, count) in enumerate(zip(node.outputs, counts, strict=True)):
            self._describe(value, self.names.mint(f"{name}.{k}"), source, int(count))
        self.graph.insert_before(before, node)
        return dict(zip(cuts, node.outputs, strict=False))

    def _slice(self, source: ir.Value, a: int, b: int, before: ir.Node) -> ir.Value:
        bounds = [integers([n], self.graph, self.names) for n in (a, b, 1)]
        return self._node("Slice", [source, *bounds], source, b - a, before, [])

    def _node(
        self,
        op_type: str,
        operands: Sequence[ir.Value],
        like: ir.Value,
        channels: int,
        before: ir.Node,
        attributes: Sequence[ir.Attr],
    ) -> ir.Value:
        name = self.names.mint(f"{like.name}.{op_type}")
        node = ir.Node("", op_type, operands, attributes, num_outputs=1, name=name)
        self._describe(node.outputs[0], name, like, channels)
        self.graph.insert_before(before, node)
        return node.outputs[0]

    def _describe(self, value: ir.Value, name: str, like: ir.Value, channels: int) -> None:
        assert like.shape is not None
        value.name, value.type = name, like.type
        value.shape = ir.Shape([like.shape[0], channels, *like.shape.dims[2:]])
