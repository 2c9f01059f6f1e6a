"""Networks for the verifier: deep enough that rounding shows, with honest and faulty rewrites."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from onnx import ModelProto, helper, numpy_helper

__all__ = ["FAULTS", "composed", "deep", "edited", "with_opset"]

WIDTH = 24
DEPTH = 12
CLASSES = 7
SMALL = np.arange(CLASSES) == 2


def with_opset(graph: object, opset: int = 17) -> ModelProto:
    """A model of a graph, in a version that ONNX Runtime reads."""
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Trained-like sizes: each layer keeps the variance of what it gets."""
    weights = {}
    for k in range(DEPTH):
        c_in, taps = (5 if k == 0 else WIDTH), (9 if k % 3 == 0 else 1)
        side = 3 if taps == 9 else 1
        scale = np.sqrt(2 / (c_in * taps))
        weights[f"w{k}"] = rng.standard_normal((WIDTH, c_in, side, side)) * scale
        weights[f"b{k}"] = rng.standard_normal(WIDTH) * 0.1
    weights["up"] = rng.standard_normal((2 * WIDTH, WIDTH, 1, 1)) * np.sqrt(1 / WIDTH)
    weights["up_b"] = rng.standard_normal(2 * WIDTH) * 0.1
    weights["down"] = rng.standard_normal((CLASSES, 2 * WIDTH, 1, 1)) * np.sqrt(0.5 / WIDTH)
    # One class of small numbers: a fault in it is far below the others' rounding.
    weights["down"][SMALL] *= 2.0**-16
    return weights


def deep(dtype: type = np.float32, pooled: bool = False, seed: int = 5) -> ModelProto:
    """Twelve convolutions, every third of them 3×3, ReLUs, and two 1×1s that can be composed.

    Input x (N, 5, H, W), N, H and W free; output y (N, 7, H, W), or (N, 7) with `pooled`.
    """
    nodes, previous = [], "x"
    for k in range(DEPTH):
        pads = [1, 1, 1, 1] if k % 3 == 0 else [0, 0, 0, 0]
        nodes.append(helper.make_node("Conv", [previous, f"w{k}", f"b{k}"], [f"c{k}"], pads=pads))
        nodes.append(helper.make_node("Relu", [f"c{k}"], [f"r{k}"]))
        previous = f"r{k}"
    nodes.append(helper.make_node("Conv", [previous, "up", "up_b"], ["wide"]))
    last = "map" if pooled else "y"
    nodes.append(helper.make_node("Conv", ["wide", "down"], [last]))
    if pooled:
        nodes.append(helper.make_node("GlobalAveragePool", ["map"], ["mean"]))
        nodes.append(helper.make_node("Flatten", ["mean"], ["y"]))
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    free = ["N", CLASSES] if pooled else ["N", CLASSES, "H", "W"]
    graph = helper.make_graph(
        nodes,
        "deep",
        [helper.make_tensor_value_info("x", kind, ["N", 5, "H", "W"])],
        [helper.make_tensor_value_info("y", kind, free)],
        [
            numpy_helper.from_array(w.astype(dtype), name)
            for name, w in _weights(np.random.default_rng(seed)).items()
        ],
    )
    return with_opset(graph)


def edited(
    proto: ModelProto, changes: Mapping[str, Callable[[np.ndarray], np.ndarray]]
) -> ModelProto:
    """A copy with some initialisers replaced by a function of themselves."""
    copy = ModelProto()
    copy.CopyFrom(proto)
    for tensor in copy.graph.initializer:
        if tensor.name in changes:
            old = numpy_helper.to_array(tensor)
            new = changes[tensor.name](old.copy()).astype(old.dtype)
            tensor.CopyFrom(numpy_helper.from_array(new, tensor.name))
    return copy


def composed(proto: ModelProto) -> ModelProto:
    """The honest rewrite: the last two 1×1s multiplied in float64, rounded once."""
    copy = ModelProto()
    copy.CopyFrom(proto)
    arrays = {t.name: numpy_helper.to_array(t) for t in copy.graph.initializer}
    up, down, bias = (arrays[n].astype(np.float64) for n in ("up", "down", "up_b"))
    weight = np.tensordot(down[:, :, 0, 0], up[:, :, 0, 0], 1)[:, :, None, None]
    kept = [t for t in copy.graph.initializer if t.name not in ("up", "down", "up_b")]
    del copy.graph.initializer[:]
    kind = arrays["up"].dtype
    copy.graph.initializer.extend(kept)
    copy.graph.initializer.extend(
        [
            numpy_helper.from_array(weight.astype(kind), "one"),
            numpy_helper.from_array((down[:, :, 0, 0] @ bias).astype(kind), "one_b"),
        ]
    )
    (up_node,) = (n for n in copy.graph.node if "up" in n.input)
    (down_node,) = (n for n in copy.graph.node if "down" in n.input)
    down_node.input[:] = [up_node.input[0], "one", "one_b"]
    copy.graph.node.remove(up_node)
    return copy


def _one_weight(w: np.ndarray) -> np.ndarray:
    """The median weight, a thousandth larger."""
    place = np.argsort(np.abs(w), axis=None)[w.size // 2]
    w.flat[place] *= 1.001
    return w


def _last_bits(w: np.ndarray) -> np.ndarray:
    """Rounded to half precision: what a careless composition does."""
    return w.astype(np.float16)


FAULTS: dict[str, dict[str, Callable[[np.ndarray], np.ndarray]]] = {
    "a weight of the first layer": {"w0": _one_weight},
    "a weight in the middle": {"w7": _one_weight},
    "a weight of the last layer": {"down": _one_weight},
    "a bias is dropped": {"b4": lambda b: b * (np.arange(b.size) != 11)},
    "all biases are dropped": {"up_b": np.zeros_like},
    "a square matrix is transposed": {"w5": lambda w: w.swapaxes(0, 1)},
    "a kernel is flipped": {"w6": lambda w: w[:, :, ::-1]},
    "two channels are swapped": {"w8": lambda w: w[[1, 0, *range(2, WIDTH)]]},
    "two classes are swapped": {"down": lambda w: w[[0, 1, 3, 2, 4, 5, 6]]},
    "the small class": {"down": lambda w: w * (1 + 0.001 * SMALL.reshape(-1, 1, 1, 1))},
    "weights in half precision": {"w3": _last_bits},
}  # fmt: skip
