"""A result as a page of text, whose names cannot steer the terminal that shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onebyone.show.terminal.text import can_show, stand_ins
from onebyone.text import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.segment import Segment

__all__ = ["WIDTH", "Clean", "text"]

WIDTH = 100
"""Columns of text where no terminal says its own."""


def text(result: RenderableType) -> str:
    """A result as a terminal of `WIDTH` columns would show it, without colours."""
    console = _console()
    with console.capture() as shown:
        console.print(Clean(result))
    return "\n".join(line.rstrip() for line in shown.get().rstrip().splitlines())


def _console() -> Console:
    from rich.console import Console

    return Console(width=WIDTH, no_color=True, highlight=False, emoji=False, legacy_windows=False)


class Clean:
    """A rich renderable whose text cannot steer the terminal, in characters that this one has."""

    def __init__(self, inner: RenderableType) -> None:
        self.inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment

        segments = (
            segment if segment.control else segment._replace(text=escaped(segment.text, keep="\n"))
            for segment in console.render(self.inner, options)
        )
        for line in Segment.split_lines(segments):
            yield from _fitted(line, console.encoding)
            yield Segment.line()


def _fitted(line: list[Segment], encoding: str) -> Iterator[Segment]:
    """A line with stand-ins; where these are longer, blanks behind them go, so that columns stand.

    Of a run of blanks one is left.
    """
    longer = 0
    for segment in line:
        text = segment.text
        if can_show(text, encoding) and not longer:
            yield segment
            continue
        made: list[str] = []
        for character in text:
            if character == " " and longer and made[-1:] == [" "]:
                longer -= 1
                continue
            made.append(stand_ins(character, encoding))
            longer += len(made[-1]) - 1
        yield segment._replace(text="".join(made))
