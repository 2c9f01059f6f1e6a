"""Write an ONNX model: all of it or nothing, whatever its size.

    onnx_ir.Model ──▶ bytes beside the target ──fsync──▶ renamed over the target

The message is written tensor by tensor, so that the weights are never all in memory twice. A
protocol buffer ends at 2 GiB; beyond that, and where the source had it so, the weights go to
`<name>.data` beside the model, as ONNX external data.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass

import onnx
import onnx_ir as ir

from onebyone.errors import UsageError
from onebyone.graph.checks import one_line, quiet
from onebyone.graph.files import beside, cannot_write, publish

__all__ = [
    "DESCRIBED", "INTERFACE", "SOURCE", "Source", "shell", "to_proto", "write",
]  # fmt: skip

# `graph.meta[INTERFACE]`: the dimensions of inputs and outputs as the source declared them, by
# name. Shape inference refines them in place; what is written declares them as the source did.
INTERFACE = "onebyone.interface"
# `graph.meta[DESCRIBED]`: the values between them of which the source says types and shapes. Of
# others nothing is written either: it would be bytes, and where inference errs, a wrong file.
DESCRIBED = "onebyone.described"
# `graph.meta[SOURCE]`: the files that the model was read from. Its weights may all be in memory by
# the time that it is written; what it was read from is not to be destroyed all the same.
SOURCE = "onebyone.source"
# Protocol buffers carry no message of 2 GiB or more.
_LARGEST_MESSAGE = 2**31 - 1
# Smaller tensors stay in the message: ONNX wants the data of Reshape and its like there.
_SMALL = 1024
# Offsets in external data, so that a tensor can be used where it is mapped.
_ALIGNMENT = 64
# Field numbers with wire type 2 (bytes follow a length), from onnx.proto.
_MODEL_GRAPH = bytes([7 << 3 | 2])
_GRAPH_INITIALIZER = bytes([5 << 3 | 2])
_TENSOR_RAW_DATA = bytes([9 << 3 | 2])


@dataclass(frozen=True)
class Source:
    """The files of a model: its own path ("" where it came as a message) and its external data."""

    path: str = ""
    data: frozenset[str] = frozenset()


def write(
    model: ir.Model, path: str | os.PathLike[str], *, largest: int = _LARGEST_MESSAGE
) -> None:
    """Write `model` to `path`; a model of more than `largest` bytes with its weights beside it.

    The weights go to `<path>.data` then, and also where any of them is external in `model`.
    Files are complete when they take their names: on any failure, Ctrl-C and a full disk
    included, what was at `path` and `<path>.data` is as before and nothing is left behind. (A
    power cut between the two renames can leave new data beside an old model.) A symbolic link
    is followed. `path` may be the file that `model` was read from, and its data then be replaced
    with it; other models read from that file have to be read again.

    Raises `UsageError` where the file cannot be written, or a file would take the place of the
    external data of a source that stays.

    >>> import tempfile, onnx_ir, onnx.parser
    >>> text = '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) {y = Abs(x)}'
    >>> model = onnx_ir.from_proto(onnx.parser.parse_model(text))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(model, f"{folder}/abs.onnx")
    ...     os.listdir(folder)
    ['abs.onnx']
    """
    target = os.path.realpath(os.fsdecode(path))
    try:
        with ExitStack() as stack:
            rest = to_proto(_without_large(model))
            pair = _wants_external_data(model, rest, largest)
            _spare_sources(model, target, pair)
            if pair:
                _write_pair(stack, model, rest, target)
            else:
                _write_single(stack, model, rest, target)
    except OSError as error:
        raise cannot_write(target, error) from error


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """`model` as a message, with the inputs' and outputs' dimensions as its source declared them.

    External data stays a reference. A message of 2 GiB or more cannot be serialised: `write` it.

    >>> import onnx_ir, onnx.parser
    >>> text = '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) {y = Abs(x)}'
    >>> to_proto(onnx_ir.from_proto(onnx.parser.parse_model(text))).graph.node[0].op_type
    'Abs'
    """
    with quiet("onnx_ir"):
        proto = ir.serde.serialize_model(model)
    _restore_interface(proto.graph, model.graph.meta.get(INTERFACE, {}))
    _restore_silence(proto.graph, model.graph.meta.get(DESCRIBED))
    return proto


def shell(
    model: ir.Model, inputs: Sequence[ir.Value], initializers: Sequence[ir.Value]
) -> ir.Model:
    """`model` with other inputs and initialisers, all else shared: to serialise a part of it."""
    graph = model.graph
    view = ir.GraphView(
        inputs,
        graph.outputs,
        nodes=graph,
        initializers=initializers,
        doc_string=graph.doc_string,
        opset_imports=model.opset_imports,
        name=graph.name,
        metadata_props=graph.metadata_props,
    )
    part = copy(model)
    part.graph = view  # type: ignore[assignment]  # serialising needs no more than a view
    return part


def _restore_interface(
    graph: onnx.GraphProto, declared: Mapping[str, tuple[int | ir.SymbolicDim, ...]]
) -> None:
    """Put the declared names of free dimensions back, where inference found an expression."""
    for info in (*graph.input, *graph.output):
        dims = info.type.tensor_type.shape.dim
        wanted = declared.get(info.name, ())
        if len(dims) != len(wanted):
            continue  # inference found the rank, of which the source says nothing
        for dim, want in zip(dims, wanted, strict=True):
            if not isinstance(want, int) and not dim.HasField("dim_value"):
                dim.ClearField("dim_param")
                if want.value is not None:
                    dim.dim_param = want.value


def _restore_silence(graph: onnx.GraphProto, described: frozenset[str] | None) -> None:
    """Say nothing of values of which the source said nothing."""
    if described is not None:
        kept = [info for info in graph.value_info if info.name in described]
        del graph.value_info[:]
        graph.value_info.extend(kept)


# --- the message, in parts -------------------------------------------------------------------


def _wants_external_data(model: ir.Model, rest: onnx.ModelProto, largest: int) -> bool:
    tensors = _large(model).values()
    external = any(isinstance(tensor, ir.ExternalTensor) for tensor in tensors)
    # 1 KiB for the header of each tensor: its name, shape and type.
    return external or rest.ByteSize() + sum(t.nbytes + 1024 for t in tensors) > largest


def _spare_sources(model: ir.Model, target: str, pair: bool) -> None:
    """No file of the source that stays is written over, whatever name it goes by."""
    tensors = _large(model).values()
    source = model.graph.meta.get(SOURCE, Source())
    data = source.data | {os.fspath(t.path) for t in tensors if isinstance(t, ir.ExternalTensor)}
    written = [target]
    # With the model its data may be replaced; not with a hard link of it, whose other name stays.
    if pair and target != os.path.realpath(source.path):
        written.append(target + ".data")
    for path in written:
        if any(_same_file(path, used) for used in data):
            raise UsageError(
                f"cannot write {one_line(target)}: {one_line(path)} is the data of the model that "
                "was read; choose another name"
            )
    if pair and _same_file(target + ".data", source.path):
        raise UsageError(
            f"cannot write {one_line(target)}: its weights would go to the model that was read, "
            f"{one_line(source.path)}; choose another name"
        )


def _same_file(one: str, other: str) -> bool:
    """Whether two paths lead to one file that exists: by links of any kind, in any spelling."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _large(model: ir.Model) -> dict[ir.Value, ir.TensorProtocol]:
    """The initialisers that are written one by one, behind the message or beside it."""
    tensors = {value: value.const_value for value in model.graph.initializers.values()}
    return {value: t for value, t in tensors.items() if t is not None and _is_large(t)}


def _is_large(tensor: ir.TensorProtocol) -> bool:
    if isinstance(tensor, ir.ExternalTensor):
        return True
    # Strings have no raw bytes, so they stay in the message.
    return tensor.dtype != ir.DataType.STRING and tensor.nbytes >= _SMALL


def _without_large(model: ir.Model) -> ir.Model:
    large = set(_large(model))
    small = [v for v in model.graph.initializers.values() if v not in large]
    rest = shell(model, model.graph.inputs, small)
    rest.graph.meta.update(model.graph.meta)
    return rest


def _header(value: ir.Value, tensor: ir.TensorProtocol) -> onnx.TensorProto:
    """The tensor of `value` without its bytes."""
    proto = onnx.TensorProto(
        name=value.name,
        data_type=tensor.dtype.value,
        dims=tensor.shape.numpy(),
        doc_string=tensor.doc_string or None,
    )
    for key, text in tensor.metadata_props.items():
        proto.metadata_props.add(key=key, value=text)
    return proto


def _payload(tensor: ir.TensorProtocol) -> bytes:
    return tensor.tobytes()


def _write_single(stack: ExitStack, model: ir.Model, proto: onnx.ModelProto, target: str) -> None:
    """One file: the message without large tensors, then these, as fields of the same message."""
    graph = proto.graph.SerializeToString()
    proto.ClearField("graph")
    # A field is its number, its length, its bytes; so lengths are needed before any data is read.
    large = _large(model)
    heads = [_tensor_head(value, tensor) for value, tensor in large.items()]
    length = len(graph) + sum(map(len, heads)) + sum(tensor.nbytes for tensor in large.values())
    file = stack.enter_context(beside(target))
    file.write(proto.SerializeToString() + _MODEL_GRAPH + _varint(length) + graph)
    for head, (value, tensor) in zip(heads, large.items(), strict=True):
        data, size = _payload(tensor), tensor.nbytes
        if len(data) != size:
            raise OSError(f"tensor {one_line(value.name)} has {len(data)} bytes, not {size}")
        file.write(head)
        file.write(data)
    publish(file, target)


def _tensor_head(value: ir.Value, tensor: ir.TensorProtocol) -> bytes:
    """The bytes of the message before the data of a tensor."""
    size = tensor.nbytes
    head: bytes = _header(value, tensor).SerializeToString() + _TENSOR_RAW_DATA + _varint(size)
    return _GRAPH_INITIALIZER + _varint(len(head) + size) + head


def _varint(number: int) -> bytes:
    """`number` >= 0 in base 128, least first, as protocol buffers write it."""
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _write_pair(stack: ExitStack, model: ir.Model, proto: onnx.ModelProto, target: str) -> None:
    """Two files: the message without large tensors, and these in `<target>.data`."""
    location = os.path.basename(target) + ".data"
    data = stack.enter_context(beside(target + ".data"))
    for value, tensor in _large(model).items():
        data.write(bytes(-data.tell() % _ALIGNMENT))
        header = _header(value, tensor)
        start, payload = data.tell(), _payload(tensor)
        data.write(payload)
        where = {"location": location, "offset": start, "length": len(payload)}
        for key, entry in where.items():
            header.external_data.add(key=key, value=str(entry))
        header.data_location = onnx.TensorProto.EXTERNAL
        proto.graph.initializer.append(header)
    file = stack.enter_context(beside(target))
    file.write(proto.SerializeToString())
    publish(file, target, data, target + ".data")
