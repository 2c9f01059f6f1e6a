"""Which positions of its operands a node needs for some positions of its result.

S f(x, y) = f(Sx, Sy)              f position by position along the axis; what has one position
                                   there, or does not have the axis, stays
S (A B) = (S A) B,  A (B S) = (A B) S
S K x   = K' (C x)                 K: a convolution or pool; C cuts out what its windows see,
                                   K' pads only where the border was
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onebyone.algebra.selection import Slice
from onebyone.graph.axes import integers
from onebyone.graph.constants import constant
from onebyone.graph.ops import Role, role
from onebyone.graph.views import view_axis
from onebyone.optimize.positions.demand import rounds_down
from onebyone.optimize.positions.merged import Rows, axis_of_rows, rows
from onebyone.optimize.positions.picks import Picks, picked
from onebyone.optimize.positions.resized import resized
from onebyone.optimize.positions.selectors import selector

__all__ = ["WINDOWS", "Needs", "Window", "reshaped", "through", "window"]

Needs = dict[int, tuple[int, Picks]]
"""Index of an operand -> one of its axes, and the positions there; of all other operands, all."""

WINDOWS = frozenset({"AveragePool", "Conv", "LpPool", "MaxPool"})

MAX_ON_ROWS = 8
"""Nodes between the view that merges axes into rows and the one that tells them apart."""

_ALONE = frozenset(
    {
        *("And", "Cast", "Div", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less"),
        *("LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Neg", "Or", "Sub", "Where", "Xor"),
    }
)
_REDUCTIONS = frozenset(
    {
        *("ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin"),
        *("ReduceProd", "ReduceSum", "ReduceSumSquare"),
    }
)


def through(node: ir.Node, axis: int, picks: Picks, version: int) -> Needs | None:
    """What a node needs for `picks` along `axis` of its result; None: it mixes these positions.

    Args:
        node: with shapes inferred.
        axis, picks: of its results.
        version: of the standard operators.

    >>> a, b = (ir.val(s, ir.DataType.FLOAT, shape) for s, shape in (("a", (5, 4)), ("b", (4, 3))))
    >>> product = ir.node("MatMul", [a, b])
    >>> product.outputs[0].shape = ir.Shape((5, 3))
    >>> through(product, 0, picked([1], 5), 17)
    {0: (0, Picks(taken=range(1, 2), whole=5, size=1))}
    """
    if node.domain != "" or node.outputs[0].shape is None:
        return None
    others = any(v.uses() or v.is_graph_output() for v in node.outputs[1:])
    if others and node.op_type != "Split":
        return None
    if node.op_type in WINDOWS:
        return _windows(node, axis, picks)
    if node.op_type in _REDUCTIONS:
        return _reduced(node, axis, picks)
    reader = _READERS.get(node.op_type)
    if reader is not None:
        return reader(node, axis, picks, version)
    if role(node) in (Role.ELEMENTWISE, Role.SUM, Role.IDENTITY) or node.op_type in _ALONE:
        return _broadcast(node, axis, picks, tuple(range(len(node.inputs))))
    return None


def _broadcast(node: ir.Node, axis: int, picks: Picks, operands: tuple[int, ...]) -> Needs | None:
    """These operands, aligned at their last axes, meet position by position along `axis`."""
    shape, needs = node.outputs[0].shape, Needs()
    assert shape is not None
    for index in operands:
        x = node.inputs[index]
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
    return needs or None


def _same(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    return _broadcast(node, axis, picks, (0,))


def _dropout(node: ir.Node, axis: int, picks: Picks, version: int) -> Needs | None:
    """What draws at random draws for every position."""
    training = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    if len(node.inputs) > 2 and node.inputs[2] is not None and (training is None or training.any()):
        return None
    return _same(node, axis, picks, version)


def _batch_normalization(node: ir.Node, axis: int, picks: Picks, version: int) -> Needs | None:
    if axis == 1 or node.attributes.get_int("training_mode", 0) != 0:
        return None
    return _same(node, axis, picks, version)


def _softmax(node: ir.Node, axis: int, picks: Picks, version: int) -> Needs | None:
    """Before opset 13 everything from its axis on is one vector."""
    default: int = -1 if version >= 13 else 1
    own = node.attributes.get_int("axis", default) % _rank(node)
    mixed = axis == own if version >= 13 else axis >= own
    return None if mixed else _same(node, axis, picks, version)


def _layer_norm(node: ir.Node, axis: int, picks: Picks, version: int) -> Needs | None:
    own = node.attributes.get_int("axis", -1) % _rank(node)
    affine = [v for v in node.inputs[1:] if v is not None]
    if axis >= own or any(v.shape is None or v.shape.rank() > _rank(node) - own for v in affine):
        return None
    return _same(node, axis, picks, version)


def _concat(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    if axis == node.attributes.get_int("axis", 0) % _rank(node):
        return None
    every = tuple(range(len(node.inputs)))
    needs = _broadcast(node, axis, picks, every)
    return needs if needs is not None and len(needs) == len(every) else None


def _split(node: ir.Node, axis: int, picks: Picks, version: int) -> Needs | None:
    if axis == node.attributes.get_int("axis", 0) % _rank(node):
        return None
    return _same(node, axis, picks, version)


def _selected(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    """Along the axes that a Slice, Gather or Pad leaves alone."""
    found, x = selector(node), node.inputs[0]
    if found is None or x is None or x.shape is None or node.outputs[0].shape is None:
        return None
    own = found.axis_before(axis)
    if own in found.orders or x.shape[own] != node.outputs[0].shape[axis]:
        return None
    return {0: (own, picks)}


def _matmul(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    """Rows of the left operand, columns of the right one, or products side by side."""
    left, right = node.inputs
    if left is None or right is None or left.shape is None or right.shape is None:
        return None
    if min(left.shape.rank(), right.shape.rank()) < 2:
        return None
    behind = axis - _rank(node)
    if behind < -2:
        return _broadcast(node, axis, picks, (0, 1))
    at = 0 if behind == -2 else 1
    if constant(node.inputs[at]) is not None:  # channels of a weight, which are no positions
        return None
    return _broadcast(node, axis, picks, (at,))


def _gemm(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    if axis != 0 or constant(node.inputs[0]) is not None:
        return None
    needs = Needs({0: (node.attributes.get_int("transA", 0), picks)})
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None:
        return needs
    if bias.shape is None:
        return None
    added = _broadcast(node, axis, picks, (2,))
    if added is None and bias.shape.rank() == 2 and bias.shape[0] != 1:
        return None
    return needs | (added or {})


def _attention(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    """The rows of the queries, and those of a mask; a causal one counts from the first query."""
    mask, *past = [*node.inputs[3:], None]
    if axis != _rank(node) - 2 or node.attributes.get_int("is_causal", 0) != 0:
        return None
    if any(v is not None for v in past):
        return None
    needs = Needs({0: (axis, picks)})
    if mask is None:
        return needs
    if mask.shape is None or mask.shape.rank() < 2:
        return None
    own = mask.shape.rank() - 2
    if mask.shape[own] == 1:
        return needs
    assert node.outputs[0].shape is not None
    return needs | {3: (own, picks)} if mask.shape[own] == node.outputs[0].shape[axis] else None


def _reduced(node: ir.Node, axis: int, picks: Picks) -> Needs | None:
    """Along the axes that are not reduced, wherever the result has them."""
    x, axes = node.inputs[0], integers(node, 1, "axes")
    if x is None or x.shape is None or not axes:
        return None
    gone = {k % x.shape.rank() for k in axes}
    kept = [k for k in range(x.shape.rank()) if k not in gone]
    own = axis if node.attributes.get_int("keepdims", 1) else kept[axis]
    return None if own in gone else {0: (own, picks)}


# Views -------------------------------------------------------------------------------------------


def _viewed(node: ir.Node, axis: int, picks: Picks, version: int) -> Needs | None:
    x = node.inputs[0]
    if x is None or x.shape is None or node.outputs[0].shape is None:
        return None
    own, needed = view_axis(node, axis), picks
    if node.op_type == "Reshape" and own is None:
        own, needed = _regrouped(node, axis, picks, version)
    elif own is not None and x.shape[own] != node.outputs[0].shape[axis]:
        own = None
    if own is None:
        return None
    if node.op_type == "Reshape" and reshaped(node, {axis: picks}, {own: needed}) is None:
        return None
    return {0: (own, needed)}


def _regrouped(node: ir.Node, axis: int, picks: Picks, version: int) -> tuple[int | None, Picks]:
    """Rows of several axes that are told apart, or axes that are merged into rows."""
    if isinstance(picks, Rows):
        return (axis_of_rows(node, picks) if axis == 0 else None), picks.inner
    found = rows(node, axis, picks)
    if found is None or node.inputs[0] is None or not _merges(node.inputs[0], found, version):
        return None, picks
    return 0, found


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


def reshaped(
    node: ir.Node, after: Mapping[int, Picks], before: Mapping[int, Picks]
) -> tuple[int, ...] | None:
    """The target of a Reshape of some positions; None where no constant says it for all sizes.

    Args:
        node: the Reshape, with the shapes of all positions.
        after, before: axis -> what is taken there of its result, and of its operand.
    """
    x, out = node.inputs[0], node.outputs[0]
    assert x is not None
    assert x.shape is not None
    assert out.shape is not None
    target: list[int] = []
    for axis, whole in enumerate(out.shape):
        size = after[axis].size if axis in after else whole
        if isinstance(size, int):
            target.append(size)
        elif (
            axis < x.shape.rank() and x.shape[axis] == whole and after.get(axis) == before.get(axis)
        ):
            target.append(0)
        else:
            target.append(-1)
    sizes = [d for d in (*x.shape, *out.shape) if isinstance(d, int)]
    return None if target.count(-1) > 1 or 0 in sizes else tuple(target)


def _resized(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    found = None if isinstance(picks, Rows) else resized(node, axis, picks)
    return None if found is None else {0: found}


# Windows -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Window:
    """Along one axis of a convolution or pool: its new stride and pads, and what it reads."""

    stride: int
    begin: int
    end: int
    reads: Picks | None


def _windows(node: ir.Node, axis: int, picks: Picks) -> Needs | None:
    x = node.inputs[0]
    if axis == 0 and x is not None and x.shape is not None:
        return {0: (0, picks)}
    found = window(node, axis, picks) if axis > 1 else None
    if found is None:
        return None
    return {} if found.reads is None else {0: (axis, found.reads)}


def window(node: ir.Node, axis: int, picks: Picks) -> Window | None:
    """How a convolution or pool computes `picks` along `axis` alone; None where it cannot."""
    x = node.inputs[0]
    if x is None or x.shape is None or isinstance(picks, Rows) or not rounds_down(node):
        return None
    spatial, at = x.shape.rank() - 2, axis - 2
    kernel = _kernel(node)
    pads = tuple(node.attributes.get_ints("pads", (0,) * 2 * spatial))
    stride = node.attributes.get_ints("strides", (1,) * spatial)[at]
    dilation = node.attributes.get_ints("dilations", (1,) * spatial)[at]
    if kernel is None or len(kernel) != spatial:
        return None
    begin, end, reach = pads[at], pads[at + spatial], dilation * (kernel[at] - 1)
    taken, size = picks.taken, x.shape[axis]
    if isinstance(taken, Slice):
        return _on_a_free_axis(picks, stride, begin, end, plain=reach + begin + end == 0)
    if isinstance(taken, tuple) or not isinstance(size, int):
        return None
    step = stride * (taken.step if len(taken) > 1 else 1)
    first, last = stride * taken[0] - begin, stride * taken[-1] - begin + reach
    start, stop = max(first, 0), min(last + 1, size)
    if start >= stop:
        return None  # windows of nothing but padding
    if first <= 0 and size - stop < step:
        stop = size  # what a stride leaves over need not be cut off
    return Window(step, max(-first, 0), max(last + 1 - size, 0), picked(range(start, stop), size))


def _on_a_free_axis(
    picks: Picks, stride: int, begin: int, end: int, *, plain: bool
) -> Window | None:
    """A 1×1 commutes with any picks; any kernel takes every g-th position from the first on."""
    taken = picks.taken
    assert isinstance(taken, Slice)
    if not taken.start and taken.stop is None:
        return Window(stride * taken.step, begin, end, None)
    return Window(1, 0, 0, picks) if plain and stride == 1 else None


def _kernel(node: ir.Node) -> list[int] | None:
    if node.op_type != "Conv":
        return list(node.attributes.get_ints("kernel_shape", ()))
    shape = None if node.inputs[1] is None else node.inputs[1].shape
    sizes = [] if shape is None else [n for n in shape[2:] if isinstance(n, int)]
    return sizes if shape is not None and len(sizes) == len(shape) - 2 else None


def _rank(node: ir.Node) -> int:
    shape = node.outputs[0].shape
    assert shape is not None
    return shape.rank()


_READERS: dict[str, Callable[[ir.Node, int, Picks, int], Needs | None]] = {
    "Attention": _attention,
    "BatchNormalization": _batch_normalization,
    "Concat": _concat,
    "Dropout": _dropout,
    "Flatten": _viewed,
    "Gather": _selected,
    "Gemm": _gemm,
    "Hardmax": _softmax,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _softmax,
    "MatMul": _matmul,
    "Pad": _selected,
    "RMSNormalization": _layer_norm,
    "Reshape": _viewed,
    "Resize": _resized,
    "Slice": _selected,
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": _viewed,
    "Transpose": _viewed,
    "Unsqueeze": _viewed,
    "Upsample": _resized,
}
