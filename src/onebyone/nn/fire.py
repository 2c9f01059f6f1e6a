"""The fire block: a 1×1 squeezes the channels, a 1×1 and a 3×3 side by side expand them.

    z = act(S x),   y = [ act(E₁ z), act(E₃ ∗ z) ]        S: (squeeze, C_in), a 1×1 as is E₁

The 3×3 sees `squeeze` channels in place of C_in, and gives only a part of the outputs.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from onebyone.errors import UsageError
from onebyone.nn.pointwise import Pointwise

__all__ = ["FireBlock"]


class FireBlock(nn.Module):
    """Squeeze, then expand twice and join: (N, C_in, H, W) -> (N, expand_1x1 + expand_3x3, H, W).

    Args:
        in_channels: C_in.
        squeeze: channels between.
        expand_1x1, expand_3x3: channels of the two parts of the output, in this order.
        activation: makes an activation; called three times.

    There are no norms, as published. The state dict is torchvision's: squeeze, expand1x1,
    expand3x3, each with a bias.

    Raises:
        UsageError: a number of channels below one.

    Source: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and
    <0.5MB model size", 2016, arXiv:1602.07360.

    >>> FireBlock(96, 16, 64, 64)(torch.ones(2, 96, 5, 7)).shape
    torch.Size([2, 128, 5, 7])
    """

    def __init__(
        self,
        in_channels: int,
        squeeze: int,
        expand_1x1: int,
        expand_3x3: int,
        *,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        if min(in_channels, squeeze, expand_1x1, expand_3x3) < 1:
            raise UsageError(
                f"got {in_channels} → {squeeze} → {expand_1x1} + {expand_3x3} channels, "
                "wanted each to be at least 1"
            )
        # In the order and under the names of torchvision, which are those of its state dict.
        self.squeeze = Pointwise(in_channels, squeeze)
        self.squeeze_activation = activation()
        self.expand1x1 = Pointwise(squeeze, expand_1x1)
        self.expand1x1_activation = activation()
        self.expand3x3 = nn.Conv2d(squeeze, expand_3x3, 3, padding=1)
        self.expand3x3_activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C_in, H, W) -> (N, expand_1x1 + expand_3x3, H, W)."""
        z = self.squeeze_activation(self.squeeze(x))
        narrow = self.expand1x1_activation(self.expand1x1(z))
        wide = self.expand3x3_activation(self.expand3x3(z))
        return torch.cat([narrow, wide], dim=1)
