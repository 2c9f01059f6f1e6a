"""Resize and Upsample, in every opset, as axis maps.

Upsample (7, 9) and Resize 10 say only "nearest" or "linear" and leave the coordinates unsaid; they
are the asymmetric ones, and nearest rounds down where the axis grows (as ONNX Runtime does).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx_ir as ir

from onebyone.algebra.refusal import Refusal
from onebyone.algebra.resize import COORDINATES, MODES, ROUNDINGS, Resize, fit
from onebyone.graph.axes import Spatial, computed, entries, operand, rank, refused, size
from onebyone.graph.constants import constant

__all__ = ["resize", "upsample"]

_Axes = Mapping[int, Resize]


def upsample(node: ir.Node) -> Spatial | Refusal:
    """Upsample, and Resize of opset 10: scales in an attribute or in input 1."""
    mode = node.attributes.get_string("mode", "nearest")
    if mode not in ("nearest", "linear"):
        return refused(f"resize mode {mode!r} is not in ONNX")
    plain = Resize(mode, "asymmetric", rounding="simple")
    scales = node.attributes.get_floats("scales") or entries(operand(node, 1))
    maps = _by_scales(plain, list(range(rank(node))), scales)
    return Spatial(maps, (), computed(operand(node, 1)))


def resize(node: ir.Node) -> Spatial | Refusal:
    """Resize of any opset; sizes or scales, constant or computed at run time."""
    if len(node.inputs) == 2 and "coordinate_transformation_mode" not in node.attributes:
        return upsample(node)
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
        return refused(f"resize mode {unknown!r} is not in ONNX")
    exclude = bool(a.get_int("exclude_outside", 0))
    if exclude and mode == "nearest":
        return refused("exclude_outside leaves a nearest resize undefined at the border")
    if coordinates == "tf_crop_and_resize" and a.get_float("extrapolation_value", 0.0) != 0:
        return refused("the resize extrapolates with a value that is not zero")
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
