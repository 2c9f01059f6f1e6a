"""Time two ways of doing the same, in turns, so that a busy machine slows both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter

__all__ = ["Timing", "side_by_side"]


@dataclass(frozen=True)
class Timing:
    """Median times in milliseconds, and the median over the turns of before / after."""

    before: float
    after: float
    ratio: float


def side_by_side(
    before: Callable[[], object], after: Callable[[], object], turns: int = 31
) -> Timing:
    """Call both once to warm up, then in turns, each going first every other time.

    >>> from time import sleep
    >>> side_by_side(lambda: sleep(0.02), lambda: None, turns=3).ratio > 1
    True
    """
    before(), after()
    seconds = [_turn(before, after, swap=turn % 2 == 1) for turn in range(turns)]
    slow, fast = zip(*seconds, strict=True)
    return Timing(1e3 * median(slow), 1e3 * median(fast), median(a / b for a, b in seconds))


def _turn(
    before: Callable[[], object], after: Callable[[], object], swap: bool
) -> tuple[float, float]:
    if swap:
        second = _seconds(after)
        return _seconds(before), second
    return _seconds(before), _seconds(after)


def _seconds(call: Callable[[], object]) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start
