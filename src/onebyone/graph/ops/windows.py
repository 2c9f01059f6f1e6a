"""Windows of convolutions and pools, axis by axis, and maps of positions carried out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.algebra.pool import AveragePool
from onebyone.algebra.space import AxisMap, apply
from onebyone.graph.axes import pairs
from onebyone.graph.ops.call import Array, Call

__all__ = ["axis_windows", "last_axes", "mapped", "padded", "windows"]


def axis_windows(call: Call, kernel: Sequence[int]) -> list[AveragePool]:
    """Per spatial axis: kernel, stride, pads and dilation of a convolution or pooling node.

    >>> axis_windows(Call("Conv", 11, attributes={"pads": (0, 1, 0, 1)}), (1, 3))[1].out_size(5)
    5
    """
    rank = len(kernel)
    pads = call.get("pads") or [0] * (2 * rank)
    steps = zip(
        kernel,
        call.get("strides") or [1] * rank,
        pads[:rank],
        pads[rank:],
        call.get("dilations") or [1] * rank,
        strict=True,
    )
    flags = (bool(call.get("ceil_mode")), bool(call.get("count_include_pad")))
    return [AveragePool(*step, *flags, call.get("auto_pad", "NOTSET")) for step in steps]


def windows(node: ir.Node) -> list[AveragePool]:
    """The windows of a pool of any kind, axis by axis.

    >>> node = ir.node("MaxPool", [ir.val("x")], {"kernel_shape": [3, 2], "strides": [2, 1]})
    >>> [(window.kernel, window.stride) for window in windows(node)]
    [(3, 2), (2, 1)]
    """
    a = node.attributes
    kernels = a.get_ints("kernel_shape", ())
    n = len(kernels)
    strides, dilations = a.get_ints("strides", [1] * n), a.get_ints("dilations", [1] * n)
    pads = pairs(a.get_ints("pads", [0] * 2 * n))
    shared: dict[str, Any] = {
        "ceil_mode": bool(a.get_int("ceil_mode", 0)),
        "count_include_pad": bool(a.get_int("count_include_pad", 0)),
        "auto_pad": a.get_string("auto_pad", "NOTSET"),
    }
    every = zip(kernels, strides, pads, dilations, strict=False)
    return [AveragePool(k, s, p[0], p[1], d, **shared) for k, s, p, d in every]


def padded(x: Array, pads: Sequence[tuple[int, int]], fill: float = 0) -> Array:
    """`x` with (before, after) elements of `fill` around each of its last `len(pads)` axes.

    >>> padded(np.ones((1, 1)), [(0, 2)])
    array([[1., 0., 0.]])
    """
    if not any(map(any, pads)):
        return x
    free = x.ndim - len(pads)
    sizes = [n + sum(pad) for n, pad in zip(x.shape[free:], pads, strict=True)]
    y = np.full((*x.shape[:free], *sizes), fill, x.dtype)
    inner = (slice(a, a + n) for (a, _), n in zip(pads, x.shape[free:], strict=True))
    y[last_axes(inner)] = x
    return y


def last_axes(index: Iterable[int | slice]) -> Any:
    """An index into the last axes."""
    return (..., *index)


def mapped(maps: Mapping[int, AxisMap], x: Array) -> Array:
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
