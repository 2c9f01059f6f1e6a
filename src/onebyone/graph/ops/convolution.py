"""Convolutions.

A convolution multiplies its weight, as one matrix per group, with the windows of a band of output
rows, laid out as columns: the band is as high as keeps the columns in the cache. 1×1 needs no
columns, and a depthwise one is a sum of shifts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import onnx_ir as ir
from numpy.lib.stride_tricks import sliding_window_view

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.groups import by_rows
from onebyone.algebra.pool import AveragePool
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.upsampled import transposed
from onebyone.algebra.weights import Array
from onebyone.algebra.window import Window
from onebyone.counting.formulas import Work, convolution, transposed_convolution
from onebyone.graph.axes import pads, rank
from onebyone.graph.constants import constant
from onebyone.graph.ops.call import Call, call_of
from onebyone.graph.ops.channel_node import ChannelNode, Weight, bias_of, not_constant
from onebyone.graph.ops.flow import Axes, Flow, channels_of, mixed, straight_flow
from onebyone.graph.ops.pooling import axis_windows, last_axes, padded
from onebyone.graph.ops.row import Manner, NodeShapes, Operator, Product, Role, Rounding
from onebyone.graph.ops.slides import MIXED, Slides, laid
from onebyone.graph.ops.windows import of_kernel, windowed
from onebyone.graph.values import input_at, shape_of

__all__ = ["ROWS", "convolution_work", "is_pointwise_convolution"]

# Elements of one band: 2 MiB in float64, a share of a last-level cache.
BAND = 1 << 18


def _conv(call: Call, x: Array, w: Array, b: Array | None = None) -> Array:
    groups = call.get("group", 1)
    axes = axis_windows(call, w.shape[2:])
    # A view of tokens has its channels innermost; every way below reads along rows.
    x = np.ascontiguousarray(x)
    x = padded(x, [axis.pads(n) for axis, n in zip(axes, x.shape[2:], strict=True)])
    if w.shape[1] == 1 and groups > 1:
        y = _depthwise(x, w, axes)
    elif math.prod(w.shape[2:]) == 1:
        y = _pointwise(x[last_axes(slice(None, None, axis.stride) for axis in axes)], w, groups)
    else:
        y = _by_columns(_windows(x, axes), w, groups)
    return _plus_bias(y, b)


def _plus_bias(y: Array, b: Array | None) -> Array:
    if b is not None:
        y += b.reshape(-1, *(1,) * (y.ndim - 2))
    return y


def _pointwise(x: Array, w: Array, groups: int) -> Array:
    weight = w.reshape(groups, -1, w.shape[1])
    y = np.matmul(weight, x.reshape(len(x), groups, w.shape[1], -1))
    return np.asarray(y).reshape(len(x), len(w), *x.shape[2:])


def _windows(x: Array, axes: Sequence[AveragePool]) -> Array:
    """The input under each tap, (N, C, *kernel, *out): a view."""
    rank = len(axes)
    # A window from the first tap to the last; every `dilation`-th place in it is a tap.
    extents = [_reach(axis) + 1 for axis in axes]
    view = sliding_window_view(x, extents, axis=tuple(range(2, 2 + rank)))
    strides = (slice(None, None, axis.stride) for axis in axes)
    taps = (slice(None, None, axis.dilation) for axis in axes)
    return np.moveaxis(view[last_axes([*strides, *taps])], range(-rank, 0), range(2, 2 + rank))


def _by_columns(windows: Array, w: Array, groups: int) -> Array:
    """W · columns, band by band of the first output axis."""
    n, c, first = windows.shape[0], windows.shape[1], w.ndim
    out = windows.shape[first:]
    weight = w.reshape(groups, len(w) // groups, -1)
    y = np.empty((n, len(w), *out), w.dtype)
    for i, rows in product(range(n), _bands(out, c * math.prod(w.shape[2:]))):
        # Axis 0 of `windows` is gone, so the first output axis is one to the left.
        band = windows[i][(slice(None),) * (first - 1) + (rows,)]
        columns = band.reshape(groups, weight.shape[2], -1)
        y[i, :, rows] = np.matmul(weight, columns).reshape(len(w), *band.shape[first - 1 :])
    return y


def _bands(out: Sequence[int], depth: int) -> Iterator[slice]:
    step = max(1, BAND // max(depth * math.prod(out[1:]), 1))
    return (slice(start, start + step) for start in range(0, out[0], step))


def _depthwise(x: Array, w: Array, axes: Sequence[AveragePool]) -> Array:
    """Each output channel reads one input channel, which comes padded; a few channels at a time."""
    out = (len(range(0, n - _reach(a), a.stride)) for a, n in zip(axes, x.shape[2:], strict=True))
    y = np.empty((len(x), len(w), *out), w.dtype)
    sources = np.arange(len(w)) // (len(w) // x.shape[1])
    step = max(1, BAND // (8 * math.prod(x.shape[2:])))
    for i, start in product(range(len(x)), range(0, len(w), step)):
        part = slice(start, start + step)
        y[i, part] = _shifts(x[i, sources[part]], w[part, 0], axes)
    return y


def _reach(axis: AveragePool) -> int:
    """From the first to the last input that an output reads."""
    return (axis.kernel - 1) * axis.dilation


def _shifts(x: Array, w: Array, axes: Sequence[AveragePool]) -> Array:
    """y[c, p] = Σ_k w[c, k] x[c, stride·p + dilation·k] on padded `x` (C, *sizes).

    Computed on whole rows, at stride 1: a shift of the flattened input is one long run of memory.
    """
    pitches = [math.prod(x.shape[1 + k :]) for k in range(1, x.ndim)]
    flat = x.reshape(len(x), -1)
    # What a shift carries over the end of a row lies where no window fits, and is cut off below.
    reach = [_reach(axis) for axis in axes]
    length = flat.shape[1] - sum(r * pitch for r, pitch in zip(reach, pitches, strict=True))
    y = np.zeros(flat.shape, x.dtype)
    term = np.empty((len(x), length), x.dtype)
    for tap in product(*map(range, w.shape[1:])):
        places = zip(tap, axes, pitches, strict=True)
        start = sum(t * axis.dilation * pitch for t, axis, pitch in places)
        scale = w[last_axes(tap)][:, None]
        y[:, :length] += np.multiply(flat[:, start : start + length], scale, out=term)
    inside = (slice(0, n - r, a.stride) for n, r, a in zip(x.shape[1:], reach, axes, strict=True))
    return y.reshape(x.shape)[(slice(None), *inside)]


def _conv_transpose(call: Call, x: Array, w: Array, b: Array | None = None) -> Array:
    groups, rank = call.get("group", 1), w.ndim - 2
    strides = call.get("strides") or [1] * rank
    dilations = call.get("dilations") or [1] * rank
    extra = call.get("output_padding") or [0] * rank
    full = [
        s * (n - 1) + d * (k - 1) + 1
        for n, s, d, k in zip(x.shape[2:], strides, dilations, w.shape[2:], strict=True)
    ]
    pads = _transposed_pads(call, [f + e for f, e in zip(full, extra, strict=True)], x.shape[2:])
    y = _scattered(x, w, groups, strides, dilations, full)
    # A negative pad, and output padding, lie outside what the taps reach: zeros there.
    ends = [max(e - after, 0) for e, (_, after) in zip(extra, pads, strict=True)]
    y = padded(y, [(max(-before, 0), end) for (before, _), end in zip(pads, ends, strict=True)])
    sizes = [f + e - sum(pad) for f, e, pad in zip(full, extra, pads, strict=True)]
    crop = (slice(max(p, 0), max(p, 0) + n) for (p, _), n in zip(pads, sizes, strict=True))
    return _plus_bias(y[last_axes(crop)], b)


def _transposed_pads(
    call: Call, full: Sequence[int], sizes: Sequence[int]
) -> list[tuple[int, int]]:
    """What is cut off each axis of the full result, whose sizes are `full`."""
    rank, auto = len(full), call.get("auto_pad", "NOTSET")
    wanted = call.get("output_shape")
    if wanted is None and auto.startswith("SAME"):
        # No more than the taps reach, as ONNX Runtime has it.
        steps = call.get("strides") or [1] * rank
        wanted = [min(n * s, f) for n, s, f in zip(sizes, steps, full, strict=True)]
    if wanted is None:
        pads = [0] * (2 * rank)
        if auto == "NOTSET":
            pads = call.get("pads") or pads
        return list(zip(pads[:rank], pads[rank:], strict=True))
    # An odd total leaves one more for one end: for the last with SAME_UPPER, else for the first.
    totals = [f - n for f, n in zip(full, wanted, strict=True)]
    first = [(total + (auto != "SAME_UPPER")) // 2 for total in totals]
    return [(before, total - before) for before, total in zip(first, totals, strict=True)]


def _scattered(
    x: Array, w: Array, groups: int, strides: Sequence[int], dilations: Sequence[int],
    full: Sequence[int],
) -> Array:  # fmt: skip
    """Σ_k T_kᵀ (W_kᵀ x): each tap's product added where the tap writes, uncropped."""
    n, per = len(x), w.shape[1]
    weight = w.reshape(groups, -1, *w.shape[1:])
    flat = x.reshape(n, groups, x.shape[1] // groups, -1)
    y = np.zeros((n, groups * per, *full), x.dtype)
    for tap in product(*map(range, w.shape[2:])):
        part = np.matmul(weight[last_axes(tap)].swapaxes(1, 2), flat)
        steps = zip(tap, strides, dilations, x.shape[2:], strict=True)
        where = (slice(t * d, t * d + s * (size - 1) + 1, s) for t, s, d, size in steps)
        y[last_axes(where)] += part.reshape(n, groups * per, *x.shape[2:])
    return y


def convolution_work(site: NodeShapes) -> Work:
    """Of an image and a weight (C_out, C_in / groups, *kernel)."""
    return convolution(
        site.shapes[1],
        site.output,
        constant=site.fixed[1],
        biased=site.biased,
        groups=site.node.attributes.get_int("group", 1),
    )


def _transposed_work(site: NodeShapes) -> Work:
    x, weight = site.shapes
    return transposed_convolution(
        weight,
        x,
        site.output,
        constant=site.fixed[1],
        biased=site.biased,
        groups=site.node.attributes.get_int("group", 1),
    )


def is_pointwise_convolution(node: ir.Node) -> bool:
    """Whether a Conv node has a kernel of 1 along every axis."""
    shape = shape_of(input_at(node, 1))
    return node.op_type == "Conv" and shape is not None and all(n == 1 for n in shape[2:])


def _conv_channels(node: ir.Node, axis: int) -> ChannelNode | Refusal | None:
    if axis != 1 or not is_pointwise_convolution(node) or node.inputs[0] is None:
        return None
    weight, bias = constant(node.inputs[1]), bias_of(node, 2)
    if weight is None:
        return not_constant("weight")
    if isinstance(bias, Refusal):
        return bias
    rank = weight.ndim - 2
    return ChannelNode(
        node.inputs[0],
        ChannelMap(weight.reshape(weight.shape[:2]), bias, node.attributes.get_int("group", 1)),
        tuple(node.attributes.get_ints("strides", (1,) * rank)),
        tuple(node.attributes.get_ints("pads", (0,) * 2 * rank)),
    )


MAX_BLOCKS = 1 << 26
"""Entries of the largest matrix that a convolution's channels are laid out in, as 0.5 GB."""


def _flow(node: ir.Node, axis: int, _axes: Axes) -> Flow | None:
    weight, bias, x = constant(node.inputs[1]), bias_of(node, 2), node.inputs[0]
    if axis != 1 or weight is None or x is None or isinstance(bias, Refusal):
        return None
    groups, channels = node.attributes.get_int("group", 1), channels_of(x, 1)
    varies = _varies_at_borders(node)
    # Depthwise: the weight has one row for each channel, and nothing is mixed.
    if groups == channels == channels_of(node.outputs[0], 1):
        constants = {v: 0 for v in node.inputs[1:] if v is not None}
        shift = np.zeros(1) if bias is None else bias
        held = partial(_depthwise_held, weight.reshape(len(weight), -1), shift, varies)
        return straight_flow(
            node, 1, 1, constants=constants, held=held, spelled=lambda left: {"group": len(left)}
        )
    # Of grouped ones the matrix is far larger than the weight.
    if channels is None or channels * (channels_of(node.outputs[0], 1) or 0) > MAX_BLOCKS:
        return None
    if node.op_type == "ConvTranspose":
        weight = by_rows(weight, groups)
    return mixed(x, 1, weight, bias, zeros_only=varies, groups=groups)


def _varies_at_borders(node: ir.Node) -> bool:
    """Whether it may make several numbers of a constant: it pads, or is transposed."""
    return node.op_type == "ConvTranspose" or pads(node)


def _depthwise_held(taps: Array, shift: Array, varies: bool, known: Sequence[Array]) -> Array:
    """(C,) what a kernel (C, taps) makes of constants, zeros around them where it varies."""
    k, taps = known[0], taps.astype(np.float64)
    hidden = (np.isnan(k) | ((k != 0) & varies)) & (taps != 0).any(axis=1)
    return np.where(hidden, np.nan, taps.sum(axis=1) * np.where(np.isnan(k), 0, k) + shift)


# --- Where it looks ------------------------------------------------------------------------------


def _slides(node: ir.Node) -> Slides:
    kernel = _kernel(node)
    if kernel is None:
        return dict.fromkeys(range(rank(node)), "the size of its kernel is not known")
    return {1: MIXED, **laid(axis_windows(call_of(node, version=1), kernel))}


def _kernel(node: ir.Node) -> list[int] | None:
    """The sizes of its kernel."""
    shape = shape_of(input_at(node, 1)) or ()
    known = [n for n in shape[2:] if isinstance(n, int)]
    return known if known and len(known) + 2 == len(shape) else None


def _transposed_slides(node: ir.Node) -> Slides:
    kernel, attributes = _kernel(node), node.attributes
    if kernel is None or "output_shape" in attributes:
        return dict.fromkeys(range(rank(node)), "its size is a number, or its kernel not known")
    more = attributes.get_ints("output_padding", (0,) * len(kernel))
    pools = axis_windows(call_of(node, version=1), kernel)
    axes = [transposed(_stamp(p, end), end) for p, end in zip(pools, more, strict=True)]
    return {1: MIXED, **dict(enumerate(axes, start=2))}


def _stamp(pool: AveragePool, more: int) -> Window:
    """Where an input writes; what is cut off to keep n·s outputs is the same for every n."""
    window = Window(pool.kernel, pool.stride, pool.before, pool.after, pool.dilation)
    if pool.auto_pad == "NOTSET":
        return window
    total = 0
    if pool.auto_pad != "VALID":
        total = max(window.extent + more - pool.stride, 0)
    # As `_transposed_pads`: of an odd number one more is cut at the end, or at the start.
    before = (total + (pool.auto_pad != "SAME_UPPER")) // 2
    return replace(window, before=before, after=total - before)


ROWS = (
    Operator("Conv", Role.CONVOLUTION, _conv, Rounding.SMOOTHLY, magnitude="Conv",
             channels=_conv_channels, weight=lambda node: Weight(1, 0, 1), channel_axis=1,
             flow=_flow, slides=_slides, **windowed(of_kernel), weighs=True,
             work=Product(convolution_work, (0, 1), 2), kind="convolution"),
    Operator("ConvTranspose", Role.CONVOLUTION, _conv_transpose, Rounding.SMOOTHLY,
             magnitude="ConvTranspose", weight=lambda node: Weight(1, 1, 0), channel_axis=1,
             flow=_flow, slides=_transposed_slides, weighs=True, has_windows=True,
             manner=Manner.STAMP,
             work=Product(_transposed_work, (0, 1), 2), kind="transposed convolution"),
    Operator("CausalConvWithState", work=Product(convolution_work, (0, 1), 2), kind="convolution"),
    # Its interpolated reads are arithmetic too, and not counted.
    Operator("DeformConv", work=Product(convolution_work, (0, 1), 3), kind="convolution"),
)  # fmt: skip
