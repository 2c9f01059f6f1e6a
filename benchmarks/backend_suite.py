"""Every test of the onnx package's backend suite goes through `optimize`, and keeps its answers.

    python benchmarks/backend_suite.py                       all of it, in a few minutes
    python benchmarks/backend_suite.py --kinds simple real   some kinds of test
    python benchmarks/backend_suite.py --names conv resnet   those with one of these in their name

A model runs before and after in ONNX Runtime, with every optimisation off, or, where that has no
kernel for it, in ONNX's reference evaluator. Judged by the suite's own function at the suite's own
tolerances, on the suite's own data:

    before meets the suite's answers    after has to meet them
    before misses them                  after has to meet before's
    nothing was rewritten               after has to be before's, to the last bit
    something was rewritten             `verify` has to pass as well

The suite's models take their weights as inputs, so few laws can apply. Therefore each test of one
operator on a float32 map is also put between two 1×1s, all of its inputs but the first constants:
the kind `between`. There are no answers for these, so `verify` judges alone.

The pretrained networks of the kind `real` are not downloaded: the package brings them with other,
made-up weights (`light_*.onnx`), and so the suite tests them. Tests run in subprocesses, so that
a crash of an engine is seen and told; exits with 1 at any wrong answer or crash.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onebyone import verify
from onebyone.errors import OnebyoneError, UnreadableModel
from onebyone.graph.ops import operator_of
from onebyone.graph.read import read
from onebyone.graph.write import to_proto
from onebyone.optimize import optimize

KINDS = ("node", "between", "simple", "pytorch-converted", "pytorch-operator", "real")
LIMIT = 240  # seconds for one test; the slowest, VGG-19, takes a fraction of it

Values = list[Any]
Engine = Callable[[dict[str, Any]], Values]


@dataclass(frozen=True)
class Case:
    """One test: a model, the inputs and the answers of each data set, the suite's tolerances."""

    kind: str
    name: str
    model: ModelProto
    data: tuple[tuple[Values, Values], ...]
    rtol: float
    atol: float

    @property
    def feeds(self) -> list[dict[str, Any]]:
        """The inputs by name; an optional input that is not there is left out."""
        constants = {tensor.name for tensor in self.model.graph.initializer}
        names = [v.name for v in self.model.graph.input if v.name not in constants]
        pairs = [zip(names, inputs, strict=False) for inputs, _ in self.data]
        return [{name: x for name, x in pair if x is not None} for pair in pairs]


@dataclass(frozen=True)
class Outcome:
    """What came of a test.

    Args:
        status: "same", "skipped", "wrong" or "crash".
        changed: whether `optimize` rewrote anything; laws: by which laws.
        engine: what ran the models; misses: whether it misses the suite's answers by itself.
        verified: whether the certificate passed; None where there is none.
        reason: why it was skipped, what is wrong, why there is no certificate.
    """

    kind: str
    name: str
    status: str
    changed: bool = False
    laws: tuple[str, ...] = ()
    engine: str = ""
    misses: bool = False
    verified: bool | None = None
    reason: str = ""


# The suite ----------------------------------------------------------------------------------------


def cases(kinds: Sequence[str] = KINDS) -> Iterator[Case]:
    """The tests of these kinds, by name; the data of those on disk is read as they come."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings(), redirect_stdout(StringIO()):
        warnings.simplefilter("ignore")  # the suite's own, about what it computes
        found = [(kind, test) for kind in kinds for test in load_model_tests(kind=_stored_as(kind))]
    for kind, test in sorted(found, key=lambda pair: (pair[0], pair[1].name)):
        case = _light(test) if kind == "real" else _case(_stored_as(kind), test)
        made = between(case) if kind == "between" else case
        if made is not None:
            yield made


def _stored_as(kind: str) -> str:
    """What the suite calls the tests that a kind is made of."""
    return "node" if kind == "between" else kind


def _case(kind: str, test: Any) -> Case:
    if kind == "node":
        data = tuple(([*map(_array, x)], [*map(_array, y)]) for x, y in test.data_sets)
        return Case(kind, test.name, test.model, data, test.rtol, test.atol)
    folder = Path(test.model_dir)
    model = onnx.load(folder / "model.onnx")
    data = tuple(_stored(model, at) for at in sorted(folder.glob("test_data_set*")))
    return Case(kind, test.name, model, data, test.rtol, test.atol)


def _array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _stored(model: ModelProto, folder: Path) -> tuple[Values, Values]:
    graph, found = model.graph, []
    for role, infos in (("input", graph.input), ("output", graph.output)):
        paths = [folder / f"{role}_{k}.pb" for k in range(len(infos))]
        pairs = zip(paths, infos, strict=True)
        found.append([_parsed(path, info) for path, info in pairs if path.exists()])
    return found[0], found[1]


def _parsed(path: Path, info: onnx.ValueInfoProto) -> Any:
    if info.type.HasField("sequence_type"):
        return numpy_helper.to_list(onnx.SequenceProto.FromString(path.read_bytes()))
    if info.type.HasField("optional_type"):
        return numpy_helper.to_optional(onnx.OptionalProto.FromString(path.read_bytes()))
    return numpy_helper.to_array(onnx.TensorProto.FromString(path.read_bytes()))


def _light(test: Any) -> Case:
    """A network of the zoo as the package brings it: one input, as the suite's runner draws it."""
    path = Path(onnx.__file__).parents[1] / test.url
    model = onnx.load(path)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [_ramp(info) for info in model.graph.input if info.name not in constants]
    answer = onnx.TensorProto.FromString(path.with_name(f"{path.stem}_output_0.pb").read_bytes())
    data = ((inputs, [numpy_helper.to_array(answer)]),)
    return Case("real", test.name, model, data, test.rtol, test.atol)


def _ramp(info: onnx.ValueInfoProto) -> np.ndarray:
    shape = [d.dim_value or 1 for d in info.type.tensor_type.shape.dim]
    count = int(np.prod(shape))
    return (np.arange(count).reshape(shape) / count).astype(np.float32)


# Between two 1×1s --------------------------------------------------------------------------------


def between(case: Case) -> Case | None:
    """A test on a float32 map with a 1×1 before it and one after; None for any other test."""
    graph, inputs, outputs = case.model.graph, case.data[0][0], case.data[0][1]
    opset = max((o.version for o in case.model.opset_import if o.domain == ""), default=0)
    if opset < 11 or graph.initializer or not all(map(_is_tensor, inputs)):
        return None
    if not inputs or not _is_map(inputs[0]) or not _is_map(outputs[0]):
        return None
    model = ModelProto()
    model.CopyFrom(case.model)
    graph, x, y = model.graph, model.graph.input[0], model.graph.output[0]
    constants = zip([*graph.input][1:], inputs[1:], strict=True)
    graph.initializer.extend(numpy_helper.from_array(a, info.name) for info, a in constants)
    into = _pointwise(graph, x.name, "between.x", inputs[0].shape[1], inputs[0])
    last = _pointwise(graph, "between.y", "between.out", 3, outputs[0])
    inner = [_renamed(node, {x.name: "between.x", y.name: "between.y"}) for node in graph.node]
    out = helper.make_tensor_value_info("between.out", onnx.TensorProto.FLOAT, None)
    del graph.node[:], graph.input[1:], graph.output[:], graph.value_info[:]
    graph.node.extend([into, *inner, last])
    graph.output.append(out)
    return Case("between", case.name, model, (([inputs[0]], []),), case.rtol, case.atol)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic)


def _is_map(value: Any) -> bool:
    """Whether a 1×1 convolution takes it."""
    return _is_tensor(value) and value.dtype == np.float32 and 3 <= value.ndim <= 5


def _pointwise(
    graph: onnx.GraphProto, x: str, y: str, channels: int, like: np.ndarray
) -> onnx.NodeProto:
    """A 1×1 with a bias from x to y, of small integers, for a value of the shape of `like`."""
    rng = np.random.default_rng(like.shape[1])
    weight = rng.integers(-2, 3, (channels, like.shape[1], *[1] * (like.ndim - 2)))
    bias = rng.integers(1, 4, channels)
    for name, array in ((f"{y}.weight", weight), (f"{y}.bias", bias)):
        graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), name))
    return helper.make_node("Conv", [x, f"{y}.weight", f"{y}.bias"], [y])


def _renamed(node: onnx.NodeProto, names: dict[str, str]) -> onnx.NodeProto:
    made = onnx.NodeProto()
    made.CopyFrom(node)
    made.input[:] = [names.get(name, name) for name in node.input]
    made.output[:] = [names.get(name, name) for name in node.output]
    return made


# One test -----------------------------------------------------------------------------------------


def checked(case: Case) -> Outcome:
    """A test, optimised and judged."""
    try:
        result = optimize(case.model, verify=False)
        source, after = to_proto(read(case.model)), to_proto(result.model)
    except UnreadableModel as error:
        return Outcome(case.kind, case.name, "skipped", reason=f"not read: {_why(error)}")
    except Exception as error:
        return Outcome(case.kind, case.name, "crash", reason=f"optimize: {error!r}")
    laws = tuple(sorted({row.law for row in result.report.laws}))
    changed = [*source.graph.node] != [*after.graph.node]
    outcome = judged(case, after, Outcome(case.kind, case.name, "same", changed, laws))
    return certified(case, after, outcome) if changed and outcome.status == "same" else outcome


def _why(error: Exception) -> str:
    """The message without the names in it, so that equal reasons are equal."""
    return str(error).partition(": ")[2].split(";")[0][:90] or str(error)[:90]


def judged(case: Case, after: ModelProto, outcome: Outcome) -> Outcome:
    before = _ran(case.model, case.feeds)
    if isinstance(before, str):
        return replace(outcome, status="skipped", reason=f"no engine runs it: {before}")
    # Twice the same: ten flips of a coin may be so by chance, too.
    drawn = any(operator_of(node).is_random for node in read(case.model).graph.all_nodes())
    if drawn or not _identical(before.first, before.second):
        return replace(outcome, status="skipped", reason="draws random numbers")
    now = _ran(after, case.feeds)
    if isinstance(now, str):
        return replace(outcome, status="crash", reason=f"{before.engine} ran it before: {now}")
    answers = before.first if case.kind == "between" else [y for _, y in case.data]
    misses = _difference(case, answers, before.first) is not None
    outcome = replace(outcome, engine=before.engine, misses=misses)
    wrong = None
    if case.kind != "between":
        wrong = _difference(case, before.first if misses else answers, now.first)
    alike = _identical(before.first, now.first)
    if wrong is None and not alike and not outcome.changed and before.engine == now.engine:
        wrong = "nothing was rewritten, and yet some bits differ"
    return outcome if wrong is None else replace(outcome, status="wrong", reason=wrong)


@dataclass(frozen=True)
class _Ran:
    """What the first engine that takes a model gives for some inputs, twice."""

    engine: str
    first: list[Values]
    second: list[Values]


def _ran(model: ModelProto, feeds: list[dict[str, Any]]) -> _Ran | str:
    """Each engine asked in turn; why none runs the model, if so."""
    errors = []
    for name, load in ENGINES.items():
        try:
            run = load(model)
            return _Ran(name, *([run(feed) for feed in feeds] for _ in range(2)))
        except Exception as error:
            errors.append(f"{name}: {type(error).__name__}")
    return ", ".join(errors)


def _runtime(model: ModelProto) -> Engine:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    quiet = ort.RunOptions()
    quiet.log_severity_level = 4
    return lambda feed: list(session.run(None, feed, quiet))


def _reference(model: ModelProto) -> Engine:
    evaluator = ReferenceEvaluator(model)

    def run(feed: dict[str, Any]) -> Values:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return list(evaluator.run(None, feed))

    return run


ENGINES = {"ONNX Runtime": _runtime, "reference": _reference}


def _difference(case: Case, wanted: list[Values], got: list[Values]) -> str | None:
    """What the suite itself says against these answers; None if nothing."""
    from onnx.backend.test.runner import Runner

    for want, have in zip(wanted, got, strict=True):
        if _identical(want, have):
            continue
        try:
            Runner.assert_similar_outputs(want, have, case.rtol, case.atol)
        except Exception as error:
            return " ".join(str(error).split())[:300]
    return None


def _identical(a: Any, b: Any) -> bool:
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_identical, a, b))
    if a is None or b is None:
        return a is b
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return bool((a == b).all()) if a.dtype == object else a.tobytes() == b.tobytes()


def certified(case: Case, after: ModelProto, outcome: Outcome) -> Outcome:
    """The outcome with the certificate, on the suite's data and on random inputs."""
    try:
        certificate = verify(case.model, after, data=case.feeds[0])
    except OnebyoneError as error:
        return replace(outcome, reason=f"no certificate: {_why(error)}")
    except Exception as error:
        return replace(outcome, status="crash", reason=f"verify: {error!r}")
    if certificate.passed:
        return replace(outcome, verified=True)
    reason = next(c.reason for t in certificate.trials for c in t.outputs if c.reason)
    return replace(outcome, status="wrong", verified=False, reason=f"certificate: {reason}")


# All tests, in subprocesses -----------------------------------------------------------------------


@dataclass(frozen=True)
class Share:
    """Every `of`-th test of a selection, from the `number`-th on, for one worker after another."""

    kinds: tuple[str, ...]
    names: tuple[str, ...]
    number: int
    of: int

    def cases(self) -> list[Case]:
        """Its tests, always in one order."""
        found = [c for c in cases(self.kinds) if not self.names or _named(c.name, self.names)]
        return found[self.number :: self.of]


def _named(name: str, parts: Sequence[str]) -> bool:
    return any(part in name for part in parts)


def work(share: Share, start: int) -> None:
    """Run a share from its `start`-th test on: a line before each test, and one after."""
    for case in share.cases()[start:]:
        print(json.dumps([case.kind, case.name]), flush=True)
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        outcome = checked(case)
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps(asdict(outcome)), flush=True)


def run_share(share: Share) -> list[Outcome]:
    """The outcomes of a share; a test that kills its worker is a crash, and the rest go on."""
    outcomes: list[Outcome] = []
    while True:
        begun = _worker(share, outcomes)
        if begun is None:
            return outcomes
        outcomes.append(begun)


def _worker(share: Share, outcomes: list[Outcome]) -> Outcome | None:
    """Let a new process go on behind `outcomes`; the test that it died of, if it did."""
    given = json.dumps([share.kinds, share.names, share.number, share.of, len(outcomes)])
    command = [sys.executable, __file__, "--work", given]
    begun = None
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            told = json.loads(line)
            if isinstance(told, list):
                begun = Outcome(*told, "crash", reason="the process died, or took too long")
            else:
                outcomes.append(Outcome(**{**told, "laws": tuple(told["laws"])}))
                begun = None
    if process.returncode and begun is None:
        raise RuntimeError(f"a worker ended with {process.returncode} outside any test")
    return begun


def table(outcomes: Sequence[Outcome]) -> str:
    """Tried, changed, skipped, wrong and crashed, kind by kind, and why."""
    lines = [f"{'kind':18}{'tried':>6}{'same':>6}{'changed':>8}{'verified':>9}"
             f"{'skipped':>8}{'wrong':>6}{'crash':>6}"]  # fmt: skip
    for kind in (*dict.fromkeys(o.kind for o in outcomes), ""):
        rows = [o for o in outcomes if kind in ("", o.kind)]
        count = Counter(o.status for o in rows)
        changed, passed = sum(o.changed for o in rows), sum(o.verified is True for o in rows)
        lines.append(
            f"{kind or 'all':18}{len(rows):6}{count['same']:6}{changed:8}{passed:9}"
            f"{count['skipped']:8}{count['wrong']:6}{count['crash']:6}"
        )
    lines += _grouped("laws used", Counter(law for o in outcomes for law in o.laws))
    lines += _grouped("engines", Counter(o.engine for o in outcomes if o.engine))
    lines.append(f"engines that miss the suite's answers by themselves: {_misses(outcomes)}")
    lines += _grouped("skipped", Counter(o.reason for o in outcomes if o.status == "skipped"))
    uncertain = [o for o in outcomes if o.changed and o.verified is None and o.status == "same"]
    lines += _grouped("changed, same, no certificate", Counter(o.reason for o in uncertain))
    bad = [o for o in outcomes if o.status in ("wrong", "crash")]
    return "\n".join(lines + [f"{o.status.upper()} {o.kind} {o.name}: {o.reason}" for o in bad])


def _misses(outcomes: Sequence[Outcome]) -> int:
    return sum(o.misses for o in outcomes if o.status != "skipped")


def _grouped(title: str, counts: Counter[str]) -> list[str]:
    rows = [f"  {number:5} {reason}" for reason, number in counts.most_common()]
    return [f"{title}: {sum(counts.values())}", *rows]


def main() -> int:
    """Run the command line; 1 if an answer changed or something crashed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--names", nargs="+", default=())
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        kinds, names, number, of, start = json.loads(given.work)
        work(Share(tuple(kinds), tuple(names), number, of), start)
        return 0
    began, of = time.perf_counter(), given.workers
    shares = [Share(tuple(given.kinds), tuple(given.names), k, of) for k in range(of)]
    with ThreadPoolExecutor(of) as pool:
        outcomes = [o for found in pool.map(run_share, shares) for o in found]
    outcomes.sort(key=lambda o: (KINDS.index(o.kind), o.name))
    print(table(outcomes))
    print(f"onnx {onnx.__version__}, ONNX Runtime {ort.__version__}, "
          f"{time.perf_counter() - began:.0f} s")  # fmt: skip
    if given.json:
        given.json.write_text(json.dumps([asdict(o) for o in outcomes], indent=1))
    return int(any(o.status in ("wrong", "crash") for o in outcomes))


if __name__ == "__main__":
    sys.exit(main())
