"""A drawn float32 model in another floating type."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import ml_dtypes
import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

__all__ = ["NUMPY", "in_dtype"]

FLOAT = TensorProto.FLOAT
NUMPY = {
    TensorProto.FLOAT: np.dtype(np.float32),
    TensorProto.FLOAT16: np.dtype(np.float16),
    TensorProto.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
    TensorProto.DOUBLE: np.dtype(np.float64),
}


def in_dtype(model: ModelProto, dtype: int) -> ModelProto:
    """Every float32 tensor in `dtype`, but for the scales of a resize, which stay float32."""
    made = ModelProto()
    made.CopyFrom(model)
    if dtype != FLOAT:
        _convert(made.graph, dtype, frozenset(_scales(made.graph)))
        for function in made.functions:
            _convert_nodes(function.node, dtype, frozenset())
    return made


def _scales(graph: GraphProto) -> Iterator[str]:
    """What resizes read, here and in branches."""
    for node in graph.node:
        if node.op_type in ("Resize", "Upsample"):
            yield from node.input[1:]
        for attribute in node.attribute:
            yield from _scales(attribute.g)


def _convert(graph: GraphProto, dtype: int, kept: frozenset[str]) -> None:
    for tensor in graph.initializer:
        if tensor.name not in kept:
            _retype(tensor, dtype)
    for info in (*graph.input, *graph.output, *graph.value_info):
        if info.type.tensor_type.elem_type == FLOAT and info.name not in kept:
            info.type.tensor_type.elem_type = dtype
    _convert_nodes(graph.node, dtype, kept)


def _convert_nodes(nodes: Iterable[NodeProto], dtype: int, kept: frozenset[str]) -> None:
    for node in nodes:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == FLOAT:
                attribute.i = dtype
            elif attribute.HasField("t") and not kept & {*node.output}:
                _retype(attribute.t, dtype)
            elif attribute.HasField("g"):
                _convert(attribute.g, dtype, kept)


def _retype(tensor: TensorProto, dtype: int) -> None:
    if tensor.data_type == FLOAT:
        array = numpy_helper.to_array(tensor).astype(NUMPY[dtype])
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
