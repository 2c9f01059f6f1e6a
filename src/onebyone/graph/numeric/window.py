"""Pooling and resizing, axis by axis."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from onebyone.algebra.pool import AveragePool
from onebyone.algebra.resize import Resize, fit
from onebyone.algebra.space import AxisMap, apply
from onebyone.graph.numeric.call import Array, Call, Kernel, is_floating
from onebyone.graph.numeric.contraction import axis_windows, padded

__all__ = ["KERNELS"]


def _mapped(maps: Mapping[int, AxisMap], x: Array) -> Array:
    """S x in the type of `x`: one large product per axis, the last axis first.

    A product per channel would need no copy, but it took sixteen times as long where another
    process kept the cores busy; and after the last axis, rows stay whole in the copy at the end.
    """
    kind, last = x.dtype, x.ndim - 1
    if last in maps:
        matrix = maps[last].matrix(x.shape[last])
        flat = np.matmul(x.reshape(-1, x.shape[last]), matrix.T)
        x = flat.reshape(*x.shape[:last], len(matrix))
    x = apply({axis: axis_map for axis, axis_map in maps.items() if axis != last}, x)
    return np.ascontiguousarray(x, kind)


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
    return _mapped(dict(enumerate(maps, start=2)), x)


def _global(reduce: np.ufunc) -> Kernel:
    def kernel(call: Call, x: Array) -> Array:
        axes = tuple(range(2, x.ndim))
        total = np.asarray(reduce.reduce(x, axis=axes, keepdims=True))
        return total / np.prod(x.shape[2:]) if reduce is np.add else total

    return kernel


def _upsample(call: Call, x: Array, scales: Array | None = None) -> Array:
    factors = call.get("scales") if scales is None else scales
    mode = call.get("mode", "nearest").replace("bi", "")
    maps: dict[int, AxisMap] = {
        axis: Resize(mode, "asymmetric", float(scale), rounding="simple")
        for axis, scale in enumerate(np.asarray(factors, np.float32))
        if scale != 1
    }
    return _mapped(maps, x)


def _resize(
    call: Call,
    x: Array,
    roi: Array | None = None,
    scales: Array | None = None,
    sizes: Array | None = None,
) -> Array | None:
    if call.version < 11:
        return _upsample(call, x, roi)
    if call.get("extrapolation_value", 0.0):
        return None
    axes = [axis % x.ndim for axis in call.ints("axes") or range(x.ndim)]
    box = np.zeros(0) if roi is None else np.asarray(roi)
    if sizes is not None and sizes.size:
        maps, lengths = _to_sizes(call, x, axes, sizes)
    else:
        given = [] if scales is None else np.asarray(scales, np.float32).tolist()
        lengths = {}
        maps = dict(zip(axes, given, strict=True))
    wanted = {}
    for place, axis in enumerate(axes):
        span = (float(box[place]), float(box[place + len(axes)])) if box.size else None
        one = _one_axis(call, maps[axis], lengths.get(axis), span)
        if not _is_identity(one, x.shape[axis]):
            wanted[axis] = one
    return _mapped(wanted, x)


def _to_sizes(
    call: Call, x: Array, axes: list[int], sizes: Array
) -> tuple[dict[int, float | None], Mapping[int, int]]:
    """Per axis: the scale (None: the ratio of the sizes) and the output size."""
    policy = call.get("keep_aspect_ratio_policy", "stretch")
    asked = [int(size) for size in sizes]
    if policy == "stretch":
        return dict.fromkeys(axes), dict(zip(axes, asked, strict=True))
    scale, fitted = fit([x.shape[axis] for axis in axes], asked, policy)
    return dict.fromkeys(axes, scale), dict(zip(axes, fitted, strict=True))


def _one_axis(
    call: Call, scale: float | None, size: int | None, roi: tuple[float, float] | None
) -> Resize:
    return Resize(
        call.get("mode", "nearest"),
        call.get("coordinate_transformation_mode", "half_pixel"),
        scale,
        size,
        call.get("nearest_mode", "round_prefer_floor"),
        call.get("cubic_coeff_a", -0.75),
        bool(call.get("exclude_outside", 0)),
        bool(call.get("antialias", 0)),
        roi,
    )


def _is_identity(resize: Resize, n: int) -> bool:
    """An axis that keeps its size and is not cropped: batch and channels, mostly."""
    kept = resize.out_size(n) == n and resize.scale in (None, 1.0)
    return kept and resize.coordinates not in ("tf_crop_and_resize", "tf_half_pixel_for_nn")


KERNELS: dict[str, Kernel] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global(np.add),
    "GlobalMaxPool": _global(np.maximum),
    "MaxPool": _max_pool,
    "Resize": _resize,
    "Upsample": _upsample,
}
