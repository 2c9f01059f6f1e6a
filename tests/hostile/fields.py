"""Fields of the message, found by reflection, get hostile values."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, TensorShapeProto

__all__ = ["CHANGES", "NUMBERS", "TEXTS", "attributes", "messages"]

NUMBERS = (0, 1, -1, 2, 3, 7, 255, 2**31 - 1, -(2**31), 2**31, 2**62, -(2**63), 2**63 - 1)
REALS = (0.0, -1.0, float("nan"), float("inf"), -float("inf"), 1e38, 1e-45)
TEXTS = (
    "",
    " ",
    "x",
    "y",
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "two\nlines\r\n",
    "tab\tnul\x00del\x7f",
    "\u202ereversed\u2066",
    "[bold]markup[/bold]",
    "[/] [link=file:///etc/passwd]here",
    "{0} %s %d {model!r}",
    "../../etc/passwd",
    "longer " * 150_000,
    "\U0001f4a9" * 50,
)


def messages(message: Message) -> Iterator[Message]:
    """The message and all that it holds, at any depth."""
    stack = [message]
    while stack:
        found = stack.pop()
        yield found
        for field, value in found.ListFields():
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                stack.extend(value if _repeated(field) else [value])


def _repeated(field: FieldDescriptor) -> bool:
    return bool(field.is_repeated)


def of(model: ModelProto, kind: type[Any], draw: random.Random) -> Any:
    """A message of a kind in the model, or None."""
    found = [m for m in messages(model) if isinstance(m, kind)]
    return draw.choice(found) if found else None


def _hostile(field: FieldDescriptor, draw: random.Random) -> Any:
    kinds = FieldDescriptor
    if field.cpp_type == kinds.CPPTYPE_ENUM:  # no other can be set; bytes do what is not known
        return draw.choice([value.number for value in field.enum_type.values])
    if field.cpp_type == kinds.CPPTYPE_INT32:
        return draw.choice([n for n in NUMBERS if -(2**31) <= n < 2**31] + list(range(30)))
    if field.cpp_type == kinds.CPPTYPE_UINT64:
        return draw.choice([n for n in NUMBERS if n >= 0])
    if field.cpp_type == kinds.CPPTYPE_INT64:
        return draw.choice(NUMBERS)
    if field.cpp_type in (kinds.CPPTYPE_FLOAT, kinds.CPPTYPE_DOUBLE):
        return draw.choice(REALS)
    text = draw.choice(TEXTS)
    return text.encode() if field.type == kinds.TYPE_BYTES else text


def _set(model: ModelProto, draw: random.Random) -> None:
    """A field that may or may not be there gets a hostile value."""
    message = draw.choice(list(messages(model)))
    field = draw.choice(message.DESCRIPTOR.fields)
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        value = getattr(message, field.name)
        value.add() if _repeated(field) else value.SetInParent()
    elif _repeated(field):
        values = getattr(message, field.name)
        at = draw.randrange(len(values) + 1)
        values[at : at + draw.randrange(2)] = [_hostile(field, draw)] * draw.choice([1, 1, 3])
    else:
        setattr(message, field.name, _hostile(field, draw))


def _clear(model: ModelProto, draw: random.Random) -> None:
    message = draw.choice([m for m in messages(model) if m.ListFields()])
    message.ClearField(draw.choice(message.ListFields())[0].name)


def _repeat(model: ModelProto, draw: random.Random) -> None:
    """Something of which there can be several is there twice, or gone, or elsewhere."""
    lists = [
        (message, field)
        for message in messages(model)
        for field, value in message.ListFields()
        if _repeated(field) and len(value) and field.type == FieldDescriptor.TYPE_MESSAGE
    ]
    message, field = draw.choice(lists)
    values = getattr(message, field.name)
    at = draw.randrange(len(values))
    if draw.random() < 0.4:
        del values[at]
    else:
        values.add().CopyFrom(values[at])


def _swap(model: ModelProto, draw: random.Random) -> None:
    """A message takes the content of another of its kind."""
    found = list(messages(model))
    one = draw.choice(found)
    other = draw.choice([m for m in found if m.DESCRIPTOR is one.DESCRIPTOR])
    copy = type(other)()
    copy.CopyFrom(other)
    one.CopyFrom(copy)


def _shape(model: ModelProto, draw: random.Random) -> None:
    """The declared shape of a value."""
    shape = of(model, TensorShapeProto, draw)
    if shape is None:
        return
    if not shape.dim or draw.random() < 0.3:
        if shape.dim and draw.random() < 0.5:
            del shape.dim[draw.randrange(len(shape.dim))]
        else:
            shape.dim.add(dim_value=draw.choice(NUMBERS))
        return
    dim = draw.choice(shape.dim)
    if draw.random() < 0.6:
        dim.dim_value = draw.choice(NUMBERS)
    else:
        dim.dim_param = draw.choice([*TEXTS, "n*n", "2**99999", "n/0", "-n", "__import__('os')"])


def _tensor(model: ModelProto, draw: random.Random) -> None:
    """A stored tensor: dimensions, type, bytes."""
    tensor = of(model, TensorProto, draw)
    if tensor is None:
        return
    change = draw.randrange(5)
    if change == 0:
        tensor.data_type = draw.choice([*range(-1, 30), 2**31 - 1])
    elif change == 1 and tensor.dims:
        tensor.dims[draw.randrange(len(tensor.dims))] = draw.choice(NUMBERS)
    elif change == 2:
        tensor.dims.append(draw.choice(NUMBERS))
    elif change == 3:
        tensor.raw_data = tensor.raw_data[: draw.randrange(len(tensor.raw_data) + 1)]
    else:
        tensor.raw_data += draw.randbytes(draw.choice([1, 4, 1000]))


def attributes(model: ModelProto) -> list[AttributeProto]:
    """Every attribute, at any depth."""
    return [m for m in messages(model) if isinstance(m, AttributeProto)]


def _attribute(model: ModelProto, draw: random.Random) -> None:
    """An attribute: its numbers, its type, its name."""
    node = of(model, NodeProto, draw)
    if node is None:
        return
    if not node.attribute:
        node.attribute.add(name=draw.choice(_KNOWN), type=2, i=draw.choice(NUMBERS))
        return
    attribute = draw.choice(node.attribute)
    change = draw.randrange(4)
    if change == 0:
        attribute.type = draw.randrange(15)
    elif change == 1:
        attribute.name = draw.choice([*_KNOWN, *TEXTS])
    elif attribute.ints:
        at = draw.randrange(len(attribute.ints))
        attribute.ints[at : at + draw.choice([1, 1, 1, 0])] = [draw.choice(NUMBERS)]
    elif attribute.type == AttributeProto.STRING:
        attribute.s = draw.choice([*(t.encode() for t in TEXTS), b"SAME_UPPER", b"linear", b"\xff"])
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = draw.choice(REALS)
    else:
        attribute.i = draw.choice(NUMBERS)


_KNOWN = ("axis", "axes", "group", "kernel_shape", "pads", "perm", "strides", "dilations", "to")


def _value(model: ModelProto, draw: random.Random) -> None:
    """The numbers of a short tensor, which are sizes, bounds and axes: of the right length."""
    short = [
        m
        for m in messages(model)
        if isinstance(m, TensorProto) and m.data_type in (1, 6, 7) and 0 < len(m.raw_data) <= 128
    ]
    if not short:
        _attribute(model, draw)
        return
    import numpy as np
    from onnx import numpy_helper

    tensor = draw.choice(short)
    array = numpy_helper.to_array(tensor).copy().reshape(-1)
    if not array.size:
        return
    low, high = (-(2**31), 2**31 - 1) if array.dtype == np.int32 else (-(2**63), 2**63 - 1)
    numbers = REALS if array.dtype.kind == "f" else [n for n in NUMBERS if low <= n <= high]
    array[draw.randrange(array.size)] = draw.choice(numbers)
    tensor.raw_data = array.tobytes()


CHANGES: Mapping[str, Callable[[ModelProto, random.Random], None]] = {
    "set": _set,
    "cleared": _clear,
    "repeated": _repeat,
    "swapped": _swap,
    "shape": _shape,
    "tensor": _tensor,
    "attribute": _attribute,
    "sizes and axes": _value,
}
