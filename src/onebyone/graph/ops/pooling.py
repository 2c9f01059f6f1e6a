"""Pools: the maximum or the mean of what a window sees, axis by axis; and windows as such."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.algebra.laws import refused
from onebyone.algebra.pool import AveragePool, Mean
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.space import AxisMap, apply
from onebyone.algebra.weights import Array
from onebyone.algebra.window import Window
from onebyone.graph.axes import Spatial, rank
from onebyone.graph.ops.call import Call, Kernel, call_of, is_floating
from onebyone.graph.ops.flow import Axes, Flow, same, unknown
from onebyone.graph.ops.row import Operator, Role, Rounding, first_if
from onebyone.graph.ops.sizes import keeps_shape
from onebyone.graph.ops.slides import Slides, laid
from onebyone.graph.ops.windows import of_pool, windowed
from onebyone.graph.symbolic import monomial
from onebyone.graph.values import Size, are_read, shape_of, size

__all__ = [
    "ROWS", "always_fit", "axis_windows", "laid_windows", "last_axes", "mapped", "padded",
    "windows",
]  # fmt: skip


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
        strict=False,  # a file may contradict itself
    )
    flags = (bool(call.get("ceil_mode")), bool(call.get("count_include_pad")))
    return [AveragePool(*step, *flags, call.get("auto_pad", "NOTSET")) for step in steps]


def windows(node: ir.Node) -> list[AveragePool]:
    """The windows of a pool of any kind, axis by axis.

    >>> node = ir.node("MaxPool", [ir.val("x")], {"kernel_shape": [3, 2], "strides": [2, 1]})
    >>> [(window.kernel, window.stride) for window in windows(node)]
    [(3, 2), (2, 1)]
    """
    return axis_windows(call_of(node, version=1), node.attributes.get_ints("kernel_shape", ()))


def laid_windows(
    node: ir.Node, kernel: Sequence[int], sizes: Sequence[object]
) -> list[Window] | None:
    """Where the windows of a convolution lie on axes of these sizes.

    None where that hangs on a size that is not known.

    >>> node = ir.node("Conv", [ir.val("x")], {"auto_pad": "SAME_UPPER", "strides": [2]})
    >>> laid_windows(node, (3,), [4])
    [Window(kernel=3, stride=2, before=0, after=1, dilation=1)]
    >>> print(laid_windows(node, (3,), ["n"]))
    None
    """
    axes = axis_windows(call_of(node, version=1), kernel)
    known = [n if isinstance(n, int) else None for n in sizes]
    if None in known and any(axis.auto_pad not in ("NOTSET", "VALID") for axis in axes):
        return None
    return [axis.window(n or 0) for axis, n in zip(axes, known, strict=True)]


def always_fit(
    pools: Sequence[AveragePool], windows: Sequence[Window], sizes: Sequence[Size]
) -> bool:
    """Whether what windows give on axes of these sizes has room for a window of pools behind them.

    Also on the smallest axis, if its size is free: 2h is no less than two.

    >>> two, three = AveragePool(2), Window(3, before=1, after=1)
    >>> free, even = (ir.SymbolicDim(size) for size in ("h", "2*h"))
    >>> [always_fit([two], [three], [size]) for size in (2, free, even)]
    [True, False, True]
    """
    every = zip(pools, windows, map(_least, sizes), strict=True)
    return all(pool.fits(window.out_size(least)) for pool, window, least in every)


def _least(size: Size) -> int:
    """The least that a size can be: what it is a multiple of, if it is free."""
    if isinstance(size, int):
        return size
    known = monomial(size)
    if known is None:
        return 1
    return max(1, known[0])


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


_LONG = 4096
"""Positions above which a matrix is not made for all of them: of a sound, say."""


def mapped(maps: Mapping[int, AxisMap], x: Array) -> Array:
    """S x in the type of `x`: one large product per axis, the last axis first.

    A product per channel would need no copy, but it took sixteen times as long where another
    process kept the cores busy; and after the last axis, rows stay whole in the copy at the end.
    """
    kind, last = x.dtype, x.ndim - 1
    if last in maps and x.shape[last] <= _LONG:
        matrix = maps[last].matrix(x.shape[last])
        flat = np.matmul(x.reshape(-1, x.shape[last]), matrix.T)
        x = flat.reshape(*x.shape[:last], len(matrix))
        maps = {axis: axis_map for axis, axis_map in maps.items() if axis != last}
    return np.ascontiguousarray(apply(maps, x), kind)


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
    # Padding never wins.
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
    """A kernel that takes the mean (`np.add`) or the maximum of each channel."""

    def kernel(call: Call, x: Array) -> Array:
        total = np.asarray(reduce.reduce(x, axis=tuple(range(2, x.ndim)), keepdims=True))
        if reduce is np.add:
            return total / np.prod(x.shape[2:])
        return total

    return kernel


def _average_pool_space(node: ir.Node) -> Spatial | Refusal:
    pools = [(axis, pool, size(node.inputs[0], axis)) for axis, pool in enumerate(windows(node), 2)]
    if any(n is not None and not pool.fits(n) for _, pool, n in pools):
        return refused("commute", "window")
    return Spatial({axis: pool.plain(n) for axis, pool, n in pools})


def _global_average_pool_space(node: ir.Node) -> Spatial:
    return Spatial(dict.fromkeys(range(2, rank(node)), Mean()))


def _flow(node: ir.Node, axis: int, _axes: Axes) -> Flow | None:
    if axis != 1:
        return None
    return same(node, 1)


def _power_flow(node: ir.Node, axis: int, _axes: Axes) -> Flow | None:
    if axis != 1:
        return None
    return same(node, 1, held=unknown)


def _slides(node: ir.Node) -> Slides:
    if are_read(node.outputs[1:]):
        return dict.fromkeys(range(rank(node)), "it tells where in the image a maximum stands")
    return laid(windows(node))


def _has_one_tap(node: ir.Node) -> bool:
    """A pool of kernel 1 and stride 1."""
    kernel = node.attributes.get_ints("kernel_shape", ())
    strides = node.attributes.get_ints("strides", ())
    pads = node.attributes.get_ints("pads", ())
    ones = all(n == 1 for n in (*kernel, *strides)) and not any(pads)
    return bool(kernel) and ones and keeps_shape(node)


def _has_one_position(node: ir.Node) -> bool:
    shape = shape_of(node.inputs[0])
    return shape is not None and all(n == 1 for n in shape[2:])


_ONE_TAP = first_if(_has_one_tap)
_ONE_POSITION = first_if(_has_one_position)

ROWS = (
    Operator("AveragePool", Role.SPACE_MAP, _average_pool, Rounding.SMOOTHLY,
             magnitude="AveragePool", unchanged=_ONE_TAP, channel_axis=1, space=_average_pool_space,
             slides=_slides, **windowed(of_pool, copies=True), kind="average pool"),
    Operator("MaxPool", value=_max_pool, rounding=Rounding.NEVER, is_unsure_of_nan=True,
             magnitude="MaxPool", unchanged=_ONE_TAP, channel_axis=1, flow=_flow,
             slides=_slides, **windowed(of_pool, copies=True), kind="max pool"),
    Operator("LpPool", flow=_power_flow, slides=_slides, **windowed(of_pool)),
    Operator("GlobalAveragePool", Role.SPACE_MAP, _global(np.add), Rounding.SMOOTHLY,
             magnitude="GlobalAveragePool", unchanged=_ONE_POSITION, channel_axis=1,
             space=_global_average_pool_space, kind="adaptive average pool"),
    Operator("GlobalMaxPool", value=_global(np.maximum), rounding=Rounding.NEVER,
             is_unsure_of_nan=True, magnitude="GlobalMaxPool", unchanged=_ONE_POSITION,
             flow=_flow),
)  # fmt: skip
