"""What a bench found: a value, and its two forms (JSON and a terminal view)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onebyone.measure.machine import Machine
from onebyone.measure.spread import Interval, Spread, at_odds, verdict
from onebyone.show.shown import Shown
from onebyone.show.table import Columns

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Bench", "Row"]


@dataclass(frozen=True)
class Row:
    """A model in an engine.

    Args:
        engine, version: its name and version.
        model: the path as it was given.
        macs: of one run; None where they cannot be counted.
        rounds: how often it was timed.
        time: None if it was not timed: `reason` says why.
        ratio: time of the first model over its own; None for the first.
        control: the same for the first model against a second copy of itself.
        reason: why it was not timed.
    """

    engine: str
    version: str
    model: str
    macs: int | None
    rounds: int = 0
    time: Spread | None = None
    ratio: Interval | None = None
    control: Interval | None = None
    reason: str = ""

    @property
    def verdict(self) -> str:
        """ "faster", "slower", "cannot tell"; empty for the first model."""
        if self.ratio is None or self.control is None:
            return ""
        return verdict(self.ratio, self.control)

    @property
    def gflops(self) -> float | None:
        """GFLOP/s, two FLOPs for each MAC."""
        if self.macs is None or self.time is None:
            return None
        return 2 * self.macs / self.time.median / 1e9

    def to_dict(self, machine: Machine) -> dict[str, Any]:
        """As JSON; the share is of the machine's peak."""
        rate = self.gflops
        return {
            "engine": self.engine,
            "version": self.version,
            "model": self.model,
            "macs": self.macs,
            "rounds": self.rounds,
            "time": None if self.time is None else self.time.to_dict(),
            "gflops": rate,
            "share_of_peak": None if rate is None else rate * 1e9 / machine.peak,
            "ratio": None if self.ratio is None else self.ratio.to_dict(),
            "control": None if self.control is None else self.control.to_dict(),
            "verdict": self.verdict or None,
            "reason": self.reason,
        }


@dataclass(frozen=True, repr=False)
class Bench(Shown):
    """Models timed in engines.

    Args:
        machine: as measured in the same run.
        clock: "wall" or "cpu".
        rows: engine by engine, in each the models in the order given.
        notes: engines that were left out, and why.
        told: which sizes the models leave open and nobody gave, a line each.
    """

    machine: Machine
    clock: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    told: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON, schema 1 (docs/json.md)."""
        return {
            "schema": 1,
            "machine": self.machine.to_dict(),
            "clock": self.clock,
            "rows": [row.to_dict(self.machine) for row in self.rows],
            "notes": list(self.notes),
        }

    @property
    def summary(self) -> str:
        """Each model against the first, in each engine."""
        return "; ".join(_line(row) for row in self.rows)

    def __rich__(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        engines = [list(rows) for _, rows in groupby(self.rows, lambda row: row.engine)]
        told = [line for rows in engines for line in (_told(rows), *_at_odds(rows)) if line]
        lines = [_machine(self.machine, self.clock), *told, *self.notes]
        return Group(*map(Text, self.told), self._table(), *map(Text, lines))

    def _table(self) -> RenderableType:
        names = {row.model for row in self.rows}
        rows = [
            (row.engine, _short(row.model, names), *_cells(row, self.machine)) for row in self.rows
        ]
        headings = ("engine", "model", "ms", "ratio", "", "GMACs", "of peak", "quartiles, ms")
        return Columns("", headings, rows, names=(0, 1), words=(4,), kept=4)


def _line(row: Row) -> str:
    name = f"{Path(row.model).name} in {row.engine}"
    if row.time is None:
        return f"{name}: not timed"
    ratio = "" if row.ratio is None else f", {row.ratio.median:.2f}× ({row.verdict})"
    return f"{name}: {row.time.median * 1e3:.4g} ms{ratio}"


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
