"""Space maps: what acts on positions, the same way in every channel.

Symbols. x has one axis per position index; S is separable, one matrix per axis:

    (S x)[..., i, ...] = Σ_j M[i, j] x[..., j, ...]        M: (n_out, n_in), float64

Law. A channel map W ⊗ I and a space map I ⊗ S act on different axes, so they commute:

    (W ⊗ I)(I ⊗ S) = W ⊗ S = (I ⊗ S)(W ⊗ I)

Side condition. With a bias, W(Sx) + b = S(Wx + b) needs S 1 = 1: each row of M sums to one
(`preserves_constants`). An elementwise nonlinearity commutes with S only where each row of M is
one-hot (`is_selection`). Both are decided from the attributes and hold for every input size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onebyone.errors import UsageError

__all__ = ["AxisMap", "apply", "one_hot"]

Matrix = NDArray[np.float64]
Few = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Columns and weights, each (n_out, k): output i is the sum of weights[i] times these inputs."""


class AxisMap(ABC):
    """One axis of a space map: a matrix (n_out, n_in) for every input size n_in >= 1.

    Subclasses are frozen dataclasses of the attributes that define the map.
    """

    @property
    @abstractmethod
    def preserves_constants(self) -> bool:
        """Each row of the matrix sums to one, over the reals, for every input size.

        Conservative: False also where only some sizes, or only some engines, break it.
        """

    @property
    @abstractmethod
    def is_selection(self) -> bool:
        """Each row of the matrix is one-hot for every input size (conservative)."""

    @property
    def rounds_constants(self) -> bool:
        """As a space of a word: the weights of an axis map are known, and not computed."""
        return False

    @property
    def broadcasts(self) -> bool:
        """As a space of a word: an axis map needs no sum beside it."""
        return False

    @abstractmethod
    def out_size(self, n_in: int) -> int | None:
        """The number of outputs; None where the input size alone does not decide it."""

    def few(self, n_in: int, n_out: int) -> Few | None:
        """The inputs that each output is a weighted sum of, where these are few; else None."""
        return None

    @abstractmethod
    def rows(self, n_in: int, n_out: int) -> Matrix:
        """The matrix (n_out, n_in); `n_out` is trusted. Callers want `matrix`."""

    def matrix(self, n_in: int, n_out: int | None = None) -> Matrix:
        """The matrix (n_out, n_in) in float64.

        Raises `UsageError` where `n_out` is needed and missing, or contradicts the attributes.

        >>> from onebyone.algebra.selection import subsample
        >>> subsample(2).matrix(3)
        array([[1., 0., 0.],
               [0., 0., 1.]])
        """
        return self.rows(n_in, _agreed(self, n_in, n_out))


def _agreed(axis_map: AxisMap, n_in: int, n_out: int | None) -> int:
    # Two witnesses of one size: they have to agree, and one of them has to know.
    known = axis_map.out_size(n_in)
    if known is not None and n_out in (None, known):
        return known
    if known is None and n_out is not None:
        return n_out
    wanted = "an output size" if known is None else f"output size {known}"
    raise UsageError(f"{axis_map} on {n_in} inputs got n_out={n_out}, wanted {wanted}: pass n_out")


def one_hot(sources: NDArray[np.int64], n_in: int) -> Matrix:
    """The matrix (len(sources), n_in) that copies input `sources[i]` to i; -1 gives a zero row.

    >>> one_hot(np.array([1, -1]), 2)
    array([[0., 1.],
           [0., 0.]])
    """
    return np.equal.outer(sources, np.arange(n_in)).astype(np.float64)


def dense(few: Few, n_in: int) -> Matrix:
    """The matrix (n_out, n_in) of weighted sums of few inputs each.

    >>> dense((np.array([[0, 1], [1, 1]]), np.array([[1, 2], [3, 4]])), 2)
    array([[1., 2.],
           [0., 7.]])
    """
    columns, weights = few
    matrix = np.zeros((len(columns), n_in))
    np.add.at(matrix, (np.arange(len(columns))[:, None], columns), weights)
    return matrix


def apply(
    maps: Mapping[int, AxisMap], x: NDArray[Any], sizes: Mapping[int, int] | None = None
) -> NDArray[Any]:
    """S x: each map applied along its axis of `x`, in float64 (or wider).

    `sizes` gives the output size of those axes that are known only at run time. The rank stays:
    an axis that its operator drops comes out with size one.

    >>> from onebyone.algebra.selection import Slice
    >>> apply({1: Slice(step=-1)}, np.array([[1, 2, 3]]))
    array([[3., 2., 1.]])
    """
    # Maps of different axes commute, so their order does not matter.
    for axis, axis_map in maps.items():
        n_in, n_out = x.shape[axis], (sizes or {}).get(axis)
        n_out = _agreed(axis_map, n_in, n_out)
        few = axis_map.few(n_in, n_out) if n_in * n_out > _LARGE else None
        if few is None:
            x = _along(axis_map.rows(n_in, n_out), x, axis % x.ndim)
        else:
            x = _summed(few, x, axis % x.ndim)
    return x


def _summed(few: Few, x: NDArray[Any], axis: int) -> NDArray[Any]:
    """The same as the matrix gives, of which nearly all is zero: it would not fit into memory."""
    columns, weights = few
    after = (1,) * (x.ndim - axis - 1)
    terms = (
        x.take(columns[:, k], axis) * weights[:, k].reshape(-1, *after)
        for k in range(columns.shape[1])
    )
    total: NDArray[Any] = sum(terms, np.zeros(()))
    return total


def _along(matrix: Matrix, x: NDArray[Any], axis: int) -> NDArray[Any]:
    """A matrix times the vectors along one axis; as many at once as stay in a cache."""
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    flat = x.reshape(prod(before), x.shape[axis], prod(after))
    y = np.empty((len(flat), len(matrix), flat.shape[2]), np.result_type(matrix, x))
    step = max(1, _CACHED // max(1, flat.shape[2] * max(matrix.shape)))
    for start in range(0, len(flat), step):
        # One product for several of the blocks side by side: each by itself is too small for BLAS.
        block = flat[start : start + step].swapaxes(0, 1)
        product = matrix @ block.reshape(len(block), block.shape[1] * block.shape[2])
        blocks = product.reshape(len(matrix), block.shape[1], block.shape[2])
        y[start : start + step] = blocks.swapaxes(0, 1)
    return y.reshape(*before, len(matrix), *after)


_LARGE = 1 << 24
"""Numbers of a matrix that is made whole: 128 MiB in float64."""
_CACHED = 1 << 17
"""Numbers of a product that stay in a cache: 1 MiB in float64."""
