"""Modules as values of the algebra, and back.

    Linear, Pointwise, 1×1 convolution      y = Wx + b                       ChannelMap
    BatchNorm at inference                  y = γ(x - μ)/√(σ² + ε) + β       ChannelMap, diagonal
    Conv1d, Conv2d, Conv3d                  y = Σ_k (W_k ⊗ T_k)x + b         Kernel
    ConvTranspose1d, 2d, 3d                 y = Σ_k (V_kᵀ ⊗ T_kᵀ)x + b       TransposedKernel

The values are float64 copies; a module that is made from one gets each number rounded once.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import nn

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.kernel import Kernel
from onebyone.algebra.transposed import TransposedKernel
from onebyone.algebra.window import Window
from onebyone.errors import UsageError
from onebyone.nn.convert.parameters import (
    CONVOLUTIONS,
    TRANSPOSED,
    bias_array,
    is_a,
    loaded,
    to_array,
    unfit,
)
from onebyone.nn.pointwise import Pointwise

__all__ = [
    "NORMS",
    "Value",
    "channel_axis",
    "channel_dim",
    "is_padded",
    "is_pointwise",
    "is_strided",
    "matrix",
    "taps",
    "to_channel_map",
    "to_conv",
    "to_kernel",
    "to_pointwise",
    "transposed_taps",
    "value_of",
]

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
Pads = tuple[tuple[int, int], ...]
Value = ChannelMap | Kernel | TransposedKernel


def to_channel_map(module: nn.Module) -> ChannelMap:
    """What a module does to the channel vector at each position.

    Args:
        module: Linear, Pointwise or a convolution with kernel 1 and without padding, with stride 1
            and in any groups; or a BatchNorm in eval mode with running statistics, a diagonal.

    Raises:
        UsageError: another module, or a stride.

    >>> to_channel_map(nn.BatchNorm2d(3).eval()).is_diagonal
    True
    >>> to_channel_map(nn.Conv2d(4, 6, 1, groups=2)).dense().shape
    (6, 4)
    """
    if is_a(module, *NORMS):
        return _norm(cast(nn.BatchNorm2d, module))
    if not is_pointwise(module) or is_strided(module):
        raise unfit(module, "a 1×1 without stride and padding, Linear, or BatchNorm")
    return matrix(module)


def is_pointwise(module: nn.Module) -> bool:
    """Whether each output position sees one input position: Linear, Pointwise, 1×1 convolution.

    >>> is_pointwise(nn.Conv2d(3, 4, 1, stride=2)), is_pointwise(nn.Conv2d(3, 4, 1, padding=1))
    (True, False)
    """
    if is_a(module, *CONVOLUTIONS):
        conv = cast(Convolution, module)
        return set(conv.kernel_size) == {1} and not is_padded(conv)
    return is_a(module, nn.Linear, Pointwise)


def is_strided(module: nn.Module) -> bool:
    """Whether a module with a stride, or a Linear, leaves positions out.

    >>> is_strided(Pointwise(3, 4)), is_strided(Pointwise(3, 4, stride=(1, 2)))
    (False, True)
    """
    stride = getattr(module, "stride", 1)
    return not set(np.ravel(stride)) <= {1}


def channel_dim(module: nn.Module) -> int:
    """The channel axis of a Linear, Pointwise or convolution, by the name that the module has.

    >>> channel_dim(nn.Linear(3, 4)), channel_dim(nn.Conv2d(3, 4, 1))
    (-1, 1)
    """
    return int(getattr(module, "channel_dim", -1 if isinstance(module, nn.Linear) else 1))


def channel_axis(module: nn.Module, axes: int) -> int:
    """`channel_dim` counted from the front, in a batch with `axes` spatial axes.

    >>> channel_axis(nn.Linear(3, 4), 2), channel_axis(Pointwise(3, 4, channel_dim=-3), 2)
    (3, 1)
    """
    return channel_dim(module) % (axes + 2)


def is_padded(conv: Convolution) -> bool:
    """Whether a convolution sees anything beyond the border.

    >>> is_padded(nn.Conv2d(3, 4, 1, padding="same")), is_padded(nn.Conv2d(3, 4, 3, padding=1))
    (False, True)
    """
    return any(map(any, _pads(conv)))


def matrix(module: nn.Module) -> ChannelMap:
    """The W and b of a 1×1 (`is_pointwise`), whichever positions it keeps.

    >>> matrix(Pointwise(3, 4, stride=2)).weight.shape
    (4, 3)
    """
    weight = to_array(cast(nn.Linear, module).weight)
    groups = cast(int, getattr(module, "groups", 1))
    return ChannelMap(weight.reshape(weight.shape[:2]), bias_array(module), groups)


def _norm(norm: nn.BatchNorm2d) -> ChannelMap:
    mean, var = norm.running_mean, norm.running_var
    if norm.training or mean is None or var is None:
        raise unfit(norm, "BatchNorm at inference, with running statistics: call eval()")
    scale = 1 / np.sqrt(to_array(var) + norm.eps)
    if norm.weight is not None:
        scale = to_array(norm.weight) * scale
    shift = -scale * to_array(mean)
    if norm.bias is not None:
        shift = to_array(norm.bias) + shift
    return ChannelMap.diagonal(scale, shift)


def to_kernel(module: nn.Module) -> Kernel:
    """A convolution as a sum of shifted 1×1s; its padding, "same" too, as zeros before and after.

    Args:
        module: Conv1d, Conv2d or Conv3d, padded with zeros if at all.

    Raises:
        UsageError: another module, or another padding.

    >>> to_kernel(nn.Conv2d(3, 4, (2, 3), padding="same")).pads
    ((0, 1), (1, 1))
    """
    if not is_a(module, *CONVOLUTIONS):
        raise unfit(module, "Conv1d, Conv2d or Conv3d")
    conv = cast(Convolution, module)
    if conv.padding_mode != "zeros" and is_padded(conv):
        raise unfit(conv, "padding with zeros: pad before a convolution without padding")
    return taps(conv)


def taps(conv: Convolution) -> Kernel:
    """The convolution proper: after what is padded, unless that is zeros, which are its own.

    >>> taps(nn.Conv1d(3, 4, 3, padding=1, padding_mode="circular")).padded
    False
    """
    pads = _pads(conv)
    if conv.padding_mode != "zeros":
        pads = ((0, 0),) * len(pads)
    weight, bias = to_array(conv.weight), bias_array(conv)
    return Kernel(weight, bias, tuple(conv.stride), tuple(conv.dilation), pads, conv.groups)


def _pads(conv: Convolution) -> Pads:
    if conv.padding == "same":
        return _same(tuple(conv.kernel_size), tuple(conv.dilation))
    if conv.padding == "valid":
        return ((0, 0),) * len(conv.kernel_size)
    return tuple((p, p) for p in cast(tuple[int, ...], conv.padding))


def _same(taps: tuple[int, ...], dilation: tuple[int, ...]) -> Pads:
    """What "same" pads at stride 1, whatever the size of the axis; the odd zero is behind."""
    windows = [Window(k, dilation=d) for k, d in zip(taps, dilation, strict=True)]
    return tuple(window.same_pads(1) for window in windows)


def transposed_taps(conv: Transposed) -> TransposedKernel:
    """A transposed convolution as stamps, cropped by its padding.

    >>> transposed_taps(nn.ConvTranspose2d(3, 4, 2, stride=2)).channels
    (3, 4)
    """
    return TransposedKernel(
        to_array(conv.weight),
        bias_array(conv),
        tuple(conv.stride),
        tuple(conv.dilation),
        tuple((p, p) for p in cast(tuple[int, ...], conv.padding)),
        tuple(conv.output_padding),
        conv.groups,
    )


def value_of(layer: nn.Module) -> Value:
    """A convolution, a Pointwise or a Linear as a value, whichever kernel and padding it has.

    >>> value_of(nn.Linear(3, 4)).in_channels, value_of(nn.Conv2d(3, 4, 1)).channels
    (3, (3, 4))
    """
    if is_a(layer, nn.Linear, Pointwise):
        return matrix(layer)
    if is_a(layer, *CONVOLUTIONS):
        return taps(cast(nn.Conv2d, layer))
    if is_a(layer, *TRANSPOSED):
        return transposed_taps(cast(nn.ConvTranspose2d, layer))
    raise unfit(layer, "a convolution, a Pointwise or a Linear")


def to_pointwise(
    f: ChannelMap,
    channel_dim: int = 1,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Pointwise:
    """A channel map as a `Pointwise` along `channel_dim`, in as many groups.

    Args:
        dtype: of the parameters; None is PyTorch's default.

    Raises:
        UsageError: numbers beyond the range of dtype.

    >>> to_pointwise(ChannelMap.diagonal(np.array([2, 3])))(torch.ones(1, 2, 1, 1)).tolist()
    [[[[2.0]], [[3.0]]]]
    """
    has_bias = f.bias is not None
    p = Pointwise(f.in_channels, f.out_channels, has_bias, 1, f.groups, channel_dim, device="meta")
    return loaded(p, f.weight.reshape(p.weight.shape), f.bias, device, dtype)


def to_conv(
    kernel: Kernel,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> Convolution:
    """A kernel over one to three axes as `Conv1d`, `Conv2d` or `Conv3d`.

    Args:
        dtype: of the parameters; None is PyTorch's default.

    Raises:
        UsageError: more axes, or zeros that differ before and after other than by "same".

    >>> to_conv(to_kernel(nn.Conv2d(3, 4, (2, 3), padding="same")))
    Conv2d(3, 4, kernel_size=(2, 3), stride=(1, 1), padding=same)
    """
    axes, (c_in, c_out) = len(kernel.stride), kernel.channels
    if axes not in (1, 2, 3):
        raise UsageError(f"got {kernel} over {axes} axes, wanted 1, 2 or 3")
    conv = CONVOLUTIONS[axes - 1](
        c_in,
        c_out,
        kernel.weight.shape[2:],
        kernel.stride,  # type: ignore[arg-type]  # one entry an axis, as below
        _padding(kernel),  # type: ignore[arg-type]
        kernel.dilation,  # type: ignore[arg-type]
        kernel.groups,
        kernel.bias is not None,
        device="meta",
    )
    return loaded(conv, kernel.weight, kernel.bias, device, dtype)


def _padding(kernel: Kernel) -> str | tuple[int, ...]:
    """The zeros of a kernel as the argument that makes PyTorch add them."""
    pads = kernel.pads
    if all(before == after >= 0 for before, after in pads):
        return tuple(before for before, _ in pads)
    same = _same(kernel.weight.shape[2:], kernel.dilation)
    if pads == same and set(kernel.stride) == {1}:
        return "same"
    raise UsageError(f"got zeros {pads} before and after, wanted as many: pad before, by ZeroPad")
