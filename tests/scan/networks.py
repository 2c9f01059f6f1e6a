"""Small networks of whole numbers, whose maps are exact in float32 however they are computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import onebyone.engines.session as engine
from onebyone.algebra.weights import Array

C_IN, K = 3, 4


def network(
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    *,
    c_in: int = C_IN,
    strides: tuple[int, int] = (2, 1),
    pool: bool = True,
) -> onnx.ModelProto:
    """A 3×5 with these pads, a ReLU, a pool of 2 with its own padding, a 1×1: sums below 2²⁴."""
    rng = np.random.default_rng(0)

    def drawn(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(rng.integers(-2, 3, shape).astype(np.float32), name)

    weights = [drawn("W", 5, c_in, 3, 5), drawn("b", 5), drawn("V", K, 5, 1, 1), drawn("c", K)]
    padded = [1, 1, 0, 0] if any(pads) else [0, 0, 0, 0]
    nodes = [
        helper.make_node("Conv", ["x", "W", "b"], ["h"], pads=pads, strides=strides),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2], pads=padded),
        helper.make_node("Conv", ["p" if pool else "r", "V", "c"], ["y"]),
    ]
    if not pool:
        del nodes[2]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", c_in, "H", "W"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", K, "h", "w"])
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    """The model in a file."""
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def whole(model: onnx.ModelProto, pixels: Array) -> Array:
    """The maps (K, …) of pixels (C, …), all at once."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    found: Any = engine.session(model.SerializeToString(), options).run(
        None, {model.graph.input[0].name: pixels[None].astype(np.float32)}
    )
    maps: Array = found[0][0]
    return maps


def pixels(*shape: int, dtype: Any = np.uint8) -> Array:
    """Small whole numbers."""
    return np.random.default_rng(1).integers(0, 9, shape).astype(dtype)
