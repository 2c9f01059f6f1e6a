"""Outcomes: what one export gave, as values, and a run of them as JSON to take up again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import peers
from measure import Timing

__all__ = ["Job", "Outcome", "load", "memory_ratio", "save"]


@dataclass(frozen=True)
class Job:
    """One export to optimise: a model's name, an exporter, free or fixed axes."""

    model: str
    exporter: str
    dynamic: bool

    @property
    def title(self) -> str:
        return f"{self.model} {self.exporter} {'dynamic' if self.dynamic else 'fixed'}"


@dataclass(frozen=True)
class Outcome:
    """What one job gave; memory and sizes in bytes. `error` names what stopped it, if anything.

    `wall` are the seconds that all of it took, tools, proofs and times.
    """

    job: Job
    claim: str
    model_bytes: int = 0
    macs_before: int = 0
    macs_after: int = 0
    macs_met: bool = False
    operators: Mapping[str, int] | None = None
    operators_met: bool = False
    certificate: Mapping[str, Any] | None = None
    laws: Mapping[str, int] | None = None
    refusals: Sequence[Mapping[str, Any]] = ()
    tool_seconds: float = 0.0
    tool_memory: int = 0
    runtime_memory: int = 0
    tool_met: bool | None = None
    timings: tuple[Timing, ...] = ()
    times_met: Mapping[str, bool | None] | None = None
    peers: tuple[peers.Made, ...] = ()
    wall: float = 0.0
    error: str | None = None

    @property
    def saved(self) -> float:
        """The share of the MACs that was saved."""
        return 1 - self.macs_after / self.macs_before if self.macs_before else 0.0

    @property
    def met(self) -> bool:
        """Whether nothing that is claimed for the job failed; what was not run does not count."""
        times = self.times_met or {}
        passed = self.certificate is not None and bool(self.certificate["passed"])
        return (
            self.error is None
            and passed
            and self.macs_met
            and self.operators_met
            and self.tool_met is not False
            and False not in times.values()
        )

    def covers(self, engines: Sequence[str], with_peers: bool) -> bool:
        """Whether there is nothing left to run: no error, timed in all engines, beside the peers.

        >>> Outcome(Job("chain", "dynamo", False), "4× to 1×").covers([], with_peers=True)
        False
        """
        timed = {timing.engine for timing in self.timings}
        return self.error is None and timed.issuperset(engines) and bool(self.peers) >= with_peers


def memory_ratio(outcome: Outcome) -> float:
    """The tool's memory beyond the runtime's own, over the model's size."""
    return (outcome.tool_memory - outcome.runtime_memory) / outcome.model_bytes


def save(path: Path, outcomes: Sequence[Outcome], machine: Mapping[str, Any]) -> None:
    """Write a run as JSON, the old file or the whole new one.

    Schema 1: the machine, the peers' versions, and one object for each job.
    """
    rows = [{**asdict(o), "saved": o.saved, "met": o.met} for o in outcomes]
    versions = peers.installed() if any(o.peers for o in outcomes) else {}
    whole = {"schema": 1, "machine": machine, "peers": versions, "rows": rows}
    beside = path.with_name(f"{path.name}.partial")
    beside.write_text(json.dumps(whole, indent=2))
    os.replace(beside, path)


def load(path: Path) -> list[Outcome]:
    """The outcomes that `save` wrote."""
    return [_outcome(row) for row in json.loads(path.read_text())["rows"]]


def _outcome(row: Mapping[str, Any]) -> Outcome:
    plain = {key: value for key, value in row.items() if key not in ("saved", "met")}
    return Outcome(
        **{
            **plain,
            "job": Job(**row["job"]),
            "refusals": tuple(row["refusals"]),
            "timings": tuple(Timing(**each) for each in row["timings"]),
            "peers": tuple(_made(each) for each in row["peers"]),
        }
    )


def _made(row: Mapping[str, Any]) -> peers.Made:
    times = {engine: peers.Time(**time) for engine, time in row["times"].items()}
    return peers.Made(**{**row, "times": times})
