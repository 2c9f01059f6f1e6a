"""The bundled network, trained on handwritten digits, what it is tested on, and how well it does.

`digits.onnx` turns a canvas (N, 1, H, W) of handwritten digits, float32 in [0, 1], into ten class
feature maps (N, 10, ⌈H/2⌉, ⌈W/2⌉), float32 in [0, 1]: map d is high on the ink of a digit d. It was
trained by `examples/train_demo.py`, which also wrote `held_out.npz`: canvases of digits that no
training canvas showed. `python -m onebyone.demo` optimises the network and shows what that does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["MODEL", "HeldOut", "accuracy", "held_out"]

MODEL = Path(__file__).parent / "demo" / "digits.onnx"


@dataclass(frozen=True)
class HeldOut:
    """Labelled canvases.

    Args:
        canvases: (n, H, W) uint8, black background.
        boxes: (n, k, 4) int16: top, left, bottom, right of each digit; bottom and right excluded.
        labels: (n, k) uint8: the class of each digit.
    """

    canvases: NDArray[np.uint8]
    boxes: NDArray[np.int16]
    labels: NDArray[np.uint8]

    def inputs(self) -> NDArray[np.float32]:
        """The canvases as the network takes them: (n, 1, H, W) float32 in [0, 1]."""
        return self.canvases[:, None].astype(np.float32) / np.float32(255)


def held_out() -> HeldOut:
    """The canvases that ship with the package: each of 500 MNIST digits once, five to a canvas.

    >>> held_out().canvases.shape, np.bincount(held_out().labels.ravel()).tolist()
    ((100, 96, 112), [50, 50, 50, 50, 50, 50, 50, 50, 50, 50])
    """
    with np.load(MODEL.with_name("held_out.npz"), allow_pickle=False) as arrays:
        return HeldOut(**{name: arrays[name] for name in arrays.files})


def accuracy(maps: NDArray[np.float32], truth: HeldOut) -> float:
    """The share of digits whose class has the largest mean map over the digit's box.

    Args:
        maps: (n, classes, h, w), the network's answer to `truth.inputs()`; H and W are whole
            multiples of h and w.

    >>> one = HeldOut(np.zeros((1, 2, 4), np.uint8), np.array([[[0, 2, 2, 4]]], np.int16),
    ...               np.array([[1]], np.uint8))
    >>> accuracy(np.array([[[[9, 0]], [[0, 1]]]], np.float32), one)
    1.0
    """
    # The network gives smaller maps than the canvas: boxes are measured in its positions.
    steps = np.array(truth.canvases.shape[1:]) // maps.shape[2:]
    boxes = truth.boxes // np.tile(steps, 2).astype(np.int16)
    guesses = [
        [one[:, top:bottom, left:right].mean((1, 2)).argmax() for top, left, bottom, right in row]
        for one, row in zip(maps, boxes, strict=True)
    ]
    return float((np.array(guesses) == truth.labels).mean())
