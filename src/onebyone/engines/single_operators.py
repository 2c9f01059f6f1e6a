"""Small models of one operator, or of a chain of them, as ONNX files in memory.

A chain of n operators less a chain of one is n − 1 operators: what it costs to call an engine, and
to bring an image into the layout that it likes and back, falls out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.shape_inference import infer_shapes

from onebyone.algebra.weights import Array
from onebyone.graph.edit import CUT

__all__ = [
    "add",
    "between",
    "concat",
    "conv",
    "conv_transpose",
    "matmul",
    "phases",
    "siblings",
    "softmax",
    "subsample",
    "transpose",
]

Shape = Sequence[int]

_OPSET, _IR_VERSION = 17, 8
_TWICE: Array = np.array([1, 1, 2, 2], np.float32)


def matmul(weight: Array, shape: Shape = (), depth: int = 1) -> bytes:
    """y = x W, `depth` times, for x of `shape` (of W's own if it is not given).

    >>> matmul(np.eye(3, dtype=np.float32), (1, 5, 3))[:2]
    b'\\x08\\x08'
    """
    nodes = (helper.make_node("MatMul", [f"h{k}", "W"], [f"h{k + 1}"]) for k in range(depth))
    return _chain(nodes, [shape or weight.shape], {"W": weight}, depth)


def conv(shape: Shape, channels: int, kernel: int = 1, depth: int = 1) -> bytes:
    """`depth` convolutions of odd kernel that keep the size; the first from C_in channels."""
    random = np.random.default_rng(0)
    ins = [shape[1], *[channels] * (depth - 1)]
    weights = {
        f"W{k}": _small(random, (channels, c_in, kernel, kernel)) for k, c_in in enumerate(ins)
    }
    pads = [kernel // 2] * 4
    nodes = (
        helper.make_node("Conv", [f"h{k}", f"W{k}"], [f"h{k + 1}"], pads=pads) for k in range(depth)
    )
    return _chain(nodes, [shape], weights, depth)


def conv_transpose(shape: Shape, depth: int = 1) -> bytes:
    """`depth` transposed 3×3s that keep channels and size, for as many MACs as convolutions'."""
    random = np.random.default_rng(0)
    weights = {f"W{k}": _small(random, (shape[1], shape[1], 3, 3)) for k in range(depth)}
    nodes = (
        helper.make_node("ConvTranspose", [f"h{k}", f"W{k}"], [f"h{k + 1}"], pads=[1] * 4)
        for k in range(depth)
    )
    return _chain(nodes, [shape], weights, depth)


def add(shape: Shape) -> bytes:
    """The sum of two tensors."""
    return _chain([helper.make_node("Add", ["h0", "x1"], ["h1"])], [shape, shape])


def concat(shape: Shape) -> bytes:
    """Two tensors side by side along the channels."""
    return _chain([helper.make_node("Concat", ["h0", "x1"], ["h1"], axis=1)], [shape, shape])


def transpose(shape: Shape) -> bytes:
    """Channels last."""
    return _chain([helper.make_node("Transpose", ["h0"], ["h1"], perm=[0, 2, 3, 1])], [shape])


def softmax(shape: Shape) -> bytes:
    """Along the channels, which come before two other axes."""
    return _chain([helper.make_node("Softmax", ["h0"], ["h1"], axis=1)], [shape])


def subsample(shape: Shape) -> bytes:
    """Every second row and column."""
    bounds = {"from": [0, 0], "to": [shape[2], shape[3]], "axes": [2, 3], "by": [2, 2]}
    node = helper.make_node(CUT, ["h0", *bounds], ["h1"])
    return _chain([node], [shape], {n: np.array(v, np.int64) for n, v in bounds.items()})


def between(shape: Shape, is_resized: bool) -> bytes:
    """Two 1×1s, a bilinear upsampling to twice the size between them or not, and a global mean.

    The upsampling is what PyTorch's `interpolate` is exported as.
    """
    random = np.random.default_rng(0)
    channels = shape[1]
    weights = {f"W{k}": _small(random, (channels, channels, 1, 1)) for k in range(2)}
    # The mean at the end reads the map and writes next to nothing.
    nodes = [
        helper.make_node("Conv", ["h0", "W0"], ["a"]),
        helper.make_node("Conv", ["b" if is_resized else "a", "W1"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["h1"]),
    ]
    if is_resized:
        nodes.insert(1, _resize("a", "b"))
        weights["scales"] = _TWICE
    return _model(nodes, {"h0": shape}, ["h1"], weights)


def phases(shape: Shape, is_image: bool) -> bytes:
    """Four 1×1s of one input, and a 1×1 of all their maps.

    With `is_image` a DepthToSpace makes one map of twice the height and width of them before; the
    last 1×1 does as many multiply-accumulates either way. The input's shape is (N, C, H, W).
    """
    random = np.random.default_rng(0)
    channels = shape[1]
    weights: dict[str, Array] = {
        f"W{k}": _small(random, (channels, channels, 1, 1)) for k in range(4)
    }
    wide = channels if is_image else 4 * channels
    weights["V"] = _small(random, (channels, wide, 1, 1))
    maps = [f"a{k}" for k in range(4)]
    nodes = [helper.make_node("Conv", ["h0", f"W{k}"], [a]) for k, a in enumerate(maps)]
    joined = "s" if is_image else "y"
    nodes.append(helper.make_node("Concat", maps, [joined], axis=1))
    if is_image:
        nodes.append(helper.make_node("DepthToSpace", ["s"], ["y"], blocksize=2, mode="DCR"))
    # The mean at the end reads the map and writes next to nothing.
    nodes += [
        helper.make_node("Conv", ["y", "V"], ["z"]),
        helper.make_node("GlobalAveragePool", ["z"], ["h1"]),
    ]
    return _model(nodes, {"h0": shape}, ["h1"], weights)


def siblings(shape: Shape, channels: int, parts: int, kernel: int, is_stacked: bool) -> bytes:
    """`parts` 1×1s of one input, each to `channels` channels, and a convolution behind each.

    Stacked, the 1×1s are one, and a Split gives each reader its part.
    """
    random = np.random.default_rng(0)
    wide = [parts * channels] if is_stacked else [channels] * parts
    weights = {f"W{k}": _small(random, (c, shape[1], 1, 1)) for k, c in enumerate(wide)}
    behind = (channels, channels, kernel, kernel)
    # A reader behind each part: what leaves a model costs something of its own.
    weights |= {f"V{k}": _small(random, behind) for k in range(parts)}
    made = [f"a{k}" for k in range(len(wide))]
    nodes = [helper.make_node("Conv", ["h0", f"W{k}"], [a]) for k, a in enumerate(made)]
    if is_stacked:
        made = [f"p{k}" for k in range(parts)]
        nodes.append(helper.make_node("Split", ["a0"], made, axis=1))
    outputs = [f"y{k}" for k in range(parts)]
    pads = [kernel // 2] * 4
    nodes += [
        helper.make_node("Conv", [a, f"V{k}"], [y], pads=pads)
        for k, (a, y) in enumerate(zip(made, outputs, strict=True))
    ]
    return _model(nodes, {"h0": shape}, outputs, weights)


def _resize(x: str, y: str) -> NodeProto:
    return helper.make_node(
        "Resize",
        [x, "", "scales"],
        [y],
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )


def _small(random: np.random.Generator, shape: Shape) -> Array:
    """Weights that keep the values of a long chain small, and are not denormal."""
    scaled: Array = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    return scaled.astype(np.float32)


def _chain(
    nodes: Iterator[NodeProto] | Sequence[NodeProto],
    shapes: Sequence[Shape],
    constants: dict[str, Array] | None = None,
    depth: int = 1,
) -> bytes:
    """The model of nodes from `h0`, and `x1`, … for further inputs, to `h` and the depth."""
    names = ["h0", *[f"x{k}" for k in range(1, len(shapes))]]
    inputs = dict(zip(names, shapes, strict=True))
    return _model(list(nodes), inputs, [f"h{depth}"], constants or {})


def _model(
    nodes: Sequence[NodeProto],
    inputs: dict[str, Shape],
    outputs: Sequence[str],
    constants: dict[str, Array],
) -> bytes:
    kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float64): TensorProto.DOUBLE}
    # The type of the weights is that of the model; a list of scales is always float32.
    weights = (c.dtype for c in constants.values() if c.dtype.kind == "f" and c.ndim > 1)
    kind = next((kinds[dtype] for dtype in weights), TensorProto.FLOAT)
    graph = helper.make_graph(
        list(nodes),
        "operators",
        [helper.make_tensor_value_info(n, kind, list(shape)) for n, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opset = [helper.make_opsetid("", _OPSET)]
    model: ModelProto = helper.make_model(graph, opset_imports=opset, ir_version=_IR_VERSION)
    return bytes(infer_shapes(model).SerializeToString())
