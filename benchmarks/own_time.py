"""Where the tool's own time goes: processor seconds of `optimize`, stage by stage.

    OMP_NUM_THREADS=1 python benchmarks/own_time.py model.onnx [more.onnx ...]

Processor time of the whole process, all threads, so that other work on the machine counts little;
the engine's threads count too. Each model is optimised three times without a proof, of which the
fastest counts, and once with it.
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

import onebyone
import onebyone.optimize.run
import onebyone.verify.verify  # what is imported late is no part of the time

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
    for model in parser.parse_args().models:
        print(model)
        for stage, seconds in measured(model).items():
            print(f"  {stage:<40} {seconds:8.2f} s")
    return 0


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
    function: Callable[..., Any], stage: str, spent: Counter[str], counts: Counter[str]
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
