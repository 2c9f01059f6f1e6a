"""Which values a normalisation divides by their own size, in every spelling."""

from __future__ import annotations

import numpy as np
import pytest

from onebyone.graph.read import read
from onebyone.optimize.regions.rescaled import is_rescaled

from ...graphs.text import model

ONE = np.float32([1])
CONSTANTS = {"one": ONE, "half": ONE / 2, "minus": -ONE / 2, "two": 2 * ONE, "s": (7,)}


def rescaled(body: str) -> bool:
    constants = {name: array for name, array in CONSTANTS.items() if f"{name}" in body}
    proto = model(f"a = Abs(x) {body}", "float[2,5,7] x", "y", constants)
    first = next(iter(read(proto).graph))
    return is_rescaled(first.outputs[0])


RMS = "q = Pow(a, two) m = ReduceMean<axes = [2]>(q) e = Add(m, one) "


@pytest.mark.parametrize(
    "body",
    [
        "y = LayerNormalization(a, s)",
        "r = Relu(a) t = Transpose<perm = [0, 2, 1]>(r) y = LpNormalization(t)",
        RMS + "d = Sqrt(e) y = Div(a, d)",
        RMS + "d = Sqrt(e) r = Reciprocal(d) y = Mul(a, r)",
        RMS + "d = Sqrt(e) r = Reciprocal(d) y = Mul(r, a)",
        RMS + "d = Sqrt(e) r = Div(one, d) y = Mul(r, a)",
        RMS + "r = Pow(e, minus) y = Mul(a, r)",
        "c = ReduceMean<axes = [2]>(a) d = Sub(a, c) q = Mul(d, d) m = ReduceMean<axes = [2]>(q) "
        "e = Sqrt(m) y = Div(d, e)",
        "n = ReduceL2<axes = [2]>(a) y = Div(a, n)",
        "n = ReduceMean<axes = [2]>(a) y = Div(a, n)",
    ],
)
def test_a_normalisation_in_any_spelling(body: str) -> None:
    assert rescaled(body)


@pytest.mark.parametrize(
    "body",
    [
        "y = Relu(a)",
        "b = Add(a, s) y = LayerNormalization(b, s)",
        "y = Mul(a, half)",
        "y = Div(a, two)",
        "n = Neg(a) e = Exp(n) d = Add(e, one) y = Div(a, d)",  # x·sigmoid(x)
        "n = Neg(a) e = Exp(n) d = Add(e, one) g = Div(one, d) y = Mul(g, a)",
        "p = Pow(a, two) q = Mul(p, a) t = Tanh(q) u = Add(t, one) y = Mul(a, u)",  # a GELU
        "m = ReduceMean<axes = [2]>(a) g = HardSigmoid(m) y = Mul(a, g)",  # a gate
        "y = Softmax(a)",
    ],
)
def test_what_is_none(body: str) -> None:
    assert not rescaled(body)
