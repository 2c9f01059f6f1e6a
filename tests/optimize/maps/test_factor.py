"""Factor: W = BA where W is of low rank, at rounding level and only where two maps are cheaper.

Bounds are derived from what is rounded. With u the unit roundoff of the weights' format (float64
adds nothing to speak of), σ₁ ≥ σ₂ ≥ … and r the rank,

    |BA − W| ≤ ‖BA − W‖_F ≤ √(n − r)·τ + u‖W‖_F + u√r·σ₁ + u²…        n the smaller size of W

the singular values left out, then B rounded, then A rounded (B̂Â − BA = δB·A + B·δA, ‖A‖₂ = 1,
‖B‖₂ = σ₁, ‖A‖_F = √r, ‖B‖_F ≤ ‖W‖_F); twice that covers u² and the decomposition.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from onebyone.algebra.rank import singular_values, threshold
from onebyone.optimize import optimize

from ...graphs.laws.case import norm
from ...graphs.run import run
from ...graphs.text import feed, integers, model
from ..exact import COUNTING, rewritten

OUT, IN = 24, 20  # r(24 + 20) < 480 for r ≤ 10
LAW = ["rank"]


def _low(rank: int, out: int = OUT, into: int = IN, seed: int = 3) -> np.ndarray:
    """(out, into) small integers of a rank, exact in every float format."""
    rng = np.random.default_rng(seed + rank)
    left, right = rng.integers(-1, 2, (out, rank)), rng.integers(-1, 2, (rank, into))
    for k in range(rank):
        left[k] = right[:, k] = 0
        left[k, k] = right[k, k] = 1
    found = left @ right
    assert np.linalg.matrix_rank(found) == rank
    return found.astype(np.float32)


def _optimized(proto: ModelProto, **options: Any) -> tuple[ModelProto, dict[str, Any]]:
    return rewritten(proto, **{"only": LAW, **options})


def _operators(proto: ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def _weights(proto: ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}


def _bound(weight: np.ndarray, rank: int) -> float:
    """Of ‖BA − W‖_F; see above."""
    sigma = singular_values(weight)
    tau, unit = threshold(weight, sigma), float(np.finfo(weight.dtype).eps) / 2
    norm = float(np.linalg.norm(sigma))
    return 2 * (min(weight.shape) ** 0.5 * tau + unit * norm + unit * rank**0.5 * sigma[0])


def _assert_close(before: ModelProto, after: ModelProto, weight: np.ndarray, rank: int) -> None:
    """Outputs differ by ‖BA − W‖‖x‖ and by the rounding of two sums of `rank` and `IN` terms."""
    data = feed(before)
    (a,), (b,) = run(before, data), run(after, data)
    x = np.linalg.norm([4.0] * weight.shape[1])  # inputs are up to 4
    unit = float(np.finfo(weight.dtype).eps) / 2
    terms = 2 * (sum(weight.shape) + rank) + 4
    limit = (_bound(weight, rank) + terms * unit * np.linalg.norm(weight) * rank**0.5) * x
    for name in a:
        assert a[name].shape == b[name].shape
        difference = np.abs(a[name].astype(np.float64) - b[name])
        assert difference.max() <= 4 * limit  # 4: alpha, beta and what follows are at most that


FORMS = {
    "Conv": ("y = Conv(x, w, b)", f"[2,{IN},3,5] x", lambda w: w[:, :, None, None]),
    "Conv on a line": ("y = Conv(x, w, b)", f"[2,{IN},7] x", lambda w: w[:, :, None]),
    "strides and pads": (
        "y = Conv<strides = [2,1], pads = [1,0,0,2], kernel_shape = [1,1]>(x, w, b)",
        f"[2,{IN},3,5] x",
        lambda w: w[:, :, None, None],
    ),
    "MatMul": ("y = MatMul(x, w)", f"[2,7,{IN}] x", lambda w: w.T),
    "MatMul of a vector": ("y = MatMul(x, w)", f"[{IN}] x", lambda w: w.T),
    "Gemm": ("y = Gemm(x, w, b)", f"[6,{IN}] x", lambda w: w.T),
    "Gemm, transB": ("y = Gemm<transB = 1>(x, w, b)", f"[6,{IN}] x", lambda w: w),
    "Gemm, alpha and beta": (
        "y = Gemm<alpha = 2.0, beta = -3.0>(x, w, b)",
        f"[6,{IN}] x",
        lambda w: w.T,
    ),
    "Gemm, no bias": ("y = Gemm<transB = 1, alpha = 0.5>(x, w)", f"[6,{IN}] x", lambda w: w),
}


def _model(form: str, weight: np.ndarray, kind: str = "float") -> ModelProto:
    body, x, stored = FORMS[form]
    constants = {"w": np.ascontiguousarray(stored(weight))}
    if ", b)" in body:
        constants["b"] = integers("b", (OUT,)).astype(weight.dtype)
    dims = {"Conv": "[2,24,3,5]", "Gemm": "[6,24]"}.get(form, "")
    outputs = "y" if kind == "float" else f"{kind}{dims} y"
    return model(body, f"{kind}{x}", outputs, constants)


@pytest.mark.parametrize("rank", [1, 3, 10])
@pytest.mark.parametrize("form", FORMS)
def test_a_map_of_low_rank_becomes_two(form: str, rank: int) -> None:
    weight = _low(rank)
    proto = _model(form, weight)
    after, told = _optimized(proto)
    positions = told["before"]["macs"] // (OUT * IN)
    assert _operators(after) == _operators(proto) * 2
    assert told["after"]["macs"] == positions * rank * (OUT + IN)
    (row,) = told["laws"]
    assert row["saved_macs"] == told["before"]["macs"] - told["after"]["macs"]
    assert f"rank {rank} of {OUT}×{IN}" in row["note"]
    _assert_close(proto, after, weight, rank)


@pytest.mark.parametrize("form", FORMS)
def test_once_is_enough(form: str) -> None:
    once, _ = _optimized(_model(form, _low(3)))
    for only in (LAW, None):
        assert _operators(_optimized(once, only=only)[0]) == _operators(once)


@pytest.mark.parametrize("form", ["Conv", "MatMul", "Gemm, transB"])
def test_r_a_plus_b_below_ab_is_where_it_begins(form: str) -> None:
    assert 10 * (OUT + IN) < OUT * IN < 11 * (OUT + IN)
    for rank, factors in ((10, 2), (11, 1), (IN, 1)):
        after, _ = _optimized(_model(form, _low(rank)))
        assert len(after.graph.node) == factors


def test_the_zero_matrix_has_nothing_to_factor() -> None:
    weight = np.zeros((OUT, IN), np.float32)
    assert _operators(_optimized(_model("Conv", weight))[0]) == ["Conv"]


@pytest.mark.parametrize(("kind", "dtype"), [("float16", np.float16), ("double", np.float64)])
def test_other_number_formats(kind: str, dtype: type) -> None:
    weight = _low(3).astype(dtype)
    proto = _model("Gemm", weight, kind)
    after, _ = _optimized(proto)
    assert _operators(after) == ["Gemm", "Gemm"]
    assert {w.dtype for w in _weights(after).values()} == {np.dtype(dtype)}
    _assert_close(proto, after, weight, 3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_factors_are_as_close_as_the_rounding_of_the_weight(dtype: type) -> None:
    rng = np.random.default_rng(8)
    exact = rng.standard_normal((OUT, 4)) @ rng.standard_normal((4, IN)) / 8
    weight = exact.astype(dtype)
    kind = {np.float16: "float16", np.float32: "float", np.float64: "double"}[dtype]
    after, told = _optimized(_model("Conv", weight, kind))
    inner, outer = (
        next(w for w in _weights(after).values() if w.shape[:2] == shape).astype(np.float64)
        for shape in ((4, IN), (OUT, 4))
    )
    product = outer[:, :, 0, 0] @ inner[:, :, 0, 0]
    assert np.linalg.norm(product - weight) <= _bound(weight, 4)
    assert "rank 4 of 24×20" in told["laws"][0]["note"]


def test_what_is_only_nearly_of_low_rank_stays() -> None:
    """A hundred roundings away, in one direction: not what a rounding of W could have made."""
    weight = _low(10)
    rng = np.random.default_rng(1)
    u, v = (w / np.linalg.norm(w) for w in (rng.standard_normal(OUT), rng.standard_normal(IN)))
    tau = threshold(weight, singular_values(weight))
    for factor, nodes in ((100, 1), (0.1, 2)):  # of rank 11, and of rank 10
        near = weight + factor * tau * np.outer(u, v)
        assert len(_optimized(_model("Conv", near.astype(np.float32)))[0].graph.node) == nodes
        # The same in float64 is no rounding of anything.
        assert len(_optimized(_model("Conv", near, "double"))[0].graph.node) == 1


def test_the_threshold_and_what_was_dropped_are_told() -> None:
    weight = _low(3)
    sigma = singular_values(weight)
    _, told = _optimized(_model("Conv", weight))
    note = told["laws"][0]["note"]
    assert note.endswith(f"could make {threshold(weight, sigma):.2g}")
    assert f"the next singular value is {sigma[3]:.2g}," in note


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        ("y = Conv<group = 2>(x, w)", (OUT, IN // 2, 1, 1)),
        ("y = Conv(x, w)", (OUT, IN, 3, 1)),
        ("y = ConvTranspose(x, w)", (IN, OUT, 1, 1)),
    ],
)
def test_what_is_no_dense_channel_map_stays(body: str, shape: tuple[int, ...]) -> None:
    proto = model(body, f"float[2,{IN},3,5] x", constants={"w": np.ones(shape, np.float32)})
    assert len(_optimized(proto)[0].graph.node) == 1


def test_a_matrix_that_is_fed_or_not_finite_stays() -> None:
    fed = model("y = MatMul(x, w)", f"float[6,{IN}] x, float[{IN},{OUT}] w")
    assert len(_optimized(fed)[0].graph.node) == 1
    for place, value in (((2, 4), np.inf), ((23, 19), np.nan)):
        weight = _low(3)
        weight[place] = value
        assert len(_optimized(_model("Gemm", weight))[0].graph.node) == 1


def test_factors_too_large_for_the_number_format_stay_one() -> None:
    # Each row of BA is 60000 long in every entry, so B's is 60000·√20 > 65504.
    weight = np.full((OUT, IN), 60000, np.float16)
    assert len(_optimized(_model("Conv", weight, "float16"))[0].graph.node) == 1


def test_a_second_operator_that_costs_more_than_it_saves() -> None:
    proto = _model("Conv", _low(1))
    assert len(_optimized(proto, profile=None)[0].graph.node) == 1  # 15 positions
    large = model("y = Conv(x, w)", "float[1,256,40,40] x",
                  constants={"w": _low(8, 256, 256)[:, :, None, None]})  # fmt: skip
    assert len(_optimized(large, profile=None)[0].graph.node) == 2


def test_nodes_that_share_a_weight_share_its_factors() -> None:
    body = "a = MatMul(x, w) r = Relu(a) b = MatMul(z, w) q = Gemm(r, t) y = Add(b, q)"
    constants = {"w": _low(2).T.copy(), "t": np.eye(OUT, dtype=np.float32)}
    proto = model(body, f"float[6,{IN}] x, float[6,{IN}] z", constants=constants)
    after, _ = _optimized(proto)
    assert _operators(after).count("MatMul") == 4
    assert sum(w.size for w in _weights(after).values()) == 2 * (OUT + IN) + OUT * OUT
    _assert_close(proto, after, _low(2), 2)


def test_one_weight_in_two_forms() -> None:
    body = "a = MatMul(x, w) b = Gemm<transB = 1>(z, w) y = MatMul(a, v) q = Relu(b)"
    constants = {"w": _low(2, 20, 20), "v": (20, 3)}
    proto = model(body, "float[6,20] x, float[6,20] z", "y, q", constants)
    after, _ = _optimized(proto)
    assert _operators(after)[:4] == ["MatMul", "MatMul", "Gemm", "Gemm"]
    (a,), (b,) = run(proto, feed(proto)), run(after, feed(proto))
    assert np.abs(a["q"] - b["q"]).max() <= _bound(_low(2, 20, 20), 2) * 4 * 20


def test_sizes_known_only_at_run_time() -> None:
    constants = {"w": _low(3)[:, :, None, None]}
    proto = model("y = Conv(x, w)", f"float[N,{IN},H,W] x", constants=constants)
    after, _ = _optimized(proto)
    assert _operators(after) == ["Conv", "Conv"]
    data = feed(proto, N=3, H=1, W=5)
    (a,), (b,) = run(proto, data), run(after, data)
    assert np.abs(a["y"] - b["y"]).max() <= 8 * _bound(_low(3), 3) * 4 * IN**0.5


def test_the_certificate_passes() -> None:
    body = (
        "a = Conv(x, w) n = BatchNormalization<epsilon = 0.25>"
        "(a, n_s, n_b, n_m, n_v) r = Relu(n) b = Conv(r, v) y = Add(b, x)"
    )
    constants = {
        "w": _low(3)[:, :, None, None], "v": _low(2, IN, OUT)[:, :, None, None], **norm("n", OUT)
    }  # fmt: skip
    proto = model(body, f"float[1,{IN},9,8] x", constants=constants)
    report = optimize(proto, profile=COUNTING).report
    assert [law.law for law in report.laws].count("rank") == 2
    assert report.certificate is not None
    assert report.certificate.passed, report.certificate.worst


def test_a_look_at_a_weight_takes_less_than_its_decomposition() -> None:
    """Weights of full rank, as most are, are not decomposed."""
    from onebyone.optimize.maps.factor import _may_be_low

    weight = np.random.default_rng(0).standard_normal((768, 768), np.float32)

    def seconds(look: Callable[[], object], times: int) -> float:
        begins = [(time.process_time(), look(), time.process_time()) for _ in range(times)]
        return sorted(end - begin for begin, _, end in begins)[times // 2]

    assert _may_be_low(weight) is False
    look = seconds(lambda: _may_be_low(weight), 9)
    assert look < seconds(lambda: np.linalg.svd(weight.astype(np.float64)), 3) / 2
