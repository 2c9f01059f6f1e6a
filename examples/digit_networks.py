"""Small networks for 28×28 digits: (N, 1, 28, 28) -> scores (N, 10).

    network in network      5×5 → 1×1 → 1×1, twice, then 3×3 → 1×1 → 1×1, and ten class maps
    stack of K×K blocks     3×3, then four blocks: plain 3×3s, depthwise-separable, bottlenecks

Both end as Lin, Chen and Yan's does: a 1×1 makes one map for each class, and its mean is the score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from onebyone.nn.bottleneck import Bottleneck
from onebyone.nn.class_maps import ClassMaps
from onebyone.nn.mlpconv import MLPConv
from onebyone.nn.separable import DepthwiseSeparable

CLASSES = 10
# What a bottleneck's K×K sees: a third of a residual block's channels, half of an MLP
# convolution's, which has no shortcut around it.
THIRD, HALF = 3, 2

# (C_in, C_out, kernel, padding) or (C_in, C_out, stride) -> the layer
MLP = Callable[[int, Sequence[int], int], nn.Module]
Block = Callable[[int, int, int], nn.Module]


def mlp(in_channels: int, widths: Sequence[int], kernel: int) -> nn.Module:
    """K×K, then 1×1s, each normalised and rectified; keeps the size."""
    return MLPConv(in_channels, widths, kernel, padding=kernel // 2, norm=nn.BatchNorm2d)


def narrow_mlp(in_channels: int, widths: Sequence[int], kernel: int) -> nn.Module:
    """The same through a bottleneck: 1×1 down, K×K, 1×1 up and on; a lone channel stays."""
    if in_channels == 1:
        return mlp(in_channels, widths, kernel)
    narrow = mlp(in_channels, [in_channels // HALF], 1)
    return nn.Sequential(narrow, mlp(in_channels // HALF, [widths[0] // HALF, *widths[1:]], kernel))


def network_in_network(layer: MLP = mlp) -> nn.Sequential:
    """Three MLP convolutions, pooled between, and a map for each class."""
    return nn.Sequential(
        layer(1, (24, 24, 24), 5),
        nn.MaxPool2d(2),
        layer(24, (48, 32, 32), 5),
        nn.MaxPool2d(2),
        layer(32, (64, 64, 48), 3),
        ClassMaps(48, CLASSES),
    )


def plain(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """A 3×3, normalised and rectified."""
    convolution = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU())


def separable(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """3×3 on each channel, then 1×1."""
    return DepthwiseSeparable(in_channels, out_channels, 3, stride)


def bottleneck(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """1×1 to a third of the channels, 3×3, 1×1 back, and a shortcut."""
    return Bottleneck(in_channels, out_channels // THIRD, out_channels, stride)


def stack(block: Block) -> nn.Sequential:
    """A 3×3 and four blocks, at 28×28, 14×14 and 7×7, and a map for each class."""
    return nn.Sequential(
        plain(1, 24, 1),
        block(24, 48, 2),
        block(48, 48, 1),
        block(48, 96, 2),
        block(96, 96, 1),
        ClassMaps(96, CLASSES),
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "network in network": network_in_network,
    "network in network, bottlenecks": lambda: network_in_network(narrow_mlp),
    "3×3 convolutions": lambda: stack(plain),
    "3×3 convolutions, bottlenecks": lambda: stack(bottleneck),
    "depthwise separable": lambda: stack(separable),
}
