"""The numerical rank of a channel map: how many of its output channels are combinations of others.

    W = U diag(σ) Vᵀ        W: (C_out, C_in), σ₁ ≥ σ₂ ≥ …        rank W = #{i : σᵢ > τ}

The threshold τ is at rounding level and derived. Storing W in its number format moves each entry by
at most u|W_ij| + η, u the unit roundoff and η half the smallest number of the format, so by Weyl's
inequality each singular value by at most

    |σᵢ(W + E) − σᵢ(W)| ≤ ‖E‖₂ ≤ ‖E‖_F ≤ u‖W‖_F + η√(C_out·C_in)

and the decomposition, done in float64, adds an error of its own: it is that of a matrix within
p·ε·σ₁ of W, ε = 2⁻⁵², p a modest function of the sizes, taken to be the larger of them. What lies
below the sum of both may be a zero that was rounded.

With a bias the outputs are the rows of [W | b] applied to (x, 1): one more dimension, unless b is
itself a combination of the columns of W.

Source: Golub, Van Loan, "Matrix Computations", 4th edition, 2013, sections 2.4 and 5.4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from itertools import count
from math import prod
from typing import Any

import numpy as np

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.weights import Array
from onebyone.errors import UsageError
from onebyone.shown import Shown

__all__ = ["Rank", "numerical_rank", "rank", "singular_values", "threshold"]

SHARES = (0.9, 0.99, 0.999)


@dataclass(frozen=True, repr=False)
class Rank(Shown):
    """How many output channels of a map are independent, and what follows.

    Args:
        out_channels: C_out.
        rank: the dimension that the outputs span, as functions of the input.
        singular_values: the spectrum of W (without b) or of the outputs, descending.
        threshold: at or below it a singular value counts as zero.
        source: what was looked at: "weight", "weight and bias" or "outputs".
        inner: the rank of W without b, of the group where it is largest: the width between the
            factors of W = BA. None for outputs.
        in_features: a, the columns of W in each group: C_in / groups, times K·K. None for outputs.
        groups: the diagonal blocks of W.

    >>> print(rank(np.outer(np.arange(1, 9), np.ones(6))).advice)
    W = BA exactly, 6 → 1 → 8: r(a+b) = 14 weights instead of ab = 48, 70.8 % less
    """

    out_channels: int
    rank: int
    singular_values: tuple[float, ...] = field(repr=False)
    threshold: float
    source: str
    inner: int | None = None
    in_features: int | None = None
    groups: int = 1

    @property
    def redundant(self) -> int:
        """How many output channels are linear combinations of the others (and of a constant)."""
        return self.out_channels - self.rank

    @property
    def energy(self) -> tuple[tuple[float, int], ...]:
        """(share, r): the fewest singular values whose squares make up that share of the sum."""
        # Divided by the largest first, so that no square overflows.
        squares = np.square(
            np.array(self.singular_values) / (max(self.singular_values, default=0) or 1)
        )
        sums = np.cumsum(squares)
        total = sums[-1] if len(sums) else 0.0
        return tuple((share, int((sums < share * total).sum()) + bool(total)) for share in SHARES)

    @property
    def advice(self) -> str:
        """One sentence: what the rank is good for."""
        if self.inner is None or self.in_features is None:
            return self._seen()
        a, b, r = self.in_features, self.out_channels // self.groups, self.inner
        chain = f"{a} → {r} → {b}"
        if self.groups > 1:
            chain += f" in each of {self.groups} groups"
        before, after = a * b * self.groups, r * (a + b) * self.groups
        if r == 0:
            return "W is zero: the outputs are constants"
        if after < before:
            return (
                f"W = BA exactly, {chain}: r(a+b) = {after:,} weights instead of "
                f"ab = {before:,}, {1 - after / before:.1%} less".replace("%", " %")
            )
        if self.redundant:
            return (
                f"nothing to gain exactly: {chain} needs r(a+b) = {after:,} weights, W has "
                f"ab = {before:,}; a nonlinearity after it can lift the redundancy"
            )
        return "full rank: no output channel is a combination of the others"

    def _seen(self) -> str:
        if self.redundant:
            return (
                f"{self.redundant} output channels are combinations of the others on this example"
            )
        return "full rank on this example: no output channel is a combination of the others"

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, as documented in docs/json.md."""
        return {
            "schema": 1,
            "out_channels": self.out_channels,
            "rank": self.rank,
            "redundant": self.redundant,
            "source": self.source,
            "threshold": self.threshold,
            "energy": [{"share": share, "rank": r} for share, r in self.energy],
            "advice": self.advice,
            "singular_values": list(self.singular_values),
        }

    @property
    def summary(self) -> str:
        """The rank beside the channels."""
        return f"{self.rank:,} of {self.out_channels:,} output channels ({self.source})"


def rank(
    W: Array, bias: Array | None = None, *, groups: int = 1, unit: float | None = None
) -> Rank:
    """How many output channels of the map x ↦ Wx + b are linearly redundant.

    Args:
        W: (C_out, C_in / groups, *K), of integers or of floats of any width. Axes of a kernel are
            further columns: W of a K×K convolution is (C_out, C_in·K·K).
        bias: b, (C_out,), or None for none.
        groups: the diagonal blocks of W; row o holds the weights of the block that o lies in.
        unit: the unit roundoff, where W was widened and its dtype no longer tells.

    Raises:
        UsageError: the shapes do not fit, or a number is NaN or infinite.

    >>> W = np.random.default_rng(0).normal(size=(256, 64, 1, 1))
    >>> wide = rank(W)
    >>> wide.rank, wide.redundant, rank(W, np.ones(256)).rank
    (64, 192, 65)
    """
    if W.ndim < 2 or not W.size:
        raise UsageError(
            f"got a weight of shape {W.shape}, wanted (C_out, C_in, …), none of them 0"
        )
    blocks = ChannelMap(W.reshape(len(W), prod(W.shape[1:])), bias, groups).blocks()
    each = [singular_values(block) for block in blocks]
    # W is block-diagonal, so its singular values are those of its blocks.
    sigma = np.sort(np.concatenate(each))[::-1]
    tau = threshold(blocks.reshape(len(W), -1), sigma, unit)
    ranks = [int((part > tau).sum()) for part in each]
    # One dimension more: W x + b reaches the constants too, unless W does already.
    constant = bias is not None and _is_new(blocks, each, bias, unit)
    return Rank(
        out_channels=len(W),
        rank=sum(ranks) + constant,
        singular_values=tuple(map(float, sigma)),
        threshold=tau,
        source="weight" if bias is None else "weight and bias",
        inner=max(ranks),
        in_features=blocks.shape[2],
        groups=groups,
    )


def _is_new(blocks: Array, alone: list[Array], bias: Array, unit: float | None) -> bool:
    """Whether b is no combination of the columns of W = diag(blocks), `alone` their spectra.

    A column may be scaled without changing the rank. It is given the length σ₁, so that a large b
    does not drown W in its rounding, nor a small one vanish in that of W.
    """
    if not np.isfinite(bias).all():
        raise UsageError("got a bias with NaN or infinity, wanted finite numbers")
    largest = max(float(part[0]) for part in alone)
    length = float(np.linalg.norm(bias.astype(np.float64)))
    if not length or not largest:
        return bool(length)
    if unit is None:
        unit = max(_rounding(a.dtype)[0] for a in (blocks, bias))
    # The rank of [W | cb] does not depend on c ≠ 0, but what drowns in rounding does.
    column = (bias.astype(np.float64) / length * largest).reshape(len(blocks), -1, 1)
    joined = [singular_values(block) for block in np.concatenate([blocks, column], axis=2)]
    whole = np.concatenate(joined)
    tau = threshold(np.empty((bias.size, blocks.shape[2] + 1)), whole, unit)
    return any((b > tau).sum() > (a > tau).sum() for a, b in zip(alone, joined, strict=True))


def singular_values(W: Array) -> Array:
    """σ of W (C_out, C_in), descending, float64, min(C_out, C_in) of them.

    Raises:
        UsageError: W is not a matrix of real numbers, or holds NaN or infinity.

    >>> singular_values(np.array([[3, 0, 0], [0, 4, 0]]))
    array([4., 3.])
    """
    if W.ndim != 2:
        raise UsageError(f"got an array of shape {W.shape}, wanted a matrix (C_out, C_in)")
    if W.dtype.kind == "c":
        raise UsageError(f"got {W.dtype} numbers, wanted real ones")
    matrix = W.astype(np.float64)
    if not np.isfinite(matrix).all():
        raise UsageError("got a matrix with NaN or infinity, wanted finite numbers")
    return np.linalg.svd(matrix, compute_uv=False)


def threshold(W: Array, singular_values: Array, unit: float | None = None) -> float:
    """The size below which a singular value of W may be a zero that was rounded.

    That is u‖W‖_F + η√(size of W), what one rounding of each entry in W's own dtype can do, plus
    max(C_out, C_in)·2⁻⁵²·σ₁ for the decomposition in float64. Integers are not rounded: u = η = 0.

    Args:
        W: (C_out, C_in), of integers or of floats of any width.
        singular_values: of W, in float64; ‖W‖_F is the root of the sum of their squares.
        unit: u, where W was widened and no longer has the dtype that it was rounded to.

    >>> W = np.eye(2, 3, dtype=np.float32)
    >>> threshold(W, np.ones(2)) == 2**-24 * 2**0.5 + 2**-150 * 6**0.5 + 3 * 2**-52
    True
    """
    if not W.size:
        return 0.0
    u, eta = _rounding(W.dtype) if unit is None else (unit, 0.0)
    largest = float(np.max(singular_values))
    if largest == 0:
        return 0.0
    # Scaled by σ₁, so that no square overflows.
    norm = largest * float(np.linalg.norm(singular_values / largest))
    return float(u * norm + eta * W.size**0.5 + max(W.shape) * 2.0**-52 * largest)


def numerical_rank(W: Array, unit: float | None = None) -> int:
    """How many singular values of W (C_out, C_in) are above `threshold`.

    Args:
        W: of integers or of floats of any width; its dtype tells what rounding is.
        unit: the unit roundoff, where W was widened and its dtype no longer tells.

    Raises:
        UsageError: W is not a matrix, or holds NaN or infinity.

    >>> random = np.random.default_rng(0)
    >>> W = random.normal(size=(256, 16)) @ random.normal(size=(16, 64))
    >>> numerical_rank(W), numerical_rank(W.astype(np.float16))
    (16, 16)
    >>> numerical_rank(W + 1e-6 * random.normal(size=(256, 64)))
    64
    """
    sigma = singular_values(W)
    return int((sigma > threshold(W, sigma, unit)).sum())


@cache
def _rounding(dtype: np.dtype) -> tuple[float, float]:
    """Unit roundoff and half the smallest positive number of a dtype; nothing for integers.

    The first is found rather than looked up, since NumPy knows nothing of bfloat16 and its kin: it
    is the largest power of two which, added to one, is rounded away.
    """
    if dtype.kind in "biu":
        return 0.0, 0.0
    one = np.ones((), dtype)
    unit = next(2.0**-k for k in count(1) if np.asarray(1 + 2.0**-k).astype(dtype) == one)
    if dtype.kind != "f":
        return unit, 0.0
    return unit, float(np.finfo(dtype).smallest_subnormal) / 2
