"""Targets that shapes tell are constants; the same sizes are computed once."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from ...graphs.text import model
from .simple import operators, simplified

X = "float[n,6,h,4] x"
_I = {"z": np.array([0]), "o": np.array([1]), "t": np.array([2]), "m": np.array([-1]),
      "four": np.array([4]), "six": np.array([6])}  # fmt: skip


def _simple(body: str, outputs: str = "y") -> tuple[list[str], dict[str, list[int]]]:
    used = {k: v for k, v in _I.items() if f"{k})" in body or f"{k}," in body}
    after = simplified(model(body, X, outputs, used), {"n": 2, "h": 3}, {"n": 1, "h": 1})
    kept = {t.name: numpy_helper.to_array(t).reshape(-1).tolist() for t in after.graph.initializer}
    return operators(after), {n: kept[i] for n, i in
                              ((node.op_type, i) for node in after.graph.node
                               for i in node.input if i in kept)}  # fmt: skip


def test_one_free_size_is_what_is_left() -> None:
    body = "s = Shape(x) b = Gather(s, z) d = Concat<axis = 0>(b, m) y = Reshape(x, d)"
    assert _simple(body) == (["Reshape"], {"Reshape": [0, -1]})
    body = "s = Shape(x) b = Gather(s, z) g = ReduceMean<axes = [2, 3]>(x) "
    ops, kept = _simple(f"{body} d = Concat<axis = 0>(b, six) y = Reshape(g, d)")
    assert (ops, kept) == (["ReduceMean", "Reshape"], {"Reshape": [-1, 6]})


def test_an_axis_that_stays_is_zero() -> None:
    body = "s = Shape(x) b = Gather(s, z) h = Gather(s, t) d = Concat<axis = 0>(b, t, h, m) "
    ops, kept = _simple(f"{body} y = Reshape(x, d)")
    assert (ops, kept) == (["Reshape"], {"Reshape": [0, 2, 0, 12]})


def test_an_expansion_keeps_what_is_there() -> None:
    body = "s = Shape(x) b = Gather(s, z) g = ReduceMean<axes = [2, 3]>(x) "
    ops, kept = _simple(f"{body} d = Concat<axis = 0>(b, six, t, o) y = Expand(g, d)")
    assert (ops, kept) == (["ReduceMean", "Expand"], {"Expand": [1, 6, 2, 1]})


@pytest.mark.parametrize("other", ["Neg(x)", "Relu(x)"])
def test_the_same_sizes_are_read_once(other: str) -> None:
    body = f"r = {other} s = Shape(x) b = Gather(s, z) h = Gather(s, t) u = Shape(r) "
    body += "c = Slice(u, z, o) k = Slice(u, t, m) d = Concat<axis = 0>(c, k, b, h) "
    body += "y = ConstantOfShape(d)"
    assert _simple(body)[0] == ["Shape", "Gather", "Gather", "Concat", "ConstantOfShape"]


def test_parts_of_a_shape_that_are_known() -> None:
    body = "s = Shape(x) c = Slice(s, o, t) k = Concat<axis = 0>(c, o) f = Cast<to = 1>(k) "
    assert _simple(f"{body} e = Gather(f, z) r = ReduceMax(x) y = Mul(r, e)")[0] == [
        "ReduceMax",
        "Mul",
    ]


def test_a_target_of_the_callers_numbers_stays() -> None:
    """A declared size is expected, and not all that an input may ask for."""
    for body in ("y = Expand(x, t)", "u = Mul(t, o) y = Expand(x, u)"):
        proto = model(body, "float[1,3,1] x, int64[3] t", "float[3,3,3] y", {"o": np.array([1])})
        after = simplified(proto, exact=False)  # which asks at numbers of all kinds
        assert operators(after)[-1:] == ["Expand"]
        assert "t" in {name for node in after.graph.node for name in node.input}
