"""The bundled demo's network: a canvas of handwritten digits in, one class feature map each out.

    canvas (N, 1, H, W) in [0, 1]  ->  maps (N, 10, ⌈H/2⌉, ⌈W/2⌉) in [0, 1]

Map d is the d-ness of each pixel: near 1 on the ink of a digit d, near 0 on the ink of the others;
on the background all ten are near 0, so that no eleventh map is needed. H and W are free.

The parts are those of well-known networks, as their authors wrote them, nothing folded by hand: a
RepVGG block in training form (Ding et al. 2021), a DenseNet transition (Huang et al. 2017), a
ShuffleNet unit (Zhang et al. 2018), ResNet blocks with a projection shortcut of stride 2 (He et
al. 2016) and SegFormer's decoder (Xie et al. 2021): a linear layer on the tokens of each scale,
bilinear upsampling, a concatenation, a 1×1 fusion and a 1×1 classifier.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, relu

CLASSES = 10
WIDTHS = (24, 40, 64, 96)
GROUPS = 4
EMBEDDING = 128


def normalised(c_in: int, c_out: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution without bias, padded to keep the size, and its batch normalisation."""
    convolution = nn.Conv2d(c_in, c_out, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(c_out))


class RepVGG(nn.Module):
    """ReLU of the sum of three branches, each normalised: 3×3, 1×1 and identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.wide = normalised(width, width, 3)
        self.point = normalised(width, width, 1)
        self.identity = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.wide(x) + self.point(x) + self.identity(x))


class Transition(nn.Sequential):
    """Between two dense blocks: normalise, ReLU, 1×1, then average 2×2 pixels."""

    def __init__(self, c_in: int, c_out: int) -> None:
        reduce = nn.Conv2d(c_in, c_out, 1, bias=False)
        super().__init__(nn.BatchNorm2d(c_in), nn.ReLU(), reduce, nn.AvgPool2d(2))


class Shuffle(nn.Module):
    """Read the channels, laid out group by group, across the groups: channel g·n + i to i·G + g."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        grouped = x.reshape(n, self.groups, c // self.groups, h, w)
        return grouped.transpose(1, 2).reshape(n, c, h, w)


class ShuffleUnit(nn.Module):
    """Grouped 1×1, channel shuffle, depthwise 3×3, grouped 1×1, and the input added."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.compress = normalised(width, width, 1, groups=groups)
        self.shuffle = Shuffle(groups)
        self.depthwise = normalised(width, width, 3, groups=width)
        self.expand = normalised(width, width, 1, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.shuffle(relu(self.compress(x)))
        return relu(x + self.expand(self.depthwise(hidden)))


class Residual(nn.Module):
    """Two 3×3 convolutions, the first of stride 2, around a projection shortcut of stride 2."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.first = normalised(c_in, c_out, 3, stride=2)
        self.second = normalised(c_out, c_out, 3)
        self.projection = normalised(c_in, c_out, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.second(relu(self.first(x))) + self.projection(x))


def upsampled(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear, to the height and width of another tensor."""
    return interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


class Decoder(nn.Module):
    """SegFormer's: four scales, coarsest last, to maps of the finest scale's size."""

    def __init__(self, widths: Sequence[int], embedding: int, classes: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Linear(width, embedding) for width in widths)
        self.fuse = normalised(len(widths) * embedding, embedding, 1)
        self.classify = nn.Conv2d(embedding, classes, 1)

    def composed(self, scales: Sequence[Tensor]) -> Tensor:
        """The logits of `forward`, for a tenth of its work: what training needs.

        Fuse weights F_i, projections P_i, upsamplings S_i: Σ F_i S_i P_i x_i = Σ S_i (F_i P_i) x_i.
        """
        fused: Tensor | None = None
        weights = self.fuse[0].weight[:, :, 0, 0].chunk(len(scales), dim=1)[::-1]
        for weight, project, x in zip(weights, self.project, scales, strict=True):
            matrix = (weight @ project.weight)[:, :, None, None]
            mapped = conv2d(x, matrix, weight @ project.bias)
            fused = mapped if fused is None else fused + upsampled(mapped, scales[0])
        return self.finish(fused)

    def forward(self, scales: Sequence[Tensor]) -> Tensor:
        """Logits (N, classes, h, w) of the size of the finest scale, as SegFormer computes them."""
        embedded = []
        for project, x in zip(self.project, scales, strict=True):
            tokens = project(x.flatten(2).transpose(1, 2))
            grid = tokens.transpose(1, 2).reshape(x.shape[0], -1, x.shape[2], x.shape[3])
            embedded.append(upsampled(grid, scales[0]))
        return self.finish(self.fuse[0](torch.cat(embedded[::-1], dim=1)))

    def finish(self, fused: Tensor) -> Tensor:
        """What follows the 1×1 fusion."""
        logits: Tensor = self.classify(relu(self.fuse[1](fused)))
        return logits


class DigitMaps(nn.Module):
    """The whole network; `logits` are the maps before the sigmoid, computed the cheaper way."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third, fourth = WIDTHS
        stem = nn.Sequential(normalised(1, first, 3, stride=2), nn.ReLU(), RepVGG(first))
        down = nn.Sequential(Transition(first, second), ShuffleUnit(second, GROUPS))
        self.stages = nn.ModuleList([stem, down, Residual(second, third), Residual(third, fourth)])
        self.decoder = Decoder(WIDTHS, EMBEDDING, CLASSES)

    def scales(self, canvas: Tensor) -> list[Tensor]:
        """The four stages' outputs, each at half the size of the one before."""
        found = [canvas]
        for stage in self.stages:
            found.append(stage(found[-1]))
        return found[1:]

    def logits(self, canvas: Tensor) -> Tensor:
        return self.decoder.composed(self.scales(canvas))

    def forward(self, canvas: Tensor) -> Tensor:
        maps: Tensor = self.decoder(self.scales(canvas))
        return maps.sigmoid()
