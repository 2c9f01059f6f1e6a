"""An MLP on patches and network in network: one function, two layouts, equal to the bit."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from onebyone.errors import UsageError
from onebyone.nn.convert.patches import mlpconv_to_patch_mlp, patch_mlp_to_mlpconv
from onebyone.nn.mlpconv import MLPConv
from onebyone.nn.pointwise import Pointwise
from tests.nn.by_hand import ExactNorm, fill, integers

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
Norm = partial(nn.BatchNorm1d, eps=0.0)
CUTS = [
    ((7, 5), 3, 1, 0),
    ((6, 9), (3, 2), (2, 3), (1, 0)),
    ((5, 5), 5, 2, 2),
    ((3, 3), 3, 1, 0),
    ((1, 4), 1, 1, 0),
]
Pair = tuple[int, int]


def mlp(features: int) -> nn.Sequential:
    """Everything that may stand in one; the last layer is bare, the second has no bias."""
    layers = nn.Linear(features, 4), Norm(4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 5, False)
    return fill(nn.Sequential(*layers, nn.PReLU(5), nn.Linear(5, 2)))


def rows(x: Tensor, kernel: int | Pair, stride: int | Pair, padding: int | Pair) -> Tensor:
    """All patches below one another, (N·H'·W', C·K_h·K_w)."""
    return functional.unfold(x, kernel, stride=stride, padding=padding).mT.flatten(0, 1)


def taps(kernel: int | Pair) -> int:
    return kernel**2 if isinstance(kernel, int) else kernel[0] * kernel[1]


@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), CUTS)
def test_the_convolution_says_of_each_position_what_the_mlp_says_of_its_patch(
    size: Pair, kernel: int | Pair, stride: int | Pair, padding: int | Pair
) -> None:
    net = mlp(3 * taps(kernel))
    conv = patch_mlp_to_mlpconv(net, 3, kernel, stride, padding)
    x = integers(99, 2, 3, *size)
    y = conv(x)
    assert torch.equal(y.movedim(1, -1).flatten(0, 2), net(rows(x, kernel, stride, padding)))
    back = mlpconv_to_patch_mlp(conv)
    assert repr(back) == repr(net)
    state = net.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in back.state_dict().items())


def test_without_norms_of_rows_it_takes_patches_of_several_images() -> None:
    net = fill(nn.Sequential(nn.Linear(12, 4), nn.Hardtanh(), nn.Linear(4, 2)))
    x = integers(99, 2, 3, 5, 7)
    patches = functional.unfold(x, 2).mT
    assert torch.equal(patch_mlp_to_mlpconv(net, 3, 2)(x).flatten(2), net(patches).mT)


@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), CUTS)
@pytest.mark.parametrize("norm", [None, ExactNorm])
def test_network_in_network_as_an_mlp(
    norm: partial[nn.BatchNorm2d] | None,
    size: Pair,
    kernel: int | Pair,
    stride: int | Pair,
    padding: int | Pair,
) -> None:
    conv = fill(MLPConv(3, (4, 2), kernel, stride, padding, norm))
    net = mlpconv_to_patch_mlp(conv)
    assert {type(layer) for layer in net} <= {nn.Linear, nn.BatchNorm1d, nn.ReLU}
    x = integers(99, 2, 3, *size)
    assert torch.equal(net(rows(x, kernel, stride, padding)), conv(x).movedim(1, -1).flatten(0, 2))
    back = patch_mlp_to_mlpconv(net, 3, kernel, stride, padding)
    assert torch.equal(back(x), conv(x))
    assert repr(list(back)) == repr(list(conv))


def test_a_dilated_kernel_is_a_patch_with_gaps_and_further_layers_may_be_convolutions() -> None:
    conv = fill(nn.Sequential(nn.Conv2d(3, 4, 3, dilation=2), nn.Conv2d(4, 6, 1, groups=2)))
    x = integers(99, 2, 3, 7, 6)
    patches = functional.unfold(x, 3, dilation=2).mT
    assert torch.equal(mlpconv_to_patch_mlp(conv)(patches).mT, conv(x).flatten(2))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_comes_out_is_a_copy_that_is_trained_as_the_original_is(
    dtype: torch.dtype, device: str
) -> None:
    net = mlp(12).train().to(device, dtype)
    net[1].eval()
    net[0].weight.requires_grad_(False)
    net[1].bias.requires_grad_(False)
    before = copy.deepcopy(net)
    draws = torch.get_rng_state()
    conv = patch_mlp_to_mlpconv(net, 3, 2)
    back = mlpconv_to_patch_mlp(conv)
    assert torch.equal(draws, torch.get_rng_state())
    for new in (conv, back):
        assert new.training
        for ours, theirs in zip(new, net, strict=True):
            assert ours.training == theirs.training
        for ours, theirs in zip(new.parameters(), net.parameters(), strict=True):
            assert (ours.dtype, ours.device.type) == (dtype, device)
            assert ours.requires_grad == theirs.requires_grad
            assert ours.data_ptr() != theirs.data_ptr()
    with torch.no_grad():
        for value in [*conv.parameters(), *conv.buffers()]:
            value.zero_()
    state = before.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert repr(net) == repr(before)
    assert [type(layer) for layer in conv[:2]] == [nn.Conv2d, nn.BatchNorm2d]
    assert [type(layer) for layer in net[:2]] == [nn.Linear, nn.BatchNorm1d]


class Residual(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Sequential(nn.ReLU(), nn.Linear(12, 4)), r"got ReLU\(\), wanted a Linear"),
        (nn.Sequential(nn.Linear(11, 4)), "got a first layer of 11 features, wanted the 12"),
        (nn.Sequential(nn.Linear(12, 4), nn.Softmax(-1)), "got Softmax.*elementwise activation"),
        (nn.Sequential(nn.Linear(12, 4), nn.LayerNorm(4)), "got LayerNorm"),
        (nn.Sequential(nn.Linear(12, 4), nn.Sequential()), "got Sequential.*unpack nested stacks"),
        (nn.Sequential(), "got Sequential.*at least one layer"),
        (nn.Linear(12, 4), r"got Linear\(.*wanted a Sequential"),
        (Residual(nn.Linear(12, 12)), "got Residual.*wanted a Sequential"),
    ],
)
def test_what_is_no_mlp_on_patches_is_refused(net: nn.Sequential, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        patch_mlp_to_mlpconv(net, 3, 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 3)), r"got ReLU\(\), wanted a Conv2d"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)), "wanted a Conv2d with groups=1"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)), "kernel 1"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1, padding=1)), "padding"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1, stride=2)), "stride"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), Pointwise(4, 2, stride=2)), "stride"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), Pointwise(4, 2, channel_dim=2)), "channel_dim"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2)), "got MaxPool2d"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)), "got GroupNorm"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout2d()), "got Dropout2d"),
    ],
)
def test_what_is_no_network_in_network_is_refused(net: nn.Sequential, message: str) -> None:
    with pytest.raises(UsageError, match=f"(?s){message}"):
        mlpconv_to_patch_mlp(net)
