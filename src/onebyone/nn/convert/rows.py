"""One layer at a time, between rows (M, C) and positions (N, C, *space) with M = N·|space|.

    linear layer on rows          ⇔  1×1 on positions, the same matrix
    batch norm over the rows      ⇔  batch norm over N and space, the same statistics
    function of single elements   ⇔  itself

A row is what one position holds, so a stack of these is the same function in both layouts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import nn

from onebyone.nn.activations import ACTIVATIONS
from onebyone.nn.convert.linear import Convolution, conv_to_pointwise, pointwise_to_linear
from onebyone.nn.convert.parameters import CONVOLUTIONS, filled, is_a, unfit
from onebyone.nn.copies import copied, stored
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.shared_mlp import SharedMLP

__all__ = ["layers_of", "stack", "to_positions", "to_rows"]

# The layers that act on each element by itself; PReLU, on each channel (axis 1 of both).
_ELEMENTWISE = tuple(getattr(nn, name) for name in f"{ACTIVATIONS} Dropout Identity PReLU".split())
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_WANTED = (
    "a linear layer or 1×1 convolution, a BatchNorm or an elementwise activation: "
    "unpack nested stacks, and convert the parts before and after this layer apart"
)


def layers_of(stack: nn.Sequential) -> list[nn.Module]:
    """The layers that are applied one after the other.

    Raises:
        UsageError: no layers, or a module that does something else with them.

    >>> layers_of(nn.Sequential(nn.ReLU()))
    [ReLU()]
    """
    if not is_a(stack, nn.Sequential, SharedMLP) or not len(stack):
        raise unfit(
            stack, "a Sequential of at least one layer, each applied to what the one before gives"
        )
    return list(stack)


def stack(layers: Iterable[nn.Module], like: nn.Module) -> nn.Sequential:
    """The layers in a row, each in its own training mode, the whole in that of `like`.

    >>> frozen = nn.BatchNorm1d(3).eval()
    >>> new = stack([nn.ReLU(), frozen], nn.Sequential())
    >>> new.training, new[0].training, new[1].training
    (True, True, False)
    """
    new = nn.Sequential(*layers)
    new.training = like.training  # `train` would set that of each layer
    return new


def to_positions(layer: nn.Module, spatial_dims: int) -> nn.Module:
    """A copy of a layer on rows as one on positions with `spatial_dims` axes, 1 to 3.

    Raises:
        UsageError: a layer that is not known to treat all rows alike.

    >>> to_positions(nn.Linear(3, 4), 2)
    Pointwise(3, 4)
    """
    if is_a(layer, nn.Linear):
        return _pointwise(cast(nn.Linear, layer), spatial_dims)
    if is_a(layer, nn.BatchNorm1d):
        return _batch_norm(cast(nn.BatchNorm1d, layer), _NORMS[spatial_dims - 1])
    return _elementwise(layer)


def to_rows(layer: nn.Module) -> nn.Module:
    """A copy of a layer on positions as one on rows.

    Raises:
        UsageError: a layer that is not known to treat all positions alike, by their channels.

    >>> to_rows(Pointwise(3, 4))
    Linear(in_features=3, out_features=4, bias=True)
    """
    if is_a(layer, *CONVOLUTIONS):
        layer = conv_to_pointwise(cast(Convolution, layer))
    if is_a(layer, Pointwise):
        return _linear(cast(Pointwise, layer))
    if is_a(layer, *_NORMS):
        return _batch_norm(cast(nn.BatchNorm1d, layer), nn.BatchNorm1d)
    return _elementwise(layer)


def _pointwise(linear: nn.Linear, spatial_dims: int) -> Pointwise:
    sizes = linear.in_features, linear.out_features, linear.bias is not None
    new = Pointwise(*sizes, spatial_dims=spatial_dims, device="meta")
    return filled(new, linear.weight.reshape(new.weight.shape), linear.bias, linear)


def _linear(pointwise: Pointwise) -> nn.Linear:
    # On rows, which have no further axes, axis 1 is the last one too.
    if pointwise.channel_dim not in (1, -1):
        raise unfit(pointwise, "channel_dim 1 or -1: the channels of rows are along both")
    return pointwise_to_linear(pointwise)


def _batch_norm(norm: nn.BatchNorm1d, kind: type[nn.Module]) -> nn.BatchNorm1d:
    copy = stored(norm)
    # They hold the same and compute the same; each only lets other shapes in.
    copy.__class__ = kind  # type: ignore[assignment]
    return copy


def _elementwise(layer: nn.Module) -> nn.Module:
    if not is_a(layer, *_ELEMENTWISE):
        raise unfit(layer, _WANTED)
    return copied(layer)
