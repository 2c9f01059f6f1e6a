"""What `onebyone.optimize` saves on real architectures, against what is claimed for it.

    python benchmarks/optimize.py                                   all models, exporters, shapes
    python benchmarks/optimize.py --models segformer-b0 resnet50 --exporters dynamo --json out.json
    python benchmarks/optimize.py --no-time                         MACs, certificates and tool only

For each export: MACs before and after, the certificate, the tool's own time and peak memory in a
fresh process; then the time of the original and of the optimised model, taken in turns, in ONNX
Runtime and OpenVINO with their default optimisations, and what the machine reached in the same run.
Exits with 1 if any claim is not met. Linux only: the peak memory is read from /proc.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:  # at run time only where needed: torch would count in the workers' memory
    from models import Architecture, Claim

T = TypeVar("T")
Shapes = Mapping[str, tuple[int, ...]]
Run = Callable[[], list[np.ndarray]]

ENGINES = ("onnxruntime", "openvino")
THREADS = 2
WARM_UPS = 2
LEAST_ROUNDS, MOST_ROUNDS = 7, 101
MEMORY_LIMIT = 3.0  # × the model's size, beyond what the runtime itself takes to run it


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
class Timing:
    """Two models in one engine: median milliseconds, their ratio, and the ratio's spread.

    `low` and `high` are the 10th and 90th percentile of the ratios of single rounds; `difference`
    is the largest difference of the outputs over the largest output.
    """

    engine: str
    original_ms: float
    optimised_ms: float
    ratio: float
    low: float
    high: float
    rounds: int
    difference: float


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


# ---------------------------------------------------------------- in a fresh process


def fresh(function: Callable[..., T], *arguments: Any) -> T:
    """`function(*arguments)` in a new process, so that its memory is its own."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(function, *arguments).result()


def peak_memory() -> int:
    """The largest resident size of this process so far, in bytes."""
    # ru_maxrss would do if it did not carry over what the parent had when it forked.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM; the benchmark needs Linux")


def optimise_file(source: Path, target: Path, shapes: Shapes) -> dict[str, Any]:
    """Optimise and verify `source`, write `target`; seconds, peak memory, and the report."""
    import onebyone

    start = time.perf_counter()
    optimised = onebyone.optimize(source, shapes=shapes)
    onebyone.write(optimised.model, target)
    seconds = time.perf_counter() - start
    memory = peak_memory()
    return {"seconds": seconds, "memory": memory, "report": optimised.report.to_dict()}


def count_macs(path: Path, shapes: Shapes) -> int:
    """The MACs of a file at `shapes`."""
    import onebyone

    return int(onebyone.count(path, shapes=shapes).macs)


def runtime_memory(source: Path, shapes: Shapes) -> int:
    """The peak memory of one unoptimised run in ONNX Runtime, in bytes."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    session.run(None, draw(shapes))
    return peak_memory()


def time_pair(
    engine: str, original: Path, optimised: Path, shapes: Shapes, seconds: float
) -> Timing:
    """Run both models in turns for about `seconds` (at least 7 rounds)."""
    load = {"onnxruntime": load_onnxruntime, "openvino": load_openvino}[engine]
    inputs = draw(shapes)
    runs = (load(original, inputs), load(optimised, inputs))
    difference = largest_difference(runs[0](), runs[1]())
    times = take_turns(runs, seconds)
    first, second = (statistics.median(one) * 1e3 for one in times)
    ratios = [a / b for a, b in zip(*times, strict=True)]
    low, high = np.quantile(ratios, [0.1, 0.9])
    return Timing(
        engine=engine,
        original_ms=first,
        optimised_ms=second,
        ratio=first / second,
        low=float(low),
        high=float(high),
        rounds=len(ratios),
        difference=difference,
    )


def draw(shapes: Shapes) -> dict[str, np.ndarray]:
    """Standard normal float32 inputs, the same at each call."""
    random = np.random.default_rng(0)
    return {n: random.standard_normal(s, dtype=np.float32) for n, s in shapes.items()}


@functools.cache
def share_threads() -> None:
    """Let all ONNX Runtime sessions of this process use one pool of threads."""
    import onnxruntime

    # With a pool for each session, the one that just ran still spins on the cores while the other
    # is timed: a model against itself then measured 0.5× to 1.9×.
    onnxruntime.set_global_thread_pool_sizes(THREADS, 1)


def load_onnxruntime(path: Path, inputs: Mapping[str, np.ndarray]) -> Run:
    """A call that runs the model at `path` on `inputs` in ONNX Runtime."""
    import onnxruntime

    share_threads()
    options = onnxruntime.SessionOptions()
    options.use_per_session_threads = False
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, dict(inputs))


def load_openvino(path: Path, inputs: Mapping[str, np.ndarray]) -> Run:
    """A call that runs the model at `path` on `inputs` in OpenVINO, in float32."""
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": THREADS,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    request = compiled.create_infer_request()
    return lambda: list(request.infer(dict(inputs)).values())


def largest_difference(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> float:
    """The largest difference of paired outputs, over the largest value of the first."""
    pairs = list(zip(first, second, strict=True))
    scale = max(float(np.abs(a).max()) for a, _ in pairs)
    return max(float(np.abs(a - b).max()) for a, b in pairs) / scale


def take_turns(runs: Sequence[Run], seconds: float) -> tuple[list[float], ...]:
    """Seconds of each run, round by round, the order turned round each time."""
    for run in [*runs] * WARM_UPS:
        run()
    times: tuple[list[float], ...] = tuple([] for _ in runs)
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < LEAST_ROUNDS or (rounds < MOST_ROUNDS and time.perf_counter() < end):
        order = range(len(runs)) if rounds % 2 == 0 else reversed(range(len(runs)))
        for index in order:
            start = time.perf_counter()
            runs[index]()
            times[index].append(time.perf_counter() - start)
        rounds += 1
    return times


def measure_machine() -> dict[str, Any]:
    """What this machine reaches now: GEMM in GFLOP/s (two precisions), copy in GB/s."""
    import onnxruntime

    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "sgemm_gflops": gemm_rate(np.float32),
        "dgemm_gflops": gemm_rate(np.float64),
        "copy_gb_per_s": copy_rate(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
    }


def processor() -> str:
    """The processor's name as the kernel gives it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def gemm_rate(dtype: type[np.floating[Any]], size: int = 1536) -> float:
    """The best of five square matrix products through NumPy's BLAS, in GFLOP/s."""
    a = np.ones((size, size), dtype)
    out = np.empty_like(a)
    return 2 * size**3 / best_of(lambda: np.matmul(a, a, out=out)) / 1e9


def copy_rate(size: int = 1 << 27) -> float:
    """The best of five copies of 128 MiB; bytes read and bytes written both count, in GB/s."""
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    return 2 * size / best_of(lambda: np.copyto(target, source)) / 1e9


def best_of(run: Callable[[], Any], times: int = 5) -> float:
    """The least seconds of several calls, after one that does not count."""
    run()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return min(taken)


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
