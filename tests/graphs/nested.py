"""A drawn model with a part of it in a model-local function, or in the branch of an If."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, ValueInfoProto, helper, numpy_helper, shape_inference

__all__ = ["branched", "outlined"]


def _copy(model: ModelProto) -> ModelProto:
    made = ModelProto()
    made.CopyFrom(model)
    return made


def _stretch(model: ModelProto, rng: np.random.Generator) -> tuple[int, int]:
    count = len(model.graph.node)
    start = int(rng.integers(0, count))
    return start, min(count, start + int(rng.integers(1, 5)))


def _boundary(model: ModelProto, nodes: list[NodeProto]) -> tuple[list[str], list[str]]:
    """What these nodes read from outside, and what others read of them."""
    made = {name for node in nodes for name in node.output if name}
    reads = [name for node in nodes for name in node.input if name and name not in made]
    others = [node for node in model.graph.node if node not in nodes]
    wanted = {name for node in others for name in node.input} | {o.name for o in model.graph.output}
    given = [name for node in nodes for name in node.output if name in wanted]
    return list(dict.fromkeys(reads)), given


def outlined(model: ModelProto, rng: np.random.Generator) -> ModelProto:
    """Some nodes in a row become one call of a function, which is called once or twice."""
    made = _copy(model)
    start, stop = _stretch(made, rng)
    nodes = [made.graph.node[k] for k in range(start, stop)]
    reads, given = _boundary(made, nodes)
    if not given or any(a.HasField("g") for node in nodes for a in node.attribute):
        return made
    opsets = [*made.opset_import]
    body = helper.make_function("local", "Part", reads, given, nodes, opsets)
    made.functions.append(body)
    call = helper.make_node("Part", reads, given, "call", domain="local")
    rest = [*made.graph.node]
    del made.graph.node[:]
    made.graph.node.extend([*rest[:start], call, *rest[stop:]])
    made.opset_import.append(helper.make_opsetid("local", 1))
    return made


def branched(model: ModelProto, rng: np.random.Generator) -> ModelProto:
    """Some nodes in a row stand in both branches of an If whose condition is a constant."""
    made = _copy(model)
    start, stop = _stretch(made, rng)
    nodes = [made.graph.node[k] for k in range(start, stop)]
    given = _boundary(made, nodes)[1]
    if not given:
        return made
    inferred = shape_inference.infer_shapes(made).graph
    known = {info.name: info for info in (*inferred.value_info, *inferred.output)}
    if not {*given} <= known.keys():
        return made
    branches = []
    for k in range(2):
        renamed = {name: f"{name}.{k}" for node in nodes for name in node.output if name}
        inner = [_renamed(node, renamed) for node in nodes]
        outputs = [_named(known[name], renamed[name]) for name in given]
        branches.append(helper.make_graph(inner, f"branch{k}", [], outputs))
    node = helper.make_node(
        "If", ["question"], given, "if", then_branch=branches[0], else_branch=branches[1]
    )
    rest = [*made.graph.node]
    del made.graph.node[:]
    made.graph.node.extend([*rest[:start], node, *rest[stop:]])
    made.graph.initializer.append(numpy_helper.from_array(np.array(rng.random() < 0.5), "question"))
    return made


def _named(info: ValueInfoProto, name: str) -> ValueInfoProto:
    copy = ValueInfoProto()
    copy.CopyFrom(info)
    copy.name = name
    return copy


def _renamed(node: NodeProto, names: dict[str, str]) -> NodeProto:
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(name, name) for name in node.input]
    copy.output[:] = [names.get(name, name) for name in node.output]
    return copy
