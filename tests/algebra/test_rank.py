"""Ranks against exact ones: products of small integers, rounded to each number format."""

from __future__ import annotations

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebyone.algebra.rank import numerical_rank, singular_values, threshold
from onebyone.errors import UsageError

FLOATS = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]


def exact_rank(W: np.ndarray) -> int:
    """The rank over the rationals, by elimination."""
    rows = [[Fraction(int(v)) for v in row] for row in W]
    rank = 0
    for column in range(W.shape[1]):
        pivot = next((r for r in rows[rank:] if r[column]), None)
        if pivot is None:
            continue
        rows.remove(pivot)
        rows.insert(rank, pivot)
        for row in rows[rank + 1 :]:
            factor = row[column] / pivot[column]
            row[:] = [a - factor * b for a, b in zip(row, pivot, strict=True)]
        rank += 1
    return rank


def product(seed: int, c_out: int, r: int, c_in: int) -> np.ndarray:
    """B A of small integers: of rank r at most."""
    random = np.random.default_rng(seed)
    return random.integers(-3, 4, (c_out, r)) @ random.integers(-3, 4, (r, c_in))


@given(st.integers(0, 10**6), *[st.integers(1, 9)] * 3)
def test_the_rank_of_integers_is_the_exact_one(seed: int, c_out: int, r: int, c_in: int) -> None:
    W = product(seed, c_out, r, c_in)
    assert numerical_rank(W) == exact_rank(W)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("c_out", "r", "c_in"), [(48, 5, 17), (17, 5, 48), (31, 9, 16)])
def test_one_rounding_hides_no_rank(dtype: type, c_out: int, r: int, c_in: int) -> None:
    random = np.random.default_rng(r)
    W = random.normal(size=(c_out, r)) @ random.normal(size=(r, c_in))
    assert numerical_rank(W.astype(dtype)) == r


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_perturbation_of_many_roundings_is_seen(dtype: type) -> None:
    # Off the span of W by 8u‖W‖_F: by Weyl the last σ is at least that less one rounding, 7u‖W‖_F,
    # and the threshold is u‖W‖_F but for the decomposition's share (nothing beside it below f64).
    if dtype is np.float64:
        pytest.skip("at float64 the decomposition itself is as coarse as the rounding")
    W = np.zeros((6, 5))
    W[0, 0] = 1
    unit = 2.0 ** -{np.float32: 24, np.float16: 11, ml_dtypes.bfloat16: 8}[dtype]
    W[1, 1] = 8 * unit
    assert numerical_rank(W.astype(dtype)) == 2
    W[1, 1] = unit / 2
    assert numerical_rank(W.astype(dtype)) == 1


@pytest.mark.parametrize("dtype", FLOATS[:3])
def test_rounding_never_moves_a_singular_value_further_than_the_threshold(dtype: type) -> None:
    W = np.random.default_rng(3).normal(size=(23, 11))
    rounded = W.astype(dtype)
    moved = np.abs(singular_values(rounded) - singular_values(W)).max()
    assert moved <= threshold(rounded, singular_values(rounded))


def test_numbers_below_the_normal_range_are_provided_for() -> None:
    # A product of rank 2 near half of float16's least positive number: each entry moves by up to
    # half of that number, far more than u times itself.
    random = np.random.default_rng(4)
    W = random.uniform(1, 2, (40, 2)) @ random.uniform(1, 2, (2, 30)) * 2.0**-24
    assert numerical_rank(W.astype(np.float16)) <= 2


def test_the_unit_stands_for_a_dtype_that_was_widened() -> None:
    random = np.random.default_rng(5)
    W = random.normal(size=(20, 3)) @ random.normal(size=(3, 10))
    widened = W.astype(np.float32).astype(np.float64)
    assert numerical_rank(widened) == 10
    assert numerical_rank(widened, unit=2.0**-24) == 3


def test_the_threshold_is_that_of_its_docstring() -> None:
    W = np.array([[3, 0, 0], [0, 4, 0]], np.float32)
    sigma = singular_values(W)
    assert threshold(W, sigma) == 2**-24 * 5 + 2.0**-150 * 6**0.5 + 3 * 2**-52 * 4
    assert threshold(W.astype(int), sigma) == 3 * 2**-52 * 4


def test_scale_does_not_matter_up_to_the_ends_of_the_range() -> None:
    W = product(6, 8, 3, 5).astype(np.float64)
    for power in (-900, 0, 1000):
        assert numerical_rank(W * 2.0**power) == 3


@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (0, 4), (4, 0)])
def test_nothing_has_rank_zero(shape: tuple[int, int]) -> None:
    assert numerical_rank(np.zeros(shape)) == 0


@pytest.mark.parametrize(
    ("W", "said"),
    [
        (np.zeros((2, 3, 1, 1)), r"got an array of shape \(2, 3, 1, 1\), wanted a matrix"),
        (np.array([[1, np.nan]]), "NaN or infinity"),
        (np.array([[1, -np.inf]]), "NaN or infinity"),
    ],
)
def test_what_has_no_rank(W: np.ndarray, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        numerical_rank(W)
