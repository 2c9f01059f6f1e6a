"""What gathers one number over axes: sums, means, extremes, and where these stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.algebra.pool import Mean, Sum
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.space import AxisMap
from onebyone.algebra.weights import Array
from onebyone.counting.formulas import Shape
from onebyone.counting.operators import averages
from onebyone.graph.axes import Spatial, integers, late, rank
from onebyone.graph.ops.call import Call, Kernel
from onebyone.graph.ops.needs import Needs, of_first
from onebyone.graph.ops.row import Operator, Role, Rounding, first_if
from onebyone.graph.ops.turned import with_axes
from onebyone.graph.picks import Picks
from onebyone.graph.values import input_at, rank_of, shape_of

__all__ = ["ROWS", "axis_left"]


def _reduction(function: Callable[..., Any]) -> Kernel:
    """A kernel for Reduce*: axes as attribute or input, none meaning all (or none, if so asked)."""

    def kernel(call: Call, x: Array, given: Array | None = None) -> Array | None:
        if not x.size:
            return None
        axes = call.ints("axes", given)
        if not axes and call.get("noop_with_empty_axes", 0):
            return x
        chosen = tuple(axis % x.ndim for axis in axes or range(x.ndim))
        y = function(x, axis=chosen, keepdims=bool(call.get("keepdims", 1)))
        return np.asarray(y).astype(x.dtype, copy=False)

    return kernel


def _log_sum_exp(x: Array, **over: Any) -> Array:
    from scipy import special

    return np.asarray(special.logsumexp(x, **over))


def _arg(best: Callable[..., Any]) -> Kernel:
    def kernel(call: Call, x: Array) -> Array:
        axis = call.get("axis", 0) % x.ndim
        # NumPy gives the first of equal numbers: the last is the first from behind.
        if call.get("select_last_index", 0):
            index = x.shape[axis] - 1 - best(np.flip(x, axis), axis=axis, keepdims=True)
        else:
            index = best(x, axis=axis, keepdims=True)
        index = np.asarray(index, np.int64)
        return index if call.get("keepdims", 1) else index.squeeze(axis)

    return kernel


def _reduction_space(over: AxisMap) -> Callable[[ir.Node], Spatial | Refusal]:
    def read(node: ir.Node) -> Spatial | Refusal:
        axes = _reduced_axes(node)
        vanished = () if node.attributes.get_int("keepdims", 1) else tuple(axes)
        return late(node, {"axes": 1}) or Spatial(dict.fromkeys(axes, over), vanished)

    return read


def _needs(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    """Along the axes that are not reduced, wherever the result has them."""
    found = _reduction_space(Sum())(node)
    if isinstance(found, Refusal) or found.reads(axis) in found.maps:
        return None
    return of_first(node, found.reads(axis), axis, picks)


def _place_needs(node: ir.Node, axis: int, picks: Picks, _version: int) -> Needs | None:
    """Of what tells where the extreme stands: along all axes but that one."""
    over = node.attributes.get_int("axis", 0) % rank(node)
    gone = node.attributes.get_int("keepdims", 1) == 0
    own = axis + (gone and axis >= over)
    if own == over:
        return None
    return of_first(node, own, axis, picks)


def _reduced_axes(node: ir.Node) -> list[int]:
    named = integers(node, 1, "axes")
    if named:
        return sorted({axis % rank(node) for axis in named})
    if node.attributes.get_int("noop_with_empty_axes", 0):
        return []
    return list(range(rank(node)))


def axis_left(node: ir.Node, axis: int) -> int | None:
    """Where a reduction leaves an axis; None if it reduces it, or may, or is none.

    >>> x, axes = ir.val("x", ir.DataType.FLOAT, (2, 7, 3)), ir.tensor([1])
    >>> node = ir.node("ReduceMax", [x, ir.val("axes", const_value=axes)], {"keepdims": 0})
    >>> axis_left(node, 2), axis_left(node, 1)
    (1, None)
    """
    x = node.inputs[0] if node.inputs else None
    if not node.op_type.startswith("Reduce") or node.domain != "" or rank_of(x) is None:
        return None
    if late(node, {"axes": 1}) is not None or axis in (over := _reduced_axes(node)):
        return None
    return axis - sum(k < axis for k in over) * (1 - node.attributes.get_int("keepdims", 1))


def _reduces_nothing(node: ir.Node) -> bool:
    """Over axes of size 1, which stay; or over none, as asked."""
    shape, axes = shape_of(node.inputs[0]), integers(node, 1, "axes")
    unknown = axes is None and input_at(node, 1) is not None
    if shape is None or unknown:
        return False
    if not axes and node.attributes.get_int("noop_with_empty_axes", 0) == 1:
        return True
    rank = len(shape)
    ones = all(-rank <= axis < rank and shape[axis] == 1 for axis in axes or range(rank))
    return ones and node.attributes.get_int("keepdims", 1) == 1


def _kind(node: ir.Node, read: Shape, written: Shape) -> str:
    return "adaptive average pool" if averages(read, written) else "other"


_TURNED = with_axes(1, default=True)


def _reduces(name: str, function: Callable[..., Any], **special: Any) -> Operator:
    row: dict[str, Any] = {"value": _reduction(function), "rounding": Rounding.SMOOTHLY,
                           "needs": _needs, "turned": _TURNED, **special}  # fmt: skip
    return Operator(name, **row)


def _extreme(name: str, function: Callable[..., Any]) -> Operator:
    exact: dict[str, Any] = {"rounding": Rounding.NEVER, "is_unsure_of_nan": True}
    return _reduces(name, function, unchanged=_NOTHING, **exact)


_NOTHING = first_if(_reduces_nothing)

ROWS = (
    _reduces("ReduceMean", np.mean, role=Role.SPACE_MAP, magnitude="ReduceMean", unchanged=_NOTHING,
             space=_reduction_space(Mean()), kind=_kind),
    _reduces("ReduceSum", np.sum, role=Role.SPACE_MAP, is_sure_of_integers=True, on_sizes="whole",
             magnitude="ReduceSum", unchanged=_NOTHING, space=_reduction_space(Sum())),
    _reduces("ReduceProd", np.prod, is_sure_of_integers=True, on_sizes="whole", unchanged=_NOTHING),
    _extreme("ReduceMax", np.max),
    _extreme("ReduceMin", np.min),
    _reduces("ReduceL1", lambda x, **over: np.abs(x).sum(**over)),
    _reduces("ReduceL2", lambda x, **over: np.sqrt(np.square(x).sum(**over))),
    _reduces("ReduceLogSum", lambda x, **over: np.log(x.sum(**over))),
    _reduces("ReduceLogSumExp", _log_sum_exp),
    _reduces("ReduceSumSquare", lambda x, **over: np.square(x).sum(**over)),
    Operator("ArgMax", value=_arg(np.argmax), rounding=Rounding.STEPS, needs=_place_needs),
    Operator("ArgMin", value=_arg(np.argmin), rounding=Rounding.STEPS, needs=_place_needs),
    Operator("CumSum", rounding=Rounding.SMOOTHLY, is_sure_of_integers=True, magnitude="CumSum"),
)  # fmt: skip
