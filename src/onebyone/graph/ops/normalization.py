"""Normalisations and softmax: what divides by statistics over axes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.laws import refused
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.weights import Array
from onebyone.graph.constants import constant
from onebyone.graph.ops.call import Call, Kernel
from onebyone.graph.ops.channel_node import ChannelNode, not_constant
from onebyone.graph.ops.flow import Axes, Flow, straight_flow
from onebyone.graph.ops.row import Manner, Operator, Role, Rounding, Where
from onebyone.graph.ops.turned import along_axis
from onebyone.graph.values import all_known, rank_of

__all__ = ["ROWS"]


def _along(vector: Array, rank: int, axis: int = 1) -> Array:
    return vector.reshape(-1, *(1,) * (rank - axis - 1))


def _batch_norm(
    call: Call, x: Array, scale: Array, bias: Array, mean: Array, var: Array
) -> Array | None:
    if call.get("training_mode", 0) or call.outputs > 1:
        return None
    return _scaled(call, x, scale, bias, -mean, var)


def _scaled(call: Call, x: Array, scale: Array, bias: Array, mean: Array, var: Array) -> Array:
    """scale·(x + mean)/σ + bias; of sizes of terms that of the result, σ being what it is."""
    # One product and one sum for each element, as engines fold it.
    factor = scale / np.sqrt(var + call.get("epsilon", 1e-5))
    y: Array = x * _along(factor, x.ndim)
    y += _along(bias + mean * factor, x.ndim)
    return y


def _standardised(x: Array, axes: tuple[int, ...], epsilon: float) -> tuple[Array, Array, Array]:
    """(x - mean)/σ over the axes, the mean, and 1/σ."""
    mean = x.mean(axis=axes, keepdims=True)
    y = x - mean
    # The mean square of what is centred; mean(x²) − mean² would cancel.
    inverse = 1 / np.sqrt(np.square(y).mean(axis=axes, keepdims=True) + epsilon)
    y *= inverse
    return y, mean, inverse


def _layer_norm(
    call: Call, x: Array, scale: Array, bias: Array | None = None
) -> Array | tuple[Array, ...]:
    axis = call.get("axis", -1) % x.ndim
    axes = tuple(range(axis, x.ndim))
    y, mean, inverse = _standardised(x, axes, call.get("epsilon", 1e-5))
    y *= scale
    if bias is not None:
        y += bias
    # Whoever trains asks for the mean and 1/σ, too.
    return (y, mean, inverse)[: call.outputs]


def _rms_norm(call: Call, x: Array, scale: Array) -> Array:
    axes = tuple(range(call.get("axis", -1) % x.ndim, x.ndim))
    square = np.square(x).mean(axis=axes, keepdims=True)
    return np.asarray(x / np.sqrt(square + call.get("epsilon", 1e-5)) * scale)


def _instance_norm(call: Call, x: Array, scale: Array, bias: Array) -> Array:
    y, *_ = _standardised(x, tuple(range(2, x.ndim)), call.get("epsilon", 1e-5))
    return y * _along(scale, x.ndim) + _along(bias, x.ndim)


def _group_norm(call: Call, x: Array, scale: Array, bias: Array) -> Array:
    groups = call.get("num_groups")
    y, *_ = _standardised(x.reshape(len(x), groups, -1), (2,), call.get("epsilon", 1e-5))
    if call.version < 21:
        # One scale per group, not per channel.
        scale, bias = (np.repeat(v, x.shape[1] // groups) for v in (scale, bias))
    return y.reshape(x.shape) * _along(scale, x.ndim) + _along(bias, x.ndim)


def _lrn(call: Call, x: Array) -> Array:
    """x / (bias + α/size · Σ x²)^β over a window of channels, the longer half behind."""
    size = call.get("size")
    before, after = (size - 1) // 2, size // 2
    squares = np.pad(np.square(x), [(0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)])
    total = sum(squares[:, k : k + x.shape[1]] for k in range(size))
    scale = call.get("bias", 1.0) + call.get("alpha", 1e-4) / size * total
    return np.asarray(x / scale ** call.get("beta", 0.75))


def _mean_variance(call: Call, x: Array) -> Array:
    axes = tuple(call.ints("axes") or (0, 2, 3))
    centred = x - x.mean(axis=axes, keepdims=True)
    # The operator adds 1e-9 to σ, not to σ².
    deviation = np.sqrt(np.square(centred).mean(axis=axes, keepdims=True))
    return np.asarray(centred / (deviation + 1e-9))


def _over_axis(function: Callable[..., Any]) -> Kernel:
    """Before opset 13 a softmax runs over all axes from `axis` on, taken as one."""

    def kernel(call: Call, x: Array) -> Array:
        if call.version >= 13:
            return np.asarray(function(x, call.get("axis", -1)))
        axis = call.get("axis", 1) % max(x.ndim, 1)
        flat = x.reshape(int(np.prod(x.shape[:axis])), -1)
        return np.asarray(function(flat, 1)).reshape(x.shape)

    return kernel


def _softmax(x: Array, axis: int) -> Array:
    # Without overflow: the largest exponent is 0.
    y: Array = x - x.max(axis=axis, keepdims=True)
    np.exp(y, out=y)
    y /= y.sum(axis=axis, keepdims=True)
    return y


def _hardmax(x: Array, axis: int) -> Array:
    y = np.zeros_like(x)
    np.put_along_axis(y, np.argmax(x, axis, keepdims=True), 1, axis)
    return y


def _log_softmax(x: Array, axis: int) -> Array:
    from scipy import special

    return np.asarray(special.log_softmax(x, axis))


def _batch_norm_channels(node: ir.Node, axis: int) -> ChannelNode | Refusal | None:
    if axis != 1 or node.inputs[0] is None:
        return None
    if node.attributes.get_int("training_mode", 0) or len(node.outputs) > 1:
        return refused("affine", "training")
    parameters = all_known(map(constant, node.inputs[1:5]))
    if parameters is None:
        return not_constant("statistics")
    gain, shift, mean, variance = (np.asarray(p, np.float64) for p in parameters)
    scale = gain / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    return ChannelNode(node.inputs[0], ChannelMap.diagonal(scale, shift - mean * scale))


def _flow(node: ir.Node, axis: int, _axes: Axes) -> Flow | None:
    """A normalisation of each channel by itself, of a batch or of an instance."""
    parameters = dict.fromkeys((v for v in node.inputs[1:] if v is not None), 0)
    if axis != 1 or any(constant(v) is None for v in parameters):
        return None
    if node.attributes.get_int("training_mode", 0):  # then they change with what goes through
        return None
    return straight_flow(node, 1, 1, constants=parameters, held=partial(_HELD[node.op_type], node))


def _batch_held(node: ir.Node, known: Sequence[Array]) -> Array:
    found = _batch_norm_channels(node, 1)
    assert isinstance(found, ChannelNode)
    return found.map.weight[:, 0] * known[0] + found.map.bias


def _instance_held(node: ir.Node, known: Sequence[Array]) -> Array:
    """A scale of zero leaves the shift alone, and so does a mean of zeros."""
    scale, shift = (np.asarray(constant(v)) for v in node.inputs[1:])
    positive = node.attributes.get_float("epsilon", 1e-5) > 0
    return np.where(((scale == 0) | (known[0] == 0)) & positive, shift, np.nan)


_HELD = {"BatchNormalization": _batch_held, "InstanceNormalization": _instance_held}


def _axes_of_softmax(node: ir.Node, version: int) -> Collection[int]:
    """Before opset 13 everything from its axis on is one vector."""
    rank = rank_of(node.outputs[0]) or 0
    if version >= 13:
        return {node.attributes.get_int("axis", -1) % rank}
    return range(node.attributes.get_int("axis", 1) % rank, rank)


def _axes_of_layer(node: ir.Node, _version: int) -> Collection[int]:
    rank = rank_of(node.outputs[0]) or 0
    first = node.attributes.get_int("axis", -1) % rank
    affine = [rank_of(v) for v in node.inputs[1:] if v is not None]
    # A scale with more axes than are normalised would have to be cut as well.
    if any(axes is None or axes > rank - first for axes in affine):
        first = 0
    return range(first, rank)


def _axes_of_batch(node: ir.Node, _version: int) -> Collection[int]:
    """Statistics of a batch are taken over all positions; a trained scale stands along axis 1."""
    if node.attributes.get_int("training_mode", 0):
        return range(rank_of(node.outputs[0]) or 0)
    return {1}


def _normalises(
    name: str, value: Kernel | None = None, rounding: Rounding | None = None, **special: Any
) -> Operator:
    return Operator(name, Role.NORMALIZATION, value, rounding, weighs=True, **special)


_SMOOTHLY = Rounding.SMOOTHLY
_VECTORS: dict[str, Any] = {
    "mixes": _axes_of_softmax, "turned": along_axis(-1, since=13),
    "manner_where": (Where.AFAR, Manner.LINES),
}  # fmt: skip

ROWS = (
    Operator("BatchNormalization", Role.CHANNEL_MAP, _batch_norm, _SMOOTHLY,
             magnitude=_scaled, channels=_batch_norm_channels, channel_axis=1,
             flow=_flow, mixes=_axes_of_batch, kind="batch normalisation", buffers=(3, 4),
             weighs=True),
    _normalises("LayerNormalization", _layer_norm, _SMOOTHLY, channel_axis=-1,
                mixes=_axes_of_layer, kind="layer normalisation"),
    _normalises("RMSNormalization", _rms_norm, _SMOOTHLY, mixes=_axes_of_layer,
                kind="layer normalisation"),
    _normalises("InstanceNormalization", _instance_norm, _SMOOTHLY, channel_axis=1, flow=_flow,
                kind="instance normalisation"),
    _normalises("GroupNormalization", _group_norm, _SMOOTHLY, channel_axis=1,
                kind="group normalisation"),
    _normalises("MeanVarianceNormalization", _mean_variance, _SMOOTHLY),
    _normalises("LpNormalization", rounding=_SMOOTHLY),
    _normalises("LRN", _lrn, mixes=lambda node, version: {1}),
    _normalises("Softmax", _over_axis(_softmax), _SMOOTHLY, kind="softmax", shares=True,
                **_VECTORS),
    _normalises("LogSoftmax", _over_axis(_log_softmax), _SMOOTHLY, kind="softmax", **_VECTORS),
    _normalises("Hardmax", _over_axis(_hardmax), **_VECTORS),
)  # fmt: skip
