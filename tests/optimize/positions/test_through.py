"""Which positions of its operands a node needs: axis by axis, and where it needs all of them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onebyone.graph.picks import picked
from onebyone.graph.read import read
from onebyone.graph.shapes import infer
from onebyone.optimize.positions.through import through

from ...graphs.text import model

LAST = "y"


def last(body: str, inputs: str, opset: int = 17, **constants: object) -> ir.Node:
    """The last node of a model."""
    made = read(model(body, inputs, LAST, constants, opset=opset, ir_version=10))  # type: ignore[arg-type]
    infer(made)
    return made.graph.node(len(made.graph) - 1)


def needs(node: ir.Node, axis: int, opset: int = 17) -> dict[int, int] | None:
    """Operand -> its axis, for position 1 along an axis of the result."""
    assert node.outputs[0].shape is not None
    size = node.outputs[0].shape[axis]
    assert isinstance(size, int)
    asked = picked([1], size)
    assert asked is not None
    found = through(node, axis, asked, opset)
    if found is None:
        return None
    assert all(picks == asked for _, picks in found.values())
    return {index: own for index, (own, _) in found.items()}


T = "float[2,7,3] x"
CASES: dict[str, tuple[str, str, dict[str, object], list[dict[int, int] | None]]] = {
    # what the node is, its inputs, its constants, and what it needs for each axis of the result
    "elementwise": ("y = Sigmoid(x)", T, {}, [{0: 0}, {0: 1}, {0: 2}]),
    "broadcast": ("y = Add(x, z)", T + ", float[7,1] z", {}, [{0: 0}, {0: 1, 1: 0}, {0: 2}]),
    "both broadcast": ("y = Add(x, z)", "float[7,1] x, float[1,3] z", {}, [{0: 0}, {1: 1}]),
    "linear": ("y = MatMul(x, w)", T, {"w": (3, 4)}, [{0: 0}, {0: 1}, None]),
    "linear on the left": ("y = MatMul(w, x)", T, {"w": (4, 7)}, [{1: 0}, None, {1: 2}]),
    "product": (
        "y = MatMul(x, z)",
        T + ", float[2,3,5] z",
        {},
        [{0: 0, 1: 0}, {0: 1}, {1: 2}],
    ),
    "a product with a vector": ("y = MatMul(x, z)", T + ", float[3] z", {}, [None, None]),
    "Gemm": ("y = Gemm(x, w, b)", "float[7,3] x", {"w": (3, 4), "b": (7, 1)}, [{0: 0, 2: 0}, None]),
    "Gemm of a turned operand": (
        "y = Gemm<transA = 1>(x, w, b)",
        "float[3,7] x",
        {"w": (3, 4), "b": (4,)},
        [{0: 1}, None],
    ),
    "Gemm of a weight": ("y = Gemm(w, x)", "float[3,4] x", {"w": (7, 3)}, [None, None]),
    "Softmax": ("y = Softmax<axis = 1>(x)", T, {}, [{0: 0}, None, {0: 2}]),
    "LayerNormalization": (
        "y = LayerNormalization<axis = 1>(x, w)",
        T,
        {"w": (7, 3)},
        [{0: 0}, None, None],
    ),
    "BatchNormalization": (
        "y = BatchNormalization(x, w, w, w, w)",
        T,
        {"w": np.ones(7, np.float32)},
        [{0: 0}, None, {0: 2}],
    ),
    "Concat": ("y = Concat<axis = 1>(x, x)", T, {}, [{0: 0, 1: 0}, None, {0: 2, 1: 2}]),
    "a reduction": ("y = ReduceMax<axes = [1]>(x)", T, {}, [{0: 0}, None, {0: 2}]),
    "a reduction that drops its axis": (
        "y = ReduceMax<axes = [1], keepdims = 0>(x)",
        T,
        {},
        [{0: 0}, {0: 2}],
    ),
    "LRN": ("y = LRN<size = 3>(x)", "float[2,7,3,4] x", {}, [{0: 0}, None, {0: 2}, {0: 3}]),
    "a reduction of everything": ("y = ReduceMax(x)", T, {}, [None, None, None]),
    "Transpose": ("y = Transpose<perm = [2, 0, 1]>(x)", T, {}, [{0: 2}, {0: 0}, {0: 1}]),
    "Reshape": (
        "y = Reshape(x, s)",
        T,
        {"s": np.array([2, 7, 1, 3])},
        [{0: 0}, {0: 1}, None, {0: 2}],
    ),
    "a reshape across": ("y = Reshape(x, s)", T, {"s": np.array([14, 3])}, [None, {0: 2}]),
    "a fitting squeeze": (
        "y = Squeeze(x, s)",
        "float[2,1,3] x",
        {"s": np.array([1])},
        [{0: 0}, {0: 2}],
    ),
    "a squeeze of whatever has size one": ("y = Squeeze(x)", "float[2,1,3] x", {}, [None, None]),
    "a slice": (
        "y = Slice(x, s, e, s)",
        T,
        {"s": np.array([1]), "e": np.array([5])},
        [{0: 0}, None, {0: 2}],
    ),
    "a gather of one": (
        "y = Gather<axis = 1>(x, s)",
        T,
        {"s": np.array(4)},
        [{0: 0}, {0: 2}],
    ),
    "a resize": (
        "y = Resize(x, , s)",
        T,
        {"s": np.array([1, 2, 1], np.float32)},
        [{0: 0}, None, {0: 2}],
    ),
    "a cumulative sum": ("y = CumSum(x, s)", T, {"s": np.array(1)}, [None, None, None]),
    "Dropout": ("y = Dropout(x)", T, {}, [{0: 0}, {0: 1}, {0: 2}]),
    "Dropout in training": (
        "y = Dropout(x, r, t)",
        T,
        {"r": np.array(0.5, np.float32), "t": np.array(True)},
        [None, None, None],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_axis_by_axis(name: str) -> None:
    body, inputs, constants, wanted = CASES[name]
    node = last(body, inputs, **constants)
    assert node.outputs[0].shape is not None
    sizes = list(node.outputs[0].shape)
    told = [needs(node, axis) for axis, size in enumerate(sizes) if size != 1]
    assert told == [found for found, size in zip(wanted, sizes, strict=True) if size != 1]


@pytest.mark.parametrize(
    ("how", "wanted"),
    [("axis = -2", [{0: 0}, {0: 2}]), ("axis = 1, keepdims = 0", [{0: 0}, {0: 2}])],
)
def test_the_place_of_an_extreme(how: str, wanted: list[dict[int, int]]) -> None:
    for name in ("ArgMax", "ArgMin"):
        dims = "a,b" if "keepdims" in how else "a,b,c"
        made = read(model(f"y = {name}<{how}>(x)", T, f"int64[{dims}] y", opset=17, ir_version=10))
        infer(made)
        node = made.graph.node(0)
        assert node.outputs[0].shape is not None
        sizes = list(node.outputs[0].shape)
        assert [needs(node, axis) for axis, n in enumerate(sizes) if n != 1] == wanted
        if len(sizes) == 3:
            picks = picked([1], 9)
            assert picks is not None
            assert through(node, 1, picks, 17) is None


def test_a_softmax_of_old() -> None:
    node = last("y = Softmax<axis = 1>(x)", "float[2,7,3] x", 11)
    assert [needs(node, axis, 11) for axis in range(3)] == [{0: 0}, None, None]


@pytest.mark.parametrize(
    ("body", "inputs", "wanted"),
    [
        ("y = RMSNormalization(x, w)", "float[2,7,3] x, float[3] w", [{0: 0}, {0: 1}, None]),
        (
            "y = RMSNormalization(x, w)",
            "float[2,7,3] x, float[2,7,3] w",
            [None, None, None],
        ),
        (
            "y = Attention<is_causal = 1>(x, k, k)",
            "float[2,2,7,3] x, float[2,2,5,3] k",
            [None, None, None, None],
        ),
        (
            "y = Attention(x, k, k, m)",
            "float[2,2,7,3] x, float[2,2,5,3] k, float[1,1,7,5] m",
            [None, None, {0: 2, 3: 2}, None],
        ),
        (
            "y = Attention(x, k, k, m)",
            "float[2,2,7,3] x, float[2,2,5,3] k, float[1,5] m",
            [None, None, {0: 2}, None],
        ),
    ],
)
def test_newer_operators(body: str, inputs: str, wanted: list[dict[int, int] | None]) -> None:
    node = last(body, inputs, 23)
    assert [needs(node, axis, 23) for axis in range(len(wanted))] == wanted


def test_a_reshape_of_two_free_sizes_stays_where_no_constant_says_it() -> None:
    body = "s = Shape(z) y = Reshape(x, s)"
    node = last(body, "float[N,L,6,5] x, float[N,L,2,3,5] z")
    asked = picked([1], 5)
    assert asked is not None
    assert through(node, 4, asked, 17) == {0: (3, asked)}  # [0, 0, 2, 3, 1]
    turned = last("s = Shape(z) y = Reshape(x, s)", "float[6,N,L,5] x, float[2,3,N,L,5] z")
    assert through(turned, 4, asked, 17) is None
