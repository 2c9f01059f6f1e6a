"""Tables at any width: no number is cut, no name is broken, what is left out is said."""

from __future__ import annotations

import io

import pytest
from rich.console import Console, RenderableType

from onebyone.show.terminal.page import Clean
from onebyone.show.terminal.table import Columns, Words

NAMES = ("encoder.stages.3.blocks.2.attention.projection", "head")
ROWS = [(NAMES[0], "compose · commute", "193,478,656", "", "12"), (NAMES[1], "sum", "7", "", "5")]


def lines(width: int, encoding: str = "utf-8", **options: bool) -> list[str]:
    table = Columns(
        "where", ("value", "laws", "MACs saved", "note", "nodes"), ROWS, words=(1,), **options
    )
    return printed(table, width, encoding)


def printed(inner: RenderableType, width: int, encoding: str = "utf-8") -> list[str]:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=out, width=width, no_color=True).print(Clean(inner))
    out.flush()
    return out.buffer.getvalue().decode(encoding).splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [30, 40, 60, 80, 120])
@pytest.mark.parametrize("boxed", [True, False])
def test_every_line_fits_and_nothing_is_cut(width: int, boxed: bool) -> None:
    shown = lines(width, boxed=boxed)
    assert max(map(len, shown)) <= width
    text = "\n".join(shown)
    assert "head" in text
    assert "note" not in text, "a column that says nothing"
    if "193" in text:
        assert "193,478,656" in text
    (name,) = [line for line in shown if "enc" in line]
    assert name.count("projection") == 1 or "…" in name


def test_what_a_narrow_terminal_leaves_out_is_said() -> None:
    assert "MACs saved, nodes: in a wider terminal, or by --json" in lines(57)[-1]
    assert "wider" not in "".join(lines(100))


def test_columns_stand_under_each_other_in_ascii() -> None:
    shown = [line for line in lines(100, "ascii") if line.startswith("|") and "--" not in line]
    assert all(line.isascii() for line in shown)
    assert len({tuple(k for k, c in enumerate(line) if c == "|") for line in shown}) == 1


def test_words_are_wrapped_between_them_and_long_ones_lose_their_middle() -> None:
    shown = printed(Words(f"worst at {NAMES[0]}\nmore"), 20)
    assert [line.rstrip() for line in shown] == ["worst at", "encoder.s…projection", "more"]


def test_no_heading_no_line_for_it() -> None:
    shown = printed(Columns("t", ("", ""), [("a", "1")], boxed=False), 40)
    assert [line.strip() for line in shown] == ["t", "a  1"]
