"""Normalisations, reductions, softmax: what gathers statistics over axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from onebyone.graph.numeric.call import Array, Call, Kernel

__all__ = ["KERNELS"]


def _along(vector: Array, rank: int, axis: int = 1) -> Array:
    return vector.reshape(-1, *(1,) * (rank - axis - 1))


def _batch_norm(
    call: Call, x: Array, scale: Array, bias: Array, mean: Array, var: Array
) -> Array | None:
    if call.get("training_mode", 0) or call.outputs > 1:
        return None
    factor = scale / np.sqrt(var + call.get("epsilon", 1e-5))
    y = x * _along(factor, x.ndim)
    y += _along(bias - mean * factor, x.ndim)
    return y


def _standardised(x: Array, axes: tuple[int, ...], epsilon: float) -> tuple[Array, Array, Array]:
    """(x - mean)/σ over the axes, the mean, and 1/σ."""
    mean = x.mean(axis=axes, keepdims=True)
    y = x - mean
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
    return y if call.outputs == 1 else (y, mean, inverse)[: call.outputs]


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


def _log_sum_exp(x: Array, **over: Any) -> Array:
    from scipy import special

    return np.asarray(special.logsumexp(x, **over))


def _reduction(function: Callable[..., Any]) -> Kernel:
    """A kernel for Reduce*: axes as attribute or input, none meaning all (or none, if so asked)."""

    def kernel(call: Call, x: Array, given: Array | None = None) -> Array | None:
        if not x.size:
            return None
        axes = call.ints("axes", given)
        if not axes:
            if call.get("noop_with_empty_axes", 0):
                return x
            axes = list(range(x.ndim))
        chosen = tuple(axis % x.ndim for axis in axes)
        y = function(x, axis=chosen, keepdims=bool(call.get("keepdims", 1)))
        return np.asarray(y).astype(x.dtype, copy=False)

    return kernel


def _arg(best: Callable[..., Any]) -> Kernel:
    def kernel(call: Call, x: Array) -> Array:
        axis = call.get("axis", 0) % x.ndim
        last = bool(call.get("select_last_index", 0))
        index = best(np.flip(x, axis) if last else x, axis=axis)
        index = x.shape[axis] - 1 - index if last else index
        index = np.asarray(index, np.int64)
        return np.expand_dims(index, axis) if call.get("keepdims", 1) else index

    return kernel


KERNELS: dict[str, Kernel] = {
    "ArgMax": _arg(np.argmax),
    "ArgMin": _arg(np.argmin),
    "BatchNormalization": _batch_norm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LRN": _lrn,
    "Hardmax": _over_axis(_hardmax),
    "LogSoftmax": _over_axis(_log_softmax),
    "MeanVarianceNormalization": _mean_variance,
    "RMSNormalization": _rms_norm,
    "ReduceL1": _reduction(lambda x, **over: np.abs(x).sum(**over)),
    "ReduceL2": _reduction(lambda x, **over: np.sqrt(np.square(x).sum(**over))),
    "ReduceLogSum": _reduction(lambda x, **over: np.log(x.sum(**over))),
    "ReduceLogSumExp": _reduction(_log_sum_exp),
    "ReduceMax": _reduction(np.max),
    "ReduceMean": _reduction(np.mean),
    "ReduceMin": _reduction(np.min),
    "ReduceProd": _reduction(np.prod),
    "ReduceSum": _reduction(np.sum),
    "ReduceSumSquare": _reduction(lambda x, **over: np.square(x).sum(**over)),
    "Softmax": _over_axis(_softmax),
}
