"""Where channels come from, and which values store theirs in one order: what `relabel` goes by.

y[o] = x_{k(o)}[c(o)]          through all moves, down to the values that no move makes
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.channels import flow
from onebyone.graph.ops import Role, role
from onebyone.graph.ops.flow import Flow, channels_of
from onebyone.graph.values import rank_of
from onebyone.optimize.channels.moves import Move, moves
from onebyone.optimize.joined import Joined

__all__ = ["Labels", "labels_of", "with_flows"]


@dataclass(eq=False)
class Labels:
    """What is known of the channels of a graph.

    Args:
        axes: value -> channel axis.
        flows: node -> how channels flow through it, for nodes that compute.
        moves: value -> the move that makes it.
        atoms: value -> for each channel the source's number and the channel there.
        sources: the values that channels come from, with their numbers.
        group: the values that must be stored in one order.
        rank: node -> its place in the graph.
    """

    axes: dict[ir.Value, int]
    flows: dict[ir.Node, Flow] = field(default_factory=dict)
    moves: dict[ir.Value, Move] = field(default_factory=dict)
    atoms: dict[ir.Value, tuple[Array, Array]] = field(default_factory=dict)
    sources: dict[ir.Value, int] = field(default_factory=dict)
    group: Joined[ir.Value] = field(default_factory=Joined)
    rank: dict[ir.Node, int] = field(default_factory=dict)

    @cached_property
    def numbered(self) -> list[ir.Value]:
        """The sources by their numbers."""
        return list(self.sources)

    @cached_property
    def inner(self) -> set[ir.Node]:
        """The nodes that move channels."""
        return {node for move in self.moves.values() for node in move.nodes}

    @cached_property
    def members(self) -> dict[ir.Value, list[ir.Value]]:
        """The values of each group."""
        return {self.of(group[0]): group for group in self.group.groups(self.axes)}

    @cached_property
    def whole(self) -> set[ir.Value]:
        """The groups of which a mix reads some value as it is."""
        mixes = (found.mix for found in self.flows.values())
        return {self.of(mix.operand) for mix in mixes if mix is not None}

    def of(self, value: ir.Value) -> ir.Value:
        """The value that stands for all that are stored in one order with this one."""
        return self.group.of(value)


def labels_of(graph: ir.Graph, known: Mapping[ir.Value, int]) -> Labels:
    """The moves of a graph with shapes inferred and channel axes known; neither is changed."""
    axes = dict(known)
    labels = Labels(axes, rank={node: k for k, node in enumerate(graph)})
    for node in graph:  # first those that fix an axis by themselves, so that order does not matter
        if role(node) is not Role.CONCAT:
            _note(moves(node, axes), axes)
    for node in graph:
        _carry(node, axes)
        found = list(moves(node, axes))
        # A move of no channels at all is left to the engine.
        if all(any(link.outs.size for link in move.links) for move in found):
            labels.moves.update({move.value: move for move in found})
    _note(labels.moves.values(), axes)
    for move in labels.moves.values():
        labels.atoms[move.value] = _atoms(move, labels)
    return labels


def with_flows(graph: ir.Graph, labels: Labels) -> Labels:
    """The labels of moves, and those of what computes with what is moved."""
    for node in graph:
        if not any(value in labels.moves for value in node.outputs):
            _admit(node, labels)
    return labels


def _note(found: Iterable[Move], axes: dict[ir.Value, int]) -> None:
    """Enter the channel axes of what moves read and make."""
    for move in found:
        for value in (move.value, *move.operands):
            axes.setdefault(value, 1)


def _carry(node: ir.Node, axes: dict[ir.Value, int]) -> None:
    """Give the result of a node the channel axis of its operands, which moves may have fixed."""
    if not node.outputs or node.outputs[0] in axes or role(node) is Role.VIEW:
        return
    out = node.outputs[0]
    rank = rank_of(out)
    known = [axes[v] for v in node.inputs if v in axes and rank and rank_of(v) == rank]
    if known:
        axes[out] = known[0]


def _admit(node: ir.Node, labels: Labels) -> None:
    if not node.outputs or node.outputs[0] not in labels.axes:
        return
    out = node.outputs[0]
    found = flow(node, labels.axes[out])
    if found is None or channels_of(out, found.axis) is None:
        return
    # Where an operand's channels stand elsewhere, its order is not this one's.
    if any(labels.axes.get(v, axis) != axis for v, axis in found.operands.items()):
        return
    # A pick names channels by number; groups are blocks that no order may leave.
    if found.picks or (found.mix is not None and found.mix.groups > 1):
        return
    if any(link.result is not out or not link.is_straight for link in found.links):
        return
    labels.flows[node] = found
    for link in found.links:
        labels.group.tie([out, link.operand])


def _atoms(move: Move, labels: Labels) -> tuple[Array, Array]:
    """For each channel of a moved value the number of its source, and its channel there."""
    source, channel = np.zeros((2, sum(link.outs.size for link in move.links)), np.int64)
    for link in move.links:
        # Moves behind moves: composed, so that each value knows the first sources.
        if link.operand in labels.atoms:
            sources, channels = labels.atoms[link.operand]
            source[link.outs], channel[link.outs] = sources[link.sources], channels[link.sources]
        else:
            number = labels.sources.setdefault(link.operand, len(labels.sources))
            source[link.outs], channel[link.outs] = number, link.sources
    return source, channel
