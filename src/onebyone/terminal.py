"""What a terminal, a pipe or a file is shown: results, and how far the work is.

Names in a model may hold anything: what does not print is shown as its escape.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console, ConsoleOptions, RenderResult

    Progress = Callable[[str, int, int], None]

__all__ = ["emit", "escaped", "progress_bar"]

# Wide enough for the tables when stdout is a pipe or a file and has no width of its own.
PIPE_WIDTH = 120


class _Result(Protocol):
    def to_dict(self) -> dict[str, Any]: ...


def emit(result: _Result, as_json: bool) -> None:
    """Print a result on stdout, for a program or for a person."""
    if as_json:
        import json

        click.echo(json.dumps(_finite(result.to_dict()), indent=2, allow_nan=False))
    else:
        _print(result)


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN: they become null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def _print(result: object) -> None:
    from rich.console import Console

    if hasattr(sys.stdout, "reconfigure"):
        # A terminal that cannot show × shows its escape instead of failing.
        sys.stdout.reconfigure(errors="backslashreplace")
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    Console(width=width, emoji=False, highlight=False).print(_Shown(result))


class _Shown:
    """A rich renderable whose text cannot steer the terminal: control characters are escaped."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.inner, options):
            text = segment.text if segment.control else escaped(segment.text, keep="\n")
            yield segment._replace(text=text)


def escaped(text: str, keep: str = "") -> str:
    r"""Every character that does not print becomes its escape.

    >>> print(escaped("conv\x1b[2J\n"))
    conv\x1b[2J\n
    """
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text
    )


@contextmanager
def progress_bar() -> Iterator[Progress | None]:
    """A progress bar on stderr, only where somebody is looking."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress as Bars

    tasks = {}
    with Bars(console=Console(stderr=True), transient=True) as bars:

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(escape(escaped(stage)))
            bars.update(tasks[stage], completed=done, total=total)

        yield advance
