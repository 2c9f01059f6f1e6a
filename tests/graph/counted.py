"""Models of a few nodes whose counts are known, and an operator run on ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from onebyone.counting.value import LayerCount
from onebyone.graph.count import count

__all__ = [
    "FLOAT",
    "PRODUCTS_ON_ONES",
    "Shape",
    "W",
    "X",
    "as_array",
    "conv",
    "model",
    "node",
    "only",
    "run_on_ones",
]

Shape = tuple[int | str, ...]
FLOAT = TensorProto.FLOAT
X, W = {"x": (2, 5, 3)}, {"W": (3, 4)}


def node(op: str, inputs: str, outputs: str, **attributes: object) -> onnx.NodeProto:
    """A node whose inputs and outputs are given as words; `-` is an absent one."""
    names = [["" if name == "-" else name for name in text.split()] for text in (inputs, outputs)]
    return helper.make_node(op, *names, name=f"{op}:{names[1][0]}", **attributes)


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Shape],
    weights: Mapping[str, np.ndarray | Sequence[int]],
    *,
    kind: int = FLOAT,
    outputs: Mapping[str, Shape] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    """A model of one element type; a weight given by its shape is ones.

    The outputs are those of the last node, of the shape that ONNX infers; else what is given.
    """
    names = outputs or dict.fromkeys(name for name in nodes[-1].output if name)
    graph = helper.make_graph(
        nodes,
        "counted",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in names.items()],
        [numpy_helper.from_array(as_array(value, kind), name) for name, value in weights.items()],
    )
    if outputs is None:
        for output in graph.output:
            output.type.Clear()
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.example", 1)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return onnx.shape_inference.infer_shapes(made)


def as_array(value: np.ndarray | Sequence[int], kind: int = FLOAT) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    return np.ones(value, helper.tensor_dtype_to_np_dtype(kind))


def run_on_ones(proto: onnx.ModelProto) -> np.ndarray:
    """The first output where every input is ones."""
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    kinds = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}
    feeds = {x.name: np.ones(x.shape, kinds[x.type]) for x in session.get_inputs()}
    return session.run(None, feeds)[0]


def only(proto: onnx.ModelProto) -> LayerCount:
    """The one layer of a model."""
    (layer,) = count(proto).layers
    return layer


def conv(c_in: int, c_out: int, *kernel: int, group: int = 1) -> Mapping[str, Sequence[int]]:
    """Weight and bias of a convolution."""
    return {"W": (c_out, c_in // group, *kernel), "b": (c_out,)}


PRODUCTS_ON_ONES = {
    "conv": model([node("Conv", "x W", "y")], {"x": (2, 3, 5, 7)}, {"W": (4, 3, 3, 2)}),
    "strided, dilated": model(
        [node("Conv", "x W", "y", strides=[2, 3], dilations=[2, 1])],
        {"x": (2, 3, 9, 7)},
        {"W": (4, 3, 3, 2)},
    ),
    "grouped": model([node("Conv", "x W", "y", group=3)], {"x": (2, 6, 5, 7)}, {"W": (9, 2, 3, 1)}),
    "depthwise": model(
        [node("Conv", "x W", "y", group=5)], {"x": (1, 5, 4, 3)}, {"W": (5, 1, 1, 1)}
    ),
    "1d": model([node("Conv", "x W", "y")], {"x": (2, 3, 7)}, {"W": (4, 3, 3)}),
    "3d": model([node("Conv", "x W", "y")], {"x": (1, 2, 4, 3, 5)}, {"W": (3, 2, 2, 1, 3)}),
    "computed weights": model(
        [node("Conv", "x W", "y")], {"x": (2, 3, 5, 7), "W": (4, 3, 1, 1)}, {}
    ),
    "transposed": model(
        [node("ConvTranspose", "x W", "y", strides=[2, 1])],
        {"x": (2, 3, 5, 7)},
        {"W": (3, 4, 3, 2)},
    ),
    "transposed, grouped": model(
        [node("ConvTranspose", "x W", "y", group=2, dilations=[1, 2])],
        {"x": (1, 6, 2, 3)},
        {"W": (6, 5, 2, 3)},
    ),
    "gemm": model([node("Gemm", "x W", "y")], {"x": (2, 3)}, {"W": (3, 5)}),
    "gemm, both transposed": model(
        [node("Gemm", "x W", "y", transA=1, transB=1)], {"x": (3, 2)}, {"W": (5, 3)}
    ),
    "matmul": model([node("MatMul", "x W", "y")], {"x": (2, 5, 7, 3)}, {"W": (3, 4)}),
    "matmul from the left": model([node("MatMul", "W x", "y")], {"x": (2, 3, 7)}, {"W": (4, 3)}),
    "matmul, broadcast": model([node("MatMul", "x W", "y")], {"x": (5, 1, 2, 3)}, {"W": (4, 3, 6)}),
    "matmul, vector": model([node("MatMul", "x W", "y")], {"x": (3,)}, {"W": (2, 3, 5)}),
    "matmul to a vector": model([node("MatMul", "x W", "y")], {"x": (2, 5, 3)}, {"W": (3,)}),
    "attention": model([node("MatMul", "q k", "y")], {"q": (2, 3, 5, 4), "k": (2, 3, 4, 7)}, {}),
    "einsum": model(
        [node("Einsum", "x W", "y", equation="bhwc,dc->bdhw")], {"x": (2, 5, 7, 3)}, {"W": (4, 3)}
    ),
    "einsum, ellipsis": model(
        [node("Einsum", "x W", "y", equation="...c,cd")], {"x": (2, 5, 3)}, {"W": (3, 4)}
    ),
}
