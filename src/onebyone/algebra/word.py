"""Words: the channel maps and space maps on one path, and the orders in which they may be applied.

A path from an input to an output applies factors, innermost first: space maps S₁ … S_m and channel
maps (W₁, b₁) … (W_n, b_n). The linear parts commute, so a *state* (i, j), "S₁…S_i and W₁…W_j are
applied", can be reached in any order: an evaluation is a monotone walk from (0, 0) to (m, n).

Biases restrict it. b_j enters after the spaces that stood before W_j, its *slot*, and

    S(z + b) = S z + b      only where S keeps constants (S 1 = 1).

The spaces that do not keep constants cut the word into *segments*; b_j must enter in the segment of
its slot, after W_j. A walk that would carry W_j out of that segment unapplied is refused; one that
applies W_j earlier adds b_j later. While its segment lasts a bias need not be added at once: it is
*pending*, the value is T + pending, and W(T + pending) = WT + W·pending.

Spaces whose weights are computed (attention) keep constants up to rounding only. A bias comes out
of them, S(z + b) → S z + b, and is then rounded once; into them it does not go, for S(z + b) rounds
to the size of b as often as it has terms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import accumulate
from typing import Protocol

from onebyone.algebra.channel import ChannelMap, compose, split
from onebyone.algebra.weights import Array, summed

__all__ = ["Pending", "Space", "Word", "product"]

Pending = Array | None
"""A (C,) shift that is still to be added at every position, or None."""


class Space(Protocol):
    """What the algebra needs to know of a space map; equal objects are equal maps."""

    @property
    def preserves_constants(self) -> bool:
        """Whether S 1 = 1, for every size."""

    @property
    def rounds_constants(self) -> bool:
        """Whether S 1 = 1 up to rounding only: a bias comes out of it, and none goes in."""

    @property
    def broadcasts(self) -> bool:
        """Whether it is what a sum does to a shorter term, and is nothing without the longer."""


def product(maps: Sequence[ChannelMap]) -> ChannelMap:
    """maps[-1] ∘ … ∘ maps[0], multiplied out."""
    return reduce(lambda first, second: compose(second, first), maps)


@dataclass(frozen=True, eq=False)
class Word:
    """Factors of one path, innermost first, kept as two sequences and where they interleave.

    Args:
        spaces: S₁ … S_m.
        maps: (W₁, b₁) … (W_n, b_n).
        slots: slots[j] spaces stand before maps[j] in the original order; never decreasing.
    """

    spaces: tuple[Space, ...] = ()
    maps: tuple[ChannelMap, ...] = ()
    slots: tuple[int, ...] = ()

    @classmethod
    def of(cls, factors: Iterable[ChannelMap | Space]) -> Word:
        """The word of factors listed innermost first."""
        word = cls()
        for factor in factors:
            if isinstance(factor, ChannelMap):
                word = word.then(cls((), (factor,), (0,)))
            else:
                word = word.then(cls((factor,)))
        return word

    def then(self, outer: Word) -> Word:
        """This word, then `outer` applied to its result."""
        if not (self.spaces or self.maps):
            return outer
        if not (outer.spaces or outer.maps):
            return self
        # The maps of `outer` stand behind all spaces of this word, and those before them there.
        shifted = tuple(slot + len(self.spaces) for slot in outer.slots)
        return Word(self.spaces + outer.spaces, self.maps + outer.maps, self.slots + shifted)

    @property
    def linear(self) -> Word:
        """The word of the linear parts: no map has a bias."""
        if not self._biased:
            return self
        return Word(self.spaces, tuple(f.linear for f in self.maps), self.slots)

    @property
    def inner(self) -> Word:
        """The maps alone, before all spaces, each with the bias that may enter there."""
        maps = (f if self.enters(k, 0) else f.linear for k, f in enumerate(self.maps))
        return Word((), tuple(maps), (0,) * len(self.maps))

    def with_map(self, f: ChannelMap, at: int) -> Word:
        """This word with f in the place of maps[at]."""
        return Word(self.spaces, (*self.maps[:at], f, *self.maps[at + 1 :]), self.slots)

    def parts(self, sizes: Sequence[int], diagonal: int) -> list[Word]:
        """The words of the operands of a concat of these sizes, of which this is the word above.

        Its first `diagonal` maps are cut by rows, and the next one, which mixes channels, by
        columns: W[x₁; x₂] = W₁x₁ + W₂x₂. Biases are added once, with the first operand.
        """
        words = [self] + [self.linear] * (len(sizes) - 1)
        for at in range(min(diagonal + 1, len(self.maps))):
            parts = split(self.maps[at], list(sizes))
            words = [w.with_map(f, at) for w, f in zip(words, parts, strict=True)]
        return words

    @cached_property
    def segments(self) -> tuple[int, ...]:
        """segments[i]: how many of the first i spaces do not keep constants."""
        # A bias may not move past such a space, so that these cut the word.
        return _counts(not space.preserves_constants for space in self.spaces)

    @cached_property
    def _inward(self) -> tuple[int, ...]:
        """_inward[i]: how many of the first i spaces no bias goes into."""
        return _counts(s.rounds_constants or not s.preserves_constants for s in self.spaces)

    @cached_property
    def _biased(self) -> tuple[int, ...]:
        """The maps that have a bias."""
        return tuple(k for k, f in enumerate(self.maps) if f.bias is not None)

    def segment_of(self, j: int) -> int:
        """The segment in which the bias of maps[j] must enter."""
        return self.segments[self.slots[j]]

    def enters(self, j: int, i: int) -> bool:
        """Whether the bias of maps[j] may be added where S₁ … S_i are applied."""
        slot = self.slots[j]
        walls = self.segments if i >= slot else self._inward
        return walls[i] == walls[slot]

    def allows(self, i: int, j: int) -> bool:
        """Whether state (i, j) leaves every bias that is still to come its segment."""
        here = self.segments[i]
        # A bias whose segment is behind can never enter any more: its map had to come before.
        return all(k < j or self.segment_of(k) >= here for k in self._biased)

    def biased(self, i: int, start: int, stop: int) -> bool:
        """Whether one of maps[start:stop] has a bias that may be added after S₁ … S_i."""
        return any(start <= k < stop and self.enters(k, i) for k in self._biased)

    def arrives(self, i: int, j: int) -> bool:
        """Whether a bias of maps[:j] may be added behind spaces[i], and not before it."""
        return any(k < j and self._comes(k, i) for k in self._biased)

    def arriving(self, i: int, j: int) -> Pending:
        """The biases of maps[:j] that may be added behind spaces[i], and not before it."""
        pending: Pending = None
        for k, f in enumerate(self.maps[:j]):
            pending = _pushed(f, pending, enters=self._comes(k, i))
        return pending

    def _comes(self, k: int, i: int) -> bool:
        return self.enters(k, i + 1) and not self.enters(k, i)

    def out_of_order(self, i: int, j: int) -> list[int]:
        """The spaces that state (i, j) has out of their original order with some map."""
        # In the original, the map applied last stood behind `past` spaces, the next behind `due`.
        past, due = (0, *self.slots)[j], (*self.slots, len(self.spaces))[j]
        return [*range(due, i), *range(i, past)]

    def advance(self, pending: Pending, i: int, j: int, to: int) -> Pending:
        """The pending bias after maps j … to − 1 are applied in state (i, j)."""
        for k in range(j, to):
            pending = _pushed(self.maps[k], pending, enters=self.enters(k, i))
        return pending


def _pushed(f: ChannelMap, pending: Pending, *, enters: bool) -> Pending:
    """What is pending behind a map: W(T + pending) = WT + W·pending, and its bias if it enters."""
    if pending is not None:
        pending = f.push(pending)
    if f.bias is not None and enters:
        pending = summed(pending, f.bias)
    return pending


def _counts(flags: Iterable[bool]) -> tuple[int, ...]:
    """How many of the first 0, 1, 2, … are true."""
    return tuple(accumulate(flags, initial=0))
