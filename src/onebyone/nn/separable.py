"""A convolution split in two: within each channel, then across channels.

    z[c, i, j] = Σ_ab K[c, a, b] · x[c, i + a, j + b]        depthwise, one K×K filter a channel
    y[o, i, j] = Σ_c W[o, c] · z[c, i, j]                    pointwise, a 1×1

K²·C_in + C_in·C_out weights in place of K²·C_in·C_out: with 3×3 and many channels a ninth.
"""

from collections import OrderedDict
from collections.abc import Callable

from torch import nn

from onebyone.errors import UsageError
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.stack import Stack, normed

__all__ = ["DepthwiseSeparable", "depthwise"]


class DepthwiseSeparable(Stack):
    """K×K depthwise, then 1×1: (N, C_in, H, W) -> (N, C_out, ⌈H/stride⌉, ⌈W/stride⌉).

    Args:
        in_channels, out_channels: C_in and C_out.
        kernel_size: K, odd; the input is padded with zeros to keep the size.
        stride: of both spatial axes, in the depthwise layer.
        dilation: of the depthwise layer.
        norm: makes a layer from a number of channels, after each convolution; None: no norms,
            convolutions have a bias.
        activation: makes an activation; after each convolution and its norm.

    Children: depthwise, bn1, act1, pointwise, bn2, act2.

    Raises:
        UsageError: sizes that do not fit; the message says which.

    Source: Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
    Applications", 2017, arXiv:1704.04861.

    >>> import torch
    >>> block = DepthwiseSeparable(32, 64, stride=2)
    >>> block(torch.ones(2, 32, 7, 9)).shape
    torch.Size([2, 64, 4, 5])
    >>> block.depthwise.weight.numel(), block.pointwise.weight.numel()
    (288, 2048)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        *,
        dilation: int = 1,
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm2d,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        # A norm subtracts the mean, and with it any bias before it.
        bias = norm is None
        children: OrderedDict[str, nn.Module] = OrderedDict(
            depthwise=depthwise(in_channels, kernel_size, stride, dilation=dilation, bias=bias),
            bn1=normed(norm, in_channels),
            act1=activation(),
            pointwise=Pointwise(in_channels, out_channels, bias),
            bn2=normed(norm, out_channels),
            act2=activation(),
        )
        super().__init__(children)


def depthwise(
    channels: int, kernel_size: int, stride: int = 1, *, dilation: int = 1, bias: bool = True
) -> nn.Conv2d:
    """One K×K filter for each channel, padded to keep the size: weight (channels, 1, K, K).

    Raises:
        UsageError: a size below one, or an even kernel_size, which has no middle.

    >>> depthwise(3, 5, stride=2)
    Conv2d(3, 3, kernel_size=(5, 5), stride=(2, 2), padding=(2, 2), groups=3)
    """
    if min(channels, kernel_size, stride, dilation) < 1 or kernel_size % 2 == 0:
        raise UsageError(
            f"got {channels} channels, kernel_size {kernel_size}, stride {stride}, dilation "
            f"{dilation}, wanted each to be at least 1 and kernel_size to be odd"
        )
    padding = dilation * (kernel_size // 2)
    return nn.Conv2d(channels, channels, kernel_size, stride, padding, dilation, channels, bias)
