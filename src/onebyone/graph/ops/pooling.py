"""Pools: the maximum or the mean of what a window sees, axis by axis."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onebyone.algebra.pool import AveragePool, Mean
from onebyone.algebra.refusal import Refusal
from onebyone.graph.axes import Spatial, rank, refused, size
from onebyone.graph.ops.call import Array, Call, Kernel, is_floating
from onebyone.graph.ops.row import Operator, Role, Rounding, first_if
from onebyone.graph.ops.sizes import keeps_shape
from onebyone.graph.ops.windows import axis_windows, mapped, padded, windows

__all__ = ["ROWS"]


def _max_pool(call: Call, x: Array) -> Array | None:
    """The maximum over a box is the maximum over one axis after the other."""
    if call.outputs > 1:
        return None
    for axis, window in enumerate(axis_windows(call, call.get("kernel_shape")), start=2):
        x = np.moveaxis(_running_max(np.moveaxis(x, axis, -1), window), -1, axis)
    return x


def _running_max(x: Array, window: AveragePool) -> Array:
    n_in, n_out = x.shape[-1], window.out_size(x.shape[-1])
    before, _ = window.pads(n_in)
    last = (n_out - 1) * window.stride + (window.kernel - 1) * window.dilation + 1
    low = -np.inf if is_floating(x.dtype) else np.iinfo(x.dtype).min
    x = padded(x, [(before, max(last - before - n_in, 0))], low)
    reach = (n_out - 1) * window.stride + 1
    starts = [tap * window.dilation for tap in range(window.kernel)]
    y = x[..., starts[0] : starts[0] + reach : window.stride].copy()
    for start in starts[1:]:
        np.maximum(y, x[..., start : start + reach : window.stride], out=y)
    return y


def _average_pool(call: Call, x: Array) -> Array:
    maps = axis_windows(call, call.get("kernel_shape"))
    return mapped(dict(enumerate(maps, start=2)), x)


def _global(reduce: np.ufunc) -> Kernel:
    def kernel(call: Call, x: Array) -> Array:
        axes = tuple(range(2, x.ndim))
        total = np.asarray(reduce.reduce(x, axis=axes, keepdims=True))
        return total / np.prod(x.shape[2:]) if reduce is np.add else total

    return kernel


def _average_pool_space(node: ir.Node) -> Spatial | Refusal:
    pools = dict(enumerate(windows(node), start=2))
    sizes = {axis: size(node.inputs[0], axis) for axis in pools}
    if any(n is not None and not pools[axis].fits(n) for axis, n in sizes.items()):
        return refused("its window is larger than the padded input")
    return Spatial(dict(pools))


def _global_average_pool_space(node: ir.Node) -> Spatial:
    return Spatial(dict.fromkeys(range(2, rank(node)), Mean()))


def _has_one_tap(node: ir.Node) -> bool:
    """A pool of kernel 1 and stride 1."""
    kernel = node.attributes.get_ints("kernel_shape", ())
    strides = node.attributes.get_ints("strides", ())
    pads = node.attributes.get_ints("pads", ())
    ones = all(n == 1 for n in (*kernel, *strides)) and not any(pads)
    return bool(kernel) and ones and keeps_shape(node)


def _has_one_position(node: ir.Node) -> bool:
    x = node.inputs[0]
    return x is not None and x.shape is not None and all(n == 1 for n in x.shape[2:])


_ONE_TAP = first_if(_has_one_tap)
_ONE_POSITION = first_if(_has_one_position)

ROWS = (
    Operator(
        "AveragePool", Role.SPACE_MAP, _average_pool, Rounding.SMOOTHLY, magnitude="AveragePool",
        unchanged=_ONE_TAP, channel_axis=1, space=_average_pool_space, kind="average pool",
    ),
    Operator(
        "MaxPool", value=_max_pool, rounding=Rounding.SMOOTHLY, magnitude="MaxPool",
        unchanged=_ONE_TAP, channel_axis=1, kind="max pool",
    ),
    Operator(
        "GlobalAveragePool", Role.SPACE_MAP, _global(np.add), Rounding.SMOOTHLY,
        magnitude="GlobalAveragePool", unchanged=_ONE_POSITION, channel_axis=1,
        space=_global_average_pool_space, kind="adaptive average pool",
    ),
    Operator(
        "GlobalMaxPool", value=_global(np.maximum), rounding=Rounding.SMOOTHLY,
        magnitude="GlobalMaxPool", unchanged=_ONE_POSITION,
    ),
)  # fmt: skip
