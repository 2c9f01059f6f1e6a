"""Small models written as text, with integer weights of given shapes."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto, checker, helper, numpy_helper, parser, shape_inference

__all__ = ["feed", "integers", "model"]


def integers(name: str, shape: Sequence[int], limit: int = 2) -> np.ndarray:
    """Integers in -limit..limit without zeros, the same for the same name and shape (float32).

    No zeros, so that a weight that is dropped or misplaced shows.
    """
    rng = np.random.default_rng(zlib.crc32(f"{name}{tuple(shape)}".encode()))
    signs = rng.integers(0, 2, shape) * 2 - 1
    return (signs * rng.integers(1, limit + 1, shape)).astype(np.float32)


def model(
    body: str,
    inputs: str,
    outputs: str = "y",
    constants: Mapping[str, np.ndarray | Sequence[int]] | None = None,
    *,
    opset: int = 17,
    ir_version: int = 8,
    functions: str = "",
) -> ModelProto:
    """The model with these nodes.

    Args:
        body: nodes in ONNX's text form.
        inputs: such as `float[2,5,6,7] x, float[N,3] z`.
        outputs: names, separated by commas; or in ONNX's text form, with types.
        constants: arrays become initialisers; sequences become float32 integers of that shape.
        opset: version of the standard operators.
        ir_version: version of the file format.
        functions: model-local functions in ONNX's text form.

    >>> [n.op_type for n in model("y = Relu(x)", "float[2,3] x").graph.node]
    ['Relu']
    """
    outputs = outputs if "[" in outputs else ", ".join(f"float {o}" for o in outputs.split(", "))
    local = ', "local" : 1' if functions else ""
    head = f'<ir_version: {ir_version}, opset_import: ["" : {opset}{local}]>'
    made = parser.parse_model(f"{head} g ({inputs}) => ({outputs}) {{ {body} }} {functions}")
    for name, given in (constants or {}).items():
        array = given if isinstance(given, np.ndarray) else integers(name, given)
        made.graph.initializer.append(numpy_helper.from_array(array, name))
    inferred = shape_inference.infer_shapes(_unshaped(made), strict_mode=True)
    del made.graph.output[:]
    made.graph.output.extend(inferred.graph.output)
    checker.check_model(made)
    return made


def _unshaped(made: ModelProto) -> ModelProto:
    """`float y` parses as a scalar; here it means: of whatever shape comes out."""
    for output in made.graph.output:
        if not output.type.tensor_type.shape.dim:
            output.type.tensor_type.ClearField("shape")
    return made


def feed(proto: ModelProto, **sizes: int) -> dict[str, np.ndarray]:
    """Integers in -4..4 for each input; symbolic dimensions from `sizes`, by name."""
    constants = {tensor.name for tensor in proto.graph.initializer}
    feeds = {}
    for value in proto.graph.input:
        if value.name not in constants:
            dims = value.type.tensor_type.shape.dim
            shape = [sizes[d.dim_param] if d.dim_param else d.dim_value for d in dims]
            dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            feeds[value.name] = np.asarray(integers(value.name, shape, 4), dtype)
    return feeds
