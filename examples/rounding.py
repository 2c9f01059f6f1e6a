"""How far two programs can be apart that add up the same products in different orders.

A `Near` is a number x together with e: what real arithmetic gives, and what any program gives that
evaluates the same sums and products in floating point in any order, is within e of it. With
u = 2⁻⁵³ (float64), γ(n) = n u / (1 − n u) and m = |x| + 2e, which no such program exceeds:

    Σ of n terms       e = Σ eᵢ + γ(n) Σ mᵢ
    A B, inner size n  e = e_A m_B + m_A e_B + γ(n) m_A m_B
    c x                e = |c| e + γ(k) |c| m           k roundings, those of c among them
    max(x, 0)          e as it was; its derivative is known only where |x| > e

Source: Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., 2002, section 3.1: the
bound holds for any order of summation, with or without fused multiply-add. It does not hold for
algorithms that take other products (Winograd, Strassen, FFT), of which PyTorch has none for float64
on a CPU. The bounds' own rounding, a part in 10¹⁰ at most, is covered by `SLACK`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

UNIT = 2.0**-53
SLACK = 1 + 1e-6


def gamma(roundings: int) -> float:
    """The relative error that so many roundings in a row can have."""
    return SLACK * roundings * UNIT / (1 - roundings * UNIT)


@dataclass(frozen=True)
class Near:
    """float64 numbers and how far any other evaluation can be from what they stand for."""

    value: Tensor
    error: Tensor

    @property
    def most(self) -> Tensor:
        """What the number is at most in size, however it is evaluated."""
        return self.value.abs() + 2 * self.error

    def __add__(self, other: Near) -> Near:
        error = self.error + other.error + gamma(1) * (self.most + other.most)
        return Near(self.value + other.value, error)

    def __matmul__(self, other: Near) -> Near:
        carried = self.error @ other.most + self.most @ other.error
        fresh = gamma(self.value.shape[-1]) * (self.most @ other.most)
        return Near(self.value @ other.value, carried + fresh)

    def scaled(self, factor: float, roundings: int = 2) -> Near:
        """Times a constant; `roundings` of the product and in the making of the constant."""
        error = abs(factor) * (self.error + gamma(roundings) * self.most)
        return Near(self.value * factor, error)

    def sum(self, *axes: int) -> Near:
        """Over some axes."""
        terms = self.value.numel() // self.value.sum(axes).numel()
        error = self.error.sum(axes) + gamma(terms) * self.most.sum(axes)
        return Near(self.value.sum(axes), error)

    def relu(self) -> Near:
        """The maximum with zero, which brings no two numbers further apart."""
        return Near(self.value.relu(), self.error)

    def where_positive(self, x: Near) -> Near:
        """The gradient through `x.relu()`; where x may be on either side of zero, so may this."""
        unsure = (x.value.abs() <= x.error) & (x.error > 0)
        passed = (x.value > 0) | unsure
        error = torch.where(unsure, self.most, self.error)
        return Near(self.value * passed, error * passed)

    def transposed(self) -> Near:
        """Rows for columns."""
        return Near(self.value.T, self.error.T)

    def view(self, *shape: int) -> Near:
        """The same numbers in another shape."""
        return Near(self.value.reshape(shape), self.error.reshape(shape))


def joined(parts: Sequence[Near], axis: int) -> Near:
    """One after another along an axis."""
    values, errors = [part.value for part in parts], [part.error for part in parts]
    return Near(torch.cat(values, axis), torch.cat(errors, axis))


def exact(value: Tensor) -> Near:
    """Numbers that are the same for all."""
    return Near(value, torch.zeros_like(value))
