"""Channel maps: what a 1×1 convolution does to the channel vector at every position.

    y[o, p] = Σ_i W[o, i] · x[i, p] + b[o]          W: (C_out, C_in), b: (C_out,)

A 1×1 convolution, a linear layer on tokens, a batch normalisation at inference and a multiplication
by a per-channel constant are all channel maps; they differ in the structure of W only: dense,
block-diagonal (`groups` blocks) or diagonal (as many groups as channels, blocks of 1×1).

Laws, for f = (W₁, b₁) and g = (W₂, b₂):

    compose    g ∘ f     = (W₂W₁, W₂b₁ + b₂)
    sum        f + g     = (W₁ + W₂, b₁ + b₂)
    split      W[x₁; x₂] = W₁x₁ + W₂x₂          the columns of W, cut where the concat was
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from onebyone.algebra.digits import exact_rows
from onebyone.algebra.groups import block_diagonal
from onebyone.algebra.weights import Array, biased, summed, wide
from onebyone.errors import UsageError

__all__ = ["Array", "ChannelMap", "add", "compose", "join_structure", "split"]


@dataclass(frozen=True, eq=False)
class ChannelMap:
    """The map x ↦ Wx + b on the channel axis, the same at every position.

    Args:
        weight: (C_out, C_in // groups); row o holds the weights of the block that o lies in.
        bias: (C_out,), or None for none.
        groups: number of diagonal blocks; 1 is dense, C_in = C_out = groups is diagonal.
        stored: what the caller knows W by where it is kept as it is; a W that is computed has none.

    Raises:
        UsageError: the shapes do not fit together.

    >>> ChannelMap(np.array([[1, 2, 3], [4, 5, 6]])).apply(np.ones((1, 3, 5), int))[0, :, 0]
    array([ 6, 15])
    """

    weight: Array
    bias: Array | None = None
    groups: int = 1
    stored: Any = None

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.groups < 1 or self.out_channels % self.groups:
            raise UsageError(
                f"got a weight of shape {self.weight.shape} in {self.groups} groups, "
                "wanted (C_out, C_in // groups) with C_out a multiple of groups"
            )
        if self.bias is not None and self.bias.shape != (self.out_channels,):
            raise UsageError(
                f"got a bias of shape {self.bias.shape}, wanted ({self.out_channels},)"
            )

    @classmethod
    def diagonal(cls, scale: Array, bias: Array | None = None) -> ChannelMap:
        """diag(scale): (C,) per-channel factors, with an optional (C,) shift.

        >>> ChannelMap.diagonal(np.array([2, 3])).dense()
        array([[2, 0],
               [0, 3]])
        """
        return cls(scale.reshape(-1, 1), bias, len(scale))

    @classmethod
    def copying(cls, channels: Sequence[int], of: int, bias: Array | None = None) -> ChannelMap:
        """P: the given ones `of` so many channels, in any order and number; -1 is a zero.

        >>> ChannelMap.copying([0, 1, 0], of=2).weight.tolist()
        [[1, 0], [0, 1], [1, 0]]
        """
        return cls(np.equal.outer(np.asarray(channels), np.arange(of)).astype(np.int64), bias)

    @property
    def out_channels(self) -> int:
        return int(self.weight.shape[0])

    @property
    def in_channels(self) -> int:
        return int(self.weight.shape[1]) * self.groups

    @cached_property
    def is_diagonal(self) -> bool:
        """Whether W is square and diagonal by its structure (not by accident of its values)."""
        return self.groups == self.in_channels == self.out_channels

    @cached_property
    def is_shift(self) -> bool:
        """Whether it adds a constant, or nothing, and scales by one."""
        return self.is_diagonal and self._scales_by(1)

    @cached_property
    def is_negation(self) -> bool:
        """Whether it changes the sign, and nothing else."""
        return self.is_diagonal and self.bias is None and self._scales_by(-1)

    def _scales_by(self, factor: int) -> bool:
        # The first channel says no for most, and takes a tenth of the time.
        return bool((self.weight[:1] == factor).all() and (self.weight == factor).all())

    @cached_property
    def exact_rows(self) -> Array:
        """(C_out,): which rows may compute without rounding (`digits.exact_rows`)."""
        return exact_rows(self.weight)

    @cached_property
    def linear(self) -> ChannelMap:
        """x ↦ Wx, without the bias; still known by where W is stored."""
        if self.bias is None:
            return self
        return ChannelMap(self.weight, None, self.groups, self.stored)

    @property
    def macs(self) -> int:
        """Multiply-accumulates a position; a diagonal is elementwise and counts none."""
        if self.is_diagonal:
            return 0
        return int(self.weight.size)

    def dense(self) -> Array:
        """W written out, (C_out, C_in), zeros outside the blocks."""
        return block_diagonal(self.weight, self.groups)

    def blocks(self) -> Array:
        """W as (groups, C_out / groups, C_in / groups)."""
        return self.weight.reshape(self.groups, -1, self.weight.shape[1])

    def apply(self, x: Array, axis: int = 1) -> Array:
        """Wx + b along `axis` of x, which has C_in entries there; any rank and any number type."""
        y = np.moveaxis(np.tensordot(self.dense(), x, axes=(1, axis)), 0, axis)
        return biased(y, self.bias, axis)

    def push(self, bias: Array) -> Array:
        """W·bias: a (C_in,) shift before the map, as the (C_out,) shift after it that it equals."""
        column = wide(bias).reshape(self.groups, -1, 1)
        return np.asarray(wide(self.blocks()) @ column).reshape(-1)


def join_structure(first: int, second: int, channels: Sequence[int]) -> int:
    """Groups of the product of maps in `first` and `second` groups, `channels` (in, mid, out).

    A diagonal keeps the other's blocks; equal blocks stay; anything else fills up to dense.
    """
    before, between, after = channels
    # A map with as many groups as channels on both sides is a diagonal.
    if second == between == after:
        return first
    if first == before == between:
        return second
    if first == second:
        return first
    return 1


def compose(second: ChannelMap, first: ChannelMap) -> ChannelMap:
    """second ∘ first as one map: W₂(W₁x + b₁) + b₂ = (W₂W₁)x + (W₂b₁ + b₂).

    Diagonals and equal groupings keep their structure, all else becomes dense.

    Raises:
        UsageError: first gives another number of channels than second takes.

    >>> f = ChannelMap(np.array([[1, 2]]), np.array([3]))
    >>> g = ChannelMap(np.array([[2], [5]]), np.array([0, 1]))
    >>> gf = compose(g, f)
    >>> gf.weight.tolist(), gf.bias.tolist()
    ([[2, 4], [5, 10]], [6, 16])
    """
    if first.out_channels != second.in_channels:
        raise UsageError(
            f"got maps {first.in_channels} → {first.out_channels} and {second.in_channels} → "
            f"{second.out_channels}, wanted the first to give what the second takes"
        )
    channels = (first.in_channels, first.out_channels, second.out_channels)
    groups = join_structure(first.groups, second.groups, channels)
    bias = second.bias
    if first.bias is not None:
        bias = summed(second.push(first.bias), bias)
    return ChannelMap(_product(second, first, groups), bias, groups)


def _product(second: ChannelMap, first: ChannelMap, groups: int) -> Array:
    if second.is_diagonal:
        return wide(second.weight) * wide(first.weight)
    if first.is_diagonal:
        # W diag(s) scales the columns of W; a block has its own share of s.
        scale = wide(first.weight).reshape(second.groups, 1, -1)
        return (wide(second.blocks()) * scale).reshape(second.weight.shape)
    if groups == 1:
        return wide(second.dense()) @ wide(first.dense())
    return (wide(second.blocks()) @ wide(first.blocks())).reshape(second.out_channels, -1)


def add(f: ChannelMap, g: ChannelMap) -> ChannelMap:
    """f + g as one map: W₁x + W₂x = (W₁ + W₂)x. The identity branch is W = I.

    Raises:
        UsageError: the maps have other channels.

    >>> add(ChannelMap(np.array([[0, 1], [2, 0]])), ChannelMap.diagonal(np.array([1, 1]))).weight
    array([[1, 1],
           [2, 1]])
    """
    if (f.in_channels, f.out_channels) != (g.in_channels, g.out_channels):
        raise UsageError(
            f"got maps {f.in_channels} → {f.out_channels} and {g.in_channels} → {g.out_channels}, "
            "wanted equal channels to sum them"
        )
    bias = summed(f.bias, g.bias)
    # Blocks on the same channels add up block by block; else only the dense matrices do.
    if f.groups == g.groups:
        return ChannelMap(wide(f.weight) + wide(g.weight), bias, f.groups)
    return ChannelMap(wide(f.dense()) + wide(g.dense()), bias)


def split(f: ChannelMap, sizes: Sequence[int]) -> tuple[ChannelMap, ...]:
    """Cut f at a concat of `sizes` channels: W[x₁; x₂] = W₁x₁ + W₂x₂.

    The bias stays with the first part. A diagonal is cut into diagonals, whose results are
    concatenated instead of summed.

    Raises:
        UsageError: the sizes do not add up to C_in.

    >>> [p.weight.tolist() for p in split(ChannelMap(np.array([[1, 2, 3]])), [1, 2])]
    [[[1]], [[2, 3]]]
    """
    if sum(sizes) != f.in_channels:
        raise UsageError(f"got sizes {list(sizes)}, wanted a sum of {f.in_channels} channels")
    cuts = np.cumsum(sizes)[:-1]
    if f.is_diagonal:
        # Here each output belongs to one part, so the parts are concatenated, each with its shift.
        scales = np.split(f.weight[:, 0], cuts)
        if f.bias is None:
            return tuple(map(ChannelMap.diagonal, scales))
        return tuple(map(ChannelMap.diagonal, scales, np.split(f.bias, cuts)))
    first, *others = np.split(f.dense(), cuts, axis=1)
    return ChannelMap(first, f.bias), *map(ChannelMap, others)
