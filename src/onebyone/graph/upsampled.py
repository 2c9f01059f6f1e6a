"""Values that are a nearest upsampling of another, however that is spelled.

A Resize or an Upsample; or each position expanded on an axis of its own, which is merged again:

    (N, C, H, W) → (N, C, H, 1, W, 1) → (N, C, H, a, W, b) → (N, C, H·a, W·b)

One behind the other they are one: ⌊⌊j/a⌋/b⌋ = ⌊j/(a·b)⌋.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onebyone.algebra.laws import refused
from onebyone.algebra.layout import Dim, divide, product
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.resize import Resize
from onebyone.graph.constants import is_float
from onebyone.graph.spatial import Spatial, spatial
from onebyone.graph.values import made_by, rank_of, size
from onebyone.graph.views import dims_of

__all__ = ["Upsampled", "upsampled"]

_ONE: Dim = (1, ())


@dataclass(frozen=True, eq=False)
class Upsampled:
    """A value that copies each position of another one several times.

    Args:
        x: the other one, (N, C, positions…).
        factors: how many times along each axis of positions.
        nodes: what makes the value of x, in order.
    """

    x: ir.Value
    factors: tuple[int, ...]
    nodes: tuple[ir.Node, ...]


def upsampled(value: ir.Value | None) -> Upsampled | Refusal | None:
    """Read a value as an upsampling, from as far back as it is one.

    None: it is none. `Refusal`: it is resized to a whole multiple, but copies other positions.
    """
    found: Upsampled | None = None
    while True:
        step = _resized(value) or _expanded(value)
        if not isinstance(step, Upsampled):
            return found or step
        if found is not None:
            both = zip(step.factors, found.factors, strict=True)
            step = Upsampled(step.x, tuple(a * b for a, b in both), step.nodes + found.nodes)
        found = step
        value = step.x


def _resized(value: ir.Value | None) -> Upsampled | Refusal | None:
    node = made_by(value, "Resize", "Upsample")
    if node is None or not is_float(value):
        return None
    x, where = node.inputs[0], spatial(node)
    if x is None or not isinstance(where, Spatial) or not where.is_selection:
        return None
    before, after = dims_of(x), dims_of(value)
    if before is None or after is None or len(before) < 3:
        return None
    factors = {axis: _times(after[axis], before[axis]) for axis in where.maps}
    # Of a free size, an axis that stays is seen here.
    if not all(factors.values()) or any(factors.get(axis, 1) > 1 for axis in (0, 1)):
        return None
    maps = {axis: how for axis, how in where.maps.items() if isinstance(how, Resize)}
    # A scale that is told at run time, or is rounded to whole sizes, is none to count on.
    if any(how.unknown_scale or how.scale not in (None, factors[k]) for k, how in maps.items()):
        return None
    if not all(how.copies(factors[axis], size(x, axis)) for axis, how in maps.items()):
        return refused("phases", "index", operator=node.op_type)
    every = tuple(factors.get(axis, 1) for axis in range(2, len(before)))
    if max(every) == 1:
        return None
    return Upsampled(x, every, (node,))


def _times(after: Dim, before: Dim) -> int:
    """How many times `before` a size is, where that is a whole number; else 0."""
    factor = divide(after, before)
    if factor is None or factor[1]:
        return 0
    return factor[0]


def _expanded(value: ir.Value | None) -> Upsampled | None:
    merge = made_by(value, "Reshape")
    repeat = None if merge is None else made_by(merge.inputs[0], "Expand", "Tile")
    if merge is None or repeat is None or not is_float(value):
        return None
    nodes, x = [repeat, merge], repeat.inputs[0]
    # Exporters insert several axes by one view or by one each.
    while (inserts := made_by(x, "Unsqueeze", "Reshape")) is not None:
        nodes, x = [inserts, *nodes], inserts.inputs[0]
        factors = _repeats(x, repeat, value)
        if x is not None and factors:
            return Upsampled(x, factors, tuple(nodes))
    return None


def _repeats(x: ir.Value | None, repeat: ir.Node, value: ir.Value | None) -> tuple[int, ...] | None:
    """How often each position of x is repeated beside itself; None if that is not what happens."""
    before, after = dims_of(x), dims_of(value)
    apart, repeated = dims_of(repeat.inputs[0]), dims_of(repeat.outputs[0])
    if not before or not after or not apart or not repeated or rank_of(x) != rank_of(value):
        return None
    left, factors = list(zip(apart, repeated, strict=True)), []
    for n, whole in zip(before, after, strict=True):
        if not left or left.pop(0) != (n, n):
            return None
        times = _ONE
        # An axis of its own, of size one before.
        while left and left[0][0] == _ONE and left[0][1] != _ONE:
            times = product([times, left.pop(0)[1]])
        if times[1] or product([n, times]) != whole:
            return None
        factors.append(times[0])
    if left or factors[:2] != [1, 1] or max(factors) == 1:
        return None
    return tuple(factors[2:])
