"""demand: a block of a packed layer that is read at few positions has its own layer, by `==`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from onebyone.optimize import optimize

from ...graphs.text import model
from ..exact import COUNTING, Outcome, optimized

# Three blocks of 2 heads of 3 channels, of 5 channels: 18 of them, in order.
PACKED: Mapping[str, Any] = {"w": (5, 18), "b": (18,)}
LAYER = "p = MatMul(x, w) v = Add(b, p)"
HEADS = {"h": np.array([0, 0, 3, 2, 3]), "one": np.array([1]), "two": np.array([2]),
         "six": np.array([6]), "twelve": np.array([12]), "end": np.array([18]),
         "k0": np.array(0), "k1": np.array(1), "k2": np.array(2), "zero": np.array([0]),
         "ones": np.array([1, 1, 1]), "sixes": np.array([6, 6, 6])}  # fmt: skip
# What makes q, of all tokens, k and v, of rank 3 or 4 with the tokens on axis −2, of `v`.
CUTS: dict[str, str] = {
    "Gathers of an axis": (
        "r = Reshape(v, h) t = Transpose<perm = [2,0,3,1,4]>(r)"
        " q = Gather(t, k0) k = Gather(t, k1) z = Gather(t, k2)"),
    "Gathers of an axis that stays": (
        "r = Reshape(v, h) a = Gather<axis = 2>(r, k0) k = Gather<axis = 2>(r, k1)"
        " z = Gather<axis = 2>(r, k2) q = Transpose<perm = [0,2,1,3]>(a)"),
    "a Split of an axis": (
        "r = Reshape(v, h) t = Transpose<perm = [2,0,3,1,4]>(r) a, d, e = Split<axis = 0>(t, ones)"
        " q = Squeeze(a, zero) k = Squeeze(d, zero) z = Squeeze(e, zero)"),
    "a Split of the channels": "q, k, z = Split<axis = -1>(v, sixes)",
    "Slices": (
        "q = Slice(v, zero, six, two) k = Slice(v, six, twelve, two)"
        " z = Slice(v, twelve, end, two)"),
}  # fmt: skip
# One token of q is read, and all of k and v.
READ = "f = Slice(q, zero, one, tokens) g = Relu(f) y = Neg(g) u = Relu(k) w2 = Relu(z)"
TOKENS = 7
ALL, FEW = 2 * TOKENS * 5 * 18, 2 * (TOKENS * 12 + 6) * 5


def packed(cut: str, read: str = READ, outputs: str = "y, u, w2", **more: Any) -> Outcome:
    body, inputs = f"{more.pop('layer', LAYER)} {cut} {read}", more.pop("inputs", "float[2,7,5] x")
    sizes = more.pop("sizes", ())
    constants = {**PACKED, **HEADS, "tokens": np.array([-2]), **more}
    used = {
        n
        for n in constants
        if n in body.replace("(", " ").replace(")", " ").replace(",", " ").split()
    }
    proto = model(body, inputs, outputs, {n: constants[n] for n in used})
    after = optimized(proto, "demand", *sizes, profile=COUNTING)
    if not sizes:
        assert optimize(proto, only=["demand"], profile=COUNTING).report.certificate.passed
    return after


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_the_block_that_is_read_at_one_token_is_computed_there(cut: str) -> None:
    tokens = np.array([1 if "Gather<axis = 2>(r, k0)" in cut and "q = Tr" not in cut else -2])
    after = packed(cut, tokens=tokens)
    assert after.told["before"]["macs"] == ALL
    assert after.told["after"]["macs"] == FEW
    assert sorted(after.weights("MatMul")) == [[5, 6], [5, 12]]


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_with_a_batch_that_is_free(cut: str) -> None:
    after = packed(cut, inputs="float[N,7,5] x", sizes=({"N": 2}, {"N": 3}))
    assert sorted(after.weights("MatMul")) == [[5, 6], [5, 12]]


def test_the_block_in_the_middle() -> None:
    read = "f = Slice(k, zero, one, tokens) y = Relu(f) u = Relu(q) w2 = Relu(z)"
    for cut in CUTS.values():
        if "axis = 2>" not in cut:
            assert packed(cut, read).told["after"]["macs"] == FEW


def test_two_blocks_at_the_same_token_stay_together() -> None:
    read = ("f = Slice(q, zero, one, tokens) y = Relu(f) s = Slice(z, zero, one, tokens)"
            " u = Neg(s) w2 = Relu(k)")  # fmt: skip
    after = packed(CUTS["Gathers of an axis"], read)
    assert sorted(after.weights("MatMul")) == [[5, 6], [5, 12]]
    assert after.told["after"]["macs"] == 2 * (TOKENS * 6 + 12) * 5


def test_a_block_that_nobody_reads_goes() -> None:
    """Of an axis of its own; of plain channels it is for the law of dead ones."""
    for name, saved in (("Gathers of an axis", ALL // 3), ("a Split of an axis", ALL // 3),
                        ("Slices", 0)):  # fmt: skip
        after = packed(CUTS[name], "y = Relu(q) u = Relu(z)", "y, u")
        assert after.saved == saved
        told = sum(row["saved_macs"] for row in after.told["laws"])
    assert told == saved


def test_other_layers() -> None:
    cut, read = "q, k, z = Split<axis = 1>(v, sixes)", "f = Slice(q, zero, one, zero) y = Relu(f)"
    after = packed(cut, f"{read} u = Relu(k) w2 = Relu(z)", layer="v = Gemm<transB = 1>(x, w, b)",
                   inputs="float[7,5] x", w=(18, 5))  # fmt: skip
    assert after.told["after"]["macs"] == (7 * 12 + 6) * 5
    image = "f = Slice(q, zero, one, two) y = Relu(f) u = Relu(k) w2 = Relu(z)"
    after = packed(
        cut, image, layer="v = Conv(x, w, b)", inputs="float[2,5,4,3] x", w=(18, 5, 1, 1)
    )
    assert after.told["after"]["macs"] == 2 * (12 * 12 + 3 * 6) * 5


WHOLE: dict[str, dict[str, Any]] = {
    "all is read of each": {"read": "y = Relu(q) u = Relu(k) w2 = Relu(z)"},
    "one is read twice": {"read": f"{READ} o = Neg(q)", "outputs": "y, u, w2, o"},
    "the whole is read": {"read": f"{READ} o = Neg(v)", "outputs": "y, u, w2, o"},
    "the weight is read by another": {
        "read": f"{READ} n = Neg(x) o = MatMul(n, w)", "outputs": "y, u, w2, o"},
    "blocks are of several widths": {
        "cut": "q, k, z = Split<axis = -1>(v, sixes)", "sixes": np.array([6, 9, 3])},
    "a block is read twice, at one token and at all": {
        "cut": "q = Slice(v, zero, six, two) k = Slice(v, six, twelve, two)"
               " z = Slice(v, back, less, two)", "back": np.array([-18]), "less": np.array([-12])},
    "tokens that take half of the channels": {
        "cut": "r = Reshape(v, h) q = Gather<axis = 2>(r, k0) k = Gather<axis = 2>(r, k1)"
               " z = Gather<axis = 2>(r, k2)", "h": np.array([2, 14, 3, 3]),
        "read": "y = Relu(q) u = Relu(z)", "outputs": "y, u"},
    "a reshape of other axes": {
        "cut": "r = Reshape(v, h) q = Gather<axis = 3>(r, k0) k = Gather<axis = 3>(r, k1)"
               " z = Gather<axis = 3>(r, k1)", "h": np.array([0, 0, 3, 2, 3])},
}  # fmt: skip


@pytest.mark.parametrize("case", WHOLE.values(), ids=WHOLE)
def test_one_layer_stays(case: dict[str, Any]) -> None:
    after = packed(**{"cut": CUTS["Gathers of an axis"], **case})
    assert all(shape == [5, 18] for shape in after.weights("MatMul"))


def test_not_where_it_does_not_pay() -> None:
    body = f"{LAYER} {CUTS['Slices']} {READ}"
    constants = {n: HEADS[n] for n in ("zero", "one", "two", "six", "twelve", "end")}
    proto = model(body, "float[2,7,5] x", "y, u, w2",
                  {**PACKED, **constants, "tokens": np.array([-2])})  # fmt: skip
    assert optimize(proto, only=["demand"]).report.laws == ()
