"""Each law on the smallest graphs that it covers, and on those that it must leave alone.

The data are small integers, so results are compared with `==`. `COUNTING` is a profile in which
only multiply-accumulates cost anything to speak of; with it the best form of each graph is known.
"""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from onebyone.algebra.laws import LAWS
from onebyone.optimize import optimize

from ..graphs.laws import APPLIES, REFUSED, Case
from ..graphs.run import differences, run
from ..graphs.text import feed
from .exact import COUNTING, rewritten

applies = pytest.mark.parametrize("case", APPLIES, ids=lambda case: case.name)
refused = pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)


def _assert_equal(a: ModelProto, b: ModelProto) -> None:
    data = feed(a)
    (left,), (right,) = run(a, data), run(b, data)
    assert differences(left, right) == []


def _laws(told: dict[str, Any]) -> set[str]:
    return {row["law"] for row in told["laws"]}


@applies
def test_a_law_saves_what_it_should_and_is_named(case: Case) -> None:
    proto = case.model()
    after, told = rewritten(proto)
    _assert_equal(proto, after)
    assert (told["before"]["macs"], told["after"]["macs"]) == (case.before, case.after)
    assert set(case.laws) <= _laws(told)
    assert not set(case.gone) & {node.op_type for node in after.graph.node}


@applies
def test_laws_are_named_only_where_something_changed(case: Case) -> None:
    _, told = rewritten(case.model())
    assert all(row["nodes"] and row["equation"] for row in told["laws"])
    assert _laws(told) <= set(LAWS)


@applies
def test_a_law_switched_off_is_not_applied(case: Case) -> None:
    proto = case.model()
    for law in case.laws:
        after, told = rewritten(proto, without=[law])
        assert law not in _laws(told)
        _assert_equal(proto, after)


@applies
def test_the_default_profile_keeps_the_answers_too(case: Case) -> None:
    proto = case.model()
    after, _ = rewritten(proto, profile=None)
    _assert_equal(proto, after)


@refused
def test_a_broken_side_condition_leaves_the_graph_alone(case: Case) -> None:
    proto = case.model()
    after, told = rewritten(proto)
    _assert_equal(proto, after)
    assert (told["before"]["macs"], told["after"]["macs"]) == (case.before, case.after)
    if case.refused:
        reasons = [row for row in told["refusals"] if row["law"] == case.refused]
        assert reasons
        assert all(row["reason"] and row["node"] for row in reasons)


@pytest.mark.parametrize("case", [*APPLIES, *REFUSED], ids=lambda case: case.name)
def test_optimizing_again_changes_nothing(case: Case) -> None:
    once, told = rewritten(case.model())
    _, again = rewritten(once)
    assert again["after"] == told["after"]


@applies
def test_the_certificate_passes(case: Case) -> None:
    proto = case.model()
    certificate = optimize(
        proto, profile=COUNTING, data=feed(proto), lost_bits=inf
    ).report.certificate
    assert certificate is not None
    assert certificate.passed, certificate.worst


def test_the_source_is_not_changed() -> None:
    proto = APPLIES[0].model()
    kept = proto.SerializeToString(deterministic=True)
    optimize(proto, verify=False)
    assert proto.SerializeToString(deterministic=True) == kept


def test_integers_are_small_enough_to_be_exact() -> None:
    for case in APPLIES:
        proto = case.model()
        for array in run(proto, feed(proto))[0].values():
            # Far inside 2^24 even with the 2^10 of fractional bits that cubic weights add.
            assert np.abs(array).max() < 2**14
