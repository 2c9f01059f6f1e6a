"""Inverted residuals and squeeze-excite, against their definitions and torchvision's names."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from onebyone.errors import UsageError
from onebyone.nn.inverted import InvertedResidual, SqueezeExcite
from tests.nn.by_hand import ExactNorm, convolved, fill, integers, normalised


class Sign(nn.Module):
    """A gate with exact values, 0 or 1, in place of the sigmoid."""

    def forward(self, x: Tensor) -> Tensor:
        return (x > 0).to(x.dtype)


def excited(x: Tensor, layer: SqueezeExcite) -> Tensor:
    squeezed = convolved(x.mean((2, 3), keepdim=True), layer.fc1.weight, layer.fc1.bias).relu()
    return x * (convolved(squeezed, layer.fc2.weight, layer.fc2.bias) > 0)


def by_hand(block: InvertedResidual, x: Tensor, kernel: int, stride: int) -> Tensor:
    *up, inside, down = [part for part in block.block if isinstance(part, nn.Sequential)]
    y = x
    for layer, norm, _ in up:
        y = normalised(convolved(y, layer.weight), norm).clamp(0, 6)
    width = inside[0].weight.shape[0]
    y = convolved(y, inside[0].weight, stride=stride, padding=kernel // 2, groups=width)
    y = normalised(y, inside[1]).clamp(0, 6)
    for layer in block.block:
        y = excited(y, layer) if isinstance(layer, SqueezeExcite) else y
    y = normalised(convolved(y, down[0].weight), down[1])
    return y + x if stride == 1 and y.shape == x.shape else y


@pytest.mark.parametrize("size", [(4, 8), (1, 2), (1, 1)])
@pytest.mark.parametrize("expansion", [1, 2, 7 / 3])
@pytest.mark.parametrize(("c_out", "kernel", "stride"), [(3, 3, 1), (5, 5, 1), (3, 3, 2)])
@pytest.mark.parametrize("squeezed", [None, 2])
def test_up_within_down(
    squeezed: int | None,
    c_out: int,
    kernel: int,
    stride: int,
    expansion: float,
    size: tuple[int, int],
) -> None:
    gated = None if squeezed is None else lambda c: SqueezeExcite(c, squeezed, gate=Sign)
    block = fill(
        InvertedResidual(
            *(3, c_out, expansion, kernel, stride),
            squeeze_excite=gated,
            norm=ExactNorm,
            activation=nn.ReLU6,
        )
    )
    # All means are over a power of two of positions: exact.
    x = integers(99, 2, 3, *size)
    assert torch.equal(block(x), by_hand(block, x, kernel, stride))


@pytest.mark.parametrize(
    ("arguments", "added"), [((3, 3, 2), True), ((3, 4, 2), False), ((3, 3, 2, 3, 2), False)]
)
def test_the_input_is_added_where_it_fits(arguments: tuple[int, ...], added: bool) -> None:
    block = InvertedResidual(*arguments, norm=None)
    nn.init.zeros_(block.block[-1][0].weight)
    nn.init.zeros_(block.block[-1][0].bias)
    x = integers(99, 2, 3, 5, 8).float()
    y = block(x)
    assert torch.equal(y, x if added else torch.zeros_like(y))


def test_expansion_one_has_no_first_1x1() -> None:
    lengths = [len(InvertedResidual(6, 8, expansion).block) for expansion in (1, 1.01, 6)]
    assert lengths == [2, 2, 3]
    # In floating point 56 · (488 / 56) is below 488.
    assert InvertedResidual(56, 24, 488 / 56).block[0][0].out_channels == 488


def test_the_state_dict_is_that_of_torchvisions_mobilenet_v3() -> None:
    block = InvertedResidual(6, 8, 3, squeeze_excite=4)
    shapes = {name: tuple(p.shape) for name, p in block.named_parameters()}
    norms = {
        f"block.{place}.1.{name}": (channels,)
        for place, channels in ((0, 18), (1, 18), (3, 8))
        for name in ("weight", "bias")
    }
    assert shapes == norms | {
        "block.0.0.weight": (18, 6, 1, 1),
        "block.1.0.weight": (18, 1, 3, 3),
        "block.2.fc1.weight": (4, 18, 1, 1),
        "block.2.fc1.bias": (4,),
        "block.2.fc2.weight": (18, 4, 1, 1),
        "block.2.fc2.bias": (18,),
        "block.3.0.weight": (8, 18, 1, 1),
    }


def test_a_width_gives_this_blocks_activation_and_a_sigmoid() -> None:
    layer = InvertedResidual(6, 8, 3, squeeze_excite=4, activation=nn.SiLU).block[2]
    assert (type(layer.activation), type(layer.gate)) == (nn.SiLU, nn.Sigmoid)


@pytest.mark.parametrize("gate", [nn.Sigmoid, nn.Hardsigmoid])
def test_squeeze_excite_is_the_published_formula(gate: type[nn.Module]) -> None:
    layer = fill(SqueezeExcite(3, 2, gate=gate))
    x = integers(99, 2, 3, 4, 8)
    inside = convolved(x.mean((2, 3), keepdim=True), layer.fc1.weight, layer.fc1.bias).relu()
    scale = gate()(convolved(inside, layer.fc2.weight, layer.fc2.bias))
    assert scale.unique().numel() > 1
    assert torch.equal(layer(x), x * scale)


# pytorchcv takes functions only, no classes.
def silu() -> nn.Module:
    return nn.SiLU()


def hardswish() -> nn.Module:
    return nn.Hardswish()


def efficientnets(kernel: int, stride: int) -> tuple[nn.Module, nn.Module]:
    from pytorchcv.models.common.norm import lambda_batchnorm2d
    from pytorchcv.models.efficientnet import EffiInvResUnit

    theirs = EffiInvResUnit(8, 8, kernel, stride, 3, 4, lambda_batchnorm2d(), silu, False)
    # A quarter of the 8 input channels.
    return theirs, InvertedResidual(8, 8, 3, kernel, stride, squeeze_excite=2, activation=nn.SiLU)


def mobilenet_v3s(kernel: int, stride: int) -> tuple[nn.Module, nn.Module]:
    from pytorchcv.models.common.activ import HSigmoid
    from pytorchcv.models.mobilenetv3 import MobileNetV3Unit

    theirs = MobileNetV3Unit(8, 8, 32, stride, kernel == 3, hardswish, use_se=True)
    ours = InvertedResidual(
        *(8, 8, 4, kernel, stride),
        squeeze_excite=lambda c: SqueezeExcite(c, 8, gate=HSigmoid),
        activation=nn.Hardswish,
    )
    return theirs, ours


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("pair", [efficientnets, mobilenet_v3s])
def test_pytorchcvs_units_give_the_same(
    pair: Callable[[int, int], tuple[nn.Module, nn.Module]], kernel: int, stride: int
) -> None:
    torch.manual_seed(0)
    theirs, ours = (unit.eval() for unit in pair(kernel, stride))
    for norm in theirs.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(2, 8, 7, 5)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_narrow_types_and_layouts_give_the_same(dtype: torch.dtype) -> None:
    """At most 6·4 + 1 inside and 6 after ReLU6: all sums below 256, exact in bfloat16."""
    block = fill(InvertedResidual(3, 5, 2, stride=2, norm=None, activation=nn.ReLU6))
    x = integers(99, 2, 3, 5, 8)
    wanted = block(x).to(dtype)
    block, x = block.to(dtype), x.to(dtype)
    assert torch.equal(block(x), wanted)
    last = x.to(memory_format=torch.channels_last)
    assert torch.equal(block.to(memory_format=torch.channels_last)(last), wanted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_types_run_with_norms_and_excitation(dtype: torch.dtype) -> None:
    block = InvertedResidual(3, 3, 4, squeeze_excite=2, activation=nn.Hardswish).to(dtype)
    y = block(torch.randn(2, 3, 5, 8).to(dtype))
    assert (y.dtype, y.shape) == (dtype, (2, 3, 5, 8))
    assert y.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((3, 5, 0.1), "3 channels and expansion 0.1"),
        ((0, 5, 6), "0 channels and expansion 6"),
        ((3, 5, 6, 2), "kernel_size 2, .* kernel_size to be odd"),
        ((3, 0, 6), "18 → 0 channels"),
        ((3, 5, 6, 3, 0), "stride 0"),
    ],
)
def test_refused(arguments: tuple[float, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        InvertedResidual(*arguments)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (0, "18 → 0 channels"),
        (True, "squeeze_excite True, wanted None, the squeezed width"),
        (False, "squeeze_excite False"),
        (0.25, r"squeeze_excite 0\.25"),
    ],
)
def test_a_squeeze_to_what_is_no_width_is_refused(given: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        InvertedResidual(3, 5, 6, squeeze_excite=given)
