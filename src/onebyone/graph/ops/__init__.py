"""What each ONNX operator is, said once: one file a family, one row an operator.

    row            the fields of a row, each with what it means
    elementwise    functions of one number
    arithmetic     functions of two numbers or more at the same position
    product        MatMul, Gemm, Einsum
    convolution    convolutions
    pooling        pools, and windows
    resampling     Resize, Upsample, GridSample
    normalization  what divides by statistics, softmax
    reduction      one number over axes
    view           new shapes and orders of the same numbers
    joining        Concat, Split, sequences
    selection      what cuts, repeats and pads positions
    gathering      what picks positions by indices
    marking        one-hot vectors
    creation       constants, ranges, shapes
    conversion     casts and quantisation
    layers         LSTM, GRU, RNN, Attention

and what rows of several families say alike: of channels (`flow`), of positions (`needs`,
`selector`, `windows`, `merged`, `weighed`), of axes in another order (`turned`).

Readers of nodes ask the row: `operator_of(node).space`, say.
"""

from __future__ import annotations

import onnx_ir as ir

from onebyone.graph.ops import (
    arithmetic,
    conversion,
    convolution,
    creation,
    elementwise,
    gathering,
    joining,
    layers,
    marking,
    normalization,
    pooling,
    product,
    reduction,
    resampling,
    selection,
    view,
)
from onebyone.graph.ops.row import Operator, Role

__all__ = ["OPERATORS", "Operator", "Role", "operator_called", "operator_of", "role"]

_FAMILIES = (
    arithmetic, conversion, convolution, creation, elementwise, gathering, joining, layers,
    marking, normalization, pooling, product, reduction, resampling, selection, view,
)  # fmt: skip
_UNKNOWN = Operator("")

OPERATORS = {row.name: row for family in _FAMILIES for row in family.ROWS}
"""The rows by the operator's name, for the standard ONNX domain."""


def operator_of(node: ir.Node) -> Operator:
    """The row of a node's operator; that of an unknown one, or of another domain, claims nothing.

    >>> operator_of(ir.node("Relu", [])).kind, operator_of(ir.node("Relu", [], domain="my")).kind
    ('ReLU', 'other')
    """
    return OPERATORS.get(node.op_type, _UNKNOWN) if node.domain == "" else _UNKNOWN


def operator_called(domain: str, op_type: str) -> Operator:
    """The row of an operator by its domain and name, as `operator_of` gives it of a node."""
    return OPERATORS.get(op_type, _UNKNOWN) if domain == "" else _UNKNOWN


def role(node: ir.Node) -> Role:
    """The part that a node's operator plays in a linear region."""
    return operator_of(node).role
