"""Crop: positions that nobody asks for are not computed, whatever skips them.

What belongs together is computed for the positions that are asked of it (`demand`), with a
selection where others need the whole, if the work saves more than the selections cost (`prices`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from onebyone.cost.profile import pays
from onebyone.graph.count_walk import name_of
from onebyone.graph.edit import Edit
from onebyone.graph.ops.conversion import is_of_int8_codes
from onebyone.graph.values import maker
from onebyone.optimize.joined import Joined
from onebyone.optimize.positions.crop_edit import CropEdit
from onebyone.optimize.positions.delay import delay
from onebyone.optimize.positions.demand import Demand
from onebyone.optimize.positions.packed import unpack
from onebyone.optimize.positions.prices import Prices, works
from onebyone.optimize.rewritten import Rewrite, Task

__all__ = ["crop"]


def crop(task: Task) -> Iterator[Rewrite]:
    """Compute fewer positions, in place, wherever that saves."""
    graph, sizes, profile = task.model.graph, task.sizes, task.profile
    demand = Demand.on(graph)
    changed = [*unpack(task, demand)] or [*delay(task)]
    if changed:  # what is asked then is asked of the graph as it is then
        yield from changed
        return
    prices = Prices(demand, sizes, profile)
    # What reads from each other is decided together: half of it would need a selection between.
    parts = [(part, *prices.change(part)) for part in _parts(demand)]
    chosen = [
        (part, before, after)
        for part, before, after in parts
        if pays(before, after, profile)
        and any(works(node, sizes) for node in part)
        and not any(is_of_int8_codes(x, demand.version) for x in prices.selected(part))
    ]
    if not chosen:
        return
    # What does not pay is computed whole, also for the selectors that read it.
    kept = {node for part, _, _ in chosen for node in part}
    # First of all, so that the parts that stay ask for no more than they did alone.
    demand.keep_whole([node for node in demand.results if node not in kept])
    readers = [list(map(name_of, prices.readers(part))) for part, _, _ in chosen]
    fresh = _carry_out(graph, demand)
    for (part, before, after), those in zip(chosen, readers, strict=True):
        names = tuple(sorted(name_of(node) for node in part))
        made = (*those, *(name for name in _beside(part) if name in fresh), *names)
        saved = {"demand": before.macs - after.macs}
        root = part[0].outputs[0].name or ""
        yield Rewrite(root, names, saved, before, after, made=made, small=False)


def _parts(demand: Demand) -> list[list[ir.Node]]:
    """The nodes that compute less, apart where none of the one reads from the other."""
    joined = Joined[ir.Node]()
    for node in demand.results:
        makers = map(maker, node.inputs)
        joined.tie([node, *(n for n in makers if n is not None and n in demand.results)])
    return joined.groups(demand.results)


def _carry_out(graph: ir.Graph, demand: Demand) -> frozenset[str]:
    """Readers before what they read, so that each finds the shapes of all positions.

    Returns the names of what is new.
    """
    edit = CropEdit(Edit(graph))
    # A Shape tells the size of the whole: before anything is smaller, it is made to read elsewhere.
    for node in demand.results:
        for value in node.outputs:
            for user in [use.node for use in value.uses() if use.node.op_type == "Shape"]:
                edit.read_elsewhere(user, set(demand.results[node]), demand.reads)
    for node in [node for node in reversed(list(graph)) if node in demand.operands]:
        # What is there of its operands is asked before they change: `demand` knows the old values.
        borders, strides = demand.borders(node), demand.strides(node)
        have = [demand.of(value) for value in node.inputs]
        found = demand.selectors.get(node)
        left = demand.reselected(node)
        if node in demand.results:
            edit.rewrite(node, demand.results[node], demand.operands[node])
        for axis, stride in strides.items():
            edit.stride(node, axis, stride or 1)  # what no stride takes is selected before
        for index, asked in borders.items():
            edit.select(node, index, asked, have[index])
        if found is not None and left is not None:
            edit.reselect(node, found, left, have[0])
    if edit.indices:
        graph.sort()
    return frozenset(edit.edit.fresh())


def _beside(part: Sequence[ir.Node]) -> Iterator[str]:
    """The names of the nodes that make what nodes read, or read what they make."""
    for node in part:
        readers = (use.node for value in node.outputs for use in value.uses())
        around = (*map(maker, node.inputs), *readers)
        yield from (name_of(other) for other in around if other is not None)
