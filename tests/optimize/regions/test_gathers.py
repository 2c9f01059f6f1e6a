"""Gathers by any indices: channel maps move to the side with fewer positions, by `==`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

import numpy as np
import pytest

from onebyone.optimize import optimize

from ...graphs.text import model
from ..exact import COUNTING, optimized

Constants = Mapping[str, np.ndarray | Sequence[int]]
WIDE = {"w": (3, 11), "b": (11,)}


def indices(*shape: int, below: int, dtype: type = np.int64) -> np.ndarray:
    """Any of −below … below − 1."""
    return np.random.default_rng(shape).integers(-below, below, shape).astype(dtype)


# A body whose layer has many rows, its inputs and constants, and the MACs that are enough.
EXPANDING: dict[str, tuple[str, str, Constants, int]] = {
    "rows": (
        "f = Gather<axis = 0>(x, i) p = MatMul(f, w) y = Add(p, b)",
        "float[7,3] x, int64[41] i", WIDE, 7 * 33),
    "int32": (
        "f = Gather<axis = -2>(x, i) p = MatMul(f, w) y = Add(p, b)",
        "float[2,7,3] x, int32[41] i", WIDE, 14 * 33),
    "a table of indices": (
        "f = Gather<axis = 1>(x, i) p = MatMul(f, w) y = Add(p, b)",
        "float[2,7,3] x, int64[9,5] i", WIDE, 14 * 33),
    "a constant table": (
        "f = Gather<axis = 1>(x, i) p = MatMul(f, w) y = Add(p, b)",
        "float[2,7,3] x", {**WIDE, "i": indices(9, 5, below=7)}, 14 * 33),
    "columns of an image": (
        "f = Gather<axis = 3>(x, i) y = Conv(f, k, b)",
        "float[2,3,4,5] x, int64[41] i", {"k": (11, 3, 1, 1), "b": (11,)}, 40 * 33),
    "elements, expanded": (
        "j = Expand(i, e) f = GatherElements<axis = 1>(x, j) p = MatMul(f, w) y = Add(p, b)",
        "float[2,7,3] x, int64[2,41,1] i", {**WIDE, "e": np.array([2, 41, 3])}, 14 * 33),
    "elements, tiled": (
        "j = Tile(i, e) f = GatherElements<axis = 1>(x, j) p = MatMul(f, w) y = Add(p, b)",
        "float[2,7,3] x, int32[2,41,1] i", {**WIDE, "e": np.array([1, 1, 3])}, 14 * 33),
    "elements, twice": (
        "o = Expand(i, e) j = Tile(o, t) f = GatherElements<axis = 1>(x, j) y = MatMul(f, w)",
        "float[2,7,3] x, int64[41,1] i",
        {**WIDE, "e": np.array([1, 41, 1]), "t": np.array([2, 1, 3])}, 14 * 33),
    "elements, channels first": (
        "j = Expand(i, e) f = GatherElements<axis = 2>(x, j) y = Conv(f, k, b)",
        "float[2,3,7] x, int64[2,1,41] i",
        {"k": (11, 3, 1), "b": (11,), "e": np.array([3, 1])}, 14 * 33),
    "elements by constants": (
        "f = GatherElements<axis = 1>(x, i) p = MatMul(f, w) y = Add(p, b)",
        "float[2,7,3] x", {**WIDE, "i": indices(2, 41, 1, below=7).repeat(3, 2)}, 14 * 33),
    "elements of one channel": (
        "f = GatherElements<axis = 1>(x, i) y = MatMul(f, v)",
        "float[2,7,1] x, int64[2,41,1] i", {"v": (1, 11)}, 14 * 11),
    "named by a list": (
        "f = GatherND(x, i) p = MatMul(f, w) y = Add(p, b)",
        "float[7,3] x, int64[41,1] i", WIDE, 7 * 33),
    "named, each batch": (
        "f = GatherND<batch_dims = 1>(x, i) p = MatMul(f, w) y = Add(p, b)",
        "float[2,7,3] x, int64[2,41,1] i", WIDE, 14 * 33),
    "named by two": (
        "f = GatherND<batch_dims = 1>(x, i) p = MatMul(f, w) y = Add(p, b)",
        "float[2,5,7,3] x, int64[2,91,2] i", WIDE, 70 * 33),
    "named by a table": (
        "f = GatherND(x, i) p = MatMul(f, w) y = Add(p, b)",
        "float[7,3] x, int64[9,5,1] i", WIDE, 7 * 33),
}  # fmt: skip


LAWS = ["commute", "linear"]


@pytest.mark.parametrize("case", EXPANDING.values(), ids=EXPANDING)
def test_a_map_behind_a_gather_that_repeats_moves_before_it(
    case: tuple[str, str, Constants, int],
) -> None:
    body, inputs, constants, macs = case
    proto = model(body, inputs, constants=constants)
    after = optimized(proto, "commute", only=LAWS, profile=COUNTING)
    assert after.laws <= {*LAWS}
    assert "commute" in after.laws
    assert after.told["after"]["macs"] == macs
    assert optimize(proto, only=LAWS, profile=COUNTING).report.certificate.passed


# A body whose layer has few rows if the gather comes first, and its MACs then.
SELECTING: dict[str, tuple[str, str, Constants, int]] = {
    "rows": (
        "p = MatMul(x, w) q = Add(p, b) y = Gather<axis = 1>(q, i)",
        "float[2,7,3] x, int64[2] i", WIDE, 4 * 33),
    "one row": (
        "p = MatMul(x, w) q = Add(p, b) y = Gather<axis = 1>(q, i)",
        "float[2,7,3] x, int64 i", WIDE, 2 * 33),
    "elements": (
        "p = MatMul(x, w) q = Add(p, b) j = Expand(i, e) y = GatherElements<axis = 1>(q, j)",
        "float[2,7,3] x, int64[2,3,1] i", {**WIDE, "e": np.array([2, 3, 11])}, 6 * 33),
    "elements, of some of the batch": (
        "p = MatMul(x, w) q = Add(p, b) j = Expand(i, e) y = GatherElements<axis = 1>(q, j)",
        "float[2,7,3] x, int64[1,3,1] i", {**WIDE, "e": np.array([1, 3, 11])}, 3 * 33),
    "named, each batch": (
        "p = MatMul(x, w) q = Add(p, b) y = GatherND<batch_dims = 1>(q, i)",
        "float[2,7,3] x, int64[2,2,1] i", WIDE, 4 * 33),
    "one of each batch": (
        "p = MatMul(x, w) q = Add(p, b) y = GatherND<batch_dims = 1>(q, i)",
        "float[2,7,3] x, int64[2,1] i", WIDE, 2 * 33),
}  # fmt: skip


@pytest.mark.parametrize("case", SELECTING.values(), ids=SELECTING)
def test_a_map_before_a_gather_of_few_moves_behind_it(
    case: tuple[str, str, Constants, int],
) -> None:
    test_a_map_behind_a_gather_that_repeats_moves_before_it(case)


@pytest.mark.parametrize("n", [1, 5, 8])
def test_sizes_may_be_free(n: int) -> None:
    body = """
        j = Expand(i, e) f = GatherElements<axis = 1>(x, j) p = MatMul(f, w) y = Add(p, b)
    """
    constants = {**WIDE, "e": np.array([1, 1, 3])}
    inputs = "float[N,L,3] x, int64[N,K,1] i"
    shapes = {"x": (2, 7, 3), "i": (2, 41, 1)}
    proto = model(body, inputs, constants=constants)
    sizes = ({"N": n, "L": 5, "K": 9}, {"N": 2, "L": 8, "K": n})
    after = optimized(proto, "commute", *sizes, only=LAWS, profile=COUNTING, shapes=shapes)
    assert after.saved == (82 - 14) * 33


def refusals(body: str, inputs: str, **constants: np.ndarray | Sequence[int]) -> list[str]:
    proto = model(body, inputs, constants={**WIDE, **constants})
    after = optimized(proto, "commute", only=LAWS, profile=COUNTING)
    assert after.saved == 0
    return after.refusals


def test_indices_that_differ_between_channels_are_no_selection_of_positions() -> None:
    body = "f = GatherElements<axis = 1>(x, i) y = MatMul(f, w)"
    differ = "the indices of the GatherElements are not known to be equal in all channels"
    assert differ in refusals(body, "float[2,7,3] x, int64[2,41,3] i")
    different = indices(2, 41, 1, below=7).repeat(3, 2)
    different[0, 0, 0] += different[0, 0, 0] < 6 or -1
    assert differ in refusals(body, "float[2,7,3] x", i=different)
    # Expanded along the wrong axis.
    body = "j = Expand(i, e) f = GatherElements<axis = 1>(x, j) y = MatMul(f, w)"
    told = refusals(body, "float[2,7,3] x, int64[1,41,3] i", e=np.array([2, 41, 3]))
    assert "GatherElements acts on channels, not on positions" in told


def test_less_channels_are_picked_than_there_are() -> None:
    body = "j = Expand(i, e) f = GatherElements<axis = 1>(x, j) y = MatMul(f, w)"
    told = refusals(body, "float[2,7,4] x, int64[2,41,1] i", e=np.array([2, 41, 3]))
    assert "the indices of the GatherElements are not known to be equal in all channels" in told


def test_channels_that_are_gathered_stay() -> None:
    body = "f = Gather<axis = -1>(x, i) y = MatMul(f, w)"
    assert "Gather acts on channels, not on positions" in refusals(
        body, "float[2,7,5] x, int64[3] i"
    )
    body = "f = GatherND(x, i) g = Unsqueeze(f, o) y = MatMul(g, v)"
    assert not refusals(body, "float[7,5] x, int64[41,2] i", o=np.array([1]), v=(1, 3))


def test_a_gather_that_repeats_stays_behind_a_map() -> None:
    body = "p = MatMul(x, w) y = Gather<axis = 0>(p, i)"
    refusals(body, "float[7,3] x, int64[41] i")


def test_indices_that_were_spread_are_drawn_before_they_were() -> None:
    """In a proof they are the same in all channels, however far back that begins."""
    scores = " ".join(f"s{k + 1} = Abs(n{k}) n{k + 1} = Neg(s{k + 1})" for k in range(20))
    body = (
        f"r = Relu(x) p = MatMul(r, w) q = Add(p, a) n0 = Neg(x) {scores} "
        "m = ReduceMax<axes = [2], keepdims = 0>(n20) t, i = TopK<axis = 1>(m, k) "
        "u = Unsqueeze(i, z) j = Tile(u, n) y = GatherElements<axis = 1>(q, j)"
    )
    constants = {"k": np.array([5]), "z": np.array([2]), "n": np.array([1, 1, 4]), "w": (16, 4)}
    proto = model(body, "float[1,40,16] x, float[1,40,4] a", constants=constants)
    report = optimize(proto, profile=COUNTING, lost_bits=inf).report
    assert [(row.law, row.proved) for row in report.laws] == [("sum", True), ("commute", True)]
