"""Panel 7: class maps."""

from __future__ import annotations

import json

import numpy as np
import torch
from torch.nn.functional import conv2d, linear

from onebyone.show.explorer import data
from onebyone.show.explorer.seed import uniform

STATES = [
    {},
    {"first": 0, "second": 9, "row": 0, "column": 0, "number": 9, "other": 0, "pool": "sum"},
    {"second": 7, "row": 28, "column": 56, "number": 4, "pool": "one", "down": 13, "across": 20},
]
SIDE, SEED = 28, 7


def field(first: int, second: int, row: int, column: int) -> np.ndarray:
    ink = np.zeros((56, 84))
    for digit, top, left in ((first, 6, 8), (second, row, column)):
        part = ink[top : top + SIDE, left : left + SIDE]
        np.maximum(part, data.digits()[digit] / 255, out=part)
    return ink


def features(ink: np.ndarray) -> torch.Tensor:
    x = torch.from_numpy(ink)[None, None]
    for weight, bias, stride in data.classifier()[:-1]:
        given = torch.from_numpy(weight), torch.from_numpy(bias)
        x = conv2d(x, *given, stride=stride, padding=1).relu()
    return x


def expected(
    first: int = 1,
    second: int = 2,
    row: int = 22,
    column: int = 50,
    number: int = 1,
    other: int = 2,
    down: int = 5,
    across: int = 5,
    pool: str = "mean",
) -> dict[str, float]:
    x = features(field(first, second, row, column))
    weight, bias, _ = (torch.as_tensor(part) for part in data.classifier()[-1])
    maps = conv2d(x, weight, bias)
    untied = torch.from_numpy(uniform(SEED, x.numel())).view_as(x)
    told = json.loads((data._DATA / "classifier.json").read_text(encoding="utf-8"))
    return {
        "classes.apart": 0,
        "classes.tied": 0,
        "classes.score": maps.mean((2, 3))[0, number].item(),
        "classes.dense": linear(x.mean((2, 3)), weight[:, :, 0, 0], bias)[0, number].item(),
        "classes.untied": (untied * (x - x.flip(3))).sum().abs().item(),
        "classes.numbers": maps.numel(),
        "classes.right": told["right"],
    }
