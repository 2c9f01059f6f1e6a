"""Exports that keep channels last: which transposes engines cancel, and what is best there."""

from __future__ import annotations

import pytest
from onnx import ModelProto

from onebyone.cost.profile import DEFAULT, Profile
from onebyone.graph.read import read
from onebyone.graph.shapes import infer
from onebyone.optimize.regions.channels_last import Islands

from ...graphs.text import model
from ..exact import optimized

X = "float[2,5,7,3] x"
TO_FIRST, TO_LAST = "Transpose<perm = [0, 3, 1, 2]>", "Transpose<perm = [0, 2, 3, 1]>"
WEIGHTS = {"u": (4, 3, 1, 1), "k": (4, 4, 3, 3), "v": (3, 4, 1, 1), "m": (4, 4)}
VECTORS = {"b": (4,), "c": (1, 1, 1, 4)}


def layer(x: str, y: str, weight: str, options: str = "") -> str:
    """A convolution between two transposes."""
    return f"{y}_f = {TO_FIRST}({x}) {y}_c = Conv{options}({y}_f, {weight}) {y} = {TO_LAST}({y}_c) "


def built(body: str, outputs: str = "y") -> ModelProto:
    known = {**WEIGHTS, **VECTORS}
    used = {k: v for k, v in known.items() if f" {k})" in body or f" {k}," in body}
    return model(body, X, outputs, used)


ONE, TWO = layer("x", "a", "u"), layer("r", "y", "v")
KEPT = {
    "an activation": (f"{ONE} r = Relu(a) {TWO}", True),
    "nothing": (f"{ONE} {TWO}".replace("(r)", "(a)"), True),
    "arithmetic of two values": (f"{ONE} s = Sigmoid(a) r = Mul(a, s) {TWO}", True),
    "a cast": (f"{ONE} r = Cast<to = 1>(a) {TWO}", True),
    "a MatMul": (f"{ONE} r = MatMul(a, m) {TWO}", False),
    "a LayerNormalization": (f"{ONE} r = LayerNormalization(a, b) {TWO}", False),
    "two reshapes": (f"{ONE} f = Flatten(a) s = Shape(a) r = Reshape(f, s) {TWO}", False),
}


@pytest.mark.parametrize("between", KEPT)
def test_transposes_cancel_through_what_is_elementwise(between: str) -> None:
    body, cancelled = KEPT[between]
    found = read(built(body))
    infer(found)
    islands = Islands.of(found.graph)
    inner = {node.outputs[0].name for node in islands.transposes}
    assert inner == ({"a_f", "a", "y_f", "y"} if cancelled else set())
    assert {v.name for v in islands.values} >= ({"x", "a", "y"} if cancelled else set())


AFFINE = "s = Mul(a, c) t = Add(s, b) r = Relu(t) "


def test_a_network_of_that_style_keeps_its_convolutions_and_folds_the_rest() -> None:
    middle = layer("r", "d", "k", "<pads = [1, 1, 1, 1]>") + "e = Mul(d, c) q = Relu(e) "
    body = ONE + AFFINE + middle + layer("q", "y", "v")
    after = optimized(built(body), "linear", only=["linear", "affine"], profile=DEFAULT)
    assert sorted(after.ops) == ["Conv"] * 3 + ["Relu"] * 2 + ["Transpose"] * 6


def test_where_an_engine_cancels_none_a_product_without_transposes_is_taken() -> None:
    body = ONE + AFFINE + layer("r", "y", "v")
    dear = Profile(channels_last=0.4, beside_product=0.01)  # as OpenVINO, measured
    after = optimized(built(body), "linear", only=["linear", "affine"], profile=dear)
    assert after.ops == ["MatMul", "Add", "Relu", "MatMul"]


def test_alone_between_its_transposes_a_convolution_is_a_product() -> None:
    after = optimized(built(layer("x", "y", "u")), "linear", profile=DEFAULT)
    assert after.ops == ["MatMul"]
