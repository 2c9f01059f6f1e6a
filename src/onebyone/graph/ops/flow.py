"""How channels flow through a node, as a value: which become which, and which are mixed.

y[o] = f(x[c], …) for all (o, c) of a link       elementwise, concat, pool, view, depthwise, pick
y[o] = Σ_c W[o, c] · x[c] + b[o]                 a mix: 1×1, K×K, linear layer
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.algebra.groups import block_diagonal
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.weights import Array
from onebyone.graph.axes import Spatial
from onebyone.graph.constants import constant
from onebyone.graph.edit import Spelling
from onebyone.graph.values import rank_of, size

__all__ = [
    "Axes", "Flow", "Link", "Mix", "Reader", "channels_of", "mixed", "same", "spaced",
    "straight", "straight_flow", "unknown",
]  # fmt: skip

Axes = Mapping[ir.Value, int]
"""Value -> the axis that its channels stand on, where that is known."""


@dataclass(frozen=True, eq=False)
class Link:
    """Channels of an operand that go on as channels of a result.

    Args:
        operand: the value they come from, with channels on `axis`.
        result: the value they go to.
        outs, sources: (n,) channel of the result, and one of the operand that it is made of. A
            channel may come twice on either side: flattened, each is many of the result.
    """

    operand: ir.Value
    axis: int
    result: ir.Value
    outs: Array
    sources: Array

    @property
    def is_straight(self) -> bool:
        """Whether each channel goes on as the channel of the same number, and all do."""
        every = np.arange(channels_of(self.operand, self.axis) or 0)
        return np.array_equal(self.sources, every) and np.array_equal(self.outs, every)


@dataclass(frozen=True, eq=False)
class Mix:
    """Channels of an operand that are summed up with weights.

    Args:
        operand: the value they come from, with channels on `axis`.
        kernel: (C_out, C_in / groups, taps), as stored.
        bias: (C_out,) or None.
        zeros_only: whether no channel can go but those of zeros: zeros are read beyond the borders,
            or there is no bias for what others would add.
        groups: the diagonal blocks outside of which the matrix is zero; they stay of one size.

    What follows from the kernel is as large as it, so it is not kept: a graph has many.
    """

    operand: ir.Value
    axis: int
    kernel: Array
    bias: Array | None
    zeros_only: bool
    groups: int = 1

    @property
    def channels(self) -> int:
        """C_in."""
        return int(self.kernel.shape[1]) * self.groups

    @property
    def weight(self) -> Array:
        """(C_out, C_in) the sum of the taps, in float64."""
        return block_diagonal(self.kernel.astype(np.float64).sum(axis=2), self.groups)

    @property
    def used(self) -> Array:
        """(C_out, C_in) where some tap is not zero."""
        used = np.zeros(self.kernel.shape[:2], bool)
        # Tap by tap: NumPy is slow along a last axis that is short.
        for tap in np.moveaxis(self.kernel != 0, 2, 0):
            used |= tap
        return block_diagonal(used, self.groups)

    @property
    def shift(self) -> Array:
        """(C_out,) the bias; zeros where there is none."""
        if self.bias is None:
            return np.zeros(len(self.kernel))
        return self.bias

    @cached_property
    def lines(self) -> tuple[Array, Array]:
        """(C_out,) the rows that read something, and (C_in,) the columns that are read."""
        rows, columns, taps = len(self.kernel), self.channels, self.kernel.shape[2]
        if taps and (self.kernel != 0).all():  # as in most networks
            return np.full(rows, columns > 0), np.full(columns, rows > 0)
        used = self.used
        return np.asarray(used.any(axis=1)), np.asarray(used.any(axis=0))


@dataclass(frozen=True, eq=False)
class Flow:
    """What a node does to channels, which its results have on `axis`: it links or it mixes them.

    Args:
        axis: of the channels in the results.
        links, mix: one of the two.
        constants: the operands that hold one number for each channel -> the axis of these.
        moves: whether it only stacks channels, cuts them apart, or picks some.
        picks: whether it names channels by their numbers.
        held: of links: what each of their operands holds at every position (NaN where it varies),
            one number for each channel of the result -> what the result holds. None: the same
            numbers, or where it is elementwise what it computes of these.
        spelled: what tells the node its channels, which are given: those that it picks, by their
            places in its operand, else those that are left of its result.
    """

    axis: int
    links: tuple[Link, ...] = ()
    mix: Mix | None = None
    constants: dict[ir.Value, int] = field(default_factory=dict)
    moves: bool = False
    picks: bool = False
    held: Callable[[Sequence[Array]], Array] | None = None
    spelled: Callable[[Array], Spelling] = lambda channels: {}

    @property
    def joins(self) -> bool:
        """Whether it stacks the channels of several operands."""
        return self.moves and not self.picks and len(self.links) > 1

    @property
    def operands(self) -> dict[ir.Value, int]:
        """The values that channels come from, with their channel axes."""
        parts = [self.mix, *self.links]
        return {part.operand: part.axis for part in parts if part is not None}


def channels_of(value: ir.Value | None, axis: int) -> int | None:
    """The number of channels; None if it is not known."""
    if axis < 0:
        return None
    return size(value, axis)


def straight(x: ir.Value | None, out: ir.Value, axis: int, after: int) -> Link | None:
    """Channels on `axis` of x that go on by their numbers, on axis `after` of the result."""
    channels = channels_of(x, axis)
    if x is None or channels is None or channels != channels_of(out, after):
        return None
    every = np.arange(channels)
    return Link(x, axis, out, every, every)


Reader = Callable[[ir.Node, int, Axes], Flow | None]
"""Of a node, the axis of its result's channels, and those of other values; None: not known."""


def straight_flow(node: ir.Node, before: int, axis: int, **special: Any) -> Flow | None:
    """Channels of the first operand, on axis `before`, that go on by their numbers."""
    link = straight(node.inputs[0], node.outputs[0], before, axis)
    if link is None:
        return None
    return Flow(axis, (link,), **special)


def same(node: ir.Node, axis: int, **special: Any) -> Flow | None:
    """Channels that go on by their numbers, where operands are aligned at their last axes."""
    out = node.outputs[0]
    links: list[Link] = []
    constants: dict[ir.Value, int] = {}
    assert out.shape is not None
    for x in dict.fromkeys(v for v in node.inputs if v is not None):
        if x.shape is None:
            return None
        own = axis - out.shape.rank() + x.shape.rank()
        if own < 0 or x.shape[own] == 1 != out.shape[axis]:
            continue  # it is the same for all channels
        if constant(x) is not None:
            constants[x] = own
            continue
        link = straight(x, out, own, axis)
        if link is None:
            return None
        links.append(link)
    if not links:
        return None
    return Flow(axis, tuple(links), constants=constants, **special)


def mixed(
    x: ir.Value,
    axis: int,
    kernel: Array,
    bias: Array | None,
    *,
    zeros_only: bool = False,
    groups: int = 1,
) -> Flow:
    """Channels that are summed up by a kernel (C_out, C_in / groups, ...)."""
    taps = kernel.reshape(*kernel.shape[:2], prod(kernel.shape[2:]))
    return Flow(axis, mix=Mix(x, axis, taps, bias, zeros_only, groups))


def spaced(node: ir.Node, axis: int, found: Spatial | Refusal | None) -> Flow | None:
    """Channels on an axis that a map of positions leaves alone."""
    if not isinstance(found, Spatial) or found.reads(axis) in found.maps:
        return None
    if found.reads(axis) >= (rank_of(node.inputs[0]) or 0):
        return None
    held = None if found.preserves_constants else _zeros
    return straight_flow(node, found.reads(axis), axis, held=held)


def _zeros(known: Sequence[Array]) -> Array:
    """Zeros stay zeros in whatever is linear."""
    return np.where(known[0] == 0, 0, np.nan)


def unknown(known: Sequence[Array]) -> Array:
    """For `Flow.held`: nothing is known of the result."""
    return np.full(known[0].shape, np.nan)
