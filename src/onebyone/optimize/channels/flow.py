"""How channels flow through the nodes of a graph, read off their operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import onnx_ir as ir

from onebyone.algebra.refusal import Refusal
from onebyone.algebra.weights import Array
from onebyone.graph.axes import Spatial, pads
from onebyone.graph.channels import ChannelNode, bias_of, channel_map
from onebyone.graph.constants import constant, is_float
from onebyone.graph.ops import Role, role
from onebyone.graph.spatial import spatial
from onebyone.graph.values import are_read, input_at, rank_of
from onebyone.graph.views import view_axis
from onebyone.optimize.channels.groups import by_rows
from onebyone.optimize.channels.links import Flow, Link, Mix, channels_of, straight
from onebyone.optimize.channels.regroup import (
    blocked,
    joined,
    regrouped,
    selected,
    sized_freely,
    split,
)

__all__ = ["flow"]


def flow(node: ir.Node, axis: int, axes: Mapping[ir.Value, int] | None = None) -> Flow | None:
    """How channels reach axis `axis` of the node's results; None if that is not known.

    Args:
        node: with shapes inferred.
        axis: of the channels in the results.
        axes: of the channels in its operands: where a view merges them with others or cuts them
            apart, that cannot be told from the result. Without it such views are not known.
    """
    if node.domain != "" or not node.outputs or not is_float(node.outputs[0]):
        return None
    # The only operator with several results that channels are followed through.
    if node.op_type == "Split":
        return split(node, axis)
    # A mask of a Dropout, indices of a pool: who reads these counts on all channels.
    if are_read(node.outputs[1:]):
        return None
    x = input_at(node, 0)
    if x is not None and axes and x in axes and _regroups(node, axis):
        return regrouped(node, axis, axes[x])
    reader = _BY_TYPE.get(node.op_type, _READERS.get(role(node), _unknown))
    return reader(node, axis)


def _regroups(node: ir.Node, axis: int) -> bool:
    """Whether a view merges an axis with others, or cuts it out of one."""
    return role(node) is Role.VIEW and view_axis(node, axis) is None


def _unknown(_node: ir.Node, _axis: int) -> None:
    """Of all other operators nothing is known."""


def _mixed(node: ir.Node, axis: int) -> Flow | None:
    if node.op_type == "BatchNormalization":
        return _normalised(node, axis)
    found = channel_map(node, axis)
    is_product = node.op_type == "MatMul"
    if isinstance(found, ChannelNode) and found.map.groups == 1:
        return _mix(found.operand, axis, found.map.weight, found.map.bias, is_product, 1)
    # A product of matrices for each channel, the heads of an attention say.
    rank = rank_of(node.outputs[0])
    if is_product and rank is not None and axis < rank - 2:
        return _same(node, axis)
    return None


def _mix(
    x: ir.Value, axis: int, kernel: Array, bias: Array | None, zeros_only: bool, groups: int
) -> Flow:
    """`kernel`: (C_out, C_in / groups, ...)."""
    taps = kernel.reshape(*kernel.shape[:2], prod(kernel.shape[2:]))
    return Flow(axis, mix=Mix(x, axis, taps, bias, zeros_only, groups))


def _normalised(node: ir.Node, axis: int) -> Flow | None:
    """A normalisation of each channel by itself, of a batch or of an instance."""
    parameters = dict.fromkeys((v for v in node.inputs[1:] if v is not None), 0)
    if axis != 1 or any(constant(v) is None for v in parameters):
        return None
    if node.attributes.get_int("training_mode", 0):  # then they change with what goes through
        return None
    return _straight(node, 1, 1, parameters)


def _straight(
    node: ir.Node, before: int, axis: int, constants: dict[ir.Value, int] | None = None
) -> Flow | None:
    """Channels of the first operand, on axis `before`, that go on by their numbers."""
    link = straight(node.inputs[0], node.outputs[0], before, axis)
    if link is None:
        return None
    return Flow(axis, (link,), constants=constants or {})


def _convolved(node: ir.Node, axis: int) -> Flow | None:
    weight, bias, x = constant(node.inputs[1]), bias_of(node, 2), node.inputs[0]
    if axis != 1 or weight is None or x is None or isinstance(bias, Refusal):
        return None
    groups, channels = node.attributes.get_int("group", 1), channels_of(x, 1)
    # Depthwise: the weight has one row for each channel, and nothing is mixed.
    if groups == channels == channels_of(node.outputs[0], 1):
        return _straight(node, 1, 1, {v: 0 for v in node.inputs[1:] if v is not None})
    # Of grouped ones the matrix is far larger than the weight.
    if channels is None or channels * (channels_of(node.outputs[0], 1) or 0) > MAX_BLOCKS:
        return None
    if node.op_type == "ConvTranspose":
        weight = by_rows(weight, groups)
    return _mix(x, 1, weight, bias, varies_at_borders(node), groups)


MAX_BLOCKS = 1 << 26
"""Entries of the largest matrix that a convolution's channels are laid out in, as 0.5 GB."""


def varies_at_borders(node: ir.Node) -> bool:
    """Whether a convolution may make several numbers of a constant: it pads, or is transposed."""
    return node.op_type == "ConvTranspose" or pads(node)


def _same(node: ir.Node, axis: int) -> Flow | None:
    """Elementwise, with broadcasting."""
    out = node.outputs[0]
    links: list[Link] = []
    held: dict[ir.Value, int] = {}
    assert out.shape is not None
    for x in dict.fromkeys(v for v in node.inputs if v is not None):
        if x.shape is None:
            return None
        # Broadcasting aligns shapes at their last axes.
        own = axis - out.shape.rank() + x.shape.rank()
        if own < 0 or x.shape[own] == 1 != out.shape[axis]:
            continue  # it is the same for all channels
        if constant(x) is not None:
            held[x] = own
            continue
        link = straight(x, out, own, axis)
        if link is None:
            return None
        links.append(link)
    if not links:
        return None
    return Flow(axis, tuple(links), constants=held)


def _stacked(node: ir.Node, axis: int) -> Flow | None:
    rank = rank_of(node.outputs[0])
    if not rank or node.attributes.get_int("axis", 1) % rank == axis:
        return joined(node, axis)
    return _same(node, axis)


def _pooled(node: ir.Node, axis: int) -> Flow | None:
    if axis != 1:
        return None
    return _same(node, axis)


def _normalised_within(node: ir.Node, axis: int) -> Flow | None:
    """A softmax or normalisation over axes behind the channels'."""
    out, attribute = node.outputs[0], node.attributes.get("axis")
    # Which axis is meant where none is named depends on the version.
    if out.shape is None or attribute is None or axis >= attribute.as_int() % out.shape.rank():
        return None
    return _same(node, axis)


def _viewed(node: ir.Node, axis: int) -> Flow | None:
    before = view_axis(node, axis)
    if before is None or not sized_freely(node, axis, before):
        return None
    return _straight(node, before, axis)


def _spaced(node: ir.Node, axis: int) -> Flow | None:
    """A space map, or a selection of positions or channels."""
    found, x = spatial(node), node.inputs[0]
    if not isinstance(found, Spatial) or x is None:
        return None
    before = found.reads(axis)
    # It selects channels, not positions.
    if before in found.maps and role(node) is Role.SELECTION:
        return selected(node, axis)
    if node.op_type in ("Expand", "Tile", "Resize", "Upsample") and _names_channels(node):
        return None
    if before in found.maps or node.op_type == "GatherElements":  # its indices have channels too
        return None
    return _straight(node, before, axis)


def _names_channels(node: ir.Node) -> bool:
    """Whether the number of channels may be written in an operand (sizes, not scales)."""
    sized = node.op_type == "Resize" and input_at(node, 3) is not None
    return node.op_type == "Expand" or sized


Reader = Callable[[ir.Node, int], Flow | None]

_BY_TYPE: dict[str, Reader] = {
    **dict.fromkeys(("LpPool", "MaxPool", "GlobalMaxPool"), _pooled),
    **dict.fromkeys(("Max", "Min", "Mul", "Div", "Neg", "Cast"), _same),
    **dict.fromkeys(("Softmax", "LogSoftmax", "LayerNormalization"), _normalised_within),
    "InstanceNormalization": _normalised,
    "DepthToSpace": blocked,
}

_READERS: dict[Role, Reader] = {
    Role.CHANNEL_MAP: _mixed,
    Role.CONVOLUTION: _convolved,
    Role.SUM: _same,
    Role.ELEMENTWISE: _same,
    Role.CONCAT: _stacked,
    Role.VIEW: _viewed,
    Role.SPACE_MAP: _spaced,
    Role.SELECTION: _spaced,
    Role.IDENTITY: lambda node, axis: _straight(node, axis, axis),
}
