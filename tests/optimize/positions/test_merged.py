"""Axes that a view merges into rows of linear layers: one token of them, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from ...graphs.text import model
from ..exact import COUNTING, Outcome, optimized

WEIGHTS = {"w": (3, 5), "b": (5,), "v": (5, 4)}
TARGETS = {"rows": [-1, 3], "first": 0}


def cut(
    body: str, inputs: str, *sizes: dict[str, int], outputs: str = "y", **more: object
) -> Outcome:
    """Apply the law to a linear layer on rows, with numbers for the shapes."""
    known: dict[str, object] = {**WEIGHTS, **TARGETS, **more}
    constants = {
        name: np.array(given) if isinstance(given, list | int) else given
        for name, given in known.items()
        if f" {name})" in body or f"({name}" in body or f" {name}," in body
    }
    proto = model(body, inputs, outputs, constants)  # type: ignore[arg-type]
    shapes = {"x": tuple(sizes[0].values())} if sizes else None
    return optimized(proto, "demand", *sizes, profile=COUNTING, shapes=shapes)


ROWS = "r = Reshape(x, rows) m = {layer} l = Relu(m) t = Reshape(l, tokens) "


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("layer", ["Gemm(r, w, b)", "MatMul(r, w)"])
def test_of_axes_of_known_size(layer: str, axis: int) -> None:
    body = ROWS.format(layer=layer) + f"c = Gather<axis = {axis}>(t, first) y = MatMul(c, v)"
    after = cut(body, "float[2,7,3] x", tokens=[2, 7, 5])
    assert after.saved == 15 * (14 - (7 if axis == 0 else 2))


@pytest.mark.parametrize("axis", [0, 1])
def test_of_axes_of_any_size(axis: int) -> None:
    body = (
        "s = Shape(x) two = Slice(s, zero, end) o = Concat<axis = 0>(two, five) "
        "r = Reshape(x, rows) m = Gemm(r, w, b) l = Relu(m) t = Reshape(l, o) "
        f"c = Gather<axis = {axis}>(t, first) y = MatMul(c, v)"
    )
    sizes = [{"N": 2, "L": 7, "C": 3}, {"N": 1, "L": 1}, {"N": 3, "L": 4}]
    numbers = {"zero": [0], "end": [2], "five": [5]}
    after = cut(body, "float[N,L,3] x", *sizes, **numbers)
    assert after.saved == 15 * (14 - (7 if axis == 0 else 2))
    assert after.ops.index("Slice") < after.ops.index("Gemm")


def test_of_heads_that_are_put_together_on_the_way() -> None:
    """(L, N·H, D) -> (L·N, H·D): as scores of several heads are, sequence first."""
    body = (
        "k = Relu(x) r = Reshape(k, rows) m = Gemm(r, u) t = Reshape(m, tokens) "
        "c = Gather<axis = 0>(t, first) y = MatMul(c, v)"
    )
    after = cut(body, "float[7,4,3] x", rows=[14, 6], tokens=[7, 2, 5], u=(6, 5))
    assert after.saved == 30 * (14 - 2)


REFUSED = {
    "rows that others read": ("z = Abs(l)", {}),
    "a bias of every row": ("", {"b": (14, 5)}),
    "rows that are mixed": ("", {}),
    "rows of no other axes": ("", {"source": "float[14,3] x"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_rows_that_stay(name: str) -> None:
    extra, changes = REFUSED[name]
    mixed = name == "rows that are mixed"
    body = (
        "r = Reshape(x, rows) m = Gemm(r, w, b) "
        + ("q = ReduceMax<axes = [0]>(m) l = Sub(m, q) " if mixed else "l = Relu(m) ")
        + f"t = Reshape(l, tokens) c = Gather<axis = 1>(t, first) y = MatMul(c, v) {extra}"
    )
    inputs = str(changes.get("source", "float[2,7,3] x"))
    more = {"b": changes["b"]} if "b" in changes else {}
    after = cut(body, inputs, outputs="y, z" if extra else "y", tokens=[2, 7, 5], **more)
    assert after.laws == set()
