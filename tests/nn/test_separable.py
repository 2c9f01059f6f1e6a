"""Depthwise then pointwise, against its definition and the one convolution it factors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from onebyone.errors import UsageError
from onebyone.nn.separable import DepthwiseSeparable
from tests.nn.by_hand import ExactNorm, convolved, fill, integers, normalised


@pytest.mark.parametrize("size", [(5, 8), (1, 7), (1, 1)])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (5, 2, 1), (3, 3, 2)])
def test_two_convolutions_each_normalised_and_activated(
    kernel: int, stride: int, dilation: int, size: tuple[int, int]
) -> None:
    block = DepthwiseSeparable(3, 5, kernel, stride, dilation=dilation, norm=ExactNorm)
    block = fill(block)
    x = integers(99, 2, 3, *size)
    where = {"stride": stride, "padding": dilation * (kernel // 2), "dilation": dilation}
    z = convolved(x, block.depthwise.weight, groups=3, **where)
    z = normalised(z, block.bn1).relu()
    assert torch.equal(block(x), normalised(convolved(z, block.pointwise.weight), block.bn2).relu())


def test_bare_it_is_one_convolution_with_a_factored_kernel() -> None:
    block = fill(DepthwiseSeparable(3, 5, norm=None, activation=nn.Identity))
    x = integers(99, 2, 3, 5, 8)
    weight = block.pointwise.weight * block.depthwise.weight.transpose(0, 1)
    bias = block.pointwise.weight.flatten(1) @ block.depthwise.bias + block.pointwise.bias
    assert torch.equal(block(x), convolved(x, weight, bias, padding=1))


def test_activations_stand_after_both() -> None:
    block = DepthwiseSeparable(3, 5, activation=nn.SiLU)
    names = [type(child).__name__ for child in block]
    assert names == ["Conv2d", "BatchNorm2d", "SiLU", "Pointwise", "BatchNorm2d", "SiLU"]
    assert (block.depthwise.bias, block.pointwise.bias) == (None, None)


def test_mobilenet_v1_of_pytorchcv_has_the_same_unit() -> None:
    from pytorchcv.models.common.conv import dwsconv3x3_block

    torch.manual_seed(0)
    theirs = dwsconv3x3_block(in_channels=6, out_channels=10, stride=2).eval()
    ours = DepthwiseSeparable(6, 10, stride=2).eval()
    for part in (theirs.dw_conv, theirs.pw_conv):
        nn.init.normal_(part.bn.running_mean)
        nn.init.uniform_(part.bn.running_var, 0.5, 1.5)
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(2, 6, 7, 5)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_types_and_layouts_give_the_same(dtype: torch.dtype) -> None:
    """At most 2·9 + 1 after the first layer, 3·19 + 1 after the second: exact in bfloat16."""
    block = fill(DepthwiseSeparable(3, 5, stride=2, norm=None))
    x = integers(99, 2, 3, 5, 8)
    wanted = block(x).to(dtype)
    block, x = block.to(dtype), x.to(dtype)
    assert torch.equal(block(x), wanted)
    last = x.to(memory_format=torch.channels_last)
    assert torch.equal(block.to(memory_format=torch.channels_last)(last), wanted)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((3, 5, 4), "kernel_size 4, .* kernel_size to be odd"),
        ((3, 5, 0), "kernel_size 0"),
        ((0, 5), "0 channels"),
        ((3, 0), "3 → 0 channels"),
        ((3, 5, 3, 0), "stride 0"),
    ],
)
def test_refused(arguments: tuple[int, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        DepthwiseSeparable(*arguments)
