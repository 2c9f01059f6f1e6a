"""A .tflite file of one 1×1 convolution, written field by field."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["pointwise"]


def pointwise(height: int, width: int, c_in: int, c_out: int) -> bytes:
    """y (1, H, W, C_out) = W x for x (1, H, W, C_in), all weights one; needs ai-edge-litert."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    code.version = 1
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = 1
    convolution = schema.OperatorT()
    convolution.inputs, convolution.outputs = [0, 1, 2], [3]
    convolution.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    convolution.builtinOptions = options
    graph = schema.SubGraphT()
    shapes = {
        "x": (1, height, width, c_in),
        "W": (c_out, 1, 1, c_in),
        "b": (c_out,),
        "y": (1, height, width, c_out),
    }
    held = {"W": np.ones(shapes["W"], np.float32), "b": np.zeros(c_out, np.float32)}
    graph.tensors = [_tensor(schema, n, s, [*held].index(n) + 1 if n in held else 0)
                     for n, s in shapes.items()]  # fmt: skip
    graph.inputs, graph.outputs, graph.operators = [0], [3], [convolution]
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [_buffer(schema, b""), *(_buffer(schema, a.tobytes()) for a in held.values())]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(schema: Any, name: str, shape: tuple[int, ...], buffer: int) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = name, list(shape), buffer
    tensor.type = schema.TensorType.FLOAT32
    return tensor


def _buffer(schema: Any, data: bytes) -> Any:
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(data, np.uint8) if data else None
    return buffer
