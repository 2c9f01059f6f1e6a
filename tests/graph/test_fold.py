"""Sizes that are known are numbers; all else is left as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onebyone.graph.constants import constant
from onebyone.graph.fold import fold_sizes
from onebyone.graph.read import read
from onebyone.graph.shapes import infer

from ..graphs.text import model

X = "float[n,6,4,w] x"


def _folded(body: str, outputs: str = "y", opset: int = 17, **constants: Any) -> ir.Model:
    made = read(model(body, X, outputs, constants, opset=opset))
    infer(made)
    fold_sizes(made.graph, opset)
    return made


def _last(made: ir.Model, at: int = 1) -> list[int] | None:
    """The integers that the last node reads."""
    array = constant(list(made.graph)[-1].inputs[at])
    return None if array is None else array.reshape(-1).tolist()


ONE, TWO, ZERO = np.array([1]), np.array([2]), np.array([0])
KNOWN = {
    "an entry of a shape": ("s = Shape(x) h = Gather(s, o)", [6]),
    "an entry from the end": ("s = Shape(x) h = Gather(s, back)", [4]),
    "some sizes": ("h = Shape<start = 1, end = -1>(x)", [6, 4]),
    "half of them": ("s = Shape(x) g = Gather(s, o) h = Div(g, t)", [3]),
    "arithmetic": ("a = Mul(t, t) b = Sub(a, o) h = Concat<axis = 0>(b, a)", [3, 4]),
    "a cast": ("s = Shape(x) g = Gather(s, o) c = Cast<to = 6>(g) h = Cast<to = 7>(c)", [6]),
    "a slice": ("a = Concat<axis = 0>(o, t, t) h = Slice(a, o, t)", [2]),
}


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_known(name: str) -> None:
    body, wanted = KNOWN[name]
    given = {"o": ONE, "t": TWO, "back": np.array([-2])}
    used = {k: v for k, v in given.items() if f"{k})" in body or f"{k}," in body}
    assert _last(_folded(f"{body} y = Cast<to = 1>(h)", **used), 0) == wanted


def test_pads_that_go_through_a_matrix() -> None:
    # TorchScript lists them last axis first, fills up with zeros and turns the list round.
    body = "m = Mod(seven, four) s = Sub(four, m) "
    body += "k = ConstantOfShape<value = int64[1] zero {0}>(four) "
    body += "a = Concat<axis = 0>(z, s, s, four, k) p = Reshape(a, pairs) "
    body += "r = Slice(p, back, low, z, back) u = Transpose(r) h = Reshape(u, back) "
    body += "y = Cast<to = 1>(h)"
    numbers = {"seven": 7, "four": 4, "z": 0, "back": -1, "low": -(2**63) + 1}
    constants = {name: np.array([number]) for name, number in numbers.items()}
    made = _folded(body, **constants, pairs=np.array([-1, 2]))
    assert _last(made, 0) == [0, 0, 1, 0, 0, 0, 4, 1]


UNKNOWN = {
    "a free size": "s = Shape(x) h = Gather(s, z)",
    "a shape with free sizes": "h = Shape(x)",
    "a quotient by zero": "h = Div(o, z)",
    "an index beyond the end": "h = Gather(o, nine)",
    "a long filling": "g = Mul(nine, nine) h = ConstantOfShape(g)",
    "an index beyond the rank": "s = Shape(x) h = Gather(s, nine)",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_or_not_defined(name: str) -> None:
    body = UNKNOWN[name]
    given = {"o": ONE, "z": ZERO, "nine": np.array([9])}
    used = {k: v for k, v in given.items() if f"{k})" in body or f"({k}" in body}
    assert _last(_folded(f"{body} y = Cast<to = 1>(h)", **used), 0) is None


def test_floating_point_is_left_to_the_engine() -> None:
    made = _folded("h = Mul(f, f) y = Neg(h)", f=np.array([3], np.float32))
    assert _last(made, 0) is None


def test_floating_point_between_sizes_is_followed() -> None:
    # TorchScript's math.ceil(6 / 4) * 4; 0.1 · 2 · 10 is 2 in float32 and more than 2 in float64.
    body = "s = Shape(x) g = Gather(s, o) c = Cast<to = 1>(g) d = Div(c, four) u = Ceil(d) "
    body += "m = Mul(u, tenth) n = Mul(m, ten) e = Ceil(n) h = Cast<to = 7>(e) y = Cast<to = 1>(h)"
    numbers = {"four": 4, "tenth": 0.1, "ten": 10}
    floats = {name: np.array([number], np.float32) for name, number in numbers.items()}
    made = _folded(body, o=ONE, **floats)
    assert _last(made, 0) == [2]
    assert all(value.dtype != ir.DataType.FLOAT for name, value in made.graph.initializers.items()
               if name.endswith(".known"))  # fmt: skip


@pytest.mark.parametrize(("tokens", "side"), [(64.0, [8]), (65.0, None)])
def test_the_side_of_a_square_of_tokens(tokens: float, side: list[int] | None) -> None:
    # A power is not determined to the last bit, but where it is whole.
    floats = {name: np.array([n], np.float32) for name, n in (("tokens", tokens), ("half", 0.5))}
    made = _folded("p = Pow(tokens, half) h = Cast<to = 7>(p) y = Cast<to = 1>(h)", **floats)
    assert _last(made, 0) == side


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e30])
def test_a_number_that_no_integer_holds_is_left_to_the_engine(number: float) -> None:
    made = _folded("h = Cast<to = 7>(f) y = Cast<to = 1>(h)", f=np.array([number], np.float32))
    assert _last(made, 0) is None


def test_outputs_are_still_computed() -> None:
    made = _folded("y = Shape<start = 1, end = 3>(x) a = Cast<to = 1>(y)", "int64[2] y, float[2] a")
    assert made.graph.outputs[0].producer() is not None


def test_no_name_is_taken_twice() -> None:
    made = read(model("a = Shape<start = 1, end = 2>(x) b = Neg(a) y = Cast<to = 1>(a)", X, "y"))
    list(made.graph)[1].outputs[0].name = "a.known"
    infer(made)
    assert fold_sizes(made.graph, 17) == 1
    names = [v.name for node in made.graph for v in node.outputs] + list(made.graph.initializers)
    assert len(names) == len(set(names))


def test_longer_arrays_are_data() -> None:
    made = _folded("h = Add(d, d) y = Cast<to = 1>(h)", d=np.arange(65))
    assert _last(made, 0) is None


def test_two_data_arrays_are_not_multiplied_out() -> None:
    # A table of 2^16 times 2^16 entries would be 32 GB; its shape is all that is wanted.
    long = {"column": np.arange(2**16).reshape(-1, 1), "row": np.arange(2**16)}
    made = _folded("t = Add(column, row) h = Slice(t, z, o) y = Cast<to = 1>(h)", "y", z=ZERO,
                   o=ONE, **long)  # fmt: skip
    assert _last(made, 0) is None
    assert str(made.graph.outputs[0].shape) == "[1,65536]"
