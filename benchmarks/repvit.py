"""RepViT-M1 as it is trained: a MobileNet whose mixers are taken apart as a transformer's are.

Blocks, widths and depths of Wang et al. 2023 (arXiv:2307.09283). A block mixes positions, by a
depthwise convolution, and then channels, by two 1×1s with a residual around them. Where it strides,
a 1×1 that makes more channels stands between the two: the residual reads it, and the first 1×1.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

__all__ = ["repvit_m1"]

_WIDTHS, _DEPTHS = (48, 96, 192, 384), (3, 4, 16, 3)


class Sum(nn.Module):
    """x + f(x) for each of some branches f, all added up."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        total = x
        for branch in self.branches:
            total = branch(x) + total
        return total


class Gate(nn.Module):
    """Squeeze and excitation by a quarter of the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        few = channels // 4
        self.layers = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, few, 1), nn.ReLU(),
            nn.Conv2d(few, channels, 1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x * self.layers(x)


class Means(nn.Module):
    """The mean of two classifiers: one of them was taught by another network."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(nn.BatchNorm1d(channels), nn.Linear(channels, 1000)) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        return (self.heads[0](x) + self.heads[1](x)) / 2


def repvit_m1() -> nn.Module:
    """26 blocks; two strided convolutions before them, a pool and two classifiers behind."""
    stem = (_normed(3, 24, 3, 2), nn.GELU(), _normed(24, 48, 3, 2))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), Means(_WIDTHS[-1]))
    return nn.Sequential(*stem, *_blocks(), *head)


def _blocks() -> Iterator[nn.Module]:
    before = _WIDTHS[0]
    for width, depth in zip(_WIDTHS, _DEPTHS, strict=True):
        for k in range(depth):
            if width != before:
                yield _normed(before, before, 3, 2, before)
                yield _normed(before, width)
            else:
                yield Sum(_normed(width, width, 3, groups=width), _scaled(width))
                yield nn.BatchNorm2d(width)
                yield Gate(width) if k in _gated(width, depth) else nn.Identity()
            yield Sum(
                nn.Sequential(_normed(width, 2 * width), nn.GELU(), _normed(2 * width, width))
            )
            before = width


def _gated(width: int, depth: int) -> range:
    """Every other block that does not stride has a gate, and not the last of the long stage."""
    return range(width != _WIDTHS[0], depth - 1, 2)


def _scaled(channels: int) -> nn.Module:
    return nn.Conv2d(channels, channels, 1, groups=channels)


def _normed(c_in: int, c_out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Module:
    """A convolution and its batch normalisation."""
    convolution = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(c_out))
