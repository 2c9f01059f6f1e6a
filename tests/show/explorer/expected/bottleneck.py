"""Panel 8: a bottleneck, counted by machine, and the figures that ship."""

from __future__ import annotations

import json

import torch
from torch import nn

from onebyone.nn.bottleneck import Bottleneck
from onebyone.nn.count import count
from onebyone.nn.pointwise import Pointwise
from onebyone.show.explorer.build import PAGE

STATES = [
    {},
    {"counted": "macs", "side": 56},
    {"inputs": 512, "middle": 32, "outputs": 512, "side": 7},
    {"inputs": 96, "middle": 200, "outputs": 17, "kernel": 7, "side": 28},
    {"inputs": 1, "middle": 1, "outputs": 2, "kernel": 1},
]
FIGURES = json.loads((PAGE.parent / "data" / "bottleneck.json").read_text(encoding="utf-8"))


def layers(inputs: int, middle: int, outputs: int, kernel: int) -> nn.Module:
    """The block; where the library's own would add a projection, its three convolutions."""
    if inputs == outputs and kernel == 3:
        return Bottleneck(inputs, middle, outputs, norm=None)
    inner = nn.Conv2d(middle, middle, kernel, padding=kernel // 2)
    return nn.Sequential(Pointwise(inputs, middle), inner, Pointwise(middle, outputs))


def expected(
    inputs: int = 256,
    middle: int = 64,
    outputs: int = 256,
    kernel: int = 3,
    side: int = 14,
    counted: str = "parameters",
) -> dict[str, float]:
    x = torch.empty(1, inputs, side, side)
    block = count(layers(inputs, middle, outputs, kernel), x)
    wide = count(nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), x)
    (row,) = [row for row in FIGURES["rows"] if row[:2] == [256, side]]
    measured = dict(zip(FIGURES["columns"], row, strict=True))
    # What a 1×1 in the middle costs is not of the two at its sides.
    inner = middle * middle * kernel**2 * side * side
    return {
        "bottleneck.parameters": block.parameters,
        "bottleneck.middle": wide.parameters / (middle * middle * kernel**2 + middle),
        "bottleneck.block": wide.parameters / block.parameters,
        "bottleneck.macs": wide.macs / block.macs,
        "bottleneck.pointwise": (block.macs - inner) / block.macs,
        "bottleneck.measured": measured["wide"] / measured["block"],
    }
