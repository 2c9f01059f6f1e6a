"""Equal nodes and equal weights, once each; what only looks equal stays."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onebyone.graph.simplify.same import merge_constants, merge_nodes

from ...graphs.text import integers, model
from .simple import operators, simplified

X = "float[2,5] x"


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("a = Relu(x) b = Relu(x) y = Add(a, b)", ["Relu", "Add"]),
        ("a = Add(x, w) b = Add(w, x) y = Mul(a, b)", ["Add", "Mul"]),
        ("a = Relu(x) b = Relu(x) c = Neg(a) d = Neg(b) y = Sub(c, d)", ["Relu", "Neg", "Sub"]),
        ("a, b = Split<axis = 0>(x) c, d = Split<axis = 0>(x) e = Sub(a, d) f = Sub(b, c) "
         "y = Mul(e, f)", ["Split", "Sub", "Sub", "Mul"]),
        ("a = MatMul(x, u) b = MatMul(x, v) y = Sub(a, b)", ["MatMul", "Sub"]),
    ],
)  # fmt: skip
def test_what_is_the_same_is_done_once(body: str, wanted: list[str]) -> None:
    shared = integers("shared", (5, 4))
    given = {"w": integers("w", (2, 5)), "u": shared, "v": shared.copy()}
    used = {
        name: array for name, array in given.items() if f"{name})" in body or f"({name}" in body
    }
    assert operators(simplified(model(body, X, "y", used))) == wanted


@pytest.mark.parametrize(
    "body",
    [
        "a = Sub(x, w) b = Sub(w, x) y = Mul(a, b)",
        "a = Softmax<axis = 0>(x) b = Softmax<axis = 1>(x) y = Mul(a, b)",
        "a = MatMul(x, u) b = MatMul(x, v) y = Sub(a, b)",
        "a = LeakyRelu<alpha = 0.5>(x) b = LeakyRelu<alpha = 0.25>(x) y = Sub(a, b)",
    ],
)
def test_what_differs_stays(body: str) -> None:
    given = {"w": (2, 5), "u": (5, 4), "v": (5, 4)}
    used = {
        name: shape for name, shape in given.items() if f"{name})" in body or f"({name}" in body
    }
    proto = model(body, X, "y", used)
    assert operators(simplified(proto)) == operators(proto)


def test_two_results_of_the_graph_keep_their_names() -> None:
    proto = model("y = Relu(x) z = Relu(x)", X, "y, z")
    assert operators(simplified(proto)) == ["Relu", "Relu"]
    proto = model("a = Relu(x) z = Relu(x) y = Neg(a)", X, "y, z")
    assert operators(simplified(proto)) == ["Relu", "Neg"]


def test_random_numbers_are_drawn_twice() -> None:
    for op, domain in [("RandomNormalLike", ""), ("Bernoulli", ""), ("Relu", "com.example")]:
        x = ir.val("x", ir.DataType.FLOAT, [3])
        nodes = [ir.node(op, [x], domain=domain) for _ in range(2)]
        both = [*nodes, ir.node("Add", [node.outputs[0] for node in nodes])]
        assert not merge_nodes(ir.Graph([x], both[2].outputs, nodes=both))


def test_equal_weights_are_stored_once() -> None:
    w = integers("w", (5, 4))
    body = "a = MatMul(x, u) b = MatMul(n, v) y = Sub(a, b)"
    after = simplified(model(f"n = Neg(x) {body}", X, "y", {"u": w, "v": w.copy()}))
    assert [list(t.dims) for t in after.graph.initializer] == [[5, 4]]


def _pair(a: np.ndarray, b: np.ndarray, **options: object) -> ir.Graph:
    values = [ir.val(n, const_value=ir.tensor(t, name=n)) for n, t in (("a", a), ("b", b))]
    nodes = [ir.node("Neg", [value]) for value in values]
    return ir.Graph([], [n.outputs[0] for n in nodes], nodes=nodes, initializers=values)


def test_weights_of_other_types_or_shapes_or_signs_of_zero_are_not_equal() -> None:
    zeros = np.zeros((2, 3), np.float32)
    assert merge_constants(_pair(zeros, zeros.copy())) == 1
    for other in (zeros.T, zeros.astype(np.int32), -zeros, zeros.astype(np.float64)):
        assert merge_constants(_pair(zeros, other)) == 0


def test_a_default_that_a_caller_may_override_is_its_own() -> None:
    w = integers("w", (2, 5))
    proto = model("a = Add(x, u) y = Mul(a, v)", f"{X}, float[2,5] u", "y", {"u": w, "v": w.copy()})
    assert len(simplified(proto).graph.initializer) == 2
