"""What people see: layers or modules, totals, what is missing."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from onebyone.counting.formulas import Work
from onebyone.counting.gaps import Uncounted
from onebyone.counting.operators import Ran, grouped
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
    assert "weights: in a wider terminal, or by --json" in " ".join(narrow.split())
    for text in (wide, narrow):
        assert "model.stage.0.conv " in text
        assert "MACs" in text


def test_shares_are_of_the_whole() -> None:
    flat = shown(replace(COUNT, separator=None))
    assert "of all" in flat
    for share in ("10.0%", "20.0%", "30.0%", "40.0%"):
        assert share in flat
    assert "60.0%" in shown(COUNT)  # model: 10 + 20 + 30 of 100


def test_depth_is_of_the_value_too() -> None:
    deep = COUNT.at_depth(1)
    assert "stem" not in shown(deep)
    assert "stem" in shown(COUNT.at_depth(2))
    assert [child["children"] for child in deep.to_dict()["tree"]["children"]] == [[], []]
    flat = replace(COUNT, separator=None).at_depth(1)
    assert "head" in shown(flat)
    assert "stem" not in shown(flat)


def test_operators_and_other_counts_fit_a_narrow_terminal() -> None:
    layer = Ran("convolution", "convolution", Work(12_000_000, 0, 300_000), 5, 7)
    product = Ran("bmm", "product", Work(2_000_000), 5, 7)
    runs = [layer, product, *[Ran("relu", "ReLU", None, 9, 4_000)] * 3]
    text = shown(replace(COUNT, macs=14_000_000, operators=grouped(runs)), 80)
    assert max(map(len, text.splitlines())) <= 80
    plain = " ".join(text.split())
    assert "convolution convolution 1 12,000,000 85.7%" in plain
    assert "also 3 relu" in plain
    assert "thop 0.1.1 12,000,000 MACs (without 2 M of product)" in plain
    assert "FLOPs and biases 28,300,000 2 × MACs + 300 k biases" in plain
    assert "ptflops 0.7.5 14,324,000 MACs + 300 k biases + 24 k ReLU" in plain
