"""What `onebyone.optimize` saves on real architectures, against what is claimed for it.

    python benchmarks/optimize.py                                   all models, exporters, shapes
    python benchmarks/optimize.py --models segformer-b0 resnet50 --exporters dynamo --json out.json
    python benchmarks/optimize.py --no-time                         MACs, certificates and tool only

For each export: MACs before and after, the certificate, the tool's own time and peak memory in a
fresh process; then the time of the original and of the optimised model, taken in turns, in ONNX
Runtime and OpenVINO with their default optimisations, and what the machine reached in the same run.
Exits with 1 if any claim is not met.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import (
    Timing,
    count_macs,
    fresh,
    measure_machine,
    optimise_file,
    runtime_memory,
    time_pair,
)

if TYPE_CHECKING:  # at run time only where needed: torch would count in the workers' memory
    from models import Architecture, Claim

ENGINES = ("onnxruntime", "openvino")
MEMORY_LIMIT = 3.0  # × the model's size, beyond what libraries and runtime take to run it


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
    """What one job gave; memory and sizes in bytes. `error` names what stopped it, if anything."""

    job: Job
    claim: str
    model_bytes: int = 0
    macs_before: int = 0
    macs_after: int = 0
    macs_met: bool = False
    certificate: Mapping[str, Any] | None = None
    laws: Mapping[str, int] | None = None
    refusals: Sequence[Mapping[str, Any]] = ()
    tool_seconds: float = 0.0
    tool_memory: int = 0
    runtime_memory: int = 0
    tool_met: bool | None = None
    timings: tuple[Timing, ...] = ()
    times_met: Mapping[str, bool | None] | None = None
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
            and self.tool_met is not False
            and False not in times.values()
        )


# ---------------------------------------------------------------- one job


def run_job(job: Job, cache: Path, engines: Sequence[str], seconds: float) -> Outcome:
    """Export, optimise, count and time one job; what stops it becomes the outcome's `error`."""
    from models import ARCHITECTURES

    row = ARCHITECTURES[job.model]
    try:
        outcome = optimise_job(job, row, cache)
        return time_job(outcome, row, cache, engines, seconds) if engines else outcome
    except Exception as error:  # one job must not stop the others; it is reported and exits 1
        line = " ".join(str(error).split())[:300]
        return Outcome(job, row.claim.text, error=f"{type(error).__name__}: {line}")


def paths(job: Job, cache: Path) -> tuple[Path, Path]:
    """The exported file (made if it is missing) and where its optimised twin goes."""
    from models import export

    source = export(job.model, job.exporter, job.dynamic, cache)
    return source, source.with_suffix(".optimised.onnx")


def optimise_job(job: Job, row: Architecture, cache: Path) -> Outcome:
    """The outcome without times."""
    source, target = paths(job, cache)
    result = fresh(optimise_file, source, target, row.inputs)
    before = fresh(count_macs, source, row.inputs)
    after = fresh(count_macs, target, row.inputs)
    outcome = Outcome(
        job,
        row.claim.text,
        model_bytes=source.stat().st_size,
        macs_before=before,
        macs_after=after,
        macs_met=row.claim.met(before, after),
        certificate=result["report"]["certificate"],
        laws=dict(Counter(law["law"] for law in result["report"]["laws"])),
        refusals=result["report"]["refusals"],
        tool_seconds=result["seconds"],
        tool_memory=result["memory"],
        runtime_memory=fresh(runtime_memory, source, row.inputs),
    )
    return replace(outcome, tool_met=tool_met(outcome, row.claim))


def memory_ratio(outcome: Outcome) -> float:
    """The tool's memory beyond the runtime's own, over the model's size."""
    return (outcome.tool_memory - outcome.runtime_memory) / outcome.model_bytes


def tool_met(outcome: Outcome, claim: Claim) -> bool | None:
    """Whether the tool was as fast and as small as claimed; None where nothing is claimed."""
    if claim.seconds is None:
        return None
    return outcome.tool_seconds < claim.seconds and memory_ratio(outcome) < MEMORY_LIMIT


def time_job(
    outcome: Outcome, row: Architecture, cache: Path, engines: Sequence[str], seconds: float
) -> Outcome:
    """The outcome with the times of both models in each engine."""
    source, target = paths(outcome.job, cache)
    timings = tuple(fresh(time_pair, e, source, target, row.inputs, seconds) for e in engines)
    met = {t.engine: row.claim.ratio_met(t.engine, t.ratio) for t in timings}
    return replace(outcome, timings=timings, times_met=met)


# ---------------------------------------------------------------- showing


def verdict(met: bool | None) -> str:
    """A claim's mark in the table; nothing where nothing is claimed."""
    return {True: " met", False: " NOT met", None: ""}[met]


def show(outcomes: Sequence[Outcome], machine: Mapping[str, Any]) -> None:
    """Print the table, the notes of the models, and the refusals where nothing was saved."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 200)
    table = Table("export", "GMACs", "saved", "claim", "error / bound", "tool", "laws")
    for engine in sorted({t.engine for o in outcomes for t in o.timings}):
        table.add_column(f"{engine}, ms → ms, ratio [10%, 90%]")
    for outcome in outcomes:
        table.add_row(*cells(outcome))
    console.print(table)
    console.print(
        f"{machine['processor']}: sgemm {machine['sgemm_gflops']:.0f} GFLOP/s, dgemm "
        f"{machine['dgemm_gflops']:.0f} GFLOP/s, copy {machine['copy_gb_per_s']:.1f} GB/s",
        highlight=False,
    )
    for line in [*notes(outcomes), *refusals(outcomes)]:
        console.print(line, highlight=False, markup=False)


def cells(outcome: Outcome) -> list[str]:
    """One outcome as the cells of the table."""
    title = outcome.job.title
    if outcome.error is not None:
        return [title, "", "", f"{outcome.claim} NOT met", outcome.error]
    certificate = outcome.certificate or {}
    return [
        title,
        f"{outcome.macs_before / 1e9:.3f} → {outcome.macs_after / 1e9:.3f}",
        f"{outcome.saved:.1%}",
        outcome.claim + verdict(outcome.macs_met),
        f"{certificate['max_abs_error']:.1e} / {certificate['bound']:.1e}"
        + verdict(certificate["passed"]),
        f"{outcome.tool_seconds:.1f} s, {outcome.tool_memory / 2**20:.0f} MiB "
        f"({memory_ratio(outcome):.1f}× model){verdict(outcome.tool_met)}",
        ", ".join(f"{law} {n}" for law, n in (outcome.laws or {}).items()),
        *(time_cell(t, outcome) for t in sorted(outcome.timings, key=lambda t: t.engine)),
    ]


def time_cell(timing: Timing, outcome: Outcome) -> str:
    """One engine's times, their ratio with its spread, and its claim's mark."""
    return (
        f"{timing.original_ms:.2f} → {timing.optimised_ms:.2f}, {timing.ratio:.2f}× "
        f"\\[{timing.low:.2f}, {timing.high:.2f}]"
        + verdict((outcome.times_met or {})[timing.engine])
    )


def notes(outcomes: Sequence[Outcome]) -> list[str]:
    """What an exporter could not follow, once for each model shown."""
    from models import ARCHITECTURES

    names = dict.fromkeys(outcome.job.model for outcome in outcomes)
    return [f"{n}: {ARCHITECTURES[n].note}" for n in names if ARCHITECTURES[n].note]


def refusals(outcomes: Sequence[Outcome]) -> list[str]:
    """The refusals of exports on which nothing was saved, the same reasons counted together."""
    lines = []
    for outcome in outcomes:
        if outcome.error is None and outcome.macs_after == outcome.macs_before:
            reasons = Counter((r["law"], r["reason"]) for r in outcome.refusals)
            lines += [
                f"{outcome.job.title}: {law} refused {n} times: {why}"
                for (law, why), n in reasons.most_common()
            ]
    return lines


def to_json(outcomes: Sequence[Outcome], machine: Mapping[str, Any]) -> str:
    """The run as JSON: schema 1, the machine, and one object for each job."""
    rows = [{**asdict(o), "saved": o.saved, "met": o.met} for o in outcomes]
    return json.dumps({"schema": 1, "machine": machine, "rows": rows}, indent=2)


# ---------------------------------------------------------------- command line


def chosen(options: argparse.Namespace) -> list[Job]:
    """The jobs that the command line asks for."""
    kinds = {"fixed": [False], "dynamic": [True], "both": [False, True]}[options.shapes]
    return [Job(m, e, d) for m in options.models for e in options.exporters for d in kinds]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; see the module's docstring."""
    from models import ARCHITECTURES, DEFAULT_CACHE, EXPORTERS

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    parser.add_argument("--exporters", nargs="+", choices=EXPORTERS, default=list(EXPORTERS))
    parser.add_argument("--shapes", choices=["fixed", "dynamic", "both"], default="both")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--no-time", action="store_true", help="do not time the models")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each pair of models")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes there too")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="folder of the exports")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen jobs, one after the other; 1 if any claim is not met."""
    options = parse(arguments)
    engines = [] if options.no_time else options.engines
    machine = fresh(measure_machine)
    outcomes = []
    for job in chosen(options):
        print(job.title, file=sys.stderr, flush=True)
        outcomes.append(run_job(job, options.cache, engines, options.seconds))
    show(outcomes, machine)
    if options.json is not None:
        options.json.write_text(to_json(outcomes, machine))
    return 0 if all(outcome.met for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
