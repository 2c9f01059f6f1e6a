"""The example `scan_digits.py`: its canvas, its crops and its score are what it says they are."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from onebyone.scan.peaks import Peak
from onebyone.scan.scan import scan


@pytest.fixture(scope="module")
def scan_digits() -> Iterator[ModuleType]:
    """The example."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[2] / "examples")
        yield import_module("scan_digits")


def test_each_digit_is_on_the_canvas_where_it_is_said_to_be(scan_digits: ModuleType) -> None:
    _, held_out = scan_digits.demo_data.split(np.random.default_rng(0), 100)
    canvas = scan_digits.Canvas.of(held_out, 2)
    pixels = canvas.array().compute(scheduler="synchronous")
    assert pixels.shape == (2000, 2000)
    assert (canvas.array()[700:1300, :40].compute(scheduler="synchronous")
            == pixels[700:1300, :40]).all()  # fmt: skip
    for middle, image in zip(canvas.middles(), canvas.digits.images, strict=True):
        top, left = (middle - 13.5).astype(int)
        part = pixels[top : top + 28, left : left + 28]
        ink = image >= scan_digits.NOISE
        assert (part[ink] == image[ink]).all()
        assert (part[~ink] < scan_digits.NOISE).all()


def test_a_digit_is_found_once_where_it_is_and_as_what_it_is(scan_digits: ModuleType) -> None:
    _, held_out = scan_digits.demo_data.split(np.random.default_rng(0), 100)
    canvas = scan_digits.Canvas.of(held_out, 2)
    finds = [
        Peak(1.0, int(label), (0, 0), (row + 4, column - 4))
        for (row, column), label in zip(canvas.middles(), canvas.digits.labels, strict=True)
    ]
    assert scan_digits.score(canvas, finds) == scan_digits.Score(4, 4, 0)
    wrong = Peak(0.9, (finds[0].label + 1) % 10, (0, 0), finds[0].pixel)
    far = Peak(0.8, finds[1].label, (0, 0), (finds[1].pixel[0] + 1, finds[1].pixel[1]))
    again = finds[2]
    assert scan_digits.score(canvas, [wrong, far, *finds[2:], again]) == scan_digits.Score(4, 2, 3)


def test_crops_are_digits_in_the_middle_and_nothing(scan_digits: ModuleType) -> None:
    training, _ = scan_digits.demo_data.split(np.random.default_rng(0), 100)
    images, labels = scan_digits.crops(training, np.random.default_rng(0), 64)
    assert images.shape == (64, 1, 28, 28)
    assert 0 <= images.min() < images.max() <= 1
    assert (labels[1::2] == scan_digits.NOTHING).all()
    assert (labels[::2] < 10).all()


def test_the_maps_of_a_canvas_are_the_network_on_its_crops(
    scan_digits: ModuleType, tmp_path: Path
) -> None:
    _, held_out = scan_digits.demo_data.split(np.random.default_rng(0), 100)
    model = scan_digits.network().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():  # -1, 0 and 1, mostly 0
            sign = torch.randint(-1, 2, weight.shape, generator=generator)
            weight.copy_(sign * (torch.rand(weight.shape, generator=generator) < 0.15))
    canvas = scan_digits.Canvas.of(held_out, 1).array()
    file = scan_digits.exported(model, tmp_path / "model.onnx")
    done = scan(file, canvas, tmp_path / "maps.zarr", scale=1, tile=100)
    assert done.classes == scan_digits.CLASSES
    pixels = torch.from_numpy(canvas.compute(scheduler="synchronous")).float()
    maps = done.array()
    for i, j in [(0, 0), (99, 100), (100, 99), (243, 243), (17, 200)]:
        with torch.no_grad():
            crop = pixels[4 * i : 4 * i + 28, 4 * j : 4 * j + 28]
            answer = model(crop[None, None])[0].numpy()
        assert (maps[:, i, j] == answer).all()
        assert len(set(answer)) > 3
    # Whole numbers, whose sums are exact in any order.
    for weight in model.parameters():
        weight.data.abs_()
    assert model(torch.full((1, 1, 28, 28), 255.0)).max() < 2**24
