"""The judge sees what it is there for: losses of digits, and nothing where there is none."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from onnx import ModelProto

from .noise import Model, excess
from .run import run
from .text import model
from .trial import Subject, Verdict, _again, _compared, _in_openvino, _larger, trial

Arrays = Mapping[str, np.ndarray]


def _excess(before: ModelProto, after: ModelProto, feed: Arrays) -> dict[str, float]:
    (a,), (b,) = run(before, feed), run(after, feed)
    return excess(Model.of(before, "float32"), feed, a, b, np.random.default_rng(0))


def _f32(array: object) -> np.ndarray:
    return np.asarray(array, np.float32)


RNG = np.random.default_rng(1)
W = _f32(RNG.standard_normal((8, 5)))


@pytest.mark.parametrize(("centre", "scale", "wrong"), [(1e5, 10, True), (4, 2, False)])
def test_a_centre_folded_into_a_bias(centre: float, scale: float, wrong: bool) -> None:
    before = model(
        "a = Sub(x, c) b = Div(a, s) y = MatMul(b, w)",
        "float[6,8] x",
        constants={"c": _f32(centre), "s": _f32(scale), "w": W},
    )
    wide = W.astype(np.float64) / scale
    after = model(
        "a = MatMul(x, w) y = Add(a, b)",
        "float[6,8] x",
        constants={"w": _f32(wide), "b": _f32(-centre * wide.sum(0))},
    )
    x = _f32(centre + scale * RNG.standard_normal((6, 8)))
    assert bool(_excess(before, after, {"x": x})) == wrong


def test_a_mask_that_takes_the_score_with_it() -> None:
    before = model(
        "s = MatMul(x, w) o = Sub(one, m) b = Mul(o, far) y = Add(s, b)",
        "float[3,7,8] x, float[3,7,1] m",
        constants={"w": W[:, :1], "one": _f32(1), "far": _f32(-1e9)},
    )
    after = model(
        "s = MatMul(x, w) t = Add(s, far) b = Mul(m, big) y = Add(t, b)",
        "float[3,7,8] x, float[3,7,1] m",
        constants={"w": W[:, :1], "far": _f32(-1e9), "big": _f32(1e9)},
    )
    x = _f32(RNG.standard_normal((3, 7, 8)))
    assert _excess(before, after, {"x": x, "m": np.ones((3, 7, 1), np.float32)})["y"] > 100
    assert not _excess(before, before, {"x": x, "m": np.ones((3, 7, 1), np.float32)})


@pytest.mark.parametrize(("far", "wrong"), [(1e5, True), (1, False)])
def test_a_difference_multiplied_into_the_next_map(far: float, wrong: bool) -> None:
    cuts = np.zeros((8, 7), np.float32)
    cuts[range(7), range(7)], cuts[range(1, 8), range(7)] = 1, -1
    second = _f32(RNG.standard_normal((7, 5)))
    before = model(
        "a = MatMul(x, d) y = MatMul(a, w)", "float[6,8] x", constants={"d": cuts, "w": second}
    )
    after = model(
        "y = MatMul(x, w)", "float[6,8] x", constants={"w": _f32(cuts.astype(float) @ second)}
    )
    x = _f32(far + RNG.integers(-8, 9, (6, 8)))
    assert bool(_excess(before, after, {"x": x})) == wrong


def test_one_wrong_weight_is_seen() -> None:
    bent = W.copy()
    bent[3, 2] *= 1.001
    before, after = (
        model("y = MatMul(x, w)", "float[6,8] x", constants={"w": w}) for w in (W, bent)
    )
    x = _f32(RNG.standard_normal((6, 8)))
    assert _excess(before, after, {"x": x})["y"] > 10


def _noise(proto: ModelProto, x: np.ndarray) -> float:
    """The largest error of many samples, where the engine's own may be none by luck."""
    played, rng = Model.of(proto, "float32"), np.random.default_rng(0)
    truth = played.truth({"x": x})["y"]
    return max(np.abs(played.sample({"x": x}, rng)["y"] - truth).max() for _ in range(48))


@pytest.mark.parametrize(("far", "step", "rounded"), [(1e9, 64, True), (4, 1, False)])
def test_another_order_of_the_same_sum(far: float, step: float, rounded: bool) -> None:
    """Far from zero a difference is exact in one order of its terms, and rounded in another."""
    signs = _f32([1, -2, 1, 0, 2, -1, -1, 0])[:, None]
    proto = model("y = MatMul(x, w)", "float[6,8] x", constants={"w": signs})
    noise = _noise(proto, _f32(far + step * RNG.integers(-1, 2, (6, 8))))
    assert step / 2 <= noise <= 8 * step if rounded else noise == 0


def test_a_variance_that_may_be_negative_is_no_measure() -> None:
    """The mean of squares less the square of the mean: far from zero nothing of it is left."""
    body, x = "y = GroupNormalization<num_groups = 2>(x, g, h)", RNG.standard_normal((1, 2, 5, 7))
    constants = {"g": _f32([1, 1]), "h": _f32([0, 0])}
    proto = model(body, "float[1,2,5,7] x", "float[1,2,5,7] y", constants, opset=21)
    played, rng = Model.of(proto, "float32"), np.random.default_rng(0)
    for far, told in ((1e7, False), (0, True)):
        feed = {"x": _f32(far + x)}
        truth = {"y": _f32(played.truth(feed)["y"])}
        nothing = {"y": np.full((1, 2, 5, 7), np.nan, np.float32)}
        assert bool(excess(played, feed, truth, nothing, rng)) is told


def test_the_mean_that_a_layer_normalisation_subtracts() -> None:
    """Of two numbers near -10 the sum is rounded to 2^-20, and the mean to 2^-21."""
    proto = model("y = LayerNormalization(x, g)", "float[9,2] x", constants={"g": _f32([1, 1])})
    for size in (1, 2**10):
        near = _f32(-9.7 + 0.1 * RNG.standard_normal((9, 1)))
        x = np.concatenate([near, near + _f32(0.25)], 1) * _f32(size)
        assert 2**-21 < 0.125 * _noise(proto, x) < 2**-19


def test_nothing_is_asked_where_the_original_overflows() -> None:
    x = np.array([[3e38, 3e38], [3, 4]], np.float32)
    body = "s = ReduceSum<keepdims = 1>(x, i) y = Mul(s, o)"
    for o, wrong in ((0, False), (1, True)):
        constants = {"i": np.array([1]), "o": _f32([[0, o]])}
        before = model(body, "float[2,2] x", constants=constants)
        [a] = run(before, {"x": x})
        assert not np.isfinite(a["y"]).all()
        b = {"y": np.zeros((2, 2), np.float32)}
        subject = Subject(before, (("far", {"x": x}),), True)
        found = [*_compared(subject, [a], [b], np.random.default_rng(0))]
        assert bool(found) == wrong


def test_a_second_engine_is_asked() -> None:
    good, bad = (model(f"y = {op}(x)", "float[2,3] x") for op in ("Relu", "Abs"))
    bad.graph.node[0].domain = "nobody.s"
    bad.opset_import.add(domain="nobody.s", version=1)
    assert [fault.kind for fault in _in_openvino(good, bad)] == ["engine"]
    assert not [*_in_openvino(bad, good), *_in_openvino(bad, bad), *_in_openvino(good, good)]


def test_what_is_larger_for_nothing() -> None:
    small, large = (
        model("y = Mul(x, c)", "float[2,900] x", constants={"c": s}) for s in ([1], [900])
    )
    side = {"macs": 5, "parameters": 1, "modelled_seconds": 2.0}
    grown = {**side, "parameters": 900}
    told = {
        "slower": {"before": side, "after": grown},
        "faster": {"before": side, "after": {**grown, "modelled_seconds": 1.0}},
        "saved": {"before": side, "after": {**grown, "macs": 4}},
        "same": {"before": side, "after": side},
    }
    assert {name for name, each in told.items() if [*_larger(small, large, each)]} == {
        "slower",
        "faster",
    }
    assert {name for name, each in told.items() if [*_larger(large, large, each)]} == {"slower"}


def test_what_a_second_time_changes() -> None:
    pair = model("t = Neg(x) y = MatMul(t, w)", "float[2,8] x", constants={"w": W})
    once = model("y = MatMul(x, w)", "float[2,8] x", constants={"w": W})
    assert [fault.kind for fault in _again(pair, {})] == ["again"]
    assert not [*_again(once, {})]


def test_skipped_and_refused_are_told_apart() -> None:
    proto = model("y = Relu(x)", "float[2,3] x")
    feed = (("ones", {"x": np.ones((2, 3), np.float32)}),)
    assert trial(Subject(proto, feed, True), True, 0) == Verdict("", "onnxruntime")
    misnamed = (("ones", {"z": feed[0][1]["x"]}),)
    assert trial(Subject(proto, misnamed, True), False, 0).skipped.startswith("the engine: ")
    proto.graph.node[0].op_type = "Reluctant"
    assert trial(Subject(proto, feed, True), False, 0).skipped.startswith("not valid: ")
