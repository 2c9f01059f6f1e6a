"""Inputs that look for trouble: what random ones never hold, and what the graph is sensitive to.

Each kind is made of an ordinary input of small sizes, with the inputs that it concerns put in its
place: near a constant that they meet (`cancel`), a large offset with small differences, masks of 0
and 1, an image's ranges, the smallest and the tiniest numbers. Integers stay what indices may be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import ml_dtypes
import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.engines.inputs import Feed, chosen_shapes, random_inputs
from onebyone.graph.ops.call import is_floating
from onebyone.graph.shapes import Sizes
from onebyone.verify.bound import UNITS
from onebyone.verify.cancel import Cancellation, added_inputs, cancellations

__all__ = ["VARIED", "affordable", "elements", "general", "pointed", "small", "smallest"]

# Kinds whose outputs are of their usual size: constants alone may give 0 where A is exact.
VARIED = ("near", "offset")
# Constants that an input is brought near to: more of them are further steps of the same sum.
_MEETINGS = 3
# Differences beside an offset that leaves them half of their digits.
_DIFFERENCE = 16.0
# An image axis of the small sizes: what five halvings leave one of.
_EDGE = 32
_TINY = 2.0**-100
# Weights times elements: below so many, two runs take less than a session takes to open.
_CHEAP = 2e9


def small(model: ir.Model, sizes: Sizes, seed: int) -> Iterator[Feed]:
    """Ordinary numbers of small sizes, to make others of; none where the sizes are fixed."""
    shapes = chosen_shapes(model, sizes, _EDGE)
    if shapes is not None:
        feed = Feed("small", random_inputs(model, shapes, np.random.default_rng([seed, 1])))
        # Integers may be indices into something small.
        yield from (feed, feed.modest())


def smallest(model: ir.Model, sizes: Sizes, seed: int) -> Iterator[Feed]:
    """Ordinary numbers of the extreme of the shapes: one along each free axis; none without any."""
    shapes = chosen_shapes(model, sizes, 1)
    if shapes is not None:
        yield Feed("size 1", random_inputs(model, shapes, np.random.default_rng([seed, 3])))


def affordable(model: ir.Model, base: Feed, ordinary: Sequence[Feed]) -> int:
    """How many troublesome inputs of the sizes of `base` take a fifth of the other runs.

    An ordinary input is run six times over, the float64 evaluation counted as three, a troublesome
    one twice.
    """
    weights = sum(v.const_value.size for v in model.graph.initializers.values() if v.const_value)
    largest = max((x.size for x in base.inputs.values()), default=1)
    if weights * largest <= _CHEAP:
        return _MOST
    return min(_MOST, sum(map(elements, ordinary)) * 6 // (5 * 2 * max(elements(base), 1)))


_MOST = 32


def pointed(model: ir.Model, base: Feed, seed: int) -> Iterator[Feed]:
    """Inputs of the sizes of `base` near the constants that the graph shows."""
    yield from _near(cancellations(model, base.inputs), base, np.random.default_rng([seed, 5]))


def general(model: ir.Model, base: Feed, seed: int) -> Iterator[Feed]:
    """Inputs of the sizes of `base` that trouble many a model, what finds most first."""
    rng = np.random.default_rng([seed, 2])
    added = added_inputs(model.graph)
    kinds = {**_KINDS, "offset": _offset(_coarsest(model, base))}
    for kind, make in kinds.items():
        # The most negative number is what masks hold: only what is added may be one.
        where = added if kind == "smallest float" else base.inputs.keys()
        changed = {n: make(x, rng) for n, x in base.inputs.items() if n in where}
        # An input that a kind does not concern comes back as it is.
        changed = {n: x for n, x in changed.items() if x is not base.inputs[n]}
        if changed:
            yield Feed(kind, {**base.inputs, **changed})


def elements(feed: Feed) -> int:
    """How many numbers an input holds."""
    return sum(x.size for x in feed.inputs.values())


def _near(found: Sequence[Cancellation], base: Feed, rng: np.random.Generator) -> Iterator[Feed]:
    """Each input near the first of its constants, then near the second, …"""
    named: dict[str, list[Cancellation]] = {}
    for one in found:
        if one.condition >= 1:
            named.setdefault(one.name, []).append(one)
    for k in range(_MEETINGS):
        chosen = [some[k] for some in named.values() if k < len(some)]
        if chosen:
            inputs = {one.name: _around(base.inputs[one.name], one, rng) for one in chosen}
            told = " and ".join(f"{one.typical:.6g}" for one in chosen[:_MEETINGS])
            yield Feed(f"near {told}", {**base.inputs, **inputs})


def _around(x: Array, one: Cancellation, rng: np.random.Generator) -> Array:
    """An input whose elements lie around where a constant cancels them."""
    spread = np.minimum(one.spread, np.maximum(1.0, np.abs(one.centre)))
    # Of few bits, so that a Cast to a narrower type holds them.
    step = np.exp2(np.floor(np.log2(np.maximum(spread, _TINY)))) / _DIFFERENCE
    values = step * np.rint((one.centre + spread * rng.standard_normal(x.shape)) / step)
    return _typed(np.where(np.isnan(one.centre), x.astype(np.float64), values), x.dtype)


def _extremes(kind: np.dtype[np.generic]) -> tuple[float, float]:
    """The smallest normal and the largest number of a floating type."""
    info = ml_dtypes.finfo(kind)  # type: ignore[no-untyped-call]
    return float(info.tiny), float(info.max)


def _typed(values: Array, kind: np.dtype[np.generic]) -> Array:
    if kind.kind == "b":
        return np.asarray(values != 0)
    if "int" in kind.name:  # those of four bits are of no kind that NumPy knows
        limits = ml_dtypes.iinfo(kind)  # type: ignore[no-untyped-call]
        return np.asarray(np.clip(np.rint(values), limits.min, limits.max).astype(kind))
    largest = _extremes(kind)[1]
    return np.asarray(np.clip(values, -largest, largest).astype(kind))


# --- the kinds that every model is asked --------------------------------------------------------

Make = Callable[[Array, np.random.Generator], Array]


def _floats(make: Make) -> Make:
    """Of floats alone; others stay as they are."""

    def made(x: Array, rng: np.random.Generator) -> Array:
        return _typed(make(x, rng), x.dtype) if is_floating(x.dtype) else x

    return made


def _offset(unit: float) -> Make:
    """The same in all inputs, with differences of 16 that half of the digits are left for."""

    def made(x: Array, rng: np.random.Generator) -> Array:
        differences = np.rint(_DIFFERENCE * rng.standard_normal(x.shape))
        return np.asarray(_DIFFERENCE / np.sqrt(unit) + differences)

    return _floats(made)


def _coarsest(model: ir.Model, base: Feed) -> float:
    """The unit roundoff of the coarsest float among inputs and weights."""
    given = (ir.DataType.from_numpy(x.dtype) for x in base.inputs.values())
    stored = (value.dtype for value in model.graph.initializers.values())
    return max((UNITS[kind] for kind in (*given, *stored) if kind in UNITS), default=2.0**-24)


def _image(x: Array, rng: np.random.Generator) -> Array:
    """0 … 255 where an image may be: in bytes, and in floats with axes."""
    if x.dtype.name != "uint8" and not (is_floating(x.dtype) and x.ndim > 1):
        return x
    return _typed(rng.integers(0, 256, x.shape).astype(np.float64), x.dtype)


def _smallest(x: Array, rng: np.random.Generator) -> Array:
    return np.where(rng.random(x.shape) < _MASKED, -_extremes(x.dtype)[1], 0.0)


def _denormal(x: Array, rng: np.random.Generator) -> Array:
    return _extremes(x.dtype)[0] * rng.uniform(-1, 1, x.shape)


_MASKED = 0.25
_KINDS: Mapping[str, Make] = {
    "smallest float": _floats(_smallest),
    "offset": _offset(2.0**-24),
    "ones": lambda x, _: np.ones_like(x),
    "mask": lambda x, rng: _typed(rng.integers(0, 2, x.shape).astype(np.float64), x.dtype),
    "image 0..255": _image,
    "image 0..1": _floats(lambda x, rng: rng.random(x.shape)),
    "zeros": lambda x, _: np.zeros_like(x),
    "denormal": _floats(_denormal),
}
