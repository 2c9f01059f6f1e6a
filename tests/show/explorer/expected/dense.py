"""Panel 5: a fully connected layer in three forms."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from onebyone.nn.convert.linear import linear_to_flat_pointwise, linear_to_kernel
from onebyone.show.explorer.data import digits
from onebyone.show.explorer.seed import uniform

STATES = [
    {},
    {"form": "kernel", "digit": 0, "unit": 0},
    {"form": "flat", "digit": 9, "unit": 783},
    {"form": "wrong", "digit": 7, "unit": 100},
]
SIDE, PIXELS, SEED = 28, 784, 5


def expected(form: str = "dense", digit: int = 3, unit: int = 405) -> dict[str, float]:
    linear = nn.Linear(PIXELS, PIXELS, bias=False, dtype=torch.float64)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(uniform(SEED, PIXELS**2)).view_as(linear.weight))
    image = torch.from_numpy(digits()[digit] / 255).reshape(1, 1, SIDE, SIDE)
    kernel, flat = linear_to_kernel(linear, (1, SIDE, SIDE)), linear_to_flat_pointwise(linear)
    weights = {sum(p.numel() for p in form.parameters()) for form in (linear, kernel, flat)}
    (count,) = weights
    without = nn.Conv2d(1, PIXELS, 1, bias=False, dtype=torch.float64)
    return {
        # The same products in the same order: not even the rounding differs.
        "dense.difference": 0,
        "dense.weights": count,
        "dense.y": _value(linear(image.flatten(1)), unit),
        "dense.wrong": without(image).numel(),
    }


def _value(outputs: Tensor, unit: int) -> float:
    return outputs.flatten()[unit].item()
