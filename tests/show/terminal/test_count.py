"""What people see: layers or modules, totals, what is missing."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from onebyone.counting.gaps import Uncounted
from tests.counting.test_tree import COUNT


def shown(renderable: object, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


@pytest.mark.parametrize(("depth", "there", "absent"), [(1, "model", "stem"), (2, "stage", "bn")])
def test_a_tree_is_shown_to_a_depth(depth: int, there: str, absent: str) -> None:
    text = shown(COUNT.table(depth))
    assert there in text
    assert absent not in text
    assert "1.block.conv" in shown(COUNT.table(None))


def test_names_that_are_no_paths_are_shown_layer_by_layer() -> None:
    flat = replace(COUNT, separator=None)
    assert "model.stage.1.block.conv" in shown(flat)
    assert "model.stage.1.block.conv" not in shown(COUNT)
    assert "tree" not in flat.to_dict()
    assert COUNT.to_dict()["tree"] == COUNT.tree().to_dict()


def test_as_text() -> None:
    text = str(replace(COUNT, uncounted=(Uncounted("relu", 3, "why", "[bold]here"),)))
    for part in ("modules", "in total (1 MAC = 2 FLOPs)", "not counted", "relu", "[bold]here"):
        assert part in text


def test_names_stay_readable_where_the_terminal_is_narrow() -> None:
    """Columns go before names are broken into pieces of a few characters."""
    flat = replace(COUNT, separator=None)
    wide, narrow = shown(flat), shown(flat, 64)
    assert "weights" in wide
    assert "in a wider terminal" not in wide
    assert "weights: in a wider terminal, or by --json" in narrow
    for text in (wide, narrow):
        assert "model.stage.0.conv " in text
        assert "MACs" in text
