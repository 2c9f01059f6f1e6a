"""Digits: condition numbers of exact steps, by hand and against what float32 really loses."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from onebyone.algebra.digits import Behind, bits, exact_rows, few_bits, refolded, stencil


def test_bits_of_a_condition_number() -> None:
    assert [bits(c) for c in (0.0, 0.5, 1.0, 2.0, 1024.0, inf)] == [0, 0, 0, 1, 10, inf]


def test_few_bits_are_odd_numbers_below_eight_times_a_power_of_two() -> None:
    few = [0, 1, -2, 3, 5, 7, 6, 10, 2.0**-20, -0.75, 448]
    assert few_bits(np.array(few)).all()
    assert not few_bits(np.array([9, 11, 0.1, 1 / 3, 1e9, 2.0**-20 * 9])).any()
    assert few_bits(np.array([0.5, 0.1], np.float16)).tolist() == [True, False]


def test_rows_that_compute_exactly() -> None:
    weight = np.array([[1, -1, 0], [0, 0.1, 0], [0.1, -0.1, 0], [0, 0, 0], [0.1, 1, 1]])
    assert exact_rows(weight).tolist() == [True, True, False, False, False]
    assert exact_rows(np.zeros((0, 3))).tolist() == []
    late = np.ones((1, 20))
    late[0, 19] = 0.1  # past what is looked at first
    assert exact_rows(late).tolist() == [False]


@pytest.mark.parametrize(
    ("row", "condition"),
    [
        ([1, -1], inf),  # a difference
        ([1, 2, 1, -4], inf),
        ([-1, 0, 1], inf),  # a derivative
        ([1, 2, 1], 1.0),  # a blur
        ([-1, 9, 1], 0.0),  # 9 has four bits
        ([8, -1, -1, -1, -1], 3.0),  # sharpening
        ([4, -3], 7.0),
        ([5], 1.0),
        ([0, 0], 0.0),
    ],
)
def test_the_condition_of_a_stencil(row: list[float], condition: float) -> None:
    assert stencil(np.array([row])) == condition
    assert stencil(np.array([row]).reshape(1, 1, -1)) == condition
    assert stencil(np.array([row, [0.1] * len(row)])) == condition


def test_at_a_padded_border_some_taps_are_missing() -> None:
    sharpening, blur = np.array([[-1.0, 8, -1]]), np.array([[1.0, 2, 1]])
    assert (stencil(sharpening), stencil(sharpening, padded=True)) == (10 / 6, inf)
    assert stencil(blur, padded=True) == 1.0


def test_a_shift_is_told_in_units_of_what_follows_it() -> None:
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    images = Behind().scaled(1 / std)
    assert images.condition(-mean) == pytest.approx(0.485 / 0.229)
    assert Behind().scaled(1 / (255 * std)).condition(-255 * mean) == pytest.approx(0.485 / 0.229)
    assert Behind().condition(np.array([-3.0, 2.0])) == 3.0
    assert Behind().condition(np.zeros(3)) == 0.0


def test_read_by_a_map_it_is_told_by_row() -> None:
    weight = np.array([[0.25, 0.5, 0.25], [0, 0, 0], [0, 0, -0.5]])
    read = Behind().mixed(weight, 1)
    assert read.condition(np.array([8.0, 0, 0])) == 2.0
    assert read.condition(np.array([8.0, 0, -6])) == 6.0
    grouped = Behind().mixed(np.array([[0.5, 0.5], [1.0, 0], [0.25, 0.75]]), 3)
    assert grouped.condition(np.array([0, 0, 9.0, 5, 0, 8])) == 9.0
    taps = Behind().mixed(np.full((1, 2, 3), 0.25), 1)
    assert taps.condition(np.array([4.0, 2.0])) == 3.0


def test_a_map_that_enlarges_loses_more_beside_what_is_added() -> None:
    shift = np.ones(1)
    assert Behind().mixed(np.full((2, 1), 1e9), 1).condition(shift) == 1e9
    summed = Behind().added().scaled(np.array([1e9, 1.0]))
    assert summed.condition(np.ones(2)) == 1e9
    assert summed.mixed(np.full((2, 1), 0.5), 1).condition(shift) == 5e8
    assert Behind().scaled(np.full(2, 1e9)).mixed(np.full((2, 1), 0.5), 1).condition(shift) == 1
    deeper = summed.mixed(np.full((2, 1), 0.5), 1).mixed(np.full((1, 1), 0.5), 1)
    assert deeper.condition(shift) == 5e8


def test_a_part_of_a_concat_meets_its_own_channels() -> None:
    whole = Behind().mixed(np.array([[0.5, 0.25, 0.25]]), 1).scaled(np.array([2.0, 4, 8]))
    assert whole.part(1, 3).condition(np.array([1.0, 1.0])) == 6.0
    grouped = Behind().mixed(np.array([[0.5], [0.5]]), 2)
    assert grouped.part(0, 1).condition(np.array([4.0])) == 4.0


def test_no_channels_have_no_digits() -> None:
    for shape, channels in (((3, 0, 1, 1), 0), ((0, 3), 3), ((2, 0), 0)):
        weight = np.zeros(shape)
        assert Behind().mixed(weight, 1).condition(np.ones(channels)) == 0.0
        assert (stencil(weight), exact_rows(weight).tolist()) == (0.0, [False] * shape[0])


def test_only_what_is_read_can_be_folded() -> None:
    assert not Behind().reads
    read = [Behind().added(), Behind().scaled(np.ones(1)), Behind().mixed(np.ones((1, 1)), 1)]
    assert all(behind.reads for behind in read)


@pytest.mark.parametrize(("mean", "std"), [(2.0, 1.0), (200.0, 10.0), (2000.0, 10.0), (1e5, 10.0)])
def test_what_float32_loses_is_what_the_condition_says(mean: float, std: float) -> None:
    """W((x - mean) / std) beside (W / std)x - W mean / std, x integers near the mean.

    Both round to u times the size of their terms, of which there are n: the first's are |W| alone,
    the second's |W| mean / std as well. The factor between them is the condition number, up to n.
    """
    n, rng = 8, np.random.default_rng(0)
    x = np.rint(mean + std * rng.standard_normal((n, 500)))
    w = rng.standard_normal((4, n)).astype(np.float32)
    exact = w.astype(np.float64) @ ((x - mean) / std)
    f32 = np.float32
    before = w @ ((x.astype(f32) - f32(mean)) / f32(std))
    folded = (w.astype(np.float64) / std).astype(f32)
    bias = (w.astype(np.float64) @ np.full((n, 1), -mean / std)).astype(f32)
    after = folded @ x.astype(f32) + bias
    lost = np.abs(after - exact).max() / np.abs(before - exact).max()
    condition = Behind().mixed(w, 1).scaled(np.full(n, 1 / std)).condition(np.full(n, mean))
    assert lost <= n * max(condition, 1)
    assert lost >= max(condition, 1) / n


@pytest.mark.parametrize(
    ("row", "sums", "condition"),
    [
        ([1, -2, 1], [[-1, 1], [1, -1]], 0.0),  # as exact as before
        ([5, 5, 5, 5], [[15, 5]], 1.0),  # rounds, and nothing cancels
        ([5, 5, 5], [[15]], 0.0),  # one weight only scales
        ([5, 6, -7, -3], [[11, -10]], 21.0),  # 11 has four bits
        ([7, 4, 0, -10], [[11, -10]], 21.0),
        ([5.1, 5, 6, -7], [[5.1, 11, -7]], 0.0),  # rounded before
        ([1, -1], [[0]], 0.0),  # nothing is left that could round
    ],
)
def test_sums_of_taps_lose_where_their_bits_are_more(
    row: list[float], sums: list[list[float]], condition: float
) -> None:
    folded = [np.array([each]) for each in sums]
    assert refolded(np.array([row]), folded) == pytest.approx(condition)
    if condition:
        signs = len({np.sign(w) for w in row} - {0}) > 1
        assert refolded(np.array([row]), folded, padded=True) == (inf if signs else 1.0)
