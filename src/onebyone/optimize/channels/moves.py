"""Nodes that only move channels: concat, split, slice, gather and the channel shuffle.

    y[o] = x_{k(o)}[c(o)]          each channel of the result is one channel of one operand

A shuffle of g groups of k channels is written as views, (N, g·k, …) → (N, g, k, …) → (N, k, g, …)
→ (N, k·g, …): y[j·g + i] = x[i·k + j] (Zhang et al. 2017, arXiv:1707.01083).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onebyone.algebra.laws import refused
from onebyone.algebra.refusal import Refusal
from onebyone.graph.channels import flow
from onebyone.graph.constants import is_float
from onebyone.graph.ops import Role, operator_of, role
from onebyone.graph.ops.flow import Link
from onebyone.graph.spatial import picked
from onebyone.graph.values import maker
from onebyone.optimize.rewritten import Task

__all__ = ["Move", "moves", "near_misses"]


@dataclass(frozen=True, eq=False)
class Move:
    """A value whose channels, on axis 1, are channels of other values.

    Args:
        links: to the value, one from each of its operands.
        nodes: the nodes that make it from the operands.
        scatters: whether it does more than copy whole stretches of channels.
    """

    links: tuple[Link, ...]
    nodes: tuple[ir.Node, ...]
    scatters: bool = False

    @property
    def value(self) -> ir.Value:
        """The result."""
        return self.links[0].result

    @property
    def operands(self) -> tuple[ir.Value, ...]:
        """The values it is made of."""
        return tuple(link.operand for link in self.links)


def moves(node: ir.Node, axes: Mapping[ir.Value, int]) -> Iterator[Move]:
    """The results of a node that only moves channels; none if it does anything else.

    `axes` gives the channel axis of values; a shuffle is found at its last node.
    """
    if node.domain != "" or not node.outputs or not is_float(node.outputs[0]):
        return
    if node.op_type == "Reshape":
        yield from _shuffled(node, axes)
        return
    links = _links(node, axes)
    # What is moved about on axis 1 may be no channels.
    if any(axes.get(link.operand, 1) != 1 for link in links):
        return
    for value in node.outputs:
        own = tuple(link for link in links if link.result is value)
        if own:
            yield Move(own, (node,), scatters=node.op_type == "Gather")


def near_misses(task: Task) -> Iterator[tuple[ir.Node, Refusal]]:
    """The nodes that still move channels about at run time, and why."""
    for node in task.model.graph:
        if any(move.scatters for move in moves(node, {})):
            yield node, refused("permute", "order")


def _links(node: ir.Node, axes: Mapping[ir.Value, int]) -> tuple[Link, ...]:
    """Of a Concat, a Split, a Slice or a Gather along axis 1."""
    part = role(node)
    if part is Role.SELECTION:
        found, x = picked(node), node.inputs[0]
        if found is None or x is None or found[0] != 1:
            return ()
        return (Link(x, 1, node.outputs[0], np.arange(len(found[1])), found[1]),)
    if part is Role.CONCAT and axes.get(node.outputs[0]) != 1:
        return ()
    stacks = part is Role.CONCAT or operator_of(node).splits
    stacked = stacks and flow(node, 1)
    if not stacked or not stacked.moves:
        return ()
    return stacked.links


def _shuffled(node: ir.Node, axes: Mapping[ir.Value, int]) -> Iterator[Move]:
    """Reshape, Transpose of the two parts of the channels, Reshape back."""
    transpose = _maker(node.inputs[0], "Transpose")
    if transpose is None:
        return
    first = _maker(transpose.inputs[0], "Reshape")
    if first is None:
        return
    x, parts, out = first.inputs[0], first.outputs[0].shape, node.outputs[0]
    if x is None or x.shape is None or parts is None or out.shape is None:
        return
    if axes.get(x, 1) != 1:  # what is moved about are not channels
        return
    rank = x.shape.rank()
    # The two parts of the channels change places, all else stays.
    swapped = [0, 2, 1, *range(3, rank + 1)]
    if list(transpose.attributes.get_ints("perm", ())) != swapped or parts.rank() != rank + 1:
        return
    if x.shape != out.shape or (parts[0], *parts[3:]) != (x.shape[0], *x.shape[2:]):
        return
    groups, each, channels = parts[1], parts[2], x.shape[1]
    if not isinstance(groups, int) or not isinstance(each, int) or channels != groups * each:
        return
    # Written as g rows of k and read by columns.
    sources = np.arange(groups * each).reshape(groups, each).T.reshape(-1)
    link = Link(x, 1, out, np.arange(len(sources)), sources)
    yield Move((link,), (first, transpose, node), scatters=True)


def _maker(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The node of a type that makes a value for one reader only."""
    node = maker(value)
    if value is None or node is None or len(value.uses()) != 1 or value.is_graph_output():
        return None
    return node if (node.domain, node.op_type) == ("", op_type) else None
