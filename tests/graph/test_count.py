"""Counts of small models, each figure known beforehand.

The oracle for multiply-accumulates is the operator itself: run on ones with weights of one and
nothing padded, each of them adds 1 to the output, so the sum of the output is their number.
"""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from onnx import TensorProto

from onebyone.graph.count import count

from .counted import (
    PRODUCTS_ON_ONES,
    Shape,
    W,
    X,
    conv,
    model,
    node,
    only,
    run_on_ones,
)

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
