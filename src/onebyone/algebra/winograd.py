"""Winograd's bases: a kernel of K taps on tiles of m outputs takes m + K − 1 products, not m·K.

Symbols, along one axis. α = m + K − 1; w: (K,) the taps; x: (α,) what a tile of m outputs sees; a_j
the α − 1 points, and infinity as the last. ∘ is the product entry by entry.

    y = A (Gw ∘ Bx)             y_i = Σ_k w_k x_{i+k}          A: (m, α)   G: (α, K)   B: (α, α)

    A_ij = a_j^i                              the last column: 1 in row m − 1
    G_jk = a_j^k / Π_{l≠j} (a_j − a_l)        the last row: 1 at tap K − 1
    B_j: the coefficients of Π_{l≠j} (z − a_l), from z⁰ on; in the last row of Π_l (z − a_l)

Over several axes the matrices are applied axis by axis. Of a convolution, w_k and U_j = (Gw)_j are
matrices (C_out, C_in), so that it becomes α products with 1×1s between two maps of positions:

    K = Σ_k W_k ⊗ T_k = (1 ⊗ A) (⊕_j U_j) (1 ⊗ B),      U_j = Σ_k G_jk W_k

Proof. Let g, h be polynomials of K and m coefficients. Their product has α: they are determined by
its values at the points, and by its leading coefficient, the value at infinity. Interpolation is
the matrix Bᵀ, after the denominators went into G: gh = Bᵀ (Gg ∘ Aᵀh). That is linear in h; the
transposed map of h ↦ gh is x ↦ (Σ_k g_k x_{i+k})_i. □

Side conditions. Stride and dilation are one. With all points dyadic, A and B are exact in binary
floating point; G is not, and only U is computed with it, once. A row of B, G or a column of A times
a power of two rounds as it did, so such scalings lose and gain nothing, and there are none here.

What is lost. All terms without their signs, for inputs of one size, beside those of K itself:

    κ = max_{o,i} (|A| |U| |B| 1)_{o,i} / (|W| 1)_o

which no weight can make larger than Π_axes max_{i,k} Σ_j |A_ij| |G_jk| ‖B_j‖₁ (`Basis.condition`).

Sources: S. Winograd, *Arithmetic Complexity of Computations* (1980); A. Lavin and S. Gray, "Fast
algorithms for convolutional neural networks" (2015), arXiv:1509.09308; for points with small
errors B. Barabasz et al., "Error analysis and improving the accuracy of Winograd convolution for
deep neural networks" (2018), arXiv:1803.10986.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import lcm

import numpy as np

from onebyone.algebra.digits import bits
from onebyone.algebra.weights import Array, along, wide

__all__ = ["BASES", "Basis", "in_basis", "lost_bits", "tiled"]

Exact = list[list[Fraction]]


@dataclass(frozen=True)
class Basis:
    """Along one axis: m outputs of K taps by m + K − 1 products.

    Args:
        outputs: m, of a tile.
        taps: K.
        points: all but infinity, m + K − 2 different ones.

    >>> basis = BASES[2, 3]
    >>> basis.A.tolist()
    [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, -1.0, 1.0]]
    >>> basis.B.tolist()[1], basis.G.tolist()[1]
    ([0.0, 1.0, 1.0, 0.0], [0.5, 0.5, 0.5])
    """

    outputs: int
    taps: int
    points: tuple[Fraction, ...] = ()

    @property
    def products(self) -> int:
        """α = m + K − 1: so many positions a tile sees, and so many products it takes."""
        return self.outputs + self.taps - 1

    @cached_property
    def exact(self) -> tuple[Exact, Exact, Exact]:
        """A (m, α), B (α, α) and G (α, K), as fractions."""
        a, b, g = [], [], []
        for j, point in enumerate(self.points):
            others = self.points[:j] + self.points[j + 1 :]
            b.append([*_coefficients(others), Fraction(0)])
            scale = _value(others, point)
            g.append([point**k / scale for k in range(self.taps)])
        for i in range(self.outputs):
            a.append([*(p**i for p in self.points), Fraction(i == self.outputs - 1)])
        b.append(_coefficients(self.points))
        g.append([Fraction(k == self.taps - 1) for k in range(self.taps)])
        return a, b, g

    @property
    def A(self) -> Array:  # noqa: N802
        """(m, α), float64: exact where the points are dyadic."""
        return _array(self.exact[0])

    @property
    def B(self) -> Array:  # noqa: N802
        """(α, α), float64: exact where the points are dyadic."""
        return _array(self.exact[1])

    @property
    def G(self) -> Array:  # noqa: N802
        """(α, K), float64, each entry rounded once."""
        return _array(self.exact[2])

    @property
    def quotient(self) -> tuple[Array, Array]:
        """G as whole numbers (α, K) over whole numbers (α,), one for each row; both float64."""
        rows = self.exact[2]
        below = [lcm(*(entry.denominator for entry in row)) for row in rows]
        above = [[entry * n for entry in row] for row, n in zip(rows, below, strict=True)]
        return _array(above), np.array(below, np.float64)

    @property
    def one(self) -> Array:
        """(α,), float64: what A makes ones of, A z = 1.

        Row i of A takes the powers i of the points, so it gives the value of a polynomial at 1.

        >>> BASES[2, 3].one.tolist()
        [0.0, 1.0, 0.0, 0.0]
        """
        near = sorted(range(len(self.points)), key=lambda j: abs(self.points[j] - 1))
        known, found = near[: self.outputs], [Fraction(0)] * self.products
        for j in known:
            others = [self.points[k] for k in known if k != j]
            found[j] = _value(others, Fraction(1)) / _value(others, self.points[j])
        return np.array(found, np.float64)

    @property
    def condition(self) -> float:
        """The largest κ along this axis, of any taps.

        >>> BASES[2, 3].condition, round(BASES[4, 3].condition, 1)
        (4.0, 14.3)
        """
        a, b, g = abs(self.A), abs(self.B), abs(self.G)
        return float(((a * b.sum(axis=1)) @ g).max())


def _coefficients(roots: Sequence[Fraction]) -> list[Fraction]:
    """Those of Π (z − root), from z⁰ on."""
    found = [Fraction(1)]
    for root in roots:
        lower = [Fraction(0), *found]
        upper = [*found, Fraction(0)]
        found = [low - root * up for low, up in zip(lower, upper, strict=True)]
    return found


def _value(roots: Sequence[Fraction], point: Fraction) -> Fraction:
    """Π (z − root) at a point."""
    found = Fraction(1)
    for root in roots:
        found *= point - root
    return found


def _array(exact: Exact) -> Array:
    return np.array(exact, np.float64)


def _row(outputs: int, taps: int, *points: str) -> Basis:
    return Basis(outputs, taps, tuple(map(Fraction, points)))


# Of all sets of points in quarters up to 2 those of the smallest error over random taps and inputs
# (benchmarks/winograd.py --points; the fourth is 1% above it, and of fewer bits). With 0, ±1, ±2
# in the fifth row it were twice as large along one axis, four times along two.
BASES: dict[tuple[int, int], Basis] = {
    (basis.outputs, basis.taps): basis
    for basis in (
        _row(2, 2, "0", "1"),
        _row(3, 2, "0", "1", "-1"),
        _row(2, 3, "0", "1", "-1"),
        _row(3, 3, "0", "-1", "2", "1/2"),
        _row(4, 3, "0", "3/2", "-3/2", "3/4", "-3/4"),
        _row(2, 5, "0", "3/2", "-3/2", "3/4", "-3/4"),
        _row(4, 5, "0", "1", "-1", "2", "-2", "1/2", "-1/2"),
    )
}
"""(m, K) -> basis."""


def in_basis(weight: Array, bases: Sequence[Basis | None]) -> Array:
    """U (C_out, C_in, α, …) of a weight (C_out, C_in, K, …), in float64.

    None leaves an axis as it is.

    >>> in_basis(np.array([[[1, 2, 3]]]), [BASES[2, 3]]).tolist()
    [[[-1.0, 3.0, 1.0, 3.0]]]
    """
    # Divided at the end: what cancels is 0 then, and whole numbers stay whole.
    U = _along_axes(wide(weight), [None if b is None else b.quotient[0] for b in bases])
    for axis, basis in enumerate(bases, start=2):
        if basis is not None:
            U = U / along(basis.quotient[1], U.ndim, axis)
    return np.asarray(U, np.float64)


def lost_bits(weight: Array, bases: Sequence[Basis | None]) -> float:
    """log₂ κ of a weight (C_out, C_in, K, …) in these bases: the bits that it can lose.

    >>> lost_bits(np.array([[[1, 1, 1]]]), [BASES[2, 3]])
    1.0
    """
    weight = np.asarray(weight, np.float64)
    # An axis that is left as it is has one term a tap in each output.
    left = tuple(axis for axis, basis in enumerate(bases, start=2) if basis is None)
    terms = np.abs(in_basis(weight, bases)).sum(axis=(1, *left), keepdims=True)
    sizes = (None if basis is None else abs(basis.A) * abs(basis.B).sum(axis=1) for basis in bases)
    terms = _along_axes(terms, [*sizes]).reshape(len(weight), -1)
    own = np.abs(weight).reshape(len(weight), -1).sum(axis=1)
    # A row of zeros reads nothing, and loses nothing.
    return bits(float((terms.max(axis=1) / np.where(own == 0, 1.0, own)).max(initial=0.0)))


def tiled(U: Array, bases: Sequence[Basis], x: Array) -> Array:
    """K x for x (N, C_in, …) without padding, of as many positions as whole tiles see: n·m + K − 1.

    The reference, in the numbers that it is given: in fractions it is exact.

    Args:
        U: (C_out, C_in, α, …), as `in_basis` gives it.
        bases: one for each axis of positions.
        x: of fractions, or floats.

    >>> tiled(np.array([[[-1.0, 3.0, 1.0, 3.0]]]), [BASES[2, 3]], np.ones((1, 1, 6))).tolist()
    [[[6.0, 6.0, 6.0, 6.0]]]
    """
    kind = x.dtype
    for axis, basis in enumerate(bases):
        # What is tiled has its tiles where it had positions, and α as one of the last axes.
        count = (x.shape[2 + axis] - basis.taps + 1) // basis.outputs
        seen = np.add.outer(np.arange(count) * basis.outputs, range(basis.products))
        tiles = np.moveaxis(np.take(x, seen, 2 + axis), 3 + axis, -1)
        x = np.tensordot(tiles, np.array(basis.exact[1], kind), (-1, 1))
    rank = len(bases)
    every = (slice(None),) * 2
    out = np.zeros((len(x), len(U), *x.shape[2:]), kind)
    for j in np.ndindex(*x.shape[2 + rank :]):
        product = np.tensordot(x[(..., *j)], U[(*every, *j)], (1, 1))
        out[(..., *j)] = np.moveaxis(product, -1, 1)
    for axis, basis in reversed(list(enumerate(bases))):
        tiles = np.tensordot(out, np.array(basis.exact[0], kind), (-1, 1))
        tiles = np.moveaxis(tiles, -1, 3 + axis)
        shape = tiles.shape
        merged = (*shape[: 2 + axis], shape[2 + axis] * basis.outputs, *shape[4 + axis :])
        out = tiles.reshape(merged)
    return out


def _along_axes(array: Array, matrices: Sequence[Array | None]) -> Array:
    """Each matrix along its axis of positions, (…, axis 2, 3, …); None leaves one as it is."""
    for axis, matrix in enumerate(matrices, start=2):
        if matrix is not None:
            array = np.moveaxis(np.tensordot(matrix, array, (1, axis)), 0, axis)
    return array
