"""The multiply-accumulates of the operators that are made of them, from shapes alone.

    operator                   MACs                          pointwise
    convolution                |y| · C_in/g · |kernel|       all, if the kernel is 1 along each axis
    transposed convolution     |x| · C_out/g · |kernel|      all, if the kernel is 1 along each axis
    matrix product             |y| · K                       all, if one factor is constant
    recurrence                 rows · (|W| + |R|)            none
    attention                  N · h · L · S · (d + d_v)     none

|y| is the number of elements of y. Padded positions, masked positions and zero weights count as any
others: the count is that of the dense definition, as in PyTorch's `torch.utils.flop_counter`.
Which axis a constant matrix acts on is not asked: a product with a constant is a linear layer, and
a linear layer is a 1×1 convolution along that axis. An einsum is several products: `einsum`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

__all__ = [
    "KINDS",
    "Shape",
    "Work",
    "attention",
    "convolution",
    "convolution_weight",
    "product",
    "recurrence",
    "transposed_convolution",
]

Shape = tuple[int, ...]

KINDS = ("pointwise", "K×K", "depthwise", "attention", "other")
"""What a layer is; attention is any product of two activations."""


@dataclass(frozen=True)
class Work:
    """What one operator computes: MACs, those of them that are pointwise, additions of a bias.

    Its kind is one of `KINDS`, a name for the eye that no number hangs on.
    """

    macs: int
    pointwise_macs: int = 0
    bias_adds: int = 0
    kind: str = field(default="other", repr=False, compare=False)


def convolution_weight(
    in_channels: int, out_channels: int, kernel: Shape, groups: int = 1
) -> Shape:
    """The shape (C_out, C_in / groups, *kernel) of a convolution's weight; its elements are the
    parameters, and C_out more if there is a bias.

    >>> prod(convolution_weight(256, 64, (1, 1))), prod(convolution_weight(64, 64, (3, 3), 64))
    (16384, 576)
    """
    return (out_channels, in_channels // groups, *kernel)


def convolution(
    weight: Shape, output: Shape, *, constant: bool = True, biased: bool = False, groups: int = 1
) -> Work:
    """A convolution with a weight (C_out, C_in / groups, *kernel) and the result (N, C_out, …).

    `constant`: the weight does not depend on the input; else the product is one of activations.

    >>> convolution((64, 256, 1, 1), (1, 64, 5, 7), biased=True)
    Work(macs=573440, pointwise_macs=573440, bias_adds=2240)
    >>> convolution((64, 1, 3, 3), (1, 64, 5, 7))
    Work(macs=20160, pointwise_macs=0, bias_adds=0)
    """
    return _taps(weight, prod(output), constant, biased * prod(output), groups)


def transposed_convolution(
    weight: Shape,
    x: Shape,
    output: Shape,
    *,
    constant: bool = True,
    biased: bool = False,
    groups: int = 1,
) -> Work:
    """A transposed convolution of `x` (N, C_in, …), with a weight (C_in, C_out / groups, *kernel).

    >>> transposed_convolution((3, 4, 2, 2), (1, 3, 5, 7), (1, 4, 10, 14), biased=True)
    Work(macs=1680, pointwise_macs=0, bias_adds=560)
    """
    # Each input is written under every tap: the positions that count are those of x, not of y.
    return _taps(weight, prod(x), constant, biased * prod(output), groups)


def _taps(weight: Shape, positions: int, constant: bool, bias_adds: int, groups: int) -> Work:
    # An element of the positions meets one row of the weight, (C / groups)·|kernel| numbers.
    macs = positions * prod(weight[1:])
    if constant and prod(weight[2:]) == 1:
        return Work(macs, macs, bias_adds, "pointwise")
    depthwise = groups > 1 and weight[1] == 1
    return Work(macs, 0, bias_adds, "depthwise" if depthwise else "K×K")


def product(output: Shape, inner: int, *, constants: int, biased: bool = False) -> Work:
    """A product of two matrices, or of stacks of them, whose sum runs over `inner` terms.

    `constants`: how many of the two factors do not depend on the input. One: it is a linear layer.

    >>> product((2, 5, 4), 3, constants=1)
    Work(macs=120, pointwise_macs=120, bias_adds=0)
    """
    macs = prod(output) * inner
    # Two activations, an activation and a constant, two constants.
    kind = ("attention", "pointwise", "other")[constants]
    return Work(macs, macs * (constants == 1), biased * prod(output), kind)


def recurrence(rows: int, matrices: Sequence[Shape], biases: Sequence[Shape] = ()) -> Work:
    """An RNN, LSTM or GRU that applies each matrix and adds each bias once a row (step, sample).

    >>> recurrence(7 * 2, [(20, 3), (20, 5)], [(20,), (20,)])
    Work(macs=2240, pointwise_macs=0, bias_adds=560)
    """
    # Not pointwise: a step reads the state of the one before, and no matrix meets all at once.
    return Work(rows * sum(map(prod, matrices)), 0, rows * sum(map(prod, biases)))


def attention(query: Shape, keys: int, value_width: int) -> Work:
    """Q Kᵀ, then the product with V, for a query (N, h, L, d), S keys and values of width d_v.

    >>> attention((2, 6, 5, 3), 7, 4).macs == 2 * 6 * 5 * 7 * (3 + 4)
    True
    """
    # Each query meets every key, over d terms, and every value, for d_v results.
    *rows, width = query
    return Work(prod(rows) * keys * (width + value_width), kind="attention")
