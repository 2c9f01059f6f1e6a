"""Prune: dead channels are taken out of the weights, and what they held goes into the next bias.

W[x; k] = W₁x + W₂k           k constant: W₂k is part of the bias
W[x; z] = W₁x                 z where W₂ = 0: nobody reads it, nobody computes it
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.channel_axes import channel_axes
from onebyone.graph.count_walk import name_of
from onebyone.graph.exact import Unrepresentable, rounded
from onebyone.optimize.channels.copies import copies
from onebyone.optimize.channels.dead import Dead, find
from onebyone.optimize.channels.links import Mix
from onebyone.optimize.channels.reindex import narrow, reindex
from onebyone.optimize.names import Names
from onebyone.optimize.sharing import readers

__all__ = ["Pruned", "prune"]


@dataclass(frozen=True)
class Pruned:
    """A node that lost channels; `spare` of its result could go too, but fill up a width.

    `idle` are the values of the graph with channels that stay though nobody needs them.
    """

    node: str
    spare: int
    idle: frozenset[ir.Value]


def prune(graph: ir.Graph, version: int, multiple: int = 1) -> Iterator[Pruned]:
    """Take dead channels out, in place; `version` is the opset's.

    Where a bias would not fit the number type, the channels that it would take in stay; those of a
    shared weight whose readers would not lose the same ones; and a few where a convolution would
    else read no multiple of `multiple` channels (`keep`).
    """
    dead = _fitting(graph, version, multiple)
    if all(kept.all() for kept in dead.kept.values()):
        return
    names = Names.of(graph)
    orders = _orders(dead)
    for node, found in dead.flows.items():
        bias = None if found.mix is None else _bias(found.mix, dead)
        if reindex(node, found, orders, names, bias):
            makes = node.outputs[:1] if found.mix is not None else ()
            spare = sum(int(dead.spare[v].sum()) for v in makes)
            yield Pruned(name_of(node), spare, dead.idle)
    for value, order in orders.items():
        narrow(value, dead.axes[value], len(order))


def _fitting(graph: ir.Graph, version: int, multiple: int) -> Dead:
    """What is dead, less what no bias can be stored for, or what a weight would be copied for."""
    axes, whole = channel_axes(graph), set[ir.Value]()
    while True:
        dead = find(graph, axes, version, whole, multiple)
        mixes = ((node, found.mix) for node, found in dead.flows.items() if found.mix is not None)
        found = {mix.operand for node, mix in mixes if not _fits(_bias(mix, dead), node)}
        found |= _unlike(dead)
        if found <= whole:
            return dead
        whole |= found


def _orders(dead: Dead) -> dict[ir.Value, Array]:
    """The channels that are left, where some go."""
    return {v: np.flatnonzero(kept) for v, kept in dead.kept.items() if not kept.all()}


def _unlike(dead: Dead) -> set[ir.Value]:
    """Values around shared weights whose readers would not lose the same channels."""
    nodes = [n for w in copies(dead.flows, _orders(dead)) for n in readers(w) if n in dead.flows]
    mixes = (dead.flows[node].mix for node in nodes)
    return {n.outputs[0] for n in nodes} | {mix.operand for mix in mixes if mix is not None}


def _fits(bias: Array | None, node: ir.Node) -> bool:
    """Whether a node can store a bias."""
    dtype = node.outputs[0].dtype
    try:
        return bias is None or dtype is None or bool(rounded(bias, dtype).size)
    except Unrepresentable:
        return False


def _bias(mix: Mix, dead: Dead) -> Array | None:
    """b + W₂k over the channels that go; None for none."""
    known, kept = dead.known[mix.operand], dead.kept[mix.operand]
    constants = np.where(kept | np.isnan(known), 0, known)
    if not constants.any():
        return mix.bias
    if not (mix.used & (constants != 0)).any():
        return mix.bias
    return mix.weight @ constants + (0 if mix.bias is None else mix.bias)
