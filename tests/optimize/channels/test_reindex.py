"""Weights for other channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onebyone.graph.channels import flow
from onebyone.graph.constants import constant
from onebyone.graph.edit import Edit
from onebyone.graph.read import read
from onebyone.graph.shapes import infer
from onebyone.optimize.channels.reindex import narrow, reindex

from ...graphs.text import integers as numbers
from ...graphs.text import model

X = "float[2,3,4,8] x"
IN, OUT = np.array([2, 0]), np.array([3, 1])


def _reindexed(
    body: str, bias: np.ndarray | None = None, inputs: str = X, **constants: Any
) -> ir.Node:
    """The only node, with two channels of each side picked."""
    made = read(model(body, inputs, "y", constants))
    infer(made)
    (node,) = made.graph
    axis = 1 if node.op_type != "MatMul" or constant(node.inputs[0]) is not None else 2
    found = flow(node, axis)
    assert found is not None
    assert found.mix is not None
    orders = {found.mix.operand: IN, node.outputs[0]: OUT}
    assert reindex(node, found, orders, Edit(made.graph), bias)
    return node


def _held(node: ir.Node, at: int) -> np.ndarray:
    array = constant(node.inputs[at])
    assert array is not None
    return array


def test_a_convolution_takes_rows_columns_and_its_bias() -> None:
    node = _reindexed("y = Conv(x, w, b)", w=(4, 3, 2, 1), b=(4,))
    assert (_held(node, 1) == numbers("w", (4, 3, 2, 1))[OUT][:, IN]).all()
    assert (_held(node, 2) == numbers("b", (4,))[OUT]).all()


def test_a_bias_that_is_new_is_given_in_the_old_order() -> None:
    node = _reindexed("y = Conv(x, w)", np.array([10.0, 11, 12, 13]), w=(4, 3, 1, 1))
    assert _held(node, 2).tolist() == [13, 11]
    assert _held(node, 2).dtype == np.float32


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_gemm(transposed: int) -> None:
    shape = (4, 3) if transposed else (3, 4)
    body = f"y = Gemm<alpha = 0.5, beta = 2.0, transB = {transposed}>(x, w, c)"
    node = _reindexed(body, inputs="float[5,3] x", w=shape, c=(1, 4))
    weight = numbers("w", shape)
    wanted = weight[OUT][:, IN] if transposed else weight[IN][:, OUT]
    assert (_held(node, 1) == wanted).all()
    assert (_held(node, 2) == 2 * numbers("c", (1, 4))[0, OUT]).all()
    assert "beta" not in node.attributes  # it is in the bias


def test_a_matmul_on_either_side() -> None:
    right = _reindexed("y = MatMul(x, w)", inputs="float[2,7,3] x", w=(3, 4))
    left = _reindexed("y = MatMul(w, x)", inputs="float[2,3,7] x", w=(4, 3))
    assert (_held(right, 1) == numbers("w", (3, 4))[IN][:, OUT]).all()
    assert (_held(left, 0) == numbers("w", (4, 3))[OUT][:, IN]).all()


def test_shared_weights_are_left_to_the_others() -> None:
    made = read(model("y = Conv(x, w) z = Conv(x, w)", X, "y, z", {"w": (4, 3, 1, 1)}))
    infer(made)
    first, second = made.graph
    found = flow(first, 1)
    assert found is not None
    reindex(first, found, {first.outputs[0]: OUT}, Edit(made.graph), None)
    assert _held(first, 1).shape == (2, 3, 1, 1)
    assert _held(second, 1).shape == (4, 3, 1, 1)


def test_integers_are_stored_once() -> None:
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 17})
    edit = Edit(graph)
    assert edit.integers([1, 2]) is edit.integers((np.int32(1), 2))
    assert edit.integers([2]) is not edit.integers([1, 2])
    assert len(graph.initializers) == 2


def test_narrow_changes_one_axis() -> None:
    value = ir.val("v", ir.DataType.FLOAT, ("n", 6, "h"))
    narrow(value, 1, 4)
    assert value.shape == ir.Shape(["n", 4, "h"])


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_bounds_stay_of_one_type(kind: Any) -> None:
    """Engines take a Slice whose bounds are all int32 or all int64."""
    bounds = {"s": [2], "e": [4], "a": [1], "p": [1]}
    made = read(
        model(
            "y = Slice(x, s, e, a, p)",
            "float[2,6,4,8] x",
            constants={name: np.array(numbers, kind) for name, numbers in bounds.items()},
        )
    )
    infer(made)
    (node,) = made.graph
    found = flow(node, 1)
    assert found is not None
    assert node.inputs[0] is not None
    orders = {node.inputs[0]: np.array([1, 2, 3]), node.outputs[0]: np.array([0, 1])}
    assert reindex(node, found, orders, Edit(made.graph), None)
    held = [_held(node, at) for at in range(1, 5)]
    assert [array.tolist() for array in held] == [[1], [3], [1], [1]]
    assert {array.dtype for array in held} == {np.dtype(kind)}
