"""The table of laws, and that nothing else is told than what its rows say."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path
from string import Formatter

import pytest

import onebyone
from onebyone.algebra.laws import LAWS, named, refused

ROOT = Path(onebyone.__file__).parent
TREES = {
    path.relative_to(ROOT): ast.parse(path.read_text(encoding="utf-8"))
    for path in ROOT.rglob("*.py")
}
SENTENCES = {(law.name, why): text for law in LAWS.values() for why, text in law.refusals.items()}
# Either may take a channel map into a kernel; which one, the map says (`algebra.weights.law_of`).
EITHER = ("affine", "compose")


def test_the_laws_of_the_command_line() -> None:
    regions = {"compose", "affine", "split", "commute", "sum", "linear", "onehot", "pool"}
    passes = {law.name for law in LAWS.values() if law.realised}
    assert set(LAWS) - passes == regions
    assert passes >= {"rank", "permute", "prune", "demand", "layout"}
    assert all(named(name).name == name for name in LAWS)


@pytest.mark.parametrize("name", list(LAWS))
def test_each_law_says_what_it_equates_and_when(name: str) -> None:
    law = LAWS[name]
    assert " = " in law.equation
    assert law.covers
    assert law.conditions


def test_no_two_laws_print_alike() -> None:
    assert len({law.equation for law in LAWS.values()}) == len(LAWS)


def test_a_refusal_is_a_sentence_of_its_law_with_its_words() -> None:
    told = refused("compose", "groups", groups=4)
    assert told.law == "compose"
    assert told.reason == "a dense channel map would fill the zero blocks of 4 groups"
    with pytest.raises(KeyError):
        refused("compose", "nearly")
    with pytest.raises(KeyError):
        refused("compose", "groups")


def words(text: str) -> set[str]:
    """Those that a sentence leaves open."""
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_refusals_are_made_from_the_rows_alone() -> None:
    """Each with the words of its sentence; and each sentence is told somewhere."""
    given: dict[tuple[str, str], list[set[str]]] = defaultdict(list)
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Refusal":
                assert path == Path("algebra/laws.py")
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "refused":
                for pair in pairs(node):
                    given[pair].append({word.arg or "**" for word in node.keywords})
            if isinstance(node, ast.Assign) and (pair := constants(node.value)) in SENTENCES:
                given[pair].append({"limit", "lost"})
    assert given.keys() == SENTENCES.keys()
    for pair, uses in given.items():
        assert all(use == words(SENTENCES[pair]) or "**" in use for use in uses), pair


def pairs(call: ast.Call) -> list[tuple[str, str]]:
    """The laws that a call may refuse, and why; none where both come from elsewhere."""
    if isinstance(call.args[0], ast.Starred):
        return []
    law, why = call.args
    assert isinstance(why, ast.Constant), ast.unparse(call)
    laws = [law.value] if isinstance(law, ast.Constant) else EITHER
    return [(law, why.value) for law in laws]


def constants(node: ast.expr) -> tuple[str, str]:
    """A law and a reason that are kept under a name, as `optimize.regions.exact` does."""
    found = [part.value for part in getattr(node, "elts", []) if isinstance(part, ast.Constant)]
    return (found[0], found[1]) if len(found) == 2 else ("", "")


def test_the_algebra_knows_no_onnx_in_its_words_either() -> None:
    foreign = re.compile(r"onnx|opset|matmul|gemm|convtranspose|maxpool|\bconv\b", re.IGNORECASE)
    for path in (ROOT / "algebra").rglob("*.py"):
        assert foreign.findall(path.read_text(encoding="utf-8")) == [], path
