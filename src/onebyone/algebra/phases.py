"""Phases: a K×K behind a nearest upsampling is smaller kernels on the small map.

Symbols. U copies each position s times, (U x)[j] = x[⌊j/s⌋]. K has taps W_k that are d apart, the
stride t and the padding p, q. With g = gcd(s, t) there are P = s/g *phases*: the outputs P·m + r
for r < P. Along one axis, output i of K U x reads under tap k

    ⌊(t·i + d·k − p) / s⌋ = (t/g)·m + ⌊(t·r + d·k − p) / s⌋          i = P·m + r

so that all outputs of a phase read the same offsets, and taps of one offset add up:

    K U = D [K_0; …; K_{P−1}]        (K_r)_o = Σ_k W_k   over all k with ⌊(t·r + d·k − p)/s⌋ = o
                                      D puts position m of phase r at P·m + r

For t = 1 the same is one transposed convolution of stride s, whose tap τ is

    V_τ = Σ_k W_k   over all k with 0 ≤ τ + d·k − E < s              E = d·(K − 1)

and which crops E − p positions before and E − q behind.

Side conditions. ⌊j/s⌋ lies outside the small map exactly where j lies outside the large one, so
padding stays padding, whatever it holds: zeros, or the nearest position inside. What p ≤ s − 1
reflected positions hold is the border's position, so that is padding by the nearest too. The
phases are of one size for every n if P divides ⌊(p + q − E − 1)/g⌋ + 1, and s and t divide each
other; the transposed kernel needs neither, but crops no less than nothing.

Source: A. Aitken et al., "Checkerboard artifact free sub-pixel convolution" (2017),
arXiv:1707.02937, for zero padding and s = t·P = K − 1; and, one level below, the polyphase form of
an interpolator: P. P. Vaidyanathan, *Multirate Systems and Filter Banks* (1993).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import gcd

import numpy as np

from onebyone.algebra.kernel import Kernel
from onebyone.algebra.laws import refused
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.transposed import TransposedKernel
from onebyone.algebra.weights import Array, wide
from onebyone.algebra.window import Window

__all__ = ["as_transposed", "phases"]

Phase = tuple[Window, list[int]]
"""Along one axis: the window on the small map, and at which of its places each tap stands."""


def phases(kernel: Kernel, factors: Sequence[int]) -> Mapping[tuple[int, ...], Kernel] | Refusal:
    """The kernels on the small map that are K U, by phase, in int64 or float64.

    Args:
        kernel: K, with pads of zero or more.
        factors: s of U, axis by axis.

    All have outputs of the same sizes. Phases are listed with the last axis innermost.

    >>> K = Kernel(np.array([[[1, 10, 100]]]), None, (1,), (1,), ((1, 1),))
    >>> {r: k.weight.tolist() for r, k in phases(K, (2,)).items()}
    {(0,): [[[1, 110]]], (1,): [[[11, 100]]]}
    """
    axes = []
    for window, factor in zip(kernel.windows, factors, strict=True):
        found = _along(window, factor)
        if isinstance(found, Refusal):
            return found
        axes.append(found)
    every = product(*map(enumerate, axes))
    return {tuple(r for r, _ in phase): _folded(kernel, [p for _, p in phase]) for phase in every}


def _along(window: Window, factor: int) -> list[Phase] | Refusal:
    common = gcd(factor, window.stride)
    count, step = factor // common, window.stride // common
    if min(count, step) > 1:
        return refused("phases", "stride", stride=window.stride, factor=factor)
    # For n positions there are n·count + outputs of them: so many more than there are phases.
    outputs = window.slack // common + 1
    if outputs % count:
        return refused("phases", "sizes", factor=factor)
    found = []
    for r in range(count):
        # Output r reads position stride·r + first of U x, and U x holds each number `factor` times.
        offsets = [(window.stride * r + first) // factor for first in window.first]
        taps = offsets[-1] - offsets[0] + 1
        # The pad behind is what makes as many outputs as the other phases have.
        small = Window(taps, step, -offsets[0], outputs // count + offsets[-1])
        found.append((small, [offset - offsets[0] for offset in offsets]))
    return found


def _folded(kernel: Kernel, phase: Sequence[Phase]) -> Kernel:
    """The kernel of one phase: taps that stand at one place are summed."""
    weight = wide(kernel.weight)
    for axis, (window, places) in enumerate(phase, start=2):
        weight = _summed(weight, np.equal.outer(range(window.kernel), places), axis)
    windows = [window for window, _ in phase]
    return replace(
        kernel,
        weight=weight,
        stride=tuple(window.stride for window in windows),
        dilation=(1,) * len(windows),
        pads=tuple((window.before, window.after) for window in windows),
    )


def _summed(weight: Array, chosen: Array, axis: int) -> Array:
    """Along an axis: at each place the sum of the taps that are `chosen` (places, taps) there."""
    taps = np.moveaxis(weight, axis, 0)
    summed = np.zeros((len(chosen), *taps.shape[1:]), weight.dtype)
    for place, tap in np.argwhere(chosen):
        summed[place] += taps[tap]
    return np.moveaxis(summed, 0, axis)


def as_transposed(kernel: Kernel, factors: Sequence[int]) -> TransposedKernel | Refusal | None:
    """K U as one transposed convolution, in int64 or float64; None where K strides.

    Args:
        kernel: K; a negative pad is a crop of U x.
        factors: s of U, axis by axis.

    >>> K = Kernel(np.array([[[1, 10, 100]]]), None, (1,), (1,), ((1, 1),))
    >>> as_transposed(K, (2,)).weight.tolist()
    [[[100, 110, 11, 1]]]
    """
    if max(kernel.stride) > 1:
        return None
    weight, crops = wide(kernel.weight), []
    for axis, (window, factor) in enumerate(zip(kernel.windows, factors, strict=True), start=2):
        reach = window.extent - 1
        crops.append((reach - window.before, reach - window.after))
        if min(crops[-1]) < 0:
            return refused("phases", "border", pads=(window.before, window.after))
        # An input is written `factor` times, once for each copy of it; tap k shifts a copy by k
        # dilations to the left. So tap k reaches the places of a run as long as `factor`.
        steps = np.add.outer(range(reach + factor), np.arange(window.kernel) * window.dilation)
        weight = _summed(weight, (steps >= reach) & (steps < reach + factor), axis)
    # A convolution's weight starts with the outputs, a transposed one's with the inputs: group by
    # group they change places.
    out, into, *taps = weight.shape
    blocks = weight.reshape(kernel.groups, out // kernel.groups, into, *taps)
    weight = np.swapaxes(blocks, 1, 2).reshape(-1, out // kernel.groups, *taps)
    ones = (1,) * len(taps)
    none = (0,) * len(taps)
    return TransposedKernel(
        weight, kernel.bias, tuple(factors), ones, tuple(crops), none, kernel.groups
    )
