"""The skip of a residual block where channels or stride change.

    y[n, o, i, j] = Σ_c W[o, c] · x[n, c, s·i, s·j]          W: (C_out, C_in), stride s

A residual block adds its input to what it computed, so that both must have one shape. Where they
have not, a 1×1 convolution with the block's stride brings the input to it.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from onebyone.errors import UsageError
from onebyone.nn.pointwise import Pointwise, sizes
from onebyone.nn.stack import Stack

__all__ = ["Option", "ProjectionShortcut"]

Option = Literal["A", "B", "C", "D"]


class ProjectionShortcut(Stack):
    """A skip (N, C_in, H, W) -> (N, C_out, ⌈H/stride⌉, ⌈W/stride⌉).

    Args:
        in_channels, out_channels: C_in and C_out.
        stride: of both spatial axes.
        option: A: every stride-th position, and zeros for the channels that are missing, after
            those that are there; no parameters. B: a strided 1×1 and a norm where a size changes,
            otherwise the input itself. C: always a 1×1. D: as B, but the stride is an average
            over stride×stride positions (at the border over those that exist), then a 1×1.
        norm: makes the layer after the 1×1 from a number of channels; None for no such layer.
        bias: of the 1×1; None: only where no norm follows.

    The state dict is that of torchvision's `downsample` for B and C ("0.weight", "1.weight", …);
    with D the pool is child 0, so that it begins with "1.weight". Without children (`len(skip)`
    is 0) it is the identity.

    Raises:
        UsageError: an unknown option, a size below one, A with fewer channels out than in.

    Source: A, B, C: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015,
    arXiv:1512.03385. D: He et al., "Bag of Tricks for Image Classification with Convolutional
    Neural Networks", 2018, arXiv:1812.01187.

    >>> import torch
    >>> ProjectionShortcut(64, 256, stride=2)(torch.ones(2, 64, 7, 9)).shape
    torch.Size([2, 256, 4, 5])
    >>> len(ProjectionShortcut(64, 64))
    0
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        option: Option = "B",
        *,
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm2d,
        bias: bool | None = None,
    ) -> None:
        _check(in_channels, out_channels, stride, option)
        super().__init__()
        # Equal on both sides: no layers, and the block adds its own input.
        if in_channels == out_channels and stride == 1 and option != "C":
            return
        if option == "A":
            self.append(_Padded(in_channels, out_channels, stride))
            return
        # An average first, so that no position of the input goes unread.
        if option == "D":
            self.append(_averaged(stride))
            stride = 1
        if bias is None:
            bias = norm is None
        self.append(Pointwise(in_channels, out_channels, bias, stride))
        if norm is not None:
            self.append(norm(out_channels))


def _averaged(stride: int) -> nn.Module:
    # A stride of one keeps a child in this place: the names in the state dict depend on it.
    if stride == 1:
        return nn.Identity()
    return nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False)


class _Padded(nn.Module):
    """Option A: a selection of positions, and zero channels behind those of the input."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        x = _images(x, self.in_channels)
        kept = x[:, :, :: self.stride, :: self.stride]
        # PyTorch lists the last axis first: none in space, zero channels at the end.
        return functional.pad(kept, [0, 0, 0, 0, 0, self.out_channels - self.in_channels])

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, stride={self.stride}"


def _images(x: Tensor, channels: int) -> Tensor:
    """x itself: any number of channels would be padded, and the sum may even broadcast it."""
    if x.ndim != 4 or x.shape[1] != channels:
        raise UsageError(
            f"got an input of shape {sizes(list(x.shape))}, wanted (N, {channels}, H, W): "
            "set in_channels to the channels of the input"
        )
    return x


torch.fx.wrap("_images")


def _check(in_channels: int, out_channels: int, stride: int, option: str) -> None:
    if option not in ("A", "B", "C", "D"):
        raise UsageError(f"got shortcut option {option!r}, wanted 'A', 'B', 'C' or 'D'")
    if min(in_channels, out_channels, stride) < 1:
        raise UsageError(
            f"got {in_channels} → {out_channels} channels with stride {stride}, "
            "wanted each to be at least 1"
        )
    if option == "A" and out_channels < in_channels:
        raise UsageError(
            f"got {in_channels} → {out_channels} channels with option 'A', which only adds "
            "channels, wanted at least as many out as in: use option 'B'"
        )
