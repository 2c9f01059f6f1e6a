"""The same files through the tools that others use: what each makes of them, and how fast that is.

    python benchmarks/optimize.py --peers --models mobileone-s0 --shapes fixed

    onnxsim | onnxslim | onnxoptimizer | onnxscript | ONNX Runtime offline | onebyone

Each tool runs as its documentation shows it, in a process of its own and for a limited time. What
it wrote is counted, held against the original by `onebyone.verify`, and timed in turns with the
original and all the others. Where a tool fails, or an engine refuses what it wrote, the table says
so in its place.

ONNX Runtime's offline optimisation is that of ORT_ENABLE_EXTENDED: what ORT_ENABLE_ALL saves is
laid out for the processor that saved it. Its file has operators of ONNX Runtime's own; their MACs
are those of the standard operators that they stand for.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from measure import Shapes, Timing, draw, load_onnxruntime, load_openvino, take_turns

if TYPE_CHECKING:
    import onnx

__all__ = [
    "ORIGINAL",
    "TOOLS",
    "Made",
    "Proofs",
    "Time",
    "compare",
    "count_file",
    "installed",
    "one_line",
    "proofs",
    "timing",
]

T = TypeVar("T")
Tool = Callable[[Path, Path, Shapes], None]

ORIGINAL = "original"
LIMIT = 600.0  # seconds for one tool on one file


@dataclass(frozen=True)
class Time:
    """A file in one engine: its median milliseconds, and the original's time over its own.

    `low` and `high` are the 10th and 90th percentile of that ratio in single rounds.
    """

    ms: float
    ratio: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True)
class Made:
    """What one tool made of one file; None wherever it or what came after it failed.

    `seconds` are the tool's own, with reading and writing; `error` and `bound` are the
    certificate's. `digest` is that of the original's bytes and its own. `failures` says by stage
    (tool, count, verify, or an engine) what went wrong.
    """

    tool: str
    seconds: float | None = None
    macs: int | None = None
    nodes: int | None = None
    passed: bool | None = None
    error: float | None = None
    bound: float | None = None
    digest: str = ""
    times: Mapping[str, Time] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)


# ---------------------------------------------------------------- the tools


def _onnxsim(source: Path, target: Path, shapes: Shapes) -> None:
    import onnx
    import onnxsim

    onnx.save(onnxsim.simplify(onnx.load(source))[0], target)


def _onnxslim(source: Path, target: Path, shapes: Shapes) -> None:
    import onnx
    import onnxslim

    onnx.save(onnxslim.slim(onnx.load(source)), target)


def _onnxoptimizer(source: Path, target: Path, shapes: Shapes) -> None:
    import onnx
    import onnxoptimizer

    onnx.save(onnxoptimizer.optimize(onnx.load(source)), target)


def _onnxscript(source: Path, target: Path, shapes: Shapes) -> None:
    import onnx
    import onnxscript.optimizer

    onnx.save(onnxscript.optimizer.optimize(onnx.load(source)), target)


def _onnxruntime(source: Path, target: Path, shapes: Shapes) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def _onebyone(source: Path, target: Path, shapes: Shapes) -> None:
    import onebyone

    onebyone.write(onebyone.optimize(source, shapes=shapes).model, target)


TOOLS: dict[str, Tool] = {
    "onnxsim": _onnxsim,
    "onnxslim": _onnxslim,
    "onnxoptimizer": _onnxoptimizer,
    "onnxscript": _onnxscript,
    "onnxruntime": _onnxruntime,
    "onebyone": _onebyone,
}


_MODULES = {
    "onnxscript": ("onnxscript.optimizer",),
    "onebyone": ("onnxruntime", "onebyone.optimize.run", "onebyone.verify.verify"),
}
"""What a tool would import only when it is called."""


def installed() -> dict[str, str | None]:
    """The version of each tool; None for one that is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = dict.fromkeys(TOOLS)
    for tool in TOOLS:
        with contextlib.suppress(PackageNotFoundError):
            found[tool] = version(tool)
    return found


# ---------------------------------------------------------------- one file


Proofs = Mapping[str, "Made"]
"""What was counted and verified before, by digest."""


def proofs(made: Iterable[Made]) -> Proofs:
    """Those of an earlier run that came to an end."""
    stages = {"tool", "count", "verify"}
    return {one.digest: one for one in made if one.digest and stages.isdisjoint(one.failures)}


def compare(
    source: Path,
    shapes: Shapes,
    engines: Sequence[str],
    seconds: float,
    known: Proofs | None = None,
    limit: float = LIMIT,
) -> list[Made]:
    """What each tool makes of `source`, the original first; files are written beside it.

    Args:
        shapes: at which MACs are counted and times taken.
        engines: of "onnxruntime" and "openvino".
        seconds: for each file in each engine.
        known: files that need not be counted and verified again.
        limit: seconds that one tool may take.
    """
    paths = {ORIGINAL: source}
    paths |= {tool: source.with_suffix(f".{tool}.onnx") for tool in TOOLS}
    made = [Made(ORIGINAL), *(_made(tool, source, paths[tool], shapes, limit) for tool in TOOLS)]
    made = [_examined(one, source, paths[one.tool], shapes, known or {}, limit) for one in made]
    usable = {one.tool: paths[one.tool] for one in made if "tool" not in one.failures}
    for engine in engines:
        found = _times(engine, usable, shapes, seconds, limit)
        made = [_timed(one, engine, found.get(one.tool)) for one in made]
    return made


def _made(tool: str, source: Path, target: Path, shapes: Shapes, limit: float) -> Made:
    target.unlink(missing_ok=True)
    try:
        return Made(tool, limited(limit, _use, tool, source, target, shapes))
    except Exception as error:  # a peer that fails is a result
        return Made(tool, failures={"tool": one_line(error)})


def _use(tool: str, source: Path, target: Path, shapes: Shapes) -> float:
    """Run a tool; its seconds without those of importing it."""
    with contextlib.suppress(ImportError):
        for module in _MODULES.get(tool, (tool,)):
            import_module(module)
    start = time.perf_counter()
    TOOLS[tool](source, target, shapes)
    return time.perf_counter() - start


def _examined(
    made: Made, source: Path, path: Path, shapes: Shapes, known: Proofs, limit: float
) -> Made:
    """With the numbers of the file that was made."""
    if "tool" in made.failures:
        return made
    digest = sha256(source.read_bytes() + path.read_bytes()).hexdigest()
    if digest in known:
        return replace(known[digest], tool=made.tool, seconds=made.seconds, times={}, failures={})
    stages = ("count",) if path == source else ("count", "verify")
    try:
        found = limited(limit, _examine, source, path, shapes, stages)
    except Exception as error:  # what cannot be counted can still be timed
        found = {"failures": dict.fromkeys(stages, one_line(error))}
    return replace(made, digest=digest, **found)


def _examine(source: Path, path: Path, shapes: Shapes, stages: Sequence[str]) -> dict[str, Any]:
    """The numbers of a file, and what went wrong with them."""
    calls = {
        "count": lambda: count_file(path, shapes),
        "verify": lambda: _verify(source, path, shapes),
    }
    found, failures = dict[str, Any](), dict[str, str]()
    for stage in stages:
        try:
            found |= calls[stage]()
        except Exception as error:
            failures[stage] = one_line(error)
    return {**found, "failures": failures}


def _timed(made: Made, engine: str, found: Time | str | None) -> Made:
    if isinstance(found, Time):
        return replace(made, times={**made.times, engine: found})
    return made if found is None else replace(made, failures={**made.failures, engine: found})


def _verify(source: Path, path: Path, shapes: Shapes) -> dict[str, Any]:
    import onebyone

    found = onebyone.verify(source, path, shapes=shapes)
    return {"passed": found.passed, "error": found.max_abs_error, "bound": found.bound}


# ---------------------------------------------------------------- counting


def count_file(path: Path, shapes: Shapes) -> dict[str, int]:
    """MACs and nodes of a file, which may have operators of ONNX Runtime's own.

    Raises:
        ValueError: it has others, and what they compute is not known, or the file does not tell
            the shapes of what it multiplies.
    """
    import onnx

    import onebyone

    model = onnx.load(path)
    nodes = [node for node in model.graph.node if node.op_type != "Constant"]
    plain = [like for node in model.graph.node for like in _standard(node)]
    del model.graph.node[:]
    model.graph.node.extend(plain)
    counted = onebyone.count(model, shapes)
    missing = sum(row.nodes for row in counted.uncounted if "has multiply-acc" in row.reason)
    if missing:
        raise ValueError(f"{missing} products are of operands whose shapes the file does not tell")
    return {"macs": counted.macs, "nodes": len(nodes)}


# What multiplies and accumulates as much, and has results of the same shape.
_MACS = {"FusedConv": "Conv", "FusedGemm": "Gemm"}
_ELEMENTWISE = {"BiasGelu", "FastGelu", "Gelu", "QuickGelu", "SkipLayerNormalization"}


def _standard(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """A node as standard ones that count alike; raises ValueError for one that is not known."""
    from onnx import helper

    if node.domain != "com.microsoft":
        yield node
    elif node.op_type in _MACS:
        node.op_type, node.domain = _MACS[node.op_type], ""
        kept = [a for a in node.attribute if not a.name.startswith("activation")]
        del node.attribute[:]
        node.attribute.extend(kept)
        yield node
    elif node.op_type == "FusedMatMul":
        yield helper.make_node("Einsum", node.input, node.output, equation=_equation(node))
    elif node.op_type in _ELEMENTWISE:
        yield from (helper.make_node("Identity", node.input[:1], [y]) for y in node.output if y)
    else:
        raise ValueError(f"what {node.domain}::{node.op_type} computes is not known")


def _equation(node: onnx.NodeProto) -> str:
    """Of a matrix product that takes its operands transposed."""
    from onnx import helper

    set_ = {a.name for a in node.attribute if helper.get_attribute_value(a) == 1}
    if set_ & {"transBatchA", "transBatchB"}:
        raise ValueError("a matrix product with its batch transposed is not counted")
    first, second = ("ki" if "transA" in set_ else "ik"), ("jk" if "transB" in set_ else "kj")
    return f"...{first},...{second}->...ij"


# ---------------------------------------------------------------- timing


def _times(
    engine: str, paths: Mapping[str, Path], shapes: Shapes, seconds: float, limit: float
) -> Mapping[str, Time | str]:
    """Each file's time or what went wrong, for all of them if the engine itself did."""
    try:
        return limited(limit + 2 * seconds * len(paths), _time_all, engine, paths, shapes, seconds)
    except Exception as error:  # a missing or crashing engine must not take the counts along
        return dict.fromkeys(paths, one_line(error))


def _time_all(
    engine: str, paths: Mapping[str, Path], shapes: Shapes, seconds: float
) -> dict[str, Time | str]:
    """Each file's times, all in turns; a line instead where the engine refuses a file."""
    load = {"onnxruntime": load_onnxruntime, "openvino": load_openvino}[engine]
    inputs = draw(shapes)
    runs, found = {}, dict[str, Time | str]()
    for tool, path in paths.items():
        try:
            run = load(path, inputs)
            run()
            runs[tool] = run
        except Exception as error:  # the others can still be timed
            found[tool] = one_line(error)
    taken = dict(zip(runs, take_turns(list(runs.values()), seconds * len(runs)), strict=True))
    return found | {tool: _time(taken[ORIGINAL], own) for tool, own in taken.items()}


def _time(original: Sequence[float], own: Sequence[float]) -> Time:
    ratios = np.array(original) / np.array(own)
    low, high = np.quantile(ratios, [0.1, 0.9])
    middle = statistics.median(original), statistics.median(own)
    return Time(middle[1] * 1e3, middle[0] / middle[1], float(low), float(high), len(ratios))


def timing(engine: str, original: Made, made: Made) -> Timing | None:
    """A file's time beside the original's, as the claims want it; None where it was not timed."""
    if engine not in original.times or engine not in made.times:
        return None
    own = made.times[engine]
    return Timing(
        engine=engine,
        original_ms=original.times[engine].ms,
        optimised_ms=own.ms,
        ratio=own.ratio,
        low=own.low,
        high=own.high,
        rounds=own.rounds,
        difference=float("nan") if made.error is None else made.error,
    )


# ---------------------------------------------------------------- processes


def limited(seconds: float, function: Callable[..., T], *arguments: Any) -> T:
    """`function(*arguments)` in a new process, which is ended after `seconds`.

    Raises:
        TimeoutError: it was ended.
        RuntimeError: it crashed, or raised what the line says.
    """
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(send, function, arguments))
    process.start()
    send.close()
    try:
        if not receive.poll(seconds):
            raise TimeoutError(f"took more than {seconds:g} s")
        good, value = receive.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"crashed with exit code {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
        receive.close()
    if not good:
        raise RuntimeError(value)
    result: T = value
    return result


def _answer(send: Connection, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
    with open(os.devnull, "w") as nowhere:  # what tools print on their way is in no table
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    try:
        answer = (True, function(*arguments))
    except Exception as error:
        answer = (False, one_line(error))
    send.send(answer)


def one_line(error: BaseException) -> str:
    """What went wrong, in a line of at most 200 characters."""
    text = " ".join(str(error).split())
    return text[:200] if type(error) is RuntimeError else f"{type(error).__name__}: {text}"[:200]
