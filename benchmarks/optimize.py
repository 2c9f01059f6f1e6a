"""What `onebyone.optimize` saves on real architectures, against what is claimed for it.

    python benchmarks/optimize.py                                   all models, exporters, shapes
    python benchmarks/optimize.py --models segformer-b0 resnet50 --exporters dynamo --json out.json
    python benchmarks/optimize.py --no-time                         MACs, certificates and tool only
    python benchmarks/optimize.py --peers --exporters torchscript --shapes fixed    beside others
    python benchmarks/optimize.py … --json out.json --resume        only what out.json lacks
    python benchmarks/optimize.py --engines openvino --profile here.json      decided for an engine

For each export: MACs before and after, the certificate, the tool's own time and peak memory in a
fresh process; then the time of the original and of the optimised model, taken in turns, in ONNX
Runtime and OpenVINO with their default optimisations, and what the machine reached in the same run.
With `--peers` the same files go through the tools of `peers.py` too, and all are timed in turns.
The JSON is written after each row. With `--resume`, rows that it has are not run again, and proofs
of files whose bytes are still the same are taken from it: they need no quiet machine, so a run with
`--no-time` can go before the one that takes times.
Exits with 1 if any claim is not met (`claims.py`).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import outcomes as kept
import peers
from claims import CLAIMS, Claim
from measure import (
    Shapes,
    Timing,
    fresh,
    measure_machine,
    optimise_file,
    runtime_memory,
    time_pair,
)
from outcomes import Job, Outcome, memory_ratio
from tables import markdown, show, verdict

if TYPE_CHECKING:  # at run time only where needed: torch would count in the workers' memory
    from models import Architecture

ENGINES = ("onnxruntime", "openvino")
ROW_SECONDS, TOOL_SECONDS = 10.0, 4.0  # of a row and of each file in it, without times, roughly
MEMORY_LIMIT = 3.0  # × the model's size, beyond what libraries and runtime take to run it


# ---------------------------------------------------------------- one job


def run_job(job: Job, options: argparse.Namespace, proofs: peers.Proofs) -> Outcome:
    """Export, optimise, count and time one job; what stops it becomes the outcome's `error`."""
    from models import ARCHITECTURES

    row, start = ARCHITECTURES[job.model], time.perf_counter()
    engines = [] if options.no_time else options.engines
    try:
        outcome = optimise_job(job, row, options.cache, options.profile)
        if options.peers:
            outcome = compare_job(outcome, row, options.cache, engines, options.seconds, proofs)
        else:
            outcome = time_job(outcome, row, options.cache, engines, options.seconds)
    except Exception as error:  # one job must not stop the others; it is reported and exits 1
        outcome = Outcome(job, CLAIMS[job.model].text, error=peers.one_line(error))
    return replace(outcome, wall=time.perf_counter() - start)


def paths(job: Job, cache: Path) -> tuple[Path, Path]:
    """The exported file (made if it is missing) and where its optimised twin goes."""
    from models import export

    source = export(job.model, job.exporter, job.dynamic, cache)
    return source, source.with_suffix(".optimised.onnx")


def optimise_job(job: Job, row: Architecture, cache: Path, profile: Path | None = None) -> Outcome:
    """The outcome without times."""
    source, target = paths(job, cache)
    result = fresh(optimise_file, source, target, row.inputs, profile)
    before, after = fresh(count_macs, [source, target], row.inputs)
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
        refusals=tuple(result["report"]["refusals"]),
        tool_seconds=result["seconds"],
        tool_memory=result["memory"],
        runtime_memory=fresh(runtime_memory, source, row.inputs),
    )
    return replace(outcome, tool_met=tool_met(outcome, claim))


def count_macs(paths: Sequence[Path], shapes: Shapes) -> list[int]:
    """The MACs of each file."""
    return [peers.count_file(path, shapes)["macs"] for path in paths]


def count_operators(path: Path) -> dict[str, int]:
    """How many nodes of each operator work on feature maps, not on their sizes."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    values = (*graph.value_info, *graph.output)
    sizes = {v.name for v in values if v.type.tensor_type.elem_type == onnx.TensorProto.INT64}
    return dict(Counter(n.op_type for n in graph.node if not sizes.issuperset(n.output)))


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
    outcome: Outcome,
    row: Architecture,
    cache: Path,
    engines: Sequence[str],
    seconds: float,
    proofs: peers.Proofs,
) -> Outcome:
    """The outcome with what the peers make of the same file; times are those of the same turns."""
    source, _ = paths(outcome.job, cache)
    made = peers.compare(source, row.inputs, engines, seconds / 2, proofs)
    own = next(one for one in made if one.tool == "onebyone")
    found = [peers.timing(engine, made[0], own) for engine in engines]
    timings = tuple(timing for timing in found if timing is not None)
    return judged(replace(outcome, peers=tuple(made)), timings)


def judged(outcome: Outcome, timings: tuple[Timing, ...]) -> Outcome:
    """The outcome with times, and which of the claims about them hold."""
    ratios = {t.engine: t.ratio for t in timings}
    met = CLAIMS[outcome.job.model].times_met(ratios, outcome.saved)
    return replace(outcome, timings=timings, times_met=met)


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
    parser.add_argument(
        "--profile", type=Path, metavar="FILE", help="what `onebyone profile` wrote"
    )
    parser.add_argument("--no-time", action="store_true", help="do not time the models")
    parser.add_argument("--seconds", type=float, default=4.0, help="time for each pair of models")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the outcomes, after each row")
    parser.add_argument("--resume", action="store_true", help="only what the JSON does not have")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="a table of all tools")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="folder of the exports")
    options = parser.parse_args(arguments)
    if options.resume and options.json is None:
        parser.error("--resume needs --json FILE")
    if options.profile is not None and options.peers:
        parser.error("--peers compares defaults: leave --profile out")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen jobs, one after the other; 1 if any claim is not met."""
    options = parse(arguments)
    machine = fresh(measure_machine)
    before = kept.load(options.json) if options.resume and options.json.exists() else []
    jobs, found = chosen(options), {outcome.job: outcome for outcome in before}
    todo = [job for job in jobs if not (job in found and finished(found[job], options))]
    print(f"{len(todo)} of {len(jobs)} rows, {estimate(options, len(todo))}", file=sys.stderr)
    proofs = peers.proofs(one for outcome in before for one in outcome.peers)
    for number, job in enumerate(todo, 1):
        print(f"{number} of {len(todo)}: {job.title}: ", end="", file=sys.stderr, flush=True)
        found[job] = run_job(job, options, proofs)
        ended = f"{verdict(found[job].met).strip()}, {found[job].wall:.0f} s"
        print(ended, file=sys.stderr, flush=True)
        if options.json is not None:
            kept.save(options.json, list(found.values()), machine)
    outcomes = [found[job] for job in jobs]
    show(outcomes, machine)
    if options.markdown is not None:
        options.markdown.write_text(markdown(outcomes))
    return 0 if all(outcome.met for outcome in outcomes) else 1


def finished(outcome: Outcome, options: argparse.Namespace) -> bool:
    """Whether an outcome of an earlier run has all that is asked for now."""
    return outcome.covers([] if options.no_time else options.engines, options.peers)


def estimate(options: argparse.Namespace, rows: int) -> str:
    """About how long so many rows take, in words."""
    files = len(peers.TOOLS) + 1 if options.peers else 2
    engines = 0 if options.no_time else len(options.engines)
    each = ROW_SECONDS + files * (TOOL_SECONDS + engines * options.seconds / 2)
    return f"about {rows * each / 60:.0f} min"


if __name__ == "__main__":
    sys.exit(main())
