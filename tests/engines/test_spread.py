"""What can be told of noisy times: intervals of medians, and the verdict beside a control."""

from __future__ import annotations

import random
from math import inf

import pytest

from onebyone.engines.spread import Interval, Spread, at_odds, ratio, verdict


@pytest.mark.parametrize(
    ("count", "rank"),
    # Tables of the sign test: two-sided 5% points of Binomial(n, 1/2).
    [(5, 0), (6, 1), (8, 1), (9, 2), (15, 4), (20, 6), (25, 8), (50, 18), (100, 40)],
)
def test_the_interval_is_that_of_the_sign_test(count: int, rank: int) -> None:
    found = ratio([float(k + 1) for k in range(count)], [1.0] * count)
    assert found.median == (count + 1) / 2
    ends = (rank, count + 1 - rank) if rank else (0, inf)
    assert (found.low, found.high) == ends


def test_it_misses_the_median_no_more_often_than_it_says() -> None:
    # 95% at least, for any distribution; of 2000 draws the share of misses has a standard deviation
    # of 0.5%, so that 7.5% are five of them.
    draw, missed = random.Random(0), 0
    for _ in range(2000):
        found = ratio([draw.expovariate(1.0) + 1.0 for _ in range(15)], [1.0] * 15)
        missed += not found.low <= 1.0 + 0.6931471805599453 <= found.high  # ln 2
    assert 0 < missed <= 150


def test_a_ratio_is_of_single_rounds() -> None:
    # The machine is ten times slower in the last three rounds, for both.
    first, second = [2.0] * 4 + [20.0] * 3, [1.0] * 4 + [10.0] * 3
    assert ratio(first, second) == Interval(2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("found", "control", "said"),
    [
        (Interval(1.1, 1.05, 1.2), Interval(1.0, 0.98, 1.02), "faster"),
        (Interval(0.9, 0.85, 0.95), Interval(1.0, 0.98, 1.02), "slower"),
        # Its own interval contains 1.
        (Interval(1.1, 0.99, 1.2), Interval(1.0, 0.98, 1.02), "cannot tell"),
        # The control reaches as far, to either side.
        (Interval(1.1, 1.05, 1.2), Interval(1.0, 0.98, 1.1), "cannot tell"),
        (Interval(1.1, 1.05, 1.2), Interval(1.0, 0.9, 1.02), "cannot tell"),
        (Interval(0.9, 0.85, 0.95), Interval(1.0, 0.98, 1.2), "cannot tell"),
        # A control that was not run often enough bounds nothing.
        (Interval(9.0, 8.0, 10.0), Interval(1.0, 0.0, inf), "cannot tell"),
    ],
)
def test_a_difference_is_one_beyond_one_and_beyond_the_control(
    found: Interval, control: Interval, said: str
) -> None:
    assert verdict(found, control) == said


def test_a_spread_is_the_quartiles_in_milliseconds() -> None:
    spread = Spread.of([0.004, 0.001, 0.002, 0.005, 0.003])
    assert spread == Spread(0.003, 0.002, 0.004)
    assert spread.to_dict() == {"median_ms": 3.0, "low_ms": 2.0, "high_ms": 4.0}


def test_a_ratio_that_is_not_that_of_the_medians_is_explained() -> None:
    # Slow for both in four of seven rounds, and more so for the first: 2× in most rounds.
    first, second = [2.0] * 3 + [30.0] * 4, [1.0] * 3 + [15.0, 15.0, 10.0, 10.0]
    found = ratio(first, second)
    medians = Spread.of(first).median, Spread.of(second).median
    assert (found.median, *medians) == (2.0, 30.0, 10.0)
    assert "would give 3.000×" in at_odds(found, *medians)
    assert at_odds(found, 2.02, 1.0) == ""
