"""Relabel: channels are stored in the order in which they are asked for.

    W(Px) = (WP)x,   P(Wx) = (PW)x,   f(Px) = P f(x)         P: a permutation, or a selection

Moving channels about is a 0/1 matrix, and the weights before and after it can take it in. For each
value that something other than a move reads, it is worked out which channels of which *sources*
(values that no move makes) it holds. A source whose weights can be permuted stores its channels
sorted by who reads them; each reader is then put together from whole stretches, in the order that
comes cheapest, and has its own weights permuted to that. Channels that nobody reads are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.cost.estimate import elements_of, node_time
from onebyone.cost.price import Load, manner, time
from onebyone.cost.profile import Cost, Profile
from onebyone.graph.count import macs
from onebyone.graph.count_walk import name_of
from onebyone.graph.edit import Edit
from onebyone.graph.ops.conversion import is_of_int8_codes
from onebyone.graph.ops.flow import channels_of
from onebyone.graph.shapes import Sizes
from onebyone.graph.values import nodes_within
from onebyone.optimize.channels.assemble import Assembly, Piece
from onebyone.optimize.channels.copies import copies
from onebyone.optimize.channels.labels import Labels, labels_of, with_flows
from onebyone.optimize.channels.moves import Move
from onebyone.optimize.channels.reindex import narrow, reindex
from onebyone.optimize.joined import Joined
from onebyone.optimize.rewritten import Rewrite, Task
from onebyone.optimize.sharing import origin

__all__ = ["relabel"]


def relabel(task: Task) -> Iterator[Rewrite]:
    """Take shuffles and other moves of channels into the weights, in place, where that is cheaper.

    Moves that are connected, through values or through orders, go together or stay together. The
    costs are those of moving; the MACs saved, of channels that were selected from and nobody read.
    """
    graph, sizes, profile = task.model.graph, task.sizes, task.profile
    labels = labels_of(graph, task.axes)
    # Most networks only stack channels: then nobody needs to know what computes with them.
    if not _reorders(labels.moves.values(), labels):
        return
    labels = with_flows(graph, labels)
    edit, fixed = Edit(graph), _fixed(graph, labels)
    # Each by itself: one that does not pay must not keep another from paying.
    for component in _components(labels):
        if not _is_sized(component, sizes):
            continue
        plan = _plan(component, labels, fixed)
        before, after = (
            _moving(component, sizes, profile),
            _placing(_assembly(plan, labels), sizes, profile),
        )
        touched = _touched(plan, labels)
        # A shared weight that two readers need in two orders is stored, and read, twice.
        copied = copies({n: labels.flows[n] for n in touched}, _orders(plan, labels))
        after += Cost(profile.reading(sum(copied.values())))
        pays = after < before and not (copied and _keeps_all(plan, labels))
        if pays and not _slices_codes(plan, graph.opset_imports.get("", 0)):
            work = macs(graph, sizes, touched)
            _carry_out(plan, labels, edit, touched)
            gone = tuple(sorted({name_of(n) for move in component for n in move.nodes}))
            yield Rewrite(
                gone[0],
                gone,
                {"permute": work - macs(graph, sizes, touched)},
                before,
                after,
                made=(*edit.fresh(), *map(name_of, touched)),
                moved=tuple(v for group in plan.orders for v in labels.members[group]),
            )


def _components(labels: Labels) -> list[list[Move]]:
    """Moves connected through values, orders and weights, where channels change places or go."""
    joined = Joined[ir.Value]()
    for value, move in labels.moves.items():
        joined.tie([value, *move.operands])
    # Values that are added up have one order, so their moves hang together.
    for value in (*labels.moves, *labels.sources):
        joined.tie([value, labels.of(value)])
    for operands in _sharers(labels):
        joined.tie(operands)
    components = [[labels.moves[v] for v in group] for group in joined.groups(labels.moves)]
    return [component for component in components if _reorders(component, labels)]


def _sharers(labels: Labels) -> list[list[ir.Value]]:
    """The groups of the operands that one weight meets."""
    found: dict[ir.Value, list[ir.Value]] = {}
    for node, mix in ((node, flow.mix) for node, flow in labels.flows.items()):
        if mix is None:
            continue
        weight = node.inputs[node.inputs[0] is mix.operand]  # a product has it on either side
        if weight is not None:
            found.setdefault(origin(weight), []).append(labels.of(mix.operand))
    return list(found.values())


def _reorders(component: Iterable[Move], labels: Labels) -> bool:
    """Whether a value that is read holds a source in pieces, or nobody reads some channels."""
    read: dict[int, list[Array]] = {}
    for move in component:
        if not _is_read(move.value, labels):
            continue
        source, channel = labels.atoms[move.value]
        # More stretches than sources: something stands between channels of one source.
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
class _Arrangement:
    """New orders, and how each value that is read is put together from stretches of sources."""

    orders: dict[ir.Value, Array] = field(default_factory=dict)
    pieces: dict[ir.Value, list[Piece]] = field(default_factory=dict)
    gathers: dict[ir.Value, Array] = field(default_factory=dict)


def _plan(component: Sequence[Move], labels: Labels, fixed: set[ir.Value]) -> _Arrangement:
    wanted = [m.value for m in component if _is_read(m.value, labels)]
    plan = _Arrangement()
    made: dict[ir.Value, list[ir.Value]] = {}
    for value in wanted:
        made.setdefault(labels.of(value), []).append(value)
    taken = _taken(wanted, labels)
    for group, channels in taken.items():
        # A source that can be stored in any order takes that of its readers.
        if group not in fixed and group not in made:
            plan.orders[group] = _sorted_by_reader(group, channels, labels)
    for value in wanted:
        group = labels.of(value)
        # Two readers in one group would each want their own order.
        free = group not in fixed and group not in taken and len(made[group]) == 1
        _assemble(value, free, plan, labels)
    return plan


def _assembly(plan: _Arrangement, labels: Labels) -> Assembly:
    sources = {source for pieces in plan.pieces.values() for source, _, _ in pieces}
    stored = {x: len(plan.orders.get(labels.of(x), ())) or channels_of(x, 1) or 0 for x in sources}
    return Assembly(plan.pieces, plan.gathers, stored)


def _is_read(value: ir.Value, labels: Labels) -> bool:
    """Whether something other than a move reads a value."""
    return value.is_graph_output() or any(use.node not in labels.inner for use in value.uses())


def _fixed(graph: ir.Graph, labels: Labels) -> set[ir.Value]:
    """Groups with a value whose order somebody else counts on."""
    # A constant that moves read is nobody's weight: no node would store its channels anew.
    given = (*graph.inputs, *graph.initializers.values())
    fixed = {labels.of(v) for v in (*given, *graph.outputs)}
    for node in nodes_within(graph):
        if node in labels.inner:
            continue
        free: Collection[ir.Value] = ()
        if node in labels.flows:
            free = labels.flows[node].operands
        else:
            fixed |= {labels.of(v) for v in node.outputs}
        fixed |= {labels.of(v) for v in node.inputs if v is not None and v not in free}
    return fixed


def _taken(wanted: Sequence[ir.Value], labels: Labels) -> dict[ir.Value, list[Array]]:
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


def _sorted_by_reader(group: ir.Value, taken: Sequence[Array], labels: Labels) -> Array:
    """The channels of a group of sources that are read, those with the same readers together."""
    source = next(v for v in labels.members[group] if v in labels.sources)
    channels = channels_of(source, labels.axes[source]) or 0
    # Row by row who reads a channel; sorted by these bits, equal ones are neighbours.
    readers = np.zeros((len(taken) + 1, channels), bool)
    for row, channel in enumerate(taken):
        readers[row, channel] = True
    # A mix that reads the source whole reads every channel, used elsewhere or not.
    readers[-1] = group in labels.whole
    order = np.lexsort(readers[::-1])
    return order[readers[:, order].any(axis=0)]


def _assemble(value: ir.Value, free: bool, plan: _Arrangement, labels: Labels) -> None:
    """Choose the order of a value that is read, and the stretches that it is put together from."""
    source, channel = labels.atoms[value]
    stored = channel.copy()
    for k in np.unique(source):
        order = plan.orders.get(labels.of(labels.numbered[k]))
        if order is not None:
            here = source == k
            stored[here] = _positions(order)[channel[here]]
    ordered = np.lexsort((stored, source))
    runs, few = _runs(source, stored), 2 * len(np.unique(source))
    if free or len(runs) > few:
        runs = _runs(source[ordered], stored[ordered])
        # Who may have another order gets this one; for others it is put together, and gathered.
        if free:
            plan.orders[labels.of(value)] = ordered
        else:
            plan.gathers[value] = np.argsort(ordered)
    plan.pieces[value] = [(labels.numbered[k], a, b) for k, a, b in runs]


def _positions(order: Array) -> Array:
    """Old channel -> place in the new order."""
    places = np.full(order.max(initial=0) + 1, -1)
    places[order] = np.arange(len(order))
    return places


def _runs(source: Array, stored: Array) -> list[tuple[int, int, int]]:
    """Stretches of neighbours: source's number, first and end."""
    # A stretch ends where the source changes, or a channel is skipped.
    cuts = np.flatnonzero((np.diff(source) != 0) | (np.diff(stored) != 1)) + 1
    return [
        (int(source[part[0]]), int(stored[part[0]]), int(stored[part[-1]]) + 1)
        for part in np.split(np.arange(len(source)), cuts)
    ]


# What it costs ------------------------------------------------------------------------------------


def _is_sized(component: Sequence[Move], sizes: Sizes) -> bool:
    """Whether what is moved has known sizes: of nothing, one order is as cheap as any other."""
    return all(sizes.shape(move.value) is not None for move in component)


def _moving(component: Sequence[Move], sizes: Sizes, profile: Profile) -> Cost:
    """Of the moves as they stand, but for the views of a shuffle, which engines may pass over."""
    nodes = dict.fromkeys(move.nodes[len(move.nodes) // 2] for move in component)
    each = (node_time(node, 0, profile, lambda v: elements_of(v, sizes)) for node in nodes)
    return Cost(sum(each))


def _placing(assembly: Assembly, sizes: Sizes, profile: Profile) -> Cost:
    """Of the splits, concats and gathers of a plan."""
    total = 0
    for op_type, value, channels in assembly.operators():
        numbers = channels * elements_of(value, sizes) // max(channels_of(value, 1) or 0, 1)
        total += time(manner(op_type, of_positions=False), Load(0, numbers, numbers), profile)
    return Cost(total)


# Carrying it out ----------------------------------------------------------------------------------


def _touched(plan: _Arrangement, labels: Labels) -> list[ir.Node]:
    """The nodes whose weights have another order from now on, or less channels."""
    values = [v for group in plan.orders for v in labels.members[group]]
    around = {n for v in values for n in (v.producer(), *(use.node for use in v.uses()))}
    return sorted(labels.flows.keys() & around, key=labels.rank.__getitem__)


def _orders(plan: _Arrangement, labels: Labels) -> dict[ir.Value, Array]:
    """The new order of the channels of each value that gets one."""
    return {v: order for g, order in plan.orders.items() for v in labels.members[g]}


def _keeps_all(plan: _Arrangement, labels: Labels) -> bool:
    """Whether no channel is left out, so that no multiply-accumulate is saved."""
    found = _orders(plan, labels).items()
    return all(len(order) == channels_of(v, labels.axes[v]) for v, order in found)


def _slices_codes(plan: _Arrangement, opset: int) -> bool:
    """Whether values would be cut anew that engines cannot cut."""
    sources = {source for pieces in plan.pieces.values() for source, _, _ in pieces}
    return any(is_of_int8_codes(source, opset) for source in sources)


def _carry_out(plan: _Arrangement, labels: Labels, edit: Edit, touched: Sequence[ir.Node]) -> None:
    orders, assembled = _orders(plan, labels), _assembly(plan, labels).carry_out(edit, labels)
    # Weights first: they are found by the shapes that values still have.
    for node in touched:
        reindex(node, labels.flows[node], orders, edit, None)
    for value, order in orders.items():
        if value not in labels.moves:
            narrow(value, labels.axes[value], len(order))
    for value, made in assembled.items():
        edit.replace(value, made)
