"""Nodes that only move channels: concat, split, slice, gather and the channel shuffle.

    y[o] = x_{k(o)}[c(o)]          each channel of the result is one channel of one operand

A shuffle of g groups of k channels is written as views, (N, g·k, …) → (N, g, k, …) → (N, k, g, …)
→ (N, k·g, …): y[j·g + i] = x[i·k + j] (Zhang et al. 2017, arXiv:1707.01083).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onebyone.algebra.selection import SourceMap
from onebyone.algebra.weights import Array
from onebyone.graph.axes import Spatial
from onebyone.graph.constants import is_float
from onebyone.graph.spatial import spatial
from onebyone.optimize.channels.links import channels_of

__all__ = ["Move", "moves", "picked"]


@dataclass(frozen=True, eq=False)
class Move:
    """A value whose channels are channels of other values.

    Args:
        value: the result; `axis`: of the channels, in it and in all its operands.
        operands: the values it is made of.
        which, sources: (C,) for each channel the operand's number, and its channel there.
        nodes: the nodes that make it from the operands.
        scatters: whether it does more than copy whole stretches of channels.
    """

    value: ir.Value
    axis: int
    operands: tuple[ir.Value, ...]
    which: Array
    sources: Array
    nodes: tuple[ir.Node, ...]
    scatters: bool


def moves(node: ir.Node, axes: dict[ir.Value, int]) -> Iterator[Move]:
    """The results of a node that only moves channels; none if it does anything else.

    `axes` gives the channel axis of values; a shuffle is found at its last node.
    """
    if node.domain != "" or not node.outputs or not is_float(node.outputs[0]):
        return
    found = _concat(node, axes) if node.op_type == "Concat" else None
    if node.op_type == "Split":
        yield from _split(node, axes)
    if node.op_type in ("Slice", "Gather"):
        found = _selected(node, axes)
    if node.op_type == "Reshape":
        found = _shuffled(node, axes)
    if found is not None:
        yield found


def _concat(node: ir.Node, axes: dict[ir.Value, int]) -> Move | None:
    out = node.outputs[0]
    axis = axes.get(out)
    if axis != 1 or out.shape is None:
        return None
    counts = [None if v is None else channels_of(v, axis) for v in node.inputs]
    if node.attributes.get_int("axis", 1) % out.shape.rank() != axis or None in counts:
        return None
    operands = tuple(v for v in node.inputs if v is not None)
    if any(axes.get(v, axis) != axis for v in operands):
        return None
    which = np.repeat(np.arange(len(counts)), [n or 0 for n in counts])
    sources = np.concatenate([np.arange(n or 0) for n in counts])
    return Move(out, axis, operands, which, sources, (node,), scatters=False)


def _split(node: ir.Node, axes: dict[ir.Value, int]) -> Iterator[Move]:
    x = node.inputs[0]
    if x is None or x.shape is None:
        return
    axis = node.attributes.get_int("axis", 0) % x.shape.rank()
    counts = [channels_of(v, axis) for v in node.outputs]
    if axis != axes.get(x, axis) or axis != 1 or None in counts or channels_of(x, axis) is None:
        return
    at = 0
    for value, count in zip(node.outputs, counts, strict=True):
        sources = np.arange(at, at + (count or 0))
        which = np.zeros_like(sources)
        yield Move(value, axis, (x,), which, sources, (node,), scatters=False)
        at += count or 0


def _selected(node: ir.Node, axes: dict[ir.Value, int]) -> Move | None:
    """A Slice or a Gather that picks channels and nothing else."""
    found, x = picked(node), node.inputs[0]
    if found is None or x is None or found[0] != 1 or axes.get(x, 1) != 1:
        return None
    axis, sources = found
    which, scatters = np.zeros_like(sources), node.op_type == "Gather"
    return Move(node.outputs[0], axis, (x,), which, sources, (node,), scatters)


def picked(node: ir.Node) -> tuple[int, Array] | None:
    """The one axis along which a Slice or a Gather picks, and what it picks there of its operand.

    None for another node, and where the axis vanishes or the sizes or the choice are not known.
    """
    found, x = spatial(node) if node.op_type in ("Slice", "Gather") else None, node.inputs[0]
    if not isinstance(found, Spatial) or x is None or len(found.maps) != 1 or found.vanished:
        return None
    (axis, how), *_ = found.maps.items()
    before, after = channels_of(x, axis), channels_of(node.outputs[0], axis)
    if before is None or after is None or not isinstance(how, SourceMap) or found.runtime:
        return None
    return axis, np.asarray(how.sources(before, after))


def _shuffled(node: ir.Node, axes: dict[ir.Value, int]) -> Move | None:
    """Reshape, Transpose of the two parts of the channels, Reshape back."""
    transpose = _maker(node.inputs[0], "Transpose")
    first = None if transpose is None else _maker(transpose.inputs[0], "Reshape")
    if transpose is None or first is None:
        return None
    x, parts, out = first.inputs[0], first.outputs[0].shape, node.outputs[0]
    if x is None or x.shape is None or parts is None or out.shape is None:
        return None
    if axes.get(x, 1) != 1:  # what is moved about are not channels
        return None
    rank = x.shape.rank()
    swapped = [0, 2, 1, *range(3, rank + 1)]
    if list(transpose.attributes.get_ints("perm", ())) != swapped or parts.rank() != rank + 1:
        return None
    if x.shape != out.shape or (parts[0], *parts[3:]) != (x.shape[0], *x.shape[2:]):
        return None
    groups, each, channels = parts[1], parts[2], x.shape[1]
    if not isinstance(groups, int) or not isinstance(each, int) or channels != groups * each:
        return None
    sources = np.arange(groups * each).reshape(groups, each).T.reshape(-1)
    nodes = (first, transpose, node)
    return Move(out, 1, (x,), np.zeros_like(sources), sources, nodes, scatters=True)


def _maker(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The node of a type that makes a value for one reader only."""
    node = None if value is None else value.producer()
    if value is None or node is None or node.op_type != op_type or node.domain != "":
        return None
    return node if len(value.uses()) == 1 and not value.is_graph_output() else None
