"""What the original gives: in the engine, on inputs moved by one rounding, and in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.engines.blame import blame
from onebyone.engines.engine import EngineRefuses
from onebyone.engines.inputs import Feed, nudged, random_inputs
from onebyone.engines.unoptimised import ENGINE, Run, flat, opened
from onebyone.errors import UsageError
from onebyone.graph.checks import one_line
from onebyone.graph.evaluate import CannotEvaluate, evaluate
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.call import is_floating
from onebyone.graph.time_limit import TakesTooLong, time_limit
from onebyone.verify.bound import UNITS, Noise, half_of_the_digits, samples
from onebyone.verify.judge import same

__all__ = [
    "Answer",
    "Asked",
    "Question",
    "Reference",
    "Runtime",
    "Seen",
    "noise",
    "original",
    "patience",
    "reference",
    "remembering",
]

Opened = Callable[[ir.Model], AbstractContextManager[Run]]
Asked = tuple[list["Answer"], list[str]]
"""What A gives on further inputs, and why it gives nothing on others."""
Question = Callable[[Run, Sequence["Answer"], "Runtime"], Asked]
Outputs = Mapping[str, Array]
Seen = Sequence[tuple[Mapping[str, Array], Outputs]]
"""Inputs, as the very objects that they are, and what a model gave on them."""
# Values seen of an element at most: eighteen are asked for of each of a million slices.
_MOST_RUNS = 18
# What the engine brought to an end in time may take so much longer in NumPy, node by node.
_SLOWER = 10
# Other inputs that an output has to be the same on before it counts as a constant, if it holds no
# floats: a class or a flag is often the same on two of them by chance.
_OTHER_INPUTS = 4
# The Python interface of the engine has no NumPy type for them.
_FOREIGN = frozenset(
    kind
    for kind in ir.DataType
    if kind not in (ir.DataType.UNDEFINED, ir.DataType.STRING) and kind.numpy().isbuiltin != 1
)
_NUMPY = "NumPy, every float as float64, weights as stored"


@dataclass(frozen=True)
class Answer:
    """What A gives on one input.

    Args:
        feed: the input.
        outputs: what it gives.
        others: what it gives on inputs moved by one rounding.
        elsewhere: what it gives on unrelated inputs of the same sizes, of the outputs alone that
            had not changed till then: with most networks none.
    """

    feed: Feed
    outputs: Outputs
    others: tuple[Outputs, ...] = ()
    elsewhere: tuple[Outputs, ...] = ()


@dataclass(frozen=True)
class Runtime:
    """What runs both models: ONNX Runtime, or NumPy where that cannot.

    Args:
        opened: from a model to what runs it, as long as the context lasts.
        name: as the certificate has it.
    """

    opened: Opened
    name: str

    @property
    def in_numpy(self) -> bool:
        """Whether it is our own evaluation, in float64: there is no second one to compare with."""
        return self.name.startswith(_NUMPY)


@dataclass(frozen=True)
class Reference:
    """What to compare with, where it comes from, and whether that is independent of A's answer."""

    outputs: Outputs
    told: str
    independent: bool


def remembering(run: Run, seen: Seen) -> Run:
    """A run that gives anew what is known of these very inputs, and runs on all others.

    >>> x, y = {"x": np.zeros(2)}, {"y": np.ones(2)}
    >>> remembering(lambda inputs: {}, [(x, y)])(x) == y, remembering(lambda inputs: {}, [])(x)
    (True, {})
    """
    if not seen:
        return run

    def answer(inputs: Mapping[str, Array]) -> dict[str, Array]:
        known = next((outputs for given, outputs in seen if given is inputs), None)
        return run(inputs) if known is None else dict(known)

    return answer


def original(
    model: ir.Model,
    feeds: Sequence[Feed],
    declared: Collection[str],
    seed: int,
    step: Callable[[], None],
    question: Question,
    seen: Seen = (),
) -> tuple[list[Answer], list[str], Runtime, Asked]:
    """Run A: what it gives on each input, why inputs were skipped, what ran it, and what it is
    asked beside.

    ONNX Runtime runs it, or where that cannot, NumPy. `question` is put while A is in there, so
    that no model is loaded twice. Of the outputs that the file itself has, `declared`, enough noise
    is seen for a bound on each slice; of others one on the tensor will do. What ONNX Runtime was
    `seen` to give is not computed again.

    Raises:
        UsageError: A fails on the caller's inputs, or on all random ones.
        UnreadableModel: and other inputs could not help.
        TakesTooLong: A does not come to an end.
        CannotEvaluate: neither ONNX Runtime nor NumPy can run A.
    """
    with ExitStack() as stack:
        run, runtime = _chosen(model, stack)
        if not runtime.in_numpy:
            run = remembering(run, seen)
        try:
            answers, skipped = _answers(model, run, feeds, declared, seed, step)
            return answers, skipped, runtime, question(run, answers, runtime)
        except UsageError as error:
            blame(model, error)
            raise
        except CannotEvaluate as error:
            # Why the engine does not load it mostly says better what is wrong with it.
            refusal = runtime.name.removeprefix(f"{_NUMPY}: ")
            raise CannotEvaluate(f"{refusal}; in NumPy: {one_line(str(error))}") from error


def _chosen(model: ir.Model, stack: ExitStack) -> tuple[Run, Runtime]:
    interface = (*model.graph.inputs, *model.graph.outputs)
    foreign = [value.dtype for value in interface if value.dtype in _FOREIGN]
    if foreign:
        refusal = f"ONNX Runtime takes no {foreign[0].name.lower()} tensors"
    else:
        try:
            return stack.enter_context(opened(model)), Runtime(opened, ENGINE)
        except EngineRefuses as error:
            refusal = str(error)
    return stack.enter_context(_in_numpy(model)), Runtime(_in_numpy, f"{_NUMPY}: {refusal}")


@contextmanager
def _in_numpy(model: ir.Model) -> Iterator[Run]:
    longest = time_limit(model)
    yield lambda inputs: _evaluated(model, inputs, longest)


def _evaluated(model: ir.Model, inputs: Mapping[str, Array], longest: float) -> dict[str, Array]:
    return flat(evaluate(model, inputs, longest=longest).items())


def _answers(
    model: ir.Model,
    run: Run,
    feeds: Sequence[Feed],
    declared: Collection[str],
    seed: int,
    step: Callable[[], None],
) -> tuple[list[Answer], list[str]]:
    found, skipped, errors = [], [], []
    for number, feed in enumerate(feeds):
        try:
            rng = np.random.default_rng([seed, number])
            found.append(_answer(model, run, feed, declared, rng))
        # Only sizes that we drew ourselves may be too much for A: what the caller asks for has to
        # run, and an operator that we lack is told at once.
        except (EngineRefuses, CannotEvaluate, MemoryError, TakesTooLong) as error:
            if feed.kind == "random" and isinstance(error, CannotEvaluate):
                raise
            if feed.kind != "drawn" and isinstance(error, MemoryError | TakesTooLong):
                raise
            if feed.kind == "given":
                raise UsageError(f"the original fails on the given data: {error}") from error
            skipped.append(f"{feed.kind} input of shapes {one_line(feed.shapes)}: {error}")
            errors.append(error)
        step()
    if not any(answer.feed.kind != "drawn" for answer in found):
        raise UsageError(
            f"the original fails; give sizes or data that it takes: {skipped[0]}"
        ) from errors[0]
    return found, skipped


def _answer(
    model: ir.Model, run: Run, feed: Feed, declared: Collection[str], rng: np.random.Generator
) -> Answer:
    try:
        outputs = run(feed.inputs)
    except (EngineRefuses, CannotEvaluate):
        # Integers may be indices into something small: 0 and 1 are the most modest.
        feed = feed.modest()
        outputs = run(feed.inputs)
    others = tuple(_others(run, feed, outputs, declared, rng))
    still = _same(outputs, outputs, *others)
    elsewhere = tuple(_elsewhere(model, run, feed, outputs, still, rng))
    return Answer(feed, outputs, others, elsewhere)


def _same(outputs: Outputs, *others: Outputs) -> set[str]:
    """The outputs that are the same, to the bit, in all the others."""
    return {
        name
        for name, x in outputs.items()
        if all(name in y and x.shape == y[name].shape and same(x, y[name]).all() for y in others)
    }


def _elsewhere(
    model: ir.Model,
    run: Run,
    feed: Feed,
    outputs: Outputs,
    still: set[str],
    rng: np.random.Generator,
) -> Iterator[Outputs]:
    """Runs on unrelated inputs, until each output has changed."""
    largest = max(
        (int(x.max(initial=0)) for x in feed.inputs.values() if x.dtype.kind in "iu"), default=9
    )
    for _ in range(_OTHER_INPUTS):
        if not (still and feed.inputs):
            return
        try:
            # Larger integers than A took may be indices into nothing.
            other = run(random_inputs(model, feed.shapes, rng, min(max(largest, 1), 9) + 1))
        except (UsageError, EngineRefuses, CannotEvaluate, MemoryError, TakesTooLong):
            return
        yield {name: other[name] for name in still if name in other}
        # Floats are not the same by chance.
        still = {n for n in still & _same(outputs, other) if not is_floating(outputs[n].dtype)}


def _others(
    run: Run, feed: Feed, outputs: Outputs, declared: Collection[str], rng: np.random.Generator
) -> Iterator[Outputs]:
    """As many runs on moved inputs as it takes to see each slice of the outputs often enough."""
    if not any(is_floating(x.dtype) for x in feed.inputs.values()):
        return
    floats = {name: x for name, x in outputs.items() if is_floating(x.dtype)}
    wanted = [
        _wanted(x) for name, x in floats.items() if {name, name.partition("[")[0]} & {*declared}
    ]
    for _ in range(min(max([2, *wanted]), _MOST_RUNS) - 1):
        try:
            other = run(nudged(feed.inputs, rng))
        except (EngineRefuses, CannotEvaluate, MemoryError):
            continue
        if all(name in other and other[name].shape == x.shape for name, x in outputs.items()):
            yield other


def _wanted(x: Array) -> int:
    """Values to be seen of each element, for as many of each slice as the bound asks for."""
    if not x.size:
        return 1
    counts = {x.shape[axis] for axis in {min(1, x.ndim - 1), x.ndim - 1} - {-1}} or {1}
    return int(max(math.ceil(samples(n) * n / x.size) for n in counts))


def patience(model: ir.Model) -> float:
    """Seconds that NumPy may take for what the engine brought to an end in time."""
    return _SLOWER * time_limit(model)


def reference(model: ir.Model, answer: Answer, runtime: Runtime) -> Reference:
    """A in float64; A's own answer where that cannot be had or cannot be trusted."""
    if runtime.in_numpy:
        return Reference(answer.outputs, "A in float64", independent=False)
    try:
        outputs = _evaluated(model, answer.feed.inputs, patience(model))
    except (CannotEvaluate, MemoryError) as error:
        told = f"A itself, for want of a float64 evaluation ({error})"
        return Reference(answer.outputs, told, independent=False)
    astray = [
        name
        for name, x in answer.outputs.items()
        if name not in outputs
        or not _near(x, outputs[name], _coarsest(model, name, x), _floor(model, name, x))
    ]
    if astray:
        told = f"A itself: more than half of the digits of {astray[0]!r} differ from float64"
        return Reference(answer.outputs, told, independent=False)
    return Reference(outputs, "A in float64", independent=True)


def _near(x: Array, target: Array, unit: float, floor: float) -> bool:
    """Whether a float64 value can be what an output means."""
    if not is_floating(x.dtype):
        return True
    if x.shape != target.shape:
        return False
    known = np.isfinite(x)
    target = np.where(known, target, 0)
    if not np.isfinite(target).all():
        return False
    error = np.abs(np.where(known, x, 0).astype(np.float64) - target)
    return half_of_the_digits(error, target, unit, floor)


def noise(model: ir.Model, answer: Answer, against: Reference, name: str) -> Noise:
    """What rounding does to one output of A: its error, and what moving its inputs does."""
    x = answer.outputs[name]
    others = [other.get(name, np.empty(0)) for other in answer.others]
    others = [other for other in others if other.shape == x.shape]
    if against.independent:
        others.append(against.outputs[name])
    size = np.zeros(x.shape)
    for other in others:
        known = np.isfinite(x) & np.isfinite(other)
        apart = np.zeros(x.shape)
        np.subtract(x, other, where=known, out=apart, dtype=np.float64)
        np.maximum(size, np.abs(apart, out=apart), out=size)
    unit, floor = _unit(model, name, x), _floor(model, name, x)
    # The number of nodes stands for the roundings that follow one another.
    return Noise(size, len(others), len(model.graph), unit, floor)


def _unit(model: ir.Model, name: str, x: Array) -> float:
    """The unit roundoff of an output; of the weights, where their rounding is all there is."""
    declared = [value.dtype for value in model.graph.outputs if value.name == name]
    if x.dtype != np.float64 or declared == [ir.DataType.DOUBLE]:
        return _coarsest(model, name, x)
    stored = [value.dtype for value in model.graph.initializers.values()]
    return max((UNITS[k] for k in (*declared, *stored) if k in UNITS), default=2.0**-53)


def _coarsest(model: ir.Model, name: str, x: Array) -> float:
    """The unit roundoff of the coarsest float on the way from the inputs to an output.

    A model in float16 may take and give float32, one in float32 float64: what it rounds to on the
    way is seen in the output, and nothing of a rounding of the inputs is left behind a Cast.
    """
    # What reads the sizes of a tensor rounds none of its numbers.
    way = _way_to(model, name, lambda node: 0 not in operator_of(node).unread)
    kinds = [ir.DataType.from_numpy(x.dtype), *(_declared(value) for value in way)]
    return max(UNITS.get(kind, 0.0) for kind in kinds)


def _declared(value: ir.Value) -> ir.DataType:
    """The type that the model itself names for a value: as an input, or by a Cast."""
    node = value.producer()
    if node is None and value.is_graph_input():
        return value.dtype or ir.DataType.UNDEFINED
    if node is not None and node.op_type == "Cast":
        return ir.DataType(node.attributes.get_int("to", 0))
    return ir.DataType.UNDEFINED


def _way_to(model: ir.Model, name: str, goes_on: Callable[[ir.Node], bool]) -> Iterator[ir.Value]:
    """The output of this name and what it is computed from, as far as nodes let it go on."""
    waiting = [value for node in model.graph for value in node.outputs if value.name == name]
    seen = set(waiting)
    while waiting:
        value = waiting.pop()
        yield value
        node = value.producer()
        if node is not None and goes_on(node):
            read = {v for v in node.inputs if v is not None} - seen
            seen |= read
            waiting += read


# ONNX Runtime's Sigmoid, a quotient of polynomials plus 0.5, is off by up to 1.5 of these wherever
# it is small (measured): its results below 2^-25 are 0 or noise.
_SIGMOID_FLOOR = 2.0**-24


def _floor(model: ir.Model, name: str, x: Array) -> float:
    """What the engine loses in an output at values of any size; float64 is done precisely."""
    if x.dtype == np.float64:
        return 0.0
    parts = _way_to(model, name, lambda node: operator_of(node).relays)
    makers = (value.producer() for value in parts)
    if any(node is not None and node.op_type == "Sigmoid" for node in makers):
        return _SIGMOID_FLOOR
    return 0.0
