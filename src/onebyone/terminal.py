"""What a terminal, a pipe or a file is shown: results, and how far the work is.

Names in a model may hold anything: what does not print is shown as its escape.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import click

from onebyone.errors import OnebyoneError
from onebyone.show.terminal.page import Clean
from onebyone.show.terminal.text import READABLE
from onebyone.text import escaped

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType

    Progress = Callable[[str, int, int], None]

__all__ = ["emit", "outcome", "progress_bar", "readable", "say"]

# Wide enough for the tables when stdout is a pipe or a file and has no width of its own.
PIPE_WIDTH = 120
# Seconds between two looks of a bar that is drawn between timed rounds.
_REDRAWN = 0.2


class _Result(Protocol):
    def to_dict(self) -> dict[str, Any]: ...
    def __rich__(self) -> RenderableType: ...


def readable() -> None:
    """From now on a character that stdout or stderr cannot show has a stand-in there.

    What goes to a stdout that was closed goes nowhere.
    """
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=READABLE)


def say(line: str, stream: TextIO | None = None) -> None:
    """One line, which cannot steer the terminal; nothing where the stream was closed."""
    out = sys.stdout if stream is None else stream
    if out is not None:
        out.write(escaped(line) + "\n")
        out.flush()


def emit(result: _Result, as_json: bool) -> None:
    """Print a result on stdout, for a program or for a person."""
    if as_json:
        from onebyone.show.json import text

        print(text(result))
    else:
        _print(result)
    sys.stdout.flush()


def _print(result: RenderableType) -> None:
    from rich.console import Console

    # Rich would take 80 columns for a pipe, and break the lines of tables.
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    Console(width=width, emoji=False, highlight=False).print(Clean(result))


@contextmanager
def progress_bar(timed: bool = False, remaining: bool = False) -> Iterator[Progress | None]:
    """A progress bar on stderr, only where somebody is looking.

    It moves by itself, by a thread of its own; where something is `timed`, which that thread would
    disturb, only when it is told something. With `remaining` it says how long the rest will take.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bars
    from rich.progress import TimeElapsedColumn as Elapsed
    from rich.progress import TimeRemainingColumn as Remaining

    columns = [TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), Elapsed()]
    if remaining:
        columns += [TextColumn("left"), Remaining()]
    moving = () if timed else (SpinnerColumn("line"),)  # of ASCII
    tasks, drawn = {}, 0.0
    console = Console(stderr=True)
    with Bars(*moving, *columns, console=console, transient=True, auto_refresh=not timed) as bars:
        # Until the first stage: nobody knows how long that takes.
        reading = bars.add_task("reading", total=None)

        def advance(stage: str, done: int, total: int) -> None:
            nonlocal drawn
            bars.update(reading, visible=False)
            if stage not in tasks:
                tasks[stage] = bars.add_task(escape(escaped(stage)))
            bars.update(tasks[stage], completed=done, total=total)
            if timed and time.monotonic() - drawn > _REDRAWN:
                bars.refresh()
                drawn = time.monotonic()

        yield advance


def outcome(error: BaseException) -> tuple[str, int]:
    """What to say about an error, and the exit code that goes with it."""
    cause = error.__cause__
    if isinstance(cause, KeyboardInterrupt):
        error = cause  # Python wraps what is raised while a class is made: a module was loading
    match error:
        case OnebyoneError():
            return str(error), error.exit_code
        case click.UsageError(ctx=click.Context() as context):
            return f"{error.format_message()} (see {context.command_path} --help)", 2
        case click.ClickException():
            return error.format_message(), 2
        case KeyboardInterrupt() | click.Abort():
            return "interrupted", 130
        case MemoryError():
            return "out of memory: this takes more than the machine has", 3
        case RecursionError():
            return "the model nests too deeply", 3
        case ImportError():
            return f"broken installation: {error}: install onebyone again", 2
        case OSError():
            return str(error), 2
    # All other input was checked, so what is left is a model that onebyone did not foresee.
    hint = "set ONEBYONE_TRACEBACK=1 to see where, and report it"
    return f"cannot use this model: {type(error).__name__}: {error} ({hint})", 3
