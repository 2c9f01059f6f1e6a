"""The checks that a model passes before anything is computed from it: shapes, bytes, files.

onnx.checker looks at the weights by copying the model twice, and onnx_ir not at all; here each
tensor's dimensions are compared with the bytes that are there, and external data must lie in a
plain file inside the model's folder. Nothing is allocated by what a file merely claims.
"""

from __future__ import annotations

import logging
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import onnx_ir as ir

from onebyone.errors import UnreadableModel
from onebyone.graph.values import graphs_within, nodes_within, rank_of, size

__all__ = [
    "all_nodes", "check_attributes", "check_interface", "check_tensors", "declare", "keep_kinds",
    "kinds", "one_line", "quiet", "refuse", "tensors",
]  # fmt: skip

# 2**40 float32 are 4 TB: a declared shape beyond that is damage, not data.
_MOST_ELEMENTS = 2**40
# The field of a TensorProto that holds numbers of a type one by one; for all others, int32_data.
_TYPED_DATA = {
    ir.DataType.FLOAT: "float_data",
    ir.DataType.COMPLEX64: "float_data",
    ir.DataType.DOUBLE: "double_data",
    ir.DataType.COMPLEX128: "double_data",
    ir.DataType.INT64: "int64_data",
    ir.DataType.UINT32: "uint64_data",
    ir.DataType.UINT64: "uint64_data",
}
_FIELDS = {"int32_data", *_TYPED_DATA.values()}


def one_line(text: object, most: int = 300) -> str:
    r"""`text` on one line, control characters escaped, cut after `most` characters.

    >>> one_line("a\nb\x1b[31m")
    'a b\\x1b[31m'
    """
    if isinstance(text, BaseException):
        while text.__cause__ is not None:  # the libraries wrap, and the first one knows
            text = text.__cause__
        text = str(text) or type(text).__name__
    words = " ".join(str(text)[: 4 * most].split())
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)
    if len(shown) > most:
        return shown[:most] + "..."
    return shown


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """No log lines of the library `name` meanwhile: what it warns of is dealt with here."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def refuse(message: str) -> NoReturn:
    """Raise `UnreadableModel`.

    >>> refuse("cut short")
    Traceback (most recent call last):
    onebyone.errors.UnreadableModel: cut short
    """
    raise UnreadableModel(message)


def check_interface(model: ir.Model) -> None:
    """The declared dimensions of inputs and outputs are possible ones, or `UnreadableModel`.

    >>> value = ir.val("x", ir.DataType.FLOAT, [1, -3])
    >>> graph = ir.Graph([value], [], nodes=[])
    >>> check_interface(ir.Model(graph, ir_version=8))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    onebyone.errors.UnreadableModel: tensor x has the impossible shape [1, -3]; ...
    """
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.shape is not None:
            _check_dims(one_line(value.name, 100), [d for d in value.shape if isinstance(d, int)])


def _check_dims(name: str, dims: list[int]) -> None:
    if any(dim < 0 for dim in dims) or math.prod(dims) > _MOST_ELEMENTS:
        refuse(
            f"tensor {name} has the impossible shape {one_line(dims, 100)}; dimensions are "
            f"0 or more (name a dimension that is free), elements at most {_MOST_ELEMENTS}"
        )


Kinds = list[tuple[str | None, list[int | None] | None]]
"""The type and the sizes of each output of a graph; None where unknown."""


def kinds(graph: ir.Graph) -> Kinds:
    """What a graph says of its outputs."""
    return [(_type(value), _fixed(value)) for value in graph.outputs]


def _type(value: ir.Value) -> str | None:
    return None if value.type is None else str(value.type)


def _fixed(value: ir.Value) -> list[int | None] | None:
    rank = rank_of(value)
    if rank is None:
        return None
    return [size(value, axis) for axis in range(rank)]


def keep_kinds(declared: Kinds, graph: ir.Graph) -> None:
    """Hold what shape inference found about outputs against what was `declared`.

    Another type is `UnreadableModel`. Of another rank nothing is known, in place: who runs the
    model finds out which of the two is wrong.
    """
    for value, (kind, sizes), (found, _) in zip(graph.outputs, declared, kinds(graph), strict=True):
        if kind != found and None not in (kind, found):
            refuse(
                f"output {one_line(value.name, 100)!r} is declared as {kind}, and its node gives "
                f"{found}; export it again"
            )
        if value.shape is not None and sizes is not None and len(sizes) != value.shape.rank():
            value.shape = None


def declare(declared: Kinds, graph: ir.Graph) -> None:
    """Of outputs of which nothing is known what was `declared`, in place: a file has to say it."""
    for value, (_, sizes) in zip(graph.outputs, declared, strict=True):
        if value.shape is None and sizes is not None:
            value.shape = ir.Shape(sizes)


def all_nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Every node of the model: of its graph, of the graphs inside nodes, and of its functions."""
    yield from nodes_within(model.graph)
    for function in model.functions.values():
        yield from nodes_within(function)


def tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """Every tensor of the model: initialisers of all graphs, and attributes of all nodes."""
    for graph in graphs_within(model.graph):
        for value in graph.initializers.values():
            if value.const_value is None:
                refuse(f"initialiser {one_line(value.name, 100)} has no data")
            yield value.const_value
    for node in all_nodes(model):
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                yield attribute.value  # as_tensor() looks all methods of a tensor up
            elif attribute.type == ir.AttributeType.TENSORS and not attribute.is_ref():
                yield from attribute.value


def _name(tensor: ir.TensorProtocol) -> str:
    return one_line(tensor.name or "without a name", 100)


def check_tensors(model: ir.Model) -> None:
    """Each tensor has the bytes that its shape asks for, or `UnreadableModel`.

    Those of external data are in a plain file inside the model's folder, which is not opened.
    """
    for tensor in tensors(model):
        _check_dims(_name(tensor), list(tensor.shape.numpy()))
        if isinstance(tensor, ir.ExternalTensor):
            _check_external(tensor)
        elif isinstance(tensor, ir.serde.TensorProtoTensor):
            _check_stored(tensor)
        elif isinstance(tensor, ir.StringTensor):
            _check_length(tensor, len(tensor.string_data()), math.prod(tensor.shape.numpy()))


def check_attributes(model: ir.Model) -> None:
    """Texts in standard operators are UTF-8, or `UnreadableModel`; others may hold any bytes."""
    for node in all_nodes(model):
        if node.domain:
            continue
        for name, attribute in node.attributes.items():
            if attribute.type == ir.AttributeType.STRING and isinstance(attribute.value, bytes):
                refuse(f"attribute {one_line(name, 100)} of a {node.op_type} is no UTF-8 text")


def _check_length(tensor: ir.TensorProtocol, got: int, wanted: int) -> None:
    if got != wanted:
        shape = one_line(list(tensor.shape.numpy()), 100)
        refuse(
            f"tensor {_name(tensor)} of shape {shape} holds {got} bytes or values where "
            f"{wanted} are wanted; the file is damaged"
        )


def _check_stored(tensor: ir.serde.TensorProtoTensor) -> None:
    proto = tensor.raw
    if tensor.dtype == ir.DataType.UNDEFINED or proto.HasField("segment"):
        refuse(f"tensor {_name(tensor)} has no element type, or is stored in segments")
    if proto.HasField("raw_data"):
        _check_length(tensor, len(proto.raw_data), tensor.nbytes)
        return
    field = _TYPED_DATA.get(tensor.dtype, "int32_data")
    if any(len(getattr(proto, other)) for other in _FIELDS - {field}):
        refuse(f"tensor {_name(tensor)} of type {tensor.dtype} has numbers of another type")
    values = len(getattr(proto, field))
    wanted = tensor.size
    if tensor.dtype.bitwidth < 8 and tensor.dtype.bitwidth != 6:
        wanted = tensor.nbytes  # packed, one byte to a value
    elif tensor.dtype in (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128):
        wanted *= 2
    _check_length(tensor, values, wanted)


def _check_external(tensor: ir.ExternalTensor) -> None:
    """The bytes of `tensor` exist, in a file inside the model's folder and nowhere else."""
    status = _stat_inside(tensor)
    offset, length = tensor.offset or 0, tensor.length
    if tensor.dtype in (ir.DataType.UNDEFINED, ir.DataType.STRING):
        refuse(f"tensor {_name(tensor)} has an element type that cannot be external")
    if length is not None:
        _check_length(tensor, length, tensor.nbytes)
    if offset < 0 or offset + tensor.nbytes > status.st_size:
        refuse(
            f"tensor {_name(tensor)} lies at bytes {offset}..{offset + tensor.nbytes} of "
            f"{one_line(tensor.location, 100)}, which has {status.st_size}; the file is cut short"
        )


def _stat_inside(tensor: ir.ExternalTensor) -> os.stat_result:
    location, folder = os.fspath(tensor.location), os.fspath(tensor.base_dir) or "."
    shown = one_line(location, 100)
    base, path = os.path.realpath(folder), os.path.realpath(os.path.join(folder, location))
    # By its words, and by where links lead: neither may leave the folder.
    leaves = os.path.isabs(location) or os.path.normpath(location).split(os.sep)[0] == ".."
    if leaves or not path.startswith(os.path.join(base, "")):
        refuse(f"external data {shown} is outside the model's folder; copy it beside the model")
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise UnreadableModel(f"external data {shown}: {one_line(error)}") from error
    if not stat.S_ISREG(status.st_mode) or not os.access(path, os.R_OK):
        refuse(f"external data {shown} is not a file that can be read")
    if status.st_nlink > 1:  # onnx_ir refuses to load it: it could be a link to anything
        refuse(f"external data {shown} has several hard links; copy it to a file of its own")
    return status
