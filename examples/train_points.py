"""Train a PointNet to tell ten solids apart by points on their surfaces.

    python examples/train_points.py [--steps N]

needs `pip install 'onebyone[torch]'`. Every training cloud is new: a solid at a random angle about
the z axis and of random size, 256 points uniformly by area, each moved a little. The goals: at
least 95 % of 1,000 held-out clouds, and the same class for every one of them when its points come
in another order. Exits with 1 if one is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from time import process_time

import numpy as np
import torch
from solids import SOLIDS, clouds
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from training import Goal, answers, fit, fixed, verdict

from onebyone.nn.count import count
from onebyone.nn.points import PointNetClassifier, PointNetEncoder, orthogonality_loss

SEED, STEPS, BATCH, RATE = 11, 300, 32, 4e-3
POINTS, HELD_OUT_PER_CLASS = 256, 100
WANTED = 0.95
# Of the feature transform's distance from orthogonal, in the loss: the paper's.
REGULARISATION = 1e-3


def network() -> PointNetClassifier:
    """The paper's layers at a quarter of its widths or less: for ten solids they do."""
    encoder = PointNetEncoder(3, (32, 32), (32, 64, 256), transform_widths=(64, 32))
    return PointNetClassifier(len(SOLIDS), encoder, widths=(128, 64))


def batches(rng: np.random.Generator, size: int = BATCH) -> Iterator[tuple[Tensor, Tensor]]:
    """New clouds (size, 3, 256) and their classes without end."""
    while True:
        labels = rng.integers(0, len(SOLIDS), size)
        yield clouds(rng, labels, POINTS), torch.from_numpy(labels)


def held_out(rng: np.random.Generator, per_class: int) -> tuple[Tensor, Tensor]:
    """So many clouds of each solid."""
    labels = np.arange(len(SOLIDS)).repeat(per_class)
    return clouds(rng, labels, POINTS), torch.from_numpy(labels)


def loss(network: nn.Module, points: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, and that the feature transform be nearly orthogonal."""
    scores, transform = network(points, with_transform=True)
    error = cross_entropy(scores, labels)
    return error + REGULARISATION * orthogonality_loss(transform).mean()


def shuffled(points: Tensor, rng: np.random.Generator) -> Tensor:
    """Each cloud (N, C, P) with its points in an order of its own."""
    order = rng.permuted(np.tile(np.arange(points.shape[2]), (len(points), 1)), axis=1)
    return points.take_along_dim(torch.from_numpy(order).unsqueeze(1), 2)


def report(scores: Tensor, again: Tensor, labels: Tensor) -> list[Goal]:
    """Print the accuracy of each solid; the goals, `again` being the scores after shuffling."""
    classes = scores.argmax(1)
    right = (classes == labels).double()
    for label, solid in enumerate(SOLIDS):
        print(f"{solid.name:>16} {right[labels == label].mean():7.1%}")
    same = bool((again.argmax(1) == classes).all())
    change = float((again - scores).abs().max())
    share = right.mean().item()
    return [
        Goal(f"{share:.1%} of held-out clouds, at least {WANTED:.0%}", share >= WANTED),
        Goal(f"points shuffled: every class the same, scores within {change:.1e}", same),
    ]


def main() -> int:
    """Train, then report on held-out clouds, as they are and shuffled."""
    parser = argparse.ArgumentParser(description="Train a PointNet on ten solids.")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"batches of {BATCH} clouds")
    steps = parser.parse_args().steps
    # Two streams that have nothing in common: what is held out is on no training batch.
    training, rest = fixed(SEED).spawn(2)
    net = network()
    cost = count(net.eval(), torch.zeros(1, 3, POINTS))
    print(f"PointNet: {cost.parameters:,} parameters, {cost.macs:,} MACs for {POINTS} points")
    start = process_time()
    losses = fit(net, batches(training), loss, steps=steps, rate=RATE)
    seconds = process_time() - start
    print(f"{steps} steps, {seconds:.0f} s of CPU time, the last loss {losses[-1]:.3f}")
    points, labels = held_out(rest, HELD_OUT_PER_CLASS)
    return verdict(report(answers(net, points), answers(net, shuffled(points, rest)), labels))


if __name__ == "__main__":
    sys.exit(main())
