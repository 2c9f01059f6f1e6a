"""`verify`: do two models compute the same, but for rounding?

    A, B ── read, interfaces compared ──▶ inputs: random, the caller's, other sizes
      A in ONNX Runtime, also on inputs moved by one rounding ──▶ a, a', ...
      A in NumPy float64                                      ──▶ r
      B in ONNX Runtime                                       ──▶ b
    |b - r| against what rounding does to A (optimize.bound) ──▶ Certificate

One model is in the engine at a time. docs/numerics.md says why each step is as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import count

import numpy as np
import onnx
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.engines.engine import EngineRefuses
from onebyone.engines.inputs import (
    Feed,
    drawn_shapes,
    fed,
    given_inputs,
    random_inputs,
)
from onebyone.engines.unoptimised import ENGINE, Run, opened
from onebyone.errors import CheckFailed, OnebyoneError, UsageError
from onebyone.graph.checks import one_line
from onebyone.graph.evaluate import CannotEvaluate
from onebyone.graph.memory_limit import check_memory
from onebyone.graph.ops.call import is_floating
from onebyone.graph.read import read
from onebyone.graph.shapes import Sizes, name_inputs, shapes_of
from onebyone.verify.answers import (
    Answer,
    Asked,
    Question,
    Reference,
    Runtime,
    Seen,
    noise,
    original,
    reference,
    remembering,
)
from onebyone.verify.asked import answered, ask, compared
from onebyone.verify.certificate import (
    ALL_NAN,
    Certificate,
    OutputCheck,
    Trial,
)
from onebyone.verify.choices import choices, given_places, parted, searched
from onebyone.verify.judge import judge, judge_exact, same, unlike
from onebyone.verify.strict import Known, draws, measured, strict
from onebyone.verify.ties import Tie, exposed, settled, ties

__all__ = ["Certificate", "OutputCheck", "Trial", "verify"]

Source = str | os.PathLike[str] | onnx.ModelProto | ir.Model
Progress = Callable[[str, int, int], None]


def verify(
    a: Source,
    b: Source,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    data: Mapping[str, Array] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Certificate:
    """Run both models on the same inputs and compare what they give.

    Args:
        a: the original, by whose rounding noise `b` is measured. Neither is changed.
        b: the other.
        shapes: sizes of inputs that leave some open, by name; else those of `data`, or batch 1,
            sequence 128, image 224.
        data: the caller's own inputs, by name, compared in addition to random ones.
        seed: draws the random inputs; the same seed gives the same certificate.
        progress: called with ("verify", done, total).

    Returns:
        The certificate. It is a value: look at `passed`.

    Raises:
        UnreadableModel: one of them is no usable model, or nothing here can run A, or A fails
            on inputs that leave no choice.
        CheckFailed: inputs or outputs differ in name, type or rank.
        UsageError: the shapes or the data do not fit, or A fails on them.

    >>> import onnx.parser
    >>> head = '<ir_version: 8, opset_import: ["": 13]>'
    >>> twice = onnx.parser.parse_model(head + "g (float[3] x) => (float[3] y) {y = Add(x, x)}")
    >>> thrice = onnx.parser.parse_model(head + "g (float[3] x) => (float[3] y) {y = Sum(x, x, x)}")
    >>> verify(twice, twice).passed, verify(twice, thrice).passed
    (True, False)
    """
    first, second = read(a), read(b)
    _compare_interfaces(first.graph, second.graph)
    sizes = _sizes(first, shapes, data)
    feeds = _feeds(first, sizes, data, seed)

    def question(run: Run, answers: Sequence[Answer], runtime: Runtime) -> Asked:
        return ask(first, sizes, run, answers, runtime, seed)

    declared = {str(value.name) for value in first.graph.outputs}
    # Two TopKs may order what ties in two ways, and then all that follows differs.
    if picked := choices(first, second):
        try:
            shared = _of_same_choices(first, second, declared, picked, sizes, feeds, seed, progress)
        except (OnebyoneError, MemoryError):
            shared = None
        if shared is not None and shared.passed:
            return replace(shared, told=sizes.told)
    certificate = _compared(first, second, declared, feeds, question, seed, progress)
    return replace(certificate, told=sizes.told)


def _of_same_choices(
    first: ir.Model,
    second: ir.Model,
    declared: Collection[str],
    picked: Sequence[str],
    sizes: Sizes,
    feeds: Sequence[Feed],
    seed: int,
    progress: Progress | None,
) -> Certificate | None:
    """The comparison with the places that A's TopKs pick given to both; None where B is unlike A.

    Raises where one of the models does not run on an input.
    """
    runtime = Runtime(opened, ENGINE)
    one, other = parted(first, picked), parted(second, picked)
    names = [searched(one, first), searched(other, second)]
    with runtime.opened(exposed(first, [*picked, *names[0].values()])) as run:
        answers = [Answer(feed, run(feed.inputs)) for feed in feeds]
        trouble, unproved = ask(first, sizes, run, answers, runtime, seed)
    with runtime.opened(exposed(second, [*picked, *names[1].values()])) as run:
        others = [run(answer.feed.inputs) for answer in answers]
    # B itself runs, and gives tensors of the same kind; of what it picks the parted models tell.
    pairs = [(a.outputs, b) for a, b in zip(answers, others, strict=True)]
    more = {*names[0].values()} - {*declared, *picked}
    if any(unlike(a[name], b[name]) for a, b in pairs for name in a if name not in more):
        return None
    same_places = all(same(a[name], b[name]).all() for a, b in pairs for name in picked)

    def question(run: Run, answers: Sequence[Answer], runtime: Runtime) -> Asked:
        found, failed = answered([_with_places(answer, picked) for answer in trouble], run)
        return found, [*unproved, *failed]

    placed = [_with_places(answer, picked) for answer in answers]
    # Given the places that it picks itself, a parted model gives what the whole one gave.
    seen = (
        _seen(placed, (a for a, _ in pairs), names[0], declared),
        _seen(placed, (b for _, b in pairs), names[1], declared) if same_places else [],
    )
    certificate = _compared(one, other, declared, placed, question, seed, progress, seen)
    if same_places:
        return certificate
    trials, troubled = (
        tuple(replace(trial, reference=f"{trial.reference}; {_SHARED}") for trial in some)
        for some in (certificate.trials, certificate.trouble)
    )
    return replace(certificate, trials=trials, trouble=troubled)


def _with_places(answer: Answer, picked: Sequence[str]) -> Feed:
    """The input with what A picks on it."""
    places = {given_places(name): answer.outputs[name] for name in picked}
    return Feed(answer.feed.kind, {**answer.feed.inputs, **places})


def _seen(
    placed: Sequence[Feed],
    outputs: Iterable[Mapping[str, Array]],
    names: Mapping[str, str],
    declared: Collection[str],
) -> Seen:
    """What a parted model gives on the inputs, of the outputs of the whole one.

    Args:
        placed: the inputs, with the places that the model picks on them.
        outputs: of the whole model, where it was asked for what its TopKs search, too.
        names: of an output that the parted model has more -> of this value in the whole one.
        declared: the outputs of both.
    """
    found: list[tuple[Mapping[str, Array], Mapping[str, Array]]] = []
    for feed, whole in zip(placed, outputs, strict=True):
        own = {n: x for n, x in whole.items() if {n, n.partition("[")[0]} & {*declared}}
        # What one TopK searches that another one picked has no name in the whole model.
        if all(value in whole for value in names.values()):
            found.append((feed.inputs, {**own, **{n: whole[v] for n, v in names.items()}}))
    return found


_SHARED = "TopK picks among ties, so both models were given the places that A picks"


def _compared(
    first: ir.Model,
    second: ir.Model,
    declared: Collection[str],
    feeds: Sequence[Feed],
    question: Question,
    seed: int,
    progress: Progress | None,
    seen: tuple[Seen, Seen] = ((), ()),
) -> Certificate:
    """The certificate; `question` asks A, in the engine, on troublesome inputs.

    What ONNX Runtime was `seen` to give, on the very inputs, is not computed again.
    """
    # What an ArgMax is searched in becomes an output of both, and is judged where places differ.
    pairs = ties(first, second)
    hidden = {pair.in_a for pair in pairs.values()} - {str(v.name) for v in first.graph.outputs}
    first = exposed(first, (pair.in_a for pair in pairs.values()))
    second = exposed(second, (pair.in_b for pair in pairs.values()))
    step = _steps(progress, 3 * len(feeds))
    if pairs:  # what they are searched in was not asked for
        seen = (), ()
    answers, skipped, runtime, (asked, unproved) = original(
        first, feeds, declared, seed, step, question, seen[0]
    )
    references = []
    for answer in answers:
        references.append(reference(first, answer, runtime))
        step()
    known = Known(measured(first, answers, references, asked), runtime, seed)
    trials = []
    with ExitStack() as stack:
        run = _entered(stack, runtime, second)
        if not runtime.in_numpy:
            run = remembering(run, seen[1])
        for answer, against in zip(answers, references, strict=True):
            names = [name for name in answer.outputs if name not in hidden]
            checks = _checks(run, first, names, answer, against, pairs, known)
            feed = answer.feed
            trials.append(Trial(feed.kind, feed.shapes, against.told, tuple(checks)))
            step()
        trouble, unknown = compared(run, first, hidden, asked, answers, known)
    trials, outside = _in_the_domain(trials)
    return Certificate(
        tuple(trials),
        runtime.name,
        seed,
        (*skipped, *outside),
        trouble=tuple(trouble),
        unproved=(*unproved, *unknown),
    )


def _in_the_domain(trials: Sequence[Trial]) -> tuple[list[Trial], list[str]]:
    """The trials that count, and why others do not.

    Where the caller's data pass, they say what inputs are like: random ones on which an output of A
    is nothing but NaN are none such.
    """
    if not any(trial.kind == "given" and trial.passed for trial in trials):
        return list(trials), []
    outside = [
        t for t in trials if {row.reason for row in t.outputs if not row.passed} == {ALL_NAN}
    ]
    return [t for t in trials if t not in outside], [
        f"{t.kind} input of shapes {one_line(t.shapes)}: all of an output is NaN" for t in outside
    ]


def _steps(progress: Progress | None, total: int) -> Callable[[], None]:
    """Call the result after each of `total` steps."""
    done = count(1)

    def step() -> None:
        if progress is not None:
            progress("verify", next(done), total)

    return step


def _compare_interfaces(a: ir.Graph, b: ir.Graph) -> None:
    sides = ("input", fed(a).values(), fed(b).values()), ("output", a.outputs, b.outputs)
    for role, ours, theirs in sides:
        # Not by a dict: a value can be two outputs, and then it has to be two of the other's.
        one, other = sorted(map(_named, ours)), sorted(map(_named, theirs))
        if one != other:
            raise CheckFailed(f"A has {role}s {one}, B has {other}: nothing to compare")
        for x, y in zip(sorted(ours, key=_named), sorted(theirs, key=_named), strict=True):
            a_is, b_is = _signature(x), _signature(y)
            # What one of them leaves open may be what the other says.
            if any(i != j and None not in (i, j) for i, j in zip(a_is, b_is, strict=True)):
                raise CheckFailed(
                    f"{role} {_named(x)!r}: A has (type, rank) {a_is}, B {b_is}: nothing to compare"
                )


def _named(value: ir.Value) -> str:
    return str(value.name)


def _signature(value: ir.Value) -> tuple[str | None, int | None]:
    kind = None if value.type is None else str(value.type)
    return kind, None if value.shape is None else len(value.shape)


def _sizes(
    model: ir.Model,
    shapes: Mapping[str, Sequence[int]] | None,
    data: Mapping[str, Array] | None,
) -> Sizes:
    """The nominal sizes; free dimensions of the model have names from then on."""
    if any(
        not isinstance(n, int) for value in fed(model.graph).values() for n in value.shape or ()
    ):
        name_inputs(model.graph)
    sizes = Sizes(model, shapes, shapes_of(data))
    check_memory(fed(model.graph).values(), sizes)
    return sizes


def _feeds(
    model: ir.Model, sizes: Sizes, data: Mapping[str, Array] | None, seed: int
) -> list[Feed]:
    """The caller's data, the nominal sizes, and other sizes where some are free."""
    feeds = []
    if data is not None:
        feeds.append(Feed("given", given_inputs(model, data)))
    rng = np.random.default_rng(seed)
    try:
        feeds.append(Feed("random", random_inputs(model, sizes.inputs, rng)))
    except UsageError:
        # Inputs that nobody can draw: the caller's data must do.
        if data is None:
            raise
        return feeds
    for drawn in drawn_shapes(model, sizes, rng):
        feeds.append(Feed("drawn", random_inputs(model, drawn, rng)))
    return feeds


def _entered(stack: ExitStack, runtime: Runtime, b: ir.Model) -> Run:
    """B where A ran, from its first run on; if it cannot even start there, it is not the same."""
    started: list[Run] = []

    def run(inputs: Mapping[str, Array]) -> dict[str, Array]:
        if not started:
            try:
                started.append(stack.enter_context(runtime.opened(b)))
            except EngineRefuses as error:
                raise CheckFailed(f"A runs and B does not: {error}") from error
        return started[0](inputs)

    return run


def _checks(
    run: Run,
    model: ir.Model,
    names: Sequence[str],
    answer: Answer,
    against: Reference,
    pairs: Mapping[str, Tie],
    known: Known,
) -> Iterator[OutputCheck]:
    """Run B on the input and judge each output that the models declare."""
    a, rounded = answer.outputs, None
    try:
        b = run(answer.feed.inputs)
    except (EngineRefuses, CannotEvaluate) as error:
        yield from (OutputCheck.failed(name, a[name], f"B fails: {error}") for name in names)
        return
    for name in names:
        if name not in b:
            yield OutputCheck.failed(name, a[name], "B gives no such element")
            continue
        check = _judged(model, name, b, answer, against)
        # Where there is no float64 to compare with, it is far from what A gives, or A is in float64
        # itself, moving the inputs shows little of A's own roundings: they are drawn at random.
        finer = against.independent and a[name].dtype != np.float64
        if not (check.passed or check.undecided or finer):
            drawn = draws(model, answer, known.seed, lucky=False)
            rounded = rounded or replace(answer, others=(*answer.others, *drawn))
            check = _judged(model, name, b, rounded, against)
        if name in pairs and not check.passed and against.independent:
            pair = pairs[name]
            seen = noise(model, answer, against, pair.in_a)
            check = settled(check, pair, a, b, against.outputs, seen)
        if answer.feed.kind == "given":
            check = _as_given(check, model, answer, b, known, against)
        yield replace(check, constant=check.passed and _constant(model, name, answer, against))
    for name in sorted(b.keys() - a.keys() - {pair.in_b for pair in pairs.values()}):
        yield OutputCheck.failed(name, b[name], "A gives no such element")


def _as_given(
    check: OutputCheck,
    model: ir.Model,
    answer: Answer,
    b: Mapping[str, Array],
    known: Known,
    against: Reference,
) -> OutputCheck:
    """The check on the caller's numbers, by A's own roundings where these say more.

    They are what they are: moving them may hide what B loses on them, or leave it open.
    """
    if not (check.passed or check.undecided):
        return check
    for closer in strict(model, answer, b, [check.name], known, against).checks:
        # What passed is taken back where it fails here; what was left open takes this answer.
        if check.undecided or not closer.passed:
            return closer
    return check


def _judged(
    model: ir.Model, name: str, b: Mapping[str, Array], answer: Answer, against: Reference
) -> OutputCheck:
    """One output of B next to A's."""
    x = answer.outputs[name]
    if not is_floating(x.dtype):
        return judge_exact(name, x, b[name])
    return judge(name, x, b[name], against.outputs[name], noise(model, answer, against, name))


def _constant(model: ir.Model, name: str, answer: Answer, against: Reference) -> bool:
    """Would a model pass that gives here what A gives on other inputs?"""
    elsewhere = [other for other in answer.elsewhere if name in other]
    return bool(elsewhere) and all(
        _judged(model, name, other, answer, against).passed for other in elsewhere
    )
