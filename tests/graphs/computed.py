"""Draw a constant as an expression of constants, as exporters leave it: masks, slices, casts, sums.

Every part is an integer wherever the constant is one, so the expression is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .sketch import Sketch

__all__ = ["EXPRESSIONS", "expression"]


def _masked(g: Sketch, array: np.ndarray) -> str:
    """weight_orig · mask, as torch.nn.utils.prune leaves it."""
    mask = (array != 0).astype(np.float32)
    return g.node(
        "Mul", [g.constant(np.where(mask, array, 7).astype(np.float32)), g.constant(mask)]
    )


def _sliced(g: Sketch, array: np.ndarray) -> str:
    """The first rows of a larger weight (slimmable networks)."""
    more = g.rng.integers(-2, 3, (2, *array.shape[1:])).astype(np.float32)
    whole = g.constant(np.concatenate([array, more]))
    return g.node("Slice", [whole, g.integers([0]), g.integers([len(array)]), g.integers([0])])


def _stacked(g: Sketch, array: np.ndarray) -> str:
    parts = np.split(array, [max(1, len(array) // 2)])
    return g.node("Concat", [g.constant(part) for part in parts if len(part)], axis=0)


def _summed(g: Sketch, array: np.ndarray) -> str:
    """W + ΔW, a merged adapter; of reals the parts are such that the sum is exact."""
    more = np.sign(g.rng.integers(-1, 2, array.shape)).astype(np.float32) * (array % 1 == 0)
    return g.node("Add", [g.constant(array - more), g.constant(more.astype(np.float32))])


def _turned(g: Sketch, array: np.ndarray) -> str:
    perm = [*range(array.ndim)][::-1]
    return g.node("Transpose", [g.constant(np.ascontiguousarray(array.transpose(perm)))], perm=perm)


def _reshaped(g: Sketch, array: np.ndarray) -> str:
    return g.node("Reshape", [g.constant(array.reshape(-1)), g.integers(array.shape)])


def _cast(g: Sketch, array: np.ndarray) -> str:
    """From a float16 or an int8 that it fits, by way of float64."""
    kind = np.int8 if np.all(array % 1 == 0) else np.float64
    return g.node("Cast", [g.constant(array.astype(kind))], to=1)


def _gathered(g: Sketch, array: np.ndarray) -> str:
    order = g.rng.permutation(len(array))
    return g.node("Gather", [g.constant(array[order]), g.integers(np.argsort(order))], axis=0)


def _scaled(g: Sketch, array: np.ndarray) -> str:
    """v · g, as weight_norm has it, where g is a power of two for each row."""
    norm = 2.0 ** g.rng.integers(-1, 3, (len(array),) + (1,) * (array.ndim - 1))
    parts = (array / norm).astype(np.float32), norm.astype(np.float32)
    return g.node("Mul", [g.constant(part) for part in parts])


def _passed(g: Sketch, array: np.ndarray) -> str:
    return g.node("Identity", [g.constant(array)])


def _twice(g: Sketch, array: np.ndarray) -> str:
    """Expressions in an expression."""
    halves = _scaled(g, array), _passed(g, np.float32(1).reshape((1,) * array.ndim))
    return g.node("Mul", list(halves))


def _dequantised(g: Sketch, array: np.ndarray) -> str:
    if np.any(array % 1) or g.dtype != 1:
        return _passed(g, array)
    scale, zero = (g.constant(np.array(v, t)) for v, t in ((1, np.float32), (0, np.int8)))
    return g.node("DequantizeLinear", [g.constant(array.astype(np.int8)), scale, zero])


EXPRESSIONS: tuple[Callable[[Sketch, np.ndarray], str], ...] = (
    _masked, _sliced, _stacked, _summed, _turned, _reshaped, _cast, _gathered, _scaled, _passed,
    _twice, _dequantised,
)  # fmt: skip


def expression(g: Sketch, array: np.ndarray) -> str | None:
    """The name of a value that is `array`, computed from constants; None for a scalar."""
    if not array.ndim:
        return None
    g.mark("computed constant")
    return g.pick(EXPRESSIONS)(g, array)  # type: ignore[no-any-return]
