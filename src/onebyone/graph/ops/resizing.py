"""Resize and Upsample, in every opset, as axis maps.

Upsample (7, 9) and Resize 10 say only "nearest" or "linear" and leave the coordinates unsaid; they
are the asymmetric ones, and nearest rounds down where the axis grows (as ONNX Runtime does).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onebyone.algebra.refusal import Refusal
from onebyone.algebra.resize import COORDINATES, MODES, ROUNDINGS, Resize, fit
from onebyone.algebra.space import AxisMap
from onebyone.counting.formulas import Shape
from onebyone.graph.axes import Spatial, computed, entries, numbers, operand, rank, refused, size
from onebyone.graph.constants import constant
from onebyone.graph.ops.call import Array, Call
from onebyone.graph.ops.row import Effort, Operator, Role, Rounding, first_if
from onebyone.graph.ops.sizes import keeps_told_shape
from onebyone.graph.ops.windows import mapped

__all__ = ["ROWS"]

# --- Its value -----------------------------------------------------------------------------------


def _upsample(call: Call, x: Array, scales: Array | None = None) -> Array:
    factors = call.get("scales") if scales is None else scales
    mode = call.get("mode", "nearest").replace("bi", "")
    maps: dict[int, AxisMap] = {
        axis: Resize(mode, "asymmetric", float(scale), rounding="simple")
        for axis, scale in enumerate(np.asarray(factors, np.float32))
        if scale != 1
    }
    return mapped(maps, x)


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
    return mapped(wanted, x)


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


# --- Its map of positions ------------------------------------------------------------------------


_Axes = Mapping[int, Resize]


def _upsample_space(node: ir.Node) -> Spatial | Refusal:
    """Upsample, and Resize of opset 10: scales in an attribute or in input 1."""
    mode = node.attributes.get_string("mode", "nearest")
    if mode not in ("nearest", "linear"):
        return refused(f"_resize_space mode {mode!r} is not in ONNX")
    plain = Resize(mode, "asymmetric", rounding="simple")
    scales = node.attributes.get_floats("scales") or entries(operand(node, 1))
    maps = _by_scales(plain, list(range(rank(node))), scales)
    return Spatial(maps, (), computed(operand(node, 1)))


def _resize_space(node: ir.Node) -> Spatial | Refusal:
    """Resize of any opset; sizes or scales, constant or computed at run time."""
    if len(node.inputs) == 2 and "coordinate_transformation_mode" not in node.attributes:
        return _upsample_space(node)
    plain = _attributes(node)
    if isinstance(plain, Refusal):
        return plain
    named = node.attributes.get_ints("axes", range(rank(node)))
    axes = [int(axis) % rank(node) for axis in named]
    if operand(node, 3) is None:
        maps = _by_scales(plain, axes, entries(operand(node, 2)))
    else:
        maps = _by_sizes(plain, axes, node)
    return Spatial(_cropped(plain, maps, axes, node), (), computed(*node.inputs[1:]))


def _attributes(node: ir.Node) -> Resize | Refusal:
    """The attributes that all axes share, or why they are not a linear map."""
    a = node.attributes
    mode, rounding = a.get_string("mode", "nearest"), a.get_string("nearest_mode", _NEAREST)
    coordinates = a.get_string("coordinate_transformation_mode", "half_pixel")
    unknown = _unknown(mode, coordinates, rounding)
    if unknown is not None:
        return refused(f"_resize_space mode {unknown!r} is not in ONNX")
    exclude = bool(a.get_int("exclude_outside", 0))
    if exclude and mode == "nearest":
        return refused("exclude_outside leaves a nearest _resize_space undefined at the border")
    if coordinates == "tf_crop_and_resize" and a.get_float("extrapolation_value", 0.0) != 0:
        return refused("the _resize_space extrapolates with a value that is not zero")
    antialias, cubic_a = bool(a.get_int("antialias", 0)), a.get_float("cubic_coeff_a", -0.75)
    return Resize(mode, coordinates, None, None, rounding, cubic_a, exclude, antialias)


_NEAREST = "round_prefer_floor"


def _unknown(mode: str, coordinates: str, rounding: str) -> str | None:
    known = ((mode, ["nearest", *MODES]), (coordinates, COORDINATES), (rounding, ROUNDINGS))
    return next((got for got, names in known if got not in names), None)


def _by_scales(plain: Resize, axes: list[int], scales: Sequence[float | None] | None) -> _Axes:
    known = scales if scales is not None and len(scales) == len(axes) else [None] * len(axes)
    return {
        axis: replace(plain, scale=scale, unknown_scale=scale is None)
        for axis, scale in zip(axes, known, strict=True)
        if scale != 1
    }


def _by_sizes(plain: Resize, axes: list[int], node: ir.Node) -> _Axes:
    """An axis whose size stays the same number is not resized."""
    if node.attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch":
        return _kept_ratio(plain, axes, node)
    asked = entries(operand(node, 3)) or [None] * len(axes)
    sizes = [
        size(node.outputs[0], axis) if n is None else int(n)
        for axis, n in zip(axes, asked, strict=False)
    ]
    lengths = [size(node.inputs[0], axis) for axis in axes]
    every = zip(axes, lengths, sizes, strict=False)
    return {axis: replace(plain, size=m) for axis, n, m in every if n is None or n != m}


def _kept_ratio(plain: Resize, axes: list[int], node: ir.Node) -> _Axes:
    """One scale for all axes: known where the input's sizes are."""
    asked = constant(operand(node, 3))
    lengths = [n for axis in axes if (n := size(node.inputs[0], axis))]
    if asked is None or not len(lengths) == len(axes) == asked.size:
        return dict.fromkeys(axes, replace(plain, unknown_scale=True))
    larger = node.attributes.get_string("keep_aspect_ratio_policy") == "not_smaller"
    wanted = [int(n) for n in asked.ravel()]
    scale, sizes = fit(lengths, wanted, "not_smaller" if larger else "not_larger")
    changed = zip(axes, sizes, strict=True) if scale != 1 else ()
    return {axis: replace(plain, scale=scale, size=n) for axis, n in changed}


def _cropped(plain: Resize, maps: _Axes, axes: list[int], node: ir.Node) -> _Axes:
    """With tf_crop_and_resize each axis also crops to its (start, end) in roi."""
    if plain.coordinates != "tf_crop_and_resize":
        return maps
    roi = constant(operand(node, 1))
    if roi is None or roi.size != 2 * len(axes):
        return {axis: maps.get(axis, replace(plain, unknown_scale=True)) for axis in axes}
    ends = [(float(a), float(b)) for a, b in roi.reshape(2, -1).T]
    return {
        axis: replace(maps.get(axis, replace(plain, scale=1.0)), roi=end)
        for axis, end in zip(axes, ends, strict=True)
        if axis in maps or end != (0.0, 1.0)
    }


# --- Its row -------------------------------------------------------------------------------------


_EXACT_AT_ONE = {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
                 "asymmetric"}  # fmt: skip


def _resizes_nothing(node: ir.Node) -> bool:
    """By factors of 1, or to the sizes that are there; scales that are rounded away move values."""
    mode = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    if mode not in _EXACT_AT_ONE or not keeps_told_shape(node):
        return False
    scales = numbers(node, 1 if node.op_type == "Upsample" else 2, "scales")
    if scales is not None:
        return all(scale == 1 for scale in scales)
    return len(node.inputs) > 3 and node.inputs[3] is not None and operand(node, 2) is None


def _kind(node: ir.Node, read: Shape, written: Shape) -> str:
    mode = node.attributes.get_string("mode", "nearest")
    return {"nearest": "nearest resize", "linear": "bilinear resize"}.get(mode or "", "other")


def _effort(node: ir.Node) -> Effort:
    nearest = node.attributes.get_string("mode", "nearest") == "nearest"
    return Effort.MOVES if nearest else Effort.COMPUTES


ROWS = (
    Operator(
        "Resize", Role.SPACE_MAP, _resize, Rounding.SMOOTHLY, grows=True,
        unchanged=first_if(_resizes_nothing), space=_resize_space, effort=_effort, kind=_kind,
        settings=(1, 2),
    ),
    Operator(
        "Upsample", Role.SPACE_MAP, _upsample, Rounding.SMOOTHLY, grows=True,
        unchanged=first_if(_resizes_nothing), space=_upsample_space, effort=_effort, kind=_kind,
        settings=(1,),
    ),
)  # fmt: skip
