"""Detectors: YOLOv8 and YOLO11, both of size n, defined here; RT-DETR and D-FINE of `transformers`.

Blocks, widths and depths of the YOLOs are those of Ultralytics' model files (yolov8.yaml,
yolo11.yaml), of the others those that their configurations have unless told. The boxes of a YOLO
are read from distributions (Li et al. 2020, arXiv:2006.04388): a softmax over sixteen distances for
each side, along a middle axis, and a 1×1 that takes the mean.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from networks import silu_unit
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Yolo", "d_fine", "rt_detr", "yolo11", "yolov8"]

_CLASSES, _BINS = 80, 16
_PYRAMID = (64, 128, 256)

# ---------------------------------------------------------------- blocks


class Pair(nn.Module):
    """Two 3×3s with a residual around them, or without."""

    def __init__(self, channels: int, hidden: int, *, is_residual: bool = True) -> None:
        super().__init__()
        self.layers = nn.Sequential(silu_unit(channels, hidden, 3), silu_unit(hidden, channels, 3))
        self.is_residual = is_residual

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.is_residual else self.layers(x)


class Parted(nn.Module):
    """C2f: half of a 1×1's channels go through blocks; all that they made is concatenated.

    `block` makes one of so many channels; `hidden` are these, half of the result's unless given.
    """

    def __init__(
        self, c_in: int, c_out: int, block: Callable[[int], nn.Module], count: int = 1,
        hidden: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        half = hidden or c_out // 2
        self.first, self.last = silu_unit(c_in, 2 * half), silu_unit((2 + count) * half, c_out)
        self.blocks = nn.ModuleList(block(half) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.first(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(block(parts[-1]))
        return self.last(torch.cat(parts, 1))


class Crossed(nn.Module):
    """C3 of half the width, with two pairs of 3×3s."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.through, self.around = silu_unit(channels, half), silu_unit(channels, half)
        self.blocks = nn.Sequential(Pair(half, half), Pair(half, half))
        self.join = silu_unit(2 * half, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(torch.cat([self.blocks(self.through(x)), self.around(x)], 1))


class Pooled(nn.Module):
    """SPPF: one 5×5 max pool applied three times, all concatenated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.first, self.last = silu_unit(channels, half), silu_unit(4 * half, channels)

    def forward(self, x: Tensor) -> Tensor:
        parts = [self.first(x)]
        for _ in range(3):
            parts.append(functional.max_pool2d(parts[-1], 5, 1, 2))
        return self.last(torch.cat(parts, 1))


class Attention(nn.Module):
    """Attention between positions, in heads of 64 channels with keys of 32; x + f(x)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = channels // 64
        self.packed = _normed(channels, 2 * channels)
        self.places = _normed(channels, channels, 3, channels)
        self.project = _normed(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        packed = self.packed(x).view(batch, self.heads, 128, height * width)
        query, key, value = packed.split([32, 32, 64], dim=2)
        weights = (query.transpose(-2, -1) @ key * 32**-0.5).softmax(dim=-1)
        read = (value @ weights.transpose(-2, -1)).view(batch, channels, height, width)
        return x + self.project(read + self.places(value.reshape(batch, channels, height, width)))


class Attended(nn.Module):
    """C2PSA: half of the channels go through attention and an MLP of 1×1s."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.first, self.last = silu_unit(channels, channels), silu_unit(channels, channels)
        self.attention = Attention(half)
        self.mlp = nn.Sequential(silu_unit(half, 2 * half), _normed(2 * half, half))

    def forward(self, x: Tensor) -> Tensor:
        kept, read = self.first(x).chunk(2, 1)
        read = self.attention(read)
        return self.last(torch.cat([kept, read + self.mlp(read)], 1))


def _normed(c_in: int, c_out: int, kernel: int = 1, groups: int = 1) -> nn.Module:
    convolution = nn.Conv2d(c_in, c_out, kernel, 1, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(c_out))


# ---------------------------------------------------------------- the head


class Boxes(nn.Module):
    """Boxes (N, 4, A) in pixels and scores (N, classes, A) of all positions of three maps."""

    def __init__(self, scored: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.sides = nn.ModuleList(
            nn.Sequential(silu_unit(c, 64, 3), silu_unit(64, 64, 3), nn.Conv2d(64, 4 * _BINS, 1))
            for c in _PYRAMID
        )
        self.scores = nn.ModuleList(scored(c, _CLASSES) for c in _PYRAMID)
        self.mean = nn.Conv2d(_BINS, 1, 1, bias=False)
        self.mean.weight.data = torch.arange(_BINS, dtype=torch.float32).view(1, _BINS, 1, 1)

    def forward(self, *maps: Tensor) -> Tensor:
        sides = _flat([layer(x) for layer, x in zip(self.sides, maps, strict=True)])
        scores = _flat([layer(x) for layer, x in zip(self.scores, maps, strict=True)])
        batch, _, places = sides.shape
        drawn = sides.view(batch, 4, _BINS, places).transpose(2, 1).softmax(1)
        before, behind = self.mean(drawn).view(batch, 4, places).chunk(2, 1)
        centres, strides = _grid(maps)
        middle, size = centres + (behind - before) / 2, before + behind
        return torch.cat([torch.cat([middle, size], 1) * strides, scores.sigmoid()], 1)


def _flat(maps: Sequence[Tensor]) -> Tensor:
    return torch.cat([x.flatten(2) for x in maps], 2)


def _grid(maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The positions' middles (2, A) in their own map, and their strides (1, A)."""
    centres, strides = [], []
    for x, stride in zip(maps, (8.0, 16.0, 32.0), strict=True):
        rows, columns = (torch.arange(n, dtype=x.dtype) + 0.5 for n in x.shape[2:])
        grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy")).flatten(1)
        centres.append(grid)
        strides.append(torch.full_like(grid[:1], stride))
    return torch.cat(centres, 1), torch.cat(strides, 1)


def _scored_plain(c_in: int, classes: int) -> nn.Module:
    layers = silu_unit(c_in, classes, 3), silu_unit(classes, classes, 3)
    return nn.Sequential(*layers, nn.Conv2d(classes, classes, 1))


def _scored_apart(c_in: int, classes: int) -> nn.Module:
    """Each 3×3 as a depthwise one and a 1×1."""
    layers = ((_depthwise(c), silu_unit(c, classes)) for c in (c_in, classes))
    return nn.Sequential(*(x for pair in layers for x in pair), nn.Conv2d(classes, classes, 1))


def _depthwise(channels: int) -> nn.Module:
    return nn.Sequential(_normed(channels, channels, 3, channels), nn.SiLU())


# ---------------------------------------------------------------- whole networks


class Yolo(nn.Module):
    """A backbone that gives maps at strides 8, 16, 32; a neck down and up again; the head.

    `merges` are the four blocks of the neck, in the order in which they are applied.
    """

    def __init__(
        self, stages: Sequence[nn.Module], merges: Sequence[nn.Module], head: nn.Module
    ) -> None:
        super().__init__()
        self.stages, self.merges, self.head = nn.ModuleList(stages), nn.ModuleList(merges), head
        self.down = nn.ModuleList(silu_unit(c, c, 3, 2) for c in _PYRAMID[:2])

    def forward(self, image: Tensor) -> Tensor:
        maps = []
        for stage in self.stages:
            image = stage(image)
            maps.append(image)
        low, middle, top = maps
        middle = self.merges[0](torch.cat([_double(top), middle], 1))
        low = self.merges[1](torch.cat([_double(middle), low], 1))
        middle = self.merges[2](torch.cat([self.down[0](low), middle], 1))
        top = self.merges[3](torch.cat([self.down[1](middle), top], 1))
        return self.head(low, middle, top)


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def yolov8() -> nn.Module:
    """YOLOv8n."""
    inner = functools.partial(Parted, block=_whole)
    outer = functools.partial(Parted, block=functools.partial(_whole, is_residual=False))
    stages = (
        nn.Sequential(
            silu_unit(3, 16, 3, 2), silu_unit(16, 32, 3, 2), inner(32, 32),
            silu_unit(32, 64, 3, 2), inner(64, 64, count=2),
        ),
        nn.Sequential(silu_unit(64, 128, 3, 2), inner(128, 128, count=2)),
        nn.Sequential(silu_unit(128, 256, 3, 2), inner(256, 256), Pooled(256)),
    )  # fmt: skip
    merges = outer(384, 128), outer(192, 64), outer(192, 128), outer(384, 256)
    return Yolo(stages, merges, Boxes(_scored_plain))


def yolo11() -> nn.Module:
    """YOLO11n."""
    plain, crossed = (functools.partial(Parted, block=block) for block in (_narrow, Crossed))
    stages = (
        nn.Sequential(
            silu_unit(3, 16, 3, 2), silu_unit(16, 32, 3, 2), plain(32, 64, hidden=16),
            silu_unit(64, 64, 3, 2), plain(64, 128, hidden=32),
        ),
        nn.Sequential(silu_unit(128, 128, 3, 2), crossed(128, 128)),
        nn.Sequential(silu_unit(128, 256, 3, 2), crossed(256, 256), Pooled(256), Attended(256)),
    )  # fmt: skip
    merges = plain(384, 128), plain(256, 64), plain(192, 128), crossed(384, 256)
    return Yolo(stages, merges, Boxes(_scored_apart))


def _whole(channels: int, *, is_residual: bool = True) -> nn.Module:
    return Pair(channels, channels, is_residual=is_residual)


def _narrow(channels: int) -> nn.Module:
    return Pair(channels, channels // 2)


# ---------------------------------------------------------------- of transformers


class Detected(nn.Module):
    """A detector of transformers, called with an image: its scores and its boxes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        found = self.model(pixel_values=image)
        return found.logits, found.pred_boxes


# Frozen normalisations are not torch's, and so would get no statistics of their own.
_OPTIONS: dict[str, Any] = {"num_labels": _CLASSES, "freeze_backbone_batch_norms": False}


def rt_detr() -> nn.Module:
    """RT-DETR with a ResNet-50 (Zhao et al. 2023, arXiv:2304.08069): the default configuration."""
    from transformers import RTDetrConfig, RTDetrForObjectDetection

    return Detected(RTDetrForObjectDetection(RTDetrConfig(**_OPTIONS)))


def d_fine() -> nn.Module:
    """D-FINE with an HGNetV2 (Peng et al. 2024, arXiv:2410.13842): the default configuration."""
    from transformers import DFineConfig, DFineForObjectDetection

    return Detected(DFineForObjectDetection(DFineConfig(**_OPTIONS)))
