"""Transposed convolutions: each input position writes a K×K stamp.

Symbols. x: (N, C_in, *space); V_k = weight[:, :, *k], (C_in, C_out), with zero-filled shifts:

    K = Σ_k V_kᵀ ⊗ T_kᵀ (+ b)      T_kᵀ writes input i to output stride·i + dilation·k - pad

Laws. (M, c) ∘ K = Σ_k (M V_kᵀ) ⊗ T_kᵀ + (M b + c)            always
      K ∘ (M, c) = Σ_k (V_kᵀ M) ⊗ T_kᵀ + …                    with c ≠ 0 only for a 1×1, stride 1
Side conditions. Groups as in `kernel`: only a diagonal M keeps them. A constant c is stamped as
often as an output position is hit, which differs over phases and borders, so it is no bias.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onebyone.algebra.laws import refused
from onebyone.algebra.refusal import Refusal
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

__all__ = ["TransposedKernel"]


@dataclass(frozen=True, eq=False)
class TransposedKernel:
    """A transposed convolution over any number of axes, with its padding in numbers.

    weight (C_in, C_out / groups, *K); bias (C_out,) or None; stride, dilation, pads (cropped
    before, after) and output_padding (grown behind) one entry per axis. Raises `UsageError`
    where these do not fit.

    >>> k = TransposedKernel(np.array([[[1, 2]]]), None, (2,), (1,), ((0, 0),), (0,))
    >>> k.apply(np.array([[[1, 10]]])).tolist()
    [[[1, 2, 10, 20]]]
    """

    weight: Array
    bias: Array | None
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    output_padding: tuple[int, ...]
    groups: int = 1

    def __post_init__(self) -> None:
        axes = self.weight.ndim - 2
        per_axis = (self.stride, self.dilation, self.pads, self.output_padding)
        if any(len(values) != axes for values in per_axis):
            raise UsageError(f"got {self}, wanted one value of each attribute per axis ({axes})")
        if self.weight.shape[0] % self.groups:
            raise UsageError(f"got {self}, wanted groups that divide {self.weight.shape[0]}")

    def __str__(self) -> str:
        return f"TransposedKernel {self.weight.shape} in {self.groups} groups"

    @property
    def channels(self) -> tuple[int, int]:
        """(C_in, C_out)."""
        return self.weight.shape[0], self.weight.shape[1] * self.groups

    @property
    def windows(self) -> tuple[Window, ...]:
        """Along each spatial axis, where an input is written before the pads are cropped.

        A transposed convolution writes where the convolution that it transposes reads.
        """
        every = zip(self.weight.shape[2:], self.stride, self.dilation, strict=True)
        return tuple(Window(k, s, dilation=d) for k, s, d in every)

    @property
    def pointwise(self) -> bool:
        """A 1×1 in disguise: every output position is hit exactly once."""
        taps = self.weight.shape[2:]
        plain = (1,) * len(taps)
        grown = any(map(any, self.pads)) or any(self.output_padding)
        return taps == self.stride == plain and not grown

    def apply(self, x: Array) -> Array:
        """Σ_k T_kᵀ V_kᵀ x + b for x (N, C_in, *space), in int64 or float64.

        The reference: exact on integers, slow by design.
        """
        x, weight = wide(x), wide(self.weight)
        y = np.zeros((len(x), self.channels[1], *self._stamped(x)), np.result_type(x, weight))
        for k in np.ndindex(*weight.shape[2:]):
            # V_kᵀ mixes the channels of every position, T_kᵀ writes them a stride apart.
            stamp = blockwise(weight[(..., *k)], x, self.groups, transposed=True)
            y[self._written(k, x)] += stamp
        kept: list[Any] = [
            slice(p[0], n - p[1]) for n, p in zip(y.shape[2:], self.pads, strict=True)
        ]
        y = y[(..., *kept)]
        return biased(y, self.bias)

    def _stamped(self, x: Array) -> list[int]:
        """The output's spatial sizes before the pads are cropped."""
        every = zip(self.windows, x.shape[2:], self.output_padding, strict=True)
        return [len(window.seen(range(n))) + grown for window, n, grown in every]

    def _written(self, k: tuple[int, ...], x: Array) -> tuple[Any, ...]:
        """Where tap k of each input position is written, before the pads are cropped."""
        every = zip(self.windows, k, x.shape[2:], strict=True)
        starts = [(window.first[i], window.stride, n) for window, i, n in every]
        return (..., *(slice(first, first + (n - 1) * s + 1, s) for first, s, n in starts))

    def compose_left(self, M: Array, b: Array | None = None) -> TransposedKernel | Refusal:
        """(M, b) ∘ K: the channel map after it, in int64 or float64.

        M is (C', C_out), or (C_out,) for a diagonal; b is (C',). A dense M refuses groups.

        >>> k = TransposedKernel(np.ones((1, 2, 3), int), None, (2,), (1,), ((0, 0),), (0,))
        >>> k.compose_left(np.array([5, 7])).weight[0, :, 0]
        array([5, 7])
        """
        check_width(M, b, M.shape[-1] == self.channels[1], self)
        if M.ndim == 2 and self.groups > 1:
            return grouped_refusal(self.groups)
        weight, bias = wide(self.weight), mapped_bias(M, self.bias, b)
        if M.ndim == 1:
            scale = through_groups(wide(M), weight.shape, self.groups)
            return replace(self, weight=weight * scale, bias=bias)
        # Σ over the old outputs, axis 1, into whose place the new ones go.
        weight = np.moveaxis(np.tensordot(weight, wide(M), (1, 1)), -1, 1)
        return replace(self, weight=weight, bias=bias)

    def compose_right(self, M: Array, b: Array | None = None) -> TransposedKernel | Refusal:
        """K ∘ (M, b): the channel map before it, in int64 or float64.

        M is (C_in, C'), or (C_in,) for a diagonal; b is (C_in,). A dense M refuses groups, and
        b ≠ 0 refuses all but a 1×1 with stride one.

        >>> k = TransposedKernel(np.ones((1, 2, 3), int), None, (2,), (1,), ((0, 0),), (0,))
        >>> print(k.compose_right(np.array([5]), np.array([1])))
        affine: a transposed convolution stamps the bias a different number of times per position
        """
        check_width(M, b, M.shape[0] == self.channels[0], self)
        if M.ndim == 2 and self.groups > 1:
            return grouped_refusal(self.groups)
        if b is not None and np.any(b) and not self.pointwise:
            return refused(law_of(M), "stamped bias")
        weight, M, bias = wide(self.weight), wide(M), self._bias_after(b)
        if M.ndim == 1:
            return replace(self, weight=along(M, weight.ndim, 0) * weight, bias=bias)
        return replace(self, weight=np.tensordot(M.T, weight, 1), bias=bias)

    def _bias_after(self, b: Array | None) -> Array | None:
        if b is None or not np.any(b):
            return self.bias
        # Refused but for a 1×1 of stride one: it has one tap, which hits every position once.
        only = wide(self.weight).reshape(*self.weight.shape[:2])
        return summed(blockwise(only, wide(b)[None], self.groups, transposed=True)[0], self.bias)
