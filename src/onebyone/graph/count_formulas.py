"""The multiply-accumulates of each ONNX operator that is made of them, as one table of rows.

    operator                   MACs                          pointwise
    Conv                       |y| · C_in/g · |kernel|       all, if the kernel is 1 along each axis
    ConvTranspose              |x| · C_out/g · |kernel|      all, if the kernel is 1 along each axis
    Gemm, MatMul               |y| · K                       all, if one factor is constant
    Einsum, pair by pair       product of the labels' sizes  pairs that contract with a constant
    LSTM, GRU, RNN             steps · N · (|W| + |R|)       none
    Attention                  N · h · L · S · (d + d_v)     none

|y| is the number of elements of y. Padded positions, masked positions and zero weights count as any
others: the count is that of the dense definition, as in PyTorch's `torch.utils.flop_counter`.
Quantised forms are their operators. Which axis a constant matrix acts on is not asked: a product
with a constant is a linear layer, and a linear layer is a 1×1 convolution along that axis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod

import onnx_ir as ir

__all__ = ["PRODUCTS", "Product", "Shape", "Site", "Work", "einsum_work"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Work:
    """What one node computes: MACs, those of them that are pointwise, and additions of a bias."""

    macs: int
    pointwise_macs: int = 0
    bias_adds: int = 0


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

    def work(self, macs: int, pointwise: bool) -> Work:
        """MACs of one kind, and one addition for each element of the output if there is a bias."""
        return Work(macs, macs if pointwise else 0, prod(self.output) if self.biased else 0)


@dataclass(frozen=True)
class Product:
    """A row: the formula, the inputs whose shapes it reads (None: all), and the bias input."""

    formula: Callable[[Site], Work]
    operands: tuple[int, ...] | None
    bias: int | None = None


def _convolution(site: Site) -> Work:
    _, (_, *taps) = site.shapes
    pointwise = prod(taps[1:]) == 1 and site.fixed[1]
    return site.work(prod(site.output) * prod(taps), pointwise)


def _transposed_convolution(site: Site) -> Work:
    x, (_, *taps) = site.shapes
    pointwise = prod(taps[1:]) == 1 and site.fixed[1]
    return site.work(prod(x) * prod(taps), pointwise)


def _gemm(site: Site) -> Work:
    rows, columns = site.shapes[0]
    inner = rows if site.node.attributes.get_int("transA", 0) else columns
    return site.work(prod(site.output) * inner, _with_a_constant(site))


def _matmul(site: Site) -> Work:
    return site.work(prod(site.output) * site.shapes[0][-1], _with_a_constant(site))


def _with_a_constant(site: Site) -> bool:
    return site.fixed.count(True) == 1


def _recurrent(site: Site) -> Work:
    x, w, r = site.shapes
    # W is (directions, gates·hidden, C_in); a gate has two biases, one beside W, one beside R.
    steps = x[0] * x[1]
    return Work(steps * (prod(w) + prod(r)), 0, steps * 2 * w[0] * w[1] if site.biased else 0)


def _attention(site: Site) -> Work:
    """Q Kᵀ, then the product with V; heads apart (N, h, L, d) or side by side (N, L, h·d)."""
    q, k, v, past = site.shapes
    keys = k[-2] + (past[-2] if past else 0)
    if len(q) == 4:
        rows, values = prod(q[:3]), v[3]
    else:
        heads = site.node.attributes.get_int
        rows, values = q[0] * q[1] * heads("q_num_heads", 1), v[2] // heads("kv_num_heads", 1)
    return Work(keys * (prod(q) + rows * values))


def _einsum(site: Site) -> Work:
    equation = site.node.attributes.get_string("equation", "")
    return einsum_work(equation, site.shapes, site.fixed)


def einsum_work(equation: str, shapes: Sequence[Shape], fixed: Sequence[bool]) -> Work:
    """The MACs of an einsum whose operands are multiplied pair by pair, from left to right.

    What only one factor of a pair has, and nothing later asks for, is summed before the product.
    One operand alone is summed and transposed: no MACs.

    >>> einsum_work("bhwc,cd->bhwd", [(2, 5, 7, 3), (3, 4)], [False, True])
    Work(macs=840, pointwise_macs=840, bias_adds=0)
    >>> einsum_work("bic,bjc->bij", [(2, 5, 3), (2, 7, 3)], [False, False])
    Work(macs=210, pointwise_macs=0, bias_adds=0)
    """
    terms, output = _labels(equation, [len(shape) for shape in shapes])
    sizes: dict[str, int] = {}
    for label, size in zip(chain(*terms), chain(*shapes), strict=True):
        sizes[label] = size if sizes.get(label, 1) == 1 else sizes[label]
    macs = pointwise = 0
    left, left_fixed = set(terms[0]), fixed[0]
    for k, right in enumerate(terms[1:], 1):
        later = set(output).union(*terms[k + 1 :])
        shared = left & set(right)
        product = prod(sizes[label] for label in shared | (later & (left | set(right))))
        macs += product
        pointwise += product if left_fixed != fixed[k] and shared - later else 0
        left, left_fixed = (left | set(right)) & later, left_fixed and fixed[k]
    return Work(macs, pointwise)


def _labels(equation: str, ranks: Sequence[int]) -> tuple[list[list[str]], list[str]]:
    """The axes of each operand and of the output by name; those under an ellipsis are -1, -2, …"""
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    terms = [_term(text, rank) for text, rank in zip(texts, ranks, strict=True)]
    hidden = [label for label in chain(*terms) if label.startswith("-")]
    if arrow:
        widest = len(set(hidden))
        return terms, _term(right, len(right.replace("...", "")) + widest)
    letters = left.replace("...", "").replace(",", "")
    return terms, [*set(hidden), *(label for label in letters if letters.count(label) == 1)]


def _term(text: str, rank: int) -> list[str]:
    before, dots, after = text.partition("...")
    hidden = rank - len(before) - len(after) if dots else 0
    return [*before, *(str(axis) for axis in range(-hidden, 0)), *after]


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
