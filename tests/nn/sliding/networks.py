"""Classifiers with small-integer weights, and what a sliding one has to give."""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves

from onebyone.nn.sliding.fully_convolutional import FullyConvolutional, fully_convolutional


def whole_numbers(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in float64 and evaluation mode, with weights of small integers.

    Batch norms divide by √1 or √4, so that every sum stays a dyadic number of few bits: far
    below 2⁵³ units of its last place, and therefore exact in any order.
    """
    generator = torch.Generator().manual_seed(seed)
    model = model.double().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eps = 1.0
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("running_var"):
                value.copy_(3 * torch.randint(0, 2, value.shape, generator=generator))
            elif value.is_floating_point():
                value.copy_(torch.randint(-2, 3, value.shape, generator=generator))
    return model


def images(*shape: int, seed: int = 1) -> Tensor:
    """Images of small integers, float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, shape, generator=generator).double()


def leaves(results: Any) -> list[Tensor]:
    """The tensors that a network gives, alone or in tuples, lists and dictionaries."""
    return [each for each in tree_leaves(results) if each is not None]


def answers(model: nn.Module, sliding: FullyConvolutional, image: Tensor) -> Any:
    """The classifier's answer on the crop of each map position, as maps; several if it gives them.

    The last crops may reach past the image: what stands there must not matter, and is 7.
    """
    found = []
    for k, geometry in enumerate(sliding.geometries):
        grid = geometry.maps(image.shape[2:])
        ends = [end for step in reversed(geometry.stride) for end in (0, step)]
        padded = functional.pad(image, ends, value=7.0)
        each = [
            leaves(model(padded[(..., *geometry.crop(*index))]))[k]
            for index in product(*map(range, grid))
        ]
        found.append(torch.stack(each, -1).unflatten(-1, grid))
    return found[0] if len(found) == 1 else found


def check_slides(
    model: nn.Module, shape: tuple[int, ...], *more: tuple[int, ...]
) -> FullyConvolutional:
    """Converted, the model gives its own answer at every position of images larger by `more`."""
    sliding = fully_convolutional(model, shape)
    assert sliding.exact
    assert not sliding.reasons
    with torch.no_grad():
        image = images(3, *shape)
        for maps, answer in zip(leaves(sliding(image)), leaves(model(image)), strict=True):
            assert torch.equal(maps, answer.reshape(maps.shape))
            assert set(maps.shape[2:]) == {1}
        for larger in more:
            sizes = [n + grown for n, grown in zip(shape[1:], larger, strict=True)]
            _check_answers(model, sliding, images(2, shape[0], *sizes))
    return sliding


def _check_answers(model: nn.Module, sliding: FullyConvolutional, image: Tensor) -> None:
    found, wanted = leaves(sliding(image)), leaves(answers(model, sliding, image))
    for maps, answer, geometry in zip(found, wanted, sliding.geometries, strict=True):
        assert tuple(maps.shape[2:]) == geometry.maps(image.shape[2:])
        assert maps[0, 0].numel() > 1
        assert maps.unique().numel() > maps.shape[1], "the maps are constant"
        assert torch.equal(maps, answer)
