"""What `onebyone.optimize` saves on real architectures, against what is claimed for it.

    python benchmarks/optimize.py                                   all models, exporters, shapes
    python benchmarks/optimize.py --models segformer-b0 resnet50 --exporters dynamo --json out.json
    python benchmarks/optimize.py --no-time                         MACs, certificates and tool only
    python benchmarks/optimize.py --peers --exporters torchscript --shapes fixed    beside others

For each export: MACs before and after, the certificate, the tool's own time and peak memory in a
fresh process; then the time of the original and of the optimised model, taken in turns, in ONNX
Runtime and OpenVINO with their default optimisations, and what the machine reached in the same run.
With `--peers` the same files go through the tools of `peers.py` too, and all are timed in turns.
Exits with 1 if any claim is not met (`claims.py`).
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

import peers
from claims import CLAIMS, Claim

from measure import (
    Timing,
    fresh,
    measure_machine,
    optimise_file,
    runtime_memory,
    time_pair,
)

if TYPE_CHECKING:  # at run time only where needed: torch would count in the workers' memory
    from models import Architecture
    from rich.table import Table

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


# ---------------------------------------------------------------- one job


def run_job(job: Job, options: argparse.Namespace) -> Outcome:
    """Export, optimise, count and time one job; what stops it becomes the outcome's `error`."""
    from models import ARCHITECTURES

    row = ARCHITECTURES[job.model]
    engines = [] if options.no_time else options.engines
    try:
        outcome = optimise_job(job, row, options.cache)
        if options.peers:
            return compare_job(outcome, row, options.cache, engines, options.seconds)
        return time_job(outcome, row, options.cache, engines, options.seconds)
    except Exception as error:  # one job must not stop the others; it is reported and exits 1
        line = " ".join(str(error).split())[:300]
        return Outcome(job, CLAIMS[job.model].text, error=f"{type(error).__name__}: {line}")


def paths(job: Job, cache: Path) -> tuple[Path, Path]:
    """The exported file (made if it is missing) and where its optimised twin goes."""
    from models import export

    source = export(job.model, job.exporter, job.dynamic, cache)
    return source, source.with_suffix(".optimised.onnx")


def optimise_job(job: Job, row: Architecture, cache: Path) -> Outcome:
    """The outcome without times."""
    source, target = paths(job, cache)
    result = fresh(optimise_file, source, target, row.inputs)
    before = fresh(peers.count_file, source, row.inputs)["macs"]
    after = fresh(peers.count_file, target, row.inputs)["macs"]
    operators = fresh(count_operators, target)
    claim = CLAIMS[job.model]
    outcome = Outcome(
        job,
        claim.text,
        model_bytes=source.stat().st_size,
        macs_before=before,
        macs_after=after,
        macs_met=claim.met(before, after),
        operators=operators,
        operators_met=claim.operators_met(operators),
        certificate=result["report"]["certificate"],
        laws=dict(Counter(law["law"] for law in result["report"]["laws"])),
        refusals=result["report"]["refusals"],
        tool_seconds=result["seconds"],
        tool_memory=result["memory"],
        runtime_memory=fresh(runtime_memory, source, row.inputs),
    )
    return replace(outcome, tool_met=tool_met(outcome, claim))


def count_operators(path: Path) -> dict[str, int]:
    """How many nodes of each operator work on feature maps, not on their sizes."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    values = (*graph.value_info, *graph.output)
    sizes = {v.name for v in values if v.type.tensor_type.elem_type == onnx.TensorProto.INT64}
    return dict(Counter(n.op_type for n in graph.node if not sizes.issuperset(n.output)))


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
    return judged(outcome, timings)


def compare_job(
    outcome: Outcome, row: Architecture, cache: Path, engines: Sequence[str], seconds: float
) -> Outcome:
    """The outcome with what the peers make of the same file; times are those of the same turns."""
    source, _ = paths(outcome.job, cache)
    made = peers.compare(source, row.inputs, engines, seconds / 2)
    own = next(one for one in made if one.tool == "onebyone")
    found = [peers.timing(engine, made[0], own) for engine in engines]
    timings = tuple(timing for timing in found if timing is not None)
    return judged(replace(outcome, peers=tuple(made)), timings)


def judged(outcome: Outcome, timings: tuple[Timing, ...]) -> Outcome:
    """The outcome with times, and which of the claims about them hold."""
    ratios = {t.engine: t.ratio for t in timings}
    met = CLAIMS[outcome.job.model].times_met(ratios, outcome.saved)
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
    if any(outcome.peers for outcome in outcomes):
        console.print(peers_table(outcomes))
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
        outcome.claim + verdict(outcome.macs_met and outcome.operators_met),
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


def peers_table(outcomes: Sequence[Outcome]) -> Table:
    """What each tool made of each file, one row each, and the losers too."""
    from rich.table import Table

    versions = peers.installed()
    table = Table("export", "tool", "GMACs", "nodes", "tool's time", "equal: error / bound")
    engines = [e for e in ENGINES if any(e in m.times for o in outcomes for m in o.peers)]
    for engine in engines:
        table.add_column(f"{engine}, ms, ratio [10%, 90%]")
    for outcome in outcomes:
        for made in outcome.peers:
            name = f"{made.tool} {versions.get(made.tool) or ''}".rstrip()
            table.add_row(*peer_cells(outcome.job.title, name, made, engines))
        table.add_section()
    return table


def peer_cells(title: str, name: str, made: peers.Made, engines: Sequence[str]) -> list[str]:
    """One tool and file as the cells of the table; what failed stands where it would have been."""
    from rich.markup import escape

    if "tool" in made.failures:
        return [title, name, "", "", "", escape(f"failed: {made.failures['tool']}")]
    failed = {stage: escape(line) for stage, line in made.failures.items()}
    return [
        title,
        name,
        failed.get("count") or f"{(made.macs or 0) / 1e9:.3f}",
        "" if made.nodes is None else str(made.nodes),
        "" if made.seconds is None else f"{made.seconds:.1f} s",
        failed.get("verify") or peer_proof(made),
        *(failed.get(engine) or peer_time(made.times.get(engine)) for engine in engines),
    ]


def peer_proof(made: peers.Made) -> str:
    """The error beside its bound; nothing for the original."""
    if made.error is None:
        return ""
    return f"{made.error:.1e} / {made.bound:.1e}{verdict(made.passed)}"


def peer_time(found: peers.Time | None) -> str:
    """A time, and the original's over it with its spread."""
    if found is None:
        return ""
    return f"{found.ms:.2f}, {found.ratio:.2f}× \\[{found.low:.2f}, {found.high:.2f}]"


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
    """The run as JSON: schema 1, the machine, the peers' versions, and one object for each job."""
    rows = [{**asdict(o), "saved": o.saved, "met": o.met} for o in outcomes]
    versions = peers.installed() if any(o.peers for o in outcomes) else {}
    whole = {"schema": 1, "machine": machine, "peers": versions, "rows": rows}
    return json.dumps(whole, indent=2)


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
    parser.add_argument("--peers", action="store_true", help="the same files by other tools too")
    parser.add_argument("--no-time", action="store_true", help="do not time the models")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each pair of models")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes there too")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="folder of the exports")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen jobs, one after the other; 1 if any claim is not met."""
    options = parse(arguments)
    machine = fresh(measure_machine)
    outcomes = []
    for job in chosen(options):
        print(job.title, end=": ", file=sys.stderr, flush=True)
        outcomes.append(run_job(job, options))
        print(verdict(outcomes[-1].met).strip(), file=sys.stderr, flush=True)
    show(outcomes, machine)
    if options.json is not None:
        options.json.write_text(to_json(outcomes, machine))
    return 0 if all(outcome.met for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
