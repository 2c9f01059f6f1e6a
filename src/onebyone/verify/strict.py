"""The yardstick for inputs that are what they are: what A's own roundings do, and nothing else.

    quick     |b - a| <= 16 · η · max|a|           η: A's relative noise on ordinary inputs
    strict    |b - r| <= 64 · max(noise, u · max(max|r|, S), f),  noise = max(|a - r|, |ã - r|, …)

The quick one needs no further evaluation and is tried first; B passes by either. ã are evaluations
with A's roundings drawn at random, S the least of the sizes that the output has on inputs that
vary. docs/numerics.md derives both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.engines.inputs import Feed
from onebyone.errors import OnebyoneError
from onebyone.graph.ops.call import is_floating
from onebyone.verify.answers import Answer, Reference, Runtime, noise, patience, reference
from onebyone.verify.bound import FACTOR, SAMPLES, Noise, half_of_the_digits
from onebyone.verify.certificate import OutputCheck
from onebyone.verify.disturbed import disturbed
from onebyone.verify.judge import same, unlike, within
from onebyone.verify.trouble import VARIED

__all__ = ["Finding", "Known", "Ordinary", "draws", "measured", "strict"]

# A rewrite may lose four bits, and what it then has left is another draw of noise: as far apart
# as two draws may be where many were seen.
_LOSABLE = 16.0 * 4.0
_FURTHER = "further from the reference than A's own roundings explain"
# Evaluations with other roundings before B is found guilty.
_DRAWS = 8
# A's relative noise counts as usual up to so many unit roundoffs; beyond, it is looked at.
_USUAL = 256.0
QUICK = "A itself, within its relative noise on ordinary inputs"
STRICT = "A in float64, within its own roundings"


@dataclass(frozen=True)
class Ordinary:
    """What ordinary inputs tell of an output: A's relative noise and the least size."""

    noise: float = 0.0
    size: float = 0.0


@dataclass(frozen=True)
class Known:
    """What other runs tell: of each output by name, and what ran them; the seed of all."""

    outputs: Mapping[str, Ordinary]
    runtime: Runtime
    seed: int


@dataclass(frozen=True)
class Finding:
    """What was found on one input, what it was compared with, and why no more can be said."""

    checks: tuple[OutputCheck, ...]
    reference: str
    unproved: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Case:
    """One output on one input, and what the check needs to know."""

    name: str
    a: Array
    b: Array
    ordinary: Ordinary
    noise: Noise


def measured(
    model: ir.Model,
    answers: Sequence[Answer],
    references: Sequence[Reference],
    asked: Sequence[Answer],
) -> dict[str, Ordinary]:
    """What our own random inputs, and those of troublesome kinds that vary, tell of the outputs."""
    noises: dict[str, list[float]] = {}
    sizes: dict[str, list[float]] = {}
    for answer, against in zip(answers, references, strict=True):
        # The caller's own may be trouble themselves.
        for name, top in _tops(answer) if answer.feed.kind != "given" else ():
            seen = float(noise(model, answer, against, name).size.max(initial=0))
            noises.setdefault(name, []).append(seen / top)
            sizes.setdefault(name, []).append(top)
    for answer in asked:
        for name, top in _tops(answer) if answer.feed.kind.startswith(VARIED) else ():
            sizes.setdefault(name, []).append(top)
    # The least of each: a yardstick from the kindest input is the strictest.
    return {n: Ordinary(min(noises.get(n, [0.0])), min(tops)) for n, tops in sizes.items()}


def strict(
    model: ir.Model,
    answer: Answer,
    b: Mapping[str, Array],
    names: Iterable[str],
    known: Known,
    against: Reference | None = None,
) -> Finding:
    """Judge B's outputs on an input that is exactly what it is.

    Args:
        model: A.
        answer: what A gives.
        b: what B gives.
        names: of the outputs to judge.
        known: what other runs tell.
        against: A in float64, if it is known already.
    """
    results = [_at_once(model, answer, b, name, known) for name in names]
    cases = [one for one in results if isinstance(one, _Case)]
    if not cases:
        return _finding(results, QUICK)
    against = against or reference(model, answer, known.runtime)
    if not (against.independent or known.runtime.in_numpy):
        return _finding([*results, f"compared with {against.told}"], QUICK)
    drawn = draws(model, answer, known.seed, lucky=not _varies(answer.feed))
    return _finding([*results, *_settled(cases, against.outputs, drawn)], STRICT)


def _finding(results: Sequence[OutputCheck | str | _Case], reference: str) -> Finding:
    """What was found of each output, by what it is: a check, or why nothing can be said."""
    checks = tuple(one for one in results if isinstance(one, OutputCheck))
    return Finding(checks, reference, tuple(one for one in results if isinstance(one, str)))


def _at_once(
    model: ir.Model, answer: Answer, b: Mapping[str, Array], name: str, known: Known
) -> OutputCheck | str | _Case:
    """What can be said of an output without another evaluation; the open case where that fails."""
    a = answer.outputs[name]
    if name not in b:
        return OutputCheck.failed(name, a, "B gives no such element")
    if odd := unlike(a, b[name]):
        return OutputCheck.failed(name, a, odd)
    if same(a, b[name]).all():
        return OutputCheck(name, a.dtype.name, a.shape)
    if not is_floating(a.dtype):
        return f"{name!r} holds no floats and differs, as it may where values tie"
    if not np.isfinite(a).all():
        return f"A gives NaN or infinities in {name!r}"
    itself = Reference(answer.outputs, "", independent=False)
    ordinary = known.outputs.get(name, Ordinary())
    case = _Case(name, a, b[name], ordinary, noise(model, answer, itself, name))
    # A's noise on ordinary inputs, but neither less than a rounding nor so much that A is unsound.
    usual = min(max(ordinary.noise, case.noise.unit), _USUAL * case.noise.unit)
    bound = np.full(a.shape, FACTOR * usual * _top(a))
    check = within(name, a, b[name], a.astype(np.float64), bound)
    return check if check.used <= 1 else case


def _tops(answer: Answer) -> Iterator[tuple[str, float]]:
    """The largest value of each output of finite floats that is not all zero."""
    for name, x in answer.outputs.items():
        if is_floating(x.dtype) and np.isfinite(x).all() and _top(x) > 0:
            yield name, _top(x)


def _top(x: Array) -> float:
    return float(np.abs(x.astype(np.float64)).max(initial=0))


def _settled(
    cases: Sequence[_Case], targets: Mapping[str, Array], draws: Iterator[Mapping[str, Array]]
) -> list[OutputCheck | str]:
    """Each check by A's own roundings, or why nothing can be said; as many draws as it takes."""
    sizes = [np.abs(case.a.astype(np.float64) - targets[case.name]) for case in cases]
    results = [_strictly(c, targets[c.name], size) for c, size in zip(cases, sizes, strict=True)]
    while any(_failed(one) for one in results):
        draw = next(draws, None)
        if draw is None:
            break
        for k, case in enumerate(cases):
            if _failed(results[k]):
                target = targets[case.name]
                sizes[k] = _widened(sizes[k], draw.get(case.name, np.empty(0)), target)
                results[k] = _strictly(case, target, sizes[k])
    return results


def _failed(result: OutputCheck | str) -> bool:
    return isinstance(result, OutputCheck) and not result.passed


def _widened(size: Array, draw: Array, target: Array) -> Array:
    """The noise with one more draw of it; without end where that is another kind of answer."""
    if draw.shape != target.shape or not np.isfinite(draw).all():
        return np.full(size.shape, np.inf)
    return np.asarray(np.maximum(size, np.abs(draw - target)))


def _varies(feed: Feed) -> bool:
    return feed.kind == "given" or feed.kind.startswith(VARIED)


def draws(
    model: ir.Model, answer: Answer, seed: int, *, lucky: bool
) -> Iterator[Mapping[str, Array]]:
    """Evaluations of A with its roundings drawn at random (`disturbed`), where they can be."""
    rng = np.random.default_rng([seed, 4])
    for _ in range(_DRAWS):
        try:
            yield disturbed(model, answer.feed.inputs, rng, patience(model), lucky)
        except (OnebyoneError, MemoryError):
            return


def _strictly(case: _Case, target: Array, size: Array) -> OutputCheck | str:
    """The check by noise of this size, or why nothing can be said."""
    unit, floor, top = case.noise.unit, case.noise.floor, max(_top(target), case.ordinary.size)
    if not half_of_the_digits(size, np.full(1, top), unit, floor):
        return f"A itself loses more than half of the digits of {case.name!r}"
    # A few numbers can all have little noise by chance; see `bound.limits`.
    depth = math.sqrt(case.noise.depth) if size.size < SAMPLES else 1.0
    limit = _LOSABLE * max(float(size.max(initial=0)), depth * unit * top, floor)
    check = within(case.name, case.a, case.b, target, np.full(target.shape, limit))
    if check.used > 1:
        return replace(check, reason=_FURTHER)
    return check
