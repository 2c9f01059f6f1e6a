"""ONNX nodes read as channel maps: 1×1 convolutions, linear layers, per-channel arithmetic.

Each reader answers: which operand is mapped, and by what (W, b)? None: the node is no channel map
on that axis. `Refusal`: it would be one but for the reason named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.weights import Array
from onebyone.graph.constants import constant, is_float, per_channel

__all__ = ["ChannelNode", "channel_axis", "channel_map", "is_pointwise_convolution"]


@dataclass(frozen=True)
class ChannelNode:
    """A node as a channel map.

    Args:
        operand: the value that is mapped.
        map: what is applied along the channel axis.
        strides, pads: of a convolution, per spatial axis (pads: begins, then ends); else empty.
    """

    operand: ir.Value
    map: ChannelMap
    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()

    @property
    def moves_positions(self) -> bool:
        """Whether it also strides or pads."""
        return any(s != 1 for s in self.strides) or any(self.pads)


Reader = Callable[[ir.Node, int], ChannelNode | Refusal | None]


def channel_map(node: ir.Node, axis: int) -> ChannelNode | Refusal | None:
    """Read `node` as a channel map on axis `axis` of its (first) output.

    Raises nothing: what cannot be read is None, what is refused says why.
    """
    reader = _READERS.get(node.op_type) if node.domain == "" else None
    return reader(node, axis) if reader and is_float(node.outputs[0]) else None


def channel_axis(node: ir.Node) -> int | None:
    """The axis of its output that the node's operator itself defines as channels, if it does."""
    rank = None if node.outputs[0].shape is None else node.outputs[0].shape.rank()
    if node.domain != "" or rank is None:
        return None
    if node.op_type == "MatMul":
        if rank >= 2 and constant(node.inputs[0]) is not None:
            return rank - 2
        return rank - 1 if constant(node.inputs[1]) is not None else None
    axis = {"LayerNormalization": rank - 1}.get(node.op_type, _CHANNELS_FIRST.get(node.op_type))
    return axis if axis is not None and axis < rank else None  # a PRelu takes a vector, too


_CHANNELS_FIRST = dict.fromkeys(
    (
        "AveragePool",
        "BatchNormalization",
        "Conv",
        "ConvTranspose",
        "DepthToSpace",
        "Gemm",
        "GlobalAveragePool",
        "GroupNormalization",
        "InstanceNormalization",
        "MaxPool",
        "PRelu",
    ),
    1,
)


def is_pointwise_convolution(node: ir.Node) -> bool:
    """Whether a Conv node has a kernel of 1 along every axis."""
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    if node.op_type != "Conv" or weight is None or weight.shape is None:
        return False
    return all(n == 1 for n in weight.shape[2:])


def bias_of(node: ir.Node, index: int) -> Array | Refusal | None:
    """The constant array of an optional input; None if it is absent."""
    value = node.inputs[index] if len(node.inputs) > index else None
    if value is None:
        return None
    array = constant(value)
    return _not_constant("bias") if array is None else array


def _not_constant(what: str) -> Refusal:
    return Refusal(
        "compose", f"its {what} is no constant: computed at run time, overridable, or not finite"
    )


def _convolution(node: ir.Node, axis: int) -> ChannelNode | Refusal | None:
    if axis != 1 or not is_pointwise_convolution(node) or node.inputs[0] is None:
        return None
    weight, bias = constant(node.inputs[1]), bias_of(node, 2)
    if weight is None:
        return _not_constant("weight")
    if isinstance(bias, Refusal):
        return bias
    rank = weight.ndim - 2
    return ChannelNode(
        node.inputs[0],
        ChannelMap(weight.reshape(weight.shape[:2]), bias, node.attributes.get_int("group", 1)),
        tuple(node.attributes.get_ints("strides", (1,) * rank)),
        tuple(node.attributes.get_ints("pads", (0,) * 2 * rank)),
    )


def _matmul(node: ir.Node, axis: int) -> ChannelNode | Refusal | None:
    left, right = node.inputs
    if left is None or right is None or left.shape is None or right.shape is None:
        return None
    a, b = constant(left), constant(right)
    if b is not None and b.ndim == 2 and axis == left.shape.rank() - 1 and axis > 0:
        return ChannelNode(left, ChannelMap(b.T))
    if a is not None and a.ndim == 2 and axis == right.shape.rank() - 2 and axis >= 0:
        return ChannelNode(right, ChannelMap(a))
    return None


def _gemm(node: ir.Node, axis: int) -> ChannelNode | Refusal | None:
    x, weight, bias = node.inputs[0], constant(node.inputs[1]), bias_of(node, 2)
    if axis != 1 or x is None or node.attributes.get_int("transA", 0) != 0:
        return None
    if weight is None:
        return None if constant(x) is not None else _not_constant("weight")
    if isinstance(bias, Refusal):
        return bias
    weight = weight if node.attributes.get_int("transB", 0) else weight.T
    if bias is not None:
        bias = per_channel(bias, 2, 1, weight.shape[0])
        if bias is None:
            return Refusal("compose", "its bias differs from row to row")
        bias = _times(bias, node.attributes.get_float("beta", 1.0))
    return ChannelNode(x, ChannelMap(_times(weight, node.attributes.get_float("alpha", 1.0)), bias))


def _times(array: Array, factor: float) -> Array:
    return array if factor == 1.0 else array.astype(np.float64) * factor


def _batch_normalization(node: ir.Node, axis: int) -> ChannelNode | Refusal | None:
    if axis != 1 or node.inputs[0] is None:
        return None
    if node.attributes.get_int("training_mode", 0) or len(node.outputs) > 1:
        return Refusal("affine", "the batch normalisation is in training mode")
    parameters = [constant(v) for v in node.inputs[1:5]]
    if any(p is None for p in parameters):
        return _not_constant("statistics")
    gain, shift, mean, variance = (np.asarray(p, np.float64) for p in parameters)
    scale = gain / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    return ChannelNode(node.inputs[0], ChannelMap.diagonal(scale, shift - mean * scale))


def _arithmetic(node: ir.Node, axis: int) -> ChannelNode | Refusal | None:
    """Add, Sub, Mul or Div with one constant operand that is per-channel on `axis`."""
    left, right = node.inputs
    if left is None or right is None:
        return None
    a, b = constant(left), constant(right)
    if (a is None) == (b is None):
        return None
    x, array = (left, b) if a is None else (right, a)
    if x.shape is None or array is None or node.outputs[0].shape is None:
        return None
    if x.shape.rank() != node.outputs[0].shape.rank() or not is_float(x):
        return None
    channels = _size(x, axis)
    if channels is None or channels != _size(node.outputs[0], axis):
        return None
    vector = per_channel(array, x.shape.rank(), axis, channels)
    if vector is None:
        return None
    f = _arithmetic_map(node.op_type, vector.astype(np.float64), constant_first=a is not None)
    return None if f is None else ChannelNode(x, f)


def _arithmetic_map(op: str, c: Array, *, constant_first: bool) -> ChannelMap | None:
    one = np.ones(len(c))
    if op == "Add":
        return ChannelMap.diagonal(one, c)
    if op == "Sub":
        return ChannelMap.diagonal(-one, c) if constant_first else ChannelMap.diagonal(one, -c)
    if op == "Mul":
        return ChannelMap.diagonal(c)
    return None if constant_first or not c.all() else ChannelMap.diagonal(1 / c)


def _negation(node: ir.Node, axis: int) -> ChannelNode | Refusal | None:
    x = node.inputs[0]
    channels = None if x is None else _size(x, axis)
    if x is None or channels is None:
        return None
    return ChannelNode(x, ChannelMap.diagonal(-np.ones(channels)))


def _size(value: ir.Value, axis: int) -> int | None:
    """The size along an axis; None if it is free, or there is no such axis."""
    shape = value.shape
    size = shape[axis] if shape is not None and axis < shape.rank() else None
    return size if isinstance(size, int) else None


_READERS: dict[str, Reader] = {
    "Conv": _convolution,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "BatchNormalization": _batch_normalization,
    "Add": _arithmetic,
    "Sub": _arithmetic,
    "Mul": _arithmetic,
    "Div": _arithmetic,
    "Neg": _negation,
}
