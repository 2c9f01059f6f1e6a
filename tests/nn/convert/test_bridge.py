"""Modules and the values of the algebra that they are: both applied to the same integers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.kernel import Kernel
from onebyone.errors import UsageError
from onebyone.nn.convert.bridge import (
    channel_axis,
    to_channel_map,
    to_conv,
    to_kernel,
    to_pointwise,
    transposed_taps,
)
from onebyone.nn.pointwise import Pointwise

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
# PyTorch says that it copies the input to pad it.
even = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")


def whole(module: nn.Module) -> nn.Module:
    """Parameters from -3 to 3; statistics such that √(σ² + ε) is a power of two."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randint(-3, 4, p.shape, generator=generator))
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.copy_(torch.arange(module.num_features) - 1)
            module.running_var.copy_(4.0 ** (torch.arange(module.num_features) % 3 - 1))
    return module


def image(*shape: int) -> Tensor:
    return torch.randint(-4, 5, shape, generator=torch.Generator().manual_seed(1)).float()


MAPS = [
    (nn.Linear(3, 4), (2, 5, 3)),
    (nn.Linear(3, 4, bias=False), (2, 3)),
    (Pointwise(4, 6, groups=2), (2, 4, 5, 7)),
    (Pointwise(3, 4, channel_dim=-1), (2, 5, 3)),
    (Pointwise(3, 4, channel_dim=-3), (3, 5, 7)),
    (nn.Conv1d(3, 4, 1), (2, 3, 5)),
    (nn.Conv2d(4, 6, 1, groups=2, bias=False), (2, 4, 5, 7)),
    (nn.Conv2d(3, 4, 1, padding="same", padding_mode="reflect"), (2, 3, 5, 7)),
    (nn.Conv3d(3, 4, 1, padding="valid"), (2, 3, 1, 5, 2)),
    (nn.BatchNorm1d(3, eps=0).eval(), (2, 3)),
    (nn.BatchNorm2d(3, eps=0, affine=False).eval(), (2, 3, 5, 7)),
    (nn.BatchNorm3d(3, eps=0).eval(), (2, 3, 1, 5, 2)),
]


@pytest.mark.parametrize(("module", "shape"), MAPS, ids=lambda v: type(v).__name__)
def test_a_channel_map_gives_what_the_module_gives(module, shape: tuple[int, ...]) -> None:
    f, x = to_channel_map(whole(module)), image(*shape)
    axis = channel_axis(module, len(shape) - 2)
    assert f.weight.dtype == np.float64
    assert (f.apply(x.numpy().astype(np.float64), axis) == module(x).detach().numpy()).all()


def test_a_norm_is_a_diagonal_map() -> None:
    norm = whole(nn.BatchNorm2d(3, eps=0)).eval()
    assert to_channel_map(norm).is_diagonal
    plain = to_channel_map(nn.BatchNorm2d(3, eps=0, affine=False).eval())
    assert plain.is_shift
    assert not plain.bias.any()


CONVOLUTIONS = [
    (nn.Conv1d(3, 4, 3, 2, 1), (2, 3, 7)),
    (nn.Conv2d(3, 4, (3, 2), (2, 1), (1, 2), (1, 2)), (2, 3, 5, 7)),
    (nn.Conv2d(4, 6, 3, groups=2, padding="valid", bias=False), (2, 4, 5, 7)),
    (nn.Conv2d(3, 4, (2, 4), padding="same", dilation=(1, 3)), (2, 3, 5, 7)),
    (nn.Conv2d(3, 4, 1), (2, 3, 5, 1)),
    (nn.Conv3d(3, 4, (1, 2, 3), padding=(0, 1, 1)), (2, 3, 2, 3, 5)),
    (nn.Conv2d(3, 4, 3, padding_mode="circular"), (2, 3, 5, 7)),
]


@even
@pytest.mark.parametrize(("conv", "shape"), CONVOLUTIONS, ids=str)
def test_a_kernel_gives_what_the_convolution_gives(conv, shape: tuple[int, ...]) -> None:
    kernel, x = to_kernel(whole(conv)), image(*shape)
    assert (kernel.apply(x.numpy().astype(np.float64)) == conv(x).detach().numpy()).all()


@even
@pytest.mark.parametrize(("conv", "shape"), CONVOLUTIONS, ids=str)
def test_a_kernel_becomes_a_convolution_again(conv, shape: tuple[int, ...]) -> None:
    back, x = to_conv(to_kernel(whole(conv))), image(*shape)
    assert torch.equal(back(x), conv(x))
    assert torch.equal(back.weight, conv.weight)
    assert type(back) is type(conv)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", [nn.ConvTranspose1d, nn.ConvTranspose2d])
def test_stamps_give_what_the_transposed_convolution_gives(kind, groups: int) -> None:
    conv = whole(kind(4, 6, 3, 2, padding=1, output_padding=1, groups=groups, dilation=2))
    x = image(2, 4, *(5, 7)[: conv.weight.ndim - 2])
    kernel = transposed_taps(conv)
    assert (kernel.apply(x.numpy().astype(np.float64)) == conv(x).detach().numpy()).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_module_is_made_of_the_type_and_on_the_device_wanted(dtype, device: str) -> None:
    f = ChannelMap(np.arange(12).reshape(6, 2), np.arange(6), groups=2)
    p = to_pointwise(f, -1, device=device, dtype=dtype)
    x = image(2, 5, 4).to(device, dtype)
    assert p(x).dtype == dtype
    assert (p(x).double().cpu().detach().numpy() == f.apply(x.double().cpu().numpy(), -1)).all()
    again = to_channel_map(p)
    assert (again.weight == f.weight).all()
    assert again.groups == 2
    kernel = to_kernel(to_conv(to_kernel(whole(nn.Conv2d(3, 4, 3))), device=device, dtype=dtype))
    assert kernel.bias is not None


def test_the_default_type_is_that_of_pytorch() -> None:
    p = to_pointwise(ChannelMap(np.ones((2, 3))))
    assert p.weight.dtype == torch.get_default_dtype()
    assert p.weight.requires_grad
    assert p.bias is None


def test_a_value_does_not_change_with_the_module() -> None:
    conv = whole(nn.Conv2d(3, 4, 3, dtype=torch.float64))
    kernel = to_kernel(conv)
    before = kernel.weight.copy()
    nn.init.zeros_(conv.weight)
    assert (kernel.weight == before).all()


class Scaled(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    ("convert", "module", "wanted"),
    [
        (to_channel_map, nn.Conv2d(3, 4, 3), "a 1×1 without stride"),
        (to_channel_map, nn.Conv2d(3, 4, 1, padding=1), "a 1×1 without stride"),
        (to_channel_map, nn.Conv2d(3, 4, 1, stride=2), "a 1×1 without stride"),
        (to_channel_map, Pointwise(3, 4, stride=(1, 2)), "a 1×1 without stride"),
        (to_channel_map, Scaled(3, 4, 1), "a 1×1 without stride"),
        (to_channel_map, nn.ReLU(), "a 1×1 without stride"),
        (to_channel_map, nn.BatchNorm2d(3), r"BatchNorm at inference.*call eval\(\)"),
        (
            to_channel_map,
            nn.BatchNorm2d(3, track_running_stats=False).eval(),
            "BatchNorm at inference, with running statistics",
        ),
        (to_kernel, Pointwise(3, 4), "Conv1d, Conv2d or Conv3d"),
        (to_kernel, nn.ConvTranspose2d(3, 4, 1), "Conv1d, Conv2d or Conv3d"),
        (to_kernel, Scaled(3, 4, 3), "Conv1d, Conv2d or Conv3d"),
        (to_kernel, nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), "padding with zeros"),
    ],
)
def test_what_has_no_such_value_is_refused(convert, module: nn.Module, wanted: str) -> None:
    with pytest.raises(UsageError, match=f"^got .*, wanted {wanted}"):
        convert(module)


@pytest.mark.parametrize("pads", [((0, 1),), ((2, 1),), ((-1, -1),)])
def test_zeros_that_no_padding_adds_are_refused(pads: tuple[tuple[int, int], ...]) -> None:
    kernel = Kernel(np.ones((4, 3, 3)), None, (1,), (1,), pads)
    with pytest.raises(UsageError, match=r"got zeros .* before and after, wanted as many"):
        to_conv(kernel)


def test_four_axes_are_refused() -> None:
    with pytest.raises(UsageError, match="over 4 axes, wanted 1, 2 or 3"):
        to_conv(Kernel(np.ones((4, 3, 1, 1, 1, 1)), None, (1,) * 4, (1,) * 4, ((0, 0),) * 4))
