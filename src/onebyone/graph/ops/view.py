"""What gives the same numbers in another shape or order, and what hands its operand on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.axes import permutation
from onebyone.graph.constants import constant
from onebyone.graph.ops.call import Call, Kernel
from onebyone.graph.ops.row import Effort, Operator, Role, Rounding, first_if
from onebyone.graph.ops.sizes import Entries, entries_in, keeps_told_shape
from onebyone.graph.values import input_at, rank_of, shape_of

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
    return np.squeeze(x) if axes is None else np.squeeze(x, tuple(axes))


def _unsqueeze(call: Call, x: Array, given: Array | None = None) -> Array:
    return np.expand_dims(x, tuple(call.ints("axes", given) or ()))


def _dropout(call: Call, x: Array, *rest: Array | None) -> Array | tuple[Array, Array] | None:
    # The ratio, and whether to drop at all: what is dropped in training is drawn at random.
    if len(rest) > 1 and rest[1] is not None and bool(rest[1]):
        return None
    if call.outputs > 1 and call.version < 10:
        # Of this mask the standard says nothing; engines fill it with zeros, and few read it.
        return x, np.zeros(x.shape, x.dtype)
    return x if call.outputs == 1 else (x, np.ones(x.shape, bool))


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


def _view(name: str, value: Kernel, **special: Any) -> Operator:
    """A view that an engine runs without touching the data."""
    return Operator(
        name, Role.VIEW, value, Rounding.NEVER, magnitude=name,
        unchanged=first_if(keeps_told_shape), effort=Effort.FREE, relays=True, **special,
    )  # fmt: skip


def _blocked(name: str, value: Kernel, **special: Any) -> Operator:
    one = first_if(lambda node: node.attributes.get_int("blocksize", 0) == 1)
    return Operator(
        name, value=value, rounding=Rounding.NEVER, magnitude=name, unchanged=one,
        effort=Effort.MOVES, rescales=True, relays=True, **special,
    )  # fmt: skip


ROWS = (
    _view("Reshape", _reshape, on_sizes="whole", entries=same_entries, target=1),
    _view("Squeeze", _squeeze, on_sizes="whole", entries=same_entries),
    _view("Unsqueeze", _unsqueeze, on_sizes="whole", entries=same_entries),
    _view("Flatten", _flatten),
    Operator("Transpose", Role.VIEW, lambda call, x: np.transpose(x, call.get("perm")),
             Rounding.NEVER, magnitude="Transpose", on_sizes="whole",
             unchanged=first_if(_stays_in_order), effort=Effort.MOVES, relays=True),
    Operator("Identity", Role.IDENTITY, lambda call, x: x, Rounding.NEVER, magnitude="Identity",
             entries=same_entries, unchanged=lambda node: 0, effort=Effort.FREE, relays=True),
    Operator("Dropout", Role.IDENTITY, _dropout, Rounding.NEVER, magnitude="Identity",
             unchanged=first_if(_is_inference), effort=Effort.FREE, settings=(1,)),
    _blocked("DepthToSpace", _depth_to_space, channel_axis=1),
    _blocked("SpaceToDepth", _space_to_depth),
)  # fmt: skip
