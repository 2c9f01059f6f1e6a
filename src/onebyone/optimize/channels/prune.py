"""Prune: dead channels are taken out of the weights, and what they held goes into the next bias.

W[x; k] = W₁x + W₂k           k constant: W₂k is part of the bias
W[x; z] = W₁x                 z where W₂ = 0: nobody reads it, nobody computes it
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from onebyone.algebra.laws import refused
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.weights import Array
from onebyone.cost.profile import Cost
from onebyone.graph.channels import flow
from onebyone.graph.constants import is_float
from onebyone.graph.count import macs
from onebyone.graph.count_walk import name_of
from onebyone.graph.edit import Edit
from onebyone.graph.exact import Unrepresentable, rounded
from onebyone.graph.ops import Role, role
from onebyone.graph.ops.flow import Mix
from onebyone.graph.unused import remove_unused
from onebyone.optimize.channels.copies import copies
from onebyone.optimize.channels.dead import Dead, find
from onebyone.optimize.channels.reindex import narrow, reindex
from onebyone.optimize.channels.whole import freeze_wholes, has_wholes
from onebyone.optimize.rewritten import Rewrite, Task
from onebyone.optimize.sharing import readers

__all__ = ["near_misses", "prune"]


def prune(task: Task) -> Iterator[Rewrite]:
    """Take dead channels out, in place.

    Where a bias would not fit the number type, the channels that it would take in stay; those of a
    shared weight whose readers would not lose the same ones; and a few where a convolution would
    else read no multiple of as many channels as the machine computes together (`kept_channels`).
    """
    graph, multiple = task.model.graph, task.profile.channels
    # Before anything is changed: a bias that cannot be stored shows only when rounded.
    dead = _fitting(task)
    if not _orders(dead) and not has_wholes(dead):
        return
    before = macs(graph, task.sizes)
    if frozen := list(freeze_wholes(graph, dead)):
        yield _without(task, frozen, before)
        return
    if not _orders(dead):
        return
    changed = _carry_out(graph, dead)
    if not changed:
        return
    after = macs(graph, task.sizes)
    made = (node.outputs[0] for node in changed if dead.flows[node].mix is not None)
    spare = sum(int(dead.spare[value].sum()) for value in made)
    note = ""
    if spare:
        note = (
            f"{spare} dead channels stay to fill up multiples of {multiple}: "
            'a profile of {"channels": 1} takes them out'
        )
    nodes = tuple(sorted(map(name_of, changed)))
    yield Rewrite(
        nodes[0],
        nodes,
        {"prune": before - after},
        Cost(0, before),
        Cost(0, after),
        note,
        made=nodes,
        moved=tuple(sorted({*dead.idle, *dead.gone}, key=lambda value: value.name or "")),
    )


def _without(task: Task, frozen: list[tuple[ir.Node, ir.Node]], before: int) -> Rewrite:
    """What went where nodes read constants."""
    graph = task.model.graph
    nodes = {name_of(node) for node in graph}
    remove_unused(graph)
    after = macs(graph, task.sizes)
    made = tuple(sorted(name_of(new) for _, new in frozen))
    left = {name_of(node) for node in graph}
    return Rewrite(
        made[0],
        tuple(sorted(nodes - left)),
        {"prune": before - after},
        Cost(0, before),
        Cost(0, after),
        made=made,
    )


def near_misses(task: Task) -> Iterator[tuple[ir.Node, Refusal]]:
    """The weights in which rows or columns of zeros are left, and why."""
    for node in task.model.graph:
        reads = role(node) is Role.CONVOLUTION or node.op_type == "Gemm"
        found = flow(node, 1) if reads and is_float(node.outputs[0]) else None
        if found is None or found.mix is None:
            continue
        rows, columns = (int((~read).sum()) for read in found.mix.lines)
        if rows and not node.outputs[0].is_graph_output():
            yield node, refused("prune", "rows", count=rows)
        elif columns and found.mix.operand.producer() is not None:
            yield node, refused("prune", "columns", count=columns)


def _carry_out(graph: ir.Graph, dead: Dead) -> list[ir.Node]:
    """Give every node the weights for what is left; returns those that changed."""
    edit, orders, changed = Edit(graph), _orders(dead), []
    for node, found in dead.flows.items():
        bias = None
        if all(value in dead.gone for value in node.outputs):
            continue
        if found.mix is not None:
            bias = _bias(found.mix, dead)
        if reindex(node, found, orders, edit, bias):
            changed.append(node)
    for value, order in orders.items():
        if value in dead.gone:
            continue
        narrow(value, dead.axes[value], len(order))
    return changed


def _fitting(task: Task) -> Dead:
    """What is dead, less what no bias can be stored for, or what a weight would be copied for."""
    version, whole = task.model.opset_imports[""], set[ir.Value]()
    # What stays whole may need other biases: again, until all can be stored.
    while True:
        dead = find(task.model.graph, task.axes, version, whole, task.profile.channels)
        if not _orders(dead):
            return dead
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
    # Nobody reads these constants: the bias is the node's own, in its own rounding.
    if not (mix.used & (constants != 0)).any():
        return mix.bias
    return mix.weight @ constants + mix.shift
