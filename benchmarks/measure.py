"""What the benchmarks measure, each in a process of its own: memory, times, the machine.

Linux only: the peak memory is read from /proc.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
Shapes = Mapping[str, tuple[int, ...]]
Run = Callable[[], list[np.ndarray]]

THREADS = 2
WARM_UPS = 2
LEAST_ROUNDS, MOST_ROUNDS = 7, 101


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
    """The peak memory of one unoptimised run in ONNX Runtime beside the tool's libraries."""
    import onnxruntime

    import onebyone.optimize.run
    import onebyone.optimize.verify  # noqa: F401  # loaded for its libraries' size

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
