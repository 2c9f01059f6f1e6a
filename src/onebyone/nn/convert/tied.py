"""The sum of class maps over positions, as the fully connected layer that it is.

    y_k = Σ_p (w_k · x_p + b_k) = (w ⊗ 1ᵀ)x + P·b         w: (K, C), x: (C·P), P = H·W positions

A layer with weight V on the flattened image is such a sum if and only if it is *tied over
positions*: V[k, c, p] is the same for all p. It has K·C free weights, a general one K·C·P.

Proof. Tied: factor V[k, c, p] = w[k, c] out of Σ_p. Conversely let Vx + d = Σ_p (wx_p + b) for all
x; the image that is 1 in channel c at p and 0 elsewhere, less the black image, gives
V[k, c, p] = w[k, c]. □

So the footnote "summing those feature maps over the spatial dimensions would again produce the same
result as a fully connected layer" holds of a tied layer, and of no other. Counterexample: on an
image of two pixels the layer y = x₀ tells (1, 0) from (0, 1), and no sum over positions does.
Every layer is a convolution with a kernel of the size of the image (`linear_to_kernel`).
"""

from __future__ import annotations

from math import prod

import numpy as np
from torch import nn

from onebyone.algebra.weights import Array
from onebyone.errors import UsageError
from onebyone.nn.convert.bridge import channel_axis, is_pointwise, is_strided, matrix
from onebyone.nn.convert.parameters import bias_array, is_a, loaded, to_array, unfit
from onebyone.nn.pointwise import Pointwise

__all__ = ["class_maps_to_tied_linear", "tied_linear_to_class_maps"]


def class_maps_to_tied_linear(
    maps: Pointwise | nn.Conv1d | nn.Conv2d | nn.Conv3d, size: tuple[int, ...]
) -> nn.Linear:
    """The sum over all positions of a 1×1's maps, as one fully connected layer.

    `linear(x.flatten(1)) == maps(x).flatten(2).sum(-1)` for x (N, C, *size).

    Args:
        maps: C → K, without stride; groups are written out.
        size: (H, W) of the image, or as many sizes as it has axes.

    Raises:
        UsageError: another module, a stride, or a size below 1; P·b beyond the range of the dtype.

    Source: footnote 3 of "Truly understanding 1x1 convolutions" (2020).

    >>> linear = class_maps_to_tied_linear(Pointwise(3, 10), (5, 7))
    >>> linear
    Linear(in_features=105, out_features=10, bias=True)
    """
    if not size or min(size) < 1:
        raise UsageError(f"got an image of size {tuple(size)}, wanted (H, W), each at least 1")
    fits = is_pointwise(maps) and not is_strided(maps) and channel_axis(maps, len(size)) == 1
    if not fits:
        raise unfit(maps, "a 1×1 along axis 1, without stride and padding")
    f, positions = matrix(maps), prod(size)
    # (C·P): a flattened image has its positions innermost, so each w[k, c] stands P times in a row.
    weight = np.repeat(f.dense(), positions, axis=1)
    # Each of the P positions adds the bias once.
    bias = None if f.bias is None else positions * f.bias
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    return loaded(linear, weight, bias, maps.weight.device, maps.weight.dtype, maps)


def tied_linear_to_class_maps(linear: nn.Linear, shape: tuple[int, ...]) -> Pointwise:
    """The way back: the 1×1 whose maps, summed over all positions, are a tied layer's outputs.

    `maps(x).flatten(2).sum(-1) == linear(x.flatten(1))` for x (N, C, *size). The weights are equal
    to the bit; the bias is divided by P = H·W and rounded once.

    Args:
        linear: C·H·W → K.
        shape: (C, H, W) of the image, or with as many sizes as it has axes.

    Raises:
        UsageError: another shape; or a layer that is not tied, that is, whose weights at two
            positions are not equal: the message names the two that differ most.

    >>> tied_linear_to_class_maps(class_maps_to_tied_linear(Pointwise(3, 10), (5, 7)), (3, 5, 7))
    Pointwise(3, 10)
    >>> import torch
    >>> first_pixel = nn.Linear(2, 1)
    >>> first_pixel.weight = nn.Parameter(torch.tensor([[1.0, 0.0]]))
    >>> tied_linear_to_class_maps(first_pixel, (1, 1, 2))
    Traceback (most recent call last):
    ...
    onebyone.errors.UsageError: got a layer that is not tied over positions: output 0 weighs \
channel 0 by 1 at (0, 0) and by 0 at (0, 1), 1 apart, wanted equal weights at all positions: \
linear_to_kernel is exact for any layer
    """
    if not is_a(linear, nn.Linear):
        raise unfit(linear, "a Linear")
    if len(shape) < 2 or min(shape) < 1 or prod(shape) != linear.in_features:
        raise UsageError(
            f"got an image of shape {tuple(shape)} for a layer of {linear.in_features} features, "
            "wanted (C, H, W) whose product that is"
        )
    channels, *size = shape
    weight = to_array(linear.weight).reshape(linear.out_features, channels, -1)
    _check_tied(weight, tuple(size))
    bias = bias_array(linear)
    maps = Pointwise(channels, linear.out_features, bias is not None, device="meta")
    mean = None if bias is None else bias / prod(size)
    # The weights are equal at all positions by now: those at the first are any.
    return loaded(
        maps, weight[:, :, :1, None], mean, linear.weight.device, linear.weight.dtype, linear
    )


def _check_tied(weight: Array, size: tuple[int, ...]) -> None:
    """Raise unless V (K, C, P) is equal at all positions p; the message names the worst pair."""
    highest, lowest = weight.max(axis=2), weight.min(axis=2)
    if (highest == lowest).all():
        return
    # Of all that differ the worst: rounding and a layer that was never tied look different.
    spread = highest - lowest
    k, c = np.unravel_index(spread.argmax(), spread.shape)
    high, low = (
        tuple(map(int, np.unravel_index(index, size)))
        for index in (weight[k, c].argmax(), weight[k, c].argmin())
    )
    raise UsageError(
        f"got a layer that is not tied over positions: output {k} weighs channel {c} by "
        f"{highest[k, c]:.6g} at {high} and by {lowest[k, c]:.6g} at {low}, "
        f"{spread[k, c]:.6g} apart, wanted equal weights at all positions: "
        "linear_to_kernel is exact for any layer"
    )
