"""Medians of noisy times, and what can be told of them.

    x₍ₖ₎ ≤ m ≤ x₍ₙ₊₁₋ₖ₎   with probability 1 − 2 P(B < k),   B ~ Binomial(n, 1/2)

for the median m of whatever distribution the n values x₍₁₎ ≤ … ≤ x₍ₙ₎ are independent draws of: how
many of them lie below m is B. k is the largest for which the probability is at least 95%.

Rounds that follow each other on a busy machine are not independent, so that is not enough by
itself. Each comparison has a *control*, a model against a second copy of itself, in the same
rounds: what differs by no more than the control may do is not told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, inf
from statistics import median, quantiles
from typing import Any

__all__ = ["Interval", "Spread", "at_odds", "ratio", "told", "verdict"]

_MISSED = 0.025
"""The most that each end of an interval may miss the median by chance."""
_AGREE = 0.02
"""How far a ratio may be from that of the medians, before that is explained."""


@dataclass(frozen=True)
class Spread:
    """The median of some times and the quartiles around it, in seconds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread:
        """Of two values or more.

        >>> Spread.of([3.0, 1.0, 2.0])
        Spread(median=2.0, low=1.5, high=2.5)
        """
        low, middle, high = quantiles(seconds, n=4, method="inclusive")
        return cls(middle, low, high)

    def to_dict(self) -> dict[str, Any]:
        """In milliseconds."""
        return {
            "median_ms": self.median * 1e3,
            "low_ms": self.low * 1e3,
            "high_ms": self.high * 1e3,
        }


@dataclass(frozen=True)
class Interval:
    """The median of a ratio, and the interval that its true median lies in, at 95%."""

    median: float
    low: float
    high: float

    @property
    def reach(self) -> float:
        """How far from 1 the interval reaches, as a factor of at least 1."""
        return max(self.high, 1 / self.low if self.low else inf)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"median": self.median, "low": self.low, "high": self.high}


def ratio(first: Sequence[float], second: Sequence[float]) -> Interval:
    """The ratios first / second of single rounds: how many times faster the second is.

    Fewer than six rounds bound nothing: the interval is then all numbers above 0.

    >>> ratio([2.0] * 9, [1.0] * 7 + [2.0, 4.0])
    Interval(median=2.0, low=1.0, high=2.0)
    >>> ratio([2.0], [1.0])
    Interval(median=2.0, low=0.0, high=inf)
    """
    # Of rounds and not of all against all: neighbours in time share what slows the machine.
    values = sorted(a / b for a, b in zip(first, second, strict=True))
    k = _rank(len(values))
    low, high = (values[k - 1], values[-k]) if k else (0.0, inf)
    return Interval(median(values), low, high)


def at_odds(interval: Interval, first: float, second: float) -> str:
    """Why the ratio of rounds is not that of the medians beside it; empty where it is, within 2%.

    >>> at_odds(Interval(2.0, 1.9, 2.1), 4.0, 2.0)
    ''
    >>> at_odds(Interval(2.0, 1.9, 2.1), 3.0, 2.0)[:36]
    'the medians alone would give 1.500×,'
    """
    alone = first / second
    if abs(alone / interval.median - 1) <= _AGREE:
        return ""
    return (
        f"the medians alone would give {alone:.3f}×, but the machine did not stay equally fast: "
        "the ratio is the median over rounds, in which both run next to each other"
    )


def _rank(count: int) -> int:
    """The largest k with P(B < k) at most 2.5% for B ~ Binomial(count, 1/2); 0 if there is none."""
    below, k = 0, 0
    while k < count and (below + comb(count, k)) / 2**count <= _MISSED:
        below += comb(count, k)
        k += 1
    return k


def told(interval: Interval, control: Interval) -> bool:
    """Whether a difference is one: the interval is beyond 1, and its median beyond the control."""
    beyond = interval.low > 1 or interval.high < 1
    return beyond and max(interval.median, 1 / interval.median) > control.reach


def verdict(interval: Interval, control: Interval) -> str:
    """ "faster", "slower" or "cannot tell".

    >>> calm, wild = Interval(1.0, 0.99, 1.01), Interval(1.0, 0.8, 1.2)
    >>> fast = Interval(1.1, 1.05, 1.15)
    >>> verdict(fast, calm), verdict(fast, wild), verdict(Interval(0.9, 0.85, 0.95), calm)
    ('faster', 'cannot tell', 'slower')
    """
    if not told(interval, control):
        return "cannot tell"
    if interval.median > 1:
        return "faster"
    return "slower"
