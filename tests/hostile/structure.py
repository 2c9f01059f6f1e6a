"""The graph is rewired, renamed, nested and made to call itself; what it imports is absurd."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper
from onnx.defs import get_all_schemas

from tests.hostile.fields import NUMBERS, TEXTS, messages, of

__all__ = ["CHANGES", "renamed"]


def _values(model: ModelProto) -> list[str]:
    graph = model.graph
    made = [name for node in graph.node for name in node.output]
    return [*(v.name for v in graph.input), *(t.name for t in graph.initializer), *made]


def _rewire(model: ModelProto, draw: random.Random) -> None:
    """An input is another value: a later one makes a cycle, an unknown one dangles."""
    node = of(model, NodeProto, draw)
    if node is None or not node.input:
        return
    node.input[draw.randrange(len(node.input))] = draw.choice([*_values(model), "nobody", ""])


def _arity(model: ModelProto, draw: random.Random) -> None:
    node = of(model, NodeProto, draw)
    if node is None:
        return
    names = draw.choice([node.input, node.output])
    change = draw.randrange(3)
    if change == 0 and names:
        del names[draw.randrange(len(names))]
    elif change == 1:
        names.append(draw.choice([*_values(model), "new", ""]))
    else:
        names.extend([draw.choice(_values(model) or ["x"])] * draw.choice([2, 300]))


def _output(model: ModelProto, draw: random.Random) -> None:
    """Two nodes make one value, or the graph's outputs are odd ones."""
    names = _values(model) or ["x"]
    if draw.random() < 0.5 and model.graph.output:
        draw.choice(model.graph.output).name = draw.choice([*names, "nobody", ""])
        return
    node = of(model, NodeProto, draw)
    if node is not None and node.output:
        node.output[draw.randrange(len(node.output))] = draw.choice([*names, ""])


def _operator(model: ModelProto, draw: random.Random) -> None:
    node = of(model, NodeProto, draw)
    if node is not None:
        schema = draw.choice(_SCHEMAS)
        known = [schema.name] * 4
        node.op_type = draw.choice([*known, *TEXTS])
        node.domain = draw.choice([node.domain] * 6 + [schema.domain, "my", "\x1b[2J"])


_SCHEMAS = [schema for schema in get_all_schemas() if schema.domain in ("", "ai.onnx.ml")]


def renamed(model: ModelProto, old: str, new: str) -> None:
    """Call a value something else, consistently."""
    for message in messages(model):
        if isinstance(message, NodeProto):
            for names in (message.input, message.output):
                names[:] = [new if name == old else name for name in names]
        elif getattr(message, "name", None) == old:
            message.name = new  # type: ignore[attr-defined]


def _names(model: ModelProto, draw: random.Random) -> None:
    """A value or a node gets an evil name, and the model stays valid but for that."""
    new = draw.choice(TEXTS)
    names = _values(model)
    if draw.random() < 0.5 and names:
        renamed(model, draw.choice(names), new)
        return
    node = of(model, NodeProto, draw)
    if node is not None:
        node.name = new


def _imports(model: ModelProto, draw: random.Random) -> None:
    change = draw.randrange(4)
    if change == 0:
        model.ir_version = draw.choice([*NUMBERS, 4, 10, 14])
    elif change == 1 and model.opset_import:
        versions = [*NUMBERS, *range(1, 30)]
        draw.choice(model.opset_import).version = draw.choice(versions)
    elif change == 2 and model.opset_import:
        draw.choice(model.opset_import).domain = draw.choice(["my", "ai.onnx", *TEXTS])
    else:
        domain, version = draw.choice(["", "my", *TEXTS]), draw.choice([*NUMBERS, 9])
        model.opset_import.add(domain=domain, version=version)


def _nested(model: ModelProto, draw: random.Random) -> None:
    """The last output goes through an If in an If in an If (a message nests 100 deep)."""
    if not model.graph.output:
        return
    name = model.graph.output[-1].name
    graph = _branch(helper.make_node("Identity", [name], ["o0"]), "o0")
    for level in range(1, draw.choice([2, 10, 20, 29])):
        out = f"o{level}"
        node = helper.make_node("If", ["yes"], [out], then_branch=graph, else_branch=graph)
        if level > 4:  # two branches each: only the first levels, or the file doubles every time
            node = helper.make_node("If", ["yes"], [out], then_branch=graph)
            other = _branch(helper.make_node("Identity", [name], [out]), out)
            node.attribute.append(helper.make_attribute("else_branch", other))
        graph = _branch(node, out)
    model.graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    node = helper.make_node("If", ["yes"], ["nested"], then_branch=graph, else_branch=graph)
    model.graph.node.append(node)
    model.graph.output[-1].name = "nested"


def _branch(node: NodeProto, output: str) -> GraphProto:
    return helper.make_graph(
        [node], "b", [], [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
    )


def _functions(model: ModelProto, draw: random.Random) -> None:
    """A node becomes a call of a function that calls others: deep, wide or in a circle."""
    nodes = [node for node in model.graph.node if len(node.output) == 1]
    if not nodes:
        return
    node, depth = draw.choice(nodes), draw.choice([1, 3, 50, 300])
    wide, circle = draw.choice([1, 1, 2]), draw.random() < 0.2
    inputs = [f"p{i}" for i in range(len(node.input))]
    imports = [*model.opset_import, helper.make_opsetid("deep", 1)]
    for level in range(depth):
        inner = NodeProto()
        inner.CopyFrom(node)
        inner.input[:], inner.output[:] = inputs, ["q"]
        if level or circle:
            inner = helper.make_node(f"F{(level or depth) - 1}", inputs, ["q"], domain="deep")
        body = [NodeProto.FromString(inner.SerializeToString()) for _ in range(wide)]
        for i, each in enumerate(body[:-1]):
            each.output[:] = [f"unused{i}"]
        function = helper.make_function("deep", f"F{level}", inputs, ["q"], body, imports)
        model.functions.append(function)
    if not any(each.domain == "deep" for each in model.opset_import):
        model.opset_import.add(domain="deep", version=1)
    node.op_type, node.domain = f"F{depth - 1}", "deep"
    del node.attribute[:]


CHANGES: Mapping[str, Callable[[ModelProto, random.Random], None]] = {
    "rewired": _rewire,
    "arity": _arity,
    "outputs": _output,
    "operator": _operator,
    "names": _names,
    "imports": _imports,
    "nested": _nested,
    "functions": _functions,
}
