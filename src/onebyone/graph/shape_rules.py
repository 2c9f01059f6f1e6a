"""What onnx-shape-inference is not told or leaves out: bounds on its work, and three rules.

Its elements of shape tensors ("symbolic values") are lists of integers and expressions.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_shape_inference import ShapeInferenceContext

__all__ = ["LONGEST", "Context", "complete"]

# An expression longer than this is nobody's shape any more; it becomes an unknown.
LONGEST = 400
# A longer list of elements is data, not a shape.
_MOST_ELEMENTS = 1000


class Context(ShapeInferenceContext):  # type: ignore[misc]  # the library is untyped
    """Shape inference whose knowledge of tensors' elements is bounded, whatever the file says."""

    made_up = 0  # symbols for the node at hand

    def new_symbolic_dim(self) -> ir.SymbolicDim:
        self.made_up += 1
        if self.made_up > _MOST_ELEMENTS:
            raise OverflowError("more unknown dimensions than a tensor can have")
        dim: ir.SymbolicDim = super().new_symbolic_dim()
        return dim

    def set_symbolic_value(self, value: ir.Value, data: list[int | ir.SymbolicDim]) -> None:
        if len(data) <= _MOST_ELEMENTS and all(
            -(2**63) <= x < 2**63 if isinstance(x, int) else len(x.value or "") <= LONGEST
            for x in data
        ):
            super().set_symbolic_value(value, data)

    def get_symbolic_value(self, value: ir.Value) -> list[int | ir.SymbolicDim] | None:
        if value.const_value is not None and value.const_value.size > _MOST_ELEMENTS:
            return None
        found: list[int | ir.SymbolicDim] | None = super().get_symbolic_value(value)
        return found


def complete(context: Context, node: ir.Node) -> None:
    """Add to what was inferred for `node`.

    >>> node = ir.node("ConstantOfShape", [ir.val("s", ir.DataType.INT64, [2])])
    >>> context = Context({"": 17})
    >>> context.set_symbolic_value(node.inputs[0], [3, ir.SymbolicDim("n")])
    >>> complete(context, node)
    >>> str(node.outputs[0].shape)
    '[3,n]'
    """
    rule = _RULES.get(node.op_type)
    if rule is not None and node.domain in ("", "ai.onnx"):
        rule(context, node)


def _divide(context: Context, node: ir.Node) -> None:
    """The quotient of two shape elements, which the library leaves out.

    ONNX rounds to zero and this rounds down: the same for all sizes that are not negative.
    """
    a, b = (_elements(context, node, i) for i in (0, 1))
    if not a or not b or len(a) != 1 or len(b) != 1 or not isinstance(b[0], int) or b[0] < 1:
        return
    if not isinstance(a[0], int):
        quotient = ir.SymbolicDim(f"floor(({a[0].value})/{b[0]})")
        context.set_symbolic_value(node.outputs[0], [quotient])


def _fill(context: Context, node: ir.Node) -> None:
    """The shape of a ConstantOfShape from what is known of its elements, another omission."""
    sizes = _elements(context, node, 0)
    if sizes is not None and node.outputs[0].shape is None:
        context.set_shape(node.outputs[0], ir.Shape(sizes))


def _crop(context: Context, node: ir.Node) -> None:
    """The shape of `x[a:b]` where b is an expression: max(0, min(b, size) - a), a >= 0."""
    starts, ends = _elements(context, node, 1), _elements(context, node, 2)
    data, found = node.inputs[0], node.outputs[0].shape
    if starts is None or ends is None or found is None or data is None or data.shape is None:
        return
    axes = _elements(context, node, 3) or list(range(len(starts)))
    steps = _elements(context, node, 4) or [1] * len(starts)
    dims: list[int | ir.SymbolicDim] = list(found)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if isinstance(end, int) or not isinstance(start, int) or start < 0 or step != 1:
            continue
        if isinstance(axis, int):
            dims[axis] = _cropped(data.shape[axis], start, end)
    node.outputs[0].shape = ir.Shape(dims)


def _cropped(size: int | ir.SymbolicDim, start: int, end: ir.SymbolicDim) -> ir.SymbolicDim:
    whole = size if isinstance(size, int) else size.value
    least = f"Min({whole}, {end.value})"
    return ir.SymbolicDim(f"Max(0, {least} - {start})" if start else least)


def _elements(context: Context, node: ir.Node, index: int) -> list[int | ir.SymbolicDim] | None:
    """What is known of the elements of an input of `node`."""
    value = node.inputs[index] if index < len(node.inputs) else None
    return None if value is None else context.get_symbolic_value(value)


_RULES = {"ConstantOfShape": _fill, "Div": _divide, "Slice": _crop}
