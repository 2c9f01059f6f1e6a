"""The file: it parses, asks nothing, holds the JSON, and no name is more than a name."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import html5lib
import pytest

from onebyone.show.html.blocks import Reported
from onebyone.show.html.page import page
from onebyone.text import finite
from tests.show.html.results import HOSTILE, bench, certificate, count, hostile, many, report

RESULTS = {
    "count": count,
    "report": report,
    "certificate": certificate,
    "bench": bench,
    "hostile": hostile,
}


class Elements(HTMLParser):
    """Every element's name and attributes, and the text of those that hold code or data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.inside = tag if tag in ("script", "style", "title") else ""
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.texts[self.inside][-1] += data


def block(text: str, name: str) -> object:
    (found,) = re.findall(
        rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.DOTALL
    )
    return json.loads(found)


@pytest.fixture(params=RESULTS, scope="module")
def result(request: pytest.FixtureRequest) -> Reported:
    made: Reported = RESULTS[request.param]()
    return made


@pytest.fixture(scope="module")
def text(result: Reported) -> str:
    return page(result, "model.onnx")


def test_it_parses_without_an_error(text: str) -> None:
    html5lib.HTMLParser(strict=True).parse(text)


def test_the_json_inside_is_that_of_the_result(text: str, result: Reported) -> None:
    assert block(text, "result") == json.loads(json.dumps(finite(result.to_dict())))


def test_it_lets_no_style_and_script_run_but_its_own(text: str) -> None:
    elements = Elements(text)
    (policy,) = (a["content"] for tag, a in elements.found if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    (style,) = elements.texts["style"]
    script = elements.texts["script"][-1]
    for kind, code in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}';" in policy
    assert "unsafe" not in policy


def test_nothing_in_it_is_asked_of_anyone(text: str) -> None:
    for tag, attributes in Elements(text).found:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form", "a")
        for name in attributes:
            assert name not in ("style", "src", "href", "srcdoc"), (tag, name)
            assert not name.startswith("on"), (tag, name)
    (style,) = Elements(text).texts["style"]
    assert not re.search(r"url\((?!#)|@import", style)


def test_it_is_small_and_the_same_again(text: str, result: Reported) -> None:
    data = sum(map(len, re.findall(r"<script type=.*?</script>", text, re.DOTALL)))
    assert len(text.encode()) - data < 300_000
    assert page(result, "model.onnx") == text


def test_hostile_names_are_names() -> None:
    text = page(hostile(), HOSTILE[0])
    elements = Elements(text)
    scripts = [attributes for tag, attributes in elements.found if tag == "script"]
    assert [s.get("id") for s in scripts] == ["result", "layers", None]
    assert not any(tag == "img" for tag, _ in elements.found)
    assert "\u202e" not in text
    assert "49" not in elements.texts["title"][0]
    assert elements.texts["title"][0].startswith("</script><script>")
    said = block(text, "result")
    assert isinstance(said, dict)
    assert [layer["name"] for layer in said["layers"]] == list(HOSTILE)


def test_a_page_of_five_thousand_layers_is_small_beside_its_data() -> None:
    text = page(many(5000))
    data = sum(map(len, re.findall(r"<script type=.*?</script>", text, re.DOTALL)))
    assert len(text) - data < 300_000 + 5000 * 40  # a bar of the drawing is 40 characters


def test_notebooks_show_the_page_in_a_frame_of_its_own() -> None:
    shown = count()._repr_html_()
    (frame,) = Elements(shown).found
    assert frame[0] == "iframe"
    assert frame[1]["sandbox"] == "allow-scripts"
    assert frame[1]["srcdoc"] == page(count())
    assert report()._repr_html_().startswith("<iframe")


def test_where_the_extra_is_missing_notebooks_show_text(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert count()._repr_html_().startswith("<pre")
