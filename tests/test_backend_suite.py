"""onnx's own backend suite goes through `optimize` and keeps its answers: a slice of it.

All of it: `python benchmarks/backend_suite.py`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, parser

HEAD = '<ir_version: 8, opset_import: ["": 17]>'
TWICE = HEAD + "g (float[2,3,4] x) => (float[2,3,4] y) {y = Add(x, x)}"
THRICE = HEAD + "g (float[2,3,4] x) => (float[2,3,4] y) {y = Sum(x, x, x)}"
X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, imported as a script imports it."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return import_module("backend_suite")


def _case(suite: ModuleType, text: str, answer: np.ndarray = 2 * X, kind: str = "node") -> Any:
    data = (([X], [answer]),)
    return suite.Case(kind, "test_add", parser.parse_model(text), data, 1e-3, 1e-7)


@pytest.mark.parametrize(
    ("kinds", "step", "number"),
    [
        (("simple", "pytorch-converted", "pytorch-operator"), 2, 65),
        pytest.param(("node",), 30, 60, marks=pytest.mark.slow),
        pytest.param(("between",), 13, 60, marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore")  # NumPy's, about infinities that the suite asks for
def test_a_slice_keeps_its_answers(
    suite: ModuleType, kinds: tuple[str, ...], step: int, number: int
) -> None:
    outcomes = [suite.checked(case) for case in [*suite.cases(kinds)][::step]]
    assert [o for o in outcomes if o.status in ("wrong", "crash")] == []
    assert sum(o.status == "same" for o in outcomes) >= number
    assert kinds != ("between",) or sum(o.verified is True for o in outcomes) >= 15


def test_a_changed_answer_is_seen(suite: ModuleType) -> None:
    case, broken = _case(suite, TWICE), parser.parse_model(THRICE)
    outcome = suite.judged(case, broken, suite.Outcome("node", "test_add", "same", changed=True))
    assert (outcome.status, outcome.misses, outcome.engine) == ("wrong", False, "ONNX Runtime")


def test_where_the_engine_misses_the_answers_its_own_are_asked_for(suite: ModuleType) -> None:
    case, same = _case(suite, TWICE, answer=7 * X), suite.Outcome("node", "test_add", "same", True)
    kept = suite.judged(case, parser.parse_model(TWICE), same)
    changed = suite.judged(case, parser.parse_model(THRICE), same)
    assert (kept.status, kept.misses, changed.status) == ("same", True, "wrong")


def test_bits_may_not_change_where_nothing_was_rewritten(suite: ModuleType) -> None:
    case = _case(suite, TWICE)
    text = TWICE.replace("Add(x, x)", "Mul(x, two)").replace(") {", ") <float two = {2.0000002}> {")
    nearly = parser.parse_model(text)
    untouched = suite.Outcome("node", "test_add", "same", changed=False)
    assert suite.judged(case, nearly, untouched).status == "wrong"
    assert suite.judged(case, case.model, untouched).status == "same"


def test_what_optimize_raises_is_a_crash(
    suite: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "optimize", _raises)
    outcome = suite.checked(_case(suite, TWICE))
    assert (outcome.status, "KeyError" in outcome.reason) == ("crash", True)


def _raises(model: ModelProto, **_: Any) -> None:
    raise KeyError(model.graph.name)


def test_a_failed_certificate_is_wrong(suite: ModuleType) -> None:
    case, same = _case(suite, TWICE), suite.Outcome("node", "test_add", "same", True)
    assert suite.certified(case, parser.parse_model(THRICE), same).status == "wrong"
    assert suite.certified(case, parser.parse_model(TWICE), same).verified is True


DIES_ONCE = """
import json, os, sys
*_, start = json.loads(sys.argv[2])
if start == 0:
    print(json.dumps(["node", "test_one"]), flush=True)
    os.abort()
if start == 1:
    print(json.dumps(["node", "test_two"]))
    print(json.dumps({"kind": "node", "name": "test_two", "status": "same", "laws": []}))
"""


def test_a_test_that_kills_its_process_is_a_crash_and_the_rest_go_on(
    suite: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(DIES_ONCE)
    monkeypatch.setattr(suite, "__file__", str(worker))
    outcomes = suite.run_share(suite.Share(("node",), (), 0, 1))
    assert [(o.name, o.status) for o in outcomes] == [("test_one", "crash"), ("test_two", "same")]
    assert "CRASH node test_one" in suite.table(outcomes)


def test_the_table_counts(suite: ModuleType) -> None:
    outcome = suite.Outcome
    rows = [outcome("simple", "a", "same", True), outcome("simple", "b", "skipped", reason="why")]
    first, *lines = suite.table(rows).splitlines()
    assert lines[0].split() == ["simple", "2", "1", "1", "0", "1", "0", "0"]
    assert first.split()[1:3] == ["tried", "same"]
    assert "      1 why" in lines


def test_between_puts_one_operator_between_two_maps(suite: ModuleType) -> None:
    made = suite.between(_case(suite, TWICE))
    assert [node.op_type for node in made.model.graph.node] == ["Conv", "Add", "Conv"]
    assert suite.checked(made).verified is not False
