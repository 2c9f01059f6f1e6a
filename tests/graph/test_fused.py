"""Spelled-out GELU and normalisations: found where ONNX Runtime fuses them, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from onebyone.graph.fused import fused_by_engines
from onebyone.graph.read import read

from ..graphs.text import model

X = "float[2,5,8] x"


def number(value: float, *shape: int) -> np.ndarray:
    return np.full(shape, value, np.float32)


KNOWN = {
    "root": number(2**0.5),
    "root1": number(2**0.5, 1),
    "inverse": number(2**-0.5),
    "one": number(1),
    "half": number(0.5),
    "half1": number(0.5, 1),
    "two": number(2),
    "three": number(3),
    "outer": number((2 / np.pi) ** 0.5),
    "cubic": number(0.044715),
    "e": number(1e-5),
    "g": np.linspace(0.5, 1, 8, dtype=np.float32),
    "b": np.linspace(-1, 1, 8, dtype=np.float32),
    "w": np.ones((8, 4), np.float32),
}
ERF = "d = Div(x, root) f = Erf(d) s = Add(f, one) "
POWER = (
    "q = Pow(x, three) k = Mul(cubic, q) a = Add(x, k) m = Mul(outer, a) f = Tanh(m) "
    "s = Add(f, one) "
)
CENTRED = "u = ReduceMean<axes = [-1]>(x) c = Sub(x, u) "
LAST = "h = Mul(x, half) t = Mul(h, s)"


def mean_square(of: str, square: str = "Pow(c, two)", axes: str = "-1") -> str:
    return f"q = {square} v = ReduceMean<axes = [{axes}]>(q) a = Add(v, e) r = Sqrt(a) ".replace(
        "(c,", f"({of},"
    )


LN = CENTRED + mean_square("c")
RMS = mean_square("x")
SPELLINGS = {
    "erf, ½ last": (ERF + "p = Mul(x, s) t = Mul(p, half)", "d s p t"),
    "erf, one-element constants": (
        ERF.replace("root", "root1") + "p = Mul(x, s) t = Mul(p, half1)",
        "d s p t",
    ),
    "erf, operands the other way": (
        ERF.replace("(f, one)", "(one, f)") + "p = Mul(s, x) t = Mul(half, p)",
        "d s p t",
    ),
    "erf, ½ on x": (ERF + LAST, "d s h t"),
    "erf of a product": (
        ERF.replace("Div(x, root)", "Mul(x, inverse)") + "p = Mul(x, s) t = Mul(p, half)",
        "",
    ),
    "erf, ½ on the curve": (ERF + "h = Mul(s, half) t = Mul(x, h)", ""),
    "erf, halved by a division": (ERF + "p = Mul(x, s) t = Div(p, two)", ""),
    "erf without ½": (ERF + "t = Mul(x, s)", ""),
    "tanh of a power, ½ on x": (POWER + LAST, "m s h t"),
    "tanh of a power, ½ last": (POWER + "p = Mul(x, s) t = Mul(p, half)", ""),
    "tanh of a power, ½ on the curve": (POWER + "h = Mul(s, half) t = Mul(x, h)", ""),
    "tanh, x³ as x·x·x": (
        POWER.replace("q = Pow(x, three)", "i = Mul(x, x) q = Mul(i, x)") + LAST,
        "",
    ),
    "tanh multiplied out": (
        "n = Mul(x, outer) o = Mul(x, cubic) q = Mul(o, x) k = Add(q, one) m = Mul(n, k) "
        "f = Tanh(m) s = Add(f, one) " + LAST,
        "m s h t",
    ),
    "layer normalisation": (LN + "d = Div(c, r) s = Mul(d, g) t = Add(s, b)", "d s t"),
    "layer normalisation, operands the other way": (
        LN.replace("(v, e)", "(e, v)") + "d = Div(c, r) s = Mul(g, d) t = Add(b, s)",
        "d s t",
    ),
    "layer normalisation by 1/√": (
        LN + "i = Div(one, r) d = Mul(c, i) s = Mul(d, g) t = Add(s, b)",
        "d s t",
    ),
    "layer normalisation without β": (LN + "d = Div(c, r) t = Mul(d, g)", "d t"),
    "layer normalisation with a number for γ": (
        LN + "d = Div(c, r) s = Mul(d, half1) t = Add(s, b)",
        "d s",
    ),
    "layer normalisation without γ": (LN + "d = Div(c, r) t = Add(d, b)", ""),
    "layer normalisation bare": (LN + "t = Div(c, r)", ""),
    "layer normalisation by a reciprocal": (
        LN + "i = Reciprocal(r) d = Mul(c, i) s = Mul(d, g) t = Add(s, b)",
        "",
    ),
    "layer normalisation, the square a product": (
        CENTRED + mean_square("c", "Mul(c, c)") + "d = Div(c, r) s = Mul(d, g) t = Add(s, b)",
        "",
    ),
    "layer normalisation over two axes": (
        LN.replace("-1", "1, 2") + "d = Div(c, r) s = Mul(d, g) t = Add(s, b)",
        "",
    ),
    "layer normalisation over another axis": (
        LN.replace("-1", "1") + "d = Div(c, r) s = Mul(d, g) t = Add(s, b)",
        "",
    ),
    "RMS normalisation": (RMS + "d = Div(x, r) t = Mul(d, g)", "d t"),
    "RMS normalisation by 1/√": (RMS + "i = Div(one, r) d = Mul(x, i) t = Mul(g, d)", "d t"),
    "RMS normalisation with β": (RMS + "d = Div(x, r) s = Mul(d, g) t = Add(s, b)", "d s"),
    "RMS normalisation bare": (RMS + "t = Div(x, r)", ""),
    "RMS normalisation by a reciprocal": (
        RMS + "i = Reciprocal(r) d = Mul(x, i) t = Mul(d, g)",
        "",
    ),
    "RMS normalisation, the square a product": (
        mean_square("x", "Mul(x, x)") + "i = Div(one, r) d = Mul(x, i) t = Mul(d, g)",
        "",
    ),
}
ONE_OPERATOR = {"FastGelu", "Gelu", "LayerNormalization", "SimplifiedLayerNormalization"}


def proto(body: str, known: Mapping[str, np.ndarray] = KNOWN) -> onnx.ModelProto:
    body = f"{body} y = MatMul(t, w)"
    used = {name: a for name, a in known.items() if re.search(rf"[(,] ?{name}[,)]", body)}
    return model(body, X, constants=used)


@pytest.mark.parametrize("name", SPELLINGS)
def test_what_the_engine_fuses_is_left_whole_and_the_rest_is_free(
    name: str, tmp_path: Path
) -> None:
    body, found = SPELLINGS[name]
    graph = read(proto(body)).graph
    fused = fused_by_engines(graph)
    assert {node.outputs[0].name for node in fused} == set(found.split())
    assert bool(fused) == bool(ONE_OPERATOR & ran(proto(body), tmp_path))


def ran(given: onnx.ModelProto, folder: Path) -> set[str]:
    """The operators that ONNX Runtime runs of a model."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "ran.onnx")
    ort.InferenceSession(given.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return {node.op_type for node in onnx.load(folder / "ran.onnx").graph.node}


@pytest.mark.parametrize(
    "body",
    [
        "d = Div(x, g) s = Mul(d, g) t = Add(s, b)",
        "a = Sub(x, b) r = Sqrt(x) d = Mul(a, r) t = Add(d, b)",
        "a = Sub(x, b) d = Div(a, g) s = Mul(d, g) t = Add(s, b)",
        "t = Erf(x)",
        "t = Tanh(x)",
        "s = Sigmoid(x) t = Mul(x, s)",
    ],
)
def test_arithmetic_that_is_neither_is_free(body: str) -> None:
    assert fused_by_engines(read(proto(body)).graph) == frozenset()
