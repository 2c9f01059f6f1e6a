"""What rounding may do to an output: the bound that a rewritten model is held to.

Symbols, for one output tensor on one input: r its value in float64, a and b the values that the
two models give in their own precision, u the unit roundoff of that precision, and

    noise = max(|a - r|, |a' - a|, ...)     elementwise; a' on inputs moved by one rounding

what rounding does to the original, element by element. Two tests, with C = 16:

    tensor    |b - r| <= C · max(max noise, u · max|r|, f)
    slice j   |b - r| <= C · max(max noise_j, ρ · max|r_j|, f),  ρ = median_j max noise_j / max|r_j|

the slices being those along the channel axis and along the last axis, f what the engine loses there
at values of any size (0 but for Sigmoid). docs/numerics.md derives them and says what they can and
cannot see.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onebyone.algebra.weights import Array

__all__ = [
    "FACTOR",
    "SAMPLES",
    "UNITS",
    "Noise",
    "half_of_the_digits",
    "limits",
    "samples",
    "unit_roundoff",
]

# How far two draws of the same rounding noise may lie apart.
FACTOR = 16.0
# Fewer samples of the noise than this say too little about its size.
SAMPLES = 8
# Of more slices than this one more sample of each, for each time that they are twice as many.
_MANY = 1024
# A sum that cancels in one order of its additions leaves some units of its terms in another, and
# its terms may be of the size of the largest value: a slice below this many units of it is dust.
_DUST = 4.0


@dataclass(frozen=True)
class Noise:
    """What is known of the rounding noise of one output of the original.

    Args:
        size: the largest deviation seen at each element, in the shape of the output.
        samples: how many independent deviations were seen at each element.
        depth: the number of nodes of the model.
        unit: the unit roundoff of the model at this output.
        floor: the error that the engine makes there at values of any size, however small.
    """

    size: Array
    samples: int
    depth: int
    unit: float
    floor: float = 0.0


def unit_roundoff(dtype: npt.DTypeLike) -> float:
    """Half the distance from 1 to the next number of a floating type.

    >>> unit_roundoff(np.float32) == 2**-24, unit_roundoff(np.float16) == 2**-11
    (True, True)
    """
    return float(ml_dtypes.finfo(np.dtype(dtype)).eps) / 2  # type: ignore[no-untyped-call]


UNITS = {
    kind: unit_roundoff(kind.numpy())
    for kind in (ir.DataType.DOUBLE, ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
}
"""The unit roundoff of each type that is computed in; smaller floats stand for integers."""


def half_of_the_digits(noise: Array, reference: Array, unit: float, floor: float = 0.0) -> bool:
    """Whether the noise leaves at least half of the digits of the largest value.

    Noise of the size of `floor` is the engine's, and says nothing of the model.

    >>> half_of_the_digits(np.array([1e-5]), np.array([1.0]), 2**-24)
    True
    """
    top = np.abs(reference).max(initial=0)
    return bool(noise.max(initial=0) <= max(math.sqrt(unit) * top, FACTOR * floor))


def limits(reference: Array, noise: Noise) -> Array:
    """How far each element may lie from the reference; broadcasts to its shape.

    `reference` is finite. An empty tensor has the limit 0.

    >>> r = np.array([[1.0, 2.0], [100.0, 200.0]])
    >>> quiet = Noise(np.zeros((2, 2)), 8, 10, 2**-24)
    >>> limits(r, quiet).round(6)
    array([[9.50e-05, 1.91e-04]])
    """
    top = float(np.abs(reference).max(initial=0))
    largest = max(float(noise.size.max(initial=0)), noise.unit * top, noise.floor)
    if reference.size * noise.samples < SAMPLES:
        # A few numbers can all be small by chance. Rounding errors grow like the square root of
        # their number (Higham and Mary, SIAM J. Sci. Comput. 41 (2019), A2815).
        largest = max(largest, math.sqrt(noise.depth) * noise.unit * top)
    bound = np.full((1,) * reference.ndim, FACTOR * largest)
    dust = _DUST * noise.unit * top
    # Channels stand on axis 1 in images and last in tokens; other axes hold positions.
    for axis in sorted({min(1, reference.ndim - 1), reference.ndim - 1} - {-1}):
        slices = reference.shape[axis]
        if reference.size * noise.samples >= samples(slices) * slices > 0:
            bound = np.minimum(bound, _slices(reference, noise, axis, dust))
    return bound


def samples(slices: int) -> float:
    """How much noise has to be seen of each slice: of very many, some have little by chance.

    >>> samples(64), samples(1000), samples(2**20)
    (8.0, 8.0, 18.0)
    """
    return SAMPLES + max(0.0, math.log2(max(slices, 1) / _MANY))


def _slices(reference: Array, noise: Noise, axis: int, dust: float) -> Array:
    """The limit of each slice along an axis; a slice of nothing but dust may be other dust."""
    others = tuple(k for k in range(reference.ndim) if k != axis)
    seen = noise.size.max(axis=others, keepdims=True)
    top = np.abs(reference).max(axis=others, keepdims=True)
    # The median, so that one slice that happened to show no noise is not held to none.
    usual = np.median(seen[top > 0] / top[top > 0]) if np.any(top) else 0.0
    least = np.maximum(max(float(usual), noise.unit) * top, noise.floor)
    limit = FACTOR * np.maximum(seen, least)
    return np.asarray(np.where(top <= dust, np.maximum(limit, dust), limit))
