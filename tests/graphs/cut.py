"""Random models in which a constant is cut along some axis and meets a feature map.

A position table cut to the length of the sequence, a bank of biases of which some are picked: what
moves channels, drops them or crops positions meets moves of what nobody computes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from .text import integers

__all__ = ["cut_model"]

IN, CHANNELS, OUT = 5, 6, 4
Constants = dict[str, Any]


def cut_model(seed: int) -> ModelProto:
    """A layer, a sum, product or concatenation with a cut constant, and another layer."""
    rng = np.random.default_rng(seed)
    image = bool(rng.integers(2))
    channel = 1 if image else 2
    shape = [1, CHANNELS, 4, 7] if image else [1, 7, CHANNELS]
    axis = int(rng.integers(1, len(shape)))
    stored = [*shape]
    stored[axis] += int(rng.integers(0, 5))
    constants: Constants = {"k": _killed(integers("k", stored), axis, rng)}
    nodes = [
        *_layer("x", "a", "w", IN, CHANNELS, image, constants, rng),
        *_cut(axis, shape[axis], stored[axis], constants, rng),
        *(joined := _joined(axis == channel, channel, len(shape), constants, rng)),
    ]
    width = 2 * CHANNELS if joined[-1].op_type == "Concat" else CHANNELS
    nodes += _layer("q", "y", "v", width, OUT, image, constants, rng)
    x = [2, IN, 4, 7] if image else [2, 7, IN]
    graph = helper.make_graph(
        nodes,
        "cut",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _killed(array: np.ndarray, axis: int, rng: np.random.Generator) -> np.ndarray:
    """Now and then half of its slices are zeros."""
    if rng.integers(2):
        return array
    alive = rng.random(array.shape[axis]) < 0.5
    return (array * np.expand_dims(alive, [k for k in range(array.ndim) if k != axis])).astype(
        np.float32
    )


def _layer(
    x: str, y: str, name: str, ins: int, outs: int, image: bool, constants: Constants,
    rng: np.random.Generator,
) -> list[NodeProto]:  # fmt: skip
    constants[name] = integers(name, (outs, ins, 1, 1) if image else (ins, outs))
    if rng.integers(2):
        constants[name] = _killed(constants[name], 0 if image else 1, rng)
    return [helper.make_node("Conv" if image else "MatMul", [x, name], [y])]


def _cut(
    axis: int, keep: int, total: int, constants: Constants, rng: np.random.Generator
) -> list[NodeProto]:
    """`p`: `keep` of the `total` slices of `k`, by indices of either type."""
    kind = (np.int32, np.int64)[rng.integers(2)]
    how = int(rng.integers(4))
    if how == 0:
        constants["sizes"] = np.array([keep, total - keep])
        return [helper.make_node("Split", ["k", "sizes"], ["p", "rest"], axis=axis)]
    if how < 3:
        order = rng.integers(0, total, keep) if how == 1 else rng.permutation(total)[:keep]
        constants["order"] = order.astype(kind)
        return [helper.make_node("Gather", ["k", "order"], ["p"], axis=axis)]
    first = int(rng.integers(total - keep + 1))
    constants.update(start=np.array([first], kind), end=np.array([first + keep], kind),
                     axis=np.array([axis], kind))  # fmt: skip
    return [helper.make_node("Slice", ["k", "start", "end", "axis"], ["p"])]


def _joined(
    channels_cut: bool, channel: int, rank: int, constants: Constants, rng: np.random.Generator
) -> list[NodeProto]:
    """`q` of the feature map `a` and the constant `p`."""
    how = int(rng.integers(4))
    if how == 3 and channels_cut:
        constants["twice"] = np.array([2] + [1] * (rank - 1))
        return [
            helper.make_node("Tile", ["p", "twice"], ["t"]),
            helper.make_node("Concat", ["a", "t"], ["q"], axis=channel),
        ]
    if how == 2:
        return [helper.make_node("Add", ["p", "a"], ["r"]), helper.make_node("Relu", ["r"], ["q"])]
    return [helper.make_node("Mul" if how else "Add", ["a", "p"], ["q"])]
