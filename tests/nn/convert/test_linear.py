"""A fully connected layer and the convolutions that it is: equal to the bit on small integers.

Weights and inputs are integers of at most 4, so every sum stays under 2²⁴ (2⁸ for bfloat16, 2¹¹
for float16, where sizes are kept small) and float arithmetic is exact in any order.
"""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from onebyone.errors import UsageError
from onebyone.nn.convert.linear import (
    conv_to_pointwise,
    flat_pointwise_to_linear,
    kernel_to_linear,
    linear_to_flat_pointwise,
    linear_to_kernel,
    linear_to_pointwise,
    pointwise_to_conv,
    pointwise_to_linear,
)
from onebyone.nn.pointwise import Pointwise

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
SHAPES = [(3, 5, 7), (1, 1, 1), (2, 1, 4), (5, 3, 1)]


def whole(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module, its parameters drawn from -3 to 3."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randint(-3, 4, p.shape, generator=generator))
    return module


def image(*shape: int, like: Tensor | None = None) -> Tensor:
    x = torch.randint(-4, 5, shape, generator=torch.Generator().manual_seed(1)).float()
    return x if like is None else x.to(like.device, like.dtype)


def same(a: nn.Module, b: nn.Module) -> None:
    """Two modules of one kind with equal settings, parameters, flags and mode."""
    assert repr(a) == repr(b)
    assert a.training == b.training
    for (name, p), (other, q) in zip(a.named_parameters(), b.named_parameters(), strict=True):
        assert name == other
        assert (p.dtype, p.device, p.requires_grad) == (q.dtype, q.device, q.requires_grad)
        assert torch.equal(p, q)
        assert p.data_ptr() != q.data_ptr()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_linear_is_one_kernel_of_the_size_of_the_image(shape, bias: bool) -> None:
    linear = whole(nn.Linear(torch.Size(shape).numel(), 4, bias))
    before = copy.deepcopy(linear)
    conv, x = linear_to_kernel(linear, shape), image(2, *shape)
    assert torch.equal(conv(x), linear(x.flatten(1))[:, :, None, None])
    same(kernel_to_linear(conv), linear)
    same(linear, before)


def test_on_a_larger_image_it_answers_for_each_window() -> None:
    linear = whole(nn.Linear(2 * 3 * 4, 5))
    maps, x = linear_to_kernel(linear, (2, 3, 4)), image(2, 2, 5, 9)
    y = maps(x)
    assert y.shape == (2, 5, 3, 6)
    for i in range(3):
        for j in range(6):
            window = x[:, :, i : i + 3, j : j + 4].flatten(1)
            assert torch.equal(y[:, :, i, j], linear(window))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_linear_is_a_1x1_on_the_flattened_image(shape, bias: bool) -> None:
    linear = whole(nn.Linear(torch.Size(shape).numel(), 4, bias)).eval()
    flat, x = linear_to_flat_pointwise(linear), image(2, *shape)
    assert torch.equal(flat(x), linear(x.flatten(1))[:, :, None, None])
    assert not any(module.training for module in flat.modules())
    same(flat_pointwise_to_linear(flat), linear)


@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_a_1x1_where_the_channels_come_last_and_first(bias: bool) -> None:
    linear = whole(nn.Linear(3, 4, bias))
    for shape in ((2, 3), (2, 5, 3), (2, 5, 7, 3), (3,), (0, 3)):
        x = image(*shape)
        if x.ndim > 1:
            assert torch.equal(linear_to_pointwise(linear)(x), linear(x))
    x = image(2, 3, 5, 7)
    first = linear_to_pointwise(linear, channel_dim=1)
    assert torch.equal(first(x), linear(x.movedim(1, -1)).movedim(-1, 1))
    same(pointwise_to_linear(linear_to_pointwise(linear)), linear)
    same(pointwise_to_linear(first), linear)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_1x1_is_a_convolution_over_as_many_axes_as_wanted(axes: int, groups: int) -> None:
    stride = (2, 1, 3)[:axes]
    p = whole(Pointwise(4, 6, stride=stride, groups=groups, spatial_dims=axes))
    conv, x = pointwise_to_conv(p, axes), image(2, 4, *(5, 7, 6)[:axes])
    assert torch.equal(conv(x), p(x))
    same(conv_to_pointwise(conv), p)
    same(pointwise_to_conv(conv_to_pointwise(conv), axes), conv)


def test_a_1x1_that_is_padded_or_dilated_in_name_only_is_one() -> None:
    conv = whole(nn.Conv2d(3, 4, 1, padding="same", dilation=2, padding_mode="reflect"))
    x = image(2, 3, 5, 7)
    assert torch.equal(conv_to_pointwise(conv)(x), conv(x))


def test_groups_are_written_out_as_blocks() -> None:
    p = whole(Pointwise(6, 4, groups=2, channel_dim=-1))
    x = image(2, 5, 6)
    assert torch.equal(pointwise_to_linear(p)(x), p(x))
    conv = whole(nn.Conv2d(6, 4, (3, 2), groups=2, stride=2))
    x = image(2, 6, 3, 2)
    assert torch.equal(kernel_to_linear(conv)(x.flatten(1)), conv(x).flatten(1))


@pytest.mark.parametrize("axes", [1, 3])
def test_a_kernel_over_one_or_three_axes_is_a_linear_layer_too(axes: int) -> None:
    kernel = (3, 1, 2)[:axes]
    conv = whole((nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1](2, 5, kernel))
    x = image(2, 2, *kernel)
    assert torch.equal(kernel_to_linear(conv)(x.flatten(1)), conv(x).flatten(1))


def test_the_three_forms_of_the_seed_have_equal_weights_and_work() -> None:
    """28×28 → 784: 614,656 weights and as many multiply-accumulates an image, in each form."""
    linear = whole(nn.Linear(784, 784))
    x, counts, outputs = image(2, 1, 28, 28), [], []
    forms = linear_to_kernel(linear, (1, 28, 28)), linear_to_flat_pointwise(linear)
    for form in (nn.Sequential(nn.Flatten(), linear), *forms):
        weights = sum(p.numel() for p in form.parameters() if p.ndim > 1)
        with FlopCounterMode(display=False) as counter:
            outputs.append(form(x).flatten(1))
        counts.append((weights, counter.get_total_flops() // 2 // len(x)))
    assert counts == [(614_656, 614_656)] * 3
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_type_device_gradient_flags_and_mode_are_kept(dtype: torch.dtype, device: str) -> None:
    linear = whole(nn.Linear(6, 4)).to(device, dtype).eval()
    linear.weight.requires_grad_(False)
    x = image(2, 1, 2, 3, like=linear.weight)
    for form in (linear_to_kernel(linear, (1, 2, 3)), linear_to_flat_pointwise(linear)):
        assert torch.equal(form(x).flatten(1), linear(x.flatten(1)))
        (weight, w), (bias, b) = form.named_parameters()
        assert weight.endswith("weight")
        assert bias.endswith("bias")
        assert (w.dtype, w.device.type, w.requires_grad) == (dtype, device, False)
        assert (b.dtype, b.device.type, b.requires_grad) == (dtype, device, True)
        assert not form.training
    same(kernel_to_linear(linear_to_kernel(linear, (1, 2, 3))), linear)
    same(flat_pointwise_to_linear(linear_to_flat_pointwise(linear)), linear)
    conv = pointwise_to_conv(linear_to_pointwise(linear), 1)
    same(pointwise_to_linear(conv_to_pointwise(conv)), linear)


def test_floats_of_a_full_mantissa_are_copied_to_the_bit() -> None:
    linear = nn.Linear(105, 4, dtype=torch.float64)
    same(kernel_to_linear(linear_to_kernel(linear, (3, 5, 7))), linear)


def test_a_channels_last_convolution_is_read_in_its_own_order() -> None:
    conv = whole(nn.Conv2d(3, 4, (5, 7))).to(memory_format=torch.channels_last)
    x = image(2, 3, 5, 7)
    assert torch.equal(kernel_to_linear(conv)(x.flatten(1)), conv(x).flatten(1))


@pytest.mark.parametrize(
    "shape",
    [(3, 5, 6), (105,), (1, 1, 3, 5, 7), (-3, 5, -7)],
)
def test_an_image_of_another_size_is_refused(shape) -> None:
    with pytest.raises(UsageError, match=r"for a layer of 105 features, wanted \(C, H, W\)"):
        linear_to_kernel(nn.Linear(105, 4), shape)


class Doubled(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("convert", "module"),
    [
        (kernel_to_linear, nn.Conv2d(3, 4, 3, padding=1)),
        (kernel_to_linear, nn.Conv2d(3, 4, 3, padding="same")),
        (kernel_to_linear, nn.Conv2d(3, 4, 3, dilation=2)),
        (kernel_to_linear, nn.Linear(3, 4)),
        (conv_to_pointwise, nn.Conv2d(3, 4, 3)),
        (conv_to_pointwise, nn.Conv2d(3, 4, 1, padding=1)),
        (conv_to_pointwise, Pointwise(3, 4)),
        (pointwise_to_linear, Pointwise(3, 4, stride=2)),
        (pointwise_to_linear, nn.Conv2d(3, 4, 1)),
        (pointwise_to_conv, nn.Conv2d(3, 4, 1)),
        (pointwise_to_conv, Pointwise(3, 4, stride=(1, 1, 1))),
        (linear_to_pointwise, Doubled(3, 4)),
        (linear_to_flat_pointwise, nn.Conv2d(3, 4, 1)),
        (flat_pointwise_to_linear, nn.Sequential(nn.Flatten(), nn.Linear(3, 4))),
        (
            flat_pointwise_to_linear,
            nn.Sequential(nn.Flatten(2), nn.Unflatten(1, (3, 1, 1)), Pointwise(3, 4)),
        ),
        (
            flat_pointwise_to_linear,
            nn.Sequential(nn.Flatten(), nn.Unflatten(1, (3, 2, 1)), Pointwise(3, 4)),
        ),
        (
            flat_pointwise_to_linear,
            nn.Sequential(nn.Flatten(), nn.Unflatten(1, (3, 1, 1)), Pointwise(3, 4, 1, 1, 1, 2)),
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None) or type(value).__name__,
)
def test_what_is_not_equal_is_refused_on_one_line(convert, module: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"^got .*, wanted [^\n]*$"):
        convert(module)
