"""A ResNet-50 as exporters of Keras write it: images are (N, H, W, C) between all operators.

Each convolution stands between two transposes, its bias is an addition behind them, a normalisation
is a subtraction, a product and an addition, and what a layer reads is cast to the type that it has.
Keras's ResNet-50 is the one of He et al. 2015 (arXiv:1512.03385): strides stand in the first 1×1s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["keras_resnet50"]

_WIDTHS, _DEPTHS = (64, 128, 256, 512), (3, 4, 6, 3)


class Around(nn.Module):
    """What works on (N, C, H, W), between two transposes."""

    def __init__(self, layer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(_typed(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Layer(nn.Module):
    """Convolution, its bias, a normalisation; (N, H, W, C) to (N, ⌈H/s⌉, ⌈W/s⌉, C_out)."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        convolution = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
        self.convolution = Around(convolution)
        self.bias = nn.Parameter(torch.randn(c_out) * 0.2)
        self.mean = nn.Parameter(torch.randn(c_out) * 0.2)
        self.scale = nn.Parameter(torch.empty(c_out).uniform_(0.5, 1.5))
        self.shift = nn.Parameter(torch.randn(c_out) * 0.2)

    def forward(self, x: Tensor) -> Tensor:
        x = _typed(self.convolution(x) + self.bias)
        return _typed((x - self.mean) * self.scale + self.shift)


class Bottleneck(nn.Module):
    """1×1 that strides, 3×3, 1×1 to four times the channels, a residual."""

    def __init__(self, c_in: int, width: int, stride: int, has_shortcut: bool) -> None:
        super().__init__()
        c_out = 4 * width
        self.first, self.second = Layer(c_in, width, 1, stride), Layer(width, width, 3)
        self.third = Layer(width, c_out)
        self.shortcut = Layer(c_in, c_out, 1, stride) if has_shortcut else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.third(torch.relu(self.second(torch.relu(self.first(x)))))
        return torch.relu(_typed(y) + _typed(self.shortcut(x)))


class KerasResNet(nn.Module):
    """(N, H, W, 3) to 1000 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            Layer(3, 64, 7, 2), nn.ReLU(), Around(lambda x: functional.max_pool2d(x, 3, 2, 1))
        )
        self.blocks = nn.Sequential(*_blocks())
        self.classify = nn.Linear(4 * _WIDTHS[-1], 1000)

    def forward(self, image: Tensor) -> Tensor:
        return self.classify(self.blocks(self.stem(image)).mean(dim=(1, 2)))


def _blocks() -> Iterator[nn.Module]:
    before = 64
    for width, depth in zip(_WIDTHS, _DEPTHS, strict=True):
        for k in range(depth):
            stride = 2 if k == 0 and width != _WIDTHS[0] else 1
            yield Bottleneck(before, width, stride, has_shortcut=k == 0)
            before = 4 * width


def _typed(x: Tensor) -> Tensor:
    return x.to(torch.float32)


def keras_resnet50() -> nn.Module:
    """ResNet-50 with its channels last, for 1000 classes."""
    return KerasResNet()
