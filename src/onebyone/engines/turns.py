"""Turns: calls timed round by round, so that whatever slows the machine slows them all.

    round r:   all calls once each, in an order drawn for r        seconds[c][r]

A drawn order, not one that is turned round: in A B | B A | A B each follows itself every other
time, but with a third call C between, B never does, and runs on colder caches than A and C.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

__all__ = ["LEAST_ROUNDS", "best_of", "take_turns"]

Call = Callable[[], Any]
Clock = Callable[[], float]

WARM_UPS = 2
LEAST_ROUNDS, MOST_ROUNDS = 9, 1001


def take_turns(
    calls: Sequence[Call],
    seconds: float,
    *,
    clock: Clock = perf_counter,
    heard: Callable[[float], object] | None = None,
) -> tuple[tuple[float, ...], ...]:
    """The seconds of each call, round by round, after two warm-ups of all.

    Args:
        calls: what is timed.
        seconds: how long to go on, in real time: at least 9 rounds, at most 1001.
        clock: what the calls are timed by, such as `time.process_time` on a busy machine.
        heard: called between the rounds with the share that is done, up to 1.

    >>> first, second = take_turns([lambda: sum(range(9999)), lambda: None], seconds=0.0)
    >>> len(first), len(second), min(first) > min(second)
    (9, 9, True)
    """
    for call in [*calls] * WARM_UPS:
        call()
    taken: tuple[list[float], ...] = tuple([] for _ in calls)
    # The same orders in every run of the program: no run is luckier than another.
    order = list(range(len(calls)))
    draw = random.Random(0)
    begin = perf_counter()
    for done in range(MOST_ROUNDS):
        spent = perf_counter() - begin
        if done >= LEAST_ROUNDS and spent >= seconds:
            break
        if heard is not None:
            heard(_share(done, spent, seconds))
        draw.shuffle(order)
        for k in order:
            taken[k].append(_timed(calls[k], clock))
    if heard is not None:
        heard(1.0)
    return tuple(map(tuple, taken))


def _share(rounds: int, spent: float, seconds: float) -> float:
    """How much of the rounds is done: by time, and no more than by the least number of them."""
    return min(spent / seconds if seconds else 1.0, rounds / LEAST_ROUNDS, 1.0)


def best_of(call: Call, times: int = 5, *, clock: Clock = perf_counter) -> float:
    """The least seconds of several calls, after one that does not count."""
    # Memory is got and caches are filled in the first; what else slows a call only adds to it.
    call()
    return min(_timed(call, clock) for _ in range(times))


def _timed(call: Call, clock: Clock) -> float:
    start = clock()
    call()
    return clock() - start
