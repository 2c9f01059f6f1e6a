"""Turns: who is timed, how often, in which order, by which clock."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from onebyone.engines.turns import LEAST_ROUNDS, WARM_UPS, best_of, take_turns


def test_every_call_is_timed_once_a_round_after_the_warm_ups() -> None:
    called: list[str] = []
    calls = [lambda name=name: called.append(name) for name in "abc"]
    times = take_turns(calls, seconds=0.0)
    assert [len(one) for one in times] == [LEAST_ROUNDS] * 3
    assert Counter(called) == dict.fromkeys("abc", LEAST_ROUNDS + WARM_UPS)
    rounds = called[3 * WARM_UPS :]
    assert all(set(rounds[k : k + 3]) == set("abc") for k in range(0, len(rounds), 3))


def test_the_order_changes_and_no_call_always_follows_the_same_one() -> None:
    called: list[str] = []
    calls = [lambda name=name: called.append(name) for name in "abc"]
    take_turns(calls, seconds=0.05)
    assert set(pairwise(called)) == {(a, b) for a in "abc" for b in "abc"}


def test_seconds_are_those_of_the_clock_given() -> None:
    now = 0.0

    def clock() -> float:
        return now

    def slow() -> None:
        nonlocal now
        now += 3.0

    def fast() -> None:
        nonlocal now
        now += 1.0

    first, second = take_turns([slow, fast], seconds=0.0, clock=clock)
    assert set(first) == {3.0}
    assert set(second) == {1.0}
    assert best_of(fast, clock=clock) == 1.0


def test_what_a_call_raises_is_heard() -> None:
    with pytest.raises(ZeroDivisionError):
        take_turns([lambda: 1 / 0], seconds=0.0)


def test_the_share_that_is_done_is_heard_between_the_rounds() -> None:
    shares: list[float] = []
    inside: list[bool] = []
    take_turns([lambda: inside.append(True)], seconds=0.02, heard=shares.append)
    assert shares[0] == 0.0
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
    assert len(shares) == len(inside) - WARM_UPS + 1


def test_without_seconds_the_rounds_are_counted() -> None:
    shares: list[float] = []
    take_turns([lambda: None], seconds=0.0, heard=shares.append)
    assert shares == [k / LEAST_ROUNDS for k in range(LEAST_ROUNDS)] + [1.0]
