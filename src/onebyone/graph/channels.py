"""ONNX nodes read by what they do to channels: which become which, and which nodes map them.

Channel maps are 1×1 convolutions, linear layers, per-channel arithmetic. An answer says which
operand is mapped, and by what (W, b). None: the node is no channel map on that axis. `Refusal`: it
would be one but for the reason named.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from onebyone.algebra.refusal import Refusal
from onebyone.graph.constants import is_float
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.channel_node import ChannelNode, Weight, bias_of
from onebyone.graph.ops.convolution import is_pointwise_convolution
from onebyone.graph.ops.flow import Flow, same, spaced, unknown
from onebyone.graph.spatial import spatial
from onebyone.graph.values import are_read, size

__all__ = [
    "ChannelNode", "Weight", "bias_of", "channel_axis", "channel_map", "flow",
    "is_pointwise_convolution", "weight_of",
]  # fmt: skip


def channel_map(node: ir.Node, axis: int) -> ChannelNode | Refusal | None:
    """Read `node` as a channel map on axis `axis` of its (first) output.

    Raises nothing: what cannot be read is None, what is refused says why.
    """
    reader = operator_of(node).channels
    if reader is None or not is_float(node.outputs[0]):
        return None
    if any(size(value, axis) == 0 for value in (*node.inputs, *node.outputs)):
        return None  # there is nothing to map, and no matrix of no channels
    return reader(node, axis)


def weight_of(node: ir.Node) -> Weight | None:
    """How a node stores the weight by which it mixes channels; None if it has none."""
    reader = operator_of(node).weight
    return None if reader is None else reader(node)


def channel_axis(node: ir.Node) -> int | None:
    """The axis of its output that the node's operator itself defines as channels, if it does."""
    axis, shape = operator_of(node).channel_axis, node.outputs[0].shape
    if axis is None or shape is None:
        return None
    if callable(axis):
        return axis(node)
    # A PRelu takes a vector, too.
    return axis % shape.rank() if axis < shape.rank() else None


def flow(node: ir.Node, axis: int, axes: Mapping[ir.Value, int] | None = None) -> Flow | None:
    """How channels reach axis `axis` of the node's results; None if that is not known.

    Args:
        node: with shapes inferred.
        axis: of the channels in the results.
        axes: of the channels in its operands: where a view merges them with others or cuts them
            apart, that cannot be told from the result. Without it such views are not known.
    """
    if not node.outputs or not is_float(node.outputs[0]):
        return None
    row = operator_of(node)
    # A mask of a Dropout, indices of a pool: who reads these counts on all channels.
    if are_read(node.outputs[1:]) and not row.splits:
        return None
    if row.flow is not None:
        return row.flow(node, axis, axes or {})
    if row.elementwise:
        return same(node, axis)
    if row.space is not None:
        return spaced(node, axis, spatial(node))
    # A softmax or normalisation over other axes; 0: by the opset under which it mixes the most.
    if row.mixes is not None and axis not in row.mixes(node, 0):
        return same(node, axis, held=unknown)
    return None
