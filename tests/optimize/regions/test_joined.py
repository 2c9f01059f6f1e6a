"""Concats of positions: W[x₁ ∥ x₂] = [Wx₁ ∥ Wx₂], by `==`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from onebyone.optimize import optimize

from ...graphs.text import model
from ..exact import COUNTING, optimized

Constants = Mapping[str, np.ndarray | Sequence[int]]
LAWS = ["commute", "linear", "compose", "affine"]
UP = np.array([1, 1, 2, 3], np.float32)

# A body, its inputs and constants, and the MACs that are left.
CASES: dict[str, tuple[str, str, Constants, int]] = {
    "tokens behind a layer each": (
        "a = MatMul(x, u) c = MatMul(z, v) j = Concat<axis = 1>(a, c) p = MatMul(j, w) "
        "y = Add(p, b)",
        "float[2,7,3] x, float[2,4,5] z",
        {"u": (3, 9), "v": (5, 9), "w": (9, 4), "b": (4,)}, 2 * (7 * 3 + 4 * 5) * 4),
    "one of them has a layer": (
        "a = MatMul(x, u) j = Concat<axis = -2>(z, a) y = MatMul(j, w)",
        "float[2,7,3] x, float[2,4,9] z", {"u": (3, 9), "w": (9, 4)},
        2 * (7 * 3 + 4 * 9) * 4),
    "rows of an image, one repeated": (
        "r = Resize<mode = \"nearest\">(x, , s) j = Concat<axis = 2>(r, z) y = Conv(j, k, b)",
        "float[2,3,5,2] x, float[2,3,1,6] z", {"s": UP, "k": (4, 3, 1, 1), "b": (4,)},
        2 * (5 * 2 + 6) * 12),
    "biases of both, and behind": (
        "a = Conv(x, u, d) c = Conv(z, v, e) j = Concat<axis = 3>(a, c, x2) y = Conv(j, k, b)",
        "float[2,3,5,2] x, float[2,5,5,1] z, float[2,9,5,4] x2",
        {"u": (9, 3, 1, 1), "d": (9,), "v": (9, 5, 1, 1), "e": (9,), "k": (4, 9, 1, 1),
         "b": (4,)},
        2 * 5 * (2 * 3 + 5 + 4 * 9) * 4),
    "padded behind": (
        "a = MatMul(x, u) j = Concat<axis = 1>(a, z) g = Pad(j, pads) p = MatMul(g, w) "
        "y = Add(p, b)",
        "float[2,7,3] x, float[2,4,9] z",
        {"u": (3, 9), "w": (9, 4), "b": (4,), "pads": np.array([0, 2, 0, 0, 1, 0])},
        2 * (7 * 3 + 4 * 9) * 4),
    "padded behind, with a bias that borders see": (
        "a = Conv(x, u) j = Concat<axis = 2>(a, z) g = Pad(j, pads) y = Conv(g, k, b)",
        "float[2,3,5,2] x, float[2,9,1,2] z",
        {"u": (9, 3, 1, 1), "k": (4, 9, 1, 1), "b": (4,),
         "pads": np.array([0, 0, 1, 0, 0, 0, 0, 2])},
        2 * 2 * (5 * 3 + 9) * 4),
    "rolled": (
        "a = MatMul(x, u) h = Slice(a, two, far, one) t = Slice(a, zero, two, one) "
        "j = Concat<axis = 1>(h, t) y = MatMul(j, w)",
        "float[2,7,3] x",
        {"u": (3, 9), "w": (9, 4), "zero": np.array([0]), "one": np.array([1]),
         "two": np.array([2]), "far": np.array([99])},
        2 * 7 * 12),
    "the batch": (
        "a = MatMul(x, u) j = Concat<axis = 0>(a, z, a) y = MatMul(j, w)",
        "float[2,7,3] x, float[1,7,9] z", {"u": (3, 9), "w": (9, 4)},
        7 * (2 * 12 + 36)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_map_moves_before_a_concat_of_positions(name: str) -> None:

    body, inputs, constants, macs = CASES[name]
    proto = model(body, inputs, constants=constants)
    after = optimized(proto, "commute", only=LAWS, profile=COUNTING)
    assert "commute" in after.laws
    assert after.told["after"]["macs"] == macs
    assert optimize(proto, only=LAWS, profile=COUNTING).report.certificate.passed
    fewer = [law for law in LAWS if law != "commute"]
    without = optimized(proto, "commute", only=fewer, profile=COUNTING)
    assert without.saved == 0


def test_alone_it_saves_nothing() -> None:
    proto = model("j = Concat<axis = 1>(x, z) p = MatMul(j, w) y = Relu(p)",
                  "float[2,7,3] x, float[2,4,3] z", constants={"w": (3, 9)})  # fmt: skip
    after = optimized(proto, "commute", only=LAWS)
    assert after.ops == ["Concat", "MatMul", "Relu"]
    assert "it does not pay to move a channel map past Concat" in after.refusals


@pytest.mark.parametrize("n", [1, 4])
def test_sizes_may_be_free(n: int) -> None:
    body, _, constants, _ = CASES["tokens behind a layer each"]
    proto = model(body, "float[N,L,3] x, float[N,M,5] z", constants=constants)

    sizes = ({"N": n, "L": 5, "M": 1}, {"N": 2, "L": n, "M": 3})
    after = optimized(proto, "commute", *sizes, only=LAWS, profile=COUNTING)
    assert "commute" in after.laws
