"""The quiz: claims that are loose, answered by keyboard, told with what is true."""

from __future__ import annotations

import json
import re

import pytest

from onebyone.show.explorer.build import PAGE

from .conftest import Opened
from .panels import PANELS

SOURCE = (PAGE / "quiz.js").read_text(encoding="utf-8")
ROWS = re.findall(r'^  \["([\d.]+)", "(\w+)", "', SOURCE, re.MULTILINE)
CLAIMS = json.loads((PAGE.parent / "data" / "claims.json").read_text(encoding="utf-8"))


def test_it_asks_about_loose_claims_and_leads_to_panels() -> None:
    assert 6 <= len(ROWS) <= 8
    assert {CLAIMS[number]["verdict"] for number, _ in ROWS} == {"loose"}
    assert {panel for _, panel in ROWS} <= set(PANELS)


@pytest.mark.parametrize("key", ["Space", "ArrowRight"])
def test_an_answer_by_keyboard_shows_what_is_true(key: str, opened: Opened) -> None:
    page = opened()
    for index, (number, panel) in enumerate(ROWS):
        question = page.locator("#quiz fieldset").nth(index)
        assert not question.locator(".reveal").is_visible()
        question.locator("input").first.focus()
        page.keyboard.press(key)
        told = question.locator(".reveal").inner_text().replace("\n", " ")
        for part in ("says", "precisely"):
            assert CLAIMS[number][part][:20].replace("`", "") in told
        assert question.locator(f'.reveal a[href="#{panel}"]').count() == 1
        assert ("so it is" in told) == (index % 2 == (key == "Space"))


def test_on_paper_the_questions_stay(opened: Opened) -> None:
    page = opened()
    page.emulate_media(media="print")
    for question in page.locator("#quiz fieldset").all():
        assert question.is_visible()
        assert not question.locator("input").first.is_visible()
