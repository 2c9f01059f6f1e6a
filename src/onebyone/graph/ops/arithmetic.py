"""Functions of two numbers or more at the same position: sums, products, comparisons, logic."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.weights import Array
from onebyone.graph.constants import constant, is_float, per_channel
from onebyone.graph.ops.call import Call, Kernel, is_floating, kernel_of
from onebyone.graph.ops.channel_node import ChannelNode
from onebyone.graph.ops.row import Effort, Operator, Role, Rounding, first_if
from onebyone.graph.ops.sizes import keeps_shape
from onebyone.graph.values import rank_of, size

__all__ = ["ROWS", "has_one"]


def _divide(a: Array, b: Array) -> Array:
    if is_floating(a.dtype):
        return np.divide(a, b)
    # ONNX's integers round towards zero, NumPy's // towards minus infinity.
    quotient = np.abs(a) // np.abs(b) * np.sign(a) * np.sign(b)
    return quotient.astype(a.dtype)


def _power(a: Array, b: Array) -> Array:
    if b.size == 1 and b == 2:
        return np.square(a)  # several times as fast, and the same numbers
    return np.power(a, b).astype(a.dtype)


def _mod(call: Call, a: Array, b: Array) -> Array:
    # With `fmod` the sign is the dividend's, as in C; without it the divisor's.
    return np.fmod(a, b) if call.get("fmod", 0) else np.mod(a, b)


def _mean(call: Call, *x: Array) -> Array:
    return np.asarray(reduce(np.add, x) / len(x))


def _many(function: Callable[[Any, Any], Any]) -> Kernel:
    return lambda call, *inputs: reduce(function, inputs)


def _arithmetic_channels(node: ir.Node, axis: int) -> ChannelNode | Refusal | None:
    """Add, Sub, Mul or Div with one constant operand that is per-channel on `axis`."""
    for at, x in enumerate(node.inputs):
        array = constant(node.inputs[1 - at])
        if x is not None and array is not None and constant(x) is None:
            return _of_constant(node, axis, x, array, constant_first=at == 1)
    return None


def _of_constant(
    node: ir.Node, axis: int, x: ir.Value, array: Array, *, constant_first: bool
) -> ChannelNode | None:
    rank, channels = rank_of(x), size(x, axis)
    # A constant that widens the tensor, or its channels, is no map of what is there.
    if rank is None or rank != rank_of(node.outputs[0]) or not is_float(x):
        return None
    if channels is None or channels != size(node.outputs[0], axis):
        return None
    vector = per_channel(array, rank, axis, channels)
    if vector is None:
        return None
    f = _arithmetic_map(node.op_type, vector.astype(np.float64), constant_first=constant_first)
    return None if f is None else ChannelNode(x, f)


def _arithmetic_map(op: str, c: Array, *, constant_first: bool) -> ChannelMap | None:
    one = np.ones(len(c))
    if op == "Add":
        return ChannelMap.diagonal(one, c)
    if op == "Mul":
        return ChannelMap.diagonal(c)
    if op == "Sub" and constant_first:
        return ChannelMap.diagonal(-one, c)
    if op == "Sub":
        return ChannelMap.diagonal(one, -c)
    # c / x is not linear, and x / 0 is no number.
    if constant_first or not c.all():
        return None
    return ChannelMap.diagonal(1 / c)


def _negation_channels(node: ir.Node, axis: int) -> ChannelNode | Refusal | None:
    x = node.inputs[0]
    channels = size(x, axis)
    if x is None or channels is None:
        return None
    return ChannelNode(x, ChannelMap.diagonal(-np.ones(channels)))


def _divides(node: ir.Node) -> bool:
    """Whether the divisor is computed, and may be zero."""
    return constant(node.inputs[1]) is None


def has_one(node: ir.Node) -> bool:
    """Whether an operator of any number of operands has one, which it gives back."""
    return len(node.inputs) == 1


def _neutral(number: float, *places: int) -> Callable[[ir.Node], int | None]:
    """Of a binary operator: an operand at one of `places` that is this number everywhere."""

    def row(node: ir.Node) -> int | None:
        for at in places:
            array = constant(node.inputs[at])
            if array is not None and array.size and (array == number).all():
                return 1 - at if keeps_shape(node, 1 - at) else None
        return None

    return row


def _chosen(node: ir.Node) -> int | None:
    """Of a Where: the side that it takes everywhere."""
    array = constant(node.inputs[0])
    if array is None or not array.size or array.all() != array.any():
        return None
    at = 2 - bool(array.all())
    if not keeps_shape(node, at):
        return None
    return at


def _each(name: str, role: Role = Role.OPAQUE, value: Kernel | None = None,
          rounding: Rounding = Rounding.NEVER, **special: Any) -> Operator:  # fmt: skip
    return Operator(name, role, value, rounding, elementwise=True, **special)


def _compared(name: str, function: Callable[..., Any], **special: Any) -> Operator:
    return _each(name, value=kernel_of(function), rounding=Rounding.STEPS, compares=True, **special)


def _logical(name: str, function: Callable[..., Any], neutral: bool) -> Operator:
    both = _neutral(neutral, 1, 0)
    return _each(name, value=kernel_of(function), commutes=True, unchanged=both)


_ALONE = first_if(has_one)
# Engines and NumPy agree to the last bit, on integers too.
_SURE: dict[str, Any] = {"rounding": Rounding.ONCE, "is_sure_of_integers": True, "on_sizes": "any"}
_EXTREME: dict[str, Any] = {
    "is_unsure_of_nan": True, "commutes": True, "compares": True, "magnitude": "Max",
    "on_sizes": "whole", "unchanged": _ALONE,
}  # fmt: skip
_BITWISE = ("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor")

ROWS = (
    _each("Add", Role.SUM, kernel_of(np.add), **_SURE, commutes=True, magnitude="Add",
             unchanged=_neutral(0, 1, 0), channels=_arithmetic_channels),
    _each("Sub", Role.SUM, kernel_of(np.subtract), **_SURE, magnitude="Add",
             unchanged=_neutral(0, 1), channels=_arithmetic_channels),
    _each("Sum", Role.SUM, _many(np.add), Rounding.SMOOTHLY, is_sure_of_integers=True,
             commutes=True, magnitude="Sum", unchanged=_ALONE),
    _each("Mul", Role.CHANNEL_MAP, kernel_of(np.multiply), **_SURE, commutes=True,
             magnitude="Mul", unchanged=_neutral(1, 1, 0), channels=_arithmetic_channels),
    _each("Div", Role.CHANNEL_MAP, kernel_of(_divide), **_SURE, unchanged=_neutral(1, 1),
             channels=_arithmetic_channels, is_partial=_divides),
    _each("Neg", Role.CHANNEL_MAP, kernel_of(np.negative), magnitude="Identity",
             on_sizes="whole", channels=_negation_channels),
    # The square root of 64 tokens by Pow is 8 in any library; of 65 it may be one bit off.
    _each("Pow", Role.ELEMENTWISE, kernel_of(_power), Rounding.SMOOTHLY,
             is_sure_of_integers=True, on_sizes="any", unchanged=_neutral(1, 1), is_partial=True,
             settings=(1,)),
    _each("Mod", value=_mod, rounding=Rounding.STEPS, is_sure_of_integers=True,
             on_sizes="whole", is_partial=_divides),
    _each("Max", value=_many(np.maximum), **_EXTREME),
    _each("Min", value=_many(np.minimum), **_EXTREME),
    _each("Mean", value=_mean, rounding=Rounding.SMOOTHLY, commutes=True, magnitude="Mean",
             unchanged=_ALONE),
    _each("Where", value=kernel_of(np.where), magnitude="Where",
             unchanged=_chosen, effort=Effort.MOVES),
    _compared("Equal", np.equal, commutes=True),
    _compared("Greater", np.greater),
    _compared("GreaterOrEqual", np.greater_equal),
    _compared("Less", np.less),
    _compared("LessOrEqual", np.less_equal),
    _logical("And", np.logical_and, neutral=True),
    _logical("Or", np.logical_or, neutral=False),
    _logical("Xor", np.logical_xor, neutral=False),
    _each("Not", Role.ELEMENTWISE, kernel_of(np.logical_not)),
    *(_each(name) for name in _BITWISE),
)  # fmt: skip
