"""A model in another number type: the same nodes, inputs and constants, of float64 or float16."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

__all__ = ["cast", "retyped"]


def retyped(model: ModelProto, kind: int) -> ModelProto:
    """`model` with every float32 made `kind`, but for the scales and regions of a Resize.

    >>> from .text import model as written
    >>> retyped(written("y = Relu(x)", "float[2] x"), TensorProto.DOUBLE).graph.input[0].type
    tensor_type {
      elem_type: 11
      shape {
        dim {
          dim_value: 2
        }
      }
    }
    <BLANKLINE>
    """
    made = ModelProto.FromString(model.SerializeToString())
    kept = {name for node in made.graph.node if node.op_type == "Resize" for name in node.input[1:]}
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    for name, tensor in _tensors(made):
        if tensor.data_type == TensorProto.FLOAT and name not in kept:
            array = numpy_helper.to_array(tensor).astype(dtype)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for node in made.graph.node:
        for attribute in node.attribute if node.op_type == "Cast" else ():
            attribute.i = kind if attribute.i == TensorProto.FLOAT else attribute.i
    for info in (*made.graph.input, *made.graph.output, *made.graph.value_info):
        if info.type.tensor_type.elem_type == TensorProto.FLOAT:
            info.type.tensor_type.elem_type = kind
    return made


def _tensors(model: ModelProto) -> Iterator[tuple[str, Any]]:
    yield from ((tensor.name, tensor) for tensor in model.graph.initializer)
    for node in model.graph.node:
        if node.op_type == "Constant":
            tensors = (a.t for a in node.attribute if a.type == AttributeProto.TENSOR)
            yield from ((node.output[0], tensor) for tensor in tensors)


def cast(feed: dict[str, np.ndarray], kind: int) -> dict[str, np.ndarray]:
    """The same inputs, the floats in `kind`."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    return {k: x.astype(dtype) if x.dtype == np.float32 else x for k, x in feed.items()}
