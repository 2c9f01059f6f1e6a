"""The inception block: four looks at one input side by side, the wide ones on few channels.

    y = [ act(W x), act(K₃ ∗ act(R₃ x)), act(K₅ ∗ act(R₅ x)), act(P · maxpool(x)) ]

W, R₃, R₅ and P are 1×1s; R₃ and R₅ reduce the channels that the 3×3 and the 5×5 would cost for.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from onebyone.errors import UsageError
from onebyone.nn.pointwise import Pointwise

__all__ = ["InceptionBlock"]

# The kernels that follow the reduction of the third branch.
_LARGE = {"5x5": (5,), "3x3+3x3": (3, 3), "3x3": (3,)}


class InceptionBlock(nn.Module):
    """Four branches, joined along the channels: (N, C_in, H, W) -> (N, C_out, H, W).

    C_out is `out_1x1 + three[1] + five[1] + out_pool`, in this order.

    Args:
        in_channels: C_in.
        out_1x1: channels of the 1×1 branch.
        three: channels of the second branch: of its 1×1 reduction, of its 3×3.
        five: channels of the third branch: of its 1×1 reduction, of its 5×5.
        out_pool: channels of the 1×1 behind the 3×3 max pool of stride 1.
        large: what the third branch does after its reduction: "5x5" (as published), "3x3+3x3"
            (the second from five[1] to five[1] channels: the same window, 18/25 of the weights if
            the numbers in `five` are equal) or "3x3" (torchvision's GoogLeNet).
        norm: makes a layer from a number of channels, after each convolution; None: no norms,
            convolutions have a bias (as first published).
        activation: makes an activation, after each convolution and its norm.

    The state dict is torchvision's: branch1.conv, branch1.bn, branch2.0.conv, …, branch4.1.bn.

    Raises:
        UsageError: a number of channels below one, an unknown `large`.

    Source: Szegedy et al., "Going Deeper with Convolutions", 2014, arXiv:1409.4842; "3x3+3x3":
    Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2015,
    arXiv:1512.00567.

    >>> block = InceptionBlock(192, 64, (96, 128), (16, 32), 32)
    >>> block(torch.ones(2, 192, 5, 7)).shape
    torch.Size([2, 256, 5, 7])
    """

    def __init__(
        self,
        in_channels: int,
        out_1x1: int,
        three: tuple[int, int],
        five: tuple[int, int],
        out_pool: int,
        *,
        large: Literal["5x5", "3x3+3x3", "3x3"] = "5x5",
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm2d,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        if large not in _LARGE:
            raise UsageError(f"got large {large!r}, wanted one of {', '.join(map(repr, _LARGE))}")
        self.out_channels = out_1x1 + three[1] + five[1] + out_pool

        unit = partial(_unit, norm=norm, activation=activation)
        first, *more = _LARGE[large]
        self.branch1 = unit(in_channels, out_1x1, 1)
        self.branch2 = nn.Sequential(unit(in_channels, three[0], 1), unit(*three, 3))
        self.branch3 = nn.Sequential(
            unit(in_channels, five[0], 1),
            unit(*five, first),
            *(unit(five[1], five[1], kernel) for kernel in more),
        )
        pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.branch4 = nn.Sequential(pool, unit(in_channels, out_pool, 1))

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C_in, H, W) -> (N, C_out, H, W)."""
        narrow, three = self.branch1(x), self.branch2(x)
        return torch.cat([narrow, three, self.branch3(x), self.branch4(x)], dim=1)


def _unit(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    norm: Callable[[int], nn.Module] | None,
    activation: Callable[[], nn.Module],
) -> nn.Sequential:
    """A convolution that keeps the size, its norm and its activation."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["conv"] = _convolution(in_channels, out_channels, kernel_size, norm is None)
    if norm is not None:
        parts["bn"] = norm(out_channels)
    parts["act"] = activation()
    return nn.Sequential(parts)


def _convolution(in_channels: int, out_channels: int, kernel_size: int, bias: bool) -> nn.Module:
    if kernel_size == 1:
        return Pointwise(in_channels, out_channels, bias)
    if min(in_channels, out_channels) < 1:
        raise UsageError(
            f"got {in_channels} → {out_channels} channels for a {kernel_size}×{kernel_size} "
            "convolution, wanted each to be at least 1"
        )
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias)
