"""EdgeConv: W[x_j − x_i; x_i] = W₁x_j + (W₂ − W₁)x_i, and what several channels are copies of."""

from __future__ import annotations

from math import inf, log2

import numpy as np
import pytest
from onnx import ModelProto

from onebyone.graph.evaluate import evaluate
from onebyone.graph.read import read
from onebyone.graph.write import to_proto
from onebyone.optimize import optimize

from ...graphs.run import run
from ...graphs.text import model
from ..exact import COUNTING, optimized

LAWS = ["commute", "linear", "split", "sum", "compose"]
ROWS, K, IN, OUT = 7, 5, 3, 11
WEIGHT = (OUT, 2 * IN, 1, 1)


def edge(join: str = "Concat<axis = 3>(d, own)", weight: object = WEIGHT) -> ModelProto:
    """Each of 2·7 points with five neighbours, as in DGCNN."""
    body = f"""
        flat = Reshape(x, rows) f = Gather<axis = 0>(flat, i) near = Reshape(f, each)
        one = Reshape(x, single) own = Tile(one, k)
        d = Sub(near, own) e = {join} t = Transpose<perm = [0, 3, 1, 2]>(e) y = Conv(t, w, b)
    """
    constants = {
        "rows": np.array([-1, IN]), "each": np.array([2, ROWS, K, IN]),
        "single": np.array([2, ROWS, 1, IN]), "k": np.array([1, 1, K, 1]),
        "w": weight, "b": (OUT,),
    }  # fmt: skip
    return model(body, f"float[2,{ROWS},{IN}] x, int64[{2 * ROWS * K}] i", constants=constants)


@pytest.mark.parametrize("join", ["Concat<axis = 3>(d, own)", "Concat<axis = 3>(own, d)"])
def test_an_edge_convolution_works_on_points(join: str) -> None:
    after = optimized(edge(join), "sum", only=LAWS, profile=COUNTING)
    assert after.told["before"]["macs"] == 2 * ROWS * K * 2 * IN * OUT
    assert after.told["after"]["macs"] == 2 * ROWS * 2 * IN * OUT
    assert after.laws == {*LAWS}


def test_each_of_the_laws_is_needed() -> None:
    least = 2 * ROWS * 2 * IN * OUT
    for law in ("commute", "split", "sum"):
        proto, fewer = edge(), [other for other in LAWS if other != law]
        after = optimized(proto, "sum", only=fewer, profile=COUNTING)
        assert after.told["after"]["macs"] > least, law


def weights(share: float) -> np.ndarray:
    """Rows in which |W₂| is so large a share of |W₁|, and of its sign."""
    w1 = np.random.default_rng(1).uniform(0.5, 1, (OUT, IN))
    return np.hstack([w1, share * w1]).astype(np.float32).reshape(WEIGHT)


@pytest.mark.parametrize(("share", "kept"), [(0.118, True), (0.117, False), (1, True), (4, True)])
def test_the_loss_is_stated_and_has_a_limit(share: float, kept: bool) -> None:
    proto = edge(weight=weights(share))
    report = optimize(proto, only=LAWS, profile=COUNTING).report
    assert report.certificate is not None
    assert report.certificate.passed
    kappa = (1 + abs(share - 1)) / share  # (|W₁| + |W₂ − W₁|) / |W₂|
    least = report.after.macs == 2 * ROWS * 2 * IN * OUT
    assert least == kept == (kappa <= 16)
    if kept:
        assert max(law.lost_bits for law in report.laws) == pytest.approx(log2(kappa), abs=1e-3)
    else:
        (told,) = (row.reason for row in report.refusals if row.law == "sum")
        assert f"{log2(kappa):.1f} bits could be lost" in told


@pytest.mark.parametrize("share", [0.13, -0.2, 1.5])
def test_no_more_is_lost_than_stated(share: float) -> None:
    """Neighbours that lie together, far from the origin: x_j − x_i is exact, and small."""
    proto = edge(weight=weights(share))
    far = 1e5 + np.random.default_rng(2).integers(-3, 4, (2, ROWS, IN)) / 2**7
    feed = {"x": far.astype(np.float32), "i": np.arange(2 * ROWS * K) % (2 * ROWS)}
    after = to_proto(optimize(proto, only=LAWS, profile=COUNTING).model)
    exact = evaluate(read(proto), feed)["y"]
    before, behind = (np.abs(run(p, feed)[0]["y"] - exact).max() for p in (proto, after))
    kappa = (1 + abs(share - 1)) / abs(share)
    assert behind <= 2 * kappa * before


def test_a_bare_difference_stays() -> None:
    """PointNet++ groups x_j − x_i alone: there nothing of its size is added."""
    bare = edge("Identity(d)", weight=(OUT, IN, 1, 1))
    report = optimize(bare, profile=COUNTING, verify=False).report
    assert report.after.macs == report.before.macs
    assert any("all could be lost" in row.reason for row in report.refusals if row.law == "sum")
    # Beside other features it is as bare; beside either of its terms it is not.
    beside = edge("Concat<axis = 3>(d, near)", weights(1))
    assert optimize(beside, profile=COUNTING, verify=False).report.laws
    body = """
        f = Gather<axis = 1>(x, i) g = Gather<axis = 1>(z, i) d = Sub(f, one)
        e = Concat<axis = 3>(d, g) y = MatMul(e, w)
    """
    inputs = "float[2,7,3] x, float[2,7,4] z, float[2,1,1,3] one, int64[9,5] i"
    weight = np.random.default_rng(4).uniform(0.5, 1, (7, 11)).astype(np.float32)
    proto = model(body, inputs, constants={"w": weight})
    report = optimize(proto, profile=COUNTING, verify=False).report
    assert any("all could be lost" in row.reason for row in report.refusals if row.law == "sum")


def test_a_difference_opens_in_a_sum() -> None:
    body = """
        f = Gather<axis = 1>(x, i) g = Gather<axis = 1>(x, j) d = Sub(f, g)
        a = MatMul(d, w) c = MatMul(g, v) y = Add(a, c)
    """
    rng = np.random.default_rng(3)
    constants = {name: rng.uniform(0.5, 1, (3, 11)).astype(np.float32) for name in "wv"}
    proto = model(body, "float[2,7,3] x, int64[41] i, int64[41] j", constants=constants)
    report = optimize(proto, only=LAWS, profile=COUNTING).report
    assert report.after.macs == 2 * 2 * 7 * 33
    assert report.certificate is not None
    assert report.certificate.passed
    kappa = np.abs(constants["w"]).sum(0) + np.abs(constants["v"] - constants["w"]).sum(0)
    kappa /= np.abs(constants["v"]).sum(0)
    assert max(law.lost_bits for law in report.laws) == pytest.approx(log2(kappa.max()), abs=1e-3)


@pytest.mark.parametrize("copies", [2, 3])
def test_copies_are_read_once(copies: int) -> None:
    """A grey image copied to three channels."""
    several = ", ".join(["x"] * copies)
    constants = {"w": (11, 2 * copies, 1, 1), "b": (11,)}
    proto = model(
        f"e = Concat<axis = 1>({several}) y = Conv(e, w, b)", "float[2,2,5,7] x",
        constants=constants,
    )  # fmt: skip
    after = optimized(proto, "sum", only=["split", "sum", "compose"], profile=COUNTING)
    assert after.ops == ["Conv"]
    assert after.told["after"]["macs"] * copies == after.told["before"]["macs"]


def test_copies_beside_others_are_read_once() -> None:
    body = "n = Neg(x) e = Concat<axis = 1>(x, z, n, x) y = Conv(e, w)"
    proto = model(body, "float[2,2,5,7] x, float[2,3,5,7] z", constants={"w": (11, 9, 1, 1)})
    after = optimized(proto, "sum", only=[*LAWS, "affine"], profile=COUNTING)
    assert after.told["after"]["macs"] == 2 * 5 * 7 * 11 * 5
    assert inf > after.saved > 0


def test_what_an_addition_repeats_by_itself_is_not_repeated() -> None:
    after = optimized(edge(), "sum", only=LAWS, profile=COUNTING)
    assert "Tile" not in after.ops
    # Both operands are repeated, and the sum is not: one of them has to be.
    body = "a = MatMul(x, w) s = Tile(a, k) c = MatMul(z, v) t = Tile(c, k) y = Add(s, t)"
    constants = {"w": (3, 11), "v": (4, 11), "k": np.array([1, 5, 1])}
    proto = model(body, "float[2,1,3] x, float[2,1,4] z", constants=constants)
    assert optimized(proto, "sum", only=LAWS, profile=COUNTING).saved == 0
    # Of several positions, each is repeated: no Add does that.
    body = "a = MatMul(x, w) s = Tile(a, k) y = Add(s, z)"
    proto = model(body, "float[2,2,3] x, float[2,10,11] z", constants=constants)
    assert "Tile" in optimized(proto, "sum", only=LAWS, profile=COUNTING).ops


@pytest.mark.parametrize(
    "sums",
    [
        "y = Add(a, r)",
        "y = Add(r, a)",
        "y = Sub(r, a)",
        "b = MatMul(x, w) y = Sum(a, b, r)",
        "s = Add(a, r) y = MatMul(s, u)",
        "b = MatMul(x, w) s = Tile(b, k) t = Add(a, s) y = Add(t, r)",
    ],
)
@pytest.mark.parametrize(("shared", "outputs"), [("", "y"), ("other = Relu(a)", "y, other")])
def test_a_repeat_stays_where_nothing_else_is_as_long(sums: str, shared: str, outputs: str) -> None:
    body = f"a = MatMul(x, v) r = Tile(a, k) {sums} {shared}"
    constants = {"w": (3, 11), "v": (3, 11), "u": (11, 2), "k": np.array([1, 5, 1])}
    proto = model(body, "float[2,1,3] x", outputs, constants=constants)
    after = optimized(proto, "sum", only=[*LAWS, "affine"], profile=COUNTING)
    assert "Tile" in after.ops
