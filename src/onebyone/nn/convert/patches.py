"""An MLP on patches as network in network, and back.

    mlp(patch[p]) for every patch p  =  conv(x)[:, p]          patch[p]: (C · K_h · K_w,)

The first matrix, cut into K_h × K_w pieces of C columns, is the kernel of a convolution; the others
are 1×1s. Patches are laid out as `functional.unfold` lays them out: by channel, row, column.
"""

from __future__ import annotations

from typing import cast

from torch import nn

from onebyone.errors import UsageError
from onebyone.nn.convert.parameters import filled, is_a, unfit
from onebyone.nn.convert.rows import layers_of, stack, to_positions, to_rows

__all__ = ["mlpconv_to_patch_mlp", "patch_mlp_to_mlpconv"]


def patch_mlp_to_mlpconv(
    mlp: nn.Sequential,
    in_channels: int,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
) -> nn.Sequential:
    """An MLP on the patches of an image as a convolution and 1×1s on the image (N, C, H, W).

    With `patches = functional.unfold(x, kernel_size, stride=stride, padding=padding).mT`, which are
    (N, H'·W', C·K_h·K_w), `conv(x).flatten(2) == mlp(patches).mT`; an MLP with batch norms takes
    the rows, `patches.flatten(0, 1)`.

    Args:
        mlp: a `Linear` first; then `Linear`, `BatchNorm1d` and elementwise activations.
        in_channels: C.
        kernel_size, stride, padding: how the patches are cut from the image.

    Each layer becomes one: the first a `Conv2d`, a further `Linear` a `Pointwise`, `BatchNorm1d` a
    `BatchNorm2d`, the others a copy. Parameters are copied with dtype, device and requires_grad,
    each layer keeps its training mode, and a layer that stands in two places is copied twice.

    Raises:
        UsageError: the first layer is not linear or does not take C·K_h·K_w features; a layer that
            may treat patches unlike.

    Source: Lin, Chen, Yan, "Network in Network", 2013, arXiv:1312.4400.

    >>> import torch
    >>> mlp = nn.Sequential(nn.Linear(75, 64), nn.ReLU(), nn.Linear(64, 10))
    >>> conv = patch_mlp_to_mlpconv(mlp, 3, 5, stride=2)
    >>> conv[0], conv(torch.ones(2, 3, 9, 7)).shape
    (Conv2d(3, 64, kernel_size=(5, 5), stride=(2, 2)), torch.Size([2, 10, 3, 2]))
    """
    first, *rest = layers_of(mlp)
    if not is_a(first, nn.Linear):
        raise unfit(first, "a Linear: an MLP on patches starts with one")
    linear = cast(nn.Linear, first)
    # On the meta device: sizes are checked before anything is drawn that is thrown away.
    conv = nn.Conv2d(
        in_channels,
        linear.out_features,
        kernel_size,
        stride,
        padding,
        bias=linear.bias is not None,
        device="meta",
    )
    if conv.weight[0].numel() != linear.in_features:
        raise UsageError(
            f"got a first layer of {linear.in_features} features, wanted the "
            f"{conv.weight[0].numel()} of a patch of {in_channels} channels and {conv.kernel_size} "
            "pixels: set in_channels and kernel_size to how the patches are cut"
        )
    kernel = filled(conv, linear.weight.reshape(conv.weight.shape), linear.bias, linear)
    return stack([kernel, *(to_positions(layer, 2) for layer in rest)], mlp)


def mlpconv_to_patch_mlp(mlpconv: nn.Sequential) -> nn.Sequential:
    """The way back: network in network as an MLP on rows, each a patch of C·K_h·K_w numbers.

    Cut the patches with the stride, padding and dilation of the convolution; nothing in the MLP
    tells them. Padding other than with zeros has to be done before.

    Args:
        mlpconv: an `MLPConv`, or an ungrouped `Conv2d` and then a stack of `Pointwise`,
            convolutions with kernel 1, batch norms and elementwise activations.

    Raises:
        UsageError: the first layer is not such a convolution; a further one may treat positions
            unlike, or drops some (a stride).

    >>> from onebyone.nn.mlpconv import MLPConv
    >>> mlpconv_to_patch_mlp(MLPConv(3, (64,), 5))
    Sequential(
      (0): Linear(in_features=75, out_features=64, bias=True)
      (1): ReLU()
    )
    """
    first, *rest = layers_of(mlpconv)
    conv = cast(nn.Conv2d, first)
    if not is_a(first, nn.Conv2d) or conv.groups != 1:
        raise unfit(first, "a Conv2d with groups=1: network in network starts with one")
    # A patch has its numbers channel by channel, row by row, as a kernel has its weights.
    weight = conv.weight.flatten(1)
    linear = nn.Linear(weight.shape[1], weight.shape[0], conv.bias is not None, device="meta")
    kernel = filled(linear, weight, conv.bias, conv)
    return stack([kernel, *(to_rows(layer) for layer in rest)], mlpconv)
