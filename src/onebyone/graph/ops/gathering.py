"""What picks positions by indices: Gather, GatherElements, GatherND.

Each is a selection of positions, whichever the indices are: y[…, i, …] = x[…, J(i), …]. On which
axes J may hang depends on the operator, and all others are left alone:

    Gather          on one axis, which becomes as many as the indices have
    GatherElements  on every axis; on none along which the indices are proved equal, as those are
                    that were expanded to the channels
    GatherND        on several axes, and on the batch axes before them
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.algebra.laws import refused
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.selection import Beside, Gathered, Select
from onebyone.algebra.space import AxisMap
from onebyone.algebra.weights import Array
from onebyone.graph.axes import Spatial, rank
from onebyone.graph.constants import constant, is_float
from onebyone.graph.edit import Spelling
from onebyone.graph.ops.call import kernel_of
from onebyone.graph.ops.flow import Axes, Flow
from onebyone.graph.ops.row import Manner, Operands, Role, Where, first_if
from onebyone.graph.ops.selection import moving, picking, unknown_flow
from onebyone.graph.ops.selector import Selector, by_indices, selects
from onebyone.graph.ops.sizes import Entries, entries_in, keeps_shape
from onebyone.graph.values import made_by, rank_of, shape_of, size

__all__ = ["ROWS", "indices_before", "picked_axes"]


def picked_axes(node: ir.Node, rank: int) -> Sequence[int]:
    """The axes of its first operand, of a rank, along which a gather picks by its indices.

    None of a scalar, of which no valid gather picks.
    """
    if not rank:
        return ()
    if node.op_type != "GatherND":
        return [node.attributes.get_int("axis", 0) % rank]
    first, axes = node.attributes.get_int("batch_dims", 0), rank_of(node.inputs[1])
    named = None if not axes else size(node.inputs[1], axes - 1)
    return range(first, rank if named is None else first + named)


# --- Gather --------------------------------------------------------------------------------------


def _gather_space(node: ir.Node) -> Spatial | Refusal:
    axis = node.attributes.get_int("axis", 0) % rank(node)
    indices, listed = node.inputs[1], constant(node.inputs[1])
    if listed is not None and listed.ndim < 2:
        picked = Select(tuple(int(i) for i in listed.ravel()))
        return Spatial({axis: picked}, () if listed.ndim else (axis,))
    axes = rank_of(indices)
    if indices is None or axes is None:
        return refused("commute", "rank", value="indices")
    vanished = () if axes else (axis,)
    return Spatial({axis: Gathered()}, vanished, (indices,), (axis,) * (axes - 1))


def _gather_flow(node: ir.Node, axis: int, _axes: Axes) -> Flow | None:
    """Any channels, which can be written for others."""
    return picking(node, axis, _gather_space(node), _spelled)


def _spelled(channels: Array) -> Spelling:
    return {1: channels.tolist()}


def _gather_entries(node: ir.Node, known: dict[ir.Value, Entries]) -> Entries | None:
    entries, indices = entries_in(node.inputs[0], known), constant(node.inputs[1])
    if entries is None or indices is None or indices.ndim > 1:
        return None
    if not all(-len(entries) <= k < len(entries) for k in indices.reshape(-1)):
        return None
    return tuple(entries[int(k)] for k in indices.reshape(-1))


def _gathers_all(node: ir.Node) -> bool:
    indices = constant(node.inputs[1])
    if indices is None or indices.ndim != 1 or not keeps_shape(node):
        return False
    return bool((indices == np.arange(len(indices))).all())


# --- GatherElements ------------------------------------------------------------------------------


def _gather_elements_space(node: ir.Node) -> Spatial | Refusal:
    along = node.attributes.get_int("axis", 0) % rank(node)
    base = indices_before(node)
    if base is None:
        return refused("commute", "rank", value="indices")
    maps: dict[int, AxisMap] = {k: Beside() for k in range(rank(node)) if not _is_left(node, k)}
    if len(maps) == rank(node):
        return refused("commute", "differ", operator=node.op_type)
    return Spatial({**maps, along: Gathered()}, (), (base,))


def _is_left(node: ir.Node, axis: int) -> bool:
    """Whether the indices are equal all along an axis of the operand, and as many."""
    indices, length = node.inputs[1], size(node.inputs[0], axis)
    if length is None or size(indices, axis) != length:
        return False
    listed = constant(indices)
    if listed is not None:
        return bool((listed == listed.take([0], axis)).all())
    return size(indices_before(node), axis) == 1


def indices_before(node: ir.Node) -> ir.Value | None:
    """The indices of a GatherElements before they were expanded along axes of fixed sizes.

    They have one position there, and the sizes of the indices everywhere else.
    """
    indices = found = node.inputs[1]
    shape, value = shape_of(indices), indices
    if shape is None or len(shape) != rank(node):
        return None
    # Neither makes an axis smaller: where the sizes at both ends are the same, none was changed.
    while (repeats := made_by(value, "Expand", "Tile", "Identity")) is not None:
        value = repeats.inputs[0]
        before = shape_of(value)
        if before is None or len(before) != len(shape):
            break
        if all(_is_spread(*ends) for ends in zip(before, shape, strict=True)):
            found = value
    return found


def _is_spread(before: int | ir.SymbolicDim, after: int | ir.SymbolicDim) -> bool:
    if isinstance(after, int):
        return before in (1, after)
    return after.value is not None and before == after


# --- GatherND ------------------------------------------------------------------------------------


def _gather_nd_space(node: ir.Node) -> Spatial | Refusal:
    indices, axes = node.inputs[1], rank_of(node.inputs[1])
    named = None if not axes else size(indices, axes - 1)
    if indices is None or axes is None or not named:
        return refused("commute", "rank", value="indices")
    first = node.attributes.get_int("batch_dims", 0)
    ends = tuple(range(first, first + named))
    maps = {**dict.fromkeys(range(first), Beside()), **dict.fromkeys(ends, Gathered())}
    # In the place of the named axes stand those of the list of names.
    places = axes - 1 - first
    return Spatial(maps, ends[places:], (indices,), ends[-1:] * (places - named))


def _picks(space: Callable[[ir.Node], Spatial | Refusal]) -> dict[str, Any]:
    """The fields of a row of what picks; to need less, it would need less of its indices."""

    def takes(node: ir.Node, shape: ir.Shape) -> Selector | None:
        if not is_float(node.inputs[0]):
            return None
        return by_indices(node, shape, space(node))

    return {"space": space, "takes": takes}


def _by_listed_indices(operands: Operands) -> bool:
    """Whether the indices are constant: others are any of the positions that are there."""
    return constant(operands[1]) is not None


_GATHERS: dict[str, Any] = {
    "role": Role.SELECTION, "relays": True, "names_positions": _by_listed_indices, "gathers": True,
    "manner": Manner.SCATTER,
}  # fmt: skip
_BY_ROWS: dict[str, Any] = {**_GATHERS, "manner_where": (Where.ROWS, Manner.STRETCH)}

ROWS = (
    moving("Gather", value=kernel_of(np.take, axis=0), magnitude="Gather",
           on_sizes="whole", entries=_gather_entries, unchanged=first_if(_gathers_all),
           flow=_gather_flow, **selects(_gather_space), **_BY_ROWS),
    # Its indices have channels, too.
    moving("GatherElements", value=kernel_of(np.take_along_axis, axis=0),
           magnitude="GatherElements", flow=unknown_flow, **_picks(_gather_elements_space),
           **_GATHERS),
    moving("GatherND", magnitude="GatherND", **_picks(_gather_nd_space), **_BY_ROWS),
)  # fmt: skip
