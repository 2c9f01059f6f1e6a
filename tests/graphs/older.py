"""A model of opset 11 said in the words of an older one, where those have the words.

The way back of what `onebyone.graph.opset` does, written apart from it: random graphs of opsets 7
to 10 come from here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

__all__ = ["older"]

_Constants = dict[str, np.ndarray]


def older(model: ModelProto, opset: int) -> ModelProto | None:
    """`model` at `opset`, 7 to 10; None where an operator of it has no such form."""
    assert model.opset_import[0].version == 11
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    made = ModelProto.FromString(model.SerializeToString())
    nodes = [_node(node, opset, constants) for node in model.graph.node]
    if None in nodes:
        return None
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    made.opset_import[0].version = opset
    for info in (*made.graph.input, *made.graph.output):
        if info.type.HasField("tensor_type"):
            info.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(made)
    except onnx.checker.ValidationError:  # negative axes, an operator that is new
        return None
    return made


def _node(node: NodeProto, opset: int, constants: _Constants) -> NodeProto | None:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    operands = [constants.get(name) for name in node.input]
    say = _WORDS.get(node.op_type)
    if say is None:
        return node
    if any(
        name and array is None for name, array in zip(node.input[1:], operands[1:], strict=True)
    ):
        return None  # computed: there were attributes for it
    said = say(opset, attributes, operands[1:])
    if said is None:
        return None
    op, inputs, given = said
    kept = [node.input[0], *(node.input[k] for k in inputs)]
    return helper.make_node(op, kept, list(node.output), node.name, **given)


_Said = tuple[str, list[int], dict[str, Any]] | None


def _slice(opset: int, attributes: dict[str, Any], operands: list[Any]) -> _Said:
    if opset == 10:
        return "Slice", [*range(1, len(operands) + 1)], {}
    starts, ends, *rest = operands
    axes = rest[0] if rest else np.arange(starts.size)
    if len(rest) > 1 and (rest[1] != 1).any():
        return None
    if (axes < 0).any():
        return None
    return "Slice", [], {"starts": starts.tolist(), "ends": ends.tolist(), "axes": axes.tolist()}


def _clip(opset: int, attributes: dict[str, Any], operands: list[Any]) -> _Said:
    ends = zip(("min", "max"), operands, strict=False)
    return "Clip", [], {name: float(end) for name, end in ends if end is not None}


def _pad(opset: int, attributes: dict[str, Any], operands: list[Any]) -> _Said:
    value = float(operands[1]) if len(operands) > 1 and operands[1] is not None else 0.0
    return "Pad", [], {**attributes, "pads": operands[0].tolist(), "value": value}


def _resize(opset: int, attributes: dict[str, Any], operands: list[Any]) -> _Said:
    scales = operands[1] if len(operands) == 2 else None
    mode = attributes.get("mode", b"nearest").decode()
    if scales is None or attributes.get("coordinate_transformation_mode") != b"asymmetric":
        return None
    rounding = attributes.get("nearest_mode", b"round_prefer_floor").decode()
    if mode == "cubic" or attributes.get("exclude_outside"):
        return None
    if mode == "nearest" and not ((scales >= 1).all() and rounding == "floor"):
        return None
    if opset == 10:
        return "Resize", [2], {"mode": mode}
    if (scales < 1).any():
        return None
    if opset == 9:
        return "Upsample", [2], {"mode": mode}
    return "Upsample", [], {"mode": mode, "scales": scales.tolist()}


def _top_k(opset: int, attributes: dict[str, Any], operands: list[Any]) -> _Said:
    if opset == 10:
        return "TopK", [1], attributes
    return "TopK", [], {**attributes, "k": int(operands[0][0])}


def _one_hot(*_: Any) -> _Said:
    return None  # its negative indices were others


_WORDS = {"Clip": _clip, "OneHot": _one_hot, "Pad": _pad, "Resize": _resize, "Slice": _slice,
          "TopK": _top_k}  # fmt: skip
