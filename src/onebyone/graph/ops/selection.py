"""What cuts, repeats and pads positions: the result holds numbers of the operand, and zeros."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast, get_args

import numpy as np
import onnx_ir as ir

from onebyone.algebra.laws import refused
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.selection import Expand, Pad, PadMode, Slice, Tile
from onebyone.algebra.weights import Array
from onebyone.graph.axes import (
    Spatial,
    computed,
    entries,
    integers,
    late,
    numbers,
    pairs,
    rank,
)
from onebyone.graph.constants import constant
from onebyone.graph.edit import Spelling
from onebyone.graph.ops.call import Call
from onebyone.graph.ops.flow import Axes, Flow, Link, spaced
from onebyone.graph.ops.row import (
    Effort,
    Manner,
    Operands,
    Operator,
    Role,
    Rounding,
    Where,
    first_if,
)
from onebyone.graph.ops.selector import picked, selects
from onebyone.graph.ops.sizes import Entries, entries_in, keeps_told_shape
from onebyone.graph.ops.slides import of_pad, of_slice
from onebyone.graph.ops.turned import with_axes, with_pads
from onebyone.graph.values import input_at, size

__all__ = ["ROWS", "cuts", "moving", "picking", "unknown_flow"]

_FAR = 2**31 - 1
"""Exporters write "to the end" as a stop of at least this."""

# --- Slice ---------------------------------------------------------------------------------------


def _slice(
    call: Call,
    x: Array,
    starts: Array | None = None,
    ends: Array | None = None,
    axes: Array | None = None,
    steps: Array | None = None,
) -> Array:
    first = call.ints("starts", starts) or []
    last = call.ints("ends", ends) or []
    along = call.ints("axes", axes) or range(len(first))
    by = call.ints("steps", steps) or [1] * len(first)
    index = [slice(None)] * x.ndim
    for axis, start, end, step in zip(along, first, last, by, strict=True):
        index[axis] = _range(start, end, step, x.shape[axis])
    return x[tuple(index)]


def _range(start: int, end: int, step: int, size: int) -> slice:
    """ONNX counts an end below -size as -1, "before the first"; Python needs None for it.

    And it takes the first position where a negative step starts before that; Python takes none.
    """
    if step > 0:
        return slice(start, end, step)
    return slice(max(start, -size), end if end >= -size else None, step)


def cuts(node: ir.Node) -> dict[int, tuple[int, int, int]] | None:
    """Of a Slice: its axis -> start, end and step; None if they are not all known."""
    starts, ends = integers(node, 1, "starts"), integers(node, 2, "ends")
    if not rank(node) or starts is None or ends is None:
        return None
    lists = [starts, ends, list(range(len(starts))), [1] * len(starts)]
    for at, name in ((3, "axes"), (4, "steps")):
        if name in node.attributes or input_at(node, at) is not None:
            given = integers(node, at, name)
            if given is None or len(given) != len(starts):
                return None
            lists[at - 1] = given
    rows = zip(*lists, strict=True)
    return {axis % rank(node): (start, end, step) for start, end, axis, step in rows}


def _slice_space(node: ir.Node) -> Spatial | Refusal:
    bounds = cuts(node)
    if bounds is None:
        computed_late = late(node, {"starts": 1, "ends": 2, "axes": 3, "steps": 4})
        return computed_late or refused("commute", "lists", operator=node.op_type)
    every = {axis: _bounds(*cut) for axis, cut in bounds.items()}
    return Spatial({axis: cut for axis, cut in every.items() if cut != Slice(0, None, 1)})


def _bounds(start: int, stop: int, step: int) -> Slice:
    # "To the end" is no number: a free axis may be longer than any.
    if (step > 0 and stop >= _FAR) or (step < 0 and stop <= -_FAR):
        return Slice(start, None, step)
    return Slice(start, stop, step)


def _slice_entries(node: ir.Node, known: dict[ir.Value, Entries]) -> Entries | None:
    entries = entries_in(node.inputs[0], known)
    starts, ends = integers(node, 1, "starts"), integers(node, 2, "ends")
    steps = integers(node, 4, "steps")
    if input_at(node, 4) is not None and steps != [1]:
        return None
    if entries is None or starts is None or ends is None or not len(starts) == len(ends) == 1:
        return None
    return entries[starts[0] : ends[0]]


def _takes_all(node: ir.Node) -> bool:
    """A Slice that goes forward and leaves nothing out."""
    steps = integers(node, 4, "steps")
    if steps is None and input_at(node, 4) is not None:
        return False
    return all(step == 1 for step in steps or ()) and keeps_told_shape(node)


def _flow(node: ir.Node, axis: int, _axes: Axes) -> Flow | None:
    """A stretch of channels that can be written for others."""
    flow = picking(node, axis, _slice_space(node), partial(_spelled, node))
    if flow is None or not flow.picks:
        return flow
    (link,), start = flow.links, constant(input_at(node, 1))
    attributes_only = len(node.inputs) < 3  # as before opset 10
    if attributes_only or start is None or start.size != 1 or (np.diff(link.sources) != 1).any():
        return None
    return flow


def _spelled(node: ir.Node, channels: Array) -> Spelling:
    bounds: dict[int | str, list[int]] = {1: [channels[0]], 2: [channels[-1] + 1]}
    if len(node.inputs) > 4:  # one channel may have been picked with any step
        bounds[4] = [1]
    return {**bounds}


def picking(
    node: ir.Node,
    axis: int,
    found: Spatial | Refusal,
    spelled: Callable[[Array], Spelling],
) -> Flow | None:
    """The flow of what picks, by constants: of channels by their numbers, or of positions."""
    if not isinstance(found, Spatial) or found.reads(axis) not in found.maps:
        return spaced(node, axis, found)
    taken, x = picked(node, found), node.inputs[0]
    if taken is None or x is None or not taken[1].size:
        return None
    if any(constant(v) is None for v in node.inputs[1:]):
        return None
    link = Link(x, axis, node.outputs[0], np.arange(len(taken[1])), taken[1])
    return Flow(axis, (link,), moves=True, picks=True, spelled=spelled)


def unknown_flow(_node: ir.Node, _axis: int, _axes: Axes) -> None:
    """Where an operand may hold the number of channels."""


# --- Pad -----------------------------------------------------------------------------------------


def _pad(
    call: Call,
    x: Array,
    given: Array | None = None,
    value: Array | None = None,
    axes: Array | None = None,
) -> Array:
    """A negative pad crops: crop first, then add what is positive."""
    amounts = call.ints("pads", given) or []
    half = len(amounts) // 2
    pads = [(0, 0)] * x.ndim
    along = range(x.ndim) if axes is None else axes
    for axis, before, after in zip(along, amounts[:half], amounts[half:], strict=True):
        pads[int(axis)] = (before, after)
    x = x[tuple(slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(pads, x.shape, strict=True))]
    added = [(max(a, 0), max(b, 0)) for a, b in pads]
    mode = call.get("mode", "constant")
    if mode != "constant":
        return np.asarray(np.pad(x, added, mode=mode))
    fill = np.asarray(call.get("value", 0.0) if value is None else value)
    return np.pad(x, added, constant_values=fill.astype(x.dtype).item())


def _pad_space(node: ir.Node) -> Spatial | Refusal:
    mode = node.attributes.get_string("mode", "constant")
    if mode not in get_args(PadMode):
        return refused("commute", "mode", kind="pad", mode=mode, standard="ONNX")
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
        return refused("commute", "cropped")
    value = numbers(node, 2, "value") or [0]
    if any(value) and not all(p.is_selection for p in pads.values()):
        return refused("commute", "filled")
    return Spatial(pads)


def _pads_nothing(node: ir.Node) -> bool:
    pads = integers(node, 1, "pads")
    return pads is not None and not any(pads)


# --- Expand and Tile -----------------------------------------------------------------------------


def _expand(call: Call, x: Array, shape: Array) -> Array:
    # Both ways: an axis of the tensor may be longer than what is asked for.
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(int(n) for n in shape)))


def _tile(call: Call, x: Array, repeats: Array) -> Array:
    if len(repeats) != x.ndim:  # NumPy would add axes
        raise ValueError(f"{len(repeats)} repeats for {x.ndim} axes")
    return np.tile(x, [int(n) for n in repeats])


def _expand_space(node: ir.Node) -> Spatial | Refusal:
    shape = node.inputs[1]
    asked = entries(shape)
    if asked is None:
        return refused("commute", "rank", value="result")
    if len(asked) > rank(node):
        return refused("commute", "axes")
    every = enumerate(asked, start=rank(node) - len(asked))
    maps = {k: Expand(_whole(n)) for k, n in every if n != 1 and size(node.inputs[0], k) in _ONE}
    return Spatial(maps, (), computed(shape))


_ONE = (1, None)
"""The sizes of an axis that Expand may change: one, or not known."""


def _tile_space(node: ir.Node) -> Spatial | Refusal:
    repeats = entries(node.inputs[1]) or [None] * rank(node)
    maps = {}
    for axis, n in enumerate(repeats):
        before, after = size(node.inputs[0], axis), size(node.outputs[0], axis)
        # An axis of a fixed size that stays is not repeated, whatever the model computes.
        if n != 1 and (before is None or before != after):
            maps[axis] = Tile(_whole(n))
    return Spatial(maps, (), computed(node.inputs[1]))


def _by_late_repeats(operands: Operands) -> bool:
    """Whether a Tile repeats as often as the model computes."""
    return constant(operands[1]) is None


def _whole(n: float | None) -> int | None:
    if n is None:
        return None
    return int(n)


# --- Scatter -------------------------------------------------------------------------------------

_REDUCTIONS: dict[str, np.ufunc] = {
    "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum,
}  # fmt: skip


def _scatter_nd(call: Call, x: Array, indices: Array, updates: Array) -> Array | None:
    """All updates at once; where indices meet, in their order, as the reference has it."""
    axes = indices.shape[-1]
    if not axes or updates.shape != (*indices.shape[:-1], *x.shape[axes:]):
        return None
    result = x.copy()
    # One list of indices, in order in memory: NumPy goes through it from its first to its last.
    places = tuple(np.ascontiguousarray(indices.reshape(-1, axes).T))
    rows = updates.reshape(places[0].size, *x.shape[axes:])
    reduction = _REDUCTIONS.get(call.get("reduction", "none"))
    if reduction is None:
        result[places] = rows
    else:
        reduction.at(result, places, rows)
    return result


def _scatter_effort(node: ir.Node) -> Effort:
    if node.attributes.get_string("reduction", "none") == "none":
        return Effort.MOVES
    return Effort.COMPUTES


# --- Rows ----------------------------------------------------------------------------------------


def moving(name: str, **special: Any) -> Operator:
    """An operator whose result holds numbers of its operands, rounded nowhere."""
    row: dict[str, Any] = {"rounding": Rounding.NEVER, "effort": Effort.MOVES, **special}
    return Operator(name, **row)


# Which of its operand's numbers it gives, operands say.
_PICKS: dict[str, Any] = {"names_positions": True, "relays": True}

ROWS = (
    moving("Slice", role=Role.SELECTION, value=_slice, magnitude="Slice", on_sizes="whole",
           entries=_slice_entries, unchanged=first_if(_takes_all), flow=_flow,
           turned=with_axes(3, default=False),
           slides=lambda node: of_slice(cuts(node), rank(node), _FAR), **selects(_slice_space),
           **_PICKS,
           manner=Manner.SCATTER, manner_where=(Where.WHOLE_CHANNELS, Manner.STRETCH)),
    moving("Pad", role=Role.SPACE_MAP, value=_pad, magnitude="Pad", grows=True,
           unchanged=first_if(_pads_nothing), turned=with_pads, slides=of_pad,
           **selects(_pad_space), settings=(2,)),
    moving("Expand", role=Role.SPACE_MAP, value=_expand, magnitude="Expand", grows=True,
           unchanged=first_if(keeps_told_shape), space=_expand_space, flow=unknown_flow, target=1,
           hands_on=True, **_PICKS),
    moving("Tile", role=Role.SPACE_MAP, value=_tile, magnitude="Tile", grows=True,
           unchanged=first_if(keeps_told_shape), space=_tile_space, relays=True, hands_on=True,
           names_positions=_by_late_repeats),
    moving("ScatterElements", effort=_scatter_effort, names_positions=True),
    moving("ScatterND", value=_scatter_nd, effort=_scatter_effort, names_positions=True),
    Operator("TopK", names_positions=True),
    *(moving(name) for name in ("Compress", "ReverseSequence", "Trilu")),
    *(moving(name, rounding=None) for name in ("CenterCropPad", "TensorScatter")),
    # Of older opsets than are read here, but counted.
    moving("Scatter", rounding=None),
    Operator("NonZero", rounding=Rounding.STEPS),
    Operator("NonMaxSuppression", settings=(2, 3, 4)),
)  # fmt: skip
