"""Operators that give back what they were given: one row each, and they go.

A row answers with the index of the operand that the node's first result equals, in value, type and
shape; None: it computes something. What is equal over the reals counts: x + 0 of a negative zero is
a positive one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onebyone.graph.axes import integers, numbers, operand
from onebyone.graph.constants import constant
from onebyone.graph.edit import Edit
from onebyone.graph.simplify.sizes import of_shapes

__all__ = ["drop_noops", "same_shape"]

_TOLD = frozenset({"Expand", "Reshape", "Resize", "Slice", "Squeeze", "Tile", "Unsqueeze"})
"""Operators whose further operands say the shape of the result."""

Row = Callable[[ir.Node], int | None]


def drop_noops(graph: ir.Graph) -> Counter[str]:
    """Let what reads a node that changes nothing read its operand; how many of each operator.

    Args:
        graph: with shapes inferred; changed in place. The nodes are left standing without readers.

    >>> x = ir.val("x", ir.DataType.FLOAT, [1, 2])
    >>> cast = ir.node("Cast", [x], {"to": 1})
    >>> graph = ir.Graph([x], [], nodes=[cast, ir.node("Relu", [cast.outputs[0]])])
    >>> drop_noops(graph), graph[1].inputs[0].name
    (Counter({'Cast': 1}), 'x')
    """
    edit, gone = Edit(graph), Counter[str]()
    for node in graph:
        source = _source(node)
        if source is not None and edit.bypass(node.outputs[0], source):
            gone[node.op_type] += 1
    return gone


def _source(node: ir.Node) -> ir.Value | None:
    """The operand that a node hands on unchanged."""
    row = ROWS.get(node.op_type)
    if row is None or node.domain != "" or any(value.uses() for value in node.outputs[1:]):
        return None
    if any(value.is_graph_output() for value in node.outputs[1:]):
        return None
    at = row(node)
    return None if at is None or at >= len(node.inputs) else node.inputs[at]


def same_shape(a: ir.Value | None, b: ir.Value | None) -> bool:
    """Whether two values have provably the same shape, whatever the free sizes are."""
    if a is None or b is None or a.shape is None or b.shape is None:
        return False
    named = all(isinstance(d, int) or d.value is not None for d in (*a.shape, *b.shape))
    return named and list(a.shape) == list(b.shape)


def _keeps_shape(node: ir.Node, at: int = 0) -> bool:
    """Whether the result has the shape of an operand, which numbers of the caller must not make."""
    made = node.inputs[1:] if node.op_type in _TOLD else ()
    return same_shape(node.inputs[at], node.outputs[0]) and all(of_shapes(v) for v in made if v)


def _if(test: Callable[[ir.Node], bool]) -> Row:
    return lambda node: 0 if test(node) else None


def _has_one(node: ir.Node) -> bool:
    return len(node.inputs) == 1


def _casts_to_the_same(node: ir.Node) -> bool:
    x = node.inputs[0]
    like = node.inputs[1] if node.op_type == "CastLike" else None
    target = node.attributes.get_int("to", 0) if like is None else like.dtype
    return x is not None and x.dtype is not None and x.dtype == target


def _is_inference(node: ir.Node) -> bool:
    training = node.inputs[2] if len(node.inputs) > 2 else None
    array = constant(training)
    return training is None or (array is not None and not array.any())


def _neutral(number: float, *places: int) -> Row:
    """Of a binary operator: an operand at one of `places` that is this number everywhere."""

    def row(node: ir.Node) -> int | None:
        for at in places:
            array = constant(node.inputs[at])
            if array is not None and array.size and (array == number).all():
                return 1 - at if _keeps_shape(node, 1 - at) else None
        return None

    return row


def _takes_all(node: ir.Node) -> bool:
    """A Slice that goes forward and leaves nothing out."""
    steps = integers(node, 4, "steps")
    ones = all(step == 1 for step in steps or ())
    given = len(node.inputs) < 5 or node.inputs[4] is None or steps is not None
    return given and ones and _keeps_shape(node)


def _pads_nothing(node: ir.Node) -> bool:
    pads = integers(node, 1, "pads")
    return pads is not None and not any(pads)


def _gathers_all(node: ir.Node) -> bool:
    x, indices = node.inputs[0], constant(node.inputs[1])
    if x is None or indices is None or indices.ndim != 1 or not _keeps_shape(node):
        return False
    return bool((indices == np.arange(len(indices))).all())


def _stays_in_order(node: ir.Node) -> bool:
    """A Transpose that moves nothing but axes of size 1, and none of those in effect."""
    x = node.inputs[0]
    if x is None or x.shape is None:
        return False
    backwards = tuple(reversed(range(x.shape.rank())))
    order = list(node.attributes.get_ints("perm", backwards))
    long = [axis for axis in order if x.shape[axis] != 1]
    same = [x.shape[axis] for axis in order] == list(x.shape)
    return long == sorted(long) and (same or order == sorted(order))


def _is_unlimited(node: ir.Node) -> bool:
    attributes = "min" in node.attributes or "max" in node.attributes
    return not attributes and all(value is None for value in node.inputs[1:])


_EXACT_AT_ONE = {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
                 "asymmetric"}  # fmt: skip


def _resizes_nothing(node: ir.Node) -> bool:
    """By factors of 1, or to the sizes that are there; scales that are rounded away move values."""
    mode = node.attributes.get_string("coordinate_transformation_mode", "half_pixel")
    if mode not in _EXACT_AT_ONE or not _keeps_shape(node):
        return False
    scales = numbers(node, 1 if node.op_type == "Upsample" else 2, "scales")
    if scales is not None:
        return all(scale == 1 for scale in scales)
    return len(node.inputs) > 3 and node.inputs[3] is not None and operand(node, 2) is None


def _has_one_tap(node: ir.Node) -> bool:
    """A pool of kernel 1 and stride 1."""
    kernel = node.attributes.get_ints("kernel_shape", ())
    strides = node.attributes.get_ints("strides", ())
    pads = node.attributes.get_ints("pads", ())
    ones = all(n == 1 for n in (*kernel, *strides)) and not any(pads)
    return bool(kernel) and ones and _keeps_shape(node)


def _has_one_position(node: ir.Node) -> bool:
    x = node.inputs[0]
    return x is not None and x.shape is not None and all(n == 1 for n in x.shape[2:])


def _reduces_nothing(node: ir.Node) -> bool:
    """Over axes of size 1, which stay; or over none, as asked."""
    x = node.inputs[0]
    if x is None or x.shape is None:
        return False
    axes = integers(node, 1, "axes")
    if not axes and node.attributes.get_int("noop_with_empty_axes", 0) == 1:
        return axes is not None or len(node.inputs) < 2 or node.inputs[1] is None
    if axes is None and len(node.inputs) > 1 and node.inputs[1] is not None:
        return False
    chosen = axes or range(x.shape.rank())
    ones = all(x.shape[int(axis)] == 1 for axis in chosen)
    return ones and node.attributes.get_int("keepdims", 1) == 1


def _chosen(node: ir.Node) -> int | None:
    """Of a Where: the side that it takes everywhere."""
    array = constant(node.inputs[0])
    if array is None or not array.size or array.all() != array.any():
        return None
    at = 1 if array.all() else 2
    return at if _keeps_shape(node, at) else None


def _is_repeated(node: ir.Node) -> bool:
    """Done twice, it does what it did once."""
    x = node.inputs[0]
    before = None if x is None else x.producer()
    return before is not None and before.domain == "" and before.op_type == node.op_type


_BLOCKS = _if(lambda node: node.attributes.get_int("blocksize", 0) == 1)
_ONE = _if(_has_one)
_SHAPED = _if(_keeps_shape)
_REDUCED = _if(_reduces_nothing)
_AGAIN = _if(_is_repeated)

ROWS: dict[str, Row] = {
    "Abs": _AGAIN,
    "Add": _neutral(0, 1, 0),
    "And": _neutral(True, 1, 0),
    "AveragePool": _if(_has_one_tap),
    "Cast": _if(_casts_to_the_same),
    "CastLike": _if(_casts_to_the_same),
    "Ceil": _AGAIN,
    "Clip": _if(_is_unlimited),
    "Concat": _ONE,
    "DepthToSpace": _BLOCKS,
    "Div": _neutral(1, 1),
    "Dropout": _if(_is_inference),
    "Expand": _SHAPED,
    "Flatten": _SHAPED,
    "Floor": _AGAIN,
    "Gather": _if(_gathers_all),
    "GlobalAveragePool": _if(_has_one_position),
    "GlobalMaxPool": _if(_has_one_position),
    "Identity": lambda node: 0,
    "Max": _ONE,
    "MaxPool": _if(_has_one_tap),
    "Mean": _ONE,
    "Min": _ONE,
    "Mul": _neutral(1, 1, 0),
    "Or": _neutral(False, 1, 0),
    "Pad": _if(_pads_nothing),
    "Pow": _neutral(1, 1),
    "ReduceMax": _REDUCED,
    "ReduceMean": _REDUCED,
    "ReduceMin": _REDUCED,
    "ReduceProd": _REDUCED,
    "ReduceSum": _REDUCED,
    "Relu": _AGAIN,
    "Reshape": _SHAPED,
    "Resize": _if(_resizes_nothing),
    "Round": _AGAIN,
    "Sign": _AGAIN,
    "Slice": _if(_takes_all),
    "SpaceToDepth": _BLOCKS,
    "Split": _if(lambda node: len(node.outputs) == 1),
    "Squeeze": _SHAPED,
    "Sub": _neutral(0, 1),
    "Sum": _ONE,
    "Tile": _SHAPED,
    "Transpose": _if(_stays_in_order),
    "Unsqueeze": _SHAPED,
    "Upsample": _if(_resizes_nothing),
    "Where": _chosen,
    "Xor": _neutral(False, 1, 0),
}
"""Operator -> the operand that its result equals; of other operators nothing is known."""
