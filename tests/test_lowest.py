"""The lowest versions that pyproject.toml allows are those that `make lowest` installs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
# A name with its version; extras and markers are not used for what runs the package.
BOUND = re.compile(r'^\s*"([a-z-]+)>=([0-9.]+)",?$', re.MULTILINE)


def section(text: str, start: str) -> str:
    """What stands between `start` and the next closing bracket."""
    return text.split(start, 1)[1].split("]", 1)[0]


def bounds() -> dict[str, str]:
    """Of the dependencies, of the engines and of what a report is drawn with."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = dict(BOUND.findall(section(text, "dependencies = [")))
    assert len(found) == section(text, "dependencies = [").count('"') // 2
    extras = section(text, "engines = [") + section(text, "report = [")
    return found | dict(re.findall(r'"([a-z0-9-]+)>=([0-9.]+)["; ]', extras))


def pins(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==([0-9.]+)$", text, re.MULTILINE))


def test_lowest_versions_are_the_bounds() -> None:
    assert pins("constraints-lowest.txt") == bounds()
    assert len(bounds()) > 8


def test_torch_is_tested_at_its_bound() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = set(re.findall(r'"torch>=([0-9.]+)"', text))
    assert found == {pins("constraints.txt")["torch"]}


def test_the_gate_runs_them() -> None:
    shown = subprocess.run(
        ["make", "--dry-run", "--always-make", "test"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "lowest/bin/pytest" in shown
    for line in shown.splitlines():
        for path in re.findall(r"\btests/\S+", line):
            assert (ROOT / path.rstrip(";\\")).exists(), path
