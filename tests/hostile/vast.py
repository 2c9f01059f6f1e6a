"""Small files that ask for much: tensors of 2^40 elements, loops without end, lists that double."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

__all__ = ["CHANGES"]

SIZES = (2**16, 2**20, 2**24, 2**28, 2**30, 2**31, 2**32, 2**40, 2**62)


def _constant(model: ModelProto, array: np.ndarray) -> str:
    name = f"vast{len(model.graph.initializer)}"
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return name


def _end(model: ModelProto, draw: random.Random) -> tuple[str, int]:
    """A value of the graph, and where in the list of nodes it is known."""
    if model.graph.node and draw.random() < 0.7:
        at = draw.randrange(len(model.graph.node))
        names = [name for name in model.graph.node[at].output if name]
        if names:
            return draw.choice(names), at + 1
    return (model.graph.input[0].name if model.graph.input else "x"), 0


def _inserted(model: ModelProto, at: int, old: str, node: NodeProto) -> None:
    """`node`, and all behind it read its first output in the place of `old`."""
    model.graph.node.insert(at, node)
    for later in list(model.graph.node)[at + 1 :]:
        later.input[:] = [node.output[0] if name == old else name for name in later.input]
    for output in model.graph.output:
        if output.name == old and at:
            output.name = node.output[0]


def _fill(model: ModelProto, draw: random.Random) -> None:
    """A constant that is only a shape in the file."""
    old, at = _end(model, draw)
    shape = _constant(model, np.int64([draw.choice(SIZES)] * draw.choice([1, 1, 2, 5])))
    _inserted(model, at, old, helper.make_node("ConstantOfShape", [shape], [f"much{at}"]))


def _expand(model: ModelProto, draw: random.Random) -> None:
    old, at = _end(model, draw)
    rank = draw.choice([1, 2, 4, 5])
    sizes = [1] * (rank - 1) + [draw.choice(SIZES)]
    draw.shuffle(sizes)
    operator = draw.choice(["Expand", "Tile"])
    node = helper.make_node(operator, [old, _constant(model, np.int64(sizes))], [f"much{at}"])
    _inserted(model, at, old, node)


def _resize(model: ModelProto, draw: random.Random) -> None:
    old, at = _end(model, draw)
    scales = _constant(model, np.float32([1, 1, draw.choice(SIZES), draw.choice([1, 2.0**20])]))
    node = helper.make_node("Resize", [old, "", scales], [f"much{at}"], mode="nearest")
    _inserted(model, at, old, node)


def _pad(model: ModelProto, draw: random.Random) -> None:
    old, at = _end(model, draw)
    rank = draw.choice([2, 4])
    pads = [0] * (2 * rank)
    pads[draw.randrange(2 * rank)] = draw.choice([*SIZES, -(2**62)])
    node = helper.make_node("Pad", [old, _constant(model, np.int64(pads))], [f"much{at}"])
    _inserted(model, at, old, node)


def _range(model: ModelProto, draw: random.Random) -> None:
    old, at = _end(model, draw)
    bounds = [_constant(model, np.int64(n)) for n in (0, draw.choice(SIZES), 1)]
    _inserted(model, at, old, helper.make_node("Range", bounds, [f"much{at}"]))


def _doubled(model: ModelProto, draw: random.Random) -> None:
    """Something joined with itself, again and again."""
    old, at = _end(model, draw)
    name = old
    for i in range(draw.choice([10, 20, 40, 70])):
        node = helper.make_node("Concat", [name, name], [f"much{at}_{i}"], axis=draw.choice([0, 1]))
        model.graph.node.insert(at + i, node)
        name = node.output[0]
    if model.graph.output:
        model.graph.output[0].name = name


def _loop(model: ModelProto, draw: random.Random) -> None:
    """As many turns as fit into an integer, or while it is true, which it is."""
    old, at = _end(model, draw)
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Neg", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, None),
        ],
    )
    trips = draw.choice(["", _constant(model, np.int64(draw.choice(SIZES)))])
    inputs = [trips, _constant(model, np.bool_(True)), old]
    _inserted(model, at, old, helper.make_node("Loop", inputs, [f"much{at}"], body=body))


def _window(model: ModelProto, draw: random.Random) -> None:
    """A pool or a convolution whose window, step or padding is absurd."""
    found = [n for n in model.graph.node if n.op_type in ("Conv", "MaxPool", "AveragePool")]
    if not found:
        _expand(model, draw)
        return
    node = draw.choice(found)
    name, count = draw.choice([("pads", 4), ("strides", 2), ("dilations", 2), ("kernel_shape", 2)])
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
    sizes = [draw.choice([1, *SIZES]) for _ in range(count)]
    node.attribute.append(helper.make_attribute(name, sizes))


CHANGES: Mapping[str, Callable[[ModelProto, random.Random], None]] = {
    "fill": _fill,
    "expand": _expand,
    "resize": _resize,
    "pad": _pad,
    "range": _range,
    "doubled": _doubled,
    "loop": _loop,
    "window": _window,
}
