"""The size of the terms that a graph adds up."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onebyone.graph.magnitude import Sized, magnitudes

from ..graphs.text import model

X = "float[2,3,5,4] x"


def sized(body: str, inputs: str = X, **constants: np.ndarray) -> tuple[Sized, np.ndarray]:
    proto = model(body, inputs, constants=constants)
    graph = ir.from_proto(proto).graph
    given = [v for v in graph.inputs if v.name not in constants]
    x = np.random.default_rng(0).standard_normal([int(n) for n in given[0].shape or ()])
    return magnitudes(graph, {given[0]: x})[0], x


def test_of_sums_of_products_it_is_the_sum_of_their_sizes() -> None:
    w, v = np.float32([[1, -2, 3], [0.5, 0, -1]]), np.float32([[1, -1]])
    body = "a = Conv(x, w) y = Conv(a, v)"
    found, x = sized(body, w=w.reshape(2, 3, 1, 1), v=v.reshape(1, 2, 1, 1))
    wanted = np.tensordot(np.abs(v) @ np.abs(w), np.abs(x), axes=(1, 1)).swapaxes(0, 1)
    assert np.allclose(found.size, wanted, rtol=1e-14)
    plain = np.tensordot(v @ w, x, axes=(1, 1)).swapaxes(0, 1)
    assert np.allclose(found.value, plain, rtol=1e-12)


@pytest.mark.parametrize("body", ["y = Sub(x, c)", "a = Neg(c) b = Relu(x) y = Add(b, a)"])
def test_signs_of_terms_do_not_cancel(body: str) -> None:
    found, x = sized(body, c=np.float32([[[[2]]]]))
    assert np.allclose(found.size, np.abs(x) + 2)


def test_a_mean_adds_to_what_is_normalised() -> None:
    scale, bias, mean, variance = (np.float32([n] * 3) for n in (-2, -1, 5, 4))
    body = "y = BatchNormalization<epsilon = 0.0>(x, s, b, m, v)"
    found, x = sized(body, s=scale, b=bias, m=mean, v=variance)
    assert np.allclose(found.size, np.abs(x) + 5 + 1)


def test_of_other_functions_it_goes_by_their_slope() -> None:
    found, x = sized("y = Exp(x)")
    assert np.allclose(found.size, np.exp(x) * (1 + np.abs(x)), rtol=1e-4)
    found, x = sized("y = Softmax<axis = 1>(x)")
    assert (found.size >= found.value).all()
    assert (found.size <= found.value * (1 + 2 * np.abs(x).max())).all()


def test_the_factors_of_a_gemm_lose_their_signs() -> None:
    w = np.float32([[1, 2], [3, -4], [5, 6]])
    body = "y = Gemm<alpha = -2.0, beta = -1.0>(x, w, c)"
    found, x = sized(body, "float[4,3] x", w=w, c=np.float32([1, -1]))
    assert np.allclose(found.size, 2 * np.abs(x) @ np.abs(w) + 1)


def test_integers_are_what_they_are() -> None:
    graph = ir.from_proto(model("y = Shape(x)", X, "int64[4] y")).graph
    (found,) = magnitudes(graph, {graph.inputs[0]: np.ones((2, 3, 5, 4))})
    assert (found.value.tolist(), found.size.tolist()) == ([2, 3, 5, 4], [2, 3, 5, 4])
