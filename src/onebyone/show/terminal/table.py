"""A table that fits: it leaves out columns that say nothing, and the last ones where it is narrow.

Names are shortened in the middle and never broken; words are wrapped between words.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.box import HEAVY_HEAD
from rich.console import Console, ConsoleOptions, JustifyMethod
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from onebyone.show.terminal.text import shortened

if TYPE_CHECKING:
    from rich.console import RenderableType, RenderResult

__all__ = ["Columns", "Name", "Words"]

# The fewest columns of a terminal that a name, and wrapped words, are left.
_NAME, _WORDS = 20, 24


class Name:
    """A name on one line: where it does not fit, its middle goes."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __rich_measure__(self, _console: Console, options: ConsoleOptions) -> Measurement:
        least = min(len(self.name), _NAME)
        return Measurement(least, len(self.name)).clamp(max_width=options.max_width)

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(shortened(self.name, options.max_width), no_wrap=True, overflow="ellipsis")


class Words:
    """Text that is wrapped between words; of a word that is longer than a line the middle goes."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, Text(self.text))

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        lines = self.text.split("\n")
        most = options.max_width
        yield Text(
            "\n".join(" ".join(shortened(w, most) for w in line.split(" ")) for line in lines)
        )


class Columns:
    """A titled table.

    Args:
        title: above it.
        headings: of the columns, the most important first.
        rows: the cells of each row, as text.
        names: columns that hold names.
        words: columns that hold words, which may be wrapped. All others hold numbers.
        kept: so many columns are always shown, but for those of `spared`.
        spared: columns that are left out before the last ones are.
        boxed: with lines around the cells, where there is room for them.
        caption: below it.
    """

    def __init__(
        self,
        title: str,
        headings: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        names: Collection[int] = (0,),
        words: Collection[int] = (),
        kept: int = 2,
        spared: Collection[int] = (),
        boxed: bool = True,
        caption: str = "",
    ) -> None:
        self.title, self.boxed, self.caption = title, boxed, caption
        told = [k for k in range(len(headings)) if any(row[k] for row in rows) or k < kept]
        self.headings = [headings[k] for k in told]
        self.rows = [[row[k] for k in told] for row in rows]
        self.names = {told.index(k) for k in names if k in told}
        self.words = {told.index(k) for k in words if k in told}
        last = [k for k, column in enumerate(told) if column >= kept and column not in spared]
        self.leaving = [*last, *(k for k, column in enumerate(told) if column in spared)]

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> Iterator[Table]:
        shown, leaving, room = [*range(len(self.headings))], [*self.leaving], options.max_width
        while leaving and self._least(shown, self.boxed) > room:
            shown.remove(leaving.pop())
        yield self._table(shown, self.boxed and self._least(shown, True) <= room)

    def _least(self, shown: Sequence[int], boxed: bool) -> int:
        """The width of these columns where names and words have no more than they need."""
        lines = [self.headings, *self.rows]
        least = {**dict.fromkeys(self.words, _WORDS), **dict.fromkeys(self.names, _NAME)}
        widths = {k: max(len(cells[k]) for cells in lines) for k in shown}
        width = sum(min(width, least.get(k, width)) for k, width in widths.items())
        return width + (3 if boxed else 2) * len(shown) + boxed

    def _table(self, shown: Sequence[int], boxed: bool) -> Table:
        table = Table(
            title=Text(self.title) if self.title else None,
            title_justify="left",
            caption_justify="left",
            box=HEAVY_HEAD if boxed else None,
            show_header=any(self.headings),
            padding=(0, 1),
        )
        for k in shown:
            gives = k in self.names or k in self.words  # what a narrow terminal takes it from
            side: JustifyMethod = "left" if gives else "right"
            table.add_column(Text(self.headings[k]), justify=side, no_wrap=not gives)
        for row in self.rows:
            table.add_row(*(self._cell(k, row[k]) for k in shown))
        others = (h for k, h in enumerate(self.headings) if k not in shown)
        left_out = ", ".join(filter(None, others))
        hint = f"{left_out}: in a wider terminal, or by --json" if left_out else ""
        table.caption = (
            Text("; ".join(filter(None, (self.caption, hint)))) if hint or self.caption else None
        )
        return table

    def _cell(self, column: int, text: str) -> RenderableType:
        if column in self.names:
            return Name(text)
        return Words(text) if column in self.words else Text(text)
