"""Models of opsets before 11 in the words of opset 11, operator by operator.

What an operator's newer definition only adds to (types, negative axes) stays as it is. What is now
said otherwise, an attribute that became an input, is said so. What means something else since then
has no exact form here, and the model stays at its opset, whole; so does one with an operator that
changed before opset 7, of which no engine here knows the older meaning.

onnx's own version converter does not tell these apart: it samples Upsample and Resize at other
places (their coordinates were asymmetric, and nearest rounded down where the axis grows), and lets
Clip pass infinities.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np
import onnx
import onnx.shape_inference
import onnx_ir as ir

from onebyone.algebra.laws import refused
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.weights import Array
from onebyone.graph.checks import quiet
from onebyone.graph.constants import constant
from onebyone.graph.edit import Edit, respell
from onebyone.graph.shapes import infer
from onebyone.graph.write import shell

__all__ = ["OLDEST_OPSET", "modernise"]

OLDEST_OPSET = 11
"""Everything behind `read` knows operators from here to onnx's newest."""

_FIRST_OPSET = 7
_LARGEST = 3.4028234663852886e38  # of float32: where Clip ends if it does not say


@dataclass(frozen=True)
class _Form:
    """A node in the words of opset 11; arrays among the inputs are new constants."""

    op: str
    inputs: Sequence[ir.Value | Array | None]
    drop: frozenset[str] = frozenset()
    add: Mapping[str, str] = field(default_factory=dict)


_Rule = Callable[[ir.Node], _Form | str]


def modernise(model: ir.Model) -> tuple[str, Refusal] | None:
    """Infer shapes and, from an opset before 11, go to 11, in place; a node and why it cannot be.

    Its subgraphs are changed too. Functions are inlined before; those with an opset of their own
    keep the model as it is.

    >>> from onnx import parser
    >>> text = "g (float[1,2,5] x) => (float[1,2,3] y) {y = Slice<axes=[2],starts=[0],ends=[3]>(x)}"
    >>> model = ir.from_proto(parser.parse_model('<ir_version: 4, opset_import: ["": 9]> ' + text))
    >>> modernise(model), [v.name for v in model.graph[0].inputs], model.opset_imports[""]
    (None, ['x', 'y.starts', 'y.ends', 'y.axes'], 11)
    """
    infer(model)
    opset = model.opset_imports.get("")
    if opset is None or opset >= OLDEST_OPSET:
        return None
    _infer_old(model)
    forms: dict[ir.Node, _Form] = {}
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        form = _form(node, opset, model.functions)
        if isinstance(form, str):
            named = {"version": f"opset {opset}", "oldest": f"opset {OLDEST_OPSET}"}
            why = refused("compose", "old", form=form, **named)
            return node.name or str(node.outputs[0].name), why
        if form is not None:
            forms[node] = form
    edit = Edit(model.graph)
    for node, form in forms.items():
        _apply(node, form, edit)
    for graph in model.graphs():
        if "" in graph.opset_imports or graph is model.graph:
            graph.opset_imports[""] = OLDEST_OPSET
    infer(model)
    return None


def _infer_old(model: ir.Model) -> None:
    """Types and shapes by onnx's own inference, which knows the old forms, where ours knew none."""
    graph = model.graph
    inputs = [*graph.inputs, *(v for v in graph.initializers.values() if not v.is_graph_input())]
    try:
        with quiet("onnx_ir"):
            inferred = onnx.shape_inference.infer_shapes(ir.to_proto(shell(model, inputs, [])))
    except onnx.shape_inference.InferenceError:  # a model that contradicts itself: left as it is
        return
    infos = {info.name: info for info in inferred.graph.value_info}
    for value in (value for node in graph for value in node.outputs):
        if value.name in infos:
            other = ir.serde.deserialize_value_info_proto(infos[value.name], None)
            value.type = value.type or other.type
            value.shape = value.shape if value.shape is not None else other.shape
    infer(model)  # what stands behind them


def _form(
    node: ir.Node, opset: int, functions: Container[ir.OperatorIdentifier]
) -> _Form | str | None:
    """What to write for a node; None where that is what stands there, a text if nothing will do."""
    if node.op_identifier() in functions:
        return f"function {node.op_type} is written for another opset"
    if node.domain != "":
        return None
    if not onnx.defs.has(node.op_type, opset, ""):
        return f"{node.op_type} is no operator of it"
    if opset < _FIRST_OPSET and _version(node, opset) != _version(node, _FIRST_OPSET):
        return f"{node.op_type} means something else since opset {_FIRST_OPSET}"
    at = max(opset, _FIRST_OPSET)
    if at >= _LIKE_11.get(node.op_type, OLDEST_OPSET):
        return None
    if _version(node, at) == _version(node, OLDEST_OPSET):
        return None
    if node.op_type in _RULES:
        return _RULES[node.op_type](node)
    return f"{node.op_type} means something else in opset 11"


def _version(node: ir.Node, opset: int) -> int:
    """The opset that the definition is of by which an operator goes at `opset`."""
    return int(onnx.defs.get_schema(node.op_type, opset).since_version)


def _apply(node: ir.Node, form: _Form, edit: Edit) -> None:
    name = node.outputs[0].name
    operands: list[ir.Value | None] = []
    labels = _LABELS.get(form.op, ())
    for value, label in zip_longest(form.inputs, labels[: len(form.inputs)]):
        if isinstance(value, np.ndarray):
            kind = ir.DataType.from_numpy(value.dtype)
            value = edit.constant(value, f"{name}.{label}", kind)
        operands.append(value)
    kept = {key: value for key, value in node.attributes.items() if key not in form.drop}
    respell(node, form.op, operands, {**kept, **form.add})


# --- the operators ---------------------------------------------------------------------------

_ADDED_TO = """
ArgMax ArgMin AveragePool Cast Compress Concat Constant Conv DepthToSpace Equal Flatten Gather
Gemm Greater Hardmax If Less LogSoftmax Loop LpPool MatMul Max MaxPool MaxUnpool Mean Min
NonMaxSuppression PRelu ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
ReduceMin ReduceProd ReduceSum ReduceSumSquare Softmax Split Squeeze Sum Unsqueeze
"""

# From which opset on an operator means what it means in 11: what came since are more types,
# negative axes, broadcasting where there was none, attributes with a default. Scan had a batch axis
# in 8.
_LIKE_11 = {**dict.fromkeys(_ADDED_TO.split(), _FIRST_OPSET), "Scan": 9}

# What new constants are called after.
_LABELS: dict[str, tuple[str, ...]] = {
    "Clip": ("", "min", "max"),
    "Pad": ("", "pads", "value"),
    "Resize": ("", "roi", "scales"),
    "Slice": ("", "starts", "ends", "axes", "steps"),
    "TopK": ("", "k"),
}


def _same(node: ir.Node, *drop: str) -> _Form:
    return _Form(node.op_type, tuple(node.inputs), frozenset(drop))


def _batch_normalization(node: ir.Node) -> _Form | str:
    if not node.attributes.get_int("spatial", 1):
        return "BatchNormalization with a mean for each position"
    return _same(node, "spatial")


def _clip(node: ir.Node) -> _Form | str:
    kind = _kind(node)
    if kind is None:
        return "Clip of an unknown type"
    largest = min(_LARGEST, float(np.finfo(kind).max))
    low = node.attributes.get_float("min", -largest)
    high = node.attributes.get_float("max", largest)
    inputs = (node.inputs[0], np.array(low, kind), np.array(high, kind))
    return _Form("Clip", inputs, frozenset({"min", "max"}))


def _conv_transpose(node: ir.Node) -> _Form | str:
    """What is cut at which end, where an output size is asked for, changed with opset 11."""
    same = node.attributes.get_string("auto_pad", "NOTSET").startswith("SAME")
    if same or "output_shape" in node.attributes:
        return "ConvTranspose with a given output size, which is cut at the other end since"
    return _same(node)


def _dropout(node: ir.Node) -> _Form | str:
    """The mask became boolean; nobody may read it."""
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return "Dropout with a mask of numbers"
    return _same(node)


def _pad(node: ir.Node) -> _Form | str:
    pads = np.array(node.attributes.get_ints("pads", ()), np.int64)
    value = node.attributes.get_float("value", 0.0)
    inputs: tuple[ir.Value | Array | None, ...] = (node.inputs[0], pads)
    if value != 0:
        kind = _kind(node)
        if kind is None:
            return "Pad of an unknown type"
        inputs = (*inputs, np.array(value, kind))
    return _Form("Pad", inputs, frozenset({"pads", "value"}))


def _kind(node: ir.Node) -> np.dtype[Any] | None:
    value = node.inputs[0]
    if value is None or value.dtype is None:
        return None
    return value.dtype.numpy()


def _resize(node: ir.Node) -> _Form | str:
    """Upsample, and Resize of opset 10: asymmetric, nearest rounds down where the axis grows."""
    given = node.attributes.get_floats("scales", ())
    scales = np.array(given, np.float32) if given else node.inputs[1]
    add = {"coordinate_transformation_mode": "asymmetric"}
    if node.attributes.get_string("mode", "nearest") == "nearest":
        known = scales if isinstance(scales, np.ndarray) else constant(scales)
        if known is None:
            return f"{node.op_type} to the nearest by scales that are computed, up or down"
        shrinks = bool((known < 1).any())
        if shrinks and (known > 1).any():
            return f"{node.op_type} to the nearest, up along one axis and down along another"
        add["nearest_mode"] = "ceil" if shrinks else "floor"
    inputs = (node.inputs[0], np.zeros(0, np.float32), scales)
    return _Form("Resize", inputs, frozenset({"scales"}), add)


def _scatter(node: ir.Node) -> _Form:
    return _Form("ScatterElements", tuple(node.inputs))


def _slice(node: ir.Node) -> _Form:
    """Bounds in attributes; from opset 10 on they are inputs already."""
    if "starts" not in node.attributes:
        return _same(node)
    names = [name for name in ("starts", "ends", "axes") if name in node.attributes]
    arrays = (np.array(node.attributes.get_ints(name, ()), np.int64) for name in names)
    return _Form("Slice", (node.inputs[0], *arrays), frozenset(names))


def _top_k(node: ir.Node) -> _Form:
    if "k" not in node.attributes:
        return _same(node)
    k = np.array([node.attributes.get_int("k", 1)], np.int64)
    return _Form("TopK", (node.inputs[0], k), frozenset({"k"}))


_RULES: dict[str, _Rule] = {
    "BatchNormalization": _batch_normalization,
    "Clip": _clip,
    "ConvTranspose": _conv_transpose,
    "Dropout": _dropout,
    "Pad": _pad,
    "Resize": _resize,
    "Scatter": _scatter,
    "Slice": _slice,
    "TopK": _top_k,
    "Upsample": _resize,
}
