"""Picks by indices that are known only when the model runs: they move back as any others do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from onnx import ModelProto

from onebyone.optimize import optimize

from ...graphs.text import integers, model
from ..exact import COUNTING, optimized

Constants = Mapping[str, np.ndarray | Sequence[int]]
N, K, IN, WIDE, OUT = 11, 2, 3, 5, 4
W: Constants = {"w": (IN, WIDE), "b": (WIDE,), "v": (WIDE, OUT), "c": (OUT,)}
ROW = IN * WIDE + WIDE * OUT
MLP = "h = MatMul(x, w) a = Add(h, b) r = Relu(a) o = MatMul(r, v) q = Add(o, c)"


def axis(k: int) -> np.ndarray:
    return np.array([k])


# Of an MLP: what picks, the other inputs, constants, and how many rows are left of 2·11.
PICKS: dict[str, tuple[str, str, Constants, int]] = {
    "Gather": ("y = Gather<axis = 1>(q, i)", f"int64[{K}] i", {}, 2 * K),
    "Gather, from the end": ("y = Gather<axis = -2>(q, i)", f"int32[{K}] i", {}, 2 * K),
    "GatherElements": (
        "j = Expand(i, e) y = GatherElements<axis = 1>(q, j)",
        f"int64[2,{K},1] i", {"e": np.array([2, K, OUT])}, 2 * K),
    "GatherElements, TopK": (
        "s = MatMul(x, u) m = ReduceMax<axes = [2], keepdims = 0>(s) t, i = TopK<axis = 1>(m, k) "
        "n = Unsqueeze(i, two) j = Tile(n, e) y = GatherElements<axis = 1>(q, j)",
        "", {"u": (IN, 2), "k": axis(K), "two": axis(2), "e": np.array([1, 1, OUT])}, 2 * K),
    "GatherND": ("y = GatherND<batch_dims = 1>(q, i)", f"int64[2,{K},1] i", {}, 2 * K),
    "GatherND of rows": (
        "z = Reshape(q, rows) y = GatherND(z, i)",
        f"int64[{K},1] i", {"rows": np.array([2 * N, OUT])}, 2 * N),
    "two, by the same indices": (
        "y = Gather<axis = 1>(q, i) f = Sigmoid(q) g = Gather<axis = 1>(f, i) z = Neg(g)",
        f"int64[{K}] i", {}, 2 * K),
    "two, by other indices": (
        "y = Gather<axis = 1>(q, i) f = Relu(q) g = Gather<axis = 1>(f, j) z = Neg(g)",
        f"int64[{K}] i, int64[{K}] j", {}, 2 * N),
    "more than there are": ("y = Gather<axis = 1>(q, i)", f"int64[{3 * N}] i", {}, 2 * N),
}  # fmt: skip
INPUT = f"float[2,{N},{IN}] x"


def rows(told: dict, proto: ModelProto, extra: int = 0) -> int:
    return (told["after"]["macs"] - extra) // ROW


@pytest.mark.parametrize("name", PICKS)
def test_an_mlp_is_computed_for_what_is_picked(name: str) -> None:
    pick, inputs, constants, left = PICKS[name]
    outputs = "y, z" if "z = Neg" in pick else "y"
    proto = model(f"{MLP} {pick}", ", ".join(filter(None, [INPUT, inputs])), outputs,
                  {**W, **constants})  # fmt: skip
    after = optimized(proto, "demand", profile=COUNTING)
    scores = 2 * N * IN * 2 if "TopK" in name else 0
    assert after.told["after"]["macs"] - scores == left * ROW
    assert optimize(proto, only=["demand"], profile=COUNTING).report.certificate.passed


def test_nobody_picks_from_what_others_read_whole() -> None:
    body = f"{MLP} y = Gather<axis = 1>(q, i)"
    after = optimized(model(body, f"{INPUT}, int64[{K}] i", "y, a", W), "demand", profile=COUNTING)
    # All rows of the first layer are the caller's; of the second some are enough.
    assert after.told["after"]["macs"] == 2 * N * IN * WIDE + 2 * K * WIDE * OUT


FREE = {
    "GatherElements": (
        "t, i = TopK<axis = 1>(s, k) n = Unsqueeze(i, two) j = Tile(n, e) "
        "y = GatherElements<axis = 1>(q, j)"),
    "GatherND": (
        "t, i = TopK<axis = 1>(s, k) n = Unsqueeze(i, two) y = GatherND<batch_dims = 1>(q, n)"),
}  # fmt: skip
TOP: Constants = {**W, "k": axis(K), "two": axis(2), "e": np.array([1, 1, OUT])}


@pytest.mark.parametrize("name", FREE)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("largest", [2.0, 3.4e38])
def test_the_batch_may_be_free(name: str, batch: int, largest: float) -> None:
    """Each image has picks of its own, and a table of anchors is the same for all.

    RT-DETR's has the largest number there is for each anchor at the border.
    """
    body = f"{MLP} {FREE[name]}".replace("q = Add(o, c)", "p = Add(o, c) q = Add(p, anchors)")
    inputs = f"float[B,{N},{IN}] x, float[B,{N}] s"
    anchors = integers("anchors", (1, N, OUT))
    anchors[0, 0] = largest
    constants = {**TOP, "anchors": anchors}
    proto = model(body, inputs, constants=constants)
    after = optimized(proto, "demand", {"B": batch}, {"B": 2}, profile=COUNTING,
                      shapes={"x": (2, N, IN), "s": (2, N)})  # fmt: skip
    assert after.told["after"]["macs"] == 2 * K * ROW


def test_positions_may_be_free() -> None:
    proto = model(f"{MLP} {FREE['GatherND']}", f"float[2,L,{IN}] x, float[2,L] s", constants=TOP)
    after = optimized(proto, "demand", {"L": 7}, {"L": 2}, profile=COUNTING,
                      shapes={"x": (2, N, IN), "s": (2, N)})  # fmt: skip
    assert after.told["after"]["macs"] == 2 * K * ROW


MIXING = {
    "along the batch": "d = Softmax<axis = 0>(r)",
    "along the positions": "d = Softmax<axis = 1>(r)",
    "a batch of another order": "d = Transpose<perm = [1, 0, 2]>(r)",
    "batches that meet": "d = Add(r, one)",
}


@pytest.mark.parametrize("name", MIXING)
def test_what_mixes_the_batch_or_the_positions_stops_them(name: str) -> None:
    body = f"""
        h = MatMul(x, w) a = Add(h, b) r = Relu(a) {MIXING[name]} o = MatMul(d, v)
        q = Relu(o) n = GatherND<batch_dims = 1>(q, i) y = Neg(n)
    """
    n = 5
    inputs = f"float[{n},{n},{IN}] x, int64[{n},1,1] i, float[1,{n},{WIDE}] one"
    after = optimized(model(body, inputs, constants=W), "demand", profile=COUNTING)
    assert after.told["after"]["macs"] == n * n * IN * WIDE + n * WIDE * OUT


def test_picks_of_a_batch_do_not_follow_it_to_another_axis() -> None:
    """Before the transpose the channels stand between: no operator picks like that there."""
    body = """
        h = MatMul(wt, x) r = Relu(h) d = Transpose<perm = [0, 2, 1]>(r) q = Sigmoid(d)
        y = GatherND<batch_dims = 1>(q, i)
    """
    constants = {"wt": (WIDE, IN)}
    proto = model(body, f"float[2,{IN},{N}] x, int64[2,{K},1] i", constants=constants)
    after = optimized(proto, "demand", profile=COUNTING)
    assert after.saved == 0


def test_picks_of_one_batch_pass_whatever_keeps_the_positions() -> None:
    body = """
        h = MatMul(x, w) g = Transpose<perm = [0, 2, 1]>(h) a = Add(g, t) r = Relu(a)
        f = Transpose<perm = [0, 2, 1]>(r) s = Softmax<axis = 2>(f) o = MatMul(s, v) q = Relu(o)
        n = Unsqueeze(i, two) j = Expand(n, e) y = GatherElements<axis = 1>(q, j)
    """
    constants = {**W, "t": (WIDE, N), "two": axis(2), "e": np.array([1, 1, OUT])}
    proto = model(body, f"float[1,{N},{IN}] x, int64[1,{K}] i", constants=constants)
    result = optimize(proto, only=["demand"], profile=COUNTING)
    assert result.report.after.macs == K * ROW
    assert result.report.certificate.passed
