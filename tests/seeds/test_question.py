"""The first text: how can a 1×1 convolution change the number of feature maps?"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from onebyone.nn.bottleneck import Bottleneck
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.products import pointwise_products
from onebyone.nn.rank import rank

from .draw import integers, on_integers


def test_the_top_1x1_takes_256_maps_to_64() -> None:
    top, x = on_integers(Pointwise(256, 64, bias=False)), integers(2, 256, 5, 3)
    y = top(x)
    assert y.shape == (2, 64, 5, 3)
    assert top.weight.numel() == 16_384
    for o in range(64):
        combination = sum(top.weight[o, i] * x[:, i] for i in range(256))
        assert torch.equal(y[:, o], combination)


@pytest.mark.parametrize(("n1", "n2"), [(1, 1), (1, 7), (7, 1), (5, 3), (3, 5)])
def test_n2_filters_give_n2_maps(n1: int, n2: int) -> None:
    assert Pointwise(n1, n2)(integers(2, n1, 5, 3)).shape == (2, n2, 5, 3)


def test_n1_times_n2_products_are_summed_to_n2_maps() -> None:
    p, x = on_integers(Pointwise(256, 64, bias=False)), integers(2, 256, 5, 3)
    products = pointwise_products(x, p.weight.flatten(1))
    assert products.shape == (2, 64, 256, 5, 3)
    assert products[0].flatten(0, 1).shape[0] == 16_384
    assert torch.equal(products[:, 7, 9], p.weight[7, 9] * x[:, 9])
    assert torch.equal(products.sum(2), p(x))


def test_the_block_of_the_figure_keeps_its_shape_and_adds_its_input() -> None:
    block = on_integers(Bottleneck(256, 64, 256, norm=None))
    widths = [(conv.in_channels, conv.out_channels) for conv in (block.conv1, block.conv3)]
    assert widths == [(256, 64), (64, 256)]
    assert (block.conv2.in_channels, block.conv2.out_channels) == (64, 64)
    assert sum(p.numel() for p in block.parameters()) == 70_016
    with torch.no_grad():
        for weight in (block.conv1.weight, block.conv2.weight, block.conv3.weight):
            weight.copy_(weight.sign() * (integers(*weight.shape, seed=9) == 3))
    x = integers(2, 256, 5, 3)
    between = block.conv2(block.conv1(x).relu()).relu()
    assert torch.equal(block(x), (block.conv3(between) + x).relu())


def test_a_filter_has_one_weight_for_each_input_map() -> None:
    p, x = on_integers(Pointwise(5, 3)), integers(2, 5, 4, 7)
    before = p(x)
    with torch.no_grad():
        p.weight[1, 2] += 1
    change = p(x) - before
    assert torch.equal(change[:, 1], x[:, 2])
    assert not change[:, [0, 2]].any()


def test_every_element_of_a_map_is_multiplied_by_one_scalar() -> None:
    p, x = on_integers(Pointwise(5, 3, bias=False)), integers(2, 5, 4, 7)
    for i in range(5):
        alone = torch.zeros_like(x)
        alone[:, i] = x[:, i]
        for o in range(3):
            assert torch.equal(p(alone)[:, o], p.weight[o, i].item() * x[:, i])


def test_64_maps_give_256_combinations() -> None:
    p, x = on_integers(Pointwise(64, 256, bias=False)), integers(2, 64, 5, 3)
    y = p(x)
    assert y.shape[1] == 256
    for n in range(256):
        assert torch.equal(y[:, n], sum(p.weight[n, i] * x[:, i] for i in range(64)))


def test_the_formula_of_the_answer_leaves_the_bias_out() -> None:
    p, x = on_integers(Pointwise(64, 256)), integers(2, 64, 5, 3)
    w, b = p.weight.flatten(1), p.bias.reshape(-1, 1, 1)
    assert b.any()
    combinations = torch.einsum("oi,nihw->nohw", w, x)
    assert torch.equal(p(x).relu(), (combinations + b).relu())
    assert not torch.equal(p(x).relu(), combinations.relu())


def test_the_activation_comes_after_the_sum() -> None:
    p, x = on_integers(Pointwise(5, 3, bias=False)), integers(2, 5, 4, 7)
    products = pointwise_products(x, p.weight.flatten(1))
    assert torch.equal(p(x).relu(), products.sum(2).relu())
    assert not torch.equal(p(x).relu(), products.relu().sum(2))


@pytest.mark.parametrize("outputs", [1, 63, 64, 65, 1000])
def test_any_number_of_outputs(outputs: int) -> None:
    assert Pointwise(64, outputs)(integers(1, 64, 1, 2)).shape == (1, outputs, 1, 2)


def test_outputs_beyond_64_are_combinations_of_64() -> None:
    p, x = on_integers(Pointwise(64, 256, bias=False)), integers(2, 64, 5, 3)
    with torch.no_grad():
        p.weight[:64] = torch.eye(64).reshape(64, 64, 1, 1)
    y = p(x)
    others = torch.einsum("oi,nihw->nohw", p.weight[64:].flatten(1), y[:, :64])
    assert torch.equal(y[:, 64:], others)
    found = rank(p)
    assert (found.out_channels, found.rank, found.redundant) == (256, 64, 192)


def test_a_bias_makes_the_rank_65() -> None:
    assert rank(on_integers(Pointwise(64, 256))).rank == 65


def test_a_relu_lifts_the_rank() -> None:
    layer, x = on_integers(Pointwise(64, 256)), integers(8, 64, 16, 9)
    assert rank(nn.Sequential(layer), x).rank == 65
    assert rank(nn.Sequential(layer, nn.ReLU()), x).rank == 256


def test_fewer_outputs_than_inputs_can_be_redundant_too() -> None:
    p = on_integers(Pointwise(64, 32, bias=False))
    assert rank(p).redundant == 0
    with torch.no_grad():
        p.weight[31] = p.weight[0] + p.weight[1]
    assert rank(p).redundant == 1


def test_each_output_map_has_its_own_weights() -> None:
    p, x = on_integers(Pointwise(5, 3)), integers(2, 5, 4, 7)
    before = p(x)
    with torch.no_grad():
        p.weight[1] += 1
    after = p(x)
    assert torch.equal(after[:, [0, 2]], before[:, [0, 2]])
    assert torch.equal(after[:, 1], before[:, 1] + x.sum(1))


def test_64_filters_of_256_kernels_of_one_weight() -> None:
    weight = nn.Conv2d(256, 64, 1).weight
    assert weight.shape == Pointwise(256, 64).weight.shape == (64, 256, 1, 1)
    assert len(weight) == 64  # filters, one for each output map
    assert weight.flatten(0, 1).shape == (16_384, 1, 1)  # kernels, one for each pair of maps


def test_a_1x1_filter_reaches_through_all_channels() -> None:
    p = Pointwise(256, 64)
    assert p.weight[0].shape == (256, 1, 1)
    assert p.weight[0].numel() == 256
    assert p.weight.numel() == 16_384
    assert sum(q.numel() for q in p.parameters()) == 16_448
