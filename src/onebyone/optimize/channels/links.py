"""How channels flow through a node, as a value: which become which, and which are mixed.

y[o] = f(x[c], …) for all (o, c) of a link       elementwise, concat, pool, view, depthwise, pick
y[o] = Σ_c W[o, c] · x[c] + b[o]                 a mix: 1×1, K×K, linear layer
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.values import size
from onebyone.optimize.channels.groups import block_diagonal

__all__ = ["Flow", "Link", "Mix", "channels_of", "is_joined", "straight"]


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
        return block_diagonal((self.kernel != 0).any(axis=2), self.groups)

    @property
    def shift(self) -> Array:
        """(C_out,) the bias; zeros where there is none."""
        return np.zeros(len(self.kernel)) if self.bias is None else self.bias

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

    `constants` are its operands that hold one number for each channel, on the axis given. `picks`
    says whether it names channels by their numbers.
    """

    axis: int
    links: tuple[Link, ...] = ()
    mix: Mix | None = None
    constants: dict[ir.Value, int] = field(default_factory=dict)
    picks: bool = False

    @property
    def operands(self) -> dict[ir.Value, int]:
        """The values that channels come from, with their channel axes."""
        parts = [self.mix, *self.links]
        return {part.operand: part.axis for part in parts if part is not None}


def is_joined(node: ir.Node, found: Flow) -> bool:
    """Whether a node is a Concat of channels, each of whose operands has some of the result's."""
    return node.op_type == "Concat" and any(
        link.outs.size and link.outs[0] > 0 for link in found.links
    )


def channels_of(value: ir.Value | None, axis: int) -> int | None:
    """The number of channels; None if it is not known."""
    return None if axis < 0 else size(value, axis)


def straight(x: ir.Value | None, out: ir.Value, axis: int, after: int) -> Link | None:
    """Channels on `axis` of x that go on by their numbers, on axis `after` of the result."""
    channels = channels_of(x, axis)
    if x is None or channels is None or channels != channels_of(out, after):
        return None
    every = np.arange(channels)
    return Link(x, axis, out, every, every)
