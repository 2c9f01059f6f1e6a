"""The claims of docs/seeds.md in the page: as they stand there, and each way."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from onebyone.show.explorer.build import PAGE, build
from onebyone.show.explorer.data import picture

from .conftest import Opened
from .panels import PANELS

ROOT = Path(__file__).parents[3]
SEEDS = (ROOT / "docs" / "seeds.md").read_text(encoding="utf-8")
SHIPPED = json.loads((PAGE.parent / "data" / "claims.json").read_text(encoding="utf-8"))


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch) -> object:
    """`examples/explorer_data.py`, which writes what the page carries."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    sys.modules.pop("explorer_data", None)
    import explorer_data

    return explorer_data


def claims_of(panel: str) -> list[str]:
    source = (PAGE / "panels" / f"{panel}.js").read_text(encoding="utf-8")
    (listed,) = re.findall(r"^  claims: \[(.*?)\]", source, re.MULTILINE | re.DOTALL)
    return re.findall(r'"([\d.]+)"', listed)


def test_the_claims_that_ship_are_those_of_the_page_of_seeds(maker: object) -> None:
    assert maker.claims(SEEDS) == SHIPPED


def test_the_picture_that_ships_is_the_one_that_is_made(maker: object) -> None:
    assert np.array_equal(maker.picture(), picture())


def test_the_page_of_seeds_links_to_the_panels_that_there_are(maker: object) -> None:
    """If not: `python examples/explorer_data.py`. tests/seeds/test_table.py reads the links."""
    assert [panel.id for panel in maker.panels()] == PANELS
    assert maker.linked(SEEDS, maker.panels()) == SEEDS


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_is_listed_with_the_claims_that_it_shows(panel: str) -> None:
    assert set(claims_of(panel)) <= set(SHIPPED)
    assert f"](explorer.html#{panel}): {', '.join(claims_of(panel))}\n" in SEEDS


def test_a_panel_tells_its_claims_and_links_to_the_page_of_seeds(
    opened: Opened, tmp_path: Path
) -> None:
    page = opened()
    assert page.locator("#maps .claim").count() == len(claims_of("maps"))
    assert page.locator(".claim a").count() == 0
    file = tmp_path / "page.html"
    file.write_text(build(docs="seeds.html"), encoding="utf-8")
    other = page.context.new_page()
    other.goto(file.as_uri())
    other.wait_for_selector("html[data-complete]", state="attached")
    links = other.eval_on_selector_all("#maps .claim a", "all => all.map(e => e.hash)")
    assert links == [f"#claim-{number}" for number in claims_of("maps")]
