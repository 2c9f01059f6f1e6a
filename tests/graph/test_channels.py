"""Nodes read as channel maps: what they read, against ONNX Runtime; what they do not, by name."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import ModelProto

from onebyone.algebra.refusal import Refusal
from onebyone.graph.channels import (
    ChannelNode,
    channel_axis,
    channel_map,
    is_pointwise_convolution,
)

from ..graphs.run import run
from ..graphs.text import feed, model

X4, X3 = "float[2,3,5,1] x", "float[2,5,3] x"
UNIT = np.array([4, 1, 0.25], np.float32) - np.float32(2.0**-10)


def node_of(proto: ModelProto) -> ir.Node:
    return list(ir.from_proto(proto).graph)[-1]


def read(proto: ModelProto, axis: int) -> ChannelNode:
    found = channel_map(node_of(proto), axis)
    assert isinstance(found, ChannelNode), found
    return found


READ = [
    ("y = Conv(x, w)", X4, {"w": (4, 3, 1, 1)}, 1),
    ("y = Conv(x, w, b)", X4, {"w": (4, 3, 1, 1), "b": (4,)}, 1),
    ("y = Conv<group = 3>(x, w, b)", X4, {"w": (6, 1, 1, 1), "b": (6,)}, 1),
    ("y = Conv(x, w)", "float[2,3,5] x", {"w": (1, 3, 1)}, 1),
    ("y = MatMul(x, w)", X3, {"w": (3, 4)}, 2),
    ("y = MatMul(w, x)", X3, {"w": (4, 5)}, 1),
    ("y = MatMul(w, x)", "float[5,3] x", {"w": (4, 5)}, 0),
    ("y = Gemm(x, w, b)", "float[2,3] x", {"w": (3, 4), "b": (4,)}, 1),
    ("y = Gemm<transB = 1, alpha = 2.0, beta = 0.5>(x, w, b)", "float[2,3] x",
     {"w": (4, 3), "b": (1, 4)}, 1),
    ("y = Gemm(x, w, b)", "float[2,3] x", {"w": (3, 4), "b": (1,)}, 1),
    ("y = BatchNormalization<epsilon = 0.0009765625>(x, s, b, m, v)", X4,
     {"s": (3,), "b": (3,), "m": (3,), "v": UNIT}, 1),
    ("y = Mul(x, s)", X4, {"s": (3, 1, 1)}, 1),
    ("y = Add(s, x)", X3, {"s": (3,)}, 2),
    ("y = Sub(x, s)", X4, {"s": (1, 3, 1, 1)}, 1),
    ("y = Sub(s, x)", X4, {"s": (1,)}, 1),
    ("y = Div(x, s)", X4, {"s": (3, 1, 1)}, 1),
    ("y = Neg(x)", X4, {}, 1),
]  # fmt: skip


@pytest.mark.parametrize(("body", "inputs", "constants", "axis"), READ)
def test_a_map_is_what_the_engine_computes(
    body: str, inputs: str, constants: dict[str, tuple[int, ...]], axis: int
) -> None:
    proto = model(body, inputs, constants=constants)
    found, feeds = read(proto, axis), feed(proto)
    # Weights are ±1, ±2 (or powers of two), so every product and quotient here is exact.
    assert np.array_equal(found.map.apply(feeds["x"], axis), run(proto, feeds)[0]["y"])
    assert (found.operand.name, found.moves_positions) == ("x", False)


@pytest.mark.parametrize(
    ("body", "inputs", "constants", "axis"),
    [
        ("y = Conv(x, w)", X4, {"w": (4, 3, 2, 1)}, 1),
        ("y = MatMul(x, w)", X3, {"w": (3, 4)}, 1),
        ("y = MatMul(x, w)", X3, {"w": (2, 3, 4)}, 2),
        ("y = MatMul(x, w)", "float[3] x", {"w": (3, 4)}, 0),
        ("y = Gemm<transA = 1>(x, w)", "float[3,2] x", {"w": (3, 4)}, 1),
        ("y = Mul(x, s)", X4, {"s": (3, 5, 1)}, 1),
        ("y = Mul(x, s)", "float[2,1,5] x", {"s": (3, 1)}, 1),
        ("y = Mul(x, s)", "float[5] x", {"s": (3, 1)}, 1),
        ("y = Add(x, s)", "float[5] x", {"s": (5,)}, 1),
        ("y = Neg(x)", "float[5] x", {}, 1),
        ("y = Mul(x, x)", X4, {}, 1),
        ("y = Div(s, x)", X4, {"s": (3, 1, 1)}, 1),
        ("y = Div(x, s)", X4, {"s": np.zeros(1, np.float32)}, 1),
        ("y = Relu(x)", X4, {}, 1),
        ("y = Mul(x, s)", "float[2,0,5,7] x", {"s": (0, 1, 1)}, 1),
        ("y = Neg(x)", "float[2,0] x", {}, 1),
    ],
)
def test_what_is_no_channel_map_on_that_axis(
    body: str, inputs: str, constants: dict[str, tuple[int, ...]], axis: int
) -> None:
    assert channel_map(node_of(model(body, inputs, constants=constants)), axis) is None


@pytest.mark.parametrize(
    ("body", "inputs", "constants", "reason"),
    [
        ("y = Conv(x, w)", X4 + ", float[4,3,1,1] w", {}, "its weight is no constant"),
        ("y = Conv(x, w, b)", X4 + ", float[4] b", {"w": (4, 3, 1, 1)}, "its bias is no constant"),
        ("y = Gemm(x, w, b)", "float[2,3] x", {"w": (3, 4), "b": (2, 1)}, "from row to row"),
        ("y = BatchNormalization(x, s, b, m, v)", X4 + ", float[3] m",
         {"s": (3,), "b": (3,), "v": UNIT}, "its statistics is no constant"),
        ("y, r, q = BatchNormalization<training_mode = 1>(x, s, b, m, v)", X4,
         {"s": (3,), "b": (3,), "m": (3,), "v": UNIT}, "in training mode"),
    ],
)  # fmt: skip
def test_what_would_be_one_but_for_a_reason(
    body: str, inputs: str, constants: dict[str, tuple[int, ...]], reason: str
) -> None:
    found = channel_map(node_of(model(body, inputs, constants=constants)), 1)
    assert isinstance(found, Refusal)
    assert reason in found.reason


def test_a_strided_padded_convolution_says_so() -> None:
    body = "y = Conv<strides = [2, 1], pads = [0, 1, 1, 0]>(x, w)"
    found = read(model(body, X4, constants={"w": (4, 3, 1, 1)}), 1)
    assert (found.strides, found.pads, found.moves_positions) == ((2, 1), (0, 1, 1, 0), True)


@pytest.mark.parametrize(
    ("body", "inputs", "constants", "axis"),
    [
        ("y = Conv(x, w)", X4, {"w": (4, 3, 1, 1)}, 1),
        ("y = MatMul(x, w)", X3, {"w": (3, 4)}, 2),
        ("y = MatMul(w, x)", X3, {"w": (4, 5)}, 1),
        ("y = MatMul(x, z)", X3 + ", float[2,3,4] z", {}, None),
        ("y = LayerNormalization(x, s)", X3, {"s": (3,)}, 2),
        ("y = Relu(x)", X4, {}, None),
        ("y = PRelu(x, s)", X4, {"s": (3, 1, 1)}, 1),
        ("y = PRelu(x, s)", "float[3] x", {"s": (1,)}, None),
    ],
)
def test_where_an_operator_puts_its_channels(
    body: str, inputs: str, constants: dict[str, tuple[int, ...]], axis: int | None
) -> None:
    assert channel_axis(node_of(model(body, inputs, constants=constants))) == axis


def test_only_a_kernel_of_one_along_every_axis_is_pointwise() -> None:
    kernels = {(4, 3, 1, 1): True, (4, 3, 1, 2): False}
    for shape, pointwise in kernels.items():
        node = node_of(model("y = Conv(x, w)", "float[2,3,5,2] x", constants={"w": shape}))
        assert is_pointwise_convolution(node) == pointwise


def test_operators_of_other_domains_and_integers_are_left_alone() -> None:
    custom = ir.node("Neg", [ir.val("x", ir.DataType.FLOAT, (2, 3))], domain="local")
    custom.outputs[0].dtype = ir.DataType.FLOAT
    assert channel_map(custom, 1) is None
    assert channel_map(node_of(model("y = Neg(x)", "int64[2,3] x", "int64[2,3] y")), 1) is None
