"""Cuts: the word above a sum or a concat, as words above its operands."""

from __future__ import annotations

from collections.abc import Iterator

from onebyone.algebra.channel import split
from onebyone.algebra.word import Word
from onebyone.optimize.regions.steps import steps

__all__ = ["cut", "joints"]


def cut(word: Word, sizes: list[int], diagonal: int) -> list[Word]:
    """The word above a concat as words above its operands: diagonals cut by rows, then columns."""
    words = [word] + [word.linear] * (len(sizes) - 1)
    # Only the last of these mixes channels; what is before it scales them, each by itself.
    for at in range(min(diagonal + 1, len(word.maps))):
        parts = split(word.maps[at], sizes)
        words = [w.with_map(f, at) for w, f in zip(words, parts, strict=True)]
    return words


def joints(word: Word, last: int) -> Iterator[int]:
    """Where operands may be joined: not right after a broadcast, which only the Add above does."""
    return (i for i in range(last + 1) if not (i and steps(word)[i - 1].broadcasts))
