"""The table of mutants fits the package: each fault has its place, its tests and its law.

That the tests kill them is for `python benchmarks/mutants.py` to say.
"""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from onebyone.algebra.laws import LAWS

ROOT = Path(__file__).parents[1]


@pytest.fixture
def mutants(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, imported as a script imports it."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return import_module("mutants")


def test_each_text_stands_once_in_its_file(mutants: ModuleType) -> None:
    found = [(m.file, m.text, m.instead) for m in mutants.MUTANTS]
    texts = {file: (ROOT / mutants.PACKAGE / file).read_text("utf-8") for file, _, _ in found}
    assert [row for row in found if texts[row[0]].count(row[1]) != 1] == []
    assert [row for row in found if row[1] == row[2]] == []
    assert len(set(found)) == len(found)
    assert {file.split("/")[0] for file, _, _ in found} == {"algebra", "optimize"}


def test_a_mutant_is_still_a_program(mutants: ModuleType) -> None:
    for m in mutants.MUTANTS:
        text = (ROOT / mutants.PACKAGE / m.file).read_text("utf-8")
        compile(text.replace(m.text, m.instead), m.file, "exec")


def test_every_law_has_mutants(mutants: ModuleType) -> None:
    counts = Counter(m.law for m in mutants.MUTANTS)
    assert counts.keys() == LAWS.keys()
    assert min(counts.values()) >= 4
    assert counts.total() >= 40


def test_the_tests_are_there(mutants: ModuleType) -> None:
    assert all(m.paths and m.fault for m in mutants.MUTANTS)
    assert [p for m in mutants.MUTANTS for p in m.paths if not (ROOT / p).is_file()] == []


def test_a_change_is_made_once_or_not_at_all(mutants: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "some.py"
    path.write_text("a = 1\nb = 1\n", encoding="utf-8")
    mutants.change(path, mutants.Mutant("sum", "some.py", "", "", "a = 1", "a = 2"))
    assert path.read_text(encoding="utf-8") == "a = 2\nb = 1\n"
    twice = mutants.Mutant("sum", "some.py", "", "", " = ", "")
    with pytest.raises(SystemExit, match=r"some\.py: got ' = ' 2 times, wanted it once"):
        mutants.change(path, twice)


def test_what_the_tests_say(mutants: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "test_good.py").write_text("def test_good(): pass\n", encoding="utf-8")
    (tmp_path / "test_bad.py").write_text("def test_bad(): assert False\n", encoding="utf-8")
    (tmp_path / "test_none.py").write_text("import nothing_like_it\n", encoding="utf-8")
    found = {name: mutants.outcome(tmp_path, [f"test_{name}.py"], 60) for name in ("good", "bad")}
    assert found["good"] == (mutants.SURVIVED, "")
    assert found["bad"] == (mutants.KILLED, "FAILED test_bad.py::test_bad - assert False")
    assert mutants.outcome(tmp_path, ["test_none.py"], 60)[0] == mutants.BROKEN


def test_the_table(mutants: ModuleType) -> None:
    rows = [m for m in mutants.MUTANTS if m.law == "split"][:2]
    lines = mutants.table(rows, [mutants.KILLED, mutants.SURVIVED]).splitlines()
    assert [line.split() for line in lines] == [
        ["law", "killed", "survived", "broken"],
        ["split", "1", "1", "0"],
        ["all", "1", "1", "0"],
    ]
