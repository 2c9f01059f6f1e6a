"""Which positions of its operands a node needs for some positions of its result.

S f(x, y) = f(Sx, Sy)              f position by position along the axis; what has one position
                                   there, or does not have the axis, stays
S (A B) = (S A) B,  A (B S) = (A B) S
S K x   = K' (C x)                 K: a convolution or pool; C cuts out what its windows see,
                                   K' pads only where the border was (`windows`)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import onnx_ir as ir

from onebyone.graph.axes import integers
from onebyone.graph.constants import constant
from onebyone.graph.ops import Role, role
from onebyone.graph.values import are_read, input_at
from onebyone.graph.views import view_axis
from onebyone.optimize.positions.merged import Rows, axis_of_rows, rows
from onebyone.optimize.positions.picks import Asked, Picks, Size, sizes_left
from onebyone.optimize.positions.resized import resized
from onebyone.optimize.positions.selectors import selector
from onebyone.optimize.positions.windows import WINDOWS, narrowed

__all__ = ["Needs", "reshaped", "through"]

Needs = dict[int, tuple[int, Picks]]
"""Index of an operand -> one of its axes, and the positions there; of all other operands, all."""

MAX_ON_ROWS = 8
"""Nodes between the view that merges axes into rows and the one that tells them apart."""

_ROLES_ALONE = (Role.ELEMENTWISE, Role.SUM, Role.IDENTITY)
_ALONE = frozenset(
    {
        *("And", "Cast", "Div", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less"),
        *("LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Neg", "Or", "Sub", "Where", "Xor"),
    }
)
"""Operators that compute each position of all their operands by itself, beside these roles."""


def through(node: ir.Node, axis: int, picks: Picks, version: int) -> Needs | None:
    """What a node needs for `picks` along `axis` of its result; None: it mixes these positions.

    Args:
        node: with shapes inferred.
        axis, picks: of its results.
        version: of the standard operators.

    >>> from onebyone.optimize.positions.picks import picked
    >>> a, b = (ir.val(s, ir.DataType.FLOAT, shape) for s, shape in (("a", (5, 4)), ("b", (4, 3))))
    >>> product = ir.node("MatMul", [a, b])
    >>> product.outputs[0].shape = ir.Shape((5, 3))
    >>> through(product, 0, picked([1], 5), 17)
    {0: (0, Picks(taken=range(1, 2), whole=5, size=1))}
    """
    if node.domain != "" or node.outputs[0].shape is None:
        return None
    # Results that nobody reads do not count; pieces of a Split are cut alike.
    if node.op_type != "Split" and are_read(node.outputs[1:]):
        return None
    if node.op_type in _MIXED:
        if axis in _MIXED[node.op_type](node, version):
            return None
        return _met(node, axis, picks, [0]) or None
    if node.op_type in _READERS:
        return _READERS[node.op_type](node, axis, picks, version)
    if role(node) in _ROLES_ALONE or node.op_type in _ALONE:
        return _met(node, axis, picks, range(len(node.inputs))) or None
    return None


def _met(node: ir.Node, axis: int, picks: Picks, operands: Sequence[int]) -> Needs | None:
    """What is needed of these operands, where they meet position by position along `axis`.

    They are aligned at their last axes. An operand that has one position there needs no other, and
    is left out. None where the sizes do not tell.
    """
    shape, needs = _shape(node.outputs[0]), Needs()
    for index in operands:
        x = input_at(node, index)
        if x is None:
            continue
        if x.shape is None:
            return None
        own = axis - shape.rank() + x.shape.rank()
        if own < 0 or x.shape[own] == 1:
            continue
        if x.shape[own] != shape[axis]:
            return None
        needs[index] = own, picks
    if len(needs) > 1 and shape.is_unknown_dim(axis):
        return None  # one of them may have a single position there when the model runs
    return needs


def _shape(value: ir.Value) -> ir.Shape:
    assert value.shape is not None
    return value.shape


def _rank(node: ir.Node) -> int:
    return _shape(node.outputs[0]).rank()


# What mixes the positions of some axes, and leaves those of its first operand alone along others --


def _split(node: ir.Node, _version: int) -> Collection[int]:
    return {node.attributes.get_int("axis", 0) % _rank(node)}


def _softmax(node: ir.Node, version: int) -> Collection[int]:
    """Before opset 13 everything from its axis on is one vector."""
    if version >= 13:
        return {node.attributes.get_int("axis", -1) % _rank(node)}
    return range(node.attributes.get_int("axis", 1) % _rank(node), _rank(node))


def _layer_norm(node: ir.Node, _version: int) -> Collection[int]:
    own = node.attributes.get_int("axis", -1) % _rank(node)
    affine = [v for v in node.inputs[1:] if v is not None]
    # A scale with more axes than are normalised would have to be cut as well.
    if any(v.shape is None or v.shape.rank() > _rank(node) - own for v in affine):
        own = 0
    return range(own, _rank(node))


def _batch_norm(node: ir.Node, _version: int) -> Collection[int]:
    """Statistics of a batch are taken over all positions."""
    if node.attributes.get_int("training_mode", 0):
        return range(_rank(node))
    return {1}


def _dropout(node: ir.Node, _version: int) -> Collection[int]:
    """What draws at random draws for every position."""
    given = input_at(node, 2)
    training = constant(given)
    if given is None or (training is not None and not training.any()):
        return ()
    return range(_rank(node))


_MIXED: dict[str, Callable[[ir.Node, int], Collection[int]]] = {
    "BatchNormalization": _batch_norm,
    "Dropout": _dropout,
    "Hardmax": _softmax,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _softmax,
    "RMSNormalization": _layer_norm,
    "Softmax": _softmax,
    "Split": _split,
}


# What has a way of its own to tell ----------------------------------------------------------------


def _concat(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    """Where every operand is as long as the result; of those that it joins none is."""
    needs = _met(node, axis, picks, range(len(node.inputs))) or {}
    if len(needs) < len(node.inputs):
        return None
    return needs


def _selected(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    """Along the axes that a Slice, Gather or Pad leaves alone."""
    found, x = selector(node), node.inputs[0]
    if found is None or x is None:
        return None
    own = found.axis_before(axis)
    if own in found.orders or _shape(x)[own] != _shape(node.outputs[0])[axis]:
        return None
    return {0: (own, picks)}


def _windows(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    x = node.inputs[0]
    if axis == 0 and x is not None and x.shape is not None:
        return {0: (0, picks)}
    found = narrowed(node, axis, picks)
    if found is None:
        return None
    _, reads = found
    if reads is None:  # all of its operand
        return {}
    return {0: (axis, reads)}


def _matmul(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    """Rows of the left operand, columns of the right one, or products side by side."""
    ranks = [x.shape.rank() for x in node.inputs if x is not None and x.shape is not None]
    if len(ranks) < 2 or min(ranks) < 2:
        return None
    behind = axis - _rank(node)
    if behind < -2:
        return _met(node, axis, picks, [0, 1]) or None
    at = behind + 2  # rows are the left operand's, columns the right one's
    if constant(node.inputs[at]) is not None:  # the channels of a weight are no positions
        return None
    return _met(node, axis, picks, [at]) or None


def _gemm(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    """The rows of its first operand, and those of a bias that has as many."""
    bias = _met(node, axis, picks, [2])
    if axis != 0 or constant(node.inputs[0]) is not None or bias is None:
        return None
    return {0: (node.attributes.get_int("transA", 0), picks), **bias}


def _attention(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    """The rows of the queries, and those of a mask."""
    mask, past = _met(node, axis, picks, [3]), any(v is not None for v in node.inputs[4:])
    causal = node.attributes.get_int("is_causal", 0) != 0  # it counts from the first query
    if axis != _rank(node) - 2 or causal or past or mask is None:
        return None
    return {0: (axis, picks), **mask}


def _reduced(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    """Along the axes that are not reduced, wherever the result has them."""
    x, axes = node.inputs[0], integers(node, 1, "axes")
    if x is None or x.shape is None or not axes:
        return None
    gone = {k % x.shape.rank() for k in axes}
    kept = [k for k in range(x.shape.rank()) if k not in gone]
    # Without keepdims the result's axes are those of the operand that are left.
    if node.attributes.get_int("keepdims", 1):
        kept = list(range(x.shape.rank()))
    if kept[axis] in gone:
        return None
    return {0: (kept[axis], picks)}


def _resized(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    if isinstance(picks, Rows):
        return None
    found = resized(node, axis, picks)
    return found and {0: found}


# Views -------------------------------------------------------------------------------------------


def _viewed(node: ir.Node, axis: int, picks: Picks, version: int) -> Needs | None:
    x = node.inputs[0]
    if x is None or x.shape is None:
        return None
    own = view_axis(node, axis)
    if node.op_type == "Reshape" and own is None:
        return _regrouped(node, axis, picks, version)
    if own is None or x.shape[own] != _shape(node.outputs[0])[axis]:
        return None
    return _reshaped(node, axis, picks, own, picks)


def _reshaped(node: ir.Node, axis: int, picks: Picks, own: int, needed: Picks) -> Needs | None:
    """The operand's axis `own`, if the target of a Reshape can be told."""
    if node.op_type == "Reshape" and reshaped(node, {axis: picks}, {own: needed}) is None:
        return None
    return {0: (own, needed)}


def _regrouped(node: ir.Node, axis: int, picks: Picks, version: int) -> Needs | None:
    """Rows of several axes that are told apart, or axes that are merged into rows."""
    if isinstance(picks, Rows):
        own = axis_of_rows(node, picks)
        if axis != 0 or own is None:
            return None
        return _reshaped(node, axis, picks, own, picks.inner)
    found, x = rows(node, axis, picks), node.inputs[0]
    if found is None or x is None or not _merges(x, found, version):
        return None
    return _reshaped(node, axis, picks, 0, found)


def _merges(value: ir.Value, found: Rows, version: int) -> bool:
    """Whether nothing but rows is made of what is merged, and nobody else reads it."""
    axis = 0
    for _ in range(MAX_ON_ROWS):
        node = value.producer()
        if node is None or value.is_graph_output() or len(value.uses()) != 1:
            return False
        needs = through(node, axis, found, version)
        if needs is None or len(needs) != 1:
            return False
        ((index, (axis, taken)),) = needs.items()
        x = node.inputs[index]
        if x is None or constant(x) is not None:
            return False
        if taken is not found:
            return node.op_type == "Reshape"
        value = x
    return False


def reshaped(node: ir.Node, after: Asked, before: Asked) -> tuple[int, ...] | None:
    """The target of a Reshape of some positions; None where no constant says it for all sizes.

    Args:
        node: the Reshape, with the shapes of all positions.
        after, before: axis -> what is taken there of its result, and of its operand.
    """
    x, out = node.inputs[0], node.outputs[0]
    assert x is not None
    sizes, left = [*_shape(x)], sizes_left(_shape(out), after)

    def entry(axis: int, whole: Size) -> int:
        size = left[axis]
        if isinstance(size, int):
            return size
        stays = sizes[axis : axis + 1] == [whole] and after.get(axis) == before.get(axis)
        return stays - 1  # a 0 copies the operand's size, one -1 is what is left

    target = tuple(entry(axis, whole) for axis, whole in enumerate(_shape(out)))
    known = [size for size in (*sizes, *_shape(out)) if isinstance(size, int)]
    if target.count(-1) > 1 or 0 in known:
        return None
    return target


_READERS: dict[str, Callable[[ir.Node, int, Picks, int], Needs | None]] = {
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze"), _viewed),
    **dict.fromkeys(("Gather", "Pad", "Slice"), _selected),
    **dict.fromkeys(("Resize", "Upsample"), _resized),
    **dict.fromkeys(("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin"), _reduced),
    **dict.fromkeys(("ReduceProd", "ReduceSum", "ReduceSumSquare"), _reduced),
    **dict.fromkeys(WINDOWS, _windows),
    "Attention": _attention,
    "Concat": _concat,
    "Gemm": _gemm,
    "MatMul": _matmul,
}
