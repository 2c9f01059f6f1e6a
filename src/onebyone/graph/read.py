"""Read an ONNX model: checked on the way in, brought to one form, the source never changed.

    file / ModelProto / onnx_ir.Model
      ── parse ──▶ tensors checked (dims, bytes, external files)
      ── sort, inline functions, lift Constant nodes ──▶ checked by onnx.checker ──▶ onnx_ir.Model

The weights are in memory once: those of a file are taken out of its parsed message, those of a
given message stay in it, external ones stay on disk until somebody asks for them. Whatever is wrong
with the input becomes one `UnreadableModel` of one line. Subgraphs (`If`, `Loop`, `Scan`) and
operators of foreign domains stay as they are. `training_info` is not carried over.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

import onnx
import onnx_ir as ir

from onebyone.errors import UnreadableModel
from onebyone.graph.checks import (
    all_nodes,
    check_attributes,
    check_tensors,
    one_line,
    quiet,
    refuse,
    tensors,
)
from onebyone.graph.form import normalised, unshared
from onebyone.graph.formats import foreign
from onebyone.graph.values import graphs_within
from onebyone.graph.write import SOURCE
from onebyone.graph.write import Source as Files

__all__ = ["read"]

# Protocol buffers carry no message of 2 GiB or more.
_LARGEST_MESSAGE = 2**31 - 1

Source = str | os.PathLike[str] | onnx.ModelProto | ir.Model


def read(source: Source) -> ir.Model:
    """The model of a file, a `ModelProto` or an `onnx_ir.Model`, as a new `onnx_ir.Model`.

    What carries an `onnx_ir.Model` as its `model`, as PyTorch's `ONNXProgram` and an `Optimized`
    do, is taken for that model.

    What holds for the result: every tensor has the bytes its shape asks for; external data lies
    inside the model's folder (a `ModelProto` has no folder, so it may not use external data);
    nodes are in topological order and pass `onnx.checker`; functions are inlined (those written
    for another opset are left as they are); Constant nodes of the main graph are initialisers;
    the IR version is at least 4, in which an initialiser that is also an input is a default that
    a caller may override (in older files it is a constant, and no longer listed as an input);
    a declared dimension of -1 or "?" is a free one of its own. Opsets and names are kept.

    Raises `UnreadableModel`, with one line, for anything that is not such a model.

    >>> from onnx import TensorProto, helper
    >>> x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])
    >>> y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])
    >>> graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    >>> [node.op_type for node in read(helper.make_model(graph)).graph]
    ['Relu']
    """
    where = _where(source)
    try:
        with quiet("onnx_ir"):
            return normalised(_remembered(_load(source), source))
    except UnreadableModel as error:
        raise UnreadableModel(f"{where}: {error}") from error.__cause__
    except Exception as error:  # the libraries raise whatever comes to hand on damaged models
        raise UnreadableModel(f"{where}: not a usable ONNX model: {one_line(error)}") from error


def _where(source: object) -> str:
    if isinstance(source, str | os.PathLike):
        return one_line(os.fsdecode(source))
    return f"the given {type(source).__name__}"


def _load(source: Source) -> ir.Model:
    carried = getattr(source, "model", None)
    if isinstance(carried, ir.Model):  # an ONNXProgram of PyTorch, or an Optimized
        source = carried
    if isinstance(source, onnx.ModelProto):
        return unshared(_deserialized(source, ""))
    if isinstance(source, ir.Model):
        check_tensors(source)
        return unshared(_cloned(source))
    if not isinstance(source, str | os.PathLike):
        refuse(
            "wanted a path, an onnx.ModelProto, an onnx_ir.Model or a torch.onnx.ONNXProgram; "
            "export a PyTorch module with torch.onnx.export first"
        )
    path = os.path.abspath(os.fsdecode(source))
    return _deserialized(_parsed(path), os.path.dirname(path))


def _remembered(model: ir.Model, source: Source) -> ir.Model:
    """`model` with a note of the files that it comes from, for `write` to spare."""
    external = (tensor for tensor in tensors(model) if isinstance(tensor, ir.ExternalTensor))
    data = {os.path.abspath(tensor.path) for tensor in external}
    before = model.graph.meta.get(SOURCE, Files())
    path = before.path
    if isinstance(source, str | os.PathLike):
        path = os.path.abspath(os.fsdecode(source))
    model.graph.meta[SOURCE] = Files(path, before.data | data)
    return model


def _parsed(path: str) -> onnx.ModelProto:
    """The message in the file at `path`."""
    data = _bytes(path)
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except Exception as error:
        raise UnreadableModel(
            foreign(path)
            or "not an ONNX model, or cut short or damaged; export or download it again"
        ) from error
    if not proto.HasField("graph") and (known := foreign(path)):
        refuse(known)  # a message by chance
    return proto


def _bytes(path: str) -> bytes:
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode) and (known := foreign(path)):
            refuse(known)
        # A pipe or a device is not opened: it may have no end.
        if not stat.S_ISREG(status.st_mode):
            refuse("not a file; give the path of an .onnx file")
        if not 0 < status.st_size <= _LARGEST_MESSAGE:
            refuse(
                foreign(path)
                or f"{status.st_size} bytes; an ONNX file has between 1 byte and 2 GiB "
                "(larger models keep their weights in external data)"
            )
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UnreadableModel(f"{error.strerror or one_line(error)}; check the path") from error


def _deserialized(proto: onnx.ModelProto, folder: str) -> ir.Model:
    if not proto.HasField("graph") or not proto.ir_version or not proto.opset_import:
        refuse("not an ONNX model: no graph, IR version or opset in it")
    if proto.graph.sparse_initializer:
        refuse("sparse initialisers are not supported; store them densely")
    if any(a.HasField("sparse_tensor") for node in _nodes(proto.graph) for a in node.attribute):
        refuse("sparse constants are not supported; store them densely")
    model = ir.serde.deserialize_model(proto)
    for tensor in tensors(model):
        if isinstance(tensor, ir.ExternalTensor):
            if not folder:
                refuse(
                    f"tensor {one_line(tensor.name, 100)} is in an external file and a ModelProto "
                    "has no folder; read the model from its path"
                )
            tensor.base_dir = folder
    check_tensors(model)
    check_attributes(model)
    if not folder:
        return model
    return _unpacked(model)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of the graphs in them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _unpacked(model: ir.Model) -> ir.Model:
    """`model` with its weights taken out of the message, which nobody else has and which goes.

    A message gives a new copy of a tensor's bytes each time that it is asked.
    """
    for graph in graphs_within(model.graph):
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.serde.TensorProtoTensor):
                value.const_value = _array(value.const_value)
    for node in all_nodes(model):
        for key, attribute in node.attributes.items():
            if isinstance(attribute.value, ir.serde.TensorProtoTensor):
                node.attributes[key] = ir.AttrTensor(
                    key, _array(attribute.value), doc_string=attribute.doc_string
                )
    return model


def _array(tensor: ir.serde.TensorProtoTensor) -> ir.TensorProtocol:
    return ir.Tensor(
        tensor.numpy(),
        dtype=tensor.dtype,
        name=tensor.name,
        doc_string=tensor.doc_string,
        metadata_props=dict(tensor.metadata_props),
    )


def _cloned(model: ir.Model) -> ir.Model:
    try:
        return model.clone()
    except Exception as error:
        raise UnreadableModel(
            "its nodes are not in topological order, or use values that nobody makes; "
            "call model.graph.sort()"
        ) from error
