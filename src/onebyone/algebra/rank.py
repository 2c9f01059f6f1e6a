"""The numerical rank of a channel map: how many of its output channels are combinations of others.

    W = U diag(σ) Vᵀ        W: (C_out, C_in), σ₁ ≥ σ₂ ≥ …        rank W = #{i : σᵢ > τ}

The threshold τ is at rounding level and derived. Storing W in its number format moves each entry by
at most u|W_ij| + η, u the unit roundoff and η half the smallest number of the format, so by Weyl's
inequality each singular value by at most

    |σᵢ(W + E) − σᵢ(W)| ≤ ‖E‖₂ ≤ ‖E‖_F ≤ u‖W‖_F + η√(C_out·C_in)

and the decomposition, done in float64, adds an error of its own: it is that of a matrix within
p·ε·σ₁ of W, ε = 2⁻⁵², p a modest function of the sizes, taken to be the larger of them. What lies
below the sum of both may be a zero that was rounded.

Source: Golub, Van Loan, "Matrix Computations", 4th edition, 2013, sections 2.4 and 5.4.
"""

from __future__ import annotations

from itertools import count

import numpy as np

from onebyone.algebra.weights import Array
from onebyone.errors import UsageError

__all__ = ["numerical_rank", "singular_values", "threshold"]


def singular_values(W: Array) -> Array:
    """σ of W (C_out, C_in), descending, float64, min(C_out, C_in) of them.

    Raises:
        UsageError: W is not a matrix, or holds NaN or infinity.

    >>> singular_values(np.array([[3, 0, 0], [0, 4, 0]]))
    array([4., 3.])
    """
    if W.ndim != 2:
        raise UsageError(f"got an array of shape {W.shape}, wanted a matrix (C_out, C_in)")
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


def _rounding(dtype: np.dtype) -> tuple[float, float]:
    """Unit roundoff and half the smallest positive number of a dtype; nothing for integers.

    The first is found rather than looked up, since NumPy knows nothing of bfloat16 and its kin: it
    is the largest power of two which, added to one, is rounded away.
    """
    if dtype.kind in "biu":
        return 0.0, 0.0
    one = np.ones((), dtype)
    unit = next(2.0**-k for k in count(1) if np.asarray(1 + 2.0**-k).astype(dtype) == one)
    return unit, float(np.finfo(dtype).smallest_subnormal) / 2 if dtype.kind == "f" else 0.0
