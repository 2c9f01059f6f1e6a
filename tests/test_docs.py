"""The documentation is executed, agrees with the table of laws, and links to what exists."""

from __future__ import annotations

import doctest
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from onebyone.algebra.laws import LAWS, Law

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md"))]
# What a command makes, and the anchors that it has then.
PANELS = ROOT / "src" / "onebyone" / "show" / "explorer" / "page" / "panels"
MADE = {
    ROOT / "docs" / "explorer.html": set(
        re.findall(r'"\./(\w+)\.js"', (PANELS / "index.js").read_text(encoding="utf-8"))
    )
}
ALGEBRA = (ROOT / "docs" / "algebra.md").read_text(encoding="utf-8")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


def plain(text: str) -> str:
    """The text in one line, single spaces."""
    return " ".join(text.split())


def file_of(law: Law) -> str:
    """The file of a pass."""
    return law.realised.split(":")[0].replace(".", "/") + ".py"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """The (file, anchor) of each link that stays inside the repository."""
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in link:
            file, _, anchor = link.partition("#")
            yield (page.parent / file if file else page).resolve(), anchor


@each_page
def test_examples_run(page: Path) -> None:
    result = doctest.testfile(str(page), module_relative=False, encoding="utf-8")
    assert result.failed == 0
    prompts = re.findall(r"^ *>>> ", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert result.attempted == len(prompts), "an example was not seen"


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for file, anchor in links(page):
        if file in MADE:
            assert anchor in MADE[file], f"{page.name} links to #{anchor} of {file.name}"
            continue
        assert file.exists(), f"{page.name} links to {file.relative_to(ROOT)}"
        assert not anchor or anchor in anchors(file), f"{page.name} links to #{anchor}"


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_each_law_is_explained_with_its_equation_conditions_and_a_refusal(law: Law) -> None:
    found = re.findall(rf"^### {law.name}\n(.*?)(?=^##)", ALGEBRA, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"docs/algebra.md has {len(found)} sections ### {law.name}, wanted one"
    section = found[0]
    assert plain(law.equation) in plain(section)
    assert f"*Covers:* {law.covers}" in plain(section)
    assert f"*Conditions:* {plain(law.conditions)}." in plain(section)
    assert not law.realised or f"`optimize/{file_of(law)}`" in section
    assert "*Proof.*" in section
    assert "*Refused: " in section
    assert ">>> " in section


def test_laws_are_explained_in_the_order_of_the_table() -> None:
    titles = re.findall(r"^### (\w+)$", ALGEBRA, re.MULTILINE)
    assert [title for title in titles if title in LAWS] == list(LAWS)


def test_each_decision_is_numbered_and_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^(\d+)\. \[(.*)\]\((.*)\)$", index, re.MULTILINE)
    files = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert [name for _, _, name in listed] == files
    for number, title, name in listed:
        assert name.startswith(f"{int(number):04}-")
        page = (folder / name).read_text(encoding="utf-8")
        assert page.startswith(f"# {number}. {title}\n")
        assert "**Decided.**" in page
