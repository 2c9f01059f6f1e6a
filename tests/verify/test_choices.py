"""Ties of TopK inside a model: another order passes, anything else does not."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
from onnx import ModelProto

from onebyone.errors import CheckFailed
from onebyone.graph.read import read
from onebyone.verify.choices import choices, parted
from onebyone.verify.verify import verify

from ..graphs.run import run
from ..graphs.text import feed, integers, model

ZERO = np.zeros((1, 9), np.float32)
BASE = np.ones((1, 9), np.float32)
TIED, AHEAD = BASE.copy(), BASE.copy()
TIED[0, 5] += 2.0**-23  # one rounding
AHEAD[0, 5] += 1e-3
TABLE = integers("table", (9, 4))


def detector(
    base: np.ndarray = BASE, table: np.ndarray = TABLE, rule: str = "", k: int = 3
) -> ModelProto:
    """Scores that are `base` whatever x is, the best k of them, and the rows of a table there."""
    body = f"n = Mul(x, z) s = Add(n, b) v, i = TopK{rule}(s, k) y = Gather(t, i)"
    constants = {"z": ZERO, "b": base, "t": table, "k": np.array([k])}
    return model(body, "float[1,9] x", constants=constants)


def test_another_order_of_ties_passes_and_is_told() -> None:
    a, b = detector(), detector(TIED)
    rows = [run(m, feed(m))[0]["y"] for m in (a, b)]
    assert not np.array_equal(*rows)
    certificate = verify(a, b)
    assert certificate.passed
    assert "places that A picks" in certificate.reference
    names = [output.name for output in certificate.trials[0].outputs]
    assert names == ["y", "what i is picked from"]


@pytest.mark.parametrize(
    "b",
    [
        pytest.param(detector(AHEAD), id="a score that is no tie"),
        pytest.param(detector(TIED, TABLE + np.eye(9, 4, dtype=np.float32)), id="another table"),
        pytest.param(detector(TIED, np.roll(TABLE, 1, axis=0)), id="rows moved by one"),
    ],
)
def test_a_fault_fails_still(b: ModelProto) -> None:
    certificate = verify(detector(), b)
    assert not certificate.passed
    assert "places that A picks" not in certificate.reference


def test_another_rule_is_a_fault() -> None:
    assert not verify(detector(TIED), detector(TIED, rule="<largest = 0>")).passed


def test_what_passes_at_once_is_not_parted() -> None:
    assert "picks" not in verify(detector(), detector()).reference


@pytest.mark.parametrize(("b", "sessions"), [(detector(), 3), (detector(TIED), 4)])
def test_a_parted_model_runs_only_where_the_whole_one_says_nothing(
    b: ModelProto, sessions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, loaded = import_module("onebyone.engines.unoptimised"), []
    whole = module.session

    def counting(*arguments: object) -> object:
        loaded.append(arguments)
        return whole(*arguments)

    monkeypatch.setattr(module, "session", counting)
    # On troublesome inputs all of them run.
    monkeypatch.setattr(import_module("onebyone.verify.verify"), "ask", lambda *_: ([], []))
    certificate = verify(detector(), b)
    assert certificate.passed
    # A and B as they are, A parted; B parted where it picks other places than A.
    assert len(loaded) == sessions
    assert [row.name for row in certificate.trials[0].outputs] == ["y", "what i is picked from"]


def test_values_and_places_that_are_outputs() -> None:
    body = "n = Mul(x, z) s = Add(n, b) v, i = TopK(s, k)"
    outputs = "float[1,3] v, int64[1,3] i"
    a, b = (
        model(body, "float[1,9] x", outputs, {"z": ZERO, "b": base, "k": np.array([3])})
        for base in (BASE, TIED)
    )
    assert verify(a, b).passed


@pytest.mark.parametrize(
    "other",
    [
        detector(rule="<sorted = 0>"),
        detector(rule="<axis = 0>", k=1),
        detector(k=4),
    ],
)
def test_choices_by_other_rules_are_not_the_same(other: ModelProto) -> None:
    assert choices(read(detector()), read(detector())) == ["i"]
    assert choices(read(detector()), read(other)) == []


def test_the_model_itself_is_left_as_it_was() -> None:
    whole = read(detector())
    before = [(node.op_type, len(node.outputs)) for node in whole.graph]
    apart = parted(whole, ["i"])
    assert [(node.op_type, len(node.outputs)) for node in whole.graph] == before
    assert [value.name for value in apart.graph.inputs] == ["x", "places picked as i"]
    assert [value.name for value in apart.graph.outputs] == ["y", "what i is picked from"]


def test_where_the_parted_models_do_not_run_the_first_answer_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise CheckFailed("A runs and B does not")

    monkeypatch.setattr(import_module("onebyone.verify.verify"), "parted", refuse)
    certificate = verify(detector(), detector(TIED))
    assert not certificate.passed
    assert "places that A picks" not in certificate.reference
