"""Spelled-out GELU and layer normalisation: found whole, and nothing else with them."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onebyone.graph.fused import fused_by_engines

from ..graphs.text import model

X = "float[2,5,3] x"
VECTORS = {"w": (3, 3), "k": (1,), "one": (1,), "g": (3,), "b": (3,), "e": (1,)}


def fused(body: str) -> list[str]:
    graph = ir.from_proto(model(body, X, constants=VECTORS)).graph
    found = fused_by_engines(graph)
    return [node.outputs[0].name for node in graph if node in found]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        # x · (erf(x / √2) + 1) · ½, in the two orders that exporters write
        (
            "l = MatMul(x, w) d = Div(l, k) f = Erf(d) s = Add(f, one) p = Mul(l, s) "
            "h = Mul(p, k) y = MatMul(h, w)",
            ["d", "s", "p", "h"],
        ),
        (
            "d = Mul(x, k) f = Erf(d) s = Add(one, f) h = Mul(x, k) p = Mul(h, s) y = MatMul(p, w)",
            ["d", "s", "h", "p"],
        ),
    ],
)
def test_a_gelu_is_left_whole(body: str, found: list[str]) -> None:
    assert fused(body) == found


def test_a_layer_normalisation_is_left_whole() -> None:
    body = (
        "m = ReduceMean<axes = [2]>(x) c = Sub(x, m) q = Mul(c, c) v = ReduceMean<axes = [2]>(q) "
        "a = Add(v, e) r = Sqrt(a) d = Div(c, r) s = Mul(d, g) t = Add(s, b) y = MatMul(t, w)"
    )
    assert fused(body) == ["d", "s", "t"]


@pytest.mark.parametrize(
    "body",
    [
        "d = Div(x, g) s = Mul(d, g) y = Add(s, b)",
        "a = Sub(x, b) r = Sqrt(x) d = Mul(a, r) y = Add(d, b)",
        "a = Sub(x, b) d = Div(a, g) s = Mul(d, g) y = Add(s, b)",
        "y = Erf(x)",
        "s = Sigmoid(x) y = Mul(x, s)",
    ],
)
def test_arithmetic_that_is_neither_is_free(body: str) -> None:
    assert fused(body) == []
