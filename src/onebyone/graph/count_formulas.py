"""The multiply-accumulates of each ONNX operator that is made of them, as one table of rows.

The formulas are `onebyone.counting`'s; here is which inputs and attributes of a node they read.
Quantised forms are their operators.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from onebyone.counting.einsum import einsum_work
from onebyone.counting.formulas import (
    Shape,
    Work,
    attention,
    convolution,
    product,
    recurrence,
    transposed_convolution,
)

__all__ = ["PRODUCTS", "Product", "Site"]


@dataclass(frozen=True)
class Site:
    """A node as a formula sees it.

    Args:
        node: for its attributes.
        shapes: of the row's operands, in the row's order; () for one that is absent.
        fixed: which of these operands are constant.
        output: the shape of the node's first output; () if it is absent.
        biased: whether the node itself adds a bias.
    """

    node: ir.Node
    shapes: tuple[Shape, ...]
    fixed: tuple[bool, ...]
    output: Shape
    biased: bool = False


@dataclass(frozen=True)
class Product:
    """A row: the formula, the inputs whose shapes it reads (None: all), and the bias input."""

    formula: Callable[[Site], Work]
    operands: tuple[int, ...] | None
    bias: int | None = None


def _convolution(site: Site) -> Work:
    return convolution(
        site.shapes[1],
        site.output,
        constant=site.fixed[1],
        biased=site.biased,
        groups=site.node.attributes.get_int("group", 1),
    )


def _transposed_convolution(site: Site) -> Work:
    x, weight = site.shapes
    return transposed_convolution(
        weight,
        x,
        site.output,
        constant=site.fixed[1],
        biased=site.biased,
        groups=site.node.attributes.get_int("group", 1),
    )


def _gemm(site: Site) -> Work:
    rows, columns = site.shapes[0]
    return _product(site, rows if site.node.attributes.get_int("transA", 0) else columns)


def _matmul(site: Site) -> Work:
    return _product(site, site.shapes[0][-1])


def _product(site: Site, inner: int) -> Work:
    return product(site.output, inner, constants=sum(site.fixed), biased=site.biased)


def _recurrent(site: Site) -> Work:
    x, w, r = site.shapes
    # W is (directions, gates·hidden, C_in); a gate has two biases, one beside W, one beside R.
    biases = [(2, *w[:2])] if site.biased else []
    return recurrence(x[0] * x[1], [w, r], biases)


def _attention(site: Site) -> Work:
    """Heads apart (N, h, L, d), or side by side (N, L, h·d); with the keys of earlier calls."""
    q, k, v, past = site.shapes
    keys = k[-2] + (past[-2] if past else 0)
    if len(q) == 4:
        return attention(q, keys, v[3])
    queries = site.node.attributes.get_int("q_num_heads", 1)
    values = v[2] // site.node.attributes.get_int("kv_num_heads", 1)
    return attention((q[0], queries, q[1], q[2] // queries), keys, values)


def _einsum(site: Site) -> Work:
    equation = site.node.attributes.get_string("equation", "")
    return einsum_work(equation, site.shapes, site.fixed)


_RECURRENT = Product(_recurrent, (0, 1, 2), 3)

PRODUCTS: Mapping[str, Product] = {
    "Conv": Product(_convolution, (0, 1), 2),
    "ConvInteger": Product(_convolution, (0, 1)),
    "QLinearConv": Product(_convolution, (0, 3), 8),
    "CausalConvWithState": Product(_convolution, (0, 1), 2),
    # Its interpolated reads are arithmetic too, and not counted.
    "DeformConv": Product(_convolution, (0, 1), 3),
    "ConvTranspose": Product(_transposed_convolution, (0, 1), 2),
    "Gemm": Product(_gemm, (0, 1), 2),
    "MatMul": Product(_matmul, (0, 1)),
    "MatMulInteger": Product(_matmul, (0, 1)),
    "QLinearMatMul": Product(_matmul, (0, 3)),
    "Einsum": Product(_einsum, None),
    "LSTM": _RECURRENT,
    "GRU": _RECURRENT,
    "RNN": _RECURRENT,
    "Attention": Product(_attention, (0, 1, 2, 4)),
}
"""Operator of the standard domain -> its row."""
