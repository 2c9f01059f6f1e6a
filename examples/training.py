"""The training loop and the goals that the example scripts share.

    w ← w − rate(t) · AdamW(∇ loss(network, x, y))          t = 1 … steps

The rate rises for the first third of the steps and falls to nothing after (Smith and Topin,
"Super-Convergence", 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor, nn

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def fixed(seed: int) -> np.random.Generator:
    """The seed for parameters, a generator for data, and one thread, so that sums keep their order.

    A second run on the same machine and versions gives the same figures.
    """
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


def fit(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    loss: Loss,
    *,
    steps: int,
    rate: float,
) -> list[float]:
    """Train in place on the first `steps` batches (input, wanted); the loss of each step.

    `loss(network, input, wanted)` is a scalar. The network is left in eval mode.
    """
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    losses = []
    network.train()
    for x, wanted in islice(batches, steps):
        error = loss(network, x, wanted)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()
        losses.append(error.item())
    network.eval()
    return losses


@torch.no_grad()
def answers(network: nn.Module, inputs: Tensor, batch: int = 100) -> Tensor:
    """The network's answers to all inputs, some at a time."""
    return torch.cat([network(part) for part in inputs.split(batch)])


def accuracy(network: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """The share of inputs whose largest score is that of their label."""
    right = answers(network, inputs).argmax(1) == labels
    return right.double().mean().item()


def epochs(rng: np.random.Generator, count: int, batch: int) -> Iterator[Tensor]:
    """Indices of batches without end: each of `count` once an epoch but for what is left over."""
    while True:
        order = torch.from_numpy(rng.permutation(count))
        yield from (part for part in order.split(batch) if len(part) == batch)


@dataclass(frozen=True)
class Goal:
    """What a script set out to reach, and whether it did."""

    text: str
    met: bool


def verdict(goals: Iterable[Goal]) -> int:
    """Print each goal; the exit code, 1 if one was missed."""
    missed = 0
    for goal in goals:
        print(f"{'reached' if goal.met else 'MISSED '}  {goal.text}")
        missed += not goal.met
    return int(missed > 0)
