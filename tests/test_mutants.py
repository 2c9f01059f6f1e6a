"""The table of mutants fits the package: each fault has its place, its tests and its law.

That the tests kill them is for `python benchmarks/mutants.py` to say.
"""

from __future__ import annotations

import ast
from collections import Counter
from functools import cache
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


@pytest.fixture
def mutant(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that finds the place of one."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return import_module("mutant")


def test_each_stands_once_and_leaves_a_program(mutants: ModuleType, mutant: ModuleType) -> None:
    package = ROOT / mutants.PACKAGE
    texts = {path: path.read_text("utf-8") for path in package.rglob("*.py")}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    unparsed = cache(lambda path: ast.unparse(trees[path]))
    scopes = mutant.scopes(trees)
    places = {m: mutant.places(scopes, m) for m in mutants.MUTANTS}
    assert [(m.scope, m.code) for m, found in places.items() if len(found) != 1] == []
    for m, (place,) in places.items():
        assert place.path.relative_to(package).parts[0] in ("algebra", "cost", "graph", "optimize")
        _, after = mutant.mutated(m, {place.path: texts[place.path]})
        compile(after, m.scope, "exec")
        assert after != unparsed(place.path)  # which is how it is written, too


def test_each_mutant_is_there_once(mutants: ModuleType) -> None:
    assert len({(m.scope, m.code, m.instead) for m in mutants.MUTANTS}) == len(mutants.MUTANTS)


def test_every_law_has_mutants(mutants: ModuleType) -> None:
    counts = Counter(m.law for m in mutants.MUTANTS)
    few = [law for law in LAWS if counts[law] < 4]
    assert few == [], "wanted four faults of each law in benchmarks/{pass,region}_faults.py"
    assert counts.keys() == LAWS.keys()
    assert counts.total() >= 40


def test_the_tests_are_there(mutants: ModuleType) -> None:
    assert all(m.paths and m.fault for m in mutants.MUTANTS)
    assert [p for m in mutants.MUTANTS for p in m.paths if not (ROOT / p).is_file()] == []


SOURCE = """
class Sum:
    def plus(self, a, b):  # a comment
        if (a
                < b):
            self.count += 1
            return a - b
        return a - b - [k < 2 for k in b][0]

def plus(a, b):
    return a < b
"""


@pytest.mark.parametrize(
    ("scope", "code", "instead", "wanted"),
    [
        ("Sum.plus", "a < b", "a <= b", "if a <= b:"),
        ("plus", "a<b", "(a <= b)", "return a <= b"),
        ("Sum.plus", "k < 2", "k < 3", "[k < 3 for k in b]"),
        ("Sum.plus", "self.count += 1", "", "if a < b:\n            return a - b"),
        ("Sum.plus", "self.count += 1\nreturn a-b", "return 0", "if a < b:\n            return 0"),
        ("Sum.plus", "return a - b", "pass", "pass"),
    ],
)
def test_code_is_found_whatever_its_layout(
    mutant: ModuleType, scope: str, code: str, instead: str, wanted: str
) -> None:
    one = mutant.Mutant("sum", scope, "", "", code, instead)
    path, text = mutant.mutated(one, {Path("some.py"): SOURCE, Path("other.py"): "x = 1"})
    assert (path, wanted in text) == (Path("some.py"), True)


def test_a_change_is_made_once_or_not_at_all(
    mutants: ModuleType, mutant: ModuleType, tmp_path: Path
) -> None:
    for scope, code, count in (("Sum.plus", "a - b", 2), ("minus", "a < b", 0), ("plus", "b", 2)):
        one = mutant.Mutant("sum", scope, "", "", code, "a")
        if (scope, count) == ("plus", 2):
            (tmp_path / "moved.py").write_text(SOURCE, "utf-8")
        (tmp_path / "some.py").write_text(SOURCE, "utf-8")
        with pytest.raises(SystemExit, match=f"got {code!r} {count} times, wanted it once"):
            mutants.change(tmp_path, one)
        assert (tmp_path / "some.py").read_text("utf-8") == SOURCE
    (tmp_path / "moved.py").unlink()
    mutants.change(tmp_path, mutant.Mutant("sum", "plus", "", "", "a < b", "a"))
    assert (tmp_path / "some.py").read_text("utf-8").endswith("def plus(a, b):\n    return a")


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
