"""A layer normalisation's affine part: who may take it, and when it stays."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onebyone.cost.profile import DEFAULT
from onebyone.graph.constants import constant
from onebyone.graph.read import read
from onebyone.graph.shapes import Sizes, infer
from onebyone.optimize.maps.normalization import fold_normalizations
from onebyone.optimize.rewritten import Rewrite, Task

from ...graphs.text import model

X = "float[2,5,3] x"
NORM = "n = LayerNormalization(x, g, h) "
BOTH = {"g": (3,), "h": (3,)}
ONES = np.ones(3, np.float32)


def folded(
    body: str, outputs: str = "y", inputs: str = X, **constants: tuple | np.ndarray
) -> tuple[ir.Model, list[Rewrite]]:
    found = read(model(body, inputs, outputs, constants))
    infer(found)
    return found, list(fold_normalizations(Task(found, Sizes(found), DEFAULT)))


def held(found: ir.Model, op: str, index: int) -> np.ndarray:
    """The constant that a node of this operator reads, in float64."""
    node = next(node for node in found.graph if node.op_type == op)
    return np.asarray(constant(node.inputs[index]), np.float64)


def original(found: ir.Model, name: str) -> np.ndarray:
    return np.asarray(constant(found.graph.initializers[name]), np.float64)


def test_a_linear_layer_takes_both_parts() -> None:
    found, done = folded(NORM + "m = MatMul(n, w) y = Add(b, m)", w=(3, 4), b=(4,), **BOTH)
    g, h, w, b = (original(found, name) for name in "ghwb")
    assert (held(found, "MatMul", 1) == g[:, None] * w).all()
    assert (held(found, "Add", 0) == h @ w + b).all()
    assert (held(found, "LayerNormalization", 1) == 1).all()
    assert len(next(iter(found.graph)).inputs) == 2
    assert [(f.root, len(f.nodes)) for f in done] == [("n", 3)]


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_gemm_takes_both_parts(transposed: int) -> None:
    body = NORM + f"y = Gemm<transB = {transposed}, alpha = 0.5, beta = 2.0>(n, w, b)"
    shape = (4, 3) if transposed else (3, 4)
    found, done = folded(body, inputs="float[2,3] x", w=shape, b=(4,), **BOTH)
    g, h, w, b = (original(found, name) for name in "ghwb")
    matrix = w.T if transposed else w
    weight = held(found, "Gemm", 1)
    assert ((weight.T if transposed else weight) == 0.5 * g[:, None] * matrix).all()
    assert (held(found, "Gemm", 2) == 0.5 * h @ matrix + 2 * b).all()
    attributes = list(found.graph)[-1].attributes
    assert [attributes.get_float(name, 1.0) for name in ("alpha", "beta")] == [1.0, 1.0]
    assert len(done) == 1


def test_every_reader_takes_it() -> None:
    body = NORM + "k = MatMul(n, w) p = Add(k, b) v = MatMul(n, u) q = Add(v, c)"
    constants = {"w": (3, 4), "b": (4,), "u": (3, 2), "c": (2,), **BOTH}
    found, done = folded(body, "p, q", **constants)
    g, u = original(found, "g"), original(found, "u")
    second = [node for node in found.graph if node.op_type == "MatMul"][1]
    assert (constant(second.inputs[1]) == g[:, None] * u).all()
    assert [len(f.nodes) for f in done] == [5]


def test_who_reads_only_the_shape_needs_no_affine_part() -> None:
    # As exporters of dynamic models read the number of tokens off the normalised value.
    found, done = folded(NORM + "m = MatMul(n, w) y = Add(m, b) s = Shape(n)", "y, int64[3] s",
                         w=(3, 4), b=(4,), **BOTH)  # fmt: skip
    assert (held(found, "LayerNormalization", 1) == 1).all()
    assert [len(f.nodes) for f in done] == [3]


def test_a_scale_alone_needs_no_bias() -> None:
    found, done = folded("n = LayerNormalization(x, g) y = MatMul(n, w)", w=(3, 4), g=(3,))
    assert (held(found, "MatMul", 1) == original(found, "g")[:, None] * original(found, "w")).all()
    assert len(done) == 1


@pytest.mark.parametrize(
    ("body", "outputs"),
    [
        (NORM + "y = MatMul(n, w)", "y"),  # β would need a bias that is not there
        (NORM + "m = MatMul(n, w) y = Add(m, b) v = MatMul(n, w)", "y, v"),  # in one of two
        (NORM + "m = MatMul(n, w) y = Add(m, b)", "y, n"),
        (NORM + "m = MatMul(n, w) y = Add(m, b) r = Relu(n)", "y, r"),
        (NORM + "y = Relu(n)", "y"),
        (NORM + "t = Transpose<perm = [0, 2, 1]>(n) m = MatMul(u, t) y = Add(m, k)", "y"),
        ("n = LayerNormalization(x, e, z) m = MatMul(n, w) y = Add(m, b)", "y"),
        ("n = LayerNormalization<axis = 1>(x, a) m = MatMul(n, w) y = Add(m, b)", "y"),
        (NORM + "m = MatMul(n, x2) y = Add(m, b)", "y"),
    ],
)
def test_it_stays_where_a_reader_cannot_take_it(body: str, outputs: str) -> None:
    constants = {"w": (3, 4), "b": (4,), "u": (2, 3), "k": (1,), "a": (5, 3), **BOTH}
    constants |= {"e": ONES, "z": 0 * ONES}
    found, done = folded(body, outputs, X + ", float[3,4] x2", **constants)
    assert done == []
    norm = next(node for node in found.graph if node.op_type == "LayerNormalization")
    assert [value.name for value in norm.inputs[1:]] in (["g", "h"], ["e", "z"], ["a"])


SECOND = "o = LayerNormalization(p, g, h) s = MatMul(o, w) q = Add(s, c) "
SHARED_BY = {
    "a layer that reads no normalisation": ("q = MatMul(x, w)", 0),
    "an embedding": ("q = Gather(w, i)", 0),
    "a layer that reads it transposed": ("t = Transpose(w) q = MatMul(p, t)", 0),
    "a normalisation of another scale": (SECOND.replace("(p, g,", "(p, k,"), 0),
    "a normalisation of the same scale": (SECOND, 2),
    "a normalisation of the same scale and another shift": (SECOND.replace(", h)", ", k)"), 2),
}


@pytest.mark.parametrize("name", SHARED_BY)
def test_a_shared_weight_is_stored_once(name: str) -> None:
    rest, folds = SHARED_BY[name]
    body = f"{NORM} m = MatMul(n, w) p = Add(m, b) {rest}"
    known = {"b": (3,), "c": (3,), "k": (3,), "i": np.array([2, 0])}
    used = {key: value for key, value in known.items() if f"{key})" in rest or f"{key}," in rest}
    found, done = folded(body, "p, q", w=(3, 3), **{"b": (3,), **used}, **BOTH)
    assert len(done) == folds
    users = [node for node in found.graph if node.op_type in ("MatMul", "Gather", "Transpose")]
    weights = {v for node in users for v in node.inputs if v.is_initializer() and len(v.shape) == 2}
    assert len(weights) == 1


def test_what_would_overflow_stays() -> None:
    huge = np.full((3, 4), 60000, np.float16)
    constants = {"g": np.full(3, 2, np.float16), "w": huge}
    body = "n = LayerNormalization(x, g) y = MatMul(n, w)"
    _, done = folded(body, "float16[2,5,4] y", "float16[2,5,3] x", **constants)
    assert done == []
