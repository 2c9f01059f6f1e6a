"""Sizes that are known are numbers; all else is left as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onebyone.graph.constants import constant
from onebyone.graph.read import read
from onebyone.graph.shapes import infer
from onebyone.graph.simplify.constants import fold_constants

from ..graphs.text import model

X = "float[n,6,4,w] x, int64[1] k"


def _folded(body: str, outputs: str = "int64[m] y", opset: int = 17, **constants: Any) -> ir.Model:
    made = read(model(f"{body} y = Add(k, h)", X, outputs, constants, opset=opset))
    infer(made)
    fold_constants(made.graph, opset)
    return made


def _known(made: ir.Model) -> list[int] | None:
    """The integers that the last node reads."""
    array = constant(list(made.graph)[-1].inputs[1])
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
    assert _known(_folded(body, **used)) == wanted


def test_pads_that_go_through_a_matrix() -> None:
    # TorchScript lists them last axis first, fills up with zeros and turns the list round.
    body = "m = Mod(seven, four) s = Sub(four, m) "
    body += "q = ConstantOfShape<value = int64[1] zero {0}>(four) "
    body += "a = Concat<axis = 0>(z, s, s, four, q) p = Reshape(a, pairs) "
    body += "r = Slice(p, back, low, z, back) u = Transpose(r) h = Reshape(u, back) "
    numbers = {"seven": 7, "four": 4, "z": 0, "back": -1, "low": -(2**63) + 1}
    constants = {name: np.array([number]) for name, number in numbers.items()}
    made = _folded(body, **constants, pairs=np.array([-1, 2]))
    assert _known(made) == [0, 0, 1, 0, 0, 0, 4, 1]


UNKNOWN = {
    "a free size": "s = Shape(x) h = Gather(s, z)",
    "a shape with free sizes": "h = Shape(x)",
    "a quotient by zero": "h = Div(o, z)",
    "an index beyond the end": "h = Gather(o, nine)",
    "a long filling": "g = Mul(nine, nine) f = ConstantOfShape(g) h = Cast<to = 7>(f)",
    "an index beyond the rank": "s = Shape(x) h = Gather(s, nine)",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_or_not_defined(name: str) -> None:
    body = UNKNOWN[name]
    given = {"o": ONE, "z": ZERO, "nine": np.array([9])}
    used = {k: v for k, v in given.items() if f"{k})" in body or f"({k}" in body}
    assert _known(_folded(body, **used)) is None


def test_floating_point_between_sizes_is_followed() -> None:
    # TorchScript's math.ceil(6 / 4) * 4; 0.1 · 2 · 10 is 2 in float32 and more than 2 in float64.
    body = "s = Shape(x) g = Gather(s, o) c = Cast<to = 1>(g) d = Div(c, four) u = Ceil(d) "
    body += "m = Mul(u, tenth) n = Mul(m, ten) e = Ceil(n) h = Cast<to = 7>(e)"
    numbers = {"four": 4, "tenth": 0.1, "ten": 10}
    floats = {name: np.array([number], np.float32) for name, number in numbers.items()}
    made = _folded(body, o=ONE, **floats)
    assert _known(made) == [2]


@pytest.mark.parametrize(("tokens", "side"), [(64.0, [8]), (65.0, [8])])
def test_the_side_of_a_square_of_tokens(tokens: float, side: list[int] | None) -> None:
    # A power is not determined to the last bit, but no last bit makes another integer of it here.
    floats = {name: np.array([n], np.float32) for name, n in (("tokens", tokens), ("half", 0.5))}
    made = _folded("p = Pow(tokens, half) h = Cast<to = 7>(p)", **floats)
    assert _known(made) == side


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e30])
def test_a_number_that_no_integer_holds_is_left_to_the_engine(number: float) -> None:
    made = _folded("h = Cast<to = 7>(f)", f=np.array([number], np.float32))
    assert _known(made) is None


def test_outputs_are_still_computed() -> None:
    body = "z = Shape<start = 1, end = 3>(x) h = Identity(z)"
    made = _folded(body, "int64[2] y, int64[2] z")
    assert [output.name for output in made.graph.outputs] == ["y", "z"]
    maker = made.graph.outputs[1].producer()
    assert maker is not None
    assert maker.op_type == "Constant"


def test_two_data_arrays_are_not_multiplied_out() -> None:
    # A table of 2^16 times 2^16 entries would be 32 GB; its shape is all that is wanted.
    long = {"column": np.arange(2**16).reshape(-1, 1), "row": np.arange(2**16)}
    made = _folded("t = Add(column, row) h = Slice(t, z, o)", "int64[1, m] y", z=ZERO,
                   o=ONE, **long)  # fmt: skip
    assert _known(made) is None
    assert str(made.graph.outputs[0].shape) == "[1,65536]"
