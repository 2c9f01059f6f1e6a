"""Where an input meets a constant that cancels it, found in the graph by following the numbers.

    x ── Cast, Mul, Div, Neg, layout ──▶ v ── Add c, Sub c, BatchNormalization, Clip, Less … ──▶ w
                                                                └── Mul, Div, … ──▶ e

Each element of v is an affine function of one element of the input, v = slope · x[i] + v(0): three
evaluations of the path, at 0, at 1 and at 0, 1, 2, …, tell the slopes and which i it is, whatever
the layout operators did. So v meets the constant at x[i] = (c - v(0)) / slope, and what is left of
it is of size one where x lies 1 / (slope of e) away, e being the last value before other operators.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.errors import OnebyoneError
from onebyone.graph.evaluate import evaluate
from onebyone.graph.ops import Operator, Role, operator_of
from onebyone.graph.unused import remove_unused

__all__ = ["Cancellation", "added_inputs", "cancellations"]

# Operators that are looked behind for the scale of what is left.
_FAR = 16


@dataclass(frozen=True)
class Cancellation:
    """An input near a constant that it meets.

    Args:
        name: of the input.
        centre: in the shape of the input, where it cancels; NaN at elements that do not meet it.
        spread: how far from there what is left is of size one, behind the scales that follow.
    """

    name: str
    centre: Array
    spread: Array

    @property
    def typical(self) -> float:
        """A value of the centre."""
        return float(np.nanmedian(self.centre))

    @property
    def condition(self) -> float:
        """How much larger the constant is than what is left."""
        met = ~np.isnan(self.centre)
        with np.errstate(divide="ignore"):
            return float(np.median(np.abs(self.centre[met]) / self.spread[met]))


@dataclass(frozen=True)
class _Meeting:
    """A node at which an affine function `value` of an input meets constants."""

    name: str
    node: ir.Node
    value: ir.Value
    constants: tuple[ir.Value, ...]
    end: ir.Value


def cancellations(model: ir.Model, inputs: Mapping[str, Array]) -> list[Cancellation]:
    """Where the inputs, of these shapes, meet constants; the worst condition first.

    >>> import onnx.parser
    >>> text = "g (float[3] x) => (float[3] y) <float m = {2000}, float s = {10}>"
    >>> text += "{c = Sub(x, m) y = Div(c, s)}"
    >>> head = '<ir_version: 8, opset_import: ["": 17]>'
    >>> model = ir.from_proto(onnx.parser.parse_model(head + text))
    >>> found = cancellations(model, {"x": np.zeros(3, np.float32)})
    >>> found[0].name, found[0].centre.tolist(), found[0].spread.round(3).tolist()
    ('x', [2000.0, 2000.0, 2000.0], [10.0, 10.0, 10.0])
    """
    meetings = list(_meetings(model.graph))
    if not meetings:
        return []
    part = _part(model, meetings)
    found: list[Cancellation] = []
    for name in dict.fromkeys(meeting.name for meeting in meetings):
        try:
            probes = _probes(part, inputs, name)
        except (OnebyoneError, MemoryError):
            continue  # its numbers cannot be followed
        for meeting in (m for m in meetings if m.name == name):
            found += _solved(meeting, probes, inputs[name].shape)
    return sorted(found, key=lambda c: -c.condition)


def added_inputs(graph: ir.Graph) -> frozenset[str]:
    """The inputs that are added, as they are or scaled, to what is computed: masks, maybe."""
    affine, varying = _followed(graph)
    found = set()
    for node in graph:
        read = [value for value in node.inputs if value in varying]
        if _adds(node) and len(read) == 2:
            found |= {affine[v] for v in read if v in affine and v is not None}
    return frozenset(found)


# --- in the graph -------------------------------------------------------------------------------


def _followed(graph: ir.Graph) -> tuple[dict[ir.Value, str], set[ir.Value]]:
    """The affine functions of one input each, with its name, and all that depends on inputs."""
    fed = [value for value in graph.inputs if value.const_value is None]
    affine = {value: str(value.name) for value in fed}
    varying = set(fed)
    for node in graph:
        unread = operator_of(node).unread
        operands = [value for k, value in enumerate(node.inputs) if k not in unread]
        read = [value for value in operands if value is not None and value in varying]
        inner = any(a.type == ir.AttributeType.GRAPH for a in node.attributes.values())
        if not (read or inner):
            continue
        varying.update(node.outputs)
        if not inner and len(read) == 1 and read[0] in affine and _keeps(node, read[0]):
            affine.update(dict.fromkeys(node.outputs, affine[read[0]]))
    return affine, varying


def _keeps(node: ir.Node, operand: ir.Value) -> bool:
    """Whether the node's result is an affine function of the operand, element by element."""
    row = operator_of(node)
    if row.role in (Role.SUM, Role.CONCAT):
        return True
    first = node.inputs[0] is operand
    return (row.relays and first) or (_scales(row) and (first or row.commutes))


def _adds(node: ir.Node) -> bool:
    row = operator_of(node)
    return row.role is Role.SUM and row.commutes


def _scales(row: Operator) -> bool:
    """Whether an operator multiplies each number by itself, and mixes none."""
    return row.role is Role.CHANNEL_MAP and row.weight is None


def _meetings(graph: ir.Graph) -> Iterator[_Meeting]:
    affine, varying = _followed(graph)
    for node in graph:
        row = operator_of(node)
        if not (row.role is Role.SUM or row.compares or row.buffers):
            continue
        read = [value for value in node.inputs if value is not None and value in varying]
        if len(read) != 1 or read[0] not in affine:
            continue
        # Of running statistics the first, the mean, is what is taken away.
        slots = row.buffers[:1] or range(len(node.inputs))
        constants = tuple(v for k in slots if (v := node.inputs[k]) and v not in varying)
        end = read[0] if row.compares else _end(node.outputs[0], affine)
        yield _Meeting(affine[read[0]], node, read[0], constants, end)


def _end(value: ir.Value, affine: Mapping[ir.Value, str]) -> ir.Value:
    """The last of what scales, and nothing else, make of a value."""
    for _ in range(_FAR):
        readers = [node for node in value.consumers() if node.outputs[0] in affine]
        readers = [
            node for node in readers if operator_of(node).relays or _scales(operator_of(node))
        ]
        if not readers:
            break
        value = min(readers, key=lambda node: operator_of(node).relays).outputs[0]
    return value


# --- in numbers ---------------------------------------------------------------------------------

_Probes = tuple[Mapping[str, Array], Mapping[str, Array], Mapping[str, Array]]


def _part(model: ir.Model, meetings: list[_Meeting]) -> ir.Model:
    """The part of the model that computes what meets, and nothing else."""
    wanted = {v.name for m in meetings for v in (m.value, m.end, *m.constants)}
    copy = model.clone()
    made = [value for node in copy.graph for value in node.outputs]
    named = [*copy.graph.inputs, *copy.graph.initializers.values(), *made]
    copy.graph.outputs.clear()
    copy.graph.outputs.extend({v.name: v for v in named if v.name in wanted}.values())
    remove_unused(copy.graph)
    return copy


def _probes(part: ir.Model, inputs: Mapping[str, Array], name: str) -> _Probes:
    """What the part gives where the input is 0, 1, and 0, 1, 2, …"""
    shape, size = inputs[name].shape, inputs[name].size
    at = np.zeros(shape), np.ones(shape), np.arange(float(size)).reshape(shape)
    zero, one, count = (evaluate(part, {**inputs, name: x}) for x in at)
    return zero, one, count


def _solved(meeting: _Meeting, probes: _Probes, shape: tuple[int, ...]) -> Iterator[Cancellation]:
    zero, one, count = (np.asarray(p[str(meeting.value.name)], np.float64) for p in probes)
    where, slope = _routed(zero, one, count, shape)
    far, further, furthest = (np.asarray(p[str(meeting.end.name)], np.float64) for p in probes)
    behind, scale = _routed(far, further, furthest, shape)
    for constant in meeting.constants:
        target = _fitted(probes[0][str(constant.name)], zero.shape, meeting.node)
        if target is None or not where.any():
            continue
        sign = -1 if _adds(meeting.node) else 1
        centre, spread = np.full(shape, np.nan).reshape(-1), np.ones(shape).reshape(-1)
        index, known = where[where >= 0], where >= 0
        centre[index] = (sign * target - zero)[known] / slope[known]
        spread[behind[behind >= 0]] = 1 / np.abs(scale[behind >= 0])
        centre[~np.isfinite(centre)] = np.nan
        if np.nan_to_num(centre).any():
            yield Cancellation(meeting.name, centre.reshape(shape), spread.reshape(shape))


def _routed(zero: Array, one: Array, count: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Which element of the input each element comes from, -1 where from none, and its slope."""
    slope = one - zero
    with np.errstate(all="ignore"):
        index = np.rint((count - zero) / slope)
    size = int(np.prod(shape))
    known = np.isfinite(index) & (slope != 0) & (index >= 0) & (index < size)
    return np.where(known, index, -1).astype(np.int64), slope


def _fitted(constant: Array, shape: tuple[int, ...], node: ir.Node) -> Array | None:
    """A constant in the shape of what it meets; one number of it where it is larger."""
    constant = np.asarray(constant)
    if constant.dtype.kind not in "iuf" or not constant.size:
        return None
    if operator_of(node).buffers:  # of channels
        constant = constant.reshape(-1, *(1,) * (len(shape) - 2))
    try:
        return np.broadcast_to(constant.astype(np.float64), shape)
    except ValueError:
        return np.full(shape, float(constant.reshape(-1)[0]))
