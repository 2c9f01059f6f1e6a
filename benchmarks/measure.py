"""What the benchmarks measure, each in a process of its own: memory, times, the machine.

Linux only: the peak memory is read from /proc.
"""

from __future__ import annotations

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

from onebyone.engines.engine import Run, engine
from onebyone.engines.machine import copy_rate, gemm_rate, processor
from onebyone.engines.turns import take_turns

T = TypeVar("T")
Shapes = Mapping[str, tuple[int, ...]]

THREADS = 2


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


def optimise_file(
    source: Path, target: Path, shapes: Shapes, profile: Path | None = None
) -> dict[str, Any]:
    """Optimise and verify `source`, write `target`; seconds, peak memory, and the report."""
    import onebyone

    start = time.perf_counter()
    optimised = onebyone.optimize(source, shapes=shapes, profile=profile)
    onebyone.write(optimised.model, target)
    seconds = time.perf_counter() - start
    memory = peak_memory()
    return {"seconds": seconds, "memory": memory, "report": optimised.report.to_dict()}


def runtime_memory(source: Path, shapes: Shapes) -> int:
    """The peak memory of one unoptimised run in ONNX Runtime beside the tool's libraries."""
    import onnxruntime

    import onebyone.optimize.run
    import onebyone.verify.verify  # noqa: F401  # loaded for its libraries' size

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    session.run(None, draw(shapes))
    return peak_memory()


def time_pair(name: str, original: Path, optimised: Path, shapes: Shapes, seconds: float) -> Timing:
    """Run both models in turns for about `seconds` (at least 9 rounds)."""
    inputs, row = draw(shapes), engine(name)
    runs = [row.load(path, inputs, THREADS) for path in (original, optimised)]
    difference = largest_difference(runs[0](), runs[1]())
    times = take_turns(runs, seconds)
    first, second = (statistics.median(one) * 1e3 for one in times)
    ratios = [a / b for a, b in zip(*times, strict=True)]
    low, high = np.quantile(ratios, [0.1, 0.9])
    return Timing(
        engine=name,
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


def load_onnxruntime(path: Path, inputs: Mapping[str, np.ndarray]) -> Run:
    """A call that runs the model at `path` on `inputs` in ONNX Runtime."""
    return engine("onnxruntime").load(path, inputs, THREADS)


def load_openvino(path: Path, inputs: Mapping[str, np.ndarray]) -> Run:
    """A call that runs the model at `path` on `inputs` in OpenVINO, in float32."""
    return engine("openvino").load(path, inputs, THREADS)


def largest_difference(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> float:
    """The largest difference of paired outputs, over the largest value of the first."""
    pairs = list(zip(first, second, strict=True))
    scale = max(float(np.abs(a).max()) for a, _ in pairs)
    return max(float(np.abs(a - b).max()) for a, b in pairs) / scale


def measure_machine() -> dict[str, Any]:
    """What this machine reaches now: GEMM in GFLOP/s (two precisions), copy in GB/s."""
    import onnxruntime

    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "sgemm_gflops": gemm_rate(np.float32, THREADS) / 1e9,
        "dgemm_gflops": gemm_rate(np.float64, THREADS) / 1e9,
        "copy_gb_per_s": copy_rate(THREADS) / 1e9,
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "python": platform.python_version(),
    }
