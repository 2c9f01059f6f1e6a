"""Panel 2: products and their sums."""

from __future__ import annotations

import torch

from onebyone.nn.products import pointwise_products
from onebyone.show.explorer.seed import uniform

STATES = [
    {},
    {"summed": False},
    {"inputs": 7, "outputs": 3, "row": 2, "column": 6},
    {"inputs": 1, "outputs": 256, "row": 255, "column": 0, "summed": False},
]


def expected(
    summed: bool = True, inputs: int = 256, outputs: int = 64, row: int = 20, column: int = 70
) -> dict[str, float]:
    W = torch.from_numpy(uniform(1, outputs * inputs)).reshape(outputs, inputs)
    products = pointwise_products(torch.from_numpy(uniform(2, inputs))[None, :, None], W)
    sums = products.sum(2)
    return {
        "maps.maps": sums.shape[1] if summed else products.flatten(1, 2).shape[1],
        "maps.multiplications": products.numel(),
        "maps.filters": len(W),
        "maps.kernels": W[0].numel(),
        "maps.sum": sums[0, row, 0].item(),
    }
