"""Tensors made of a shape or of nothing: constants, ranges, random numbers; and shapes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.ops.call import Call, is_floating
from onebyone.graph.ops.row import Effort, Operator, Rounding
from onebyone.graph.ops.sizes import Entries, named_sizes, shape_span
from onebyone.graph.values import shape_of

__all__ = ["ROWS"]


def _constant_of_shape(call: Call, shape: Array) -> Array:
    value = call.get("value")
    fill = np.zeros(1, call.dtype)
    if value is not None:
        fill = value.numpy()
    kind = call.dtype if is_floating(fill.dtype) else fill.dtype
    return np.full([int(n) for n in shape], fill.reshape(-1)[0], kind)


def _arange(call: Call, start: Array, limit: Array, step: Array) -> Array:
    return np.arange(start.item(), limit.item(), step.item()).astype(start.dtype)


def _shape(call: Call, x: Array) -> Array:
    return np.array(x.shape[call.get("start", 0) : call.get("end")], np.int64)


def _shape_entries(node: ir.Node, known: dict[ir.Value, Entries]) -> Entries | None:
    shape = shape_of(node.inputs[0])
    return named_sizes(shape[shape_span(node)]) if shape is not None else None


_RANDOM = """
    Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike
"""

ROWS = (
    Operator("Shape", value=_shape, rounding=Rounding.NEVER, entries=_shape_entries,
             effort=Effort.FREE, unread=(0,), names_positions=True),
    Operator("Size", value=lambda call, x: np.array(x.size, np.int64), rounding=Rounding.NEVER,
             effort=Effort.FREE, unread=(0,), names_positions=True),
    Operator("Constant", effort=Effort.MOVES),
    Operator("ConstantOfShape", value=_constant_of_shape, rounding=Rounding.NEVER, grows=True,
             on_sizes="whole", effort=Effort.MOVES, names_positions=True),
    Operator("EyeLike", rounding=Rounding.NEVER, grows=True, effort=Effort.MOVES, unread=(0,)),
    Operator("Range", value=_arange, rounding=Rounding.SMOOTHLY, is_sure_of_integers=True,
             grows=True, settings=(0, 1, 2), names_positions=True),
    *(Operator(name, is_random=True) for name in _RANDOM.split()),
)  # fmt: skip
