"""The same model written differently: nodes in another topological order, other inner names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto

__all__ = ["of_any_order", "reordered"]


def of_any_order(cost: Mapping[str, Any]) -> dict[str, Any]:
    """A side of a report without what the order of its nodes decides: what is alive at once."""
    return {name: value for name, value in cost.items() if name != "peak_activation_bytes"}


def _order(nodes: list[NodeProto], rng: np.random.Generator) -> list[NodeProto]:
    """A random topological order."""
    made = {name for node in nodes for name in node.output}
    waiting, done, order = list(nodes), set[str](), list[NodeProto]()
    while waiting:
        ready = [n for n in waiting if all(i in done or i not in made for i in n.input)]
        node = ready[int(rng.integers(len(ready)))]
        waiting.remove(node)
        order.append(node)
        done.update(node.output)
    return order


def _renamed(nodes: list[NodeProto], fixed: set[str], rng: np.random.Generator) -> None:
    """Give every node and every inner value a new name, in place."""
    inner = sorted({name for node in nodes for name in node.output if name} - fixed)
    names = {name: f"v{i}" for name, i in zip(inner, rng.permutation(len(inner)), strict=True)}
    for i, node in enumerate(nodes):
        node.name = f"n{i}"
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def reordered(model: ModelProto, seed: int) -> ModelProto:
    """`model` (without subgraphs) with its nodes shuffled and its inner names replaced."""
    rng, copy = np.random.default_rng(seed), ModelProto()
    copy.CopyFrom(model)
    nodes = _order(list(copy.graph.node), rng)
    _renamed(nodes, {output.name for output in copy.graph.output}, rng)
    del copy.graph.node[:], copy.graph.value_info[:]
    copy.graph.node.extend(nodes)
    constants = list(copy.graph.initializer)
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(constants[i] for i in rng.permutation(len(constants)))
    return copy
