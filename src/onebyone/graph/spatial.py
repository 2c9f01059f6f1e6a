"""ONNX nodes read as space maps: pooling, resizing, padding, cropping, reducing, repeating.

Each reader answers: which axes are mapped, and by what. None: the node is no space map. `Refusal`:
it would be one but for the reason named. Whether the channel axis is among the mapped ones is for
the caller to see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast, get_args

import onnx_ir as ir

from onebyone.algebra.pool import AveragePool, Mean, Sum
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.selection import Expand, Pad, PadMode, Select, Slice, Tile
from onebyone.algebra.space import AxisMap
from onebyone.graph.axes import (
    Spatial,
    computed,
    entries,
    integers,
    late,
    numbers,
    operand,
    pairs,
    rank,
    refused,
    size,
)
from onebyone.graph.constants import constant, is_float
from onebyone.graph.resizing import resize, upsample

__all__ = ["Spatial", "spatial", "windows"]

_FAR = 2**31 - 1
"""Exporters write "to the end" as a stop of at least this."""


def spatial(node: ir.Node) -> Spatial | Refusal | None:
    """Read `node` as a space map on its first input; floating-point tensors only.

    Raises nothing: what is no space map is None, what nearly is one says why it is not.
    Source: the text of the ONNX operators, opsets 7 to 28.

    >>> x = ir.val("x", ir.DataType.FLOAT, (1, 2, 6, 8))
    >>> spatial(ir.node("GlobalAveragePool", [x])).maps
    {2: Mean(), 3: Mean()}
    """
    reader, x = _READERS.get(node.op_type), operand(node, 0)
    if reader is None or node.domain != "" or x is None or not is_float(x):
        return None
    if x.shape is None:
        return refused("the rank of its operand is unknown")
    return reader(node) if rank(node) else None


def _average_pool(node: ir.Node) -> Spatial | Refusal:
    pools = dict(enumerate(windows(node), start=2))
    sizes = {axis: size(node.inputs[0], axis) for axis in pools}
    if any(n is not None and not pools[axis].fits(n) for axis, n in sizes.items()):
        return refused("its window is larger than the padded input")
    return Spatial(dict(pools))


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


def _global_average_pool(node: ir.Node) -> Spatial:
    return Spatial(dict.fromkeys(range(2, rank(node)), Mean()))


def _reduction(over: AxisMap) -> Callable[[ir.Node], Spatial | Refusal]:
    def read(node: ir.Node) -> Spatial | Refusal:
        axes, kept = _reduced_axes(node), node.attributes.get_int("keepdims", 1)
        found = Spatial(dict.fromkeys(axes, over), () if kept else tuple(axes))
        return late(node, {"axes": 1}) or found

    return read


def _reduced_axes(node: ir.Node) -> list[int]:
    named = integers(node, 1, "axes")
    if named:
        return sorted({axis % rank(node) for axis in named})
    nothing = node.attributes.get_int("noop_with_empty_axes", 0)
    return [] if nothing else list(range(rank(node)))


def _pad(node: ir.Node) -> Spatial | Refusal:
    mode = node.attributes.get_string("mode", "constant")
    if mode not in get_args(PadMode):
        return refused(f"pad mode {mode!r} is not in ONNX")
    ends = pairs(integers(node, 1, "pads") or [])
    axes = integers(node, 3, "axes") or range(rank(node))
    pads = {
        axis % rank(node): Pad(before, after, cast(PadMode, mode))
        for axis, (before, after) in zip(axes, ends, strict=False)
        if before or after
    }
    return late(node, {"pads": 1, "value": 2, "axes": 3}) or _filled(node, pads)


def _filled(node: ir.Node, pads: Mapping[int, Pad]) -> Spatial | Refusal:
    """The map of `pads`, unless what it fills in is not a linear function of the input."""
    if any(p.mode != "constant" and p.before * p.after < 0 for p in pads.values()):
        return refused("padding by copies that also crops the other end")
    value = numbers(node, 2, "value") or [0]
    if any(value) and not all(p.is_selection for p in pads.values()):
        return refused("padding with a value that is not zero")
    return Spatial(pads)


def _slice(node: ir.Node) -> Spatial | Refusal:
    starts, stops = integers(node, 1, "starts") or [], integers(node, 2, "ends") or []
    axes = integers(node, 3, "axes") or range(len(starts))
    every = zip(axes, starts, stops, integers(node, 4, "steps") or [1] * len(starts), strict=False)
    slices = {axis % rank(node): _bounds(start, stop, step) for axis, start, stop, step in every}
    cuts = {axis: cut for axis, cut in slices.items() if cut != Slice(0, None, 1)}
    return late(node, {"starts": 1, "ends": 2, "axes": 3, "steps": 4}) or Spatial(cuts)


def _bounds(start: int, stop: int, step: int) -> Slice:
    beyond = stop >= _FAR if step > 0 else stop <= -_FAR
    return Slice(start, None if beyond else stop, step)


def _gather(node: ir.Node) -> Spatial | Refusal:
    indices = constant(node.inputs[1])
    if indices is None:
        return refused("the indices of the Gather are computed at run time")
    if indices.ndim > 1:
        return refused(f"indices of rank {indices.ndim} add axes")
    axis = node.attributes.get_int("axis", 0) % rank(node)
    picked = Select(tuple(int(i) for i in indices.ravel()))
    return Spatial({axis: picked}, () if indices.ndim else (axis,))


def _expand(node: ir.Node) -> Spatial | Refusal:
    shape = node.inputs[1]
    asked = entries(shape)
    if asked is None or len(asked) > rank(node):
        return refused("the rank of its result is unknown" if asked is None else "it adds axes")
    every = enumerate(asked, start=rank(node) - len(asked))
    maps = {k: Expand(_whole(n)) for k, n in every if n != 1 and size(node.inputs[0], k) in _ONE}
    return Spatial(maps, (), computed(shape))


_ONE = (1, None)
"""The sizes of an axis that Expand may change: one, or not known."""


def _tile(node: ir.Node) -> Spatial | Refusal:
    repeats = entries(node.inputs[1]) or [None] * rank(node)
    maps = {
        axis: Tile(_whole(n)) for axis, n in enumerate(repeats) if n != 1 and not _stays(node, axis)
    }
    return Spatial(maps, (), computed(node.inputs[1]))


def _whole(n: float | None) -> int | None:
    return None if n is None else int(n)


def _stays(node: ir.Node, axis: int) -> bool:
    before = size(node.inputs[0], axis)
    return before is not None and before == size(node.outputs[0], axis)


_READERS: dict[str, Callable[[ir.Node], Spatial | Refusal]] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average_pool,
    "ReduceMean": _reduction(Mean()),
    "ReduceSum": _reduction(Sum()),
    "Resize": resize,
    "Upsample": upsample,
    "Pad": _pad,
    "Slice": _slice,
    "Gather": _gather,
    "Expand": _expand,
    "Tile": _tile,
}
