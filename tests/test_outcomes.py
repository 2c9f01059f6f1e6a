"""Runs of the benchmark of all tools: kept, taken up again, and shown with those that fail."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _as_a_script_imports_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


@pytest.fixture
def outcomes() -> ModuleType:
    return import_module("outcomes")


@pytest.fixture
def peers() -> ModuleType:
    return import_module("peers")


def _outcome(outcomes: ModuleType, peers: ModuleType) -> Any:
    measure = import_module("measure")
    time = peers.Time(ms=2.0, ratio=1.5, low=1.25, high=1.75, rounds=9)
    made = (
        peers.Made("original", macs=3_000_000_000, nodes=7, digest="a"),
        peers.Made("onnxslim", 0.5, 3_000_000_000, 5, True, 1e-7, 1e-5, "b", {"onnxruntime": time}),
        peers.Made("onnxsim", failures={"tool": "crashed with exit code -11"}),
        peers.Made("onebyone", 1.25, 10, 4, False, 2.0, 1e-5, "c", {}, {"onnxruntime": "too new"}),
    )
    timing = measure.Timing("onnxruntime", 3.0, 2.0, 1.5, 1.25, 1.75, 9, 0.0)
    return outcomes.Outcome(
        outcomes.Job("chain", "dynamo", True),
        "4× to 1×",
        macs_before=3_000_000_000,
        macs_after=1_000_000_000,
        certificate={"passed": True},
        laws={"compose": 1},
        refusals=({"law": "commute", "reason": "no"},),
        timings=(timing,),
        times_met={"onnxruntime": None},
        peers=made,
    )


def test_what_is_kept_comes_back(outcomes: ModuleType, peers: ModuleType, tmp_path: Path) -> None:
    first = _outcome(outcomes, peers)
    second = outcomes.Outcome(outcomes.Job("chain", "dynamo", False), "0", error="RuntimeError: no")
    outcomes.save(tmp_path / "run.json", [first, second], {"cores": 2})
    assert outcomes.load(tmp_path / "run.json") == [first, second]
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_what_is_left_to_run(outcomes: ModuleType, peers: ModuleType) -> None:
    done = _outcome(outcomes, peers)
    assert done.covers(["onnxruntime"], with_peers=True)
    assert done.covers([], with_peers=False)
    assert not done.covers(["onnxruntime", "openvino"], with_peers=True)
    assert not replace(done, peers=()).covers(["onnxruntime"], with_peers=True)
    assert not replace(done, error="RuntimeError: no").covers([], with_peers=False)


def test_proofs_of_what_did_not_fail(outcomes: ModuleType, peers: ModuleType) -> None:
    made = _outcome(outcomes, peers).peers
    assert set(peers.proofs(made)) == {"a", "b", "c"}  # that an engine refuses it is no matter
    failed = replace(made[1], failures={"verify": "took more than 600 s"})
    assert peers.proofs([failed]) == {}


def test_a_table_with_those_that_fail(outcomes: ModuleType, peers: ModuleType) -> None:
    tables, done = import_module("tables"), _outcome(outcomes, peers)
    lines = tables.markdown([done]).splitlines()
    assert lines[0].startswith("Of each tool: times faster in ONNX Runtime · nodes left")
    row = next(line for line in lines if line.startswith("| chain"))
    assert row == (
        "| chain | 3.00 → 1.00 | 7 | 1.50× · 5 · 0.5 s | fails <sup>1</sup> "
        "| – <sup>2</sup> · 4 · 1.2 s, differs <sup>3</sup> |"
    )
    assert lines[-3:] == [
        "1. onnxsim: crashed with exit code -11",
        "2. onebyone in ONNX Runtime: too new",
        "3. onebyone: error 2.0e+00, where rounding allows 1.0e-05",
    ]
    fixed = replace(done, job=replace(done.job, dynamic=False))
    assert "| chain dynamo fixed |" in tables.markdown([done, fixed])
