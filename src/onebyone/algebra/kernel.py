"""A K×K convolution as a sum of 1×1s, each after a shift, and what composes with it.

Symbols. x: (N, C_in, *space); K taps k, each a matrix W_k and a zero-filled, strided shift T_k:

    K = Σ_k W_k ⊗ T_k (+ b)    W_k = weight[:, :, *k]    (T_k x)[i] = x[stride·i + dilation·k - pad]

Laws.  (M, c) ∘ K = Σ_k (M W_k) ⊗ T_k + (M b + c)                      always
       K ∘ (M, c) = Σ_k (W_k M) ⊗ T_k + (b + Σ_k W_k c)                where no T_k reads padding
       K + L      = Σ_k (W_k + V_k) ⊗ T_k + (b + d)                    where the T_k can be aligned
       A ∘ K      = Σ_k Σ_j (W_k / n) ⊗ T_{k + s·j} + b                where A averages n outputs j
Side conditions. Groups make each W_k block-diagonal: only a diagonal M keeps that shape. Padding
is added after (M, c), so the border sees 0 and not c: with c ≠ 0 the second law needs no padding.
A may average nothing but outputs of K: what a pool pads is no output. K's own padding may be any.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from onebyone.algebra.laws import refused
from onebyone.algebra.pool import AveragePool
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.selection import Shift
from onebyone.algebra.weights import (
    Array,
    along,
    biased,
    blockwise,
    check_width,
    grouped_refusal,
    law_of,
    mapped_bias,
    summed,
    through_groups,
    wide,
)
from onebyone.algebra.window import Window
from onebyone.errors import UsageError

__all__ = ["Kernel"]


@dataclass(frozen=True, eq=False)
class Kernel:
    """A convolution over any number of axes, with its padding in numbers.

    weight (C_out, C_in / groups, *K); bias (C_out,) or None; stride, dilation and pads
    (zeros before, after) one entry per axis. Raises `UsageError` where these do not fit.

    >>> k = Kernel(np.ones((2, 1, 3), int), None, (1,), (1,), ((1, 1),))
    >>> k.apply(np.array([[[1, 2, 3]]])).tolist()
    [[[3, 6, 5], [3, 6, 5]]]
    """

    weight: Array
    bias: Array | None
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    groups: int = 1

    def __post_init__(self) -> None:
        axes = self.weight.ndim - 2
        if not len(self.stride) == len(self.dilation) == len(self.pads) == axes:
            raise UsageError(f"got {self}, wanted one stride, dilation and pads per axis ({axes})")
        if self.weight.shape[0] % self.groups:
            raise UsageError(f"got {self}, wanted groups that divide {self.weight.shape[0]}")

    def __str__(self) -> str:
        return f"Kernel {self.weight.shape} in {self.groups} groups"

    @property
    def channels(self) -> tuple[int, int]:
        """(C_in, C_out)."""
        return self.weight.shape[1] * self.groups, self.weight.shape[0]

    @property
    def padded(self) -> bool:
        """Some output may read a zero that is not in the input."""
        return any(max(pair) > 0 for pair in self.pads)

    @property
    def windows(self) -> tuple[Window, ...]:
        """What an output sees along each spatial axis."""
        taps = self.weight.shape[2:]
        every = zip(taps, self.stride, self.pads, self.dilation, strict=True)
        return tuple(Window(k, s, before, after, d) for k, s, (before, after), d in every)

    def out_sizes(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        """The output's spatial sizes for an input of spatial `sizes`."""
        every = zip(self.windows, sizes, strict=True)
        return tuple(window.out_size(n) for window, n in every)

    def terms(self) -> Iterator[tuple[Array, tuple[Shift, ...]]]:
        """Each W_k, (C_out, C_in / groups), with its T_k, one `Shift` per spatial axis."""
        for k in np.ndindex(*self.weight.shape[2:]):
            every = zip(self.windows, k, strict=True)
            shifts = tuple(Shift(window.first[i], window.stride) for window, i in every)
            yield self.weight[(..., *k)], shifts

    def apply(self, x: Array) -> Array:
        """Σ_k W_k T_k x + b for x (N, C_in, *space), in int64 or float64.

        The reference: exact on integers, slow by design.
        """
        # Term by term as the law has it, so that the law can be compared with it exactly.
        x, sizes = wide(x), self.out_sizes(x.shape[2:])
        y = np.zeros((len(x), self.channels[1], *sizes), np.result_type(x, wide(self.weight)))
        for matrix, shifts in self.terms():
            y = y + blockwise(wide(matrix), _shifted(x, shifts, sizes), self.groups)
        return biased(y, self.bias)

    def compose_left(self, M: Array, b: Array | None = None) -> Kernel | Refusal:
        """(M, b) ∘ K: the channel map after the convolution, in int64 or float64.

        M is (C', C_out), or (C_out,) for a diagonal; b is (C',). A dense M refuses groups.

        >>> k = Kernel(np.ones((2, 1, 3), int), np.array([1, 2]), (1,), (1,), ((1, 1),))
        >>> k.compose_left(np.array([[1, 10]])).bias
        array([21])
        """
        check_width(M, b, M.shape[-1] == self.channels[1], self)
        # A dense M would mix the outputs of different groups.
        if M.ndim == 2 and self.groups > 1:
            return grouped_refusal(self.groups)
        M, weight, bias = wide(M), wide(self.weight), mapped_bias(M, self.bias, b)
        if M.ndim == 1:
            return replace(self, weight=along(M, weight.ndim, 0) * weight, bias=bias)
        return replace(self, weight=np.tensordot(M, weight, 1), bias=bias)

    def compose_right(self, M: Array, b: Array | None = None) -> Kernel | Refusal:
        """K ∘ (M, b): the channel map before the convolution, in int64 or float64.

        M is (C_in, C'), or (C_in,) for a diagonal; b is (C_in,). A dense M refuses groups, and
        b ≠ 0 refuses padding.

        >>> k = Kernel(np.ones((2, 1, 3), int), None, (1,), (1,), ((1, 1),))
        >>> print(k.compose_right(np.array([2]), np.array([1])))
        affine: zero padding comes after the bias, so the border would see it: pads ((1, 1),)
        """
        check_width(M, b, M.shape[0] == self.channels[0], self)
        if M.ndim == 2 and self.groups > 1:
            return grouped_refusal(self.groups)
        if b is not None and np.any(b) and self.padded:
            return refused(law_of(M), "border", pads=self.pads)
        return replace(self, weight=self._weight_after(wide(M)), bias=self._bias_after(b))

    def _weight_after(self, M: Array) -> Array:
        weight = wide(self.weight)
        if M.ndim == 2:
            return np.moveaxis(np.tensordot(weight, M, (1, 0)), -1, 1)
        return weight * through_groups(M, self.weight.shape, self.groups)

    def _bias_after(self, b: Array | None) -> Array | None:
        if b is None:
            return self.bias
        # Without padding every output sees the constant b under each of its taps.
        taps = wide(self.weight).reshape(*self.weight.shape[:2], -1).sum(axis=2)
        return summed(blockwise(taps, wide(b)[None], self.groups)[0], self.bias)

    def plus(self, other: Kernel) -> Kernel | Refusal:
        """K + L for parallel kernels over the same input, in int64 or float64.

        The taps of the smaller are placed among those of the larger (a 1×1 on the tap that reads
        the centre); refused where groups, strides or the read positions do not meet.

        >>> k = Kernel(np.ones((2, 1, 3), int), None, (1,), (1,), ((1, 1),))
        >>> k.plus(Kernel(np.array([[[5]], [[7]]]), None, (1,), (1,), ((0, 0),))).weight[1]
        array([[1, 8, 1]])
        """
        large, small = sorted((self, other), key=lambda k: k.weight.size, reverse=True)
        if (large.channels, large.groups) != (small.channels, small.groups):
            return refused("sum", "channels", large=large, small=small)
        places = [_placed(*pair) for pair in zip(large.windows, small.windows, strict=True)]
        if not all(places):
            return refused("sum", "positions", large=large, small=small)
        # On these taps, and only there, both kernels see the same positions of x.
        weight = wide(large.weight).copy()
        weight[np.ix_(*map(range, weight.shape[:2]), *places)] += wide(small.weight)
        return replace(large, weight=weight, bias=summed(large.bias, small.bias))

    def averaged(self, pools: Sequence[AveragePool]) -> Kernel | Refusal:
        """A ∘ K: one average pool per spatial axis over the outputs, in float64.

        One larger kernel of stride s·t, where t is the pool's; refused where a pool pads or rounds
        up.

        >>> k = Kernel(np.array([[[1, 2, 3]]]), None, (1,), (1,), ((1, 1),))
        >>> pooled = k.averaged([AveragePool(2, stride=2)])
        >>> pooled.weight.tolist(), pooled.stride
        ([[[0.5, 1.5, 2.5, 1.5]]], (2,))
        """
        if not all(pool.stays_inside for pool in pools):
            return refused("pool", "outside", operator="the pool")
        weight = np.asarray(self.weight, np.float64)
        every = list(zip(self.windows, (pool.window(0) for pool in pools), strict=True))
        for axis, (own, pool) in enumerate(every, start=2):
            weight = np.moveaxis(_summed(np.moveaxis(weight, axis, -1), own, pool), -1, axis)
        both = [own.then(pool) for own, pool in every]
        return replace(
            self,
            weight=weight / prod(pool.kernel for pool in pools),
            stride=tuple(window.stride for window in both),
            dilation=(1,) * len(both),
            pads=tuple((window.before, window.after) for window in both),
        )


def _summed(weight: Array, own: Window, pool: Window) -> Array:
    """Taps on the last axis: those of all outputs that one window of a pool sees, added up."""
    total = np.zeros((*weight.shape[:-1], own.then(pool).kernel))
    for j in range(pool.kernel):
        start = j * pool.dilation * own.stride
        total[..., start : start + own.extent : own.dilation] += weight
    return total


def _placed(large: Window, small: Window) -> list[int]:
    """Which taps of `large` see what the taps of `small` see; empty where some has none."""
    # With both equal, there are as many outputs of either on an axis of any size.
    in_step = (large.stride, large.slack) == (small.stride, small.slack)
    if not in_step or not set(small.first) <= set(large.first):
        return []
    return [large.first.index(position) for position in small.first]


def _shifted(x: Array, shifts: tuple[Shift, ...], sizes: tuple[int, ...]) -> Array:
    """T_k x: reads by index, with zeros where the index is -1."""
    for axis, (shift, n_out) in enumerate(zip(shifts, sizes, strict=True), start=2):
        read = shift.sources(x.shape[axis], n_out)
        x = np.take(x, read, axis) * along(read >= 0, x.ndim, axis)
    return x
