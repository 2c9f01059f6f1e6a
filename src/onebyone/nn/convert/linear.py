"""A fully connected layer as a convolution, in three ways.

    y_o = Σ_{c,h,w} W[o, c, h, w] · x[c, h, w] + b_o           on an image of C×H×W

    one kernel of H×W a filter     linear_to_kernel          image (N, C, H, W) → (N, C_out, 1, 1)
    a 1×1 on the flattened image   linear_to_flat_pointwise  image (N, C, H, W) → (N, C_out, 1, 1)
    a 1×1 on the channels          linear_to_pointwise       tokens (N, L, C) → (N, L, C_out)

The numbers of W are the same in all three, only its shape differs, so the weights, the
multiply-accumulates and the outputs are equal, and each way back is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import cast

import torch
from torch import nn

from onebyone.errors import UsageError
from onebyone.nn.convert.bridge import is_padded, is_strided
from onebyone.nn.convert.parameters import CONVOLUTIONS, filled, is_a, unfit
from onebyone.nn.pointwise import Pointwise

__all__ = [
    "Convolution",
    "conv_to_pointwise",
    "empty_conv",
    "flat_pointwise_to_linear",
    "kernel_to_linear",
    "linear_to_flat_pointwise",
    "linear_to_kernel",
    "linear_to_pointwise",
    "pointwise_to_conv",
    "pointwise_to_linear",
]

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


def linear_to_kernel(linear: nn.Linear, shape: tuple[int, ...]) -> Convolution:
    """A fully connected layer on a flattened image as one convolution, a filter an output.

    `conv(x).flatten(1) == linear(x.flatten(1))` for x (N, C, H, W). On a larger image the
    convolution gives the layer's answer at each place of an H×W window. So with signals (N, C, L)
    and volumes (N, C, D, H, W).

    Args:
        linear: C·H·W → C_out.
        shape: (C, H, W) of the image that the layer was made for, (C, L) or (C, D, H, W).

    Raises:
        UsageError: the layer takes another number of features.

    Source: the first way of "Truly understanding 1x1 convolutions" (2020); Long, Shelhamer,
    Darrell, "Fully Convolutional Networks for Semantic Segmentation", 2014, arXiv:1411.4038.

    >>> conv = linear_to_kernel(nn.Linear(3 * 5 * 7, 4), (3, 5, 7))
    >>> conv
    Conv2d(3, 4, kernel_size=(5, 7), stride=(1, 1))
    >>> conv(torch.ones(2, 3, 5, 7)).shape, conv(torch.ones(2, 3, 6, 9)).shape
    (torch.Size([2, 4, 1, 1]), torch.Size([2, 4, 2, 3]))
    """
    _check_linear(linear)
    if len(shape) not in (2, 3, 4) or min(shape) < 1 or prod(shape) != linear.in_features:
        raise UsageError(
            f"got an image of shape {tuple(shape)} for a layer of {linear.in_features} features, "
            "wanted (C, H, W), or with one or three sizes, whose product that is"
        )
    # One window, the whole image: at any larger one the kernel slides.
    channels, *size = shape
    bias = linear.bias is not None
    of_rank: Callable[..., Convolution] = CONVOLUTIONS[len(size) - 1]
    conv = of_rank(channels, linear.out_features, tuple(size), bias=bias, device="meta")
    return filled(conv, linear.weight.reshape(conv.weight.shape), linear.bias, linear)


def kernel_to_linear(conv: Convolution) -> nn.Linear:
    """The way back: a convolution as the fully connected layer that it is on one window.

    `linear(x.flatten(1)) == conv(x).flatten(1)` for x (N, C, *kernel_size). The stride does not
    matter there. Groups are written out, with zeros between the blocks.

    Raises:
        UsageError: padding, or a dilation, with which it sees less or more than one window.

    >>> kernel_to_linear(nn.Conv2d(3, 4, (5, 7)))
    Linear(in_features=105, out_features=4, bias=True)
    """
    if not is_a(conv, *CONVOLUTIONS) or is_padded(conv) or _has_holes(conv):
        raise unfit(conv, "a convolution without padding and dilation")
    return _linear(conv)


def linear_to_flat_pointwise(linear: nn.Linear) -> nn.Sequential:
    """A fully connected layer as a reshape to C·H·W channels at one position, and a 1×1 there.

    `flat(x).flatten(1) == linear(x.flatten(1))` for x of shape (N, ...) with as many numbers a
    sample as the layer takes features.

    Source: the second way of "Truly understanding 1x1 convolutions" (2020).

    >>> flat = linear_to_flat_pointwise(nn.Linear(3 * 5 * 7, 4))
    >>> flat(torch.ones(2, 3, 5, 7)).shape
    torch.Size([2, 4, 1, 1])
    """
    pointwise = linear_to_pointwise(linear, channel_dim=1)
    spread = nn.Unflatten(1, (linear.in_features, 1, 1))
    return nn.Sequential(nn.Flatten(), spread, pointwise).train(linear.training)


def flat_pointwise_to_linear(flat: nn.Sequential) -> nn.Linear:
    """The way back from `linear_to_flat_pointwise`.

    Raises:
        UsageError: not a Flatten, an Unflatten to (C, 1, 1) and a Pointwise on axis 1.

    >>> flat_pointwise_to_linear(linear_to_flat_pointwise(nn.Linear(105, 4)))
    Linear(in_features=105, out_features=4, bias=True)
    """
    # By type and not `is_a`: a subclass may flatten otherwise.
    parts = list(flat)
    if [type(part) for part in parts] != [nn.Flatten, nn.Unflatten, Pointwise]:
        raise unfit(flat, "Flatten, Unflatten and Pointwise")
    flatten, unflatten, p = cast(tuple[nn.Flatten, nn.Unflatten, Pointwise], tuple(parts))
    dims = (flatten.start_dim, flatten.end_dim, unflatten.dim)
    if dims != (1, -1, 1) or tuple(unflatten.unflattened_size) != (p.in_channels, 1, 1):
        raise unfit(flat, f"all but the batch flattened and made ({p.in_channels}, 1, 1)")
    # Behind Unflatten there are four axes, so that 1 and -3 are the same one.
    if p.channel_dim not in (1, -3):
        raise unfit(flat, "a Pointwise along axis 1")
    return _linear(p)


def linear_to_pointwise(linear: nn.Linear, channel_dim: int = -1) -> Pointwise:
    """A linear layer as a 1×1, with the channels where the layer has them or along `channel_dim`.

    With the default `pointwise(x) == linear(x)` for x (..., C): tokens, vectors, NHWC images. With
    channel_dim=1 it is the same map on the channels of (N, C, ...).

    >>> linear_to_pointwise(nn.Linear(3, 4))(torch.ones(2, 5, 3)).shape
    torch.Size([2, 5, 4])
    """
    _check_linear(linear)
    bias = linear.bias is not None
    p = Pointwise(
        linear.in_features, linear.out_features, bias, channel_dim=channel_dim, device="meta"
    )
    return filled(p, linear.weight.reshape(p.weight.shape), linear.bias, linear)


def pointwise_to_linear(pointwise: Pointwise) -> nn.Linear:
    """A 1×1 as a linear layer, which acts on the last axis whatever `channel_dim` is.

    Groups are written out, with zeros between the blocks.

    Raises:
        UsageError: a stride: a linear layer keeps all positions.

    >>> pointwise_to_linear(Pointwise(4, 6, groups=2)).weight[:3, 2:].any()
    tensor(False)
    """
    if not is_a(pointwise, Pointwise) or is_strided(pointwise):
        raise unfit(pointwise, "a Pointwise with stride 1: a linear layer keeps all positions")
    return _linear(pointwise)


def pointwise_to_conv(pointwise: Pointwise, spatial_dims: int = 2) -> Convolution:
    """A 1×1 as `Conv1d`, `Conv2d` or `Conv3d`, which acts on axis 1 of (N, C, *space).

    Raises:
        UsageError: spatial_dims is not 1, 2 or 3, or not the length of the stride.

    >>> pointwise_to_conv(Pointwise(3, 4, stride=2))
    Conv2d(3, 4, kernel_size=(1, 1), stride=(2, 2))
    """
    if not is_a(pointwise, Pointwise):
        raise unfit(pointwise, "a Pointwise")
    stride = pointwise.stride
    if spatial_dims not in (1, 2, 3) or not (
        isinstance(stride, int) or len(stride) == spatial_dims
    ):
        raise UsageError(
            f"got {spatial_dims} spatial axes for {pointwise}, wanted 1, 2 or 3, as many as strides"
        )
    conv = empty_conv(pointwise, spatial_dims)
    return filled(conv, pointwise.weight.reshape(conv.weight.shape), pointwise.bias, pointwise)


def empty_conv(pointwise: Pointwise, spatial_dims: int) -> Convolution:
    """The convolution that a 1×1 is, its parameters still to be put in; strides have to fit.

    >>> empty_conv(Pointwise(3, 4, stride=2), 1).weight.is_meta
    True
    """
    return CONVOLUTIONS[spatial_dims - 1](
        pointwise.in_channels,
        pointwise.out_channels,
        1,
        pointwise.stride,  # type: ignore[arg-type]  # one, or one an axis
        groups=pointwise.groups,
        bias=pointwise.bias is not None,
        device="meta",
    )


def conv_to_pointwise(conv: Convolution) -> Pointwise:
    """A 1×1 convolution as a `Pointwise` on axis 1, with a weight of the same shape.

    Raises:
        UsageError: another kernel, or padding.

    >>> conv_to_pointwise(nn.Conv2d(4, 6, 1, stride=2, groups=2))
    Pointwise(4, 6, stride=(2, 2), groups=2)
    """
    if not is_a(conv, *CONVOLUTIONS) or set(conv.kernel_size) != {1} or is_padded(conv):
        raise unfit(conv, "a convolution with kernel 1 and without padding")
    p = Pointwise(
        conv.in_channels,
        conv.out_channels,
        conv.bias is not None,
        conv.stride,
        conv.groups,
        spatial_dims=len(conv.kernel_size),
        device="meta",
    )
    return filled(p, conv.weight, conv.bias, conv)


def _check_linear(linear: nn.Linear) -> None:
    if not is_a(linear, nn.Linear):
        raise unfit(linear, "a Linear")


def _has_holes(conv: Convolution) -> bool:
    """Whether it is dilated; an axis of one tap has nothing to dilate."""
    return any(d > 1 and k > 1 for d, k in zip(conv.dilation, conv.kernel_size, strict=True))


def _linear(source: Convolution | Pointwise) -> nn.Linear:
    """A linear layer with the weight of `source`, its groups written out."""
    # Row o of a grouped weight holds its own block alone; a linear layer has no groups.
    blocks = source.weight.flatten(1).chunk(source.groups)
    weight = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    bias = source.bias is not None
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias, device="meta")
    return filled(linear, weight, source.bias, source)
