"""What kernels of either direction share: wide arithmetic, biases, diagonals across groups."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onebyone.algebra.laws import refused
from onebyone.algebra.refusal import Refusal
from onebyone.errors import UsageError

__all__ = [
    "Array",
    "along",
    "biased",
    "blockwise",
    "check_width",
    "grouped_refusal",
    "law_of",
    "mapped_bias",
    "summed",
    "through_groups",
    "wide",
]

Array = NDArray[Any]


def wide(a: Array) -> Array:
    """`a` in the precision that laws are computed in: integers as int64, the rest as float64.

    >>> wide(np.ones(1, np.float16)).dtype, wide(np.ones(1, np.int8)).dtype
    (dtype('float64'), dtype('int64'))
    """
    # int64 and not float64, so that tests with integers compare with == whatever the sizes.
    return a.astype(np.int64 if a.dtype.kind in "biu" else np.float64, copy=False)


def summed(a: Array | None, b: Array | None) -> Array | None:
    """a + b, where None stands for zero.

    >>> summed(np.array([2, 3]), None)
    array([2, 3])
    """
    if a is None:
        return b
    if b is None:
        return a
    return wide(a) + wide(b)


def biased(y: Array, bias: Array | None, axis: int = 1) -> Array:
    """y with the bias added at every position along the other axes, where there is one.

    >>> biased(np.zeros((1, 2, 3), int), np.array([5, 7])).tolist()
    [[[5, 5, 5], [7, 7, 7]]]
    """
    if bias is None:
        return y
    return y + along(bias, y.ndim, axis)


def along(v: Array, ndim: int, axis: int = 1) -> Array:
    """The vector v laid along `axis` of an array of rank `ndim`, to broadcast over the others.

    >>> along(np.arange(3), 4).shape
    (1, 3, 1, 1)
    """
    shape = [1] * ndim
    shape[axis] = -1
    return v.reshape(shape)


def blockwise(matrix: Array, x: Array, groups: int, *, transposed: bool = False) -> Array:
    """A matrix of diagonal blocks on the channels of x (N, C, *space).

    Args:
        matrix: (C_out, C_in / groups); transposed, (C_in, C_out / groups).

    >>> blockwise(np.array([[2], [3]]), np.array([[5, 7]]), 2)
    array([[10, 21]])
    """
    blocks = matrix.reshape(groups, -1, matrix.shape[1])
    parts = x.reshape(len(x), groups, -1, *x.shape[2:])
    y: Array = np.einsum(f"{'gio' if transposed else 'goi'},ngi...->ngo...", blocks, parts)
    return y.reshape(len(x), -1, *x.shape[2:])


def law_of(M: Array) -> str:
    """The law that takes M into a kernel: a diagonal, a vector here, is what `affine` is about.

    >>> law_of(np.ones(3)), law_of(np.ones((2, 3)))
    ('affine', 'compose')
    """
    if M.ndim == 1:
        return "affine"
    return "compose"


def check_width(M: Array, b: Array | None, fits: bool, kernel: object) -> None:
    """Raise `UsageError` unless M `fits` the kernel and b is as wide as M's output.

    >>> check_width(np.ones((2, 3)), np.ones(2), True, "a kernel")
    """
    if not fits or (b is not None and b.shape != M.shape[:1]):
        got = f"M {M.shape}" if b is None else f"M {M.shape}, b {b.shape}"
        raise UsageError(f"got {got} for {kernel}, wanted matching channels: check the order")


def grouped_refusal(groups: int) -> Refusal:
    """Why a dense channel map does not compose with a grouped kernel.

    >>> print(grouped_refusal(4))
    compose: a dense channel map would fill the zero blocks of 4 groups
    """
    return refused("compose", "groups", groups=groups)


def mapped_bias(M: Array, bias: Array | None, b: Array | None) -> Array | None:
    """M·bias + b, where None stands for zero and a vector M for a diagonal.

    >>> mapped_bias(np.array([2, 3]), np.array([1, 1]), None)
    array([2, 3])
    """
    if bias is None:
        if b is None:
            return b
        return wide(b)
    M, bias = wide(M), wide(bias)
    return summed(M @ bias if M.ndim == 2 else M * bias, b)


def through_groups(s: Array, shape: tuple[int, ...], groups: int) -> Array:
    """The diagonal s (C_in,) laid out to multiply a grouped weight (C_out, C_in / groups, *K).

    >>> through_groups(np.array([1, 2]), (4, 1, 3), 2)[:, 0, 0]
    array([1, 1, 2, 2])
    """
    # Outputs of one group see that group's channels alone: its part of s, once for each of them.
    rows = np.repeat(s.reshape(groups, -1), shape[0] // groups, axis=0)
    return rows.reshape(*rows.shape, *[1] * (len(shape) - 2))
