"""What a bench found: a value, and its two forms (JSON and a terminal view)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onebyone.engines.machine import Machine
from onebyone.engines.spread import Interval, Spread, verdict
from onebyone.shown import Shown

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
        seconds: of each round, in their order.
        again: of the first model alone, the same of its second copy.
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
    seconds: tuple[float, ...] = ()
    again: tuple[float, ...] = ()

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
            "time": self.time and self.time.to_dict(),
            "gflops": rate,
            "share_of_peak": rate and rate * 1e9 / machine.peak,
            "ratio": self.ratio and self.ratio.to_dict(),
            "control": self.control and self.control.to_dict(),
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


def _line(row: Row) -> str:
    name = f"{Path(row.model).name} in {row.engine}"
    if row.time is None:
        return f"{name}: not timed"
    line = f"{name}: {row.time.median * 1e3:.4g} ms"
    if row.ratio is None:
        return line
    return f"{line}, {row.ratio.median:.2f}× ({row.verdict})"
