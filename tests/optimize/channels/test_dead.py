"""What is known of channels: constants forward, readers backward, and what may go."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.graph.channel_axes import channel_axes
from onebyone.graph.ops.elementwise import sigmoid
from onebyone.graph.read import read
from onebyone.graph.shapes import infer
from onebyone.optimize.channels.dead import Dead, find

from ...graphs.text import model

X = "float[2,3,4,8] x"


def _find(body: str, whole: tuple[str, ...] = (), outputs: str = "y", **constants: Any) -> Dead:
    made = read(model(body, X, outputs, constants))
    infer(made)
    values = {v.name: v for node in made.graph for v in node.outputs}
    return find(made.graph, channel_axes(made.graph), 17, [values[name] for name in whole])


def _known(found: Dead, name: str) -> list[float | None]:
    (array,) = (k for v, k in found.known.items() if v.name == name)
    return [None if np.isnan(k) else float(k) for k in array]


def _kept(found: Dead, name: str) -> list[int]:
    (array,) = (k for v, k in found.kept.items() if v.name == name)
    return np.flatnonzero(array).tolist()


W = np.array([[1, 2, 0], [0, 0, 0], [0, 0, 3], [0, 0, 0]], np.float32).reshape(4, 3, 1, 1)
B = np.array([1, -2, 3, 4], np.float32)
V = np.array([[1, 1, 1, 1], [2, 0, 0, 1]], np.float32).reshape(2, 4, 1, 1)


def test_rows_of_zeros_are_constants_and_functions_keep_them() -> None:
    found = _find("t = Conv(x, w, b) r = Relu(t) y = Conv(r, v)", w=W, b=B, v=V)
    assert _known(found, "t") == [None, -2, None, 4]
    assert _known(found, "r") == [None, 0, None, 4]
    assert _known(found, "y") == [None, None]
    assert _kept(found, "t") == _kept(found, "r") == [0, 2]
    assert _kept(found, "x") == [0, 1, 2]


def test_functions_of_constants_are_computed_in_float64() -> None:
    found = _find("t = Conv(x, w, b) s = Sigmoid(t) y = Conv(s, v)", w=W, b=B, v=V)
    assert _known(found, "s") == [None, sigmoid(np.float64(-2)), None, sigmoid(np.float64(4))]


def test_sums_and_products_of_constants() -> None:
    scale = np.array([0, 2, 3, 5], np.float32).reshape(4, 1, 1)
    found = _find(
        "t = Conv(x, w, b) m = Mul(t, s) a = Add(m, t) y = Conv(a, v)", w=W, b=B, v=V, s=scale
    )
    assert _known(found, "m") == [0, -4, None, 20]
    assert _known(found, "a") == [None, -6, None, 24]


def test_a_product_with_zero_is_zero_whatever_the_other_is() -> None:
    w = W.copy()
    found = _find("t = Conv(x, w) u = Conv(x, k) m = Mul(t, u) y = Conv(m, v)", w=w,
                  k=np.ones((4, 3, 1, 1), np.float32), v=V)  # fmt: skip
    assert _known(found, "m") == [None, 0, None, 0]
    assert _kept(found, "u") == [0, 2]


def test_a_constant_seen_through_padding_is_none_unless_it_is_zero() -> None:
    body = "t = Conv(x, w, b) p = Pad(t, k) y = Conv(p, v)"
    bias = np.array([1, 0, 3, 4], np.float32)
    found = _find(body, w=W, b=bias, v=V, k=np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    assert _known(found, "p") == [None, 0, None, None]
    assert _kept(found, "t") == [0, 2, 3]


def test_infinite_constants_are_not_taken_for_numbers() -> None:
    body = "t = Conv(x, w) l = Log(t) r = Relu(l) y = Conv(r, v)"
    found = _find(body, w=W, v=V)
    assert _known(found, "l") == [None, None, None, None]


def test_columns_of_zeros_are_not_needed_any_further_back() -> None:
    v = V.copy()
    v[:, 2] = 0
    body = "t = Conv(x, w) r = Relu(t) u = Conv(r, k) s = Relu(u) y = Conv(s, v)"
    found = _find(body, w=np.ones((5, 3, 1, 1), np.float32), v=v,
                  k=np.eye(4, 5, dtype=np.float32).reshape(4, 5, 1, 1))  # fmt: skip
    assert _kept(found, "u") == [0, 1, 3]
    assert _kept(found, "t") == [0, 1, 3]


def test_of_no_channels_one_stays() -> None:
    found = _find("t = Conv(x, w) r = Relu(t) y = Conv(r, v)", w=0 * W, v=V)
    assert _kept(found, "t") == _kept(found, "r") == [0]


def test_whole_values_keep_theirs() -> None:
    found = _find("t = Conv(x, w, b) r = Relu(t) y = Conv(r, v)", ("r",), w=W, b=B, v=V)
    assert _kept(found, "t") == [0, 1, 2, 3]


def test_an_input_read_on_two_axes_takes_no_part() -> None:
    body = "t = Conv(x, w) r = Relu(t) y = Conv(r, v) z = MatMul(x, m)"
    found = _find(body, outputs="y, z", w=W, v=V, m=np.ones((8, 2), np.float32))
    assert "x" not in {v.name for v in found.known}
    assert _kept(found, "t") == [0, 1, 2, 3]


def test_a_weight_that_does_not_fit_its_operand_teaches_nothing() -> None:
    """As in a file that contradicts itself: what the engine will refuse is left to it."""
    made = read(model("t = Conv(x, w) y = Relu(t)", X, "y", {"w": W}))
    infer(made)
    made.graph.inputs[0].shape = ir.Shape([2, 7, 4, 8])
    found = find(made.graph, dict.fromkeys((*made.graph.inputs, *_made(made.graph)), 1), 17)
    assert _known(found, "t") == [None] * 4


def _made(graph: ir.Graph) -> list[ir.Value]:
    return [value for node in graph for value in node.outputs]
