"""What gives the same numbers in another shape or order, and what hands its operand on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.axes import entries, integers, permutation
from onebyone.graph.constants import constant
from onebyone.graph.edit import Spelling
from onebyone.graph.ops.call import Call, Kernel
from onebyone.graph.ops.flow import Axes, Flow, Link, channels_of, straight_flow
from onebyone.graph.ops.merged import Rows, axis_of_rows, rows
from onebyone.graph.ops.needs import Needs, of_first
from onebyone.graph.ops.row import Effort, Manner, Operator, Role, Rounding, Where, first_if
from onebyone.graph.ops.sizes import Entries, entries_in, keeps_told_shape
from onebyone.graph.ops.slides import of_blocks, of_gathered_blocks
from onebyone.graph.picks import Asked, Picks, Size, sizes_left
from onebyone.graph.values import input_at, rank_of, shape_of
from onebyone.graph.views import headed, merged, view_axis

__all__ = ["ROWS", "moves_no_number", "same_entries"]


def _reshape(call: Call, x: Array, shape: Array) -> Array:
    sizes = [int(n) for n in shape]
    if not call.get("allowzero", 0):
        sizes = [x.shape[axis] if n == 0 else n for axis, n in enumerate(sizes)]
    return x.reshape(sizes)


def _flatten(call: Call, x: Array) -> Array:
    axis = call.get("axis", 1)
    if axis < 0:
        axis += x.ndim
    return x.reshape(int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:])))


def _squeeze(call: Call, x: Array, given: Array | None = None) -> Array:
    axes = call.ints("axes", given)
    if axes is None:
        return np.squeeze(x)
    return np.squeeze(x, tuple(axes))


def _unsqueeze(call: Call, x: Array, given: Array | None = None) -> Array:
    return np.expand_dims(x, tuple(call.ints("axes", given) or ()))


def _dropout(call: Call, x: Array, *rest: Array | None) -> Array | tuple[Array, Array] | None:
    # The ratio, and whether to drop at all: what is dropped in training is drawn at random.
    if len(rest) > 1 and rest[1] is not None and bool(rest[1]):
        return None
    if call.outputs > 1 and call.version < 10:
        # Of this mask the standard says nothing; engines fill it with zeros, and few read it.
        return x, np.zeros(x.shape, x.dtype)
    if call.outputs == 1:
        return x
    return (x, np.ones(x.shape, bool))


def _blocks(x: Array, sizes: Sequence[int], order: Sequence[int], shape: Sequence[int]) -> Array:
    return x.reshape(*sizes).transpose(order).reshape(shape)


def _depth_to_space(call: Call, x: Array) -> Array:
    b = call.get("blocksize")
    n, c, h, w = x.shape
    shape = (n, c // b**2, h * b, w * b)
    if call.get("mode", "DCR") == "DCR":
        return _blocks(x, (n, b, b, c // b**2, h, w), (0, 3, 4, 1, 5, 2), shape)
    return _blocks(x, (n, c // b**2, b, b, h, w), (0, 1, 4, 2, 5, 3), shape)


def _space_to_depth(call: Call, x: Array) -> Array | None:
    if call.get("mode", "DCR") != "DCR":
        return None
    b = call.get("blocksize")
    n, c, h, w = x.shape
    shape = (n, c * b**2, h // b, w // b)
    return _blocks(x, (n, c, h // b, b, w // b, b), (0, 3, 5, 1, 2, 4), shape)


def same_entries(node: ir.Node, known: dict[ir.Value, Entries]) -> Entries | None:
    """The operand's, where the result is a vector or a scalar too."""
    if rank_of(node.outputs[0]) not in (0, 1):
        return None
    return entries_in(node.inputs[0], known)


def _drops(node: ir.Node, _version: int) -> range:
    """What draws at random draws for every position."""
    return range(0 if _is_inference(node) else rank_of(node.outputs[0]) or 0)


def _is_inference(node: ir.Node) -> bool:
    training = input_at(node, 2)
    if training is None:
        return True
    array = constant(training)
    return array is not None and not array.any()


def _stays_in_order(node: ir.Node) -> bool:
    """A Transpose that moves nothing but axes of size 1, and none of those in effect."""
    shape, order = shape_of(node.inputs[0]), permutation(node)
    if shape is None or order is None:
        return False
    same = tuple(shape[axis] for axis in order) == shape
    return moves_no_number(node) and (same or list(order) == sorted(order))


def moves_no_number(node: ir.Node) -> bool:
    """Whether a Transpose only moves axes of size 1."""
    shape, order = shape_of(node.inputs[0]), permutation(node)
    if shape is None or order is None:
        return False
    long = [axis for axis in order if shape[axis] != 1]
    return long == sorted(long)


# --- Channels ------------------------------------------------------------------------------------
#
# Flattened, a channel is P·Q of the result's, which lie in P stretches of Q: o = (p·C + c)·Q + q.
# Cut into H heads of D, a channel is one of D of its head: o = c // D.


def _flow(node: ir.Node, axis: int, axes: Axes) -> Flow | None:
    x, before = node.inputs[0], view_axis(node, axis)
    if x is None or not _is_sized_freely(node, axis, before):
        return None
    spelled = partial(_spelled_channels, node, axis)
    if before is not None:
        return straight_flow(node, before, axis, spelled=spelled)
    # Where it merges them with others, or cuts them apart, the result does not tell from where.
    own = axes.get(x)
    if own is None:
        return None
    found = merged(node, axis, own) or headed(node, axis, own)
    return found and Flow(axis, (Link(x, own, node.outputs[0], *found),), spelled=spelled)


def _identity_flow(node: ir.Node, axis: int, _axes: Axes) -> Flow | None:
    return straight_flow(node, axis, axis)


def _is_sized_freely(node: ir.Node, axis: int, before: int | None) -> bool:
    """Whether the number of channels, on `axis`, can change: it is written in a constant, or what
    is left, or copied from the same axis `before`."""
    if node.op_type == "Squeeze" and integers(node, 1, "axes") is None:
        return False  # it would take an axis of one channel, too
    if node.op_type != "Reshape" or constant(node.inputs[1]) is not None:
        return True
    asked = entries(node.inputs[1])
    return asked is not None and (asked[axis] == -1 or (asked[axis] == 0 and before == axis))


def _spelled_channels(node: ir.Node, axis: int, channels: Array) -> Spelling:
    """Of a Reshape the number in a constant shape."""
    # A zero copies a size of the operand, which may be that of another axis.
    shape = constant(input_at(node, 1))
    if node.op_type != "Reshape" or shape is None or shape[axis] < 0:
        return {}
    return {1: [*shape[:axis], len(channels), *shape[axis + 1 :]]}


def _depth_to_space_flow(node: ir.Node, axis: int, _axes: Axes) -> Flow | None:
    """r² channels are one of the result."""
    x, out, r = node.inputs[0], node.outputs[0], node.attributes.get_int("blocksize", 1)
    channels = channels_of(x, 1)
    if x is None or axis != 1 or channels is None:
        return None
    every, outs = np.arange(channels), np.arange(channels) % (channels // (r * r))
    if node.attributes.get_string("mode", "DCR") == "CRD":  # the channels of a position are apart
        outs = every // (r * r)
    return Flow(1, (Link(x, 1, out, outs, every),))


# --- For some positions --------------------------------------------------------------------------


def _needs(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    """The axis that stands whole in the result."""
    own = view_axis(node, axis)
    if own is None:
        return None
    return of_first(node, own, axis, picks)


def _reshape_needs(node: ir.Node, axis: int, picks: Picks, version: int) -> Needs | None:
    """Also rows of several axes that are told apart, or axes that are merged into rows."""
    needs = _needs(node, axis, picks, version)
    if view_axis(node, axis) is None:
        needs = _regrouped(node, axis, picks)
    # Its target must be told for the sizes that are left.
    if needs is None or _target(node, {axis: picks}, dict(needs.values())) is None:
        return None
    return needs


def _regrouped(node: ir.Node, axis: int, picks: Picks) -> Needs | None:
    if not isinstance(picks, Rows):
        found = rows(node, axis, picks)
        if found is None:
            return None
        return {0: (0, found)}
    own = axis_of_rows(node, picks)
    if axis != 0 or own is None:
        return None
    return {0: (own, picks.inner)}


def _target(node: ir.Node, after: Asked, before: Asked) -> tuple[int, ...] | None:
    """The target of a Reshape of some positions; None where no constant says it for all sizes.

    Args:
        node: the Reshape, with the shapes of all positions.
        after, before: axis -> what is taken there of its result, and of its operand.
    """
    x, out = node.inputs[0], node.outputs[0]
    assert x is not None
    assert x.shape is not None
    assert out.shape is not None
    sizes, left = [*x.shape], sizes_left(out.shape, after)

    def entry(axis: int, whole: Size) -> int:
        size = left[axis]
        if isinstance(size, int):
            return size
        stays = sizes[axis : axis + 1] == [whole] and after.get(axis) == before.get(axis)
        return stays - 1  # a 0 copies the operand's size, one -1 is what is left

    target = tuple(entry(axis, whole) for axis, whole in enumerate(out.shape))
    known = [size for size in (*sizes, *out.shape) if isinstance(size, int)]
    if target.count(-1) > 1 or 0 in known:
        return None
    return target


def _spelled(node: ir.Node, results: Asked, operands: Mapping[int, Asked]) -> Spelling:
    # A 0 of the new target copies a size.
    return {1: _target(node, results, operands[0]), "allowzero": None}


# --- Rows ----------------------------------------------------------------------------------------


def _view(name: str, value: Kernel, **special: Any) -> Operator:
    """A view that an engine runs without touching the data."""
    row: dict[str, Any] = {"flow": _flow, "needs": _needs, "effort": Effort.FREE, **special}
    return Operator(
        name, Role.VIEW, value, Rounding.NEVER, magnitude=name,
        unchanged=first_if(keeps_told_shape), relays=True, hands_on=True, **row,
    )  # fmt: skip


def _blocked(name: str, value: Kernel, **special: Any) -> Operator:
    one = first_if(lambda node: node.attributes.get_int("blocksize", 0) == 1)
    return Operator(
        name, value=value, rounding=Rounding.NEVER, magnitude=name, unchanged=one,
        effort=Effort.MOVES, manner=Manner.BLOCKS, rescales=True, relays=True, **special,
    )  # fmt: skip


ROWS = (
    _view("Reshape", _reshape, on_sizes="whole", entries=same_entries, needs=_reshape_needs,
          spelled=_spelled, target=1),
    _view("Squeeze", _squeeze, on_sizes="whole", entries=same_entries),
    _view("Unsqueeze", _unsqueeze, on_sizes="whole", entries=same_entries),
    _view("Flatten", _flatten),
    Operator("Transpose", Role.VIEW, lambda call, x: np.transpose(x, call.get("perm")),
             Rounding.NEVER, magnitude="Transpose", on_sizes="whole",
             unchanged=first_if(_stays_in_order), flow=_flow, needs=_needs, effort=Effort.MOVES,
             manner=Manner.SCATTER, manner_where=(Where.ROWS, Manner.STRETCH), relays=True,
             hands_on=True),
    Operator("Identity", Role.IDENTITY, lambda call, x: x, Rounding.NEVER, magnitude="Identity",
             entries=same_entries, unchanged=lambda node: 0, flow=_identity_flow,
             elementwise=True, effort=Effort.FREE, relays=True, hands_on=True),
    Operator("Dropout", Role.IDENTITY, _dropout, Rounding.NEVER, magnitude="Identity",
             unchanged=first_if(_is_inference), flow=_identity_flow, mixes=_drops,
             effort=Effort.FREE, settings=(1,)),
    _blocked("DepthToSpace", _depth_to_space, channel_axis=1, flow=_depth_to_space_flow,
             slides=of_blocks),
    _blocked("SpaceToDepth", _space_to_depth, slides=of_gathered_blocks),
)  # fmt: skip
