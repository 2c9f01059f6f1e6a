"""Classifiers with small-integer weights, and what a sliding one has to give."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

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


def answers(model: nn.Module, sliding: FullyConvolutional, image: Tensor) -> Tensor:
    """The classifier's answer on the crop of each map position, as maps.

    The last crops may reach past the image: what stands there must not matter, and is 7.
    """
    geometry = sliding.geometry
    rows, columns = geometry.maps((image.shape[-2], image.shape[-1]))
    padded = functional.pad(image, (0, geometry.stride[1], 0, geometry.stride[0]), value=7.0)
    found = [
        [model(padded[(..., *geometry.crop(i, j))]) for j in range(columns)] for i in range(rows)
    ]
    return torch.stack([torch.stack(row, -1) for row in found], -2)


def check_slides(
    model: nn.Module, shape: tuple[int, int, int], *more: tuple[int, int]
) -> FullyConvolutional:
    """Converted, the model gives its own answer at every position of images larger by `more`."""
    sliding = fully_convolutional(model, shape)
    assert sliding.exact
    assert not sliding.reasons
    with torch.no_grad():
        image = images(3, *shape)
        assert torch.equal(sliding(image), model(image)[:, :, None, None])
        for down, right in more:
            image = images(2, shape[0], shape[1] + down, shape[2] + right)
            maps = sliding(image)
            assert tuple(maps.shape[2:]) == sliding.geometry.maps(tuple(image.shape[2:]))
            assert maps.shape[2] * maps.shape[3] > 1
            assert maps.unique().numel() > maps.shape[1], "the maps are constant"
            assert torch.equal(maps, answers(model, sliding, image))
    return sliding
