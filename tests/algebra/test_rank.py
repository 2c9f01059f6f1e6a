"""Ranks against exact ones: products of small integers, rounded to each number format."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from onebyone.algebra.rank import numerical_rank, rank, singular_values, threshold
from onebyone.errors import UsageError

JSON = Path(__file__).parents[2] / "docs" / "json.md"
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


# In float64 the decomposition itself is as coarse as the rounding.
@pytest.mark.parametrize("dtype", FLOATS[1:])
def test_a_perturbation_of_many_roundings_is_seen(dtype: type) -> None:
    # Off the span of W by 8u‖W‖_F: by Weyl the last σ is at least that less one rounding, 7u‖W‖_F,
    # and the threshold is u‖W‖_F but for the decomposition's share, which is nothing beside it.
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
        (np.array([[1j]]), "got complex128 numbers, wanted real ones"),
    ],
)
def test_what_has_no_rank(W: np.ndarray, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        numerical_rank(W)


# --- the whole answer -----------------------------------------------------------------------


@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3]), *[st.integers(1, 4)] * 3, st.booleans())
def test_rank_is_that_of_the_matrix_written_out(
    seed: int, groups: int, rows: int, r: int, columns: int, biased: bool
) -> None:
    blocks = [product(seed + g, rows, r, columns) for g in range(groups)]
    bias = np.random.default_rng(seed).integers(-1, 2, groups * rows) if biased else None
    full = np.zeros((groups * rows, groups * columns), int)
    for g, block in enumerate(blocks):
        full[g * rows : (g + 1) * rows, g * columns : (g + 1) * columns] = block
    written_out = full if bias is None else np.column_stack([full, bias])
    found = rank(np.concatenate(blocks), bias, groups=groups)
    assert found.rank == exact_rank(written_out)
    assert found.redundant == groups * rows - found.rank
    assert found.inner == max(map(exact_rank, blocks))
    whole = singular_values(full)
    # Both decompositions, each within max(shape)·2^-52·σ₁.
    error = np.abs(np.array(found.singular_values) - whole[: len(found.singular_values)]).max()
    assert error <= 2 * max(full.shape) * 2**-52 * whole[0]


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_the_size_of_the_bias_does_not_matter(scale: float) -> None:
    random = np.random.default_rng(0)
    W, b = random.normal(size=(12, 4)).astype(np.float32), random.normal(size=12)
    assert rank(W, (scale * b).astype(np.float32)).rank == 5
    within = W.astype(np.float64) @ random.normal(size=4)
    assert rank(W, (scale * within).astype(np.float32)).rank == 4


def test_a_kernel_is_further_columns() -> None:
    W = np.random.default_rng(0).normal(size=(30, 2, 3, 3))
    found = rank(W)
    assert (found.rank, found.in_features, found.redundant) == (18, 18, 12)


def test_advice() -> None:
    factored = rank(product(0, 40, 2, 30))
    # 2 · (40 + 30) = 140 of 1,200 weights.
    assert factored.advice == (
        "W = BA exactly, 30 → 2 → 40: r(a+b) = 140 weights instead of ab = 1,200, 88.3 % less"
    )
    random = np.random.default_rng(1)
    assert rank(random.normal(size=(256, 64))).advice == (
        "nothing to gain exactly: 64 → 64 → 256 needs r(a+b) = 20,480 weights, "
        "W has ab = 16,384; a nonlinearity after it can lift the redundancy"
    )
    assert rank(random.normal(size=(64, 256))).advice.startswith("full rank: ")
    assert rank(np.zeros((3, 5))).advice.startswith("W is zero")
    grouped = rank(np.ones((40, 15)), groups=2).advice
    # Two groups of 1 · (15 + 20) instead of 15 · 20.
    assert grouped.startswith("W = BA exactly, 15 → 1 → 20 in each of 2 groups: r(a+b) = 70 ")
    assert "88.3 % less" in grouped


def test_factoring_pays_just_where_it_does() -> None:
    # r(a+b) < ab at a = b = 8: r = 3 pays (48 < 64), r = 4 does not (64 = 64).
    assert rank(product(1, 8, 3, 8)).advice.startswith("W = BA exactly")
    assert rank(product(1, 8, 4, 8)).advice.startswith("nothing to gain exactly")


def test_energy() -> None:
    # Squares 900, 100, 9, 1 of 1010: 89.1 %, 99.01 %, 99.90 % (more than 99.9), all.
    found = rank(np.diag([30, 10, 3, 1]))
    assert found.energy == ((0.9, 2), (0.99, 2), (0.999, 3))
    assert rank(np.zeros((2, 3))).energy == ((0.9, 0), (0.99, 0), (0.999, 0))


def test_the_table_and_the_plain_data() -> None:
    found = rank(np.diag([9, 3, 3, 0]), np.array([0, 0, 0, 1]))
    shown = str(found)
    assert found.rank == 4
    for told in (
        "4 of 4 output channels (weight and bias)",
        "█▃▃▁",
        "9 to 0",
        "rank 2",
        found.advice,
    ):
        assert told in shown
    value = found.to_dict()
    assert (value["rank"], value["redundant"], value["singular_values"]) == (4, 0, [9, 3, 3, 0])
    assert value["energy"][0] == {"share": 0.9, "rank": 2}
    assert set(value) <= set(re.findall(r"`(\w+)`", JSON.read_text(encoding="utf-8")))
    console = Console(width=100, highlight=False)
    with console.capture() as printed:
        console.print(found)
    assert printed.get().rstrip("\n") == shown
    assert "singular_values" not in repr(found)


@pytest.mark.parametrize(
    ("W", "bias", "groups", "said"),
    [
        (np.ones(3), None, 1, r"got a weight of shape \(3,\), wanted \(C_out, C_in, …\)"),
        (np.ones((0, 3)), None, 1, "none of them 0"),
        (np.ones((4, 3)), np.ones(3), 1, r"got a bias of shape \(3,\), wanted \(4,\)"),
        (np.ones((4, 3)), None, 3, "C_out a multiple of groups"),
        (np.ones((4, 3)), np.full(4, np.nan), 1, "got a bias with NaN"),
    ],
)
def test_what_does_not_fit(W: np.ndarray, bias: np.ndarray | None, groups: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        rank(W, bias, groups=groups)
