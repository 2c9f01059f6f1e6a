"""ONNX nodes read as channel maps: 1×1 convolutions, linear layers, per-channel arithmetic.

An answer says which operand is mapped, and by what (W, b). None: the node is no channel map on that
axis. `Refusal`: it would be one but for the reason named.
"""

from __future__ import annotations

import onnx_ir as ir

from onebyone.algebra.refusal import Refusal
from onebyone.graph.constants import is_float
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.channel_node import ChannelNode, Weight, bias_of
from onebyone.graph.ops.convolution import is_pointwise_convolution

__all__ = [
    "ChannelNode", "Weight", "bias_of", "channel_axis", "channel_map",
    "is_pointwise_convolution", "weight_of",
]  # fmt: skip


def channel_map(node: ir.Node, axis: int) -> ChannelNode | Refusal | None:
    """Read `node` as a channel map on axis `axis` of its (first) output.

    Raises nothing: what cannot be read is None, what is refused says why.
    """
    reader = operator_of(node).channels
    if reader is None or not is_float(node.outputs[0]):
        return None
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
