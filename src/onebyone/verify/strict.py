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
from onebyone.graph.time_limit import time_limit
from onebyone.verify.answers import NUMPY, Answer, Reference, noise, reference
from onebyone.verify.bound import FACTOR, SAMPLES, Noise, half_of_the_digits
from onebyone.verify.certificate import OutputCheck
from onebyone.verify.disturbed import disturbed
from onebyone.verify.judge import described, same, shares, unlike
from onebyone.verify.trouble import VARIED

__all__ = ["FURTHER", "LOSABLE", "Finding", "Known", "Ordinary", "draws", "measured", "strict"]

# A rewrite may lose four bits, and what it then has left is another draw of noise: as far apart
# as two draws may be where many were seen.
LOSABLE = 16.0 * 4.0
FURTHER = "further from the reference than A's own roundings explain"
# Evaluations with other roundings before B is found guilty.
_DRAWS = 8
# A's relative noise counts as usual up to so many unit roundoffs; beyond, it is looked at.
_USUAL = 256.0
_SLOWER = 10
QUICK = "A itself, within its relative noise on ordinary inputs"
STRICT = "A in float64, within its own roundings"


@dataclass(frozen=True)
class Ordinary:
    """What ordinary inputs tell of an output: A's relative noise and the least size."""

    noise: float = 0.0
    size: float = 0.0


@dataclass(frozen=True)
class Known:
    """What other runs tell: of each output by name, and by which engine; the seed of all."""

    outputs: Mapping[str, Ordinary]
    engine: str
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
    model: ir.Model, pairs: Iterable[tuple[Answer, Reference]], varied: Iterable[Answer]
) -> dict[str, Ordinary]:
    """What is known of each float output from inputs whose noise was measured, and others."""
    noises: dict[str, list[float]] = {}
    sizes: dict[str, list[float]] = {}
    for answer, against in pairs:
        for name, x in answer.outputs.items():
            if _judgeable(x) and _top(x) > 0:
                seen = float(noise(model, answer, against, name).size.max(initial=0))
                noises.setdefault(name, []).append(seen / _top(x))
                sizes.setdefault(name, []).append(_top(x))
    for answer in varied:
        for name, x in answer.outputs.items():
            if _judgeable(x) and _top(x) > 0:
                sizes.setdefault(name, []).append(_top(x))
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
    checks, told, open_cases = [], [], []
    itself = Reference(answer.outputs, "", independent=False)
    for name in names:
        a = answer.outputs[name]
        reason = _hopeless(name, a, b)
        if name not in b:
            checks.append(OutputCheck.failed(name, a, "B gives no such element"))
        elif unlike(a, b[name]):
            checks.append(OutputCheck.failed(name, a, unlike(a, b[name])))
        elif reason:
            told.append(reason)
        elif not is_floating(a.dtype):
            checks.append(OutputCheck(name, a.dtype.name, a.shape))
        else:
            usual = known.outputs.get(name, Ordinary())
            case = _Case(name, a, b[name], usual, noise(model, answer, itself, name))
            quick = _quick(case)
            checks += [quick] if quick else []
            open_cases += [] if quick else [case]
    if not open_cases:
        return Finding(tuple(checks), QUICK, tuple(told))
    against = against or reference(model, answer, known.engine)
    if not (against.independent or known.engine.startswith(NUMPY)):
        return Finding(tuple(checks), QUICK, (*told, f"compared with {against.told}"))
    lucky = not _varies(answer.feed)
    drawn = draws(model, answer, known.seed, lucky=lucky)
    for found in _settled(open_cases, against.outputs, drawn):
        checks += [found] if isinstance(found, OutputCheck) else []
        told += [found] if isinstance(found, str) else []
    return Finding(tuple(checks), STRICT, tuple(told))


def _judgeable(x: Array) -> bool:
    return is_floating(x.dtype) and x.size > 0 and bool(np.isfinite(x).all())


def _top(x: Array) -> float:
    return float(np.abs(x.astype(np.float64)).max(initial=0))


def _hopeless(name: str, a: Array, b: Mapping[str, Array]) -> str:
    """Why nothing can be said of an output that both give; empty if it can."""
    if name not in b or unlike(a, b[name]) or same(a, b[name]).all():
        return ""
    if not is_floating(a.dtype):
        return f"{name!r} holds no floats and differs, as it may where values tie"
    return "" if np.isfinite(a).all() else f"A gives NaN or infinities in {name!r}"


def _quick(case: _Case) -> OutputCheck | None:
    """The check by what is usual; None where that does not pass."""
    if same(case.a, case.b).all():
        return OutputCheck(case.name, case.a.dtype.name, case.a.shape)
    unit = case.noise.unit
    usual = min(max(case.ordinary.noise, unit), _USUAL * unit)
    bound = np.full(case.a.shape, FACTOR * usual * _top(case.a))
    check = _check(case, case.a.astype(np.float64), bound)
    return check if check.used <= 1 else None


def _check(case: _Case, target: Array, bound: Array) -> OutputCheck:
    a, b = case.a.astype(np.float64), case.b.astype(np.float64)
    error = np.where(np.isfinite(b), np.abs(b - target), np.inf)
    used = np.zeros(a.shape)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        np.divide(error, bound, out=used, where=error > 0)
    finite = np.where(np.isfinite(error), error, 0.0)
    return OutputCheck(
        case.name,
        case.a.dtype.name,
        case.a.shape,
        max_abs_error=float(finite.max(initial=0)),
        error_of_a=float(np.abs(a - target).max(initial=0)),
        bound=float(bound.max(initial=0)),
        used=float(used.max(initial=0)),
        element=described(error, used, a, b, target, bound),
        shares=shares(used),
    )


def _settled(
    cases: Sequence[_Case], targets: Mapping[str, Array], draws: Iterator[Mapping[str, Array]]
) -> list[OutputCheck | str]:
    """Each check by A's own roundings, or why nothing can be said; as many draws as it takes."""
    sizes = [np.abs(case.a.astype(np.float64) - targets[case.name]) for case in cases]
    found = [_strictly(c, targets[c.name], size) for c, size in zip(cases, sizes, strict=True)]
    while any(_failed(one) for one in found):
        draw = next(draws, None)
        if draw is None:
            break
        for k, case in enumerate(cases):
            if _failed(found[k]):
                target = targets[case.name]
                sizes[k] = _widened(sizes[k], draw.get(case.name, np.empty(0)), target)
                found[k] = _strictly(case, target, sizes[k])
    return found


def _failed(found: OutputCheck | str) -> bool:
    return isinstance(found, OutputCheck) and not found.passed


def _widened(size: Array, draw: Array, target: Array) -> Array:
    """The noise with one more draw of it; without end where that is another kind of answer."""
    fits = draw.shape == target.shape and np.isfinite(draw).all()
    return np.maximum(size, np.abs(draw - target)) if fits else np.full(size.shape, np.inf)


def _varies(feed: Feed) -> bool:
    return feed.kind == "given" or feed.kind.startswith(VARIED)


def draws(
    model: ir.Model, answer: Answer, seed: int, *, lucky: bool
) -> Iterator[Mapping[str, Array]]:
    """Evaluations of A with its roundings drawn at random (`disturbed`), where they can be."""
    rng = np.random.default_rng([seed, 4])
    for _ in range(_DRAWS):
        try:
            longest = _SLOWER * time_limit(model)
            yield disturbed(model, answer.feed.inputs, rng, longest, lucky)
        except (OnebyoneError, MemoryError):
            return


def _strictly(case: _Case, target: Array, size: Array) -> OutputCheck | str:
    """The check by noise of this size, or why nothing can be said."""
    unit, floor, top = case.noise.unit, case.noise.floor, max(_top(target), case.ordinary.size)
    if not half_of_the_digits(size, np.full(1, top), unit, floor):
        return f"A itself loses more than half of the digits of {case.name!r}"
    # A few numbers can all have little noise by chance; see `bound.limits`.
    depth = math.sqrt(case.noise.depth) if size.size < SAMPLES else 1.0
    limit = LOSABLE * max(float(size.max(initial=0)), depth * unit * top, floor)
    check = _check(case, target, np.full(target.shape, limit))
    return check if check.used <= 1 else replace(check, reason=FURTHER)
