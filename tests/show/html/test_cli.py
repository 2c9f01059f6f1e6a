"""`--report FILE.html` of four commands, as a user meets it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from onebyone.cli import run
from tests.commands import ONE_ENGINE, chain, refused
from tests.show.html.test_page import block

COMMANDS = ("count", "optimize", "verify", "bench")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return chain(tmp_path / "chain.onnx")


def words(command: str, model: Path, page: Path) -> list[str]:
    more = {
        "optimize": ["--dry-run"],
        "verify": [str(model)],
        "bench": list(ONE_ENGINE),
    }
    return [command, str(model), *more.get(command, []), "--report", str(page)]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_holds_what_the_command_prints(
    command: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = model.with_name("report.html")
    assert run([*words(command, model, page), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    text = page.read_text(encoding="utf-8")
    assert block(text, "result") == said
    assert "<bdi>chain.onnx" in text
    assert sorted(path.name for path in model.parent.iterdir()) == ["chain.onnx", "report.html"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_model_is_never_written_over(
    command: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = model.read_bytes()
    code, message = refused(capsys, *words(command, model, model))
    assert code == 2
    assert "choose another name" in message
    assert model.read_bytes() == content
    symbolic, hard = model.with_name("symbolic.html"), model.with_name("hard.html")
    symbolic.symlink_to(model)
    hard.hardlink_to(model)
    for link, why in ((symbolic, "a file of this command"), (hard, "no page")):
        code, message = refused(capsys, *words(command, model, link))
        assert code == 2
        assert why in message
        assert model.read_bytes() == content


def test_an_older_page_is_written_over(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = model.with_name("report.html")
    page.write_text("<!doctype html>\nolder", encoding="utf-8")
    assert run(words("count", model, page)) == 0
    assert "older" not in page.read_text(encoding="utf-8")


def test_the_page_is_not_the_result(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = model.with_name("out.onnx")
    spelled = out.parent / ".." / out.parent.name / out.name  # neither file is there yet
    for page in (out, spelled):
        code, _ = refused(capsys, "optimize", model, "-o", out, "--report", page)
        assert code == 2
        assert not out.exists()


@pytest.mark.parametrize("path", ["", "no/folder/report.html"])
def test_bad_paths_are_one_line_before_any_work(
    path: str, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = model.parent / path
    code, message = refused(capsys, "count", model.with_name("absent.onnx"), "--report", target)
    assert code == 2
    assert "--report" in message


def test_what_is_missing_is_said_with_what_to_install(
    model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, message = refused(capsys, *words("count", model, model.with_name("report.html")))
    assert code == 2
    assert "pip install 'onebyone[report]'" in message


def test_a_failed_proof_has_a_page_too(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other, page = chain(model.with_name("other.onnx"), bump=1), model.with_name("report.html")
    assert run(["verify", str(model), str(other), "--report", str(page)]) == 1
    assert '<p class="stamp bad">FAIL</p>' in page.read_text(encoding="utf-8")
