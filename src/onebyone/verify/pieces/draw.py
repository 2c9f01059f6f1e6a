"""What a piece is evaluated on: random numbers, at sizes as small as its operators allow.

Sizes that no constant has are of positions, and few positions show a fault in a weight as well as
many. They are made small, equal ones equally, but no smaller than the windows that slide over them
need; products of sizes stay products, and where positions are strided or resized, multiples stay
multiples. If the piece does not work at such sizes, or what it claims hangs on the positions, it is
evaluated at its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd

import numpy as np
import onnx_ir as ir

from onebyone.algebra.layout import Reshape, Transpose, View, dim
from onebyone.algebra.weights import Array
from onebyone.graph.constants import is_float
from onebyone.graph.ops import Role
from onebyone.graph.shapes import Sizes
from onebyone.verify.pieces.piece import Asked, Piece, Side
from onebyone.verify.pieces.snapshot import Record
from onebyone.verify.pieces.views import viewed

__all__ = ["Shapes", "drawn", "fits", "own_shapes", "small_shapes"]


Small = Callable[[Sequence[int], int | None], tuple[int, ...]]
"""Sizes, and the axis of them that is of channels, if that is known -> smaller ones."""


@dataclass(frozen=True)
class Shapes:
    """The shapes that a piece is evaluated at.

    Args:
        given: by its number, of each value that is given to the piece.
        sizes: of the network.
        small: what makes sizes smaller than they are in the network; None if nothing does.
        asked: what nodes ask for in the place of the sizes in the network.
    """

    given: Mapping[int, tuple[int, ...]]
    sizes: Sizes
    small: Small | None = None
    asked: Asked = field(default_factory=dict)

    def length(self, side: Side, value: ir.Value, axis: int) -> int:
        """How long an axis of a value is where the piece is evaluated; 1 where it is unknown."""
        known = _known(side, value, self.sizes)
        if known is None:
            return 1
        if self.small is not None:
            known = self.small(known, _axis(side, value))
        return max(1, known[axis])


MOST_ENTRIES = 64
"""A longer list of integers holds no sizes."""

LARGEST = 60_000_000
"""Numbers that a piece may compute at its own sizes, products counted as 64 each: seconds."""

_FEWEST = 4
_NONE = -1  # the channel axis of indices, which have none: all of their sizes are of positions


def own_shapes(piece: Piece, sizes: Sizes) -> Shapes | None:
    """The shapes that a piece has for the sizes that the network is optimised for."""
    shapes: dict[int, tuple[int, ...]] = {}
    for number, (side, value) in piece.border.items():
        known = _known(side, value, sizes)
        if known is None:
            return None
        shapes[number] = known
    return Shapes(shapes, sizes)


def _known(side: Side, value: ir.Value, sizes: Sizes) -> tuple[int, ...] | None:
    """The shape of a value in the network, for the sizes that this is optimised for."""
    dims = side.graph.shape(value)
    known = [n for d in dims or () if (n := sizes.size(d)) is not None]
    if dims is None or len(known) < len(dims):
        return None
    return tuple(known)


def small_shapes(piece: Piece, own: Shapes) -> Shapes | None:
    """Shapes with few positions; None where these would not be the same piece."""
    records = [(side, record) for side in piece.sides for record in side.records]
    if any(record.names_positions for _, record in records):
        return None
    # Sizes of weights are of channels and kernels: a position of the same size stays, too.
    met = {n for _, record in records for n in _met(record)}
    stay = {-1, 0, 1, *(n for side, record in records for n in _placed(side, record))}
    shapes = [(own.given[k], _axis(side, v)) for k, (side, v) in piece.border.items()]
    for side, record in records:
        shapes += _named(side, record, own.sizes)
    free = {n for shape, axis in shapes for n in _positions(shape, axis, met)} - stay
    # Twice the reach, so that there are positions that padding does not touch.
    least = max([_FEWEST, *(2 * _reach(record) for _, record in records)])
    strided = any(_strides(r) for _, r in records)
    narrowed = any(_strides(r) and not _target(r) for _, r in records)
    fewer = _smaller(sorted(free), least, strided, narrowed, stay - {-1, 0, 1})

    def small(sizes: Sequence[int], axis: int | None) -> tuple[int, ...]:
        moving = set(_positions(sizes, axis, met))
        return tuple(
            fewer.get(n, n) if n in moving and k != axis else n for k, n in enumerate(sizes)
        )

    border = piece.border.items()
    given = {k: small(own.given[k], _axis(side, value)) for k, (side, value) in border}
    if given == own.given:
        return None
    views = _Views(own.sizes, small, fewer)
    asked = {r: sizes for side in piece.sides for r, sizes in views.asked(side)}
    return Shapes(given, own.sizes, small, asked)


@dataclass(frozen=True)
class _Views:
    """What nodes ask for at few positions.

    Args:
        sizes: of the network.
        small: what makes sizes smaller.
        fewer: size -> a smaller one, where an axis of that size is of positions.
    """

    sizes: Sizes
    small: Small
    fewer: Mapping[int, int]

    def asked(self, side: Side) -> Iterator[tuple[Record, tuple[int, ...]]]:
        """Nodes, and the sizes that they ask for by a constant."""
        shapes: dict[ir.Value, tuple[int, ...]] = {}
        for record in side.records:
            found = self._viewed(side, record, shapes)
            if found is not None:
                shapes[record.outputs[0]] = found
            if target := _target(record):
                sizes = found or self.small(target, side.graph.axes.get(record.outputs[0]))
                # What a node copies, or leaves open, stays so.
                pairs = zip(target, sizes, strict=True)
                yield record, tuple(own if own < 1 else n for own, n in pairs)

    def _viewed(
        self, side: Side, record: Record, shapes: Mapping[ir.Value, tuple[int, ...]]
    ) -> tuple[int, ...] | None:
        """The shape of a view whose operand has the one among these, or else a small one."""
        if record.operator.role is not Role.VIEW:
            return None
        x, y = record.inputs[0], record.outputs[0]
        before = None if x is None else _known(side, x, self.sizes)
        after = _known(side, y, self.sizes)
        if x is None or before is None or after is None:
            return None
        given = shapes.get(x) or self.small(before, _axis(side, x))
        move: View = Reshape(tuple(map(dim, after)))
        if record.op_type == "Transpose":
            said = {a.name: a.value for a in record.attributes}
            move = Transpose(tuple(said.get("perm") or reversed(range(len(before)))))
        return viewed(before, given, move, self.fewer)


def _axis(side: Side, value: ir.Value) -> int | None:
    """The channel axis of a value: by the word of what reads it, or else as it was followed."""
    if value in side.picked or value in side.marked:
        return _NONE
    shape = side.graph.shape(value)
    # What follows channels through views may guess; a convolution reads them on axis 1.
    told = (r.operator.channel_axis for r in side.records if r.inputs and r.inputs[0] is value)
    word = next((axis for axis in told if isinstance(axis, int)), None)
    if word is not None and shape is not None:
        return word % shape.rank()
    return side.graph.axes.get(value)


def _positions(sizes: Sequence[int], axis: int | None, met: Collection[int]) -> list[int]:
    """The sizes of positions; where the axis of channels is unknown, those that no weight has."""
    if axis is not None:
        return [n for k, n in enumerate(sizes) if k != axis]
    free = [n for n in sizes if n not in met]
    return [n for n in free if not any(n * other in met for other in free)]  # channels, cut up


def _smaller(
    free: list[int], least: int, strided: bool, narrowed: bool, stay: Collection[int] = ()
) -> dict[int, int]:
    """A small size for each: products stay products, and multiples multiples if one strides.

    Those that `stay` may be factors of such products.
    """
    small: dict[int, int] = {}
    for k, n in enumerate(free):
        # A product of two sizes: of positions that are flattened, say. The squarest pair is meant.
        known = {**{m: m for m in stay}, **small}
        pairs = [(abs(a - n // a), a) for a in known if n % a == 0 and n // a in known]
        whole = [a for a in small if strided and n % a == 0 and n // a <= 8]
        if pairs:
            a = min(pairs)[1]
            small[n] = known[a] * known[n // a]
        elif whole:
            small[n] = n // whole[-1] * small[whole[-1]]
        else:
            # What eight divides is halved up to three times where positions get fewer: it stays so.
            step = gcd(n, 8**narrowed)
            # Each another size, so that an axis in the place of another one shows.
            small[n] = min(n, (-(-least // step) + k) * step)
    return small


def _constants(record: Record) -> Iterator[tuple[int, ir.TensorProtocol]]:
    for at, value in enumerate(record.inputs):
        if value is not None and value.const_value is not None and not value.is_graph_input():
            yield at, value.const_value


def _met(record: Record) -> Iterator[int]:
    """Sizes that constants of a node have, and short lists of integers hold."""
    for at, tensor in _constants(record):
        if tensor.dtype.is_floating_point():
            yield from tensor.shape.numpy()
        elif tensor.size <= MOST_ENTRIES and at != record.operator.target:
            yield from (int(n) for n in np.ravel(tensor.numpy()))


def _placed(side: Side, record: Record) -> Iterator[int]:
    """Sizes of positions that the constants of a node have: what is added to each, say."""
    axis, out = side.graph.axes.get(record.outputs[0]), side.graph.shape(record.outputs[0])
    for at, tensor in _constants(record):
        stacked = record.op_type == "MatMul" and tensor.shape.rank() != 2
        weighs = record.operator.weighs and not stacked
        if weighs or at == record.operator.target:
            continue
        if not tensor.dtype.is_floating_point():
            yield from _met(record)
            continue
        dims, channels = tensor.shape.numpy(), -1
        if axis is not None and out is not None:
            channels = axis - out.rank() + len(dims)  # broadcast: axes are aligned at the last
        yield from (n for k, n in enumerate(dims) if k != channels)


def _target(record: Record) -> tuple[int, ...]:
    """The sizes that a node asks for by a constant."""
    wanted = record.operator.target
    lists = (tensor.numpy() for at, tensor in _constants(record) if at == wanted)
    return tuple(int(n) for n in next(lists, ()))


def _named(
    side: Side, record: Record, sizes: Sizes
) -> Iterator[tuple[tuple[int, ...], int | None]]:
    """The shape that a node asks for, and of what it makes that; the channel axis of each."""
    target, x = _target(record), record.inputs[0] if record.inputs else None
    yield target, side.graph.axes.get(record.outputs[0])
    if target and x is not None and (known := _known(side, x, sizes)):
        yield known, _axis(side, x)


def _reach(record: Record) -> int:
    """How far the windows of an operator reach along their longest axis."""
    if not record.operator.has_windows:
        return 1
    said = {a.name: a.value for a in record.attributes}
    kernel = list(said.get("kernel_shape") or ())
    if not kernel and record.operator.weighs and record.inputs[1] is not None:
        shape = record.inputs[1].shape
        kernel = [n for n in (shape or ())[2:] if isinstance(n, int)]
    dilations = list(said.get("dilations") or [1] * len(kernel))
    return max((d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=False)), default=1)


def _strides(record: Record) -> bool:
    """Whether a node gives more or fewer positions than it reads, edges apart."""
    if not record.operator.has_windows:
        return record.operator.rescales
    strides = next((a.value for a in record.attributes if a.name == "strides"), ())
    return any(n != 1 for n in strides or ())


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
    if record.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 1
    weight = record.inputs[1]
    dims = [n for n in (weight and weight.shape) or () if isinstance(n, int)]
    # A Conv's weight has the outputs first, the others what is summed over.
    summed = slice(1, None) if record.op_type == "Conv" else slice(1)
    return 1 + int(np.prod(dims[summed])) // 64


def drawn(
    piece: Piece, shapes: Shapes, rng: np.random.Generator, positive: bool
) -> dict[int, Array]:
    """Standard normal numbers, or positive ones; 0 and 1 for what is no float."""
    given: dict[int, Array] = {}
    for number, (_, value) in sorted(piece.border.items()):
        shape = shapes.given[number]
        if is_float(value) or value.dtype is None:
            given[number] = _normal(rng, shape)
            if positive:
                given[number] = np.abs(given[number]) + 0.5
        elif lengths := list(_lengths(piece, number, shapes)):  # negative ones count from the end
            least = min(lengths)
            given[number] = rng.integers(-least, least, shape).astype(_kind(value))
        elif places := list(_places(piece, number, shapes)):  # some beyond the ends, on both sides
            beyond = max(places) + 2
            given[number] = rng.integers(-beyond, beyond, shape).astype(_kind(value))
        else:  # 0 and 1 are conditions, and the most modest indices
            given[number] = rng.integers(0, 2, shape).astype(_kind(value))
    return given


def _lengths(piece: Piece, number: int, shapes: Shapes) -> Iterator[int]:
    """The lengths of the axes of which gathers pick by a given value."""
    for side in piece.sides:
        for value, axes in side.picked.items():
            if side.border[value] == number:
                yield from (shapes.length(side, x, axis) for x, axis in axes)


def _places(piece: Piece, number: int, shapes: Shapes) -> Iterator[int]:
    """The lengths of the axes along which a given value marks places."""
    for side in piece.sides:
        for value, axes in side.marked.items():
            if side.border[value] == number:
                yield from (shapes.length(side, x, axis) for x, axis in axes)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Standard normal numbers; many of them begin anew, at a prime that no size is a multiple of.

    Drawing them takes longer than most pieces do, and no two neighbours along an axis get the same.
    """
    size = int(np.prod(shape))
    return np.resize(rng.standard_normal(min(size, _PRIME)), size).reshape(shape)


_PRIME = 65_521


def _kind(value: ir.Value) -> np.dtype[np.generic]:
    assert value.dtype is not None
    return value.dtype.numpy()
