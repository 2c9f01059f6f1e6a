"""Winograd's bases: equal to the convolution in fractions, and what they lose in floating point."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from math import lcm, prod

import numpy as np
import pytest

from onebyone.algebra.digits import LOST_BITS
from onebyone.algebra.kernel import Kernel
from onebyone.algebra.winograd import BASES, Basis, in_basis, lost_bits, tiled

RNG = np.random.default_rng(3)
KEYS = list(BASES)


def plain(weight: np.ndarray) -> Kernel:
    """The convolution itself: stride one, no padding."""
    rank = weight.ndim - 2
    return Kernel(weight, None, (1,) * rank, (1,) * rank, ((0, 0),) * rank)


def in_fractions(weight: np.ndarray, bases: Sequence[Basis]) -> np.ndarray:
    """U, without a rounding."""
    array = weight.astype(object)
    for axis, basis in enumerate(bases, start=2):
        matrix = np.array(basis.exact[2], object)
        array = np.moveaxis(np.tensordot(matrix, array, (1, axis)), 0, axis)
    return array


@pytest.mark.parametrize("key", KEYS)
def test_a_basis_is_the_convolution_for_every_tap_and_every_position(key: tuple[int, int]) -> None:
    """Both sides are bilinear: equal for all unit vectors, they are equal."""
    m, taps = key
    a, b, g = BASES[key].exact
    for i, k, at in product(range(m), range(taps), range(m + taps - 1)):
        assert sum(a[i][j] * g[j][k] * b[j][at] for j in range(m + taps - 1)) == (i + k == at)


@pytest.mark.parametrize("key", KEYS)
def test_tiles_of_maps_in_fractions(key: tuple[int, int]) -> None:
    """C_in ≠ C_out, more than one tile, a batch."""
    basis = BASES[key]
    weight = RNG.integers(-5, 6, (3, 2, basis.taps))
    x = RNG.integers(-5, 6, (2, 2, 3 * basis.outputs + basis.taps - 1))
    found = tiled(in_fractions(weight, [basis]), [basis], x.astype(object))
    assert (found == plain(weight).apply(x)).all()


@pytest.mark.parametrize("keys", [((2, 3), (2, 3)), ((4, 3), (2, 3)), ((3, 2), (2, 5)),
                                  ((4, 3), (4, 3))])  # fmt: skip
def test_two_axes_in_fractions(keys: Sequence[tuple[int, int]]) -> None:
    """H ≠ W, and a basis of its own for each."""
    bases = [BASES[key] for key in keys]
    weight = RNG.integers(-5, 6, (2, 3, *(basis.taps for basis in bases)))
    sizes = (count * b.outputs + b.taps - 1 for count, b in zip((2, 1), bases, strict=True))
    x = RNG.integers(-5, 6, (1, 3, *sizes))
    found = tiled(in_fractions(weight, bases), bases, x.astype(object))
    assert (found == plain(weight).apply(x)).all()


@pytest.mark.parametrize("keys", [((2, 3), (2, 3)), ((4, 3), (2, 3)), ((4, 3), (4, 3)),
                                  ((2, 2), (3, 2))])  # fmt: skip
def test_two_axes_in_float64_with_taps_that_the_denominators_divide(
    keys: Sequence[tuple[int, int]],
) -> None:
    """With U exact all else is: A and B are dyadic, and no sum leaves 53 bits."""
    bases = [BASES[key] for key in keys]
    odd = prod(lcm(*(entry.denominator for row in b.exact[2] for entry in row)) for b in bases)
    weight = odd * RNG.integers(-3, 4, (3, 2, *(basis.taps for basis in bases)))
    exact = in_fractions(weight, bases)
    assert all(entry.denominator == 1 for entry in exact.flat)
    x = RNG.integers(-3, 4, (2, 2, *(2 * b.outputs + b.taps - 1 for b in bases)))
    found = tiled(exact.astype(np.float64), bases, x.astype(np.float64))
    assert (found == plain(weight).apply(x)).all()


@pytest.mark.parametrize("key", KEYS)
def test_a_and_b_are_exact_in_float32(key: tuple[int, int]) -> None:
    """And so are the products of their entries, as one kernel over two axes has them."""
    basis = BASES[key]
    for exact in basis.exact[:2]:
        entries = {x for row in exact for x in row}
        assert all(Fraction(float(np.float32(float(x * y)))) == x * y for x in entries
                   for y in entries)  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_what_a_bias_becomes_is_made_ones_by_a(key: tuple[int, int]) -> None:
    basis = BASES[key]
    terms = abs(basis.A) @ abs(basis.one)
    assert (abs(basis.A @ basis.one - 1) <= 2 * basis.products * 2.0**-53 * terms).all()
    assert terms.max() < 8


def test_u_is_within_a_rounding_or_two_of_the_fractions() -> None:
    basis = BASES[4, 3]
    weight = RNG.standard_normal((3, 2, 3, 3))
    exact = in_fractions(np.vectorize(Fraction)(weight), [basis, basis]).astype(np.float64)
    terms = weight
    for axis in (2, 3):
        terms = np.moveaxis(np.tensordot(abs(basis.G), abs(terms), (1, axis)), 0, axis)
    # Along each axis G is rounded once, and a sum of three products rounds five times at most.
    assert (abs(in_basis(weight, [basis, basis]) - exact) <= 12 * 2.0**-53 * terms).all()


def test_points_that_are_equal_are_no_basis() -> None:
    with pytest.raises(ZeroDivisionError):
        assert Basis(2, 3, (Fraction(0), Fraction(1), Fraction(1))).exact


# What is lost -------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS)
def test_no_weight_loses_more_than_the_condition_of_its_basis(key: tuple[int, int]) -> None:
    basis = BASES[key]
    limit = np.log2(basis.condition)
    drawn = [lost_bits(RNG.standard_normal((4, 3, basis.taps)), [basis]) for _ in range(20)]
    single = [lost_bits(tap[None, None], [basis]) for tap in np.eye(basis.taps)]
    assert max(drawn) < limit
    assert max(single) == pytest.approx(limit)


def test_m_2_is_within_the_limit_whatever_the_weight_and_m_4_is_not() -> None:
    two, four = BASES[2, 3], BASES[4, 3]
    assert 2 * np.log2(two.condition) == LOST_BITS
    assert np.log2(four.condition) < LOST_BITS < 2 * np.log2(four.condition)
    weight = RNG.standard_normal((8, 16, 3, 3))
    assert 1.5 < lost_bits(weight, [two, two]) < 2
    assert 5 < lost_bits(weight, [four, four]) < 6


def test_an_axis_that_is_left_as_it_is_loses_nothing() -> None:
    weight = RNG.standard_normal((4, 3, 3, 3))
    assert lost_bits(weight, [None, None]) == 0
    flat = weight.reshape(4, 9, 3)
    assert lost_bits(weight, [None, BASES[4, 3]]) == pytest.approx(lost_bits(flat, [BASES[4, 3]]))


def test_a_row_of_zeros_loses_nothing() -> None:
    assert lost_bits(np.zeros((2, 3, 3)), [BASES[2, 3]]) == 0


@pytest.mark.parametrize("keys", [((2, 3), (2, 3)), ((4, 3), (2, 3)), ((4, 3), (4, 3))])
def test_the_error_in_float32_is_within_the_bound(keys: Sequence[tuple[int, int]]) -> None:
    """|error| ≤ n·u·(|A||U||B||x|) to first order, for the n roundings that a term goes through."""
    bases = [BASES[key] for key in keys]
    weight = RNG.standard_normal((5, 24, 3, 3))
    x = RNG.standard_normal((1, 24, *(2 * b.outputs + 2 for b in bases))).astype(np.float32)
    U = in_basis(weight, bases)
    wide = tiled(U, bases, x.astype(np.float64))
    found = tiled(U.astype(np.float32), bases, x)
    assert found.dtype == np.float32
    own = abs(weight).sum(axis=(1, 2, 3)).max() * abs(x).max()
    # Along each axis α − 1 additions and a product for B and for A, and 24 products and additions.
    n = 2 * sum(b.products for b in bases) + 25 + 1
    assert abs(found - wide).max() <= n * 2.0**-24 * own * 2 ** lost_bits(weight, bases)


def test_the_points_lose_half_of_what_small_integers_lose() -> None:
    """Along one axis; so of four in five bits, two are left to lose (docs/numerics.md)."""
    usual = Basis(4, 3, tuple(map(Fraction, (0, 1, -1, 2, -2))))
    assert usual.condition > 2 * BASES[4, 3].condition
