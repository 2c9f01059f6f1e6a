"""What a network is given for the pixels that an image stores.

    value = (pixel / scale − mean) / std

in float32, channel by channel, as the pictures that it was trained on were made. Whole numbers are
never taken as they are by silence: a network that learned from 0 to 1 would answer nonsense for
0 to 255, and nobody would be told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from onebyone.algebra.weights import Array
from onebyone.errors import UsageError

__all__ = ["Values", "values"]


@dataclass(frozen=True)
class Values:
    """From pixels to what the network takes.

    Args:
        scale: pixels are divided by it.
        mean, std: then subtracted, and divided by: one number, or one a channel; () is none.
        dtype: what the network takes, as NumPy writes it.

    >>> Values(255.0, (0.5,), (0.5,), "<f4").of(np.array([[[0, 255]]], np.uint8)).tolist()
    [[[-1.0, 1.0]]]
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: str

    @property
    def described(self) -> str:
        """In words.

        >>> Values(255.0, (0.5,), (), "<f4").described
        'pixel / 255 − 0.5'
        """
        text = "pixel"
        if self.scale != 1:
            text += f" / {self.scale:g}"
        if self.mean:
            text += f" − {', '.join(f'{m:g}' for m in self.mean)}"
        if self.std:
            text = f"({text}) / {', '.join(f'{s:g}' for s in self.std)}"
        return text

    def of(self, pixels: Array) -> Array:
        """Pixels (C, *sizes) in the network's type."""
        dtype = np.dtype(self.dtype)
        if dtype.kind != "f" or self == Values(1.0, (), (), self.dtype):
            return pixels.astype(dtype, copy=False)
        found = pixels.astype(np.float32)
        if self.scale != 1:
            found /= np.float32(self.scale)
        if self.mean:
            found -= _each(self.mean, found)
        if self.std:
            found /= _each(self.std, found)
        return found.astype(dtype, copy=False)


def values(
    image: str,
    network: str,
    channels: int,
    *,
    scale: float | None,
    mean: Sequence[float],
    std: Sequence[float],
    metadata: Mapping[str, str],
) -> Values:
    """What was given, or else what the model's metadata says.

    Args:
        image, network: the types of pixels, and of what the network takes.
        channels: that it takes.
        scale, mean, std: as given; None and () where they were not.
        metadata: of the model: `onebyone.scale`, `onebyone.mean`, `onebyone.std`, as JSON.

    Raises:
        UsageError: pixels are whole numbers, the network takes floats, and nothing says the scale;
            a mean or std that is none of `channels`; types that do not fit.

    >>> values("|u1", "<f4", 3, scale=None, mean=(), std=(), metadata={"onebyone.scale": "255"})
    Values(scale=255.0, mean=(), std=(), dtype='<f4')
    """
    pixels, taken = np.dtype(image), np.dtype(network)
    told = scale
    if told is None:
        told = next(iter(_numbers("onebyone.scale", metadata)), None)
    mean = tuple(mean) or _numbers("onebyone.mean", metadata)
    std = tuple(std) or _numbers("onebyone.std", metadata)
    if taken.kind != "f":
        if told not in (None, 1) or mean or std or not np.can_cast(pixels, taken):
            raise UsageError(f"the network takes {taken}: got {pixels} and a scale, mean or std")
        return Values(1.0, (), (), taken.str)
    if told is None:
        if pixels.kind in "ui":
            raise UsageError(
                f"the image is {pixels} and the network takes {taken}: say --scale 255 where it "
                "learned from pixels / 255, --scale 1 where from pixels as they are"
            )
        told = 1.0
    if not (isfinite(told) and told > 0) or not all(isfinite(s) and s > 0 for s in std):
        raise UsageError(f"got --scale {told} and --std {std}, wanted them above 0")
    if not all(map(isfinite, mean)):
        raise UsageError(f"got --mean {mean}, wanted numbers")
    for name, each in (("--mean", mean), ("--std", std)):
        if len(each) not in (0, 1, channels):
            raise UsageError(f"got {len(each)} numbers for {name}, wanted 1 or {channels}")
    return Values(float(told), mean, std, taken.str)


def _numbers(key: str, metadata: Mapping[str, str]) -> tuple[float, ...]:
    """One, or a list of them."""
    text = metadata.get(key, "[]")
    try:
        return tuple(map(float, np.ravel(json.loads(text))))
    except (ValueError, TypeError):
        raise UsageError(f"the model's {key} is {text!r}, wanted numbers: [0.5, 0.25]") from None


def _each(numbers: Sequence[float], pixels: Array) -> Array:
    """(C or 1, 1, 1) of float32."""
    return np.array(numbers, np.float32).reshape(-1, *[1] * (pixels.ndim - 1))
