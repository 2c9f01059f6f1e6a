"""Counts of small models, each figure known beforehand.

The oracle for multiply-accumulates is the operator itself: run on ones with weights of one and
nothing padded, each of them adds 1 to the output, so the sum of the output is their number.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console

from onebyone.counting.value import Count, LayerCount
from onebyone.errors import UnreadableModel, UsageError
from onebyone.graph.count import count
from onebyone.graph.count_formulas import PRODUCTS
from onebyone.graph.count_gaps import _MOVES, _NO_FORMULA
from onebyone.graph.count_weights import _BUFFERS, _QUANTISED, _RANDOM, _SETTINGS, _UNREAD

Shape = tuple[int | str, ...]
FLOAT = TensorProto.FLOAT


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


# --- the figures of the question that the project began with -----------------------------------


@pytest.mark.parametrize(
    ("c_in", "c_out", "kernel", "parameters"),
    [
        (256, 256, 3, 590_080),
        (256, 256, 1, 65_792),
        (256, 64, 1, 16_448),
        (64, 64, 3, 36_928),
        (64, 256, 1, 16_640),
    ],
)
def test_a_convolution_has_this_many_parameters(
    c_in: int, c_out: int, kernel: int, parameters: int
) -> None:
    proto = model(
        [node("Conv", "x W b", "y", pads=[kernel // 2] * 4)],
        {"x": (2, c_in, 5, 7)},
        conv(c_in, c_out, kernel, kernel),
    )
    counted = count(proto)
    assert counted.parameters == parameters == (c_in * kernel**2 + 1) * c_out
    assert counted.macs == (parameters - c_out) * 2 * 5 * 7
    assert counted.bias_adds == c_out * 2 * 5 * 7
    assert counted.pointwise_share == (kernel == 1)


def test_a_bottleneck_has_70_016_parameters() -> None:
    widths, kernels = [256, 64, 64, 256], [1, 3, 1]
    nodes = [
        node("Conv", f"x{i} W{i} b{i}", f"x{i + 1}", pads=[kernel // 2] * 4)
        for i, kernel in enumerate(kernels)
    ]
    weights = {}
    for i, kernel in enumerate(kernels):
        weights[f"W{i}"] = (widths[i + 1], widths[i], kernel, kernel)
        weights[f"b{i}"] = (widths[i + 1],)
    counted = count(model(nodes, {"x0": (1, 256, 5, 7)}, weights))
    assert [layer.parameters for layer in counted.layers] == [16_448, 36_928, 16_640]
    assert counted.parameters == 70_016
    assert counted.pointwise_macs == 35 * (256 * 64 + 64 * 256)


@pytest.mark.parametrize("op", ["Gemm", "MatMul"])
def test_a_fully_connected_layer_on_28_by_28(op: str) -> None:
    weights = {"W": (784, 784), "b": (784,)}
    nodes = [node("Flatten", "x", "f"), node("Gemm", "f W b", "y")]
    if op == "MatMul":
        nodes[1:] = [node("MatMul", "f W", "h"), node("Add", "h b", "y")]
    layer = only(model(nodes, {"x": (1, 1, 28, 28)}, weights))
    assert (layer.op, layer.macs, layer.pointwise_macs) == (op, 614_656, 614_656)
    assert layer.parameters == 614_656 + 784 == (784 + 1) * 784
    assert layer.bias_adds == 784


# --- multiply-accumulates, against the operator run on ones ------------------------------------

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
POINTWISE = {
    *("depthwise", "gemm", "gemm, both transposed", "matmul", "matmul from the left"),
    *("matmul, broadcast", "matmul, vector", "matmul to a vector", "einsum", "einsum, ellipsis"),
}


@pytest.mark.parametrize("case", PRODUCTS_ON_ONES)
def test_macs_are_what_the_operator_adds_up(case: str) -> None:
    proto = PRODUCTS_ON_ONES[case]
    macs = int(run_on_ones(proto).sum())
    layer = only(proto)
    assert (layer.macs, layer.bias_adds) == (macs, 0)
    assert layer.pointwise_macs == (macs if case in POINTWISE else 0)


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
@pytest.mark.parametrize(("stride", "group"), [(1, 1), (2, 1), (2, 3), (3, 6)])
def test_a_kernel_of_one_is_pointwise(op: str, stride: int, group: int) -> None:
    weight = (6, 6 // group, 1, 1)
    proto = model(
        [node(op, "x W", "y", strides=[stride, 1], group=group)], {"x": (2, 6, 5, 7)}, {"W": weight}
    )
    layer = only(proto)
    assert 0 < layer.macs == layer.pointwise_macs
    # Where a transposed convolution writes nothing, its output is zero: the sum stands.
    assert layer.macs == int(run_on_ones(proto).sum())


def test_padding_is_counted_as_any_position() -> None:
    proto = model(
        [node("Conv", "x W", "y", pads=[1, 1, 1, 1])], {"x": (1, 2, 5, 7)}, {"W": (3, 2, 3, 3)}
    )
    assert count(proto).macs == 5 * 7 * 3 * 2 * 9


def test_quantised_products() -> None:
    scales = {"s": np.float32(1), "z": np.uint8(0), "zi": np.int8(0)}
    arrays = {name: np.asarray(value) for name, value in scales.items()}
    kernel, matrix = np.ones((4, 3, 3, 1), np.int8), np.ones((3, 5), np.int8)
    byte = TensorProto.UINT8
    cases = [
        (node("QLinearConv", "x s z W s zi s z b", "y"), (2, 3, 5, 7), kernel, True),
        (node("ConvInteger", "x W", "y"), (2, 3, 5, 7), kernel.astype(np.uint8), False),
        (node("QLinearMatMul", "x s z W s zi s z", "y"), (2, 4, 3), matrix, False),
        (node("MatMulInteger", "x W", "y"), (2, 4, 3), matrix, False),
    ]
    for made, shape, weight, biased in cases:
        read = {"W": weight, **(arrays if "QLinear" in made.op_type else {})}
        bias = {"b": np.zeros(4, np.int32)} if biased else {}
        proto = model([made], {"x": shape}, {**read, **bias}, kind=byte)
        layer, result = only(proto), run_on_ones(proto)
        assert layer.macs == int(result.sum(dtype=np.int64)), made.op_type
        assert layer.pointwise_macs == (layer.macs if weight.ndim == 2 else 0)
        assert layer.parameters == weight.size + (4 if biased else 0)
        assert layer.bias_adds == (result.size if biased else 0)


def test_a_quantised_product_of_activations_is_not_pointwise() -> None:
    scale, zero = {"s": np.asarray(np.float32(1))}, {"z": np.asarray(np.uint8(0))}
    proto = model(
        [node("QLinearMatMul", "q s z k s z s z", "y")],
        {"q": (2, 5, 3), "k": (2, 3, 7)},
        {**scale, **zero},
        kind=TensorProto.UINT8,
    )
    counted = count(proto)
    assert (counted.macs, counted.pointwise_macs) == (2 * 5 * 3 * 7, 0)


def test_random_numbers_are_no_weights() -> None:
    nodes = [node("RandomNormal", "", "W", shape=[3, 4]), node("MatMul", "x W", "y")]
    layer = only(model(nodes, X, {}))
    assert (layer.macs, layer.pointwise_macs, layer.parameters) == (120, 0, 0)


@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("layout", [0, 1])
def test_recurrences(op: str, gates: int, layout: int) -> None:
    steps, batch, c_in, hidden = 7, 2, 3, 5
    state = (1, batch, hidden) if layout == 0 else (batch, 1, hidden)
    weights = {
        "W": (2, gates * hidden, c_in),
        "R": (2, gates * hidden, hidden),
        "B": (2, 2 * gates * hidden),
        "h": (state[0] * (2 - layout), state[1] * (1 + layout), hidden),
    }
    proto = model(
        [
            node(
                op,
                "x W R B - h",
                "- last",
                hidden_size=hidden,
                direction="bidirectional",
                layout=layout,
            )
        ],
        {"x": (steps, batch, c_in) if layout == 0 else (batch, steps, c_in)},
        weights,
    )
    layer = only(proto)
    learned = [prod(weights[name]) for name in "WRB"]
    assert layer.parameters == sum(learned)
    assert (layer.macs, layer.pointwise_macs) == (steps * batch * (learned[0] + learned[1]), 0)
    assert layer.bias_adds == steps * batch * learned[2]


@pytest.mark.parametrize(
    ("shapes", "attributes", "macs"),
    [
        # heads apart: N, h, L, S, d, d_v = 2, 6, 5, 7, 3, 4
        ([(2, 6, 5, 3), (2, 6, 7, 3), (2, 6, 7, 4)], {}, 2 * 6 * 5 * 7 * (3 + 4)),
        # three keys and values for six queries
        ([(2, 6, 5, 3), (2, 3, 7, 3), (2, 3, 7, 4)], {}, 2 * 6 * 5 * 7 * (3 + 4)),
        # heads side by side; a causal mask saves nothing in the dense count
        (
            [(2, 5, 18), (2, 7, 9), (2, 7, 12)],
            {"q_num_heads": 6, "kv_num_heads": 3, "is_causal": 1},
            2 * 6 * 5 * 7 * (3 + 4),
        ),
        # eleven earlier keys
        (
            [(2, 6, 5, 3), (2, 6, 7, 3), (2, 6, 7, 4), (2, 6, 11, 3), (2, 6, 11, 4)],
            {},
            2 * 6 * 5 * (7 + 11) * (3 + 4),
        ),
    ],
)
def test_attention(shapes: list[Shape], attributes: dict[str, int], macs: int) -> None:
    names = ["q", "k", "v", "past_k", "past_v"][: len(shapes)]
    slots = ["q", "k", "v", "-", "past_k", "past_v"] if len(shapes) > 3 else names
    results = "y pk pv" if len(shapes) > 3 else "y"
    proto = model(
        [node("Attention", " ".join(slots), results, **attributes)],
        dict(zip(names, shapes, strict=True)),
        {},
        opset=23,
    )
    layer = only(proto)
    assert (layer.macs, layer.pointwise_macs, layer.parameters) == (macs, 0, 0)


def test_a_deformable_convolution_counts_as_its_convolution() -> None:
    proto = model(
        [node("DeformConv", "x W o b", "y")],
        {"x": (2, 3, 5, 7), "o": (2, 12, 3, 6)},
        {"W": (4, 3, 3, 2), "b": (4,)},
        opset=19,
        outputs={"y": (2, 4, 3, 6)},
    )
    assert only(proto).macs == 2 * 3 * 6 * 4 * 3 * 3 * 2


# --- biases that the next node adds ------------------------------------------------------------

X, W = {"x": (2, 5, 3)}, {"W": (3, 4)}


def test_a_bias_of_the_next_node_belongs_to_the_layer() -> None:
    proto = model([node("MatMul", "x W", "h"), node("Add", "b h", "y")], X, {**W, "b": (4,)})
    counted = count(proto)
    (layer,) = counted.layers
    assert (layer.parameters, layer.bias_adds) == ((3 + 1) * 4, 2 * 5 * 4)
    assert counted.uncounted == ()
    # x and y, the h between them not
    assert counted.activation_bytes == 4 * (2 * 5 * 3 + 2 * 5 * 4)


def test_a_convolutions_bias_may_be_added_too() -> None:
    nodes = [node("Conv", "x W", "h"), node("Add", "h b", "y")]
    layer = only(model(nodes, {"x": (2, 3, 5, 7)}, {"W": (4, 3, 1, 1), "b": (1, 4, 1, 1)}))
    assert (layer.parameters, layer.bias_adds) == (16, 2 * 4 * 5 * 7)


def test_zeros_in_the_place_of_a_bias_are_none() -> None:
    """PyTorch's exporter writes a missing bias as a zero of the image's type, expanded."""
    nodes = [
        node("CastLike", "zero x", "o"),
        node("Expand", "o s", "b"),
        node("Conv", "x W b", "y"),
    ]
    weights = {"zero": np.asarray(np.float32(0)), "s": np.array([4]), "W": (4, 3, 1, 1)}
    counted = count(model(nodes, {"x": (2, 3, 5, 7)}, weights))
    assert (counted.parameters, counted.bias_adds) == (12, 0)
    assert counted.activation_bytes == 4 * 2 * (3 + 4) * 5 * 7


@pytest.mark.parametrize(
    ("addend", "parameters"),
    [((5, 4), 12 + 20), ((), 12)],
    ids=["a table of positions", "a scalar"],
)
def test_what_else_is_added_is_no_bias(addend: Shape, parameters: int) -> None:
    proto = model([node("MatMul", "x W", "h"), node("Add", "h b", "y")], X, {**W, "b": addend})
    counted = count(proto)
    assert (counted.parameters, counted.bias_adds) == (parameters, 0)
    assert [(row.op, row.nodes) for row in counted.uncounted] == [("Add", 1)]


@pytest.mark.parametrize("shared", ["another node reads it", "the graph returns it"])
def test_a_sum_whose_operand_is_used_elsewhere_is_no_bias(shared: str) -> None:
    nodes = [node("MatMul", "x W", "h"), node("Add", "h b", "y"), node("Relu", "h", "z")]
    outputs = {"y": (2, 5, 4), "z" if "reads" in shared else "h": (2, 5, 4)}
    if "returns" in shared:
        nodes.pop()
    counted = count(model(nodes, X, {**W, "b": (4,)}, outputs=outputs))
    assert (counted.parameters, counted.bias_adds) == (16, 0)


def test_a_sum_that_widens_is_no_bias() -> None:
    nodes = [node("MatMul", "x W", "h"), node("Add", "h b", "y")]
    assert count(model(nodes, {"x": (5, 3)}, {**W, "b": (7, 1, 1)})).bias_adds == 0


# --- what a parameter is -----------------------------------------------------------------------


def test_shared_weights_count_once_and_move_twice() -> None:
    nodes = [node("MatMul", "x W", "h"), node("Relu", "h", "r"), node("MatMul", "r W", "y")]
    counted = count(model(nodes, {"x": (2, 3)}, {"W": (3, 3), "unused": (7, 7)}))
    assert [layer.parameters for layer in counted.layers] == [9, 0]
    assert [layer.weight_bytes for layer in counted.layers] == [36, 36]
    assert (counted.parameters, counted.weight_bytes) == (9, 36)


def test_running_statistics_are_buffers() -> None:
    names = dict.fromkeys(["scale", "shift", "mean", "variance"], (3,))
    proto = model(
        [node("BatchNormalization", "x scale shift mean variance", "y")], {"x": (2, 3, 5, 7)}, names
    )
    counted = count(proto)
    assert (counted.parameters, counted.buffers, counted.macs) == (6, 6, 0)
    assert counted.weight_bytes == 12 * 4


@pytest.mark.parametrize(
    ("made", "weights", "parameters"),
    [
        (node("Mul", "x c", "y"), {"c": ()}, 0),
        (node("Mul", "x c", "y"), {"c": (3, 1, 1)}, 3),
        (node("Resize", "x - c", "y"), {"c": (4,)}, 0),
        (node("Clip", "x c", "y"), {"c": ()}, 0),
        (node("Pow", "x c", "y"), {"c": (1,)}, 0),
        (node("PRelu", "x c", "y"), {"c": (3, 1, 1)}, 3),
        (node("Reshape", "x c", "y"), {"c": np.array([2, 105])}, 0),
        (node("LayerNormalization", "x c d", "y"), {"c": (7,), "d": (7,)}, 14),
        (node("Concat", "x c", "y", axis=2), {"c": (2, 3, 1, 7)}, 42),
    ],
)
def test_what_is_learned(
    made: onnx.NodeProto, weights: Mapping[str, Sequence[int]], parameters: int
) -> None:
    counted = count(model([made], {"x": (2, 3, 5, 7)}, weights))
    assert (counted.parameters, counted.buffers, counted.macs) == (parameters, 0, 0)


def test_an_embedding_is_a_layer_without_macs() -> None:
    proto = model(
        [node("Gather", "E i", "y")],
        {"i": (2, 5)},
        {"E": np.ones((11, 3), np.float32)},
        kind=TensorProto.INT64,
        outputs={"y": (2, 5, 3)},
    )
    proto.graph.output[0].type.tensor_type.elem_type = FLOAT
    counted = count(proto)
    assert (counted.parameters, counted.macs, counted.uncounted) == (33, 0, ())


@pytest.mark.parametrize(
    "way",
    [
        [node("Transpose", "V", "W", perm=[1, 0])],
        [node("Cast", "V", "c", to=FLOAT), node("Transpose", "c", "W")],
        [node("Transpose", "V", "t"), node("Mul", "t s", "W")],
    ],
    ids=["Transpose", "Cast", "Mul"],
)
def test_weights_keep_their_count_on_their_way(way: list[onnx.NodeProto]) -> None:
    weights = {"V": (4, 3), "s": ()}
    counted = count(model([*way, node("MatMul", "x W", "y")], X, weights))
    assert (counted.parameters, counted.pointwise_macs) == (12, 2 * 5 * 3 * 4)
    assert [layer.op for layer in counted.layers] == ["MatMul"]
    # only x and y move: constants are prepared once
    assert counted.activation_bytes == 4 * (2 * 5 * 3 + 2 * 5 * 4)


def test_dequantised_weights_are_parameters_of_their_bytes() -> None:
    nodes = [node("DequantizeLinear", "V s z", "W"), node("MatMul", "x W", "y")]
    weights = {"V": np.ones((3, 4), np.int8), "s": (4,), "z": np.zeros(4, np.int8)}
    counted = count(model(nodes, X, weights))
    assert (counted.parameters, counted.weight_bytes) == (12, 12)
    assert counted.pointwise_macs == 2 * 5 * 12


def test_a_token_expanded_to_the_batch_counts_once() -> None:
    nodes = [
        node("Shape", "x", "s", end=1),
        node("Concat", "s rest", "shape", axis=0),
        node("Expand", "token shape", "e"),
        node("Concat", "e x", "y", axis=1),
    ]
    weights = {"token": (1, 1, 3), "rest": np.array([1, 3])}
    counted = count(model(nodes, {"x": (2, 5, 3)}, weights))
    assert (counted.parameters, counted.uncounted) == (3, ())


def test_a_weight_that_a_caller_may_replace_is_a_weight() -> None:
    proto = model([node("MatMul", "x W", "y")], {**X, "W": (3, 4)}, W)
    counted = count(proto)
    assert (counted.parameters, counted.pointwise_macs) == (12, 120)


def test_low_rank_weights_multiplied_in_the_graph() -> None:
    """W + B·A: a product of two constants has MACs, and is no linear layer."""
    nodes = [
        node("MatMul", "B A", "d"),
        node("Add", "W d", "V"),
        node("MatMul", "x V", "y"),
    ]
    counted = count(model(nodes, X, {**W, "B": (3, 2), "A": (2, 4)}))
    assert [layer.parameters for layer in counted.layers] == [6 + 8, 12]
    assert [layer.macs for layer in counted.layers] == [3 * 2 * 4, 2 * 5 * 12]
    assert [layer.pointwise_macs for layer in counted.layers] == [0, 2 * 5 * 12]
    assert [row.op for row in counted.uncounted] == ["Add"]


# --- bytes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "size"), [(FLOAT, 4), (TensorProto.FLOAT16, 2), (TensorProto.DOUBLE, 8)]
)
def test_bytes_and_intensity(kind: int, size: int) -> None:
    proto = model(
        [node("Conv", "x W", "y"), node("Flatten", "y", "f"), node("Relu", "f", "z")],
        {"x": (2, 3, 5, 7)},
        {"W": (4, 3, 1, 1)},
        kind=kind,
    )
    counted = count(proto)
    (layer,) = counted.layers
    x, y = 2 * 3 * 5 * 7 * size, 2 * 4 * 5 * 7 * size
    assert (layer.activation_bytes, layer.weight_bytes) == (x + y, 12 * size)
    assert layer.intensity == 2 * layer.macs / (x + y + 12 * size)
    assert counted.activation_bytes == (x + y) + 0 + (y + y)
    assert counted.intensity == 2 * layer.macs / (x + 3 * y + 12 * size)


def test_a_tensor_that_is_read_twice_moves_once() -> None:
    counted = count(model([node("Mul", "x x", "y")], {"x": (2, 3)}, {}))
    assert counted.activation_bytes == 2 * 6 * 4


def test_half_bytes_are_counted_as_stored() -> None:
    packed = helper.make_tensor("V", TensorProto.INT4, (3, 4), np.ones(12, np.int8))
    nodes = [node("DequantizeLinear", "V s", "W"), node("MatMul", "x W", "y")]
    proto = model(nodes, X, {"s": ()}, opset=21, outputs={"y": (2, 5, 4)})
    proto.graph.initializer.append(packed)
    counted = count(proto)
    assert (counted.parameters, counted.weight_bytes) == (12, 6)


# --- what is left out --------------------------------------------------------------------------


def left_out(counted: Count) -> dict[str, tuple[int, str]]:
    return {row.op: (row.nodes, row.reason) for row in counted.uncounted}


def test_all_other_arithmetic_is_listed_and_views_are_not() -> None:
    nodes = [
        node("Relu", "x", "a"),
        node("Transpose", "a", "b"),
        node("Relu", "b", "c"),
        node("Reshape", "c s", "d"),
        node("Softmax", "d", "e"),
        node("Concat", "e e", "y", axis=0),
    ]
    counted = count(model(nodes, {"x": (2, 3)}, {"s": np.array([1, 6])}))
    other = "arithmetic that is not multiply-accumulate"
    assert left_out(counted) == {"Relu": (2, other), "Softmax": (1, other)}
    assert [row.example for row in counted.uncounted] == ["Relu:a", "Softmax:e"]
    assert (counted.nodes, counted.macs, counted.pointwise_share) == (6, 0, 0.0)


@pytest.mark.parametrize(("mode", "listed"), [("nearest", []), ("linear", ["Resize"])])
def test_nearest_neighbours_are_copied_and_others_computed(mode: str, listed: list[str]) -> None:
    proto = model(
        [node("Resize", "x - s", "y", mode=mode)],
        {"x": (1, 2, 3, 5)},
        {"s": np.array([1, 1, 2, 2], np.float32)},
    )
    assert [row.op for row in count(proto).uncounted] == listed


@pytest.mark.parametrize(("reduction", "listed"), [("none", 0), ("add", 1)])
def test_a_scatter_computes_only_where_it_reduces(reduction: str, listed: int) -> None:
    proto = model(
        [node("ScatterND", "x i u", "y", reduction=reduction)],
        {"x": (5, 3), "u": (2, 3)},
        {"i": np.array([[0], [4]])},
    )
    assert len(count(proto).uncounted) == listed


def test_integer_arithmetic_says_so() -> None:
    proto = model([node("Add", "x c", "y")], {"x": (3,)}, {"c": (3,)}, kind=TensorProto.INT64)
    assert left_out(count(proto)) == {"Add": (1, "integer arithmetic")}


def test_sizes_are_constants_of_a_count() -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Mul", "s s", "t"),
        node("ConstantOfShape", "t", "y"),
    ]
    counted = count(model(nodes, {"x": (2, 3)}, {}, outputs={"y": ("a", "b")}))
    assert left_out(counted) == {"Mul": (1, "computes on constants and sizes alone")}
    assert counted.activation_bytes == 0


def test_subgraphs_are_not_entered() -> None:
    def branch(name: str) -> onnx.GraphProto:
        result = helper.make_tensor_value_info(name, FLOAT, (2, 5, 4))
        return helper.make_graph([node("MatMul", "x W", name)], name, [], [result])

    nodes = [
        node("If", "c", "h", then_branch=branch("p"), else_branch=branch("q")),
        node("MatMul", "h V", "y"),
    ]
    weights = {**W, "V": (4, 6), "c": np.array(True)}
    counted = count(model(nodes, X, weights, outputs={"y": (2, 5, 6)}))
    (found, reason) = left_out(counted)["If"]
    assert (found, counted.nodes) == (1, 2)
    # The second product alone; what an If returns is no constant, whatever decides it.
    assert (counted.parameters, counted.pointwise_macs) == (24, 2 * 5 * 24)
    assert "subgraphs are not entered" in reason


def test_operators_of_other_domains_are_listed() -> None:
    proto = model([node("Conv", "x W", "y", domain="com.example")], X, W, outputs={"y": (2, 5, 4)})
    counted = count(proto)
    assert counted.macs == 0
    assert "another domain" in left_out(counted)["com.example::Conv"][1]


def test_an_unknown_shape_is_never_guessed() -> None:
    nodes = [
        node("NonZero", "x", "n"),
        node("Cast", "n", "f", to=FLOAT),
        node("MatMul", "f V", "y"),
    ]
    proto = model(nodes, {"x": (5,), "V": ("k", 7)}, {}, outputs={"y": (1, 7)})
    counted = count(proto, {"V": (5, 7)})
    reasons = [row.reason for row in counted.uncounted if row.op == "MatMul"]
    assert counted.macs == 0
    assert any("shape of an operand or of the result is unknown" in text for text in reasons)
    assert any("its bytes are not counted" in text for text in reasons)


def test_the_tables_name_operators_that_exist() -> None:
    known = {
        schema.name for schema in onnx.defs.get_all_schemas_with_history() if not schema.domain
    }
    tables = (PRODUCTS, _MOVES, _NO_FORMULA, _BUFFERS, _QUANTISED, _RANDOM, _SETTINGS, _UNREAD)
    for table in tables:
        assert set(table) - known <= {"BitCast", "CausalConvWithState", "LinearAttention"}


# --- sources, shapes, output -------------------------------------------------------------------


def dynamic() -> onnx.ModelProto:
    return model([node("Conv", "x W b", "y")], {"x": ("n", 3, "h", "w")}, conv(3, 4, 1, 1))


def test_a_free_dimension_must_be_given() -> None:
    with pytest.raises(UsageError, match=r"--shape x=1,3,224,224") as raised:
        count(dynamic())
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 3, 5, 7), (3, 3, 224, 224)])
def test_work_grows_with_the_shape_and_parameters_do_not(shape: tuple[int, ...]) -> None:
    counted = count(dynamic(), {"x": shape})
    positions = prod(shape) // 3
    assert (counted.parameters, counted.macs) == (16, positions * 12)
    assert (counted.bias_adds, counted.inputs) == (positions * 4, (("x", shape),))


def test_every_kind_of_source_counts_the_same_and_is_left_alone(tmp_path: Path) -> None:
    proto, path = PRODUCTS_ON_ONES["conv"], tmp_path / "model.onnx"
    before = proto.SerializeToString(deterministic=True)
    onnx.save(proto, path)
    loaded = ir.from_proto(proto)
    as_loaded = ir.to_proto(loaded).SerializeToString(deterministic=True)
    counts = [count(source) for source in (proto, path, str(path), loaded)]
    assert all(counted == counts[0] for counted in counts)
    assert proto.SerializeToString(deterministic=True) == before
    assert ir.to_proto(loaded).SerializeToString(deterministic=True) == as_loaded


def test_no_model() -> None:
    with pytest.raises(UnreadableModel, match="no-such-file"):
        count("no-such-file.onnx")


def test_the_json_is_complete() -> None:
    counted = count(PRODUCTS_ON_ONES["conv"])
    said = json.loads(json.dumps(counted.to_dict(), allow_nan=False))
    assert list(said) == [
        *("schema", "unit", "parameters", "buffers", "macs", "flops", "pointwise_macs"),
        *("pointwise_share", "bias_adds", "activation_bytes", "weight_bytes", "intensity", "nodes"),
        *("inputs", "layers", "uncounted"),
    ]
    assert (said["schema"], said["unit"]) == (1, "1 MAC = 2 FLOPs")
    assert said["inputs"] == [{"name": "x", "shape": [2, 3, 5, 7]}]
    (layer,) = said["layers"]
    assert (layer["name"], layer["op"], layer["shape"]) == ("Conv:y", "Conv", [2, 4, 3, 6])
    assert said["flops"] == 2 * layer["macs"] == 2 * 2 * 4 * 3 * 6 * 3 * 3 * 2


def test_a_person_sees_layers_totals_and_what_is_missing() -> None:
    nodes = [node("Conv", "x W b", "[red]h"), node("Relu", "[red]h", "y")]
    counted = count(model(nodes, {"x": (2, 3, 5, 7)}, conv(3, 4, 1, 1)))
    console = Console(file=io.StringIO(), width=120)
    console.print(counted)
    shown = console.file.getvalue()
    for text in ("Conv:[red]h", "2×4×5×7", "840", "1,680 FLOPs", "1 MAC = 2 FLOPs", "100%", "Relu"):
        assert text in shown


def test_a_model_without_layers_is_shown_too() -> None:
    console = Console(file=io.StringIO(), width=120)
    console.print(count(model([node("Identity", "x", "y")], {"x": (2, 3)}, {})))
    assert "not counted" not in console.file.getvalue()
