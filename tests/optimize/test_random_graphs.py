"""Random graphs: before == after to the last bit, once is enough, and order does not matter."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, given, note, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, numpy_helper

from onebyone.algebra.laws import LAWS
from onebyone.cost.profile import DEFAULT, Profile
from onebyone.optimize import optimize

from ..graphs.drawn import Drawn, drawn_models, sample
from ..graphs.older import older
from ..graphs.reorder import of_any_order, reordered
from ..graphs.retyped import cast, retyped
from ..graphs.run import differences, run
from ..graphs.valid import faults, refusal, refused
from .exact import COUNTING, rewritten

DEPTH = int(os.environ.get("ONEBYONE_EXAMPLES", "1"))  # times as many examples, for a long search

profiles = st.sampled_from([COUNTING, DEFAULT])


def _examples(number: int) -> Any:
    return settings(
        max_examples=number * DEPTH,
        deadline=None,
        # Explaining a failure takes longer than finding it.
        phases=[phase for phase in Phase if phase is not Phase.explain],
        suppress_health_check=[HealthCheck.too_slow],
    )


def _optimized(model: ModelProto, **options: Any) -> tuple[ModelProto, dict[str, Any]]:
    after, told = rewritten(model, **options)
    assert faults(after) == []
    return after, told


def _assert_equal(drawn: Drawn, after: ModelProto) -> None:
    note(drawn)  # shows the model in words when it is the last, smallest one that fails
    assert refusal(after, optimised=True) == ""
    pairs = zip(run(drawn.model, *drawn.feeds), run(after, *drawn.feeds), strict=True)
    for before, now in pairs:
        assert differences(before, now) == []


@_examples(400)
@given(drawn_models(), profiles)
def test_before_equals_after(drawn: Drawn, profile: Profile) -> None:
    """And multiply-accumulates never grow where only they cost."""
    after, told = _optimized(drawn.model, profile=profile)
    for row in told["laws"]:
        event(row["law"])
    _assert_equal(drawn, after)
    assert profile != COUNTING or told["after"]["macs"] <= told["before"]["macs"]


@_examples(60)
@given(drawn_models(), st.sets(st.sampled_from(list(LAWS)), min_size=1))
def test_any_choice_of_laws_keeps_the_answers(drawn: Drawn, laws: set[str]) -> None:
    after, told = _optimized(drawn.model, profile=COUNTING, only=laws)
    _assert_equal(drawn, after)
    assert {row["law"] for row in told["laws"]} <= laws


@_examples(100)
@given(drawn_models(), profiles, st.integers(0, 2**16))
def test_once_is_enough_in_any_order_of_nodes(drawn: Drawn, profile: Profile, order: int) -> None:
    note(drawn)
    once, told = _optimized(drawn.model, profile=profile)
    _, again = _optimized(once, profile=profile)
    assert again["after"] == told["after"]
    _, other = _optimized(reordered(drawn.model, order), profile=profile)
    assert of_any_order(other["after"]) == of_any_order(told["after"])


@_examples(15)
@given(drawn_models(max_moves=5))
def test_every_result_is_certified(drawn: Drawn) -> None:
    certificate = optimize(drawn.model).report.certificate
    assert certificate is not None
    assert certificate.passed


def test_every_law_is_met_by_chance() -> None:
    # Those need more than chance; what is used only where it is asked for, many channels.
    wanted = {name for name, law in LAWS.items() if not law.asked} - {"rank"}
    for drawn in sample(600, number=1):
        _, told = _optimized(drawn.model, profile=COUNTING)
        wanted -= {row["law"] for row in told["laws"]}
        if not wanted:
            return
    pytest.fail(f"not met: {wanted}")


@pytest.mark.parametrize("kind", [TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_other_numbers_run_where_the_original_does(kind: int) -> None:
    """ONNX Runtime has no convolution of float64: none may take the place of a product."""
    taken = rewritten = 0
    for drawn in sample(160, number=3):
        proto = retyped(drawn.model, kind)
        if refusal(proto):
            continue
        after, told = _optimized(proto, profile=COUNTING)
        taken, rewritten = taken + 1, rewritten + bool(told["laws"])
        assert refused(proto, after) == []
        if kind == TensorProto.DOUBLE:  # float16 ends before the bounds of these integers
            feeds = [cast(feed, kind) for feed in drawn.feeds]
            for before, now in zip(run(proto, *feeds), run(after, *feeds), strict=True):
                assert differences(before, now) == []
    assert min(taken, rewritten) >= 10


@pytest.mark.parametrize("number", [21, pytest.param(22, marks=pytest.mark.slow)])
def test_older_opsets_keep_their_answers(number: int) -> None:
    met: set[str] = set()
    for drawn in sample(200, number):
        for opset in (7, 8, 9, 10) if drawn.model.opset_import[0].version == 11 else ():
            proto = older(drawn.model, opset)
            if proto is None:
                continue
            same = zip(run(drawn.model, *drawn.feeds), run(proto, *drawn.feeds), strict=True)
            assert [differences(a, b) for a, b in same if differences(a, b)] == []
            after, _ = _optimized(proto, profile=COUNTING)
            assert after.opset_import[0].version == 11
            assert refused(proto, after) == []
            for before, now in zip(run(proto, *drawn.feeds), run(after, *drawn.feeds), strict=True):
                assert differences(before, now) == []
            met |= {node.op_type for node in proto.graph.node}
    assert met >= {"BatchNormalization", "Clip", "Pad", "Slice"}


MIXES = {"Conv": (1,), "ConvTranspose": (1,), "Gemm": (0, 1), "MatMul": (0, 1)}


def _weights(model: ModelProto) -> int:
    """The numbers in all that products multiply with, each stored array once."""
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            arrays[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        elif node.op_type in ("Transpose", "Identity") and node.input[0] in arrays:
            arrays[node.output[0]] = arrays[node.input[0]]
    read = {node.input[k] for node in model.graph.node for k in MIXES.get(node.op_type, ())}
    stored = {id(arrays[name]): arrays[name].size for name in read & arrays.keys()}
    return sum(stored.values())


@_examples(200)
@given(drawn_models(), profiles)
def test_nothing_is_larger_for_nothing(drawn: Drawn, profile: Profile) -> None:
    note(drawn)
    after, told = _optimized(drawn.model, profile=profile)
    if told["after"]["macs"] == told["before"]["macs"]:
        assert _weights(after) <= _weights(drawn.model)
