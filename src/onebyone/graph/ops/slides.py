"""Operators as layers that slide: along each axis of a node where its results look.

What is given for an axis is an `Axis` of the algebra, in positions of the first operand, or a
sentence that says why there is none. Along all other axes each position of the result is made of
the same one of the first operand. Convolutions, pools, padding, slices, blocks; resizes are in
`resampling`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import onnx_ir as ir

from onebyone.algebra.geometry import Axis
from onebyone.algebra.pool import AveragePool
from onebyone.algebra.upsampled import blocks
from onebyone.algebra.window import Window
from onebyone.graph.axes import integers, pairs, rank
from onebyone.graph.values import input_at

__all__ = ["MIXED", "Slides", "laid", "of_blocks", "of_gathered_blocks", "of_pad", "of_slice"]

Slides = dict[int, Axis | str]
"""Axis of the first operand and the result -> how the results slide there, or why they do not."""

MIXED = "it mixes all of them"
"""Of the axis of channels, mostly."""


def laid(pools: Sequence[AveragePool]) -> Slides:
    """Windows of any kind along the axes from 2 on.

    >>> laid([AveragePool(2, stride=2, ceil_mode=True)])[2].size(5)
    3
    """
    return {axis: _window(pool) for axis, pool in enumerate(pools, start=2)}


def _window(pool: AveragePool) -> Axis | str:
    window = Window(pool.kernel, pool.stride, pool.before, pool.after, pool.dilation)
    if pool.auto_pad == "NOTSET":
        return Axis.of(window.rounded_up() if pool.ceil_mode else window)
    if pool.ceil_mode:
        return "it pads by itself and rounds its size up"
    window = replace(window, before=0, after=0)
    if pool.auto_pad == "VALID":
        return Axis.of(window)
    # How much it pads hangs on the size; for multiples of the stride it is always the same.
    large = window.stride * window.extent
    before, after = window.same_pads(large, odd_before=pool.auto_pad == "SAME_LOWER")
    padded = Axis.of(replace(window, before=before, after=after))
    # With a stride of 1 every size is one.
    return replace(padded, multiple=window.stride)


def of_pad(node: ir.Node) -> Slides:
    """Padding, or cropping, by constants."""
    pads, mode = integers(node, 1, "pads"), node.attributes.get_string("mode", "constant")
    every = dict.fromkeys(range(rank(node)))
    if pads is None or (input_at(node, 3) is not None and integers(node, 3, "axes") is None):
        return dict.fromkeys(every, "how much it pads is computed")
    made_of = _EDGES.get(mode or "")
    if made_of is None:
        return dict.fromkeys(every, f"it pads with what stands at the other end (mode {mode})")
    axes = integers(node, 3, "axes") or range(rank(node))
    return {
        axis % rank(node): Axis.of(Window(1, 1, before, after), made_of(max(before, after)))
        for axis, (before, after) in zip(axes, pairs(pads), strict=False)
        if before or after
    }


_EDGES: dict[str, Callable[[int], int]] = {
    "constant": lambda pad: 1,
    "edge": lambda pad: 1,
    "reflect": lambda pad: max(pad, 0) + 1,
}
"""The positions at an end that padding there is made of, by its mode."""


def of_slice(cuts: dict[int, tuple[int, int, int]] | None, rank: int, far: int) -> Slides:
    """What cuts off a number of positions at the ends, or takes every s-th one.

    >>> of_slice({2: (1, -2, 3)}, 3, 99)[2].size(10)
    3
    """
    if cuts is None:
        return dict.fromkeys(range(rank), "what it cuts out is computed")
    return {
        axis: _cut(*cut, far) for axis, cut in cuts.items() if cut[0] or cut[1] < far or cut[2] != 1
    }


def _cut(start: int, end: int, step: int, far: int) -> Axis | str:
    if step < 0:
        return "it runs backwards"
    if start < 0 or 0 <= end < far:
        return "it takes a part whose size is fixed"
    return Axis.of(Window(1, step, -start, min(end, 0)))


def of_blocks(node: ir.Node) -> Slides:
    """Channels that become blocks of positions."""
    size = node.attributes.get_int("blocksize", 1)
    return {1: MIXED, 2: blocks(size), 3: blocks(size)}


def of_gathered_blocks(node: ir.Node) -> Slides:
    """Blocks of positions that become channels."""
    size = node.attributes.get_int("blocksize", 1)
    axis = replace(Axis.of(Window(size, size)), multiple=size)
    return {1: MIXED, 2: axis, 3: axis}
