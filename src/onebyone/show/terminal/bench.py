"""A bench as a table for a terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from onebyone.engines.spread import at_odds
from onebyone.show.terminal.table import Columns

if TYPE_CHECKING:
    from rich.console import RenderableType

    from onebyone.engines.machine import Machine
    from onebyone.engines.spread import Interval
    from onebyone.engines.timings import Bench, Row

__all__ = ["view"]


def view(bench: Bench) -> RenderableType:
    """The table, then a line for the machine and each engine."""
    engines = [list(rows) for _, rows in groupby(bench.rows, lambda row: row.engine)]
    told = [line for rows in engines for line in (_told(rows), *_at_odds(rows)) if line]
    lines = [_machine(bench.machine, bench.clock), *told, *bench.notes]
    return Group(*map(Text, bench.told), _table(bench), *map(Text, lines))


def _table(bench: Bench) -> RenderableType:
    names = {row.model for row in bench.rows}
    rows = [
        (row.engine, _short(row.model, names), *_cells(row, bench.machine)) for row in bench.rows
    ]
    headings = ("engine", "model", "ms", "ratio", "", "GMACs", "of peak", "quartiles, ms")
    return Columns("", headings, rows, names=(0, 1), words=(4,), kept=4)


def _short(path: str, paths: Collection[str]) -> str:
    """The name of a file, or its path where another one has the same name."""
    names = [Path(each).name for each in paths]
    name = Path(path).name
    return name if names.count(name) == 1 else path


def _cells(row: Row, machine: Machine) -> list[str]:
    macs = "" if row.macs is None else f"{row.macs / 1e9:.4g}"
    if row.time is None:
        return ["", "", f"not timed: {row.reason}", macs, "", ""]
    time, rate = row.time, row.gflops
    share = "" if rate is None else f"{rate * 1e9 / machine.peak:.0%}"
    ratio = "" if row.ratio is None else _shown(row.ratio)
    quartiles = f"{time.low * 1e3:.4g} to {time.high * 1e3:.4g}"
    return [f"{time.median * 1e3:.4g}", ratio, row.verdict, macs, share, quartiles]


def _shown(ratio: Interval) -> str:
    return f"{ratio.median:.3f}× [{ratio.low:.3f}, {ratio.high:.3f}]"


def _machine(machine: Machine, clock: str) -> str:
    kind = "wall clock" if clock == "wall" else "processor time"
    return (
        f"{machine.processor}, {machine.threads} of {machine.cores} threads, {kind}: "
        f"{machine.peak / 1e9:.0f} GFLOP/s in matrix products, "
        f"{machine.bandwidth / 1e9:.1f} GB/s copying (1 MAC = 2 FLOPs)"
    )


def _at_odds(rows: list[Row]) -> Iterator[str]:
    """Where the ratio is not that of the medians beside it: why."""
    first = next((row.time for row in rows if row.time is not None), None)
    for row in rows:
        if first is not None and row.time is not None and row.ratio is not None:
            why = at_odds(row.ratio, first.median, row.time.median)
            if why:
                yield f"{Path(row.model).name}: {why}"


def _told(rows: list[Row]) -> str:
    """What one engine's control allows to tell."""
    timed = [row for row in rows if row.control is not None]
    if not timed or timed[0].control is None:
        return ""
    control = timed[0].control
    line = (
        f"{timed[0].engine} {timed[0].version}: {Path(timed[0].model).name} against a second copy "
        f"of itself {_shown(control)} in {timed[0].rounds} rounds"
    )
    if "cannot tell" in (row.verdict for row in timed):
        line += "; smaller differences cannot be told: time longer, or on a quieter machine"
    return line
