"""Relabel: channels are stored in the order in which they are asked for.

    W(Px) = (WP)x,   P(Wx) = (PW)x,   f(Px) = P f(x)         P: a permutation, or a selection

Moving channels about is a 0/1 matrix, and the weights before and after it can take it in. For each
value that something other than a move reads, it is worked out which channels of which *sources*
(values that no move makes) it holds. A source whose weights can be permuted stores its channels
sorted by who reads them; each reader is then put together from whole stretches, in the order that
comes cheapest, and has its own weights permuted to that. Channels that nobody reads are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from math import prod

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.operators import Role, role
from onebyone.graph.shapes import Sizes
from onebyone.optimize.cost import Cost, Profile
from onebyone.optimize.flow import Flow, Link, Mix, channels_of, flow
from onebyone.optimize.lift import channel_axes
from onebyone.optimize.moves import Move, moves
from onebyone.optimize.place import Names
from onebyone.optimize.reindex import integers, narrow, reindex

__all__ = ["Relabelled", "relabel"]

Piece = tuple[ir.Value, int, int]
"""A stretch of the channels of a source, as stored: source, first, end."""


@dataclass(frozen=True, eq=False)
class Relabelled:
    """Moves that went, by their nodes, and what moving costs before and after."""

    nodes: tuple[str, ...]
    before: Cost
    after: Cost


@dataclass(eq=False)
class _Labels:
    """What is known of the channels of a graph.

    Args:
        axes: value -> channel axis.
        flows: node -> how channels flow through it, for nodes that compute.
        moves: value -> the move that makes it.
        atoms: value -> for each channel the source's number and the channel there.
        sources: the values that channels come from, with their numbers.
        group: value -> the value that stands for all that must be stored in one order.
        rank: node -> its place in the graph.
    """

    axes: dict[ir.Value, int]
    flows: dict[ir.Node, Flow] = field(default_factory=dict)
    moves: dict[ir.Value, Move] = field(default_factory=dict)
    atoms: dict[ir.Value, tuple[Array, Array]] = field(default_factory=dict)
    sources: dict[ir.Value, int] = field(default_factory=dict)
    group: dict[ir.Value, ir.Value] = field(default_factory=dict)
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
        found: dict[ir.Value, list[ir.Value]] = {}
        for value in self.axes:
            found.setdefault(self.of(value), []).append(value)
        return found

    @cached_property
    def whole(self) -> set[ir.Value]:
        """The groups of which a mix reads some value as it is."""
        mixes = (found.mix for found in self.flows.values())
        return {self.of(mix.operand) for mix in mixes if mix is not None}

    def of(self, value: ir.Value) -> ir.Value:
        """The value that stands for the group of `value`."""
        while (above := self.group.get(value, value)) is not value:
            # Every other step of the way is left out from now on, so that ways stay short.
            self.group[value] = above = self.group.get(above, above)
            value = above
        return value

    def tie(self, a: ir.Value, b: ir.Value) -> None:
        self.group[self.of(a)] = self.of(b)


def relabel(graph: ir.Graph, sizes: Sizes, profile: Profile) -> Iterator[Relabelled]:
    """Take shuffles and other moves of channels into the weights, in place, where that is cheaper.

    Moves that are connected, through values or through orders, go together or stay together.
    """
    labels = _labels(graph)
    names, fixed = Names.of(graph), _fixed(graph, labels)
    for component in _components(labels):
        plan = _plan(component, labels, fixed)
        before, after = _moving(component, sizes, profile), _placing(plan, labels, sizes, profile)
        if after < before:
            _carry_out(plan, labels, graph, names)
            gone = {n.name or n.op_type for move in component for n in move.nodes}
            yield Relabelled(tuple(sorted(gone)), before, after)


# What is known ------------------------------------------------------------------------------------


def _labels(graph: ir.Graph) -> _Labels:
    axes = channel_axes(graph)
    for node in graph:
        if node.op_type == "Split" and node.outputs[0] in axes:
            axes.update(dict.fromkeys(node.outputs, axes[node.outputs[0]]))
    labels = _Labels(axes, rank={node: k for k, node in enumerate(graph)})
    for node in graph:  # first those that fix an axis by themselves, so that order does not matter
        if node.op_type != "Concat":
            _note(moves(node, axes), axes)
    for node in graph:
        _carry(node, axes)
        found = list(moves(node, axes))
        if all(move.which.size for move in found):
            labels.moves.update({move.value: move for move in found})
    _note(labels.moves.values(), axes)
    for node in graph:
        if not any(value in labels.moves for value in node.outputs):
            _admit(node, labels)
    for move in labels.moves.values():
        labels.atoms[move.value] = _atoms(move, labels)
    return labels


def _note(found: Iterable[Move], axes: dict[ir.Value, int]) -> None:
    """Enter the channel axes of what moves read and make."""
    for move in found:
        for value in (move.value, *move.operands):
            axes.setdefault(value, move.axis)


def _carry(node: ir.Node, axes: dict[ir.Value, int]) -> None:
    """Give the result of a node the channel axis of its operands, which moves may have fixed."""
    out = node.outputs[0] if node.outputs else None
    if out is None or out in axes or out.shape is None or role(node) is Role.VIEW:
        return
    rank = out.shape.rank()
    known = [axes[v] for v in node.inputs if v in axes and v.shape and v.shape.rank() == rank]
    if known:
        axes[out] = known[0]


def _admit(node: ir.Node, labels: _Labels) -> None:
    out = node.outputs[0] if node.outputs else None
    found = flow(node, labels.axes[out]) if out is not None and out in labels.axes else None
    if found is None or out is None or channels_of(out, found.axis) is None:
        return
    parts: tuple[Link | Mix, ...] = found.links if found.mix is None else (found.mix,)
    if any(labels.axes.get(part.operand, part.axis) != part.axis for part in parts):
        return
    labels.flows[node] = found
    for link in found.links:
        labels.tie(link.operand, out)


def _atoms(move: Move, labels: _Labels) -> tuple[Array, Array]:
    """For each channel of a moved value the number of its source, and its channel there."""
    source, channel = np.zeros_like(move.which), np.zeros_like(move.which)
    for k, operand in enumerate(move.operands):
        here = move.which == k
        if operand in labels.atoms:
            source[here] = labels.atoms[operand][0][move.sources[here]]
            channel[here] = labels.atoms[operand][1][move.sources[here]]
        else:
            source[here] = labels.sources.setdefault(operand, len(labels.sources))
            channel[here] = move.sources[here]
    return source, channel


def _components(labels: _Labels) -> list[list[Move]]:
    """Moves connected through values and orders, where channels change places or are left out."""
    labels_of = _Labels({})
    for value, move in labels.moves.items():
        for operand in move.operands:
            labels_of.tie(value, operand)
    for value in (*labels.moves, *labels.sources):
        labels_of.tie(value, labels.of(value))
    found: dict[ir.Value, list[Move]] = {}
    for value, move in labels.moves.items():
        found.setdefault(labels_of.of(value), []).append(move)
    return [component for component in found.values() if _reorders(component, labels)]


def _reorders(component: Sequence[Move], labels: _Labels) -> bool:
    """Whether a value that is read holds a source in pieces, or nobody reads some channels."""
    read: dict[int, list[Array]] = {}
    for move in component:
        if not _is_read(move.value, labels):
            continue
        source, channel = labels.atoms[move.value]
        if move.scatters or len(_runs(source, channel)) > len(np.unique(source)):
            return True
        for k in np.unique(source):
            read.setdefault(int(k), []).append(channel[source == k])
    return any(
        len(np.unique(np.concatenate(parts))) < (channels_of(labels.numbered[k], 1) or 0)
        for k, parts in read.items()
    )


# The plan -----------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Plan:
    """New orders, and how each value that is read is put together from stretches of sources."""

    orders: dict[ir.Value, Array] = field(default_factory=dict)
    pieces: dict[ir.Value, list[Piece]] = field(default_factory=dict)
    gathers: dict[ir.Value, Array] = field(default_factory=dict)


def _plan(component: Sequence[Move], labels: _Labels, fixed: set[ir.Value]) -> _Plan:
    wanted = [m.value for m in component if _is_read(m.value, labels)]
    plan = _Plan()
    made: dict[ir.Value, list[ir.Value]] = {}
    for value in wanted:
        made.setdefault(labels.of(value), []).append(value)
    taken = _taken(wanted, labels)
    for group, channels in taken.items():
        if group not in fixed and group not in made:
            plan.orders[group] = _sorted_by_reader(group, channels, labels)
    for value in wanted:
        group = labels.of(value)
        free = group not in fixed and group not in taken and len(made[group]) == 1
        _assemble(value, free, plan, labels)
    return plan


def _is_read(value: ir.Value, labels: _Labels) -> bool:
    """Whether something other than a move reads a value."""
    return value.is_graph_output() or any(use.node not in labels.inner for use in value.uses())


def _fixed(graph: ir.Graph, labels: _Labels) -> set[ir.Value]:
    """Groups with a value whose order somebody else counts on."""
    fixed = {labels.of(v) for v in (*graph.inputs, *graph.outputs)}
    for node in graph.all_nodes():
        found = labels.flows.get(node)
        free = set() if found is None else {link.operand for link in found.links}
        if found is not None and found.mix is not None:
            free = {found.mix.operand}
        if node not in labels.inner:
            fixed |= {labels.of(v) for v in node.inputs if v is not None and v not in free}
        if node not in labels.inner and found is None:
            fixed |= {labels.of(v) for v in node.outputs}
    return fixed


def _taken(wanted: Sequence[ir.Value], labels: _Labels) -> dict[ir.Value, list[Array]]:
    """For each group of sources the channels that are read of it, one reader after another."""
    found: dict[ir.Value, list[Array]] = {}
    for value in wanted:
        source, channel = labels.atoms[value]
        read: dict[ir.Value, list[Array]] = {}
        for k in np.unique(source):
            read.setdefault(labels.of(labels.numbered[k]), []).append(channel[source == k])
        for group, parts in read.items():
            found.setdefault(group, []).append(np.concatenate(parts))
    return found


def _sorted_by_reader(group: ir.Value, taken: Sequence[Array], labels: _Labels) -> Array:
    """The channels of a group of sources that are read, those with the same readers together."""
    source = next(v for v in labels.members[group] if v in labels.sources)
    channels = channels_of(source, labels.axes[source]) or 0
    readers = np.zeros((len(taken) + 1, channels), bool)
    for row, channel in enumerate(taken):
        readers[row, channel] = True
    readers[-1] = group in labels.whole
    order = np.lexsort(readers[::-1])
    return order[readers[:, order].any(axis=0)]


def _assemble(value: ir.Value, free: bool, plan: _Plan, labels: _Labels) -> None:
    """Choose the order of a value that is read, and the stretches that it is put together from."""
    source, channel = labels.atoms[value]
    stored = np.empty_like(channel)
    for k in np.unique(source):
        order = plan.orders.get(labels.of(labels.numbered[k]))
        here = source == k
        stored[here] = channel[here] if order is None else _positions(order)[channel[here]]
    sequence = np.lexsort((stored, source)) if free else np.arange(len(source))
    runs = _runs(source[sequence], stored[sequence])
    if not free and len(runs) > 2 * len(np.unique(source)):
        ordered = np.lexsort((stored, source))
        runs = _runs(source[ordered], stored[ordered])
        plan.gathers[value] = np.argsort(ordered)
    elif free:
        plan.orders[labels.of(value)] = sequence
    plan.pieces[value] = [(labels.numbered[k], a, b) for k, a, b in runs]


def _positions(order: Array) -> Array:
    """Old channel -> place in the new order."""
    places = np.full(order.max(initial=0) + 1, -1)
    places[order] = np.arange(len(order))
    return places


def _runs(source: Array, stored: Array) -> list[tuple[int, int, int]]:
    """Stretches of neighbours: source's number, first and end."""
    cuts = np.flatnonzero((np.diff(source) != 0) | (np.diff(stored) != 1)) + 1
    return [
        (int(source[part[0]]), int(stored[part[0]]), int(stored[part[-1]]) + 1)
        for part in np.split(np.arange(len(source)), cuts)
    ]


# What it costs ------------------------------------------------------------------------------------


def _elements(value: ir.Value, axis: int, channels: int, sizes: Sizes) -> int:
    shape = sizes.shape(value) or ()
    return channels * prod(n for k, n in enumerate(shape) if k != axis)


def _moving(component: Sequence[Move], sizes: Sizes, profile: Profile) -> Cost:
    """Of the moves as they stand."""
    nodes = {node: move for move in component for node in move.nodes[-1:]}
    total = Cost()
    for node, move in nodes.items():
        moved = 2 * sum(prod(sizes.shape(v) or ()) for v in node.outputs)
        total += Cost(profile.time(elements=moved * (profile.transpose if move.scatters else 1)))
    return total


def _placing(plan: _Plan, labels: _Labels, sizes: Sizes, profile: Profile) -> Cost:
    """Of the splits, concats and gathers of a plan."""
    total = Cost()
    for value, pieces in plan.pieces.items():
        count = sum(b - a for _, a, b in pieces)
        moved = 2 * _elements(value, 1, count, sizes)
        if len(pieces) > 1:
            total += Cost(profile.time(elements=moved))
        if value in plan.gathers:
            total += Cost(profile.time(elements=moved * profile.transpose))
    for source, cuts in _cuts(plan).items():
        stored = len(plan.orders.get(labels.of(source), ())) or channels_of(source, 1)
        if cuts != [0, stored]:
            moved = 2 * _elements(source, 1, cuts[-1] - cuts[0], sizes)
            total += Cost(profile.time(elements=moved))
    return total


# Carrying it out ----------------------------------------------------------------------------------


def _carry_out(plan: _Plan, labels: _Labels, graph: ir.Graph, names: Names) -> None:
    orders = {v: order for g, order in plan.orders.items() for v in labels.members[g]}
    assembled = _built(plan, labels, graph, names, orders)
    touched = {n for v in orders for n in (v.producer(), *(use.node for use in v.uses()))}
    for node in sorted(labels.flows.keys() & touched, key=labels.rank.__getitem__):
        reindex(node, labels.flows[node], orders, names, None)
    for value, order in orders.items():
        if value not in labels.moves:
            narrow(value, labels.axes[value], len(order))
    for value, made in assembled.items():
        _read_instead(value, made, labels, graph, names)


def _read_instead(
    value: ir.Value, made: ir.Value, labels: _Labels, graph: ir.Graph, names: Names
) -> None:
    for use in list(value.uses()):
        if use.node not in labels.inner:
            use.node.replace_input_with(use.idx, made)
    if value.is_graph_output():
        if made.is_graph_input() or made.is_graph_output() or made.is_initializer():
            copy = ir.Node("", "Identity", [made], num_outputs=1, name=names.mint("Identity"))
            copy.outputs[0].type, copy.outputs[0].shape = made.type, made.shape
            graph.insert_before(labels.moves[value].nodes[-1], copy)
            made = copy.outputs[0]
        name = value.name
        value.name, made.name = f"{name}.moved", name
        value.replace_all_uses_with(made, replace_graph_outputs=True)


def _built(
    plan: _Plan,
    labels: _Labels,
    graph: ir.Graph,
    names: Names,
    orders: Mapping[ir.Value, Array],
) -> dict[ir.Value, ir.Value]:
    """New nodes for every value that is read, right behind the moves that made it."""
    builder = _Builder(graph, names, labels, orders)
    cuts = _cuts(plan)
    return {
        value: builder.value(value, pieces, cuts, plan.gathers.get(value))
        for value, pieces in plan.pieces.items()
    }


def _cuts(plan: _Plan) -> dict[ir.Value, list[int]]:
    """Where the stretches of each source begin and end."""
    cuts: dict[ir.Value, set[int]] = {}
    for pieces in plan.pieces.values():
        for source, a, b in pieces:
            cuts.setdefault(source, set()).update((a, b))
    return {source: sorted(found) for source, found in cuts.items()}


@dataclass(eq=False)
class _Builder:
    graph: ir.Graph
    names: Names
    labels: _Labels
    orders: Mapping[ir.Value, Array]
    cut: dict[ir.Value, dict[int, ir.Value]] = field(default_factory=dict)

    def value(
        self,
        value: ir.Value,
        pieces: Sequence[Piece],
        cuts: Mapping[ir.Value, list[int]],
        gather: Array | None,
    ) -> ir.Value:
        """The operators that put a value together."""
        before = self.labels.moves[value].nodes[-1]
        parts = [part for piece in pieces for part in self._stretch(piece, cuts[piece[0]])]
        made = parts[0]
        axis = [ir.AttrInt64("axis", 1)]
        if len(parts) > 1:
            count = sum(b - a for _, a, b in pieces)
            made = self._node("Concat", parts, value, count, before, axis)
        if gather is not None:
            operands = [made, integers(gather, self.graph, self.names)]
            made = self._node("Gather", operands, value, len(gather), before, axis)
        return made

    def _stretch(self, piece: Piece, cuts: list[int]) -> list[ir.Value]:
        """The parts of a source that a stretch consists of."""
        source, a, b = piece
        if (a, b) == (0, self._channels(source)):
            return [source]
        if source not in self.cut:
            self.cut[source] = self._cut(source, cuts)
        return [self.cut[source][k] for k in cuts if a <= k < b]

    def _cut(self, source: ir.Value, cuts: list[int]) -> dict[int, ir.Value]:
        """Each part of a source by where it begins."""
        readers = [use.node for use in source.uses() if use.node in self.labels.inner]
        first = min(readers, key=self.labels.rank.__getitem__)
        ends = pairwise(cuts)
        if cuts[0] == 0 and cuts[-1] == self._channels(source):
            return self._split(source, cuts, first)
        return {a: self._slice(source, a, b, first) for a, b in ends}

    def _channels(self, source: ir.Value) -> int:
        if source in self.orders:
            return len(self.orders[source])
        return channels_of(source, 1) or 0

    def _split(self, source: ir.Value, cuts: list[int], before: ir.Node) -> dict[int, ir.Value]:
        counts = np.diff(cuts)
        axis = ir.AttrInt64("axis", 1)
        operands, attributes = [source, integers(counts, self.graph, self.names)], [axis]
        if self.graph.opset_imports[""] < 13:
            operands, attributes = [source], [axis, ir.AttrInt64s("split", counts.tolist())]
        name = self.names.mint(f"{source.name}.Split")
        node = ir.Node("", "Split", operands, attributes, num_outputs=len(counts), name=name)
        for k, (value, count) in enumerate(zip(node.outputs, counts, strict=True)):
            self._describe(value, self.names.mint(f"{name}.{k}"), source, int(count))
        self.graph.insert_before(before, node)
        return dict(zip(cuts, node.outputs, strict=False))

    def _slice(self, source: ir.Value, a: int, b: int, before: ir.Node) -> ir.Value:
        bounds = [integers([n], self.graph, self.names) for n in (a, b, 1)]
        return self._node("Slice", [source, *bounds], source, b - a, before, [])

    def _node(
        self,
        op_type: str,
        operands: Sequence[ir.Value],
        like: ir.Value,
        channels: int,
        before: ir.Node,
        attributes: Sequence[ir.Attr],
    ) -> ir.Value:
        name = self.names.mint(f"{like.name}.{op_type}")
        node = ir.Node("", op_type, operands, attributes, num_outputs=1, name=name)
        self._describe(node.outputs[0], name, like, channels)
        self.graph.insert_before(before, node)
        return node.outputs[0]

    def _describe(self, value: ir.Value, name: str, like: ir.Value, channels: int) -> None:
        assert like.shape is not None
        value.name, value.type = name, like.type
        value.shape = ir.Shape([like.shape[0], channels, *like.shape.dims[2:]])
