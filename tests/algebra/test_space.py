"""The commute law and the two properties that decide where it holds, for every axis map."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from onebyone.algebra import space
from onebyone.algebra.pool import AveragePool, Mean, Sum
from onebyone.algebra.resize import Resize
from onebyone.algebra.selection import Pad, Shift, Slice, Tile, subsample
from onebyone.algebra.space import AxisMap, apply
from onebyone.errors import UsageError

from .maps import SIZES, axis_maps, out_size

# A weight is a quotient or a cubic polynomial: at most ten roundings of numbers below 12, so it is
# within 120·2^-53 of the real one; a row adds up at most 2·ceil(2 / 0.3) = 14 of them.
ROW_BOUND = 14 * 121 * 2.0**-53

DYADIC = [
    AveragePool(2, 2, 1, 1, count_include_pad=True),
    AveragePool(4, 1, 1, 2, count_include_pad=True),
    AveragePool(2, 3),
    Sum(),
    Slice(1, -1),
    Slice(step=-1),
    subsample(2),
    subsample(3, 1),
    Tile(3),
    Pad(1, 2),
    Pad(2, 1, "reflect"),
    Pad(0, 3, "edge"),
    Pad(3, 1, "wrap"),
    Resize("nearest", scale=2.0),
    Resize("linear", scale=2.0),
    Resize("linear", "align_corners", size=9),
    Resize("cubic", scale=2.0),
    Resize("linear", "tf_crop_and_resize", size=3, roi=(-0.5, 1.0)),
]


@given(axis_maps, st.sampled_from(SIZES), st.integers(1, 9))
def test_rows_sum_to_one_where_claimed(axis_map: AxisMap, n_in: int, spare: int) -> None:
    n_out = _matrix_size(axis_map, n_in, spare)
    matrix = axis_map.matrix(n_in, n_out)
    assert matrix.shape == (n_out, n_in)
    assert matrix.dtype == np.float64
    if axis_map.preserves_constants:
        assert abs(matrix.sum(axis=1) - 1).max() <= ROW_BOUND


@given(axis_maps, st.sampled_from(SIZES), st.integers(1, 9))
def test_rows_are_one_hot_where_claimed(axis_map: AxisMap, n_in: int, spare: int) -> None:
    matrix = axis_map.matrix(n_in, _matrix_size(axis_map, n_in, spare))
    if axis_map.is_selection:
        assert axis_map.preserves_constants
        assert ((matrix == 0) | (matrix == 1)).all()
        assert (matrix.sum(axis=1) == 1).all()


def _matrix_size(axis_map: AxisMap, n_in: int, spare: int) -> int:
    n_out = out_size(axis_map, n_in, spare)
    assume(n_out is not None)
    # A pool that pads as much as its kernel has windows without input, which no engine accepts.
    padding = axis_map if isinstance(axis_map, AveragePool) else AveragePool(1)
    assume(max(padding.before, padding.after) < padding.kernel)
    assert n_out is not None
    return n_out


@pytest.mark.parametrize("axis_map", DYADIC, ids=str)
@pytest.mark.parametrize("n_in", [4, 5, 7])
def test_channel_maps_commute(axis_map: AxisMap, n_in: int) -> None:
    rng = np.random.default_rng(n_in)
    W = rng.integers(-3, 4, (2, 3))
    x = rng.integers(-4, 5, (2, 3, n_in, 5)).astype(float)
    before = apply({2: axis_map}, np.einsum("oc,nchw->nohw", W, x))
    after = np.einsum("oc,nchw->nohw", W, apply({2: axis_map}, x))
    assert (before == after).all()


@pytest.mark.parametrize("axis_map", DYADIC, ids=str)
def test_a_bias_commutes_only_with_maps_that_keep_constants(axis_map: AxisMap) -> None:
    b = np.array([[[[3.0]], [[-2.0]]]])
    x = np.random.default_rng(1).integers(-4, 5, (2, 2, 5, 3)).astype(float)
    before, after = apply({2: axis_map}, x + b), apply({2: axis_map}, x) + b
    assert (before == after).all() == axis_map.preserves_constants


@pytest.mark.parametrize(
    "axis_map",
    [Sum(), Pad(1, 0), Pad(0, 2), Shift(1), AveragePool(3, before=1, count_include_pad=True)],
    ids=str,
)
def test_unclaimed_maps_have_a_counterexample(axis_map: AxisMap) -> None:
    assert not axis_map.preserves_constants
    sizes = [(n, out_size(axis_map, n, n)) for n in SIZES]
    matrices = [axis_map.matrix(n, n_out) for n, n_out in sizes if n_out]
    assert any((matrix.sum(axis=1) != 1).any() for matrix in matrices)


@pytest.mark.parametrize("axis_map", [Mean(), AveragePool(2), Resize("linear", scale=2.0)], ids=str)
def test_nonlinear_functions_do_not_commute_with_averages(axis_map: AxisMap) -> None:
    x = np.array([-4.0, 2.0, -2.0])
    assert not axis_map.is_selection
    assert (apply({0: axis_map}, np.maximum(x, 0)) != np.maximum(apply({0: axis_map}, x), 0)).any()


def test_apply_maps_each_axis_by_itself() -> None:
    x = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    y = apply({1: Slice(step=-1), 2: Tile(2)}, x)
    assert (y == np.concatenate([x[:, ::-1], x[:, ::-1]], axis=2)).all()


def test_apply_takes_run_time_sizes() -> None:
    x = np.array([[1.0, 2.0]])
    assert (apply({1: Tile()}, x, {1: 6}) == [[1, 2, 1, 2, 1, 2]]).all()


@pytest.mark.parametrize(
    ("axis_map", "n_out"),
    [(Tile(), None), (Slice(1), 5), (Resize("linear"), None), (Shift(0), None)],
)
def test_an_output_size_that_is_missing_or_wrong_is_named(
    axis_map: AxisMap, n_out: int | None
) -> None:
    with pytest.raises(UsageError, match=r"n_out=.*wanted.*pass n_out"):
        axis_map.matrix(3, n_out)


@pytest.mark.parametrize(
    "axis_map",
    [
        AveragePool(3, 2, 1, 1),
        AveragePool(5, 3, dilation=2, ceil_mode=True, count_include_pad=True),
        Resize("linear", scale=0.5),
        Resize("cubic", "asymmetric", 1.5),
        Resize("nearest", "half_pixel", 2.0),
        Resize("linear", "tf_crop_and_resize", size=71, roi=(0.25, 1.5)),
    ],
    ids=str,
)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_long_axes_need_no_matrix(
    axis_map: AxisMap, axis: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of outputs that are sums of few inputs, no more than these are read."""
    monkeypatch.setattr(space, "_LARGE", 0)
    shape = [3, 2, 4]
    shape[axis] = 51
    x = np.random.default_rng(0).integers(-4, 5, shape).astype(np.float64)
    assert axis_map.few(51, axis_map.out_size(51) or 0) is not None
    wanted = np.moveaxis(np.tensordot(axis_map.matrix(51), x, (1, axis)), 0, axis)
    # At most five terms of size 4 times a weight below 2, added in another order.
    np.testing.assert_allclose(apply({axis: axis_map}, x), wanted, rtol=0, atol=5 * 40 * 2.0**-53)


def test_a_pool_of_a_long_sound_takes_little_memory() -> None:
    pool, x = AveragePool(2, 2), np.arange(200_001, dtype=np.float64)[None]
    assert np.array_equal(apply({1: pool}, x)[0], x[0, :-1].reshape(-1, 2).mean(1))
