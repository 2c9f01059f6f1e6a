"""A logarithmic axis: where a value stands, and which values are written beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

__all__ = ["Log", "Tick", "log_over"]


@dataclass(frozen=True)
class Tick:
    """A value that is written at an axis."""

    at: float
    value: float


@dataclass(frozen=True)
class Log:
    """From `low` at `start` to `high` at `end`.

    >>> axis = Log(1.0, 100.0, 0.0, 200.0)
    >>> axis.at(10.0), axis.at(1e-9), axis.at(1e9)
    (100.0, 0.0, 200.0)
    """

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Its place; what lies outside stands at the end."""
        if not value > 0:
            return self.start
        share = log10(min(value, self.high) / self.low) / log10(self.high / self.low)
        return round(self.start + min(max(share, 0), 1) * (self.end - self.start), 2)

    def ticks(self, most: int = 6) -> tuple[Tick, ...]:
        """Powers of ten, no more than `most` of them; between few of them also twos and fives."""
        first, last = ceil(log10(self.low) - 1e-9), floor(log10(self.high) + 1e-9)
        step = max(1, ceil((last - first + 1) / most))
        values = [10.0**k for k in range(first, last + 1, step)]
        finer = [n * 10.0**k for k in range(first - 1, last + 1) for n in (1, 2, 5)]
        finer = [value for value in finer if self.low <= value <= self.high]
        found = values if len(finer) > most else finer
        return tuple(Tick(self.at(value), value) for value in found)


def log_over(values: Iterable[float], start: float, end: float, pad: float = 1.5) -> Log:
    """An axis over all positive values, with room by a factor `pad` on both sides."""
    found = [value for value in values if value > 0 and isfinite(value)] or [1.0]
    low, high = min(found) / pad, max(found) * pad
    if high / low < 10:
        middle = (high * low) ** 0.5
        low, high = middle / 10**0.5, middle * 10**0.5
    return Log(low, high, start, end)
