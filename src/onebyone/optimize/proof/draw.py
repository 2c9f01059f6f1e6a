"""What a piece is evaluated on: random numbers, at sizes as small as its operators allow.

Sizes that no constant has are of positions, and few positions show a fault in a weight as well as
many. They are made small, equal ones equally, but no smaller than the windows that slide over them
need; products of sizes stay products, and where positions are strided or resized, multiples stay
multiples. If the piece does not work at such sizes, or what it claims hangs on the positions, it is
evaluated at its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import gcd

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.constants import is_float
from onebyone.graph.shapes import Sizes
from onebyone.optimize.proof.piece import TARGETS, Piece
from onebyone.optimize.proof.snapshot import Record

__all__ = ["Shapes", "drawn", "fits", "own_shapes", "small_shapes"]


@dataclass(frozen=True)
class Shapes:
    """The shapes that a piece is evaluated at.

    Args:
        given: by its number, of each value that is given to the piece.
        small: what sizes of positions are smaller, also where a node asks for them.
    """

    given: Mapping[int, tuple[int, ...]]
    small: Mapping[int, int] = field(default_factory=dict)


MOST_ENTRIES = 64
"""A longer list of integers holds no sizes."""

LARGEST = 30_000_000
"""Numbers that a piece may compute at its own sizes, products counted as 64 each."""

_FEWEST = 4
_PICKING = frozenset(
    {
        *("ConstantOfShape", "Expand", "Gather", "GatherElements", "GatherND", "OneHot", "Range"),
        *("ScatterElements", "ScatterND", "Shape", "Size", "Slice", "Tile", "TopK"),
    }
)
"""Operators whose operands say which positions, or how many: there are others at other sizes."""

_STRIDING = frozenset(
    {
        *("AveragePool", "Conv", "ConvTranspose", "DepthToSpace", "LpPool", "MaxPool", "Resize"),
        *("SpaceToDepth", "Upsample"),
    }
)


def own_shapes(piece: Piece, sizes: Sizes) -> Shapes | None:
    """The shapes that a piece has for the sizes that the network is optimised for."""
    shapes: dict[int, tuple[int, ...]] = {}
    for number, (side, value) in piece.border.items():
        dims = side.graph.shape(value)
        known = [sizes.size(d) for d in dims] if dims is not None else [None]
        if None in known:
            return None
        shapes[number] = tuple(n for n in known if n is not None)
    return Shapes(shapes)


def small_shapes(piece: Piece, own: Shapes) -> Shapes | None:
    """Shapes with few positions; None where these would not be the same piece."""
    records = [record for side in piece.sides for record in side.records]
    if any(record.op_type in _PICKING for record in records):
        return None
    met = {n for shape in own.given.values() for n in shape}
    fixed = {-1, 0, 1, *(n for record in records for n in _fixed(record))}
    free = (met | {n for record in records for n in _targets(record)}) - fixed
    free -= {a for a in free for b in free if a * b in fixed}  # channels, cut into heads
    least = max([_FEWEST, *(2 * _reach(record) for record in records)])
    strided = any(record.op_type in _STRIDING and _strides(record) for record in records)
    small = _smaller(sorted(free), least, strided)
    found = {k: tuple(small.get(n, n) for n in shape) for k, shape in own.given.items()}
    return Shapes(found, small) if found != own.given else None


def _smaller(free: list[int], least: int, strided: bool) -> dict[int, int]:
    """A small size for each: products stay products, and multiples multiples if one strides."""
    small: dict[int, int] = {}
    for k, n in enumerate(free):
        pairs = [(abs(a - n // a), a) for a in small if n % a == 0 and n // a in small]
        whole = [a for a in small if strided and n % a == 0 and n // a <= 8]
        if pairs:
            a = min(pairs)[1]
            small[n] = small[a] * small[n // a]
        elif whole:
            small[n] = n // whole[-1] * small[whole[-1]]
        else:
            step = gcd(n, 8) if strided else 1
            small[n] = min(n, -(-(least + (0 if strided else k)) // step) * step)
    return small


def _fixed(record: Record) -> Iterator[int]:
    """Sizes that constants of a node have, and short lists of integers hold."""
    for at, value in enumerate(record.inputs):
        tensor = None if value is None else value.const_value
        if tensor is None or value is None or value.is_graph_input():
            continue
        if tensor.dtype.is_floating_point():
            yield from tensor.shape.numpy()
        elif tensor.size <= MOST_ENTRIES and TARGETS.get(record.op_type) != at:
            yield from (int(n) for n in np.ravel(tensor.numpy()))


def _targets(record: Record) -> Iterator[int]:
    """The sizes that a node asks for by a constant."""
    at = TARGETS.get(record.op_type, len(record.inputs))
    target = record.inputs[at] if at < len(record.inputs) else None
    if target is not None and target.const_value is not None:
        yield from (int(n) for n in target.const_value.numpy())


def _reach(record: Record) -> int:
    """How far the windows of an operator reach along their longest axis."""
    if record.op_type not in _STRIDING:
        return 1
    said = {a.name: a.value for a in record.attributes}
    kernel = list(said.get("kernel_shape") or ())
    if not kernel and record.op_type in ("Conv", "ConvTranspose") and record.inputs[1] is not None:
        shape = record.inputs[1].shape
        kernel = [n for n in (shape or ())[2:] if isinstance(n, int)]
    dilations = list(said.get("dilations") or [1] * len(kernel))
    return max((d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=False)), default=1)


def _strides(record: Record) -> bool:
    said = {a.name: a.value for a in record.attributes}
    plain = record.op_type in ("AveragePool", "Conv", "LpPool", "MaxPool")
    return not plain or any(n != 1 for n in said.get("strides") or ())


def fits(piece: Piece, sizes: Sizes) -> bool:
    """Whether a piece is small enough to be evaluated at its own sizes."""
    total = 0
    for side in piece.sides:
        for record in side.records:
            for value in record.outputs:
                dims = side.graph.shape(value) or ()
                known = [sizes.size(d) or 1 for d in dims]
                total += int(np.prod(known, dtype=object)) * _work(record)
    return total <= LARGEST


def _work(record: Record) -> int:
    """What one number of a result costs, in numbers: a product of many terms more than one."""
    weight = record.inputs[1] if len(record.inputs) > 1 else None
    if record.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or weight is None:
        return 1
    dims = [n for n in weight.shape or () if isinstance(n, int)]
    terms = int(np.prod(dims[1:] if record.op_type == "Conv" else dims[:1]))
    return 1 + terms // 64


def drawn(
    piece: Piece, shapes: Shapes, rng: np.random.Generator, positive: bool
) -> dict[int, Array]:
    """Standard normal numbers, or positive ones; 0 and 1 for what is no float."""
    given: dict[int, Array] = {}
    for number, (_, value) in sorted(piece.border.items()):
        shape = shapes.given[number]
        if is_float(value) or value.dtype is None:
            x = rng.standard_normal(shape)
            given[number] = np.abs(x) + 0.5 if positive else x
        else:
            given[number] = rng.integers(0, 2, shape).astype(_kind(value))
    return given


def _kind(value: ir.Value) -> np.dtype[np.generic]:
    assert value.dtype is not None
    return value.dtype.numpy()
