"""The inverted residual: wide inside, narrow between blocks, and linear where it is narrow.

    y = W₂ · s( act( D ∗ act( W₁ x ) ) )  [ + x ]      W₁: (t·C_in, C_in), W₂: (C_out, t·C_in)

D is depthwise, t the expansion. The squeeze-excite s scales each channel by a number in [0, 1] that
two 1×1s compute from the mean of every channel: s(z) = z · gate( V₂ · act( V₁ · mean(z) ) ).
"""

from collections.abc import Callable

from torch import Tensor, nn

from onebyone.errors import UsageError
from onebyone.nn.mlpconv import finish
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.separable import depthwise

__all__ = ["InvertedResidual", "SqueezeExcite"]


class SqueezeExcite(nn.Module):
    """Each channel times a gate computed from the means of all: (N, C, H, W) -> the same shape.

    Args:
        channels: C.
        squeezed: channels between the two 1×1s.
        activation: makes the activation between them.
        gate: makes the activation behind them; Hardsigmoid in MobileNetV3.

    The state dict is torchvision's: fc1, fc2, both with a bias.

    Raises:
        UsageError: a size below one.

    Source: Hu, Shen, Albanie, Sun, Wu, "Squeeze-and-Excitation Networks", 2017, arXiv:1709.01507.

    >>> import torch
    >>> SqueezeExcite(16, 4)(torch.ones(2, 16, 5, 7)).shape
    torch.Size([2, 16, 5, 7])
    """

    def __init__(
        self,
        channels: int,
        squeezed: int,
        activation: Callable[[], nn.Module] = nn.ReLU,
        gate: Callable[[], nn.Module] = nn.Sigmoid,
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = Pointwise(channels, squeezed)
        self.activation = activation()
        self.fc2 = Pointwise(squeezed, channels)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> the same shape."""
        scale: Tensor = self.gate(self.fc2(self.activation(self.fc1(self.avgpool(x)))))
        return x * scale


class InvertedResidual(nn.Module):
    """1×1 up, K×K depthwise, 1×1 down: (N, C_in, H, W) -> (N, C_out, ⌈H/stride⌉, ⌈W/stride⌉).

    The input is added where the stride is 1 and C_in = C_out. Nothing follows the last norm.

    Args:
        in_channels, out_channels: C_in and C_out.
        expansion: t; round(t·C_in) channels inside, so that 88/24 gives 88 of 24. Where that is
            C_in there is no first 1×1.
        kernel_size: K, odd.
        stride: of both spatial axes, in the depthwise layer.
        squeeze_excite: None, or the squeezed width of a `SqueezeExcite` with this block's
            activation and a sigmoid after the depthwise layer (EfficientNet, where the width is a
            quarter of C_in), or what makes such a layer from the number of channels inside
            (MobileNetV3: `lambda c: SqueezeExcite(c, 24, gate=nn.Hardsigmoid)`).
        norm: makes a layer from a number of channels; None: no norms, convolutions have a bias.
        activation: makes an activation; nn.ReLU6 in MobileNetV2, nn.SiLU in EfficientNet.

    The state dict is that of torchvision's MobileNetV3 and EfficientNet blocks: block.0.0 is the
    first convolution, block.0.1 its norm, block.1.0 the second, and so on.

    Raises:
        UsageError: sizes that do not fit; the message says which.

    Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018,
    arXiv:1801.04381; Howard et al., "Searching for MobileNetV3", 2019, arXiv:1905.02244; Tan, Le,
    "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019,
    arXiv:1905.11946.

    >>> import torch
    >>> block = InvertedResidual(24, 40, 6, 5, stride=2, squeeze_excite=6, activation=nn.SiLU)
    >>> block(torch.ones(2, 24, 7, 9)).shape
    torch.Size([2, 40, 4, 5])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expansion: float,
        kernel_size: int = 3,
        stride: int = 1,
        *,
        squeeze_excite: int | Callable[[int], nn.Module] | None = None,
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm2d,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        width = _width(in_channels, expansion)
        bias = norm is None
        self.residual = stride == 1 and in_channels == out_channels
        self.block = nn.Sequential()
        if width != in_channels:
            up = Pointwise(in_channels, width, bias)
            self.block.append(nn.Sequential(up, *finish(width, norm, activation)))
        inside = depthwise(width, kernel_size, stride, bias=bias)
        self.block.append(nn.Sequential(inside, *finish(width, norm, activation)))
        if squeeze_excite is not None:
            self.block.append(_excited(width, squeeze_excite, activation))
        down = Pointwise(width, out_channels, bias)
        # No activation: where there are few channels, it would lose what they hold.
        self.block.append(nn.Sequential(down, *finish(out_channels, norm, None)))

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C_in, H, W) -> (N, C_out, ⌈H/stride⌉, ⌈W/stride⌉)."""
        y: Tensor = self.block(x)
        if self.residual:
            return y + x
        return y


def _width(in_channels: int, expansion: float) -> int:
    width = round(in_channels * expansion)
    if min(in_channels, width) < 1:
        raise UsageError(
            f"got {in_channels} channels and expansion {expansion}, wanted at least one channel "
            "before and after it"
        )
    return width


def _excited(
    width: int,
    squeeze_excite: int | Callable[[int], nn.Module],
    activation: Callable[[], nn.Module],
) -> nn.Module:
    if callable(squeeze_excite):
        return squeeze_excite(width)
    # True is an integer too, but was hardly meant as a width of one.
    if isinstance(squeeze_excite, bool) or not isinstance(squeeze_excite, int):
        raise UsageError(
            f"got squeeze_excite {squeeze_excite!r}, wanted None, the squeezed width as a number "
            "of channels, or what makes the layer from the number of channels inside"
        )
    return SqueezeExcite(width, squeeze_excite, activation)
