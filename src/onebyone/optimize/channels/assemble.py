"""Values put together from stretches of channels: the splits, concats and gathers of a plan."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.edit import Edit
from onebyone.graph.ops.flow import channels_of
from onebyone.optimize.channels.labels import Labels

__all__ = ["Builder", "Piece"]

Piece = tuple[ir.Value, int, int]
"""A stretch of the channels of a source, as stored: source, first, end."""


@dataclass(eq=False)
class Builder:
    edit: Edit
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
        if len(parts) > 1:
            count = sum(b - a for _, a, b in pieces)
            made = self._node("Concat", parts, value, count, before, axis=1)
        if gather is not None:
            operands = [made, self.edit.integers(gather)]
            made = self._node("Gather", operands, value, len(gather), before, axis=1)
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
        if cuts[0] == 0 and cuts[-1] == self._channels(source):
            counts = [b - a for a, b in pairwise(cuts)]
            return dict(zip(cuts, self.edit.split(source, counts, 1, first), strict=False))
        return {a: self._slice(source, a, b, first) for a, b in pairwise(cuts)}

    def _channels(self, source: ir.Value) -> int:
        if source in self.orders:
            return len(self.orders[source])
        return channels_of(source, 1) or 0

    def _slice(self, source: ir.Value, a: int, b: int, before: ir.Node) -> ir.Value:
        bounds = [self.edit.integers([n]) for n in (a, b, 1)]
        return self._node("Slice", [source, *bounds], source, b - a, before)

    def _node(
        self,
        op: str,
        operands: Sequence[ir.Value],
        like: ir.Value,
        channels: int,
        before: ir.Node,
        **attributes: int,
    ) -> ir.Value:
        """A node in front of another; its result is like a value, but for its channels."""
        assert like.shape is not None
        return self.edit.node(
            op,
            operands,
            attributes,
            before=before,
            stem=f"{like.name}.{op}",
            dtype=like.dtype,
            shape=[like.shape[0], channels, *like.shape.dims[2:]],
        )
