"""Network in network, against an MLP that is slid over the patches of an image."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from onebyone.errors import UsageError
from onebyone.nn.mlpconv import MLPConv
from tests.nn.by_hand import ExactNorm, fill, integers, normalised


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        ((7, 5), 3, 1, 0),
        ((6, 9), (3, 2), (2, 3), (1, 0)),
        ((5, 5), 5, 2, 2),
        ((3, 3), 3, 1, 0),
        ((1, 4), 1, 1, 0),
    ],
)
@pytest.mark.parametrize("widths", [(4,), (4, 2, 5)])
def test_it_is_an_mlp_slid_over_the_patches(
    widths: tuple[int, ...],
    size: tuple[int, int],
    kernel: int | tuple[int, int],
    stride: int | tuple[int, int],
    padding: int | tuple[int, int],
) -> None:
    block = fill(MLPConv(3, widths, kernel, stride, padding))
    x = integers(99, 2, 3, *size)
    rows = functional.unfold(x, kernel, stride=stride, padding=padding).mT
    for layer in list(block)[::2]:
        rows = functional.linear(rows, layer.weight.flatten(1), layer.bias).relu()
    y = block(x)
    assert torch.equal(y.flatten(2), rows.mT)
    assert y.shape == (2, widths[-1], *block[0](x).shape[2:])


def test_each_layer_is_normalised_before_its_activation() -> None:
    block = fill(MLPConv(3, (4, 2), 3, norm=ExactNorm, activation=nn.Hardtanh))
    names = ["Conv2d", "BatchNorm2d", "Hardtanh", "Pointwise", "BatchNorm2d", "Hardtanh"]
    assert [type(layer).__name__ for layer in block] == names
    assert block[0].bias is None
    assert block[3].bias is None
    x = integers(99, 2, 3, 5, 7)
    z = normalised(block[0](x), block[1]).clamp(-1, 1)
    assert torch.equal(block(x), normalised(block[3](z), block[4]).clamp(-1, 1))


def test_the_state_dict_of_convolutions_in_a_row_fits() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.ReLU())
    block = MLPConv(3, (4, 2), 3)
    block.load_state_dict(plain.state_dict())
    plain.load_state_dict(block.state_dict())
    x = integers(99, 2, 3, 5, 7).float()
    assert torch.equal(block(x), plain(x))


def test_a_stage_of_network_in_network_from_pytorchcv_is_one() -> None:
    from pytorchcv.models.nin_cifar import nin_cifar10

    torch.manual_seed(0)
    theirs = nin_cifar10().features.stage1
    ours = MLPConv(3, (192, 160, 96), 5, padding=2)
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 6, 5)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_types_and_layouts_give_the_same(dtype: torch.dtype) -> None:
    """At most 2·27 + 1 after the first layer and 4·55 + 1 < 2⁸ after the second: exact."""
    block = fill(MLPConv(3, (4, 2), 3))
    x = integers(99, 2, 3, 5, 7)
    y = block.to(dtype)(x.to(dtype).to(memory_format=torch.channels_last))
    assert y.dtype == dtype
    assert torch.equal(y.double(), block.double()(x))


@pytest.mark.parametrize(("channels", "widths"), [(3, ()), (3, (4, 0)), (0, (4,))])
def test_sizes_that_make_no_layer_are_refused(channels: int, widths: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"got .* wanted at least one width"):
        MLPConv(channels, widths, 3)
