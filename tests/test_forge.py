"""What a forge reads: it parses, it runs make targets that exist, and tells one version."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import onebyone

ROOT = Path(__file__).parents[1]
FORMS = sorted(ROOT.glob(".github/ISSUE_TEMPLATE/[!c]*.yml"))
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def parsed(path: Path | str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def commands() -> Iterator[str]:
    """All that workflows and hooks run."""
    for path in WORKFLOWS:
        for job in parsed(path)["jobs"].values():
            yield from (step["run"] for step in job["steps"] if "run" in step)
    for repository in parsed(".pre-commit-config.yaml")["repos"]:
        yield from (hook["entry"] for hook in repository["hooks"])


def test_workflows_and_hooks_run_make_targets_that_exist() -> None:
    asked = [re.fullmatch(r"make ([a-z-]+)(?: [A-Z]+=\w*)*", command) for command in commands()]
    assert all(asked), list(commands())
    names = {found[1] for found in asked if found}
    assert names <= TARGETS
    assert {"test", "slow", "lowest", "check", "format"} <= names


def test_every_supported_python_is_tested() -> None:
    (matrix,) = (
        job["strategy"]["matrix"]
        for job in parsed(WORKFLOWS[0])["jobs"].values()
        if "strategy" in job
    )
    project = text("pyproject.toml")
    assert matrix["python"] == re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    assert f'requires-python = ">={matrix["python"][0]}"' in project


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_forms_ask_each_question_once(form: Path) -> None:
    said = parsed(form)
    assert said.keys() >= {"name", "description", "body"}
    asked = [part["id"] for part in said["body"] if part["type"] != "markdown"]
    assert asked
    assert len(asked) == len(set(asked))


def test_one_version_everywhere() -> None:
    released = re.findall(r"^## (\d\S*) - (\d{4}-\d\d-\d\d)$", text("CHANGELOG.md"), re.MULTILINE)
    citation = parsed("CITATION.cff")
    assert released[0] == (citation["version"], citation["date-released"])
    assert f'\nversion = "{citation["version"]}"\n' in text("pyproject.toml")
    assert onebyone.__version__ == citation["version"]


def test_the_changelog_has_room_for_what_comes() -> None:
    assert re.findall(r"^## (\w+)", text("CHANGELOG.md"), re.MULTILINE)[0] == "Unreleased"


def test_one_address_everywhere() -> None:
    source = parsed("CITATION.cff")["repository-code"]
    assert f'\nSource = "{source}"\n' in text("pyproject.toml")
    urls = text("pyproject.toml").split("[project.urls]")[1].split("[", 1)[0]
    assert all(url.startswith(source) for url in re.findall(r'"(.*)"', urls))
