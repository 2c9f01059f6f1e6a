"""The products of a 1×1 convolution, one by one and summed."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from onebyone.errors import UsageError
from onebyone.nn.products import pointwise_products
from tests.nn.by_hand import integers

CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


def test_each_map_is_one_input_map_times_one_number() -> None:
    x, W = integers(0, 2, 3, 5, 7), integers(1, 4, 3)
    products = pointwise_products(x, W)
    assert products.shape == (2, 4, 3, 5, 7)
    for o in range(4):
        for i in range(3):
            assert torch.equal(products[:, o, i], float(W[o, i]) * x[:, i])


@pytest.mark.parametrize("space", [(5,), (5, 7), (1, 1), (2, 5, 3)])
def test_their_sum_is_the_convolution(space: tuple[int, ...]) -> None:
    x, W = integers(0, 2, 3, *space), integers(1, 4, 3)
    weight = W.reshape(4, 3, *[1] * len(space))
    summed = pointwise_products(x, W).sum(2)
    assert torch.equal(summed, CONVOLUTIONS[len(space)](x, weight))
    assert torch.equal(summed, pointwise_products(x, weight).sum(2))


def test_without_space_it_is_the_linear_layer() -> None:
    x, W = integers(0, 2, 3), integers(1, 4, 3)
    assert torch.equal(pointwise_products(x, W).sum(2), functional.linear(x, W))


@pytest.mark.parametrize(
    ("x", "W"), [((2, 3, 5, 7), (4, 5)), ((2, 3), (4, 3, 3, 3)), ((3,), (4, 3)), ((2, 3), (3,))]
)
def test_sizes_that_do_not_fit_are_refused(x: tuple[int, ...], W: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"got x .* wanted \(N, n1, ...\) and \(n2, n1\)"):
        pointwise_products(torch.ones(x), torch.ones(W))
