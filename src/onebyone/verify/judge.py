"""One output of two models, judged: is the second equal to the first, but for rounding?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from onebyone.algebra.weights import Array
from onebyone.verify.bound import Noise, half_of_the_digits, limits
from onebyone.verify.certificate import (
    ALL_NAN,
    DIGITS_LOST,
    OVERFLOWS,
    SHARES,
    OutputCheck,
)

__all__ = ["judge", "judge_exact", "same", "shares", "unlike", "within"]


def judge(name: str, a: Array, b: Array, reference: Array, noise: Noise) -> OutputCheck:
    """Judge the float output `name`: B's value `b` against `reference`, next to A's value `a`.

    An element passes where it is within its limit or the very same in both models; NaN and
    infinities have to coincide, but where the reference is finite: there A itself overflows.

    >>> one = np.float32([1.0])
    >>> quiet = Noise(np.zeros(1), 8, 1, 2**-24)
    >>> judge("y", one, one, one, quiet).passed, judge("y", one, 2 * one, one, quiet).passed
    (True, False)
    """
    if odd := _incomparable(a, b, reference):
        return OutputCheck.failed(name, a, odd)
    check = _floats(name, a, b, reference, noise)
    lost = ~same(a, b) & ~np.isfinite(a)
    # Where A overflows and B does not, B may be better than A: there is nothing to hold it to.
    if check.passed and lost.any():
        return replace(check, reason=OVERFLOWS)
    return check


def judge_exact(name: str, a: Array, b: Array) -> OutputCheck:
    """Judge an output of integers, booleans or strings: they have to be equal.

    >>> judge_exact("n", np.array([1, 2]), np.array([1, 3])).element
    'at [1] A has 2, B 3'
    """
    if odd := unlike(a, b):
        return OutputCheck.failed(name, a, odd)
    differ = ~same(a, b)
    if not differ.any():
        return OutputCheck(name, a.dtype.name, a.shape)
    apart = float(differ.sum())  # of strings and booleans there is no distance
    if a.dtype.kind in "iu":
        apart = float(np.abs(a.astype(float) - b.astype(float)).max())
    reason = f"{differ.sum()} of {a.size} elements differ, and they may not"
    failed = OutputCheck.failed(name, a, reason)
    return replace(failed, max_abs_error=apart, element=_first(differ, a, b))


def same(a: Array, b: Array) -> Array:
    """Where two arrays hold the very same; NaN, which alone differs from itself, is one with NaN.

    >>> same(np.array([1, np.nan]), np.array([1, np.nan]))
    array([ True,  True])
    """
    return np.asarray((a == b) | ((a != a) & (b != b)))


def unlike(a: Array, b: Array) -> str:
    """Why two tensors have no elements to compare; empty if they have."""
    if a.shape == b.shape and a.dtype == b.dtype:
        return ""
    return f"A gives {a.dtype}{list(a.shape)}, B {b.dtype}{list(b.shape)}"


def _incomparable(a: Array, b: Array, reference: Array) -> str:
    """Why two float tensors cannot be compared by their distance; empty if they can."""
    if reason := unlike(a, b):
        return reason
    odd = ~same(a, b) & ~(np.isfinite(a) & np.isfinite(b))
    odd &= np.isfinite(a) | ~np.isfinite(reference)
    if odd.any():
        return _first(odd, a, b)
    if a.size and np.isnan(a).all():
        return ALL_NAN
    return ""


def _first(differ: Array, a: Array, b: Array) -> str:
    """The first element that differs, in words."""
    where = tuple(int(i) for i in np.argwhere(differ)[0])
    return f"at {list(where)} A has {a[where]}, B {b[where]}"


def _floats(name: str, a: Array, b: Array, reference: Array, noise: Noise) -> OutputCheck:
    finite, equal = np.isfinite(a), same(a, b)
    if finite.all():
        target = reference.astype(np.float64, copy=False)
    else:
        target = np.where(finite, reference, 0).astype(np.float64)
        a, b = np.where(finite, a, 0), np.where(finite, b, 0)
    check = within(name, a, b, target, limits(target, noise), excused=equal)
    return replace(check, reason=_reason(check, bool(equal.all()), target, noise))


@dataclass(frozen=True)
class _Band:
    """What is found of some of the elements of an output.

    Args:
        error, error_of_a: the largest finite distances from the target.
        used: the largest share of a bound, and where in the band it is.
        counts: how many elements use how much; see `shares`.
    """

    error: float
    error_of_a: float
    used: float
    place: int
    counts: tuple[int, ...]


def within(
    name: str, a: Array, b: Array, target: Array, bound: Array, excused: Array | None = None
) -> OutputCheck:
    """How far B's values are from a target, in shares of a bound; there is no reason in it yet.

    `bound` broadcasts to the shape of the output. `excused` elements use at most all of their
    bound: what is the very same in both models is right, however far from the reference. Band by
    band, for an output can be as large as the rest of a network.
    """
    free = np.zeros((1,) * a.ndim, bool) if excused is None else excused
    every = (a, b, target, np.broadcast_to(bound, a.shape), np.broadcast_to(free, a.shape))
    starts = range(0, max(a.size, 1), _BAND)
    bands = [_band(*(x.flat[start : start + _BAND] for x in every)) for start in starts]
    most = max(range(len(bands)), key=lambda k: bands[k].used)
    check = OutputCheck(
        name,
        a.dtype.name,
        a.shape,
        max_abs_error=max(band.error for band in bands),
        error_of_a=max(band.error_of_a for band in bands),
        bound=float(bound.max(initial=0)),
        used=bands[most].used,
        shares=tuple(map(int, np.sum([band.counts for band in bands], axis=0))),
    )
    if not (check.max_abs_error or check.used):
        return check
    where = np.unravel_index(starts[most] + bands[most].place, a.shape)
    return replace(check, element=_described(where, *every[:4]))


_BAND = 1 << 20
"""Elements that are compared at once."""


def _band(a: Array, b: Array, target: Array, bound: Array, excused: Array) -> _Band:
    error = _distance(b, target)
    used = np.zeros(a.shape)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        np.divide(error, bound, out=used, where=error > 0)
    used[excused] = np.minimum(used[excused], 1)
    return _Band(
        float(error.max(where=np.isfinite(error), initial=0)),
        float(np.abs(a.astype(np.float64) - target).max(initial=0)),
        float(used.max(initial=0)),
        int(used.argmax()) if used.size else 0,
        shares(used),
    )


def _distance(b: Array, target: Array) -> Array:
    """From the target; infinite where B is no number."""
    b = b.astype(np.float64)
    return np.where(np.isfinite(b), np.abs(b - target), np.inf)


def shares(used: Array) -> tuple[int, ...]:
    """How many elements use none of their bound, at most each of `SHARES` of it, and more.

    >>> shares(np.array([0.0, 1e-9, 0.3, 0.5, 2.0]))
    (1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1)
    """
    places = np.searchsorted(SHARES, used[used > 0], side="left")
    counts = np.bincount(places.ravel(), minlength=len(SHARES) + 1)
    return (int(used.size - places.size), *map(int, counts))


def _reason(check: OutputCheck, equal: bool, target: Array, noise: Noise) -> str:
    if equal:
        return ""
    if not half_of_the_digits(noise.size, target, noise.unit, noise.floor):
        return DIGITS_LOST
    if check.used > 1:
        return "further from the reference than rounding explains"
    return ""


def _described(where: tuple[np.intp, ...], a: Array, b: Array, target: Array, bound: Array) -> str:
    """The element that uses most of its bound, in words."""
    error = float(_distance(b[where], target[where]))
    return (
        f"at {[int(i) for i in where]} A has {float(a[where]):.9g}, B {float(b[where]):.9g}, "
        f"the reference {target[where]:.12g}: error {error:.2g}, bound {bound[where]:.2g}"
    )
