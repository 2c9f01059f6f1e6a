"""A node as older opsets write it: an input of today was an attribute, or could not be said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["Unwritable", "as_written"]

Attributes = dict[str, Any]
Written = tuple[str, list[str], Attributes]

# Of OneHot negative indices were others before.
SINCE = {
    "ConstantOfShape": 9, "DequantizeLinear": 10, "Einsum": 12, "Erf": 9, "Expand": 8, "Gelu": 20,
    "HardSwish": 14, "LayerNormalization": 17, "OneHot": 11, "QLinearConv": 10,
    "QLinearMatMul": 10, "QuantizeLinear": 10, "Sign": 9, "Where": 9,
}  # fmt: skip


class Unwritable(Exception):
    """This opset has no such node."""


def as_written(
    opset: int,
    constants: Mapping[str, np.ndarray],
    op: str,
    inputs: Sequence[str],
    given: Attributes,
) -> Written:
    """Operator, inputs and attributes of the node in this opset.

    Raises:
        Unwritable: it cannot be said there.
    """
    if opset < SINCE.get(op, 1):
        raise Unwritable(f"{op} before opset {SINCE[op]}")
    attributes = {key: value for key, value in given.items() if value is not None}
    if opset >= 11:
        return op, list(inputs), attributes
    if any(n < 0 for key in ("axis", "axes") for n in np.ravel(attributes.get(key, 0))):
        raise Unwritable(f"{op} with a negative axis before opset 11")
    # Checkers of the time knew no rank above which the attribute would be wrong.
    rule = OLDER.get(op)
    made = rule(opset, constants, list(inputs), attributes) if rule else (op, inputs, attributes)
    return made[0], list(made[1]), made[2]


Rule = Callable[[int, Mapping[str, np.ndarray], list[str], Attributes], Written]


def _known(constants: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in constants:
        raise Unwritable("computed at run time what was an attribute then")
    return constants[name]


def _slice(opset: int, constants: Any, inputs: list[str], given: Attributes) -> Written:
    if opset >= 10:
        return "Slice", inputs, given
    starts, ends, *rest = (_known(constants, name).tolist() for name in inputs[1:])
    axes, steps = [*rest, None, None][:2]
    if any(step != 1 for step in steps or []) or min(axes or [0]) < 0:
        raise Unwritable("a stepped Slice before opset 10")
    named = {"starts": starts, "ends": ends, "axes": axes}
    return "Slice", inputs[:1], {key: value for key, value in named.items() if value is not None}


def _pad(opset: int, constants: Any, inputs: list[str], given: Attributes) -> Written:
    value = float(_known(constants, inputs[2])) if len(inputs) > 2 else 0.0
    pads = _known(constants, inputs[1]).tolist()
    return "Pad", inputs[:1], {**given, "pads": pads, "value": value}


def _clip(opset: int, constants: Any, inputs: list[str], given: Attributes) -> Written:
    low, high = (float(_known(constants, name)) for name in inputs[1:3])
    return "Clip", inputs[:1], {"min": low, "max": high}


def _gather(opset: int, constants: Any, inputs: list[str], given: Attributes) -> Written:
    if np.min(_known(constants, inputs[1]), initial=0) < 0:
        raise Unwritable("a negative index before opset 11")
    return "Gather", inputs, given


def _pool(op: str) -> Rule:
    def rule(opset: int, constants: Any, inputs: list[str], given: Attributes) -> Written:
        late = [key for key in ("ceil_mode", "dilations") if np.any(np.ravel(given.get(key, 0)))]
        if opset < 10 and late:
            raise Unwritable(f"{op} with {late[0]} before opset 10")
        return (
            op,
            inputs,
            {key: given[key] for key in given if key not in ("ceil_mode", "dilations")},
        )

    return rule


def _gemm(opset: int, constants: Any, inputs: list[str], given: Attributes) -> Written:
    if len(inputs) < 3:
        raise Unwritable("a Gemm without a bias before opset 11")
    return "Gemm", inputs, given


def _resize(opset: int, constants: Any, inputs: list[str], given: Attributes) -> Written:
    """Resize of opset 10 and Upsample before: asymmetric, nearest by rounding down."""
    mode, scales = given.get("mode", "nearest"), _known(constants, inputs[2])
    plain = given.get("coordinate_transformation_mode") == "asymmetric" and mode != "cubic"
    if len(inputs) > 3 or not plain or given.get("nearest_mode", "floor") != "floor":
        raise Unwritable("another resize before opset 11")
    if opset >= 10:
        return "Resize", [inputs[0], inputs[2]], {"mode": mode}
    if scales.min() < 1:
        raise Unwritable("a smaller Upsample")
    if opset == 9:
        return "Upsample", [inputs[0], inputs[2]], {"mode": mode}
    return "Upsample", inputs[:1], {"mode": mode, "scales": scales.tolist()}


def _depth_to_space(opset: int, constants: Any, inputs: list[str], given: Attributes) -> Written:
    if given.get("mode", "DCR") != "DCR":
        raise Unwritable("DepthToSpace in CRD before opset 11")
    return "DepthToSpace", inputs, {"blocksize": given["blocksize"]}


OLDER: dict[str, Rule] = {
    "AveragePool": _pool("AveragePool"),
    "Clip": _clip,
    "DepthToSpace": _depth_to_space,
    "Gather": _gather,
    "Gemm": _gemm,
    "MaxPool": _pool("MaxPool"),
    "Pad": _pad,
    "Resize": _resize,
    "Slice": _slice,
}
