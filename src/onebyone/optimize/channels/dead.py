"""Dead channels: those that hold a constant, and those that nobody reads.

    known    forward:   y[o] is one number at every position, whatever the input
    needed   backward:  some output of the graph depends on x[c]

A channel that is known or not needed may go, if all channels that are tied to it may
(`kept_channels`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.channels import flow
from onebyone.graph.constants import constant
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.call import call_of
from onebyone.graph.ops.flow import Flow, Mix, channels_of
from onebyone.graph.shape_reads import entries_used
from onebyone.graph.values import input_at, nodes_within
from onebyone.optimize.channels.kept_channels import kept_channels

__all__ = ["Dead", "find"]


@dataclass(frozen=True, eq=False)
class Dead:
    """What is known of the channels of a graph.

    Args:
        axes: value -> its channel axis, for all values that take part.
        flows: node -> how channels flow through it, for all nodes that take part.
        known: value -> (C,) the constants, NaN where there is none.
        kept: value -> (C,) which channels stay.
        spare: value -> (C,) which of them could go, but fill up what a convolution reads.
        gone: values of which no channel stays: what computes them goes with them.
        idle: values with channels that stay though nobody needs them: what they hold may change.
    """

    axes: Mapping[ir.Value, int]
    flows: Mapping[ir.Node, Flow]
    known: Mapping[ir.Value, Array]
    kept: Mapping[ir.Value, Array]
    spare: Mapping[ir.Value, Array]
    gone: frozenset[ir.Value]
    idle: frozenset[ir.Value]


@dataclass(eq=False)
class _Analysis:
    axes: dict[ir.Value, int]
    version: int
    flows: dict[ir.Node, Flow] = field(default_factory=dict)
    known: dict[ir.Value, Array] = field(default_factory=dict)
    needed: dict[ir.Value, Array] = field(default_factory=dict)
    locked: set[ir.Value] = field(default_factory=set)


def find(
    graph: ir.Graph,
    axes: Mapping[ir.Value, int],
    version: int,
    whole: Collection[ir.Value] = (),
    multiple: int = 1,
) -> Dead:
    """Analyse a graph with shapes inferred.

    Args:
        graph: it is not changed.
        axes: the channel axis of values; those that are not there take no part.
        version: of the standard operators.
        whole: values that have to keep all of their channels.
        multiple: of which convolutions are to read as many channels (`kept_channels`).
    """
    # Of what has no channels, or an unknown number of them, nothing can be said.
    a = _Analysis({v: k for v, k in axes.items() if channels_of(v, k)}, version)
    nodes = list(graph)
    _admit(nodes, a)
    for node in nodes:
        _learn(node, a)
    # As those that others read: nothing of them may go.
    a.locked |= {v for v in whole if v in a.axes}
    _lock(graph, a)
    for node in reversed(nodes):
        _ask(node, a)
    stays = kept_channels({v: _must_stay(v, a) for v in a.axes}, a.flows, multiple)
    # A channel that stays only because another, tied to it, does may hold anything.
    idle = frozenset(v for v, kept in stays.kept.items() if (kept & ~a.needed[v]).any())
    gone = frozenset(v for v, kept in stays.kept.items() if not kept.any())
    return Dead(a.axes, a.flows, a.known, stays.kept, stays.spare, gone, idle)


def _admit(nodes: Sequence[ir.Node], a: _Analysis) -> None:
    """Enter the flows of nodes, where each value in them has its channels on one axis everywhere.

    A value that has no axis of its own, an input say, gets that on which all mixes read it.
    """
    found = {
        node: entry
        for node in nodes
        if node.outputs and node.outputs[0] in a.axes
        if (entry := flow(node, a.axes[node.outputs[0]], a.axes)) is not None and _fits(node, entry)
    }
    read: dict[ir.Value, set[int]] = {}
    for entry in found.values():
        if entry.mix is not None and channels_of(entry.mix.operand, entry.mix.axis):
            read.setdefault(entry.mix.operand, set()).add(entry.mix.axis)
    for value, axes in read.items():
        # Read along two axes, an input has no channels of its own.
        if len(axes) == 1:
            a.axes.setdefault(value, *axes)
    for node, entry in found.items():
        if all(a.axes.get(value) == axis for value, axis in entry.operands.items()):
            a.flows[node] = entry


def _fits(node: ir.Node, entry: Flow) -> bool:
    """Whether weights have as many channels as what they meet; else the file contradicts itself."""
    if entry.mix is not None:
        return bool(channels_of(entry.mix.operand, entry.mix.axis) == entry.mix.channels)
    channels = channels_of(node.outputs[0], entry.axis)
    return all(channels_of(v, k) in (1, channels) for v, k in entry.constants.items())


# Forward: what is known -------------------------------------------------------------------------


def _learn(node: ir.Node, a: _Analysis) -> None:
    for value in node.outputs:
        if value in a.axes:
            a.known[value] = np.full(channels_of(value, a.axes[value]) or 0, np.nan)
    found = a.flows.get(node)
    if found is None:
        return
    for out in _results(node, found):
        known = _of_mix(found.mix, a) if found.mix else _of_links(node, found, out, a)
        known = known.astype(np.float64)  # a bias is in its own type, what is made of it is not
        a.known[out] = np.where(np.isfinite(known), known, np.nan)


def _results(node: ir.Node, found: Flow) -> dict[ir.Value, None]:
    """The values that channels go to."""
    return dict.fromkeys([link.result for link in found.links] or node.outputs[:1])


def _of(value: ir.Value, a: _Analysis) -> Array:
    if value not in a.known:
        a.known[value] = np.full(channels_of(value, a.axes[value]) or 0, np.nan)
    return a.known[value]


def _of_mix(mix: Mix, a: _Analysis) -> Array:
    """W k + b where all that a row uses is known."""
    k = _of(mix.operand, a)
    # Nothing known is the usual case, and saves the product of matrices.
    if np.isnan(k).all():
        return np.where(mix.lines[0], np.nan, mix.shift)
    # Beside zeros that pad, only a channel of zeros is constant.
    unknown = np.isnan(k) | ((k != 0) & mix.zeros_only)
    row, constants = (mix.used & unknown).any(axis=1), np.where(unknown, 0, k)
    # Zeros are usual, and save the product too.
    moved = mix.weight @ constants if constants.any() else np.zeros(len(row))
    return np.where(row, np.nan, moved + mix.shift)


def _of_links(node: ir.Node, found: Flow, out: ir.Value, a: _Analysis) -> Array:
    if found.held is not None:
        return found.held([_of(link.operand, a)[link.sources] for link in found.links])
    if operator_of(node).elementwise:
        return _computed(node, found, a)
    return _of_copies(found, out, a)


def _of_copies(found: Flow, out: ir.Value, a: _Analysis) -> Array:
    """Channels that are made of others: what these hold, if all of them hold the same."""
    # A channel that is made of several, all held at one number, has least == most.
    least, most = (np.full(channels_of(out, a.axes[out]) or 0, k) for k in (np.inf, -np.inf))
    for link in found.links:
        if link.result is out:
            held = _of(link.operand, a)[link.sources]
            np.minimum.at(least, link.outs, np.where(np.isnan(held), -np.inf, held))
            np.maximum.at(most, link.outs, np.where(np.isnan(held), np.inf, held))
    return np.where((least == most) & (not found.constants), least, np.nan)


def _computed(node: ir.Node, found: Flow, a: _Analysis) -> Array:
    """An elementwise node, run on one position; what it makes of unknown operands is unknown."""
    out = node.outputs[0]
    unknown = np.full(channels_of(out, a.axes[out]) or 0, np.nan)
    kernel = operator_of(node).value
    if kernel is None:
        return unknown
    operands = [None if v is None else _at_one_position(v, found, a) for v in node.inputs]
    arrays = [x for x in operands if x is not None]
    # Only a product can be known where an operand is not: zero times anything.
    if node.op_type != "Mul" and any(np.isnan(x).all() for x in arrays):
        return unknown
    with np.errstate(all="ignore"):
        # The kernel must see numbers; what it makes of these zeros is thrown away below.
        known = (None if x is None else np.where(np.isnan(x), 0, x) for x in operands)
        result = kernel(call_of(node, a.version), *known)
    if result is None:
        return unknown
    # An unknown operand makes a result unknown, ...
    missing = np.any([np.broadcast_to(np.isnan(x), unknown.shape) for x in arrays], axis=0)
    if node.op_type == "Mul":
        # ... unless another one is zero there.
        missing &= ~np.any([np.broadcast_to(x == 0, unknown.shape) for x in arrays], axis=0)
    return np.where(missing, np.nan, np.broadcast_to(result, unknown.shape))


def _at_one_position(value: ir.Value, found: Flow, a: _Analysis) -> Array:
    """(C,) or a scalar: an operand at any position, NaN where it differs from place to place."""
    array = constant(value)
    if array is None:
        return _of(value, a) if value in found.operands else np.array(np.nan)
    if array.size == 1:
        return np.asarray(array, np.float64).reshape(())
    axis = found.constants.get(value)
    if axis is None or array.size != array.shape[axis]:
        return np.array(np.nan)
    return np.asarray(array, np.float64).reshape(-1)


# Backward: what is needed ------------------------------------------------------------------------


def _lock(graph: ir.Graph, a: _Analysis) -> None:
    """Values that must keep all channels: the caller's, and those that other nodes read or make."""
    a.locked |= {v for v in (*graph.inputs, *graph.outputs) if v in a.axes}
    # Nobody here can store weights for other channels of these.
    a.locked |= {v for v in a.axes if v.producer() is None or v.producer() not in a.flows}
    for node in nodes_within(graph):
        free = set(a.flows[node].operands) if node in a.flows else _sized(node, a)
        a.locked |= {v for v in node.inputs if v is not None and v in a.axes and v not in free}
    for value, axis in a.axes.items():
        a.needed[value] = np.full(channels_of(value, axis) or 0, value in a.locked)


def _sized(node: ir.Node, a: _Analysis) -> set[ir.Value]:
    """The operand of a Shape whose number of channels nobody reads."""
    x = input_at(node, 0)
    if node.op_type != "Shape" or node.domain != "" or x is None or x.shape is None:
        return set()
    if a.axes.get(x) in entries_used(node, x.shape.rank()):
        return set()
    return {x}


def _ask(node: ir.Node, a: _Analysis) -> None:
    found = a.flows.get(node)
    if found is None:
        return
    if found.mix is not None:
        computed = _computes(node.outputs[0], a)
        # What is read by any row is known already; which of them read it is looked up for some.
        every = computed.all()
        read = found.mix.lines[1] if every else found.mix.used[computed].any(axis=0)
        a.needed[found.mix.operand] |= read
    for link in found.links:
        # What may be undefined is computed for idle channels too, and must not meet new numbers.
        read = _computes(link.result, a)[link.outs] | _is_partial(node)
        np.logical_or.at(a.needed[link.operand], link.sources, read)


def _computes(value: ir.Value, a: _Analysis) -> Array:
    """Channels that are needed and vary."""
    return np.asarray(a.needed[value] & np.isnan(a.known[value]))


def _is_partial(node: ir.Node) -> bool:
    """Whether what is tied to others but not needed, computed from what is left, has to stay a
    number."""
    partial = operator_of(node).is_partial
    return partial(node) if callable(partial) else partial


def _must_stay(value: ir.Value, a: _Analysis) -> Array:
    """Channels that are read and vary, or whose constant cannot be added where it is read."""
    known, needed = _of(value, a), a.needed[value]
    if value in a.locked:
        # What others count on keeps its channels, constant or not.
        return np.ones_like(needed)
    stay = needed & np.isnan(known)
    for use in value.uses():
        found = a.flows.get(use.node)
        if found is not None and found.mix is not None and found.mix.zeros_only:
            stay = stay | (needed & (known != 0) & found.mix.lines[1])
    return stay
