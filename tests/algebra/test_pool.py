"""Average pooling against a loop over the windows, written from PyTorch's definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from onebyone.algebra.pool import AveragePool, Mean, Sum
from onebyone.algebra.space import apply

from .maps import SIZES, pools


@given(pools, st.sampled_from(SIZES))
def test_each_window_averages_the_taps_that_count(pool: AveragePool, n: int) -> None:
    assume(max(pool.before, pool.after) < pool.kernel)
    assume((pool.out_size(n) or 0) > 0)
    before, after = pool.pads(n)
    positions = np.arange(-before, n + after)
    for i, row in enumerate(pool.matrix(n)):
        taps = i * pool.stride - before + pool.dilation * np.arange(pool.kernel)
        inside = [t for t in taps if 0 <= t < n]
        count = np.isin(taps, positions).sum() if pool.count_include_pad else len(inside)
        assert row.nonzero()[0].tolist() == inside
        assert all(row[t] == 1 / count for t in inside)


@given(pools, st.sampled_from(SIZES))
def test_every_window_starts_in_the_input_or_before(pool: AveragePool, n: int) -> None:
    assume(max(pool.before, pool.after) < pool.kernel)
    assume((pool.out_size(n) or 0) > 0)
    before, after = pool.pads(n)
    last = ((pool.out_size(n) or 0) - 1) * pool.stride - before
    assert last < n or not pool.ceil_mode
    whole = pool.fits(n) and not pool.ceil_mode
    assert not whole or last + (pool.kernel - 1) * pool.dilation < n + after


def test_same_padding_keeps_the_size_over_the_stride() -> None:
    upper, lower = (AveragePool(4, 3, auto_pad=side) for side in ("SAME_UPPER", "SAME_LOWER"))
    assert (upper.pads(6), lower.pads(6)) == ((0, 1), (1, 0))
    assert upper.out_size(6) == lower.out_size(6) == 2


def test_a_window_that_does_not_fit() -> None:
    """ONNX Runtime rounds the count of windows to zero: one that starts inside, and averages it."""
    pool = AveragePool(5, stride=3)
    assert [pool.fits(n) for n in (2, 3, 4, 5)] == [False, False, False, True]
    assert [pool.out_size(n) for n in (2, 3, 4, 5)] == [0, 1, 1, 1]
    assert pool.matrix(3).tolist() == [[1 / 3] * 3]


@given(pools, st.sampled_from(SIZES))
def test_what_makes_no_difference_is_left_out(pool: AveragePool, n: int) -> None:
    assume(max(pool.before, pool.after) < pool.kernel and pool.fits(n))
    plain = pool.plain(n)
    assert np.array_equal(plain.matrix(n), pool.matrix(n))
    inside = pool.pads(n) == (0, 0) and pool.out_size(n) == AveragePool(
        pool.kernel, pool.stride, dilation=pool.dilation
    ).out_size(n)
    assert plain.stays_inside == inside
    assert pool.plain(None) in (pool, plain)


def test_on_an_axis_of_any_size_less_is_left_out() -> None:
    assert AveragePool(3, 1, ceil_mode=True, auto_pad="VALID").plain(None) == AveragePool(3)
    for pool in (AveragePool(2, 2, ceil_mode=True), AveragePool(2, auto_pad="SAME_LOWER")):
        assert pool.plain(None) == pool


def test_a_pool_of_one_is_a_subsample() -> None:
    assert AveragePool(1, 2).is_selection
    assert (AveragePool(1, 2).matrix(5) == np.eye(5)[::2]).all()


@pytest.mark.parametrize(
    ("pool", "keeps"),
    [
        (AveragePool(3, 2, 1, 1), True),
        (AveragePool(3, 2, 1, 1, ceil_mode=True), True),
        (AveragePool(3, 2, count_include_pad=True), True),
        (AveragePool(3, 2, 1, 1, count_include_pad=True), False),
        (AveragePool(3, 2, count_include_pad=True, ceil_mode=True), False),
        (AveragePool(3, auto_pad="SAME_UPPER", count_include_pad=True), False),
        (AveragePool(3, auto_pad="SAME_UPPER"), True),
        (AveragePool(2, 1, 1, 1, dilation=3), False),
        (AveragePool(2, 1, 0, 2), False),
    ],
    ids=str,
)
def test_constants_are_kept_where_padding_is_not_counted(pool: AveragePool, keeps: bool) -> None:
    assert pool.preserves_constants == keeps


def test_dilated_windows_can_miss_the_input() -> None:
    assert not AveragePool(2, 1, 2, 2, dilation=3).matrix(1).any(axis=1).all()


@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_mean_and_sum_over_an_axis(n: int) -> None:
    x = np.arange(n * 3.0).reshape(n, 3)
    assert (apply({0: Mean()}, x) == x.mean(axis=0, keepdims=True)).all()
    assert (apply({0: Sum()}, x) == x.sum(axis=0, keepdims=True)).all()
