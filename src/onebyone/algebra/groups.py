"""The weights of grouped convolutions as matrices of blocks, and with fewer channels.

A convolution of g groups is block-diagonal: outputs (C_out / g of them) of a group see inputs of
their own group only.
"""

from __future__ import annotations

import numpy as np

from onebyone.algebra.weights import Array

__all__ = ["block_diagonal", "by_rows", "missing", "narrowed"]


def block_diagonal(blocks: Array, groups: int) -> Array:
    """The matrix (C_out, C_in) of rows (C_out, C_in / groups) that see their own group only.

    >>> block_diagonal(np.array([[1, 2], [3, 4]]), 2).tolist()
    [[1, 2, 0, 0], [0, 0, 3, 4]]
    """
    if groups == 1:
        return blocks
    rows, columns = blocks.shape[0] // groups, blocks.shape[1]
    whole = np.zeros((groups, rows, groups, columns), blocks.dtype)
    every = np.arange(groups)
    whole[every, :, every] = blocks.reshape(groups, rows, columns)
    return whole.reshape(groups * rows, groups * columns)


def by_rows(weight: Array, groups: int) -> Array:
    """(C_in, C_out / groups, ...) of a transposed convolution as (C_out, C_in / groups, ...)."""
    inner = weight.reshape(groups, -1, *weight.shape[1:]).swapaxes(1, 2)
    return inner.reshape(-1, *inner.shape[2:])


def narrowed(weight: Array, groups: int, rows: Array, columns: Array) -> Array:
    """A grouped kernel with some channels only; as many in each group that any are left of.

    Args:
        weight: (C_out, C_in / groups, ...).
        groups: of the weight.
        rows, columns: the channels that stay, ascending, of the results and of the operand.

    >>> weight = np.arange(8).reshape(4, 2)  # two groups, each of two rows and two columns
    >>> narrowed(weight, 2, np.array([0, 3]), np.array([0, 1, 2, 3])).tolist()
    [[0, 1], [6, 7]]
    >>> narrowed(weight, 2, np.array([2, 3]), np.array([3])).tolist()
    [[5], [7]]
    """
    width = weight.shape[1]
    own = columns // width
    of_row = rows // (len(weight) // groups)
    kept = np.stack([columns[own == group] % width for group in of_row])
    index = kept.reshape(*kept.shape, *[1] * (weight.ndim - 2))
    return np.take_along_axis(weight[rows], index, axis=1)


def missing(inside: Array, outside: Array, groups: int) -> tuple[Array, Array]:
    """Channels that must stay too, so that all groups that are left have as many as each other.

    Args:
        inside, outside: bool (C_in,) and (C_out,), the channels that stay in any case.

    >>> inside, outside = np.array([1, 0, 1, 1, 0, 0], bool), np.array([1, 1, 0], bool)
    >>> [more.tolist() for more in missing(inside, outside, 3)]
    [[False, True, False, False, False, False], [False, False, False]]
    """
    before, after = inside.reshape(groups, -1), outside.reshape(groups, -1)
    left = np.asarray(before.any(axis=1) | after.any(axis=1))
    return _filled(before, left), _filled(after, left)


def _filled(stays: Array, left: Array) -> Array:
    """Of each group that is left the first channels of those that go, up to the largest's count."""
    count = max(1, int(stays.sum(axis=1).max(initial=0)))
    lacking = count - stays.sum(axis=1, keepdims=True)
    more = ~stays & (np.cumsum(~stays, axis=1) <= lacking) & left[:, None]
    return np.asarray(more.reshape(-1))
