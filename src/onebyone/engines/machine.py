"""What this machine reaches: products of matrices in GFLOP/s, copies in GB/s."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from onebyone.engines.engine import ENGINES, engine
from onebyone.engines.single_operators import matmul
from onebyone.engines.turns import best_of

__all__ = ["Machine", "copy_rate", "gemm_rate", "measure_machine", "processor", "usable_cores"]

Clock = Callable[[], float]


@dataclass(frozen=True)
class Machine:
    """A machine as it was found.

    Args:
        processor: its name.
        cores: how many this process may use.
        threads: how many were used.
        peak: float32 operations a second in a product of matrices, two for each multiply-add.
        bandwidth: bytes a second of a copy, read and written ones together.
    """

    processor: str
    cores: int
    threads: int
    peak: float
    bandwidth: float

    def best(self, other: Machine) -> Machine:
        """The higher rates of two measurements: what else the machine did only lowers them."""
        peak = max(self.peak, other.peak)
        return replace(self, peak=peak, bandwidth=max(self.bandwidth, other.bandwidth))

    def to_dict(self) -> dict[str, Any]:
        """In GFLOP/s and GB/s."""
        rest = asdict(self)
        rates = {"peak_gflops": rest.pop("peak") / 1e9}
        return {**rest, **rates, "bandwidth_gb_per_s": rest.pop("bandwidth") / 1e9}


def measure_machine(
    threads: int, engines: Sequence[str] = ("onnxruntime",), *, clock: Clock = perf_counter
) -> Machine:
    """Measure this machine on a number of threads; the peak is the best that any engine reaches."""
    # LiteRT runs no ONNX file: where it is alone, ONNX Runtime says what the machine reaches.
    products = [e for e in engines if ENGINES[e].suffix == ".onnx"] or ["onnxruntime"]
    peak = max(gemm_rate(np.float32, threads, e, clock=clock) for e in products)
    bandwidth = copy_rate(threads, clock=clock)
    return Machine(processor(), usable_cores(), threads, peak, bandwidth)


def processor() -> str:
    """The processor's name as the kernel gives it, or its family where it gives none."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def usable_cores() -> int:
    """How many cores this process may run on."""
    # A container, or taskset, may leave a process fewer cores than the machine has.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def gemm_rate(
    dtype: npt.DTypeLike,
    threads: int,
    name: str = "onnxruntime",
    size: int = 1024,
    *,
    clock: Clock = perf_counter,
) -> float:
    """Operations a second in the best of five square products of matrices, in an engine."""
    ones = np.ones((size, size), dtype)
    run = engine(name).load(matmul(ones), {"h0": ones}, threads)
    return 2 * size**3 / best_of(run, clock=clock)


def copy_rate(threads: int, size: int = 1 << 26, *, clock: Clock = perf_counter) -> float:
    """Bytes a second in the best of five copies of 64 MiB in all; read and written both count."""
    # More than most caches hold, so that memory is measured.
    share = size // threads
    parts = [(np.ones(share, np.uint8), np.zeros(share, np.uint8)) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:

        def copy() -> None:
            list(pool.map(lambda part: np.copyto(part[1], part[0]), parts))

        return 2 * share * threads / best_of(copy, clock=clock)
