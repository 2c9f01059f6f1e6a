"""Digits: how many a fold can lose where a step of the original is exact and cancels.

A product and a sum round, relatively to their result, by the unit roundoff u. Some steps do not
round at all: subtracting what is near (P. Sterbenz, *Floating-Point Computation*, 1974), and
multiplying by a weight of few bits. What such a step leaves may be far smaller than its operands,
and is still right to its last digit. A fold that computes the same from the operands themselves
rounds to their size. What it loses is the condition number of the step,

    κ = Σ|terms| / |Σ terms|,       log₂ κ bits,

taken at the inputs where the step cancels, and is told for three kinds of steps:

    shift        x + t        κ = |t| · s        x near −t, where what is left is of the size 1/s
                                                 that the author's own scale s behind it makes one
    stencil      Σ w_i x_i    κ = Σ|w| / |Σw|    all x_i equal; where every w_i is of few bits
    difference   x − y        κ = ∞              x = y

Read by a map W, a shift is told by row, (|W||s∘t|)_r / (|W|1)_r, and by how much larger than one
W makes it, for what is added to W's result has a size of its own. An operand that was itself
computed by products that round is not told: their noise, u|W||x|, is there before and after alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np

from onebyone.algebra.weights import Array

__all__ = ["LOST_BITS", "Behind", "bits", "exact_rows", "few_bits", "refolded", "stencil"]

LOST_BITS = 4.0
"""A rewrite may lose so many bits. The certificate allows sixteen times the noise of the original,
log₂ 16 bits: a fold below that cannot make a model that the certificate would have to refuse."""

_SEEN = 3
"""Weights of a row after which most turn out to have more bits."""

_FEW = 3
"""Bits of a weight in a stencil: 1, 2, 4, 6, … Its product with 21 bits is exact in float32."""


def bits(condition: float) -> float:
    """log₂ of a condition number; none are lost where it is below one.

    >>> bits(200.0) > 7, bits(0.5)
    (True, 0.0)
    """
    return float(np.log2(max(1.0, condition)))


def few_bits(array: Array) -> Array:
    """Elementwise: is a number zero, or an odd number below 8 times a power of two?

    >>> few_bits(np.array([0, -1, 0.5, 6, 9, 0.1])).tolist()
    [True, True, True, True, False, False]
    """
    # A mantissa, in [½, 1), times 2³ is whole exactly if it has three bits.
    mantissa, _ = np.frexp(np.asarray(array, np.float64))
    scaled = mantissa * 2**_FEW
    return np.asarray(scaled == np.rint(scaled))


def exact_rows(weight: Array) -> Array:
    """Which rows of `weight`, (C_out, …), may compute without rounding.

    Those of few bits alone, and those with one weight, which only scales.

    >>> exact_rows(np.array([[0.5, -1], [0.3, 0], [0.3, 0.1], [0, 0]])).tolist()
    [True, True, False, False]
    """
    rows = weight.reshape(len(weight), prod(weight.shape[1:]))
    # Trained weights have all their bits, so that the first few numbers tell of most rows.
    start = rows[:, :_SEEN]
    found = np.asarray(few_bits(start).all(axis=1) | (np.count_nonzero(start, axis=1) < 2))
    if not found.any():
        return found
    rest = rows[found]
    used = np.count_nonzero(rest, axis=1)
    found[found] = (used > 0) & ((used == 1) | few_bits(rest).all(axis=1))
    return found


def stencil(weight: Array, padded: bool = False) -> float:
    """The largest κ among the rows of `weight`, (C_out, …), that are of few bits alone; 0 of none.

    Of a `padded` kernel only some taps are met at the borders: it cancels where signs differ.

    >>> stencil(np.array([[1, -2, 1], [0.3, -0.3, 0]])), stencil(np.array([[1, 1], [0.3, 0]]))
    (inf, 1.0)
    """
    rows = np.asarray(weight[exact_rows(weight)], np.float64)
    rows = rows.reshape(len(rows), prod(weight.shape[1:]))
    sizes = np.abs(rows).sum(axis=1)
    if padded and (np.abs(rows.sum(axis=1)) < sizes).any():
        return np.inf
    with np.errstate(divide="ignore"):  # a stencil of sum zero cancels whole: κ = ∞
        return float(np.max(sizes / np.abs(rows.sum(axis=1)), initial=0.0))


def refolded(weight: Array, folded: Iterable[Array], padded: bool = False) -> float:
    """The largest κ among rows that compute exactly and would not once taps are summed; 0 of none.

    All of W, (C_out, …), and what becomes of it, each (C_out, …). A sum of taps that read one
    position rounds once, and no more than the products did: |Σw||x| ≤ Σ|w||x|. It can lose digits
    only where these did not round at all, and the sum has more bits than they.

    >>> laplace, ones = np.array([[1, -2, 1]]), np.array([[1, 1, 1]])
    >>> refolded(laplace, [np.array([[-1, 1]])]), refolded(4 * ones + ones, [np.array([[10, 5]])])
    (0.0, 0.0)
    >>> refolded(np.array([[8, 1, -9]]), [np.array([[9, -9]])]), refolded(ones, [9 * ones])
    (0.0, 1.0)
    """
    rows = exact_rows(weight)
    rounds = np.zeros(len(rows), bool)
    for each in folded:
        rounds |= ~exact_rows(each) & each.reshape(len(rows), -1).any(axis=1)
    return stencil(weight[rows & rounds], padded)


@dataclass(frozen=True, eq=False)
class _Mix:
    """A map (C_out, C_in / groups, taps…), of which few are ever looked at."""

    weight: Array
    groups: int

    @cached_property
    def largest(self) -> float:
        """The largest |w|."""
        return float(np.abs(self.weight).max(initial=0.0))

    @cached_property
    def blocks(self) -> Array:
        """(groups, C_out / groups, C_in / groups): |W|, summed over its taps."""
        size = np.abs(np.asarray(self.weight, np.float64))
        size = np.sum(size.reshape(*size.shape[:2], prod(size.shape[2:])), axis=2)
        rows, columns = size.shape
        return np.reshape(size, (self.groups, rows // self.groups, columns))


def _times(scale: Array | None, size: Array) -> Array:
    """scale · size, where None stands for ones."""
    if scale is None:
        return size
    return scale * size


@dataclass(frozen=True)
class Behind:
    """What a value meets behind it: per-channel scales, then a map that mixes channels.

    Args:
        scale: (C,), the product of the scales, or None for ones.
        mix: the map behind them, or None.
        since: the largest scale since the value was added to others, or None if it is not.
        mixes: the maps from here on and `since` at each: by how much they enlarge what is added.
        averaged: whether an average is taken on the way, which a K×K could be folded into.
        bare: whether nothing is added on the way: where a normalisation follows, which divides by
            the size of what it gets, no scale says how large a difference is.
    """

    scale: Array | None = None
    mix: _Mix | None = None
    since: float | None = None
    mixes: tuple[tuple[_Mix, float], ...] = ()
    averaged: bool = False
    bare: bool = True

    @property
    def reads(self) -> bool:
        """Whether anything is behind the value that could be folded into it."""
        met = self.scale is not None or self.mix is not None or self.since is not None
        return met or self.averaged

    def scaled(self, scale: Array) -> Behind:
        """What the operand of a per-channel scale meets."""
        size = np.abs(np.asarray(scale, np.float64))
        since = None if self.since is None else self.since * float(size.max(initial=0.0))
        return replace(self, scale=_times(self.scale, size), since=since)

    def mixed(self, weight: Array, groups: int) -> Behind:
        """What the operand of a map (C_out, C_in / groups, taps…) meets."""
        # A scale behind the mix scales whole rows: no row's κ depends on it.
        mix = _Mix(weight, groups)
        since = 1.0 if self.since is None else self.since
        return Behind(None, mix, None, ((mix, since), *self.mixes), self.averaged, self.bare)

    def added(self) -> Behind:
        """What a summand meets."""
        return replace(self, since=1.0, bare=False)

    def part(self, start: int, stop: int) -> Behind:
        """What channels start … stop − 1 meet."""
        scale, mix = self.scale, None
        if scale is not None:
            scale = scale[start:stop]
        # In groups, a range of channels is no range of the weight's columns.
        if self.mix is not None and self.mix.groups == 1:
            mix = _Mix(self.mix.weight[:, start:stop], 1)
        return replace(self, scale=scale, mix=mix)

    @property
    def reader(self) -> Array | None:
        """The dense map (C_out, C) that reads the value next; None where something else does."""
        if self.mix is None or self.scale is not None:
            return None
        if self.mix.groups > 1 or self.mix.weight.ndim > 2:
            return None
        return self.mix.weight

    def condition(self, shift: Array) -> float:
        """κ of adding the (C,) shift to an exact value.

        >>> z_score = Behind().mixed(np.array([[1.0, -1.0]]), 1).scaled(np.array([0.1, 0.1]))
        >>> z_score.condition(np.array([-2000.0, -2000.0]))
        200.0
        """
        size = _times(self.scale, np.abs(np.asarray(shift, np.float64)))
        # What is added to the result of a mix has a size of its own; a mix that enlarges what it
        # reads enlarges its error against that.
        outer = max([1.0, *(mix.largest * since for mix, since in self.mixes)])
        if self.mix is None:
            return outer * float(size.max(initial=0.0))
        blocks = self.mix.blocks
        met = blocks @ size.reshape(len(blocks), blocks.shape[2], 1)
        # A row of zeros reads nothing, and loses nothing.
        whole = blocks.sum(axis=2, keepdims=True)
        return outer * float(np.max(met / np.where(whole == 0, 1.0, whole), initial=0.0))
