"""Random models of all kinds: what is drawn, and a small part of what `benchmarks/fuzz.py` runs."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from .dtypes import NUMPY
from .trial import Fault, Subject, Verdict, trial
from .valid import faults
from .wild import Wild, wild

COUNT = 60
SEEN = 700


@pytest.fixture(scope="module")
def drawn() -> list[Wild]:
    return [wild(number) for number in range(SEEN)]


def test_all_kinds_are_drawn(drawn: list[Wild]) -> None:
    seen = Counter(mark for model in drawn for mark in model.marks)
    assert {f"opset {n}" for n in range(7, 27)} <= seen.keys()
    assert {str(dtype) for dtype in NUMPY.values()} <= seen.keys()
    often = ("exact", "rough", "centred", "few bits", "difference", "mask added", "quantised")
    rare = ("computed constant", "shared initialiser", "function", "subgraph", "layer norm",
            "rms norm", "neighbours", "nhwc", "run-time sizes", "edge features", "unshifted",
            "convolution around in nhwc", "qoperator", "attention pooling")  # fmt: skip
    assert min(seen[mark] for mark in often) > SEEN / 20
    assert min(seen[mark] for mark in rare) > 1
    assert {f"centred at 1e{k}" for k in range(10)} <= seen.keys()


def test_nearly_all_are_valid(drawn: list[Wild]) -> None:
    assert sum(bool(faults(each.model)) for each in drawn) < SEEN / 50


def test_a_number_makes_the_same_model_again(drawn: list[Wild]) -> None:
    for number, each in enumerate(drawn[:40]):
        again = wild(number)
        assert again.model == each.model
        for a, b in zip(again.feeds, each.feeds, strict=True):
            assert all(np.array_equal(a.inputs[name], b.inputs[name]) for name in a.inputs)


def _subject(model: Wild) -> Subject:
    feeds = tuple((feed.label, feed.inputs) for feed in model.feeds)
    return Subject(model.model, feeds, model.exact, str(NUMPY[model.dtype]))


def test_nothing_is_wrong(drawn: list[Wild]) -> None:
    verdicts = [
        trial(_subject(each), k % 20 == 0, k, k % 30 == 0) for k, each in enumerate(drawn[:COUNT])
    ]
    found = [(k, f) for k, verdict in enumerate(verdicts) for f in verdict.faults]
    assert found == []
    assert sum(not verdict.skipped for verdict in verdicts) > 0.9 * COUNT
    assert len({law for verdict in verdicts for law in verdict.laws}) > 5


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, imported as a script imports it."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return importlib.import_module("fuzz")


def test_one_command_runs_and_goes_on(
    fuzz: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "fuzz.jsonl"
    command = ["--source", "drawn", "--seed", "3", "--out", str(out)]
    assert fuzz.main([*command, "--count", "4"]) == 0
    assert fuzz.main([*command, "--count", "6"]) == 0
    shown = capsys.readouterr().out.splitlines()
    rows, begun = fuzz._rows(out.with_suffix(".0of1.jsonl"))
    assert begun is None
    assert [row["number"] for row in rows] == [3_000_000 + k for k in range(6)]
    assert shown[-1].startswith("6 models")


def test_a_process_that_dies_is_a_crash(
    fuzz: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deadly(task: object) -> tuple[Verdict, frozenset[str]]:
        if task.number == 1:  # type: ignore[attr-defined]
            import os

            os._exit(7)
        return Verdict(faults=(Fault("wrong", "y 3 times"),) * task.number), frozenset()  # type: ignore[attr-defined]

    monkeypatch.setattr(fuzz, "tried", deadly)
    rows = fuzz.run([fuzz.Task("drawn", k) for k in range(3)], tmp_path / "some.jsonl", 1)
    assert [[f["kind"] for f in row["faults"]] for row in rows] == [[], ["crash"], ["wrong"] * 2]
    assert "the process ended with 7" in rows[1]["faults"][0]["detail"]
    lines = fuzz.table(rows).splitlines()
    assert lines[0].split()[:5] == ["source", "judged", "skipped", "wrong", "crash"]
    assert lines[-1].split()[:5] == ["all", "3", "0", "1", "1"]
    told = list(fuzz.told(rows))
    assert told[0].startswith("crash     python benchmarks/fuzz.py --source drawn --only 1: ")
    assert [line.split()[0] for line in told[1:3]] == ["wrong", "wrong"]
