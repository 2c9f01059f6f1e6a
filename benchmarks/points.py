"""Networks on point clouds: DGCNN, of which each point's nearest neighbours are found anew."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["DGCNN"]


class EdgeConv(nn.Module):
    """max over a point's k neighbours of f(W[x_j − x_i; x_i]), on features (N, C, points)."""

    def __init__(self, c_in: int, c_out: int, neighbours: int) -> None:
        super().__init__()
        self.neighbours = neighbours
        convolution = nn.Conv2d(2 * c_in, c_out, 1, bias=False)
        self.unit = nn.Sequential(convolution, nn.BatchNorm2d(c_out), nn.LeakyReLU(0.2))

    def forward(self, x: Tensor) -> Tensor:
        return self.unit(self._edges(x)).amax(dim=-1)

    def _edges(self, x: Tensor) -> Tensor:
        """(N, 2C, points, k), gathered from all points of all clouds, as the authors do it."""
        batch, channels, points = x.shape
        first = torch.arange(batch).view(-1, 1, 1) * points
        index = (self._nearest(x) + first).view(-1)
        rows = x.transpose(2, 1).contiguous()
        near = rows.view(batch * points, channels)[index]
        near = near.view(batch, points, self.neighbours, channels)
        own = rows.view(batch, points, 1, channels).repeat(1, 1, self.neighbours, 1)
        return torch.cat([near - own, own], dim=3).permute(0, 3, 1, 2).contiguous()

    def _nearest(self, x: Tensor) -> Tensor:
        """(N, points, k): by squared distances, |a|² − 2ab + |b|²."""
        products, sizes = x.transpose(2, 1) @ x, (x**2).sum(dim=1, keepdim=True)
        nearness = 2 * products - sizes - sizes.transpose(2, 1)
        return nearness.topk(self.neighbours, dim=-1)[1]


class DGCNN(nn.Module):
    """The classifier of Wang et al., *Dynamic graph CNN for learning on point clouds* (2019)."""

    def __init__(self, classes: int = 40, neighbours: int = 20) -> None:
        super().__init__()
        widths = (3, 64, 64, 128, 256)
        self.edges = nn.ModuleList(EdgeConv(i, o, neighbours) for i, o in pairwise(widths))
        self.mix = nn.Sequential(
            nn.Conv1d(sum(widths[1:]), 1024, 1, bias=False), nn.BatchNorm1d(1024), nn.LeakyReLU(0.2)
        )
        self.head = nn.Sequential(
            nn.Linear(2048, 512, bias=False), nn.BatchNorm1d(512), nn.LeakyReLU(0.2), nn.Dropout(),
            nn.Linear(512, 256), nn.BatchNorm1d(256), nn.LeakyReLU(0.2), nn.Dropout(),
            nn.Linear(256, classes),
        )  # fmt: skip

    def forward(self, points: Tensor) -> Tensor:
        features = []
        for edge in self.edges:
            points = edge(points)
            features.append(points)
        mixed = self.mix(torch.cat(features, dim=1))
        return self.head(torch.cat([mixed.amax(dim=2), mixed.mean(dim=2)], dim=1))
