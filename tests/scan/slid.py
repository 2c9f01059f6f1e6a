"""Networks of small integers, and what they give on an image and on its tiles."""

from __future__ import annotations

from itertools import product

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onebyone.scan.network import Network

Image = NDArray[np.float32]


class Build:
    """A model, node by node: `op` gives the name of a result; weights are drawn, -2 to 2."""

    def __init__(self, channels: int = 2, rank: int = 2, opset: int = 17) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(7)
        self.channels, self.rank, self.opset = channels, rank, opset

    def weight(self, *shape: int) -> str:
        return self.array(self.random.integers(-2, 3, shape).astype(np.float32))

    def array(self, values: object) -> str:
        array = np.asarray(values)
        self.weights.append(numpy_helper.from_array(array, f"w{len(self.weights)}"))
        return self.weights[-1].name

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: object) -> str:
        result = name or f"v{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, inputs, [result], name=f"n_{result}", **attributes)
        )
        return result

    def conv(
        self, x: str, c_in: int, c_out: int, kernel: tuple[int, ...], **attributes: object
    ) -> str:
        return self.op(
            "Conv", x, self.weight(c_out, c_in, *kernel), self.weight(c_out), **attributes
        )

    def model(self, *outputs: str, sizes: tuple[int, ...] | None = None) -> onnx.ModelProto:
        free: list[int | str] = ["n", self.channels, *[f"s{k}" for k in range(self.rank)]]
        x = helper.make_tensor_value_info(
            "x", TensorProto.FLOAT, free if sizes is None else [1, self.channels, *sizes]
        )
        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "g", [x], results, self.weights)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=9
        )


def run(model: onnx.ModelProto, x: Image, output: int = 0) -> Image:
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = ort.InferenceSession(model.SerializeToString(), options)
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[output])


def image(channels: int, sizes: tuple[int, ...]) -> Image:
    drawn = np.random.default_rng(3).integers(-3, 4, (1, channels, *sizes))
    return drawn.astype(np.float32)


def check_tiles(network: Network, sizes: tuple[int, ...], side: int) -> int:
    """All tiles of so many outputs give what the image gives; how many were no whole image."""
    x = image(network.channels, sizes)
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = ort.InferenceSession(network.model.SerializeToString(), options)
    whole = np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])
    assert whole.shape[1] == network.outputs
    lengths = [axis.size(n) for axis, n in zip(network.axes, sizes, strict=True)]
    assert whole.shape[2:] == tuple(lengths)
    cut = 0
    for corner in product(*(range(0, n, side) for n in lengths)):
        outputs = [range(a, min(a + side, n)) for a, n in zip(corner, lengths, strict=True)]
        each = list(zip(network.axes, outputs, sizes, strict=True))
        tile = [axis.needed(wanted, n) for axis, wanted, n in each]
        part = x[(..., *(slice(t.start, t.stop) for t in tile))]
        found = np.asarray(session.run(None, {session.get_inputs()[0].name: part})[0])
        kept = [axis.kept(o, t, n) for (axis, o, n), t in zip(each, tile, strict=True)]
        wanted_part = whole[(..., *(slice(o.start, o.stop) for o in outputs))]
        np.testing.assert_array_equal(found[(..., *kept)], wanted_part)
        cut += part.shape != x.shape
    return cut
