"""Values between positions: Resize and Upsample, in every opset, as axis maps; GridSample.

Upsample (7, 9) and Resize 10 say only "nearest" or "linear" and leave the coordinates unsaid; they
are the asymmetric ones, and nearest rounds down where the axis grows (as ONNX Runtime does).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Literal

import numpy as np
import onnx_ir as ir

from onebyone.algebra.laws import refused
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.resize import COORDINATES, MODES, ROUNDINGS, Resize, fit
from onebyone.algebra.space import AxisMap
from onebyone.algebra.upsampled import resized
from onebyone.algebra.weights import Array
from onebyone.counting.formulas import Shape
from onebyone.graph.axes import Spatial, computed, entries, numbers, operand, rank
from onebyone.graph.constants import constant
from onebyone.graph.edit import Spelling
from onebyone.graph.ops.call import Call, call_of
from onebyone.graph.ops.flow import Axes, Flow, spaced
from onebyone.graph.ops.needs import Needs
from onebyone.graph.ops.pooling import mapped
from onebyone.graph.ops.row import Effort, Manner, Operator, Role, Rounding, Where, first_if
from onebyone.graph.ops.sizes import keeps_told_shape
from onebyone.graph.ops.slides import Slides
from onebyone.graph.picks import Asked, Picks, Size, picked
from onebyone.graph.values import input_at, size

__all__ = ["ROWS"]

# --- Its value -----------------------------------------------------------------------------------


def _upsample(call: Call, x: Array, scales: Array | None = None) -> Array:
    factors = call.get("scales", scales)
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
    if sizes is not None and sizes.size:
        factors, lengths = _to_sizes(call, x, axes, sizes)
    else:
        if scales is None:
            scales = np.zeros(0)
        given = np.asarray(scales, np.float32).tolist()
        factors, lengths = dict(zip(axes, given, strict=True)), {}
    shared, boxes = _shared(call), dict[int, tuple[float, float]]()
    if roi is not None and roi.size:
        # All starts, then all ends.
        spans = ((float(start), float(end)) for start, end in np.reshape(roi, (2, -1)).T)
        boxes = dict(zip(axes, spans, strict=True))
    maps = {
        axis: replace(shared, scale=factors[axis], size=lengths.get(axis), roi=boxes.get(axis))
        for axis in axes
    }
    return mapped({k: m for k, m in maps.items() if not _is_identity(m, x.shape[k])}, x)


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


def _shared(call: Call) -> Resize:
    """What the attributes say of every axis."""
    return Resize(
        call.get("mode", "nearest"),
        call.get("coordinate_transformation_mode", "half_pixel"),
        None,
        None,
        call.get("nearest_mode", "round_prefer_floor"),
        call.get("cubic_coeff_a", -0.75),
        bool(call.get("exclude_outside", 0)),
        bool(call.get("antialias", 0)),
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
        return refused("commute", "mode", kind="resize", mode=mode, standard="ONNX")
    plain = Resize(mode, "asymmetric", rounding="simple")
    # Opset 7 has the scales as an attribute; from opset 9 on they are an operand.
    scales = node.attributes.get_floats("scales") or entries(operand(node, 1))
    maps = _by_scales(plain, list(range(rank(node))), scales)
    return Spatial(maps, (), computed(operand(node, 1)))


def _resize_space(node: ir.Node) -> Spatial | Refusal:
    """Resize of any opset; sizes or scales, constant or computed at run time."""
    plain = len(node.inputs) == 2 and "coordinate_transformation_mode" not in node.attributes
    if plain or node.op_type == "Upsample":
        return _upsample_space(node)
    shared = _attributes(node)
    if isinstance(shared, Refusal):
        return shared
    n = rank(node)
    axes = [int(axis) % n for axis in node.attributes.get_ints("axes", range(n))]
    if operand(node, 3) is None:
        maps = _by_scales(shared, axes, entries(operand(node, 2)))
    else:
        maps = _by_sizes(shared, axes, node)
    return Spatial(_cropped(shared, maps, axes, node), (), computed(*node.inputs[1:]))


def _attributes(node: ir.Node) -> Resize | Refusal:
    """The attributes that all axes share, or why they are not a linear map."""
    call = call_of(node, version=11)
    unknown = [call.get(name) for name, known in _NAMES.items() if call.get(name) not in known]
    if unknown:
        return refused("commute", "mode", kind="resize", mode=unknown[0], standard="ONNX")
    plain, beyond = _shared(call), call.get("extrapolation_value", 0.0)
    if plain.exclude_outside and plain.mode == "nearest":
        return refused("commute", "excluded")
    if plain.coordinates == "tf_crop_and_resize" and beyond != 0:
        return refused("commute", "extrapolated")
    return plain


# Attribute -> what it may be; None where it is left out.
_NAMES = {
    "mode": (None, "nearest", *MODES),
    "coordinate_transformation_mode": (None, *COORDINATES),
    "nearest_mode": (None, *ROUNDINGS),
}


def _by_scales(plain: Resize, axes: list[int], scales: Sequence[float | None] | None) -> _Axes:
    if scales is None or len(scales) != len(axes):
        scales = [None] * len(axes)
    return {
        axis: replace(plain, scale=scale, unknown_scale=scale is None)
        for axis, scale in zip(axes, scales, strict=True)
        if scale != 1
    }


def _by_sizes(plain: Resize, axes: list[int], node: ir.Node) -> _Axes:
    """An axis whose size stays the same number is not resized."""
    if node.attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch":
        return _kept_ratio(plain, axes, node)
    asked = entries(operand(node, 3)) or [None] * len(axes)
    maps = {}
    for axis, entry in zip(axes, asked, strict=False):
        before, after = size(node.inputs[0], axis), size(node.outputs[0], axis)
        if entry is not None:
            after = int(entry)
        if before is None or before != after:
            maps[axis] = replace(plain, size=after)
    return maps


def _kept_ratio(plain: Resize, axes: list[int], node: ir.Node) -> _Axes:
    """One scale for all axes: known where the input's sizes are."""
    asked = constant(operand(node, 3))
    lengths = [n for axis in axes if (n := size(node.inputs[0], axis))]
    if asked is None or not len(lengths) == len(axes) == asked.size:
        return dict.fromkeys(axes, replace(plain, unknown_scale=True))
    larger = node.attributes.get_string("keep_aspect_ratio_policy") == "not_smaller"
    policy: Literal["not_smaller", "not_larger"] = "not_smaller" if larger else "not_larger"
    scale, sizes = fit(lengths, [int(n) for n in asked.ravel()], policy)
    if scale == 1:
        return {}
    return {axis: replace(plain, scale=scale, size=n) for axis, n in zip(axes, sizes, strict=True)}


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


def _slides(node: ir.Node) -> Slides:
    found = _resize_space(node)
    if isinstance(found, Refusal):
        return dict.fromkeys(range(rank(node)), "it is no map of positions that repeats")
    return {axis: resized(how) for axis, how in found.maps.items() if isinstance(how, Resize)}


def _flow(node: ir.Node, axis: int, _axes: Axes) -> Flow | None:
    """By scales: sizes tell the number of channels too."""
    if input_at(node, 3) is not None:
        return None
    return spaced(node, axis, _resize_space(node))


# --- For some positions --------------------------------------------------------------------------
#
# S R x = R (C x)         R: nearest, by a whole factor f; S takes whole blocks of f positions,
#                         C the positions that those are copies of

MAX_CHECKED = 1 << 22
"""Positions before times positions after, up to which a crop is compared row by row."""


def _needs(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    """Positions of axes that it leaves alone, or of which a smaller one computes the same."""
    x, out, found = node.inputs[0], node.outputs[0], _resize_space(node)
    if not isinstance(found, Spatial) or found.runtime or x is None or x.shape is None:
        return None
    if out.shape is None or not _is_respelled(node, picks):
        return None
    how, taken = found.maps.get(axis), None
    if how is None and x.shape[axis] == out.shape[axis]:
        taken = picks
    elif isinstance(how, Resize):
        taken = _blocks(how, x.shape[axis], picks)
    if taken is None:
        return None
    return {0: (axis, taken)}


def _is_respelled(node: ir.Node, picks: Picks) -> bool:
    """Whether other sizes can be written down, and mean nothing for the other axes."""
    a = node.attributes
    if a.get_string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        return False
    if a.get_string("keep_aspect_ratio_policy", "stretch") != "stretch":
        return False
    return operand(node, 3) is None or isinstance(picks.size, int)


def _blocks(how: Resize, before: Size, picks: Picks) -> Picks | None:
    taken, whole = picks.taken, picks.whole
    if not (isinstance(taken, range) and isinstance(before, int) and isinstance(whole, int)):
        return None
    factor = whole // before
    if whole != factor * before or whole * before > MAX_CHECKED or how.mode != "nearest":
        return None
    # Part of a block would need half of a position.
    if taken.step != 1 or taken.start % factor or taken.stop % factor:
        return None
    first, end = taken.start // factor, taken.stop // factor
    smaller = replace(how, size=how.size and len(taken))
    # By scales, rounding may give another number of positions.
    if smaller.out_size(end - first) != len(taken):
        return None
    # Formulas of nearest are many, and round in their own ways: so compare what they pick.
    rows = how.rows(before, whole)[taken.start : taken.stop]
    if not np.array_equal(rows[:, first:end], smaller.rows(end - first, len(taken))):
        return None
    return picked(range(first, end), before)


def _spelled(node: ir.Node, results: Asked, _operands: object) -> Spelling:
    """The sizes that it names, with fewer along some axes; nothing where it names scales."""
    named = constant(operand(node, 3))
    if named is None:
        return {}
    axes = node.attributes.get_ints("axes", range(rank(node)))
    told = {axis: picks.size for axis, picks in results.items() if isinstance(picks.size, int)}
    listed = zip(axes, named.ravel(), strict=True)
    return {3: [told.get(axis % rank(node), int(size)) for axis, size in listed]}


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
    # By sizes, which the shapes told.
    return input_at(node, 3) is not None and operand(node, 2) is None


def _kind(node: ir.Node, read: Shape, written: Shape) -> str:
    mode = node.attributes.get_string("mode", "nearest")
    return {"nearest": "nearest resize", "linear": "bilinear resize"}.get(mode or "", "other")


def _effort(node: ir.Node) -> Effort:
    if node.attributes.get_string("mode", "nearest") == "nearest":
        return Effort.MOVES
    return Effort.COMPUTES


# --- GridSample ----------------------------------------------------------------------------------

_GRID_MODES = {"bilinear": "linear", "linear": "linear", "nearest": "nearest"}
"""The names until opset 19 and from opset 20 on. Cubic and reflection are left to the reference."""


def _grid_sample(call: Call, x: Array, grid: Array) -> Array | None:
    """x (N, C, sizes…) at the places of grid (N, places…, d), whose last axis is innermost first.

    A place is a weighted mean of its 2^d neighbours. One outside counts as zero, or with "border"
    as the nearest inside.
    """
    mode, padding = _GRID_MODES.get(call.get("mode", "linear")), call.get("padding_mode", "zeros")
    if mode is None or padding not in ("zeros", "border"):
        return None
    sizes = np.array(x.shape[2:])
    # -1 and 1 are the centres of the first and last positions, or their outer edges.
    edge = 0 if call.get("align_corners", 0) else 0.5
    at = (grid[..., ::-1] + 1) / 2 * (sizes - 1 + 2 * edge) - edge
    if mode == "nearest":
        at = np.rint(at)
    if padding == "border":
        at = np.clip(at, 0, sizes - 1)
    low = np.floor(at)
    images = np.arange(len(x)).reshape(-1, *[1] * (grid.ndim - 2))
    result = np.zeros((*grid.shape[:-1], x.shape[1]), x.dtype)
    for corner in product((0, 1), repeat=len(sizes)):
        place = low + corner
        inside = ((place >= 0) & (place < sizes)).all(axis=-1)
        weight = np.where(corner, at - low, 1 - (at - low)).prod(axis=-1) * inside
        index = np.nan_to_num(np.clip(place, 0, sizes - 1)).astype(np.int64)
        # The slice for the channels stands between the indices, so NumPy puts channels last.
        result += weight[..., None] * x[(images, slice(None), *np.moveaxis(index, -1, 0))]
    return np.moveaxis(result, -1, 1)


ROWS = (
    Operator("Resize", Role.SPACE_MAP, _resize, Rounding.SMOOTHLY, grows=True,
             unchanged=first_if(_resizes_nothing), space=_resize_space, slides=_slides, flow=_flow,
             needs=_needs,
             spelled=_spelled, effort=_effort, kind=_kind, settings=(1, 2), target=3, weighs=True,
             rescales=True, manner_where=(Where.INTERPOLATING, Manner.INTERPOLATION)),
    Operator("Upsample", Role.SPACE_MAP, _upsample, Rounding.SMOOTHLY, grows=True,
             unchanged=first_if(_resizes_nothing), space=_resize_space, slides=_slides, flow=_flow,
             needs=_needs,
             effort=_effort, kind=_kind, settings=(1,), rescales=True,
             manner_where=(Where.INTERPOLATING, Manner.INTERPOLATION)),
    Operator("GridSample", value=_grid_sample),
    Operator("AffineGrid", effort=Effort.PRODUCTS),
)  # fmt: skip
