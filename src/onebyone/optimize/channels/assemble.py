"""Values put together from stretches of channels: the splits, concats and gathers of a plan."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise

import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.edit import CUT, Edit
from onebyone.optimize.channels.labels import Labels

__all__ = ["Assembly", "Piece"]

Piece = tuple[ir.Value, int, int]
"""A stretch of the channels of a source, as stored: source, first, end."""


@dataclass(frozen=True, eq=False)
class Assembly:
    """Which stretches of which sources values are put together from, and how that is done.

    Args:
        pieces: value -> what it is made of.
        gathers: value -> the order that it is then brought into.
        stored: source -> how many channels are stored of it.
    """

    pieces: Mapping[ir.Value, Sequence[Piece]]
    gathers: Mapping[ir.Value, Array]
    stored: Mapping[ir.Value, int]

    @cached_property
    def cuts(self) -> dict[ir.Value, list[int]]:
        """Source -> where its stretches begin and end."""
        ends: dict[ir.Value, set[int]] = {}
        for source, a, b in chain(*self.pieces.values()):
            ends.setdefault(source, set()).update((a, b))
        return {source: sorted(found) for source, found in ends.items()}

    @cached_property
    def parts(self) -> dict[ir.Value, list[Piece]]:
        """Value -> what it is made of, where the stretches of others cut its own."""
        return {value: [*chain(*map(self._cut, found))] for value, found in self.pieces.items()}

    def _cut(self, piece: Piece) -> list[Piece]:
        source, a, b = piece
        if self._is_whole(piece):
            return [piece]
        # Where another value cuts too, one Split makes the parts for both.
        cuts = self.cuts[source]
        inside = cuts[bisect_left(cuts, a) : bisect_right(cuts, b)]
        return [(source, first, end) for first, end in pairwise(inside)]

    def _is_whole(self, piece: Piece) -> bool:
        source, a, b = piece
        return (a, b) == (0, self.stored[source])

    @cached_property
    def copied(self) -> dict[ir.Value, list[Piece]]:
        """Source -> the stretches of it that are copied: by one Split, where it is cut at its ends.

        Else by a Slice each.
        """
        found: dict[ir.Value, list[Piece]] = {}
        for part in dict.fromkeys(chain(*self.parts.values())):
            if not self._is_whole(part):
                found.setdefault(part[0], []).append(part)
        for source in filter(self._is_split, found):
            found[source] = [(source, a, b) for a, b in pairwise(self.cuts[source])]
        return found

    def _is_split(self, source: ir.Value) -> bool:
        cuts = self.cuts[source]
        return (cuts[0], cuts[-1]) == (0, self.stored[source])

    def operators(self) -> Iterator[tuple[str, ir.Value, int]]:
        """Each operator that it takes, a value like its result, and how many channels it moves."""
        for value, parts in self.parts.items():
            count = sum(b - a for _, a, b in parts)
            if len(parts) > 1:
                yield "Concat", value, count
            if value in self.gathers:
                yield "Gather", value, count
        for source, parts in self.copied.items():
            if self._is_split(source):
                yield "Split", source, self.stored[source]
            else:
                yield from ((CUT, source, b - a) for _, a, b in parts)

    def carry_out(self, edit: Edit, labels: Labels) -> dict[ir.Value, ir.Value]:
        """Make all of these operators; value -> what stands for it."""
        made: dict[Piece, ir.Value] = {}
        for source, parts in self.copied.items():
            readers = [use.node for use in source.uses() if use.node in labels.inner]
            first = min(readers, key=labels.rank.__getitem__)
            if self._is_split(source):
                counts = [b - a for _, a, b in parts]
                made.update(zip(parts, edit.split(source, counts, 1, first), strict=True))
                continue
            for _, a, b in parts:
                bounds = [edit.integers([n]) for n in (a, b, 1)]
                cut = _node(edit, CUT, [source, *bounds], source, b - a, first)
                made[source, a, b] = cut
        return {value: self._value(value, made, edit, labels) for value in self.parts}

    def _value(
        self, value: ir.Value, made: Mapping[Piece, ir.Value], edit: Edit, labels: Labels
    ) -> ir.Value:
        before, parts = labels.moves[value].nodes[-1], self.parts[value]
        operands = [made.get(part, part[0]) for part in parts]
        result = operands[0]
        if len(parts) > 1:
            count = sum(b - a for _, a, b in parts)
            result = _node(edit, "Concat", operands, value, count, before, axis=1)
        if value in self.gathers:
            order = self.gathers[value]
            taken = [result, edit.integers(order)]
            result = _node(edit, "Gather", taken, value, len(order), before, axis=1)
        return result


def _node(
    edit: Edit,
    op: str,
    operands: Sequence[ir.Value],
    like: ir.Value,
    channels: int,
    before: ir.Node,
    **attributes: int,
) -> ir.Value:
    """A node in front of another; its result is like a value, but for its channels."""
    assert like.shape is not None
    return edit.node(
        op,
        operands,
        attributes,
        before=before,
        stem=f"{like.name}.{op}",
        dtype=like.dtype,
        shape=[like.shape[0], channels, *like.shape.dims[2:]],
    )
