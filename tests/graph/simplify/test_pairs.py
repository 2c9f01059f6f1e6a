"""Two operators in a row that are one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ...graphs.text import model
from .simple import operators, simplified


def _i(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


X = "float[n,2,3,4] x"
JOINED: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "transposes": ("t = Transpose<perm = [1, 0, 2, 3]>(x) y = Transpose<perm = [0, 2, 1, 3]>(t)",
                   {}, ["Transpose"]),
    "reshapes": ("t = Reshape(x, k) y = Reshape(t, m)", {"k": _i(-1, 24), "m": _i(-1, 6, 4)},
                 ["Reshape"]),
    "a flat view": ("t = Flatten(x) y = Reshape(t, m)", {"m": _i(-1, 4, 6)}, ["Reshape"]),
    "axes that come": ("t = Unsqueeze(x, k) y = Unsqueeze(t, k)", {"k": _i(0)}, ["Reshape"]),
    "a transpose of axes of one": ("t = Unsqueeze(x, k) y = Transpose<perm = [0, 2, 1, 3, 4]>(t)",
                                   {"k": _i(1)}, ["Reshape"]),
    "cuts": ("t = Slice(x, k, m, k) y = Slice(t, k, m, m)", {"k": _i(1), "m": _i(2)}, ["Slice"]),
    "concatenations": ("t = Concat<axis = 1>(x, x) y = Concat<axis = -3>(x, t)", {}, ["Concat"]),
    "concatenations with two readers": (
        "t = Concat<axis = 1>(x, x) u = Concat<axis = 1>(x, t) v = Concat<axis = 1>(t, x) "
        "y = Sub(u, v)", {}, ["Concat", "Sub"]),
    "the pieces of a cut": (
        "s = Sin(x) p, q = Split<axis = 1>(s, k) c = Concat<axis = -3>(p, q) y = Abs(c)",
        {"k": _i(1, 1)}, ["Sin", "Abs"]),
    "a wider type on the way": ("t = Cast<to = 11>(x) y = Cast<to = 10>(t) ", {}, ["Cast"]),
    "a mean and its axes": ("t = ReduceMean<axes = [2, 3], keepdims = 0>(x) y = Unsqueeze(t, k)",
                            {"k": _i(-1, -2)}, ["ReduceMean"]),
    "a mean without its axes": ("t = ReduceMean<axes = [2, 3]>(x) y = Squeeze(t, k)",
                                {"k": _i(2, 3)}, ["ReduceMean"]),
    "not": ("c = Greater(x, h) d = Not(c) y = Where(d, x, h)", {"h": np.float32([1])},
            ["Greater", "Where"]),
    "padding": ("t = Pad(x, k) y = Conv<pads = [1, 0, 0, 0]>(t, w)",
                {"k": _i(0, 0, 1, 2, 0, 0, 0, 1), "w": (3, 2, 3, 3)}, ["Conv"]),
}  # fmt: skip

APART: dict[str, tuple[str, dict[str, Any]]] = {
    "padding of a 1×1, which goes before it": (
        "t = Pad(x, k) y = Conv(t, w)",
        {"k": _i(0, 0, 1, 2, 0, 0, 0, 1), "w": (3, 2, 1, 1)}),
    "a transpose that is read twice": (
        "t = Transpose<perm = [1, 0, 2, 3]>(x) u = Transpose<perm = [1, 0, 2, 3]>(t) "
        "v = Softplus(t) w = Transpose<perm = [2, 0, 1, 3]>(t) s = ReduceSum(v) r = ReduceSum(w) "
        "q = Add(s, r) y = Add(u, q)", {}),
    "cuts of one axis": ("t = Slice(x, k, m, m) y = Slice(t, z, k, m)",
                         {"k": _i(1), "m": _i(3), "z": _i(0)}),
    "a narrower type on the way": ("t = Cast<to = 10>(x) y = Cast<to = 1>(t)", {}),
    "an integer on the way": ("t = Cast<to = 7>(x) y = Cast<to = 1>(t)", {}),
    "pieces in another order": (
        "s = Sin(x) p, q = Split<axis = 1>(s, k) c = Concat<axis = 1>(q, p) y = Abs(c)",
        {"k": _i(1, 1)}),
    "pieces twice": (
        "s = Sin(x) p, q = Split<axis = 1>(s, k) c = Concat<axis = 1>(p, q, q) y = Abs(c)",
        {"k": _i(1, 1)}),
    "pieces along another axis": (
        "s = Sin(x) p, q = Split<axis = 1>(s, k) c = Concat<axis = 2>(p, q) y = Abs(c)",
        {"k": _i(1, 1)}),
    "pieces of an input, as an output": (
        "p, q = Split<axis = 1>(x, k) y = Concat<axis = 1>(p, q)", {"k": _i(1, 1)}),
    "padding with ones": ("t = Pad(x, k, o) y = Conv(t, w)",
                          {"k": _i(0, 0, 1, 2, 0, 0, 0, 1), "w": (3, 2, 3, 3),
                           "o": np.array(1, np.float32)}),
    "padding of channels": ("t = Pad(x, k) y = Conv(t, w)",
                            {"k": _i(0, 1, 0, 0, 0, 0, 0, 0), "w": (3, 3, 3, 3)}),
    "a crop": ("t = Pad(x, k) y = Conv(t, w)",
               {"k": _i(0, 0, 0, -1, 0, 0, 0, 0), "w": (3, 2, 3, 3)}),
    "padding for an automatic convolution": (
        't = Pad(x, k) y = Conv<auto_pad = "SAME_UPPER">(t, w)',
        {"k": _i(0, 0, 1, 2, 0, 0, 0, 1), "w": (3, 2, 3, 3)}),
    "other axes": ("t = ReduceMean<axes = [2, 3], keepdims = 0>(x) y = Unsqueeze(t, k)",
                   {"k": _i(1, 3)}),
    "concatenations of two axes": ("t = Concat<axis = 1>(x, x) y = Concat<axis = 2>(t, t)", {}),
}  # fmt: skip


@pytest.mark.parametrize("name", JOINED)
def test_one_node_in_the_place_of_two(name: str) -> None:
    body, constants, wanted = JOINED[name]
    outputs = "float16[n,2,3,4] y" if "to = 10>(t) " in body else "y"
    proto = model(body, X, outputs, constants)
    assert operators(simplified(proto, {"n": 2}, {"n": 1})) == wanted


@pytest.mark.parametrize("name", APART)
def test_two_that_stay(name: str) -> None:
    proto = model(APART[name][0], X, "y", APART[name][1])
    ops = sorted(operators(simplified(proto, {"n": 2})))
    if name == "a transpose that is read twice":
        assert ops.count("Transpose") == 2  # two that undo each other are none
    else:
        assert ops == sorted(operators(proto))


def test_a_gemm_takes_its_operand_either_way_round() -> None:
    body = "t = Transpose<perm = [1, 0]>(x) y = Gemm(t, w)"
    proto = model(body, "float[4,3] x", "y", {"w": (4, 5)})
    assert operators(simplified(proto)) == ["Gemm"]
    body = body.replace("Gemm", "Gemm<transA = 1>").replace("x)", "r)")
    proto = model(f"r = Relu(x) {body}", "float[4,3] x", "y", {"w": (3, 5)})
    assert operators(simplified(proto)) == ["Relu", "Gemm"]


def test_two_shapes_the_first_by_sizes_that_nobody_knows() -> None:
    """The second has as many numbers as what is reshaped, which leaves its free size no choice."""
    unknown = "d = Sub(s, s) m = ReduceMax<keepdims = 0>(d) i = Cast<to = 7>(m) k = Add(i, j) "
    proto = model(
        f"s = Sin(x) {unknown} t = Reshape(s, k) u = Reshape(t, z) y = Abs(u)",
        "float[1,2,3,4] x", "float[1,2,3,4] y", {"j": _i(1, 2, -1), "z": _i(0, 2, 3, 4)},
    )  # fmt: skip
    assert operators(simplified(proto)) == ["Sin", "Abs"]


def test_operands_that_each_concat_would_double_are_few() -> None:
    body = "".join(f"t{k + 1} = Concat<axis = 1>(t{k}, t{k}) " for k in range(12))
    proto = model(f"t0 = Sin(x) {body}y = Abs(t12)", X, "y")
    assert max(len(node.input) for node in simplified(proto, {"n": 1}).graph.node) <= 256
