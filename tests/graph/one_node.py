"""Models of one node, and what the engines and the node's axis maps make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onebyone.algebra.space import apply
from onebyone.graph.spatial import Spatial, spatial

__all__ = ["engine", "mapped", "model", "node", "read", "reference"]

NEWEST = 22
_FLOATS = ("scales", "roi", "value")


def model(
    op: str,
    shape: Sequence[int | str],
    *operands: np.ndarray | str | None,
    opset: int = NEWEST,
    **attributes: Any,
) -> onnx.ModelProto:
    """`op` on a float32 input "x" of `shape`; operands are constants, inputs by name, or left out.

    A named operand, "name" or "name:length", is an input of rank 1: int64, or float32 for scales,
    roi and value.
    """
    names = [""] * len(operands)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    constants = []
    for i, value in enumerate(operands):
        if isinstance(value, np.ndarray):
            constants.append(numpy_helper.from_array(value, f"c{i}"))
            names[i] = f"c{i}"
        elif value is not None:
            names[i], _, length = value.partition(":")
            kind = TensorProto.FLOAT if names[i] in _FLOATS else TensorProto.INT64
            shape_of = [int(length)] if length else [f"{names[i]}_length"]
            inputs.append(helper.make_tensor_value_info(names[i], kind, shape_of))
    graph = helper.make_graph(
        [helper.make_node(op, ["x", *names], ["y"], **attributes)],
        op,
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    opsets = [helper.make_opsetid("", opset)]
    return onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=opsets, ir_version=10), data_prop=True
    )


def node(proto: onnx.ModelProto) -> ir.Node:
    """The last node of a model."""
    return list(ir.from_proto(proto).graph)[-1]


def read(*args: Any, **kwargs: Any) -> Spatial:
    """`spatial` of the node of `model(...)`, which must be a space map."""
    found = spatial(node(model(*args, **kwargs)))
    assert isinstance(found, Spatial), found
    return found


def engine(proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
    """What ONNX Runtime computes, optimisations off."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, dict(feeds))[0]


def reference(proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
    """What ONNX's reference evaluator computes."""
    return ReferenceEvaluator(proto).run(None, dict(feeds))[0]


def mapped(found: Spatial, x: np.ndarray, like: np.ndarray | None = None) -> np.ndarray:
    """The maps of a node applied to x; sizes known only at run time are those of `like`."""
    sizes = {} if like is None else {axis: like.shape[axis] for axis in found.maps}
    y = apply(found.maps, x.astype(np.float64), sizes)
    return y.squeeze(found.vanished)
