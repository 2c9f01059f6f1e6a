"""Siblings: which nodes are maps of one value that can be stacked, and with what behind them."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onebyone.graph.read import read
from onebyone.graph.shapes import infer
from onebyone.optimize.maps.siblings import ending_at, forms, once

from ...graphs.text import integers, model


def _graph(body: str, inputs: str, outputs: str = "y", **shapes: tuple[int, ...]) -> ir.Graph:
    found = read(model(body, inputs, outputs, shapes))
    infer(found)
    return found.graph


def _named(graph: ir.Graph, name: str) -> ir.Value:
    return next(v for node in graph for v in node.outputs if v.name == name)


def test_a_map_grows_by_its_bias_and_one_function() -> None:
    graph = _graph("m = MatMul(x, w) a = Add(b, m) r = Relu(a) y = Tanh(r)",
                   "float[2,7,5] x", w=(5, 3), b=(3,))  # fmt: skip
    found = list(forms(graph[0]))
    assert [f.result.name for f in found] == ["m", "a", "r"]
    assert [[n.op_type for n in f.nodes] for f in found][-1] == ["MatMul", "Add", "Relu"]
    assert [f.bias is None for f in found] == [True, False, False]
    assert found[-1].bias is not None
    assert found[-1].bias.tolist() == integers("b", (3,)).tolist()
    assert (found[-1].axis, found[-1].out_axis, found[-1].channels) == (2, 1, 3)
    assert found[0].key == found[1].key != found[2].key
    assert [ending_at(f.result).result for f in found] == [f.result for f in found]  # type: ignore[union-attr]
    assert ending_at(graph.outputs[0]) is None  # two functions


def test_the_axis_of_the_outputs() -> None:
    found = {}
    for body, x, w in (
        ("y = Conv(x, w)", "float[2,5,4,7] x", (3, 5, 1, 1)),
        ("y = Gemm(x, w)", "float[2,5] x", (5, 3)),
        ("y = Gemm<transB = 1>(x, w)", "float[2,5] x", (3, 5)),
        ("y = Gemm<transA = 1>(x, w)", "float[5,2] x", (5, 3)),
        ("y = MatMul(x, w)", "float[2,3,4,5] x", (5, 3)),
    ):
        (sibling,) = forms(_graph(body, x, w=w)[0])
        found[body] = sibling.axis, sibling.out_axis, sibling.channels
    assert list(found.values()) == [(1, 0, 3), (1, 1, 3), (1, 0, 3), (1, 1, 3), (3, 1, 3)]


@pytest.mark.parametrize(
    ("body", "x", "w"),
    [
        ("y = Conv<group = 5>(x, w)", "float[2,5,4,7] x", (5, 1, 1, 1)),
        ("y = MatMul(w, x)", "float[5,7] x", (3, 5)),
        ("y = MatMul(x, w)", "float[2,7,5] x", (2, 5, 3)),
        ("y = Gemm(x, w, b)", "float[4,5] x", (5, 3)),
        ("y = Relu(x)", "float[4,5] x", (5, 3)),
        ("y = ConvTranspose(x, w)", "float[2,5,4,7] x", (5, 3, 1, 1)),
    ],
)
def test_what_is_no_map_without_groups_and_with_constant_weights(
    body: str, x: str, w: tuple[int, ...]
) -> None:
    graph = _graph(body, x, w=w, b=(4, 3))
    assert list(forms(graph[0])) == []
    assert ending_at(graph.outputs[0]) is None


@pytest.mark.parametrize(
    ("body", "longest"),
    [
        ("m = MatMul(x, w) y = Relu(m) z = Neg(m)", "m"),  # two readers
        ("m = MatMul(x, w) y = Relu(m) z = Identity(m)", "m"),
        ("m = MatMul(x, w) y = Add(m, c) z = Neg(y)", "m"),  # c differs from token to token
        ("m = MatMul(x, w) y = Add(m, m) z = Neg(y)", "m"),
        ("m = MatMul(x, w) a = Add(m, b) y = Relu(a) z = Neg(y)", "y"),  # y is an output
        ("m = MatMul(x, w) a = Add(m, b) d = Add(a, b) y = Relu(d) z = Neg(y)", "a"),
        ("m = MatMul(x, w) y = PRelu(m, b) z = Neg(y)", "m"),  # a slope for each channel
        ("m = MatMul(x, w) y = Pow(n, m) z = Neg(y)", "m"),  # the exponent
        ("m = MatMul(x, w) y = Pow(m, big) z = Neg(y)", "m"),  # one axis more
    ],
)
def test_what_is_behind_a_map_ends_somewhere(body: str, longest: str) -> None:
    shapes = {"w": (5, 3), "b": (3,), "c": (7, 3), "n": (1,), "big": (1, 1, 1, 1)}
    graph = _graph(body, "float[2,7,5] x", "y, z", **shapes)
    assert [f.result.name for f in forms(graph[0])][-1] == longest


def test_what_is_read_once() -> None:
    graph = _graph("m = Relu(x) y = Add(m, m) z = Neg(y)", "float[2,7] x", "y, z")
    assert [once(_named(graph, name)) for name in "myz"] == [False, False, False]
    graph = _graph("m = Relu(x) y = Neg(m)", "float[2,7] x")
    assert [once(_named(graph, name)) for name in "my"] == [True, False]
