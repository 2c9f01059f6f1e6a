"""Trained networks: without padding the maps are the answers on the crops, with it they are not."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

from onebyone.errors import UsageError
from onebyone.nn.sliding.fully_convolutional import fully_convolutional


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A module of the examples by its name."""
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / "examples")
    return import_module


@pytest.mark.slow
def test_without_padding_a_canvas_is_read_as_its_digits(
    example: Callable[[str], ModuleType],
) -> None:
    result = example("sliding_digits").run("pool", padding=0, epochs=1)
    assert result.exact
    assert result.alone > 0.85
    assert (result.on_canvas, result.same_class) == (result.alone, 1.0)


@pytest.mark.slow
def test_with_padding_neighbours_spoil_the_answers(example: Callable[[str], ModuleType]) -> None:
    digits = example("sliding_digits")
    with pytest.raises(UsageError, match=r"receptive field 48×48, .* the first 3 and last 3 rows"):
        fully_convolutional(digits.network("pool", 1), digits.SIDE)
    result = digits.run("pool", padding=1, epochs=1)
    assert not result.exact
    assert result.alone > 0.8
    # Measured after four epochs: 96.5% of digits alone, 69.9% of the same digits on a canvas.
    assert result.on_canvas < result.alone - 0.1
    assert result.same_class < 0.9


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the package's, about itself
def test_efficientnet_agrees_with_its_crops_in_some_positions(
    example: Callable[[str], ModuleType],
) -> None:
    slide = example("sliding_efficientnet")
    model = slide.network()
    sliding = fully_convolutional(model, slide.SIDE, accept_approx=True)
    assert not sliding.exact
    assert sliding.geometry.stride == (32, 32)
    image = slide.photograph("chelsea")
    with torch.no_grad():
        square = image[:, :, :224, :224]
        wanted = model(square)
        # The same layers on the same tensors up to the head, whose sums may have another order:
        # means of 49 numbers of at most 6 (a ReLU6), then 1,280 products and a bias. Each result is
        # within 1,331 roundings of the sum of its terms' sizes.
        fc = model._fc
        bound = 2 * 1331 * 2**-24 * (6 * fc.weight.abs().sum(1) + fc.bias.abs()).max()
        assert (sliding(square)[:, :, 0, 0] - wanted).abs().max() <= bound
    same, among_five, positions = slide.agreement(model, sliding, image)
    assert positions == 3 * 8
    assert same < positions
    assert same <= among_five
    assert among_five > positions // 2
