"""Does a model fit the sizes that it is counted at? The first node that does not, by its shapes.

    broadcast   Add, Mul, ...   equal sizes, or 1
    Concat                      equal sizes on all other axes
    MatMul, Gemm                K of (M, K) and (K, N)
    Conv                        channels of the input = C_in / g · g of the weight
    any         a size below 0, as of a window that is larger than its map

Only what shapes tell is told: that nothing is said does not mean that the model runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onebyone.counting.formulas import Shape
from onebyone.graph.count_walk import name_of
from onebyone.graph.ops import operator_of
from onebyone.graph.shapes import Sizes

__all__ = ["misfit"]

Rule = Callable[[ir.Node, Sequence[Shape]], bool]


def misfit(graph: ir.Graph, sizes: Sizes) -> str:
    """What does not fit, in words; empty if nothing is seen. The model has been through `infer`.

    >>> import onnx.parser
    >>> from onebyone.graph.shapes import infer
    >>> text = "g (float[n,3] x, float[m,3] z) => (y) {y = Add(x, z)}"
    >>> head = '<ir_version: 8, opset_import: ["": 17]>'
    >>> model = ir.from_proto(onnx.parser.parse_model(head + text))
    >>> infer(model)
    >>> misfit(model.graph, Sizes(model, {"x": (2, 3), "z": (5, 3)}))
    'Add y gets 2×3 and 5×3'
    """
    for node in graph:
        operands = (value for value in node.inputs if value is not None)
        known = [shape for value in operands if (shape := sizes.shape(value)) is not None]
        rule = _rule(node)
        # A rule needs the shapes of all operands.
        wrong = rule is not None and len(known) == len(node.inputs) and not rule(node, known)
        if wrong or any(sizes.negative(dim) for out in node.outputs for dim in out.shape or ()):
            told = " and ".join("×".join(map(str, shape)) or "a scalar" for shape in known[:_SHOWN])
            return f"{node.op_type} {name_of(node)} gets {told}"
    return ""


def _rule(node: ir.Node) -> Rule | None:
    """By what it is seen whether the operands of a node fit together."""
    if operator_of(node).elementwise:
        return _broadcasts
    if node.domain != "":
        return None
    return _RULES.get(node.op_type)


_SHOWN = 3
"""Operands in the message."""


def _broadcasts(_node: ir.Node, shapes: Sequence[Shape]) -> bool:
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        return False
    return True


def _concatenates(node: ir.Node, shapes: Sequence[Shape]) -> bool:
    axis = node.attributes.get_int("axis", 0)
    if len({len(shape) for shape in shapes}) != 1 or not -len(shapes[0]) <= axis < len(shapes[0]):
        return False
    axis %= len(shapes[0])
    return len({shape[:axis] + shape[axis + 1 :] for shape in shapes}) == 1


def _multiplies(_node: ir.Node, shapes: Sequence[Shape]) -> bool:
    a, b = shapes
    # A vector behind a matrix has one axis, K; all else has it last but one.
    return bool(a) and bool(b) and a[-1] == b[-2:][0]


def _is_gemm(node: ir.Node, shapes: Sequence[Shape]) -> bool:
    a, b = shapes[:2]
    if node.attributes.get_int("transA", 0):
        a = a[::-1]
    if node.attributes.get_int("transB", 0):
        b = b[::-1]
    return len(a) == len(b) == 2 and a[1] == b[0]


def _convolves(node: ir.Node, shapes: Sequence[Shape]) -> bool:
    x, weight = shapes[:2]
    groups = node.attributes.get_int("group", 1)
    return len(x) == len(weight) > 2 and x[1] == weight[1] * groups


_RULES: Mapping[str, Rule] = {
    "Concat": _concatenates,
    "MatMul": _multiplies,
    "Gemm": _is_gemm,
    "Conv": _convolves,
}
