"""One form for all models: sorted, inlined, constants as initialisers.

What the other modules may rely on is said in `onebyone.graph.read`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import onnx
import onnx.checker
import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from onebyone.errors import UnreadableModel
from onebyone.graph.checks import all_nodes, check_interface, one_line, refuse
from onebyone.graph.edit import Edit
from onebyone.graph.values import graphs_within
from onebyone.graph.write import DESCRIBED, INTERFACE, shell

__all__ = ["constant_tensor", "normalised", "unshared"]

_STANDARD = ("", "ai.onnx")
# Operators that ONNX Runtime takes in that domain, and the standard does not: its own at any opset,
# one before opset 17, and the first form of one, which the standard withdrew.
_RUNTIME = ("SimplifiedLayerNormalization", "LayerNormalization", "GroupNormalization")
# Functions that call functions can grow a small file without bound when inlined.
_MOST_NODES = 1_000_000


def normalised(model: ir.Model) -> ir.Model:
    """`model`, changed in place, in the form that `onebyone.graph.read.read` promises.

    Raises `UnreadableModel`.
    """
    _name_standard(model)
    _check_opset(model)
    _free_unknown_dims(model.graph)
    check_interface(model)
    _record_interface(model)
    _settle_initializers(model)
    _sort(model)
    _inline(model)
    _lift_constants(model)
    _load_inner_external(model)
    _check(model)
    return model


def _name_standard(model: ir.Model) -> None:
    """The standard's domain has two names, "" and "ai.onnx"; here it has one."""
    version = model.opset_imports.get("ai.onnx")
    if version is not None and model.opset_imports.setdefault("", version) == version:
        del model.opset_imports["ai.onnx"]


def _check_opset(model: ir.Model) -> None:
    opset, newest = model.opset_imports.get(""), onnx.defs.onnx_opset_version()
    if opset is not None and opset > newest:
        refuse(f"opset {opset}, the installed onnx knows up to {newest}; pip install -U onnx")


def _free_unknown_dims(graph: ir.Graph) -> None:
    """Declared dimensions of -1 or named "?", as Paddle's exporter writes them, are free ones.

    By the letter all of those named "?" would be of one size, which they are not meant to be.
    """
    made = (value for node in graph for value in node.outputs)
    for value in (*graph.inputs, *graph.outputs, *made):
        if value.shape is not None:
            value.shape = ir.Shape([None if dim in (-1, "?") else dim for dim in value.shape])


def _settle_initializers(model: ir.Model) -> None:
    """Before IR version 4 each initialiser had to be listed as an input and was still constant."""
    if model.ir_version >= 4:
        return
    graph = model.graph
    inputs = [value for value in graph.inputs if value.name not in graph.initializers]
    graph.inputs.clear()
    graph.inputs.extend(inputs)
    model.ir_version = 4


def _record_interface(model: ir.Model) -> None:
    """What the source declares; a model that was read before still knows it from then."""
    ends = [*model.graph.inputs, *model.graph.outputs]
    declared = {v.name: tuple(v.shape) for v in ends if v.shape is not None}
    model.graph.meta.setdefault(INTERFACE, declared)
    described = {v.name for node in model.graph for v in node.outputs if v.type is not None}
    model.graph.meta.setdefault(DESCRIBED, frozenset(described))


def _sort(model: ir.Model) -> None:
    try:
        model.graph.sort()
    except ValueError as error:
        raise UnreadableModel("its nodes form a cycle; an ONNX graph has none") from error


def unshared(model: ir.Model) -> ir.Model:
    """`model` with tensors of its own, their bytes still the source's: names can change freely."""
    for graph in graphs_within(model.graph):
        for value in graph.initializers.values():
            if value.const_value is not None:
                value.const_value = _borrowed(value.const_value)
    return model


def _borrowed(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    if isinstance(tensor, ir.ExternalTensor):
        return ir.ExternalTensor(
            tensor.location,
            tensor.offset,
            tensor.length,
            tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()),
            name=tensor.name,
            doc_string=tensor.doc_string,
            metadata_props=dict(tensor.metadata_props),
            base_dir=tensor.base_dir,
        )
    if tensor.dtype == ir.DataType.STRING:
        return ir.StringTensor(tensor.numpy(), name=tensor.name)
    same = partial(_identity, tensor)
    return ir.LazyTensor(
        same,
        tensor.dtype,
        ir.Shape(tensor.shape.numpy()),
        name=tensor.name or "",
        doc_string=tensor.doc_string,
        metadata_props=dict(tensor.metadata_props),
    )


def _identity(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return tensor


def _inline(model: ir.Model) -> None:
    if not model.functions:
        return
    if _expanded(model) > _MOST_NODES:
        refuse(f"its functions call one another; inlined they make over {_MOST_NODES} nodes")
    _name_results(model)
    InlinePass(criteria=partial(_same_opsets, model))(model)
    model.graph.sort()


def _name_results(model: ir.Model) -> None:
    """A name for each result that a call leaves out: it becomes that of a node inside.

    Calls that stay need one as well: the last ones would not be written, and engines count them.
    """
    taken = {value.name for node in all_nodes(model) for value in node.outputs}
    for graph in graphs_within(model.graph):
        taken |= {value.name for value in (*graph.inputs, *graph.initializers.values())}
    for node in all_nodes(model):
        for k, value in enumerate(node.outputs):
            if node.op_identifier() in model.functions and not value.name:
                value.name = _unused(f"{node.name or node.op_type}.{k}", taken)


def _unused(stem: str, taken: set[str | None]) -> str:
    while stem in taken:
        stem += "_"
    taken.add(stem)
    return stem


def _same_opsets(model: ir.Model, function: ir.Function) -> bool:
    ours = model.opset_imports
    return all(ours.get(domain, v) == v for domain, v in function.opset_imports.items())


def _expanded(model: ir.Model) -> int:
    """How many nodes the main graph has once every call is replaced by the function's body."""
    sizes: dict[ir.OperatorIdentifier, int | None] = {}

    def size(nodes: Iterator[ir.Node]) -> int:
        return sum(called(node.op_identifier()) for node in nodes)

    def called(key: ir.OperatorIdentifier) -> int:
        if key not in model.functions:
            return 1
        if key not in sizes:
            sizes[key] = None
            sizes[key] = size(model.functions[key].all_nodes())
        size_of_body = sizes[key]
        if size_of_body is None:
            refuse(f"function {one_line(key[1])} calls itself")
        return size_of_body

    return size(ir.traversal.RecursiveGraphIterator(model.graph))


def _is_constant(node: ir.Node) -> bool:
    return node.op_type == "Constant" and node.domain in ("", "ai.onnx")


def _lift_constants(model: ir.Model) -> None:
    """Constant nodes of the main graph become initialisers of the same name.

    Left as nodes: those that are an output of the model, and strings and sparse values.
    """
    edit = Edit(model.graph)
    for node in list(model.graph):
        if not _is_constant(node) or node.outputs[0].is_graph_output():
            continue
        tensor = constant_tensor(node)
        if tensor is not None:
            edit.freeze(node.outputs[0], tensor)
            model.graph.remove(node, safe=True)


def constant_tensor(node: ir.Node) -> ir.TensorProtocol | None:
    """What a Constant node holds; None for strings and sparse values."""
    name = node.outputs[0].name
    for key, attribute in node.attributes.items():
        if key == "value":
            return _borrowed(attribute.value)
        if key in ("value_int", "value_ints"):
            return ir.tensor(attribute.value, dtype=ir.DataType.INT64, name=name)
        if key in ("value_float", "value_floats"):
            return ir.tensor(attribute.value, dtype=ir.DataType.FLOAT, name=name)
    return None


def _load_inner_external(model: ir.Model) -> None:
    """External tensors inside nodes come into memory: `write` moves only the main graph's."""
    for graph in graphs_within(model.graph):
        if graph is not model.graph:
            for value in graph.initializers.values():
                if isinstance(value.const_value, ir.ExternalTensor):
                    value.const_value = _in_memory(value.const_value)
    for node in all_nodes(model):
        for key, attribute in list(node.attributes.items()):
            if isinstance(attribute.value, ir.ExternalTensor):
                node.attributes[key] = ir.AttrTensor(key, _in_memory(attribute.value))


def _in_memory(tensor: ir.ExternalTensor) -> ir.TensorProtocol:
    return ir.Tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=tensor.name)


def _check(model: ir.Model) -> None:
    """onnx.checker on everything but the weights, which it would copy twice."""
    graph = model.graph
    for value in (value for node in graph for value in node.inputs if value is not None):
        if value.graph is None:
            refuse(f"a node uses {one_line(value.name, 100)}, which nothing makes")
    inputs = [*graph.inputs, *(v for v in graph.initializers.values() if not v.is_graph_input())]
    proto = ir.serde.serialize_model(shell(model, inputs, []))
    if "" in model.opset_imports:
        _exempt(proto.graph, model.opset_imports[""])
        proto.opset_import.add(domain="unknown", version=1)
    for info in (*proto.graph.input, *proto.graph.output):
        if info.type.HasField("tensor_type"):  # an unknown rank is in use, though not in the rules
            info.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        raise UnreadableModel(f"not a valid ONNX model: {one_line(error)}") from error


def _exempt(graph: onnx.GraphProto, opset: int) -> None:
    """Let pass as foreign what ONNX Runtime has in the standard's domain, and the standard not."""
    for node in graph.node:
        if node.op_type in _RUNTIME and node.domain in _STANDARD and not _has(node.op_type, opset):
            node.domain = "unknown"
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _exempt(inner, opset)


def _has(op_type: str, opset: int) -> bool:
    known = onnx.defs.has(op_type, opset, "")
    return known and not onnx.defs.get_schema(op_type, opset).deprecated
