"""Where the tool's own time goes: processor seconds of `optimize`, stage by stage.

    OMP_NUM_THREADS=1 python benchmarks/own_time.py model.onnx [more.onnx ...]
    OMP_NUM_THREADS=1 python benchmarks/own_time.py --least model.onnx          beside a lower bound

Processor time of the whole process, all threads, so that other work on the machine counts little;
the engine's threads count too. Each model is optimised three times without a proof, of which the
fastest counts, and once with it.

With `--least` a second table has what a proof as it is made today cannot do without, measured in
the same run: A's multiply-accumulates in float64 at the rate of a large product of matrices, and
the runs of A and B in ONNX Runtime. Beside it stand the wall time of `optimize` and what `onnxslim`
takes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from typing import Any
from unittest.mock import patch

import numpy as np

import onebyone
import onebyone.optimize.run
import onebyone.verify.verify  # what is imported late is no part of the time
from onebyone.engines.turns import best_of

# Stage -> the functions whose time it is, where their callers find them.
STAGES = {
    "proofs of single rewrites": ["onebyone.optimize.rewrite:_settled"],
    "A and B in ONNX Runtime": ["onnxruntime:InferenceSession.run"],
    "A in float64": ["onebyone.verify.answers:evaluate"],
    "A in float64, its roundings drawn": ["onebyone.verify.disturbed:evaluate"],
    "opening A and B": [
        "onebyone.engines.unoptimised:_source",
        "onebyone.engines.unoptimised:session",
    ],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--least", action="store_true", help="the least that it can take instead")
    options = parser.parse_args()
    for model in options.models:
        print(model)
        found = least(model) if options.least else measured(model)
        for stage, seconds in found.items():
            print(f"  {stage:<56} {seconds:8.2f} s")
    return 0


def least(model: str) -> dict[str, float]:
    """Processor seconds of one `optimize`, and of what it cannot do without; wall seconds too.

    A model of free sizes is calculated at several: of one the arithmetic is not told.
    """
    rates, spent, counts = [_blas_rate()], Counter[str](), Counter[str]()
    with _watched(spent, counts):
        start = time.perf_counter()
        processor = _seconds(lambda: onebyone.optimize(model))
        wall = time.perf_counter() - start
    rates.append(_blas_rate())  # what else the machine does lowers them
    times = sum(counts[name] for name in STAGES if name.startswith("A in float64"))
    arithmetic = times * 2 * onebyone.count(model).macs / max(rates)
    runs = spent["A and B in ONNX Runtime"]
    told = f"A's MACs in float64 ({times}), at {max(rates) / 1e9:.0f} GFLOP/s"
    return {
        "all, by the clock on the wall": wall,
        "all": processor,
        told: arithmetic,
        f"A and B in ONNX Runtime ({counts['A and B in ONNX Runtime']})": runs,
        "the least: these two": arithmetic + runs,
        "onnxslim": min(_seconds(lambda: _slim(model)) for _ in range(2)),
    }


def _blas_rate(size: int = 1024) -> float:
    """Float64 operations a processor second, in the best of five of NumPy's products."""
    a = np.ones((size, size))
    return 2 * size**3 / best_of(lambda: a @ a, clock=time.process_time)


def _slim(model: str) -> None:
    import onnx
    import onnxslim

    onnxslim.slim(onnx.load(model))


def measured(model: str) -> dict[str, float]:
    """Processor seconds by stage; what is left of the whole is reading and comparing."""
    rewriting = min(_seconds(lambda: onebyone.optimize(model, verify=False)) for _ in range(3))
    spent, counts = Counter[str](), Counter[str]()
    with _watched(spent, counts):
        whole = _seconds(lambda: onebyone.optimize(model))
    stages = {f"{name} ({counts[name]})": spent[name] for name in STAGES}
    return {"without a proof": rewriting, **stages, "all": whole}


def _seconds(act: Callable[[], object]) -> float:
    start = time.process_time()
    act()
    return time.process_time() - start


@contextmanager
def _watched(spent: Counter[str], counts: Counter[str]) -> Iterator[None]:
    """Add to `spent` what each stage takes while the context lasts, and count its calls."""
    started = []
    for stage, functions in STAGES.items():
        for function in functions:
            module, _, path = function.partition(":")
            *outer, name = path.split(".")
            owner: Any = import_module(module)
            for part in outer:
                owner = getattr(owner, part)
            timed = _timed(getattr(owner, name), stage, spent, counts)
            started.append(patch.object(owner, name, timed))
            started[-1].start()
    try:
        yield
    finally:
        for each in started:
            each.stop()


def _timed(
    function: Callable[..., Any],
    stage: str,
    spent: Counter[str],
    counts: Counter[str],
) -> Callable[..., Any]:
    @wraps(function)
    def timed(*arguments: Any, **named: Any) -> Any:
        start = time.process_time()
        try:
            return function(*arguments, **named)
        finally:
            spent[stage] += time.process_time() - start
            counts[stage] += 1

    return timed


if __name__ == "__main__":
    sys.exit(main())
