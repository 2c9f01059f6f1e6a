"""What the page carries besides its own text: a picture, digits, measured times, laws, claims.

Pictures are raw bytes. In `data/`, `bottleneck.json` is written by `benchmarks/bottlenecks.py`, the
rest by `examples/explorer_data.py`; each says where it is from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onebyone.algebra.laws import named
from onebyone.bundled import held_out

__all__ = ["Block", "blocks", "classifier", "digits", "picture"]

_DATA = Path(__file__).parent / "data"
# Which of each class of the held-out digits, 0 to 9, are clear to read: (canvas, place) in order.
_CLEAR = (1, 42, 9, 0, 2, 7, 0, 4, 7, 2)


@dataclass(frozen=True)
class Block:
    """Bytes in the page under a name; `shape` is that of an array of uint8, empty for a text."""

    name: str
    shape: tuple[int, ...]
    content: bytes


def blocks(docs: str = "") -> Iterator[Block]:
    """All that the page carries; `docs` is where the claims are told in full, if anywhere."""
    for name, array in (("picture", picture()), ("digits", digits())):
        yield Block(name, array.shape, array.tobytes())
    weights = np.load(_DATA / "classifier.npy", allow_pickle=False)
    yield Block("weights", weights.shape, weights.tobytes())
    for name in ("claims", "bottleneck", "classifier"):
        yield _text(name, json.loads((_DATA / f"{name}.json").read_text(encoding="utf-8")))
    yield _text("laws", {"commute": {"equation": named("commute").equation}})
    yield _text("docs", docs)


def picture() -> NDArray[np.uint8]:
    """The picture, (3, H, W): red, green, blue.

    >>> picture().shape
    (3, 63, 84)
    """
    array: NDArray[np.uint8] = np.load(_DATA / "picture.npy", allow_pickle=False)
    return array


def digits() -> NDArray[np.uint8]:
    """One handwritten digit of each class, (10, 28, 28), from the demo's held-out canvases.

    >>> digits().shape, digits().max()
    ((10, 28, 28), np.uint8(255))
    """
    truth = held_out()
    chosen = [np.argwhere(truth.labels == d)[_CLEAR[d]] for d in range(10)]
    corners = [(canvas, *truth.boxes[canvas, place]) for canvas, place in chosen]
    return np.stack([truth.canvases[n, a:c, b:d] for n, a, b, c, d in corners])


def classifier() -> list[tuple[NDArray[np.float64], NDArray[np.float64], int]]:
    """The classifier by class maps: weight (C_out, C_in, K, K), bias and stride of each layer.

    Weights are bytes times a power of two for each filter (`examples/train_page.py`).

    >>> [weight.shape for weight, _, _ in classifier()]
    [(16, 1, 3, 3), (24, 16, 3, 3), (32, 24, 3, 3), (10, 32, 1, 1)]
    """
    told = json.loads((_DATA / "classifier.json").read_text(encoding="utf-8"))
    weights, layers, at = np.load(_DATA / "classifier.npy", allow_pickle=False), [], 0
    for layer in told["layers"]:
        size = int(np.prod(layer["shape"]))
        whole = weights[at : at + size].reshape(layer["shape"]).astype(np.float64)
        unit = 2.0 ** np.array(layer["exponents"])[:, None, None, None]
        layers.append((whole * unit, np.array(layer["bias"], np.float64), layer["stride"]))
        at += size
    return layers


def _text(name: str, value: object) -> Block:
    return Block(name, (), json.dumps(value, ensure_ascii=False, sort_keys=True).encode())
