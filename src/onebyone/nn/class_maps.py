"""A map for each class, and the classifier's scores as their means.

    maps[k, p] = Σ_c W[k, c] · x[c, p] + b[k]
    score[k]   = mean_p maps[k, p]  =  Σ_c W[k, c] · (mean_p x[c, p]) + b[k]

A mean over positions does the same in every channel and W the same at every position, so they
commute; b stays as it is because a mean keeps constants. The right side is global average pooling
and a linear layer: a classifier that ends so has had class maps all along.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from onebyone.errors import UsageError
from onebyone.nn.pointwise import Pointwise, sizes

__all__ = ["ClassMaps", "features", "scores"]

# How `functional.interpolate` calls linear interpolation, by the number of axes of the maps.
_LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}


class ClassMaps(nn.Module):
    """The head of a classifier that can show where it saw each class (class activation maps).

    `forward(x)` takes the features (N, C, *space) to scores (N, classes), the global average pool
    and linear layer that most classifiers end with; `forward(x, maps=True)` to the maps
    (N, classes, *space) whose means over space the scores are. Scores are computed by pooling
    first, since `W · mean(x) = mean(W · x)`: one product for each weight instead of one for each
    weight and position.

    Args:
        in_channels: C, the channels of the features.
        classes: number of classes.
        bias: whether scores have a learned offset.
        device, dtype: of the parameters.

    The matrix is the submodule `project`. `load_state_dict` also takes the state dict of a
    classifier's `nn.Linear` (or 1×1 convolution) as it is, and checkpoints in which a `Linear`
    stood where this head stands now; `project.state_dict()` is a `Linear`'s again.

    Raises:
        UsageError: sizes below 1; features without spatial axes, or with other channels.

    Source: Zhou, Khosla, Lapedriza, Oliva, Torralba, "Learning Deep Features for Discriminative
    Localization", 2015, arXiv:1512.04150.

    >>> head = ClassMaps(512, 10)
    >>> head.load_state_dict(nn.Linear(512, 10).state_dict())
    <All keys matched successfully>
    >>> features = torch.ones(2, 512, 7, 5)
    >>> head(features).shape, head(features, maps=True).shape
    (torch.Size([2, 10]), torch.Size([2, 10, 7, 5]))
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        bias: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.project = Pointwise(
            in_channels, classes, bias, spatial_dims=0, device=device, dtype=dtype
        )

    def forward(self, x: Tensor, maps: bool = False) -> Tensor:
        """Features (N, C, *space) -> scores (N, classes), or the maps (N, classes, *space)."""
        y: Tensor = self.project(features(x, maps))
        return scores(y, maps)

    def upsampled(self, x: Tensor, size: tuple[int, ...]) -> Tensor:
        """The maps at the size of the image, by linear interpolation: (N, classes, *size).

        Features may have one, two or three spatial axes. Interpolating commutes with W as well, so
        it is done last, on `classes` channels.
        """
        y = self(x, maps=True)
        return functional.interpolate(y, size, mode=_LINEAR[y.ndim], align_corners=False)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *rest: Any, **named: Any
    ) -> None:
        """Move the weight and bias of a bare linear layer to where `project` will look for them."""
        for name in ("weight", "bias"):
            if prefix + name in state_dict:
                state_dict[f"{prefix}project.{name}"] = state_dict.pop(prefix + name)
        super()._load_from_state_dict(state_dict, prefix, *rest, **named)


def features(x: Tensor, maps: bool) -> Tensor:
    """What is projected: the features for maps, their means for scores."""
    if x.ndim < 3:
        raise UsageError(
            f"got features of shape {sizes(list(x.shape))}, wanted (N, C, ...) with spatial axes: "
            "put this head before the pooling, in its place"
        )
    if maps:
        return x
    return x.mean([axis for axis in range(2, x.ndim)], keepdim=True)  # noqa: C416


def scores(y: Tensor, maps: bool) -> Tensor:
    """What is given: the maps as they are, or scores without the axes that were averaged."""
    if maps:
        return y
    return y.flatten(1)


# Both look at what a symbolic trace does not know: the flag, and how many axes there are.
torch.fx.wrap("features")
torch.fx.wrap("scores")
