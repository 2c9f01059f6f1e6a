"""Every spelling of a constant is folded; what would grow the file or is no constant is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onebyone.graph.read import read
from onebyone.graph.shapes import infer
from onebyone.graph.simplify.constants import fold_constants

from ...graphs.text import integers, model
from ...optimize.exact import optimized
from .simple import operators, simplified

X = "float[2,5,3,4] x"
W = integers("w", (7, 5, 1, 1))
_AXES = {"one": np.array([1]), "two": np.array([2]), "zero": np.array([0]), "end": np.array([7])}
_SPELLINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "mask": ("k = Mul(w, m)", {"m": (7, 1, 1, 1)}),
    "LoRA": ("f = MatMul(up, low) g = Mul(f, by) r = Reshape(g, shape) k = Add(w, r)",
             {"low": (2, 5), "up": (7, 2), "by": np.array(2, np.float32),
              "shape": np.array([7, 5, 1, 1])}),
    "weight norm": ("q = Mul(w, w) n = ReduceSum(q, axes) o = Div(q, n) k = Mul(o, n)",
                    {"axes": np.array([1, 2, 3])}),
    "slice": ("k = Slice(v, one, end9, zero)", {"v": (9, 5, 1, 1), "end9": np.array([8]), **_AXES}),
    "negative slice": ("k = Slice(w, last, low, zero, back)", {"last": np.array([-1]),
                       "low": np.array([-99]), "back": np.array([-1]), **_AXES}),
    "concat": ("k = Concat<axis = 0>(v, u)", {"v": (3, 5, 1, 1), "u": (4, 5, 1, 1)}),
    "gather": ("k = Gather(v, i)", {"v": (9, 5, 1, 1), "i": np.array([8, 0, 1, 2, 2, 5, 7])}),
    "gather elements": ("k = GatherElements(w, i)", {"i": np.zeros((7, 5, 1, 1), np.int64)}),
    "clip": ("k = Clip(w, low, high)", {"low": np.array(-1, np.float32),
                                       "high": np.array(1, np.float32)}),
    "cast of float64": ("k = Cast<to = 1>(v)", {"v": W.astype(np.float64)}),
    "cast of int32": ("k = Cast<to = 1>(v)", {"v": W.astype(np.int32)}),
    "half and back": ("h = Cast<to = 10>(w) k = Cast<to = 1>(h)", {}),
    "where": ("k = Where(c, w, v)", {"v": (7, 5, 1, 1), "c": W > 0}),
    "reshape": ("k = Reshape(v, shape)", {"v": (7, 5), "shape": np.array([7, -1, 1, 1])}),
    "transpose": ("k = Transpose<perm = [1, 0, 2, 3]>(v)", {"v": (5, 7, 1, 1)}),
    "unsqueeze": ("k = Unsqueeze(v, axes)", {"v": (7, 5), "axes": np.array([2, 3])}),
    "squeeze": ("k = Squeeze(v, axes)", {"v": (1, 7, 5, 1, 1), "axes": np.array([0])}),
    "flatten": ("f = Flatten(w) k = Reshape(f, shape)", {"shape": np.array([7, 5, 1, 1])}),
    "split": ("k, rest = Split(v, parts)", {"v": (9, 5, 1, 1), "parts": np.array([7, 2])}),
    "pad": ("k = Pad(v, pads)", {"v": (6, 5, 1, 1), "pads": np.array([1, 0, 0, 0, 0, 0, 0, 0])}),
    "expand": ("k = Expand(v, shape)", {"v": (7, 1, 1, 1), "shape": np.array([7, 5, 1, 1])}),
    "tile": ("k = Tile(v, repeats)", {"v": (7, 1, 1, 1), "repeats": np.array([1, 5, 1, 1])}),
    "reduction": ("k = ReduceSum<keepdims = 0>(v, axes)", {"v": (2, 7, 5, 1, 1),
                                                         "axes": np.array([0])}),
    "root and quotient": ("q = Mul(w, w) r = Sqrt(q) k = Div(w, r)", {}),
    "einsum": ('k = Einsum<equation = "abcd,bf->afcd">(w, v)', {"v": (5, 5)}),
    "scatter": ("k = ScatterND(w, i, u)", {"i": np.array([[2], [0]]), "u": (2, 5, 1, 1)}),
    "constant of shape": ("f = ConstantOfShape<value = float[1] {2}>(shape) k = Mul(w, f)",
                          {"shape": np.array([7, 5, 1, 1])}),
    "range": ("r = Range(n0, n7, n1) f = Cast<to = 1>(r) g = Reshape(f, shape) k = Mul(w, g)",
              {"n0": np.array(0), "n7": np.array(7), "n1": np.array(1),
               "shape": np.array([7, 1, 1, 1])}),
    "triangle": ("s = Reshape(w, flat) t = Trilu(s) k = Reshape(t, shape)",
                 {"flat": np.array([7, 5]), "shape": np.array([7, 5, 1, 1])}),
    "dropout": ("k = Dropout(w)", {}),
    "absolute": ("k = Abs(w)", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", _SPELLINGS)
def test_every_spelling_of_a_weight_composes(name: str) -> None:
    spelling, constants = _SPELLINGS[name]
    given = {key: value for key, value in constants.items() if f"{key}" in spelling}
    given |= {"w": W} if "w" in spelling.replace("Where", "") else {}
    opset = 17
    body = f"{spelling} a = Conv(x, k) y = Conv(a, z)"
    proto = model(body, X, "y", {**given, "z": (2, 7, 1, 1)}, opset=opset)
    after = optimized(proto, "compose")
    assert after.ops == ["Conv"]
    assert after.laws == {"compose"}


def _folded(body: str, x: str = X, opset: int = 17, **constants: Any) -> list[str]:
    return operators(simplified(model(body, x, "y", constants, opset=opset)))


def test_a_constant_that_would_grow_the_file_stays() -> None:
    # The table is read as it is, too: its transpose would be stored a second time.
    table = {"t": (60, 50)}
    body = "g = Gather(t, i) s = Transpose(t) p = MatMul(g, s) y = Mul(p, p)"
    assert _folded(body, "int64[4] i", **table) == ["Gather", "Transpose", "MatMul", "Mul"]
    alone = "s = Transpose(t) y = MatMul(g, s)"
    assert _folded(alone, "float[4,50] g", **table) == ["MatMul"]


def test_large_fills_and_wider_types_stay() -> None:
    fill = "f = Expand(c, s) y = Concat<axis = 1>(x, f)"
    given = {"c": (2, 1, 1, 1), "s": np.array([2, 60, 3, 4])}
    assert _folded(fill, **given) == ["Expand", "Concat"]
    half = integers("h", (5, 300)).astype(np.float16)
    assert _folded("k = Cast<to = 1>(h) y = MatMul(x, k)", "float[2,5] x", h=half)[0] == "Cast"


def test_what_comes_before_a_constant_that_stays_is_folded() -> None:
    body = "n = Mul(c, c) f = Expand(n, s) y = Concat<axis = 1>(x, f)"
    given = {"c": (2, 1, 1, 1), "s": np.array([2, 60, 3, 4])}
    assert _folded(body, **given) == ["Expand", "Concat"]


def test_parts_of_one_weight_are_judged_together() -> None:
    body = "q, k, v = Split<axis = 1>(w) a = MatMul(x, q) b = MatMul(x, k) c = MatMul(x, v) "
    body += "d = Mul(a, b) y = Mul(d, c)"
    ops = _folded(body, "float[2,30] x", w=(30, 90))
    assert sorted(ops) == ["MatMul"] * 3 + ["Mul"] * 2


def test_a_table_looked_up_at_one_place_is_stored_as_one_row() -> None:
    # BERT's token types: 24 times the same row, added to something that has 24.
    body = "r = Gather(t, i) y = Add(x, r)"
    proto = model(body, "float[1,24,60] x", "y", {"t": (2, 60), "i": np.ones((1, 24), np.int64)})
    after = simplified(proto)
    assert operators(after) == ["Add"]
    assert [list(t.dims) for t in after.graph.initializer] == [[1, 1, 60]]
    wide = body.replace("x, r", "r, x")
    proto = model(wide, "float[1,1,60] x", "y", {"t": (2, 60), "i": np.ones((1, 24), np.int64)})
    assert operators(simplified(proto)) == ["Gather", "Add"]


def test_quantised_weights_stay_quantised() -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s"], ["k"]),
        helper.make_node("MatMul", ["x", "k"], ["y"]),
    ]
    weights = [numpy_helper.from_array(np.ones((5, 40), np.int8), "q"),
               numpy_helper.from_array(np.float32(0.5), "s")]  # fmt: skip
    ends = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 5])]
    outs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 40])]
    graph = helper.make_graph(nodes, "g", ends, outs, weights)
    proto = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    assert operators(simplified(proto)) == ["DequantizeLinear", "MatMul"]


def test_defaults_that_a_caller_may_override_are_no_constants() -> None:
    body = "k = Mul(w, w) y = Add(x, k)"
    proto = model(body, "float[2,3] x, float[2,3] w", "y", {"w": (2, 3)})
    assert operators(simplified(proto)) == ["Mul", "Add"]


@pytest.mark.parametrize("op", ["RandomNormalLike", "Bernoulli"])
def test_random_numbers_are_drawn_by_the_engine(op: str) -> None:
    made = read(
        model(f"k = {op}(p) y = Add(x, k)", "float[2,3] x", "y", {"p": np.ones((2, 3), "f")})
    )
    infer(made)
    assert not fold_constants(made.graph, 17)


def test_operators_of_others_are_left_alone() -> None:
    w = ir.val("w", const_value=ir.tensor(np.float32([1])))
    node = ir.node("Neg", [w], domain="com.example")
    graph = ir.Graph([], [], nodes=[node], initializers=[w], opset_imports={"": 17})
    assert not fold_constants(graph, 17)


def test_results_of_the_graph_keep_their_names() -> None:
    proto = model("y = Mul(a, a) z = Add(x, y)", "float[2,3] x", "y, z", {"a": (2, 3)})
    after = simplified(proto)
    assert [node.op_type for node in after.graph.node] == ["Constant", "Add"]


def test_inside_a_branch_too() -> None:
    body = (
        "y = If(c) <then_branch = t () => (float[2,3] o) {"
        " k = Mul(a, a) o = Add(x, k) },"
        " else_branch = e () => (float[2,3] p) {"
        " two = Constant<value = float[1] {2}>() four = Mul(two, two) p = Mul(x, four) }>"
    )
    proto = model(body, "float[2,3] x, bool c", "float[2,3] y", {"a": (2, 3)})
    after = simplified(proto)
    branches = [[n.op_type for n in a.g.node] for a in after.graph.node[0].attribute]
    assert branches == [["Constant", "Add"], ["Constant", "Mul"]]


def test_nan_is_left_to_the_engine() -> None:
    zero = np.zeros(3, np.float32)
    proto = model("k = Div(z, z) y = Add(x, k)", "float[2,3] x", "y", {"z": zero})
    assert operators(simplified(proto, exact=False)) == ["Div", "Add"]


def test_infinite_masks_are_constants() -> None:
    given = {"c": np.array([True, False, True]), "i": np.float32([-np.inf]), "z": np.float32([0])}
    assert _folded("k = Where(c, i, z) y = Add(x, k)", "float[2,3] x", **given) == ["Add"]


def test_weights_are_rounded_once() -> None:
    # In float32 step by step the sum would be 1 + 2^-24 + 2^-24 = 1.
    tiny = np.float32([2.0**-24])
    proto = model("a = Add(one, t) k = Add(a, t) y = Mul(x, k)", "float[1] x", "y",
                  {"one": np.float32([1]), "t": tiny})  # fmt: skip
    after = simplified(proto, exact=False)
    assert numpy_helper.to_array(after.graph.initializer[0]).item() == np.float32(1 + 2.0**-23)
