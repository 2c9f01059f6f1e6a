"""A node's space map as a value, and how operands name axes and sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import onnx_ir as ir

from onebyone.algebra.laws import refused
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.selection import Gathered
from onebyone.algebra.space import AxisMap
from onebyone.graph.constants import constant
from onebyone.graph.values import all_known, made_by, rank_of, size

__all__ = [
    "Spatial", "computed", "entries", "integers", "late", "numbers", "operand", "pads", "pairs",
    "permutation", "rank",
]  # fmt: skip


@dataclass(frozen=True)
class Spatial:
    """What a node does to positions: one axis map per axis that it touches.

    Equal objects are equal maps, also where sizes are known only at run time: `runtime` holds the
    values that decide them.

    Args:
        maps: the axis of the node's first input (not negative) -> its map; all others stay.
        vanished: those axes of `maps` that the output drops (keepdims=0, a scalar Gather).
        added: for each axis that the output has more, the axis of `maps` behind which it stands (a
            Gather by a table of indices).
        runtime: operands that are computed when the model runs and that the maps depend on.
    """

    maps: Mapping[int, AxisMap]
    vanished: tuple[int, ...] = ()
    runtime: tuple[ir.Value, ...] = field(default=())
    added: tuple[int, ...] = ()

    def __hash__(self) -> int:
        return hash((frozenset(self.maps.items()), self.vanished, self.runtime, self.added))

    @property
    def preserves_constants(self) -> bool:
        """Whether a constant (per channel) comes out as the same constant, for every size."""
        return all(axis_map.preserves_constants for axis_map in self.maps.values())

    @property
    def is_selection(self) -> bool:
        """Whether every output position copies one input position, for every size."""
        return all(axis_map.is_selection for axis_map in self.maps.values())

    def picks_rows(self, rank: int | None) -> bool:
        """Whether it gathers, by any indices, what stands side by side on an input's last axis."""
        gathers = any(isinstance(axis_map, Gathered) for axis_map in self.maps.values())
        return gathers and rank is not None and rank - 1 not in self.maps

    def reads(self, axis: int) -> int:
        """The axis of the input that axis `axis` of the output comes from.

        >>> from onebyone.algebra.pool import Mean
        >>> Spatial({1: Mean()}, vanished=(1,)).reads(1)
        2
        """
        # Each axis of the input is none, one or several of the output.
        source = 0
        while axis >= (wide := self._width(source)):
            axis, source = axis - wide, source + 1
        return source

    def _width(self, axis: int) -> int:
        """How many axes of the output an axis of the input becomes."""
        return (axis not in self.vanished) + self.added.count(axis)

    def after(self, axis: int) -> int | None:
        """The axis of the output that axis `axis` of the input becomes; None if it is mapped."""
        if axis in self.maps:
            return None
        return sum(map(self._width, range(axis)))


def operand(node: ir.Node, index: int) -> ir.Value | None:
    """Input `index`; None where it is left out, by position, by name, or as an empty constant."""
    value = node.inputs[index] if index < len(node.inputs) else None
    array = constant(value)
    # Exporters that need `sizes` of a Resize give an empty constant for its `scales`.
    if array is not None and not array.size:
        return None
    return value


def numbers(node: ir.Node, index: int, attribute: str) -> list[float] | None:
    """A list operand, which older opsets hold in `attribute`; None if absent or not constant."""
    if attribute in node.attributes:
        held = node.attributes[attribute].value
        if isinstance(held, Sequence):
            return list(held)
        return [held]
    array = constant(operand(node, index))
    if array is None:
        return None
    return list(array.ravel().tolist())


def integers(node: ir.Node, index: int, attribute: str) -> list[int] | None:
    """`numbers` as integers."""
    listed = numbers(node, index, attribute)
    if listed is None:
        return None
    return [int(number) for number in listed]


def entries(value: ir.Value | None) -> list[float | None] | None:
    """The numbers in a list operand, None for each that is computed at run time.

    None where not even their count is known. Exporters write the scales of a dynamic resize as
    Concat([1, 1], computed).
    """
    array = constant(value)
    if array is not None:
        return [float(entry) for entry in array.ravel()]
    concat = made_by(value, "Concat")
    if concat is None:
        length = size(value, 0)
        if length is None:
            return None
        return [None] * length
    parts = all_known(map(entries, concat.inputs))
    if parts is None:
        return None
    return list(chain.from_iterable(parts))


def pairs(ends: Sequence[int]) -> list[tuple[int, int]]:
    """ONNX's pads, all the begins and then all the ends, per axis.

    >>> pairs([1, 2, 3, 4])
    [(1, 3), (2, 4)]
    """
    half = len(ends) // 2
    return list(zip(ends[:half], ends[half:], strict=False))


def pads(node: ir.Node) -> bool:
    """Whether a convolution reads zeros beyond the borders, or may."""
    if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return True
    return any(node.attributes.get_ints("pads", ()))


def late(node: ir.Node, operands: Mapping[str, int]) -> Refusal | None:
    """The refusal of the first of `operands` (name -> index) that is computed at run time."""
    for name, index in operands.items():
        if operand(node, index) is not None and numbers(node, index, name) is None:
            return refused("commute", "late", operand=name, operator=node.op_type)
    return None


def computed(*values: ir.Value | None) -> tuple[ir.Value, ...]:
    """Those of `values` that are computed when the model runs."""
    return tuple(v for v in values if v is not None and constant(v) is None)


def rank(node: ir.Node) -> int:
    """The rank of the first input; readers are only asked where it is known."""
    value = node.inputs[0]
    if value is None or value.shape is None:
        return 0
    return value.shape.rank()


def permutation(node: ir.Node) -> tuple[int, ...] | None:
    """Of a Transpose: for each axis of the result that of the operand; None where it is unknown."""
    if "perm" in node.attributes:
        return tuple(node.attributes["perm"].as_ints())
    axes = rank_of(node.inputs[0])
    if axes is None:
        return None
    return tuple(range(axes))[::-1]
