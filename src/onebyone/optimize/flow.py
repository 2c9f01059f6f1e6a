"""How channels flow through the nodes of a graph: which become which, and which are mixed.

y[o] = f(x[sources[o]])                a link: elementwise, concat, pool, view, depthwise
y[o] = Σ_c W[o, c] · x[c] + b[o]       a mix: 1×1, K×K, linear layer
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import numpy as np
import onnx_ir as ir

from onebyone.algebra.refusal import Refusal
from onebyone.algebra.weights import Array
from onebyone.graph.axes import Spatial, entries
from onebyone.graph.channels import ChannelNode, bias_of, channel_map
from onebyone.graph.constants import constant, is_float
from onebyone.graph.operators import Role, role
from onebyone.graph.spatial import spatial
from onebyone.graph.views import view_axis

__all__ = ["Flow", "Link", "Mix", "channels_of", "flow"]


@dataclass(frozen=True, eq=False)
class Link:
    """Channels of an operand that go on as channels of the result, one by one.

    Args:
        operand: the value they come from, with channels on `axis`.
        outs, sources: (n,) channel of the result, and the operand's channel that it is made of.
    """

    operand: ir.Value
    axis: int
    outs: Array
    sources: Array


@dataclass(frozen=True, eq=False)
class Mix:
    """Channels of an operand that are summed up with weights.

    Args:
        operand: the value they come from, with channels on `axis`.
        kernel: (C_out, C_in, taps), as stored.
        bias: (C_out,) or None.
        zeros_only: whether no channel can go but those of zeros: zeros are read beyond the borders,
            or there is no bias for what others would add.

    What follows from the kernel is as large as it, so it is not kept: a graph has many.
    """

    operand: ir.Value
    axis: int
    kernel: Array
    bias: Array | None
    zeros_only: bool

    @property
    def weight(self) -> Array:
        """(C_out, C_in) the sum of the taps, in float64."""
        return np.asarray(self.kernel.astype(np.float64).sum(axis=2))

    @property
    def used(self) -> Array:
        """(C_out, C_in) where some tap is not zero."""
        return np.asarray((self.kernel != 0).any(axis=2))

    @cached_property
    def lines(self) -> tuple[Array, Array]:
        """(C_out,) the rows that read something, and (C_in,) the columns that are read."""
        rows, columns, taps = self.kernel.shape
        if taps and (self.kernel != 0).all():  # as in most networks
            return np.full(rows, columns > 0), np.full(columns, rows > 0)
        used = self.used
        return np.asarray(used.any(axis=1)), np.asarray(used.any(axis=0))


@dataclass(frozen=True, eq=False)
class Flow:
    """What a node does to channels, which its result has on `axis`: it links or it mixes them.

    `constants` are its operands that hold one number for each channel, on the axis given.
    """

    axis: int
    links: tuple[Link, ...] = ()
    mix: Mix | None = None
    constants: dict[ir.Value, int] = field(default_factory=dict)


def channels_of(value: ir.Value, axis: int) -> int | None:
    """The number of channels; None if it is not known."""
    if value.shape is None or not 0 <= axis < value.shape.rank():
        return None
    size = value.shape[axis]
    return size if isinstance(size, int) else None


def flow(node: ir.Node, axis: int) -> Flow | None:
    """How channels reach axis `axis` of the node's result; None if that is not known."""
    if node.domain != "" or not node.outputs or not is_float(node.outputs[0]):
        return None
    if any(v.uses() or v.is_graph_output() for v in node.outputs[1:]):
        return None
    reader = _READERS.get(role(node))
    if node.op_type in _POOLS:
        reader = _same if axis == 1 else None
    if node.op_type in _ALONG:
        reader = _same
    return None if reader is None else reader(node, axis)


_POOLS = {"LpPool", "MaxPool", "GlobalMaxPool"}
_ALONG = {"Max", "Min", "Mul", "Div", "Neg", "Cast"}


def _mixed(node: ir.Node, axis: int) -> Flow | None:
    if node.op_type == "BatchNormalization":
        return _normalised(node, axis)
    found = channel_map(node, axis)
    if not isinstance(found, ChannelNode) or found.map.groups != 1:
        return None
    unbiased = node.op_type == "MatMul"
    return _mix(found.operand, axis, found.map.weight, found.map.bias, zeros_only=unbiased)


def _mix(x: ir.Value, axis: int, kernel: Array, bias: Array | None, zeros_only: bool) -> Flow:
    taps = kernel.reshape(*kernel.shape[:2], prod(kernel.shape[2:]))
    return Flow(axis, mix=Mix(x, axis, taps, bias, zeros_only))


def _normalised(node: ir.Node, axis: int) -> Flow | None:
    parameters = [v for v in node.inputs[1:] if v is not None]
    x = node.inputs[0]
    if axis != 1 or x is None or any(constant(v) is None for v in parameters):
        return None
    if node.attributes.get_int("training_mode", 0):
        return None
    link = _straight(x, node.outputs[0], axis)
    return None if link is None else Flow(axis, (link,), constants=dict.fromkeys(parameters, 0))


def _convolved(node: ir.Node, axis: int) -> Flow | None:
    weight, bias, x = constant(node.inputs[1]), bias_of(node, 2), node.inputs[0]
    if node.op_type != "Conv" or axis != 1 or weight is None or x is None:
        return None
    if isinstance(bias, Refusal):
        return None
    groups, channels = node.attributes.get_int("group", 1), channels_of(x, 1)
    if groups == channels == weight.shape[0]:
        link = _straight(x, node.outputs[0], 1)
        held = {v: 0 for v in node.inputs[1:] if v is not None}
        return None if link is None else Flow(axis, (link,), constants=held)
    pads = any(node.attributes.get_ints("pads", ())) or "auto_pad" in node.attributes
    return _mix(x, 1, weight, bias, pads) if groups == 1 else None


def _same(node: ir.Node, axis: int) -> Flow | None:
    """Elementwise, with broadcasting."""
    out = node.outputs[0]
    links: list[Link] = []
    held: dict[ir.Value, int] = {}
    assert out.shape is not None
    for x in dict.fromkeys(v for v in node.inputs if v is not None):
        if x.shape is None:
            return None
        own = axis - out.shape.rank() + x.shape.rank()
        if own < 0 or x.shape[own] == 1 != out.shape[axis]:
            continue
        if constant(x) is not None:
            held[x] = own
            continue
        link = _straight(x, out, own, axis)
        if link is None:
            return None
        links.append(link)
    return Flow(axis, tuple(links), constants=held) if links else None


def _straight(x: ir.Value, out: ir.Value, axis: int, after: int | None = None) -> Link | None:
    channels = channels_of(x, axis)
    if channels is None or channels != channels_of(out, axis if after is None else after):
        return None
    every = np.arange(channels)
    return Link(x, axis, every, every)


def _stacked(node: ir.Node, axis: int) -> Flow | None:
    out = node.outputs[0]
    if out.shape is None or node.attributes.get_int("axis", 1) % out.shape.rank() != axis:
        return None
    links, at = [], 0
    for x in node.inputs:
        channels = None if x is None else channels_of(x, axis)
        if x is None or channels is None:
            return None
        links.append(Link(x, axis, np.arange(at, at + channels), np.arange(channels)))
        at += channels
    return Flow(axis, tuple(links))


def _viewed(node: ir.Node, axis: int) -> Flow | None:
    x, before = node.inputs[0], view_axis(node, axis)
    if x is None or before is None:
        return None
    if node.op_type == "Reshape" and not _sized_freely(node, before, axis):
        return None
    link = _straight(x, node.outputs[0], before, axis)
    return None if link is None else Flow(axis, (link,))


def _sized_freely(node: ir.Node, before: int, axis: int) -> bool:
    """Whether the number of channels can change: it is a constant, or what is left, or copied."""
    if constant(node.inputs[1]) is not None:
        return True
    asked = entries(node.inputs[1])
    return asked is not None and (asked[axis] == -1 or (asked[axis] == 0 and before == axis))


def _spaced(node: ir.Node, axis: int) -> Flow | None:
    """A space map, or a selection of positions."""
    found, x = spatial(node), node.inputs[0]
    if not isinstance(found, Spatial) or x is None or x.shape is None:
        return None
    if node.op_type in ("Expand", "Tile", "Resize", "Upsample") and _names_channels(node):
        return None
    kept = [k for k in range(x.shape.rank()) if k not in found.vanished]
    if axis >= len(kept) or kept[axis] in found.maps:
        return None
    link = _straight(x, node.outputs[0], kept[axis], axis)
    return None if link is None else Flow(axis, (link,))


def _names_channels(node: ir.Node) -> bool:
    """Whether the number of channels may be written in an operand (sizes, not scales)."""
    sizes = node.inputs[3] if node.op_type == "Resize" and len(node.inputs) > 3 else None
    return node.op_type == "Expand" or sizes is not None


def _identity(node: ir.Node, axis: int) -> Flow | None:
    x = node.inputs[0]
    link = None if x is None else _straight(x, node.outputs[0], axis)
    return None if link is None else Flow(axis, (link,))


_READERS: dict[Role, Callable[[ir.Node, int], Flow | None]] = {
    Role.CHANNEL_MAP: _mixed,
    Role.CONVOLUTION: _convolved,
    Role.SUM: _same,
    Role.ELEMENTWISE: _same,
    Role.CONCAT: _stacked,
    Role.VIEW: _viewed,
    Role.SPACE_MAP: _spaced,
    Role.SELECTION: _spaced,
    Role.IDENTITY: _identity,
}
