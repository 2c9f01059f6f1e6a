"""The bottleneck: the costly 3×3 works on few channels, two 1×1s lead there and back.

    y = act( W₃ · act( K ∗ act( W₁ x ) ) + skip(x) )     W₁: (C_mid, C_in), W₃: (C_out, C_mid)

K is 3×3 on C_mid channels; a norm follows each of the three. Without norms, biases and activations
it is one 3×3 convolution whose nine matrices W₃ K_ab W₁ have rank C_mid at most, and the skip.
"""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from onebyone.errors import UsageError
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.shortcut import Option, ProjectionShortcut
from onebyone.nn.stack import normed

__all__ = ["Bottleneck"]


class Bottleneck(nn.Module):
    """1×1 → 3×3 → 1×1 and a skip: (N, C_in, H, W) -> (N, C_out, ⌈H/stride⌉, ⌈W/stride⌉).

    Args:
        in_channels, mid_channels, out_channels: C_in, C_mid and C_out, e.g. 256, 64, 256.
        stride: of both spatial axes.
        groups: of the 3×3.
        dilation: of the 3×3, which is padded to keep the size.
        stride_in: the layer that has the stride: "conv1" (as published, v1: three of four
            positions are never read with stride 2) or "conv2" (v1.5, torchvision's).
        preactivation: norm and activation before each convolution in place of after it, and
            nothing after the sum. A skip that changes sizes then starts from the first activation
            and has no norm; the identity starts from the input.
        shortcut: option of `ProjectionShortcut`.
        norm: makes a layer from a number of channels; None: no norms, convolutions have a bias.
        activation: makes an activation; called three times.

    The state dict is torchvision's: conv1, bn1, conv2, bn2, conv3, bn3, downsample.0, downsample.1.

    Raises:
        UsageError: sizes that do not fit, an unknown option; the message says which.

    Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015,
    arXiv:1512.03385. Groups: Xie et al., "Aggregated Residual Transformations for Deep Neural
    Networks", 2016, arXiv:1611.05431. Pre-activation: He, Zhang, Ren, Sun, "Identity Mappings in
    Deep Residual Networks", 2016, arXiv:1603.05027.

    >>> import torch
    >>> Bottleneck(256, 128, 512, stride=2)(torch.ones(2, 256, 7, 9)).shape
    torch.Size([2, 512, 4, 5])
    >>> sum(p.numel() for p in Bottleneck(256, 64, 256, norm=None).parameters())
    70016
    """

    def __init__(
        self,
        in_channels: int,
        mid_channels: int,
        out_channels: int,
        stride: int = 1,
        *,
        groups: int = 1,
        dilation: int = 1,
        stride_in: Literal["conv1", "conv2"] = "conv2",
        preactivation: bool = False,
        shortcut: Option = "B",
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm2d,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        _check(mid_channels, groups, dilation, stride_in)
        self.preactivation = preactivation
        # With pre-activation it starts behind a norm, and what follows it is the next block's.
        skip = ProjectionShortcut(
            in_channels,
            out_channels,
            stride,
            shortcut,
            norm=None if preactivation else norm,
            bias=norm is None,
        )
        # A norm sees what its convolution gives, or, before it, what it takes.
        widths = [in_channels, mid_channels, mid_channels, out_channels]
        widths = widths[:3] if preactivation else widths[1:]
        norms = [normed(norm, width) for width in widths]
        bias = norm is None
        first, second = {"conv1": (stride, 1), "conv2": (1, stride)}[stride_in]
        # In the order of torchvision, which is that of its state dict.
        self.conv1 = Pointwise(in_channels, mid_channels, bias, first)
        self.bn1 = norms[0]
        self.conv2 = nn.Conv2d(
            mid_channels, mid_channels, 3, second, dilation, dilation, groups, bias
        )
        self.bn2 = norms[1]
        self.conv3 = Pointwise(mid_channels, out_channels, bias)
        self.bn3 = norms[2]
        self.act1, self.act2, self.act3 = activation(), activation(), activation()
        self.downsample = skip

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C_in, H, W) -> (N, C_out, ⌈H/stride⌉, ⌈W/stride⌉)."""
        if self.preactivation:
            return self._activated_before(x)
        return self._activated_after(x)

    def _activated_after(self, x: Tensor) -> Tensor:
        y = self.act1(self.bn1(self.conv1(x)))
        y = self.act2(self.bn2(self.conv2(y)))
        total: Tensor = self.act3(self.bn3(self.conv3(y)) + self.downsample(x))
        return total

    def _activated_before(self, x: Tensor) -> Tensor:
        first = self.act1(self.bn1(x))
        # The identity is of the input itself, so that through all blocks there is one plain sum.
        skip = self.downsample(first) if len(self.downsample) else x
        y = self.act2(self.bn2(self.conv1(first)))
        total: Tensor = self.conv3(self.act3(self.bn3(self.conv2(y)))) + skip
        return total


def _check(mid_channels: int, groups: int, dilation: int, stride_in: str) -> None:
    if stride_in not in ("conv1", "conv2"):
        raise UsageError(f"got stride_in {stride_in!r}, wanted 'conv1' or 'conv2'")
    if min(mid_channels, groups, dilation) < 1:
        raise UsageError(
            f"got {mid_channels} channels in the middle, {groups} groups, dilation {dilation}, "
            "wanted each to be at least 1"
        )
    if mid_channels % groups:
        raise UsageError(
            f"got {mid_channels} channels in the middle in {groups} groups, "
            "wanted mid_channels to be a multiple of groups"
        )
