"""The page as a file: the same each time, closed to the network, small."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest

from onebyone.cli import run
from onebyone.show.explorer import build as builder
from onebyone.show.explorer.build import build, bundle

from ...commands import refused

LARGEST = 250_000


@pytest.fixture(scope="module")
def html() -> str:
    return build()


def test_the_page_is_the_same_when_built_again(html: str) -> None:
    assert build() == html


def test_the_page_is_small(html: str) -> None:
    assert len(html.encode()) <= LARGEST


@pytest.mark.parametrize(("tag", "directive"), [("script", "script-src"), ("style", "style-src")])
def test_the_policy_names_the_hash_of_each(tag: str, directive: str, html: str) -> None:
    (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert f"{directive} 'sha256-{digest}'" in html


def test_the_policy_allows_nothing_else(html: str) -> None:
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_nothing_in_the_page_asks_for_an_address(html: str) -> None:
    addresses = set(re.findall(r"https?://[\w./]+", html))
    assert addresses <= {"http://www.w3.org/2000/svg"}  # the name of a format, not a request
    assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|importScripts|eval)\b", html)
    assert not re.search(r'<[^>]+ (style|on\w+)="', html)


MODULES = {
    "export default 3;": "export default 3;",
    'import * as all from "./b.js";': "import *",
    'const b = import("./b.js");': "import(",
    "const end = '</script>';": "</script>",
}


@pytest.mark.parametrize("text", MODULES)
def test_other_forms_of_modules_are_refused(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder, "PAGE", tmp_path)
    (tmp_path / "a.js").write_text(f"{text}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="is not taken") as raised:
        bundle("a.js")
    assert MODULES[text] in str(raised.value)


def test_modules_in_a_circle_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "PAGE", tmp_path)
    for one, other in ("ab", "ba"):
        text = f'import {{ x }} from "./{other}.js";\n'
        (tmp_path / f"{one}.js").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="in a circle"):
        bundle("a.js")


def test_the_command_writes_the_page(
    html: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "page.html"
    assert run(["explore", "-o", str(file)]) == 0
    assert file.read_text(encoding="utf-8") == html
    assert capsys.readouterr().out == f"written to {file}\n"
    assert list(tmp_path.iterdir()) == [file]


def test_the_command_shows_the_page_in_the_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: bool(shown.append(url)) or len(shown) == 1)
    file = tmp_path / "page.html"
    assert run(["explore", "-o", str(file), "--open"]) == 0
    assert shown == [file.as_uri()]
    assert run(["explore", "-o", str(file), "--open"]) == 1
    assert "no browser was found" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, message = refused(capsys, "explore", "-o", tmp_path / "none" / "page.html")
    assert (code, "there is no folder" in message) == (2, True)
    code, message = refused(capsys, "explore", "-o", tmp_path)
    assert (code, "is not a file" in message) == (2, True)
