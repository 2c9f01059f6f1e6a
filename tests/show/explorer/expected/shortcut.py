"""Panel 9: what a skip gives and reads, and a separable convolution, counted by machine."""

from __future__ import annotations

import torch
from torch import nn

from onebyone.nn.count import count
from onebyone.nn.separable import DepthwiseSeparable
from onebyone.nn.shortcut import Option, ProjectionShortcut

STATES = [
    {},
    {"own": 1, "kernel": 5, "from": 31, "to": 100},
    {"kind": "zeros", "inputs": 64, "outputs": 256, "own": 4, "stride": 4, "kernel": 7},
    {"kind": "average", "inputs": 300, "outputs": 17, "from": 1, "to": 512},
    {"kind": "identity", "inputs": 64, "outputs": 64, "stride": 1, "to": 1},
]
OPTIONS: dict[str, Option] = {"projection": "C", "zeros": "A", "average": "D"}
SIDE = 8


def shortcut(kind: str, inputs: int, outputs: int, stride: int) -> nn.Module:
    if kind == "identity":
        return nn.Identity()
    # An average of one position is none, and without a change the library's skip has no 1×1.
    option = "C" if kind == "average" and stride == 1 else OPTIONS[kind]
    return ProjectionShortcut(inputs, outputs, stride, option, norm=None, bias=False)


def share_read(module: nn.Module, channels: int) -> float:
    """Of the positions, those on which the output depends."""
    x = torch.ones(1, channels, SIDE, SIDE, requires_grad=True)
    module(x).square().sum().backward()
    assert x.grad is not None
    return x.grad.ne(0).any(1).double().mean().item()


def expected(
    kind: str = "projection",
    inputs: int = 256,
    outputs: int = 512,
    stride: int = 2,
    own: int = 2,
    kernel: int = 3,
    **others: int,
) -> dict[str, float]:
    c_in, c_out = others.get("from", 256), others.get("to", 256)
    skip = shortcut(kind, inputs, outputs, own)
    x = torch.empty(1, c_in, SIDE, SIDE)
    standard = count(nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2), x)
    pair = count(DepthwiseSeparable(c_in, c_out, kernel), x)
    return {
        "shortcut.weights": sum(p.numel() for p in skip.parameters()),
        "shortcut.read": share_read(skip, inputs),
        "shortcut.share": pair.pointwise_macs / pair.macs,
        "shortcut.pair": pair.macs / SIDE**2,
        "shortcut.saving": standard.macs / pair.macs,
    }
