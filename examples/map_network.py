"""A network that paints: a canvas of handwritten digits in, one feature map for each class out.

    canvas (N, 1, H, W) in [0, 1]  ->  maps (N, 10, ⌈H/2⌉, ⌈W/2⌉)

Depthwise-separable blocks see the canvas at a half, a quarter and an eighth of its size; a 1×1
takes each to the same channels, where they are added up; the last layer is a 1×1 with ten outputs.
Map d is the logit of "this pixel is the ink of a digit d". H and W are free.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from onebyone.nn.class_maps import ClassMaps
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.separable import DepthwiseSeparable

CLASSES = 10
WIDTHS = (32, 64, 96)
SHARED = 48


def stage(in_channels: int, out_channels: int, stride: int, depth: int) -> nn.Sequential:
    """Depthwise-separable blocks, the first of them with the stride."""
    further = [DepthwiseSeparable(out_channels, out_channels) for _ in range(depth - 1)]
    return nn.Sequential(DepthwiseSeparable(in_channels, out_channels, stride=stride), *further)


class MapNetwork(nn.Module):
    """Canvas (N, 1, H, W) -> logits of the ten maps (N, 10, ⌈H/2⌉, ⌈W/2⌉)."""

    def __init__(self, widths: Sequence[int] = WIDTHS, shared: int = SHARED) -> None:
        super().__init__()
        half, quarter, eighth = widths
        first = nn.Conv2d(1, half // 2, 3, stride=2, padding=1, bias=False)
        stem = nn.Sequential(first, nn.BatchNorm2d(half // 2), nn.ReLU())
        self.stages = nn.ModuleList(
            [
                nn.Sequential(stem, stage(half // 2, half, 1, 1)),
                stage(half, quarter, 2, 2),
                stage(quarter, eighth, 2, 3),
            ]
        )
        self.project = nn.ModuleList(Pointwise(width, shared, bias=False) for width in widths)
        self.norm = nn.BatchNorm2d(shared)
        self.head = ClassMaps(shared, CLASSES)

    def forward(self, canvas: Tensor) -> Tensor:
        x, added = canvas, None
        for part, project in zip(self.stages, self.project, strict=True):
            x = part(x)
            # The 1×1 first, the upsampling after: they commute, and so it is cheaper.
            y = project(x)
            if added is None:
                added = y
            else:
                size = added.shape[2:]
                added = added + interpolate(y, size, mode="bilinear", align_corners=False)
        maps: Tensor = self.head(relu(self.norm(added)), maps=True)
        return maps
