"""The bottleneck against its definition, its names, and pytorchcv's own blocks."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from onebyone.errors import UsageError
from onebyone.nn.bottleneck import Bottleneck
from tests.nn.by_hand import ExactNorm, convolved, fill, integers, normalised

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def by_hand(block: Bottleneck, x: Tensor, first: int, second: int, **wide: int) -> Tensor:
    """Post-activation, the projection with the stride of both."""
    y = normalised(convolved(x, block.conv1.weight, stride=first), block.bn1).relu()
    dilation = wide.get("dilation", 1)
    y = convolved(y, block.conv2.weight, stride=second, padding=dilation, **wide)
    y = normalised(y, block.bn2).relu()
    y = normalised(convolved(y, block.conv3.weight), block.bn3)
    skip = convolved(x, block.downsample[0].weight, stride=first * second)
    return (y + normalised(skip, block.downsample[1])).relu()


@pytest.mark.parametrize("size", [(5, 8), (1, 7), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("stride_in", ["conv1", "conv2"])
def test_the_sum_of_two_paths(stride_in: str, stride: int, size: tuple[int, int]) -> None:
    block = fill(Bottleneck(3, 2, 5, stride, stride_in=stride_in, norm=ExactNorm))
    x = integers(99, 2, 3, *size)
    strides = (stride, 1) if stride_in == "conv1" else (1, stride)
    assert torch.equal(block(x), by_hand(block, x, *strides))


@pytest.mark.parametrize("wide", [{"groups": 2}, {"dilation": 2}, {"groups": 4, "dilation": 3}])
def test_groups_and_dilation_are_those_of_the_3x3(wide: dict[str, int]) -> None:
    block = fill(Bottleneck(3, 4, 5, 2, norm=ExactNorm, **wide))
    x = integers(99, 2, 3, 7, 4)
    assert torch.equal(block(x), by_hand(block, x, 1, 2, **wide))


def test_the_identity_is_added_where_it_fits() -> None:
    block = fill(Bottleneck(3, 2, 3, norm=None, activation=nn.Identity))
    x = integers(99, 2, 3, 5, 8)
    y = convolved(x, block.conv1.weight, block.conv1.bias)
    y = convolved(y, block.conv2.weight, block.conv2.bias, padding=1)
    assert torch.equal(block(x), convolved(y, block.conv3.weight, block.conv3.bias) + x)


@pytest.mark.parametrize(("c_out", "stride"), [(5, 1), (5, 2), (3, 2), (3, 1)])
def test_preactivation(c_out: int, stride: int) -> None:
    block = fill(Bottleneck(3, 2, c_out, stride, preactivation=True, norm=ExactNorm))
    x = integers(99, 2, 3, 5, 8)
    first = normalised(x, block.bn1).relu()
    y = normalised(convolved(first, block.conv1.weight), block.bn2).relu()
    y = convolved(y, block.conv2.weight, stride=stride, padding=1)
    y = convolved(normalised(y, block.bn3).relu(), block.conv3.weight)
    fits = (c_out, stride) == (3, 1)
    skip = x if fits else convolved(first, block.downsample[0].weight, stride=stride)
    assert torch.equal(block(x), y + skip)
    assert [name for name in block.state_dict() if name.startswith("downsample")] == (
        [] if fits else ["downsample.0.weight"]
    )


@pytest.mark.parametrize("option", ["A", "B", "C", "D"])
@pytest.mark.parametrize("preactivation", [False, True])
def test_every_shortcut_fits_every_stride(option: str, preactivation: bool) -> None:
    for stride, h, w in product((1, 2, 3), (1, 2, 7), (1, 5, 8)):
        block = Bottleneck(3, 2, 5, stride, shortcut=option, preactivation=preactivation).eval()
        assert block(torch.ones(2, 3, h, w)).shape == (2, 5, -(-h // stride), -(-w // stride))


def test_the_seeds_bare_block_has_70016_parameters() -> None:
    block = Bottleneck(256, 64, 256, norm=None)
    layers = (block.conv1, block.conv2, block.conv3)
    counts = [sum(p.numel() for p in layer.parameters()) for layer in layers]
    assert counts == [16_448, 36_928, 16_640]
    assert sum(p.numel() for p in block.parameters()) == 70_016


def test_the_state_dict_is_torchvisions() -> None:
    state = Bottleneck(6, 4, 8, 2, groups=2).state_dict()
    wanted = []
    for layer, norm in (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")):
        wanted += [f"{layer}.weight", *(f"{norm}.{name}" for name in NORM)]
    wanted += ["downsample.0.weight", *(f"downsample.1.{name}" for name in NORM)]
    assert list(state) == wanted
    shapes = [tuple(state[f"{name}.weight"].shape) for name in ("conv1", "conv2", "downsample.0")]
    assert shapes == [(4, 6, 1, 1), (4, 2, 3, 3), (8, 6, 1, 1)]
    assert not any(name.startswith("downsample") for name in Bottleneck(6, 4, 6).state_dict())


@pytest.mark.parametrize(("c_in", "stride"), [(8, 1), (6, 1), (6, 2), (8, 2)])
def test_pytorchcvs_preactivated_unit_gives_the_same(c_in: int, stride: int) -> None:
    from pytorchcv.models.preresnet import PreResUnit

    torch.manual_seed(0)
    theirs = PreResUnit(c_in, 8, stride, bottleneck=True, conv1_stride=False).eval()
    ours = Bottleneck(c_in, 2, 8, stride, preactivation=True).eval()
    body = theirs.body
    pairs = [(ours.bn1, body.conv1.bn), (ours.bn2, body.conv2.bn), (ours.bn3, body.conv3.bn)]
    pairs += [(ours.conv1, body.conv1.conv), (ours.conv2, body.conv2.conv)]
    pairs += [(ours.conv3, body.conv3.conv)]
    if theirs.resize_identity:
        pairs.append((ours.downsample[0], theirs.identity_conv))
    for mine, other in pairs:
        if isinstance(other, nn.BatchNorm2d):
            nn.init.normal_(other.running_mean)
            nn.init.uniform_(other.running_var, 0.5, 1.5)
        mine.load_state_dict(other.state_dict())
    x = torch.randn(2, c_in, 7, 5)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_narrow_types_and_layouts_give_the_same(
    shortcut: str, dtype: torch.dtype, device: str
) -> None:
    """No sum exceeds 256, up to which bfloat16 has every integer: 4, 4·18 + 1, 2·73 + 1, + 4."""
    block = fill(Bottleneck(3, 2, 5, 2, shortcut=shortcut, norm=None))
    x = integers(99, 2, 3, 5, 8, largest=1)
    wanted = block(x).to(device, dtype)
    assert wanted.abs().max() > 1
    block, x = block.to(device, dtype), x.to(device, dtype)
    assert torch.equal(block(x), wanted)
    last = x.to(memory_format=torch.channels_last)
    assert torch.equal(block.to(memory_format=torch.channels_last)(last), wanted)


@pytest.mark.parametrize("preactivation", [False, True])
def test_every_parameter_learns(preactivation: bool) -> None:
    torch.manual_seed(0)
    block = Bottleneck(3, 4, 5, 2, preactivation=preactivation)
    block(torch.randn(2, 3, 5, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in block.parameters())


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"groups": 3}, "4 channels in the middle in 3 groups"),
        ({"groups": 0}, "0 groups, dilation 1, wanted each to be at least 1"),
        ({"dilation": 0}, "dilation 0"),
        ({"stride_in": "conv3"}, "stride_in 'conv3', wanted 'conv1' or 'conv2'"),
        ({"shortcut": "F"}, "option 'F'"),
        ({"stride": 0}, "stride 0"),
    ],
)
def test_refused(named: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Bottleneck(3, 4, 5, **named)


def test_an_input_of_another_width_is_refused() -> None:
    with pytest.raises(UsageError, match="wanted 3 channels along axis 1"):
        Bottleneck(3, 2, 5)(torch.ones(2, 4, 5, 8))
