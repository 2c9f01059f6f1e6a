"""Import directions, read off the syntax tree: docs/architecture.md's table, and nothing else."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from pathlib import Path

import pytest

import onebyone

ROOT = Path(onebyone.__file__).parent
# What every part may import: all that is raised, what a result is, and safe text.
ALL = {"callable", "errors", "shown", "text"}
# folder -> the parts of onebyone it may import besides itself; no value knows a view.
MAY = {
    "algebra": set(),
    "counting": set(),
    "graph": {"algebra", "counting"},
    "cost": {"counting", "graph"},
    "engines": {"algebra", "counting", "cost", "graph"},
    "verify": {"algebra", "engines", "graph"},
    # Its driver has each step and the whole proved; the laws, in folders, know of no proof.
    "optimize": {"algebra", "cost", "counting", "engines", "graph", "verify"},
    "nn": {"algebra", "counting"},
    "scan": {"algebra", "counting", "engines", "graph", "optimize", "verify"},
    "show": {"algebra", "counting", "cost", "engines", "graph", "optimize", "scan", "verify"},
    # The explorer shows the bundled digits, and a law as its row has it.
    "show/explorer/data": {"algebra", "bundled"},
    "bundled": set(),
    "demo": {"bundled", "engines", "graph", "optimize", "show", "terminal"},
    "api": {"algebra", "cost", "counting", "graph", "nn", "optimize", "verify"},
    "cli": {
        "algebra",
        "api",
        "cli_geometry",
        "cost",
        "counting",
        "crash_guard",
        "engines",
        "graph",
        "optimize",
        "options",
        "paths",
        "process",
        "cli_scan",
        "show",
        "terminal",
        "verify",
    },
    "cli_geometry": {"graph", "options", "terminal"},
    "cli_scan": {"graph", "paths", "scan", "terminal"},
    "callable": set(),
    "crash_guard": set(),
    "errors": set(),
    "shown": set(),
    "text": set(),
    "process": set(),
    "options": set(),
    "paths": {"show"},
    "terminal": {"show"},
    "__main__": {"cli"},
    "__init__": {"algebra", "api", "cost", "graph", "optimize", "scan", "verify"},
}
# The stages inside optimize/, in the same way; each may use the files beside them too.
STAGES = {
    "regions": set(),
    "positions": {"regions"},
    "channels": {"regions"},
    "maps": {"regions"},
    "views": {"regions"},
}
SHARED = {"joined", "rewritten", "sharing"}
# What makes a node or a constant of a graph, or gives a value other readers: for the editor alone.
EDITS = re.compile(r"ir\.[Nn]ode|.*\.(register_initializer|replace_all_uses_with)")
# Who may too, and why.
EDITORS = {
    "graph/edit",
    "graph/magnitude",  # a node in no graph, to be evaluated once
    "optimize/outline",  # nodes in no graph, as they stood once
    "verify/pieces/piece",  # a graph of its own
}
FILES = sorted(ROOT.rglob("*.py"))


def part(path: Path) -> str:
    """The folder, or top-level module, of the package that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@cache
def imported(path: Path) -> list[str]:
    """Absolute names of all that a file imports, at the top or inside a function."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: relative import"
            found += (f"{node.module}.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_parts_import_only_what_lies_below_them(path: Path) -> None:
    """And algebra needs only NumPy, and only nn needs torch."""
    inside = {name.split(".")[1] for name in imported(path) if name.startswith("onebyone.")}
    alone = str(path.relative_to(ROOT).with_suffix(""))
    assert inside <= MAY.get(alone, MAY[part(path)]) | {part(path)} | ALL
    outside = {name.split(".")[0] for name in imported(path)} - sys.stdlib_module_names
    if part(path) == "algebra":
        assert outside <= {"numpy", "onebyone"}
    assert "torch" not in outside or part(path) == "nn"


@pytest.mark.parametrize("stage", STAGES)
def test_laws_know_neither_each_other_nor_their_proof(stage: str) -> None:
    files = [path for path in FILES if path.parent == ROOT / "optimize" / stage]
    assert files
    names = [name.split(".") for path in files for name in imported(path)]
    assert not any(name[:2] in (["onebyone", "verify"], ["onebyone", "engines"]) for name in names)
    inside = {name[2] for name in names if name[:2] == ["onebyone", "optimize"]}
    assert inside <= STAGES[stage] | SHARED | {stage}


def test_graphs_are_changed_by_the_editor_alone() -> None:
    """So names are new, equal constants stored once, and results keep their names everywhere."""
    found = {
        str(path.relative_to(ROOT).with_suffix(""))
        for path in FILES
        if part(path) in ("graph", "optimize", "verify")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and EDITS.fullmatch(ast.unparse(call.func))
    }
    assert found == EDITORS
