"""Panel 4: ranks."""

from __future__ import annotations

import torch
from torch import nn

from onebyone.nn.rank import rank
from onebyone.show.explorer.seed import uniform

STATES = [{}, {"bias": True}, {"relu": True}, {"bias": True, "relu": True, "seed": 7}]
INPUTS, OUTPUTS, POSITIONS = 64, 256, 272


def layer(seed: int, bias: bool) -> nn.Conv1d:
    made = nn.Conv1d(INPUTS, OUTPUTS, 1, bias=bias, dtype=torch.float64)
    with torch.no_grad():
        made.weight.copy_(
            torch.from_numpy(uniform(3 * seed, OUTPUTS * INPUTS)).view_as(made.weight)
        )
        if made.bias is not None:
            made.bias.copy_(torch.from_numpy(uniform(3 * seed + 2, OUTPUTS)))
    return made


def expected(bias: bool = False, relu: bool = False, seed: int = 1) -> dict[str, float]:
    x = torch.from_numpy(uniform(3 * seed + 1, INPUTS * POSITIONS)).reshape(1, INPUTS, POSITIONS)
    chosen = layer(seed, bias)
    lifted = nn.Sequential(chosen, nn.ReLU())
    return {
        "rank.rank": rank(lifted if relu else nn.Sequential(chosen), x).rank,
        "rank.linear": rank(layer(seed, False)).rank,
        "rank.biased": rank(layer(seed, True)).rank,
        "rank.lifted": rank(lifted, x).rank,
    }
