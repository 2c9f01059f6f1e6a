"""The second text, second half: 1×1s on channels, class maps, and what their sum is."""

from __future__ import annotations

import pytest
import torch
from pytorchcv.models.resnet import resnet50
from torch import nn

from onebyone.errors import UsageError
from onebyone.nn.class_maps import ClassMaps
from onebyone.nn.convert.linear import linear_to_flat_pointwise
from onebyone.nn.convert.tied import class_maps_to_tied_linear, tied_linear_to_class_maps
from onebyone.nn.pointwise import Pointwise

from .draw import integers, on_integers


def test_a_filter_on_rgb_adds_three_weighted_channels() -> None:
    one, image = on_integers(Pointwise(3, 1, bias=False)), integers(2, 3, 5, 7)
    red, green, blue = one.weight.flatten().tolist()
    r, g, b = image.unbind(1)
    assert torch.equal(one(image)[:, 0], red * r + green * g + blue * b)


def test_the_same_as_a_dense_layer_slid_over_single_pixels() -> None:
    one, dense, image = Pointwise(3, 1), on_integers(nn.Linear(3, 1)), integers(2, 3, 5, 7)
    one.load_state_dict(dense.state_dict())
    for i, j in torch.cartesian_prod(torch.arange(5), torch.arange(7)).tolist():
        assert torch.equal(one(image)[:, :, i, j], dense(image[:, :, i, j]))


def test_a_filter_gives_one_number_for_each_position() -> None:
    # "Per spatial dimension" would be two numbers for an image of two dimensions.
    assert Pointwise(3, 1)(integers(1, 3, 5, 7)).numel() == 5 * 7 == 35


def test_the_kernels_of_a_filter_are_summed_into_one_map() -> None:
    conv, image = on_integers(nn.Conv2d(3, 4, 3, bias=False)), integers(2, 3, 5, 7)
    maps = [nn.functional.conv2d(image[:, i : i + 1], conv.weight[:, i : i + 1]) for i in range(3)]
    assert maps[0].shape == conv(image).shape == (2, 4, 3, 5)
    assert torch.equal(conv(image), sum(maps))


def test_a_depthwise_convolution_does_not_sum() -> None:
    conv, image = on_integers(nn.Conv2d(3, 6, 3, groups=3, bias=False)), integers(2, 3, 5, 7)
    each = [
        nn.functional.conv2d(image[:, i : i + 1], conv.weight[2 * i : 2 * i + 2]) for i in range(3)
    ]
    assert torch.equal(conv(image), torch.cat(each, 1))


@pytest.mark.parametrize("outputs", [1, 2, 3, 128])
def test_depth_can_shrink_stay_and_grow(outputs: int) -> None:
    assert Pointwise(3, outputs)(integers(2, 3, 5, 7)).shape == (2, outputs, 5, 7)


def test_nearly_all_1x1s_of_resnet_50_change_the_depth() -> None:
    with torch.device("meta"):
        convolutions = [m for m in resnet50().modules() if isinstance(m, nn.Conv2d)]
    ones = [m for m in convolutions if m.kernel_size == (1, 1)]
    changing = [m for m in ones if m.in_channels != m.out_channels]
    assert (len(changing), len(ones)) == (35, 36)


def test_ten_filters_give_one_map_for_each_of_ten_digits() -> None:
    head, features = on_integers(ClassMaps(6, 10)), integers(2, 6, 5, 7)
    maps = head(features, maps=True)
    assert maps.shape == (2, 10, 5, 7)
    weight, bias = (p.flatten(1) if p.ndim > 1 else p for p in head.state_dict().values())
    expected = torch.einsum("kc,nchw->nkhw", weight, features) + bias.reshape(10, 1, 1)
    assert torch.equal(maps, expected)


def test_a_position_of_a_map_is_not_an_input_pixel() -> None:
    network = nn.Sequential(
        on_integers(nn.Conv2d(1, 6, 3, stride=2)), on_integers(Pointwise(6, 10), seed=3)
    )
    image = integers(1, 1, 28, 28)
    maps = network(image)
    assert maps.shape == (1, 10, 13, 13)  # 169 positions for 784 pixels
    other = image.clone()
    other[..., 8, 10] += 1  # one pixel, in the windows of four positions
    changed = (network(other) != maps).any(1)[0].nonzero().tolist()
    assert changed == [[3, 4], [3, 5], [4, 4], [4, 5]]


def test_class_maps_are_a_dense_layer_at_each_position() -> None:
    one, dense, features = Pointwise(6, 10), on_integers(nn.Linear(6, 10)), integers(2, 6, 5, 7)
    one.load_state_dict(dense.state_dict())
    assert torch.equal(one(features), dense(features.movedim(1, -1)).movedim(-1, 1))


def test_figures_5_and_6_show_two_constructs() -> None:
    class_maps = Pointwise(6, 10)(integers(1, 6, 28, 28))
    flattened = linear_to_flat_pointwise(nn.Linear(784, 784))(integers(1, 1, 28, 28))
    assert class_maps.shape == (1, 10, 28, 28)  # captioned figure 5, referred to as 6
    assert flattened.shape == (1, 784, 1, 1)  # captioned figure 6, referred to as 5


def test_the_sum_of_class_maps_is_a_tied_dense_layer() -> None:
    one, features = on_integers(Pointwise(6, 10)), integers(2, 6, 5, 7)
    tied = class_maps_to_tied_linear(one, (5, 7))
    assert tied.weight.shape == (10, 6 * 5 * 7)
    assert torch.equal(tied(features.flatten(1)), one(features).sum((2, 3)))
    assert torch.equal(tied.bias, 35 * one.bias)
    back = tied_linear_to_class_maps(tied, (6, 5, 7))
    assert torch.equal(back.weight.flatten(1), one.weight.flatten(1))


def test_a_dense_layer_in_general_is_no_sum_of_class_maps() -> None:
    dense, features = on_integers(nn.Linear(6 * 5 * 7, 10)), integers(2, 6, 5, 7)
    with pytest.raises(UsageError, match="tied"):
        tied_linear_to_class_maps(dense, (6, 5, 7))
    # A sum cannot tell where something is; a dense layer can.
    one, mirrored = on_integers(Pointwise(6, 10)), features.flip(3)
    assert torch.equal(one(mirrored).sum((2, 3)), one(features).sum((2, 3)))
    assert not torch.equal(dense(mirrored.flatten(1)), dense(features.flatten(1)))


def test_a_tied_layer_has_as_many_weights_less_as_there_are_positions() -> None:
    one = Pointwise(64, 10, bias=False)
    dense = nn.Linear(64 * 7 * 7, 10, bias=False)
    assert (one.weight.numel(), dense.weight.numel()) == (640, 31_360)
    assert dense.weight.numel() == 49 * one.weight.numel()


def test_the_pooled_scores_are_a_dense_layer_on_the_mean() -> None:
    head, dense, features = ClassMaps(6, 10), on_integers(nn.Linear(6, 10)), integers(2, 6, 4, 8)
    head.load_state_dict(dense.state_dict())  # 32 positions: the mean of integers is exact
    assert torch.equal(head(features), dense(features.mean((2, 3))))
    assert torch.equal(head(features), head(features, maps=True).mean((2, 3)))
