"""docs/seeds.md tells what the tests of this folder and the explorer's panels do.

Rows have tests and tests have rows; figures stand in a test; a claim links to the panels that are
listed with it, and has an anchor that they link to.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "seeds.md").read_text(encoding="utf-8")
VERDICTS = ("holds", "loose", "slip")


@dataclass(frozen=True)
class Row:
    """One claim.

    Args:
        anchor: the id of its row.
        number: as 1.1.
        verdict: one of `VERDICTS`.
        tests: the (file, test) pairs that prove it.
        figure: what they measure.
        panels: the panels of the explorer that it links to, by the name shown and by the anchor.
    """

    anchor: str
    number: str
    verdict: str
    tests: tuple[tuple[str, str], ...]
    figure: str
    panels: tuple[tuple[str, str], ...]


@cache
def rows() -> list[Row]:
    found = []
    for anchor, line in re.findall(r'^\| <a id="([^"]*)"></a>(\d.*) \|$', PAGE, re.MULTILINE):
        number, _, _, verdict, proof, figure, seen = (cell.strip() for cell in line.split("|"))
        links = re.findall(r"\[([^\]]+)\]\(\.\./tests/seeds/(\w+)\.py\)", proof)
        tests = tuple((file, "test_" + name.replace(" ", "_")) for name, file in links)
        panels = tuple(re.findall(r"\[(\w+)\]\(explorer\.html#(\w+)\)", seen))
        found.append(Row(anchor, number, verdict, tests, figure, panels))
    return found


@cache
def sources() -> dict[tuple[str, str], str]:
    """The code of each test here, by file and name."""
    found = {}
    for path in sorted(HERE.glob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found[path.stem, node.name] = ast.get_source_segment(text, node) or ""
    return {key: code for key, code in found.items() if key[0] != Path(__file__).stem}


def numbers(text: str) -> set[str]:
    """Those in a text, without the marks that group their digits."""
    return set(re.findall(r"\d+(?:\.\d+)?", re.sub(r"(?<=\d)[_,](?=\d{3})", "", text)))


each_row = pytest.mark.parametrize("row", rows(), ids=lambda row: row.number)


@each_row
def test_each_claim_has_a_test_that_exists(row: Row) -> None:
    assert row.tests
    assert set(row.tests) <= set(sources())


def test_each_test_has_a_claim() -> None:
    assert set(sources()) == {test for row in rows() for test in row.tests}


@each_row
def test_each_figure_stands_in_a_test(row: Row) -> None:
    code = " ".join(sources()[test] + test[1].replace("_", " ") for test in row.tests)
    assert numbers(row.figure) <= numbers(code)


def listed() -> dict[str, list[str]]:
    """The claims that each panel shows, by the list of "See for yourself"."""
    found = re.findall(r"^- \[[^\]]+\]\(explorer\.html#(\w+)\): (.+)$", PAGE, re.MULTILINE)
    return {panel: numbers.split(", ") for panel, numbers in found}


@each_row
def test_a_claim_links_to_the_panels_that_show_it(row: Row) -> None:
    showing = [panel for panel, numbers in listed().items() if row.number in numbers]
    assert row.panels == tuple((panel, panel) for panel in showing)
    assert row.anchor == f"claim-{row.number}"


def test_panels_show_claims_that_there_are() -> None:
    assert listed()
    numbers = [number for numbers in listed().values() for number in numbers]
    assert set(numbers) <= {row.number for row in rows()}


def test_claims_are_numbered_in_order() -> None:
    per_text = Counter(row.number.split(".")[0] for row in rows())
    expected = [f"{text}.{k}" for text in sorted(per_text) for k in range(1, per_text[text] + 1)]
    assert [row.number for row in rows()] == expected


def test_the_verdicts_are_counted_right() -> None:
    counts = Counter(row.verdict for row in rows())
    assert set(counts) == set(VERDICTS)
    told = "Of {} claims, {} hold, {} are loose and {} are slips".format(
        len(rows()), *(counts[verdict] for verdict in VERDICTS)
    )
    assert told in " ".join(PAGE.split())
