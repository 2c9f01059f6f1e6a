"""Each formula against a sum taken by loops, at sizes that all differ."""

from __future__ import annotations

from itertools import product as positions
from math import prod

import pytest

from onebyone.counting.formulas import (
    Work,
    attention,
    convolution,
    convolution_weight,
    product,
    recurrence,
    transposed_convolution,
)


def touched(channels: tuple[int, int], kernel: tuple[int, ...], groups: int, space: int) -> int:
    """Pairs of an input and an output channel of one group, for each tap and each position."""
    width_in, width_out = channels[0] // groups, channels[1] // groups
    pairs = [(i, o) for i, o in positions(range(channels[0]), range(channels[1]))]
    inside = sum(i // width_in == o // width_out for i, o in pairs)
    return inside * prod(kernel) * space


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("kernel", [(1,), (1, 1), (3, 2), (1, 3, 1)])
def test_convolutions(groups: int, kernel: tuple[int, ...]) -> None:
    weight = convolution_weight(6, 12, kernel, groups)
    output = (2, 12, *(5, 7, 3)[: len(kernel)])
    macs = touched((6, 12), kernel, groups, 2 * prod(output[2:]))
    pointwise = macs if prod(kernel) == 1 else 0
    assert convolution(weight, output) == Work(macs, pointwise)
    assert convolution(weight, output, constant=False) == Work(macs)
    assert convolution(weight, output, biased=True).bias_adds == prod(output)
    # The transposed map takes what the other gives, with the same weight.
    x = (2, 6, *output[2:])
    assert transposed_convolution(weight, output, x) == Work(macs, pointwise)
    assert transposed_convolution(weight, output, x, biased=True).bias_adds == prod(x)


@pytest.mark.parametrize(("constants", "pointwise"), [(0, 0), (1, 120), (2, 0)])
def test_a_product_is_pointwise_with_one_constant(constants: int, pointwise: int) -> None:
    assert product((2, 5, 4), 3, constants=constants) == Work(120, pointwise)
    assert product((2, 5, 4), 3, constants=constants, biased=True).bias_adds == 40


def test_recurrence_and_attention() -> None:
    assert recurrence(7, [(4, 3), (4, 1)], [(4,), (4,)]) == Work(7 * 16, 0, 7 * 8)
    assert attention((2, 6, 5, 3), 7, 4) == Work(2 * 6 * (5 * 7 * 3 + 5 * 7 * 4))


@pytest.mark.parametrize(
    ("c_in", "c_out", "kernel", "parameters"),
    [(256, 256, 3, 590_080), (256, 64, 1, 16_448), (64, 64, 3, 36_928), (64, 256, 1, 16_640)],
)
def test_the_figures_of_a_bottleneck(c_in: int, c_out: int, kernel: int, parameters: int) -> None:
    assert prod(convolution_weight(c_in, c_out, (kernel, kernel))) + c_out == parameters
