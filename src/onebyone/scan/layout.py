"""Which axes of a stored array are channels and which are the image's: by their names, or by sizes.

A scan of n spatial axes reads arrays of n axes, of n + 1 with channels first or last, and any
others of size 1 that have a name: OME's t, c, z, y, x, TIFF's I, S, Y, X.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onebyone.algebra.weights import Array
from onebyone.errors import UsageError

__all__ = ["Layout", "layout"]

_CHANNELS = "cs"


@dataclass(frozen=True)
class Layout:
    """Where the axes of a stored array are.

    Args:
        axes: of the array, those of the image, in order.
        channels: the axis of channels; None where there is none, which is one channel.

    All other axes have size 1.

    >>> Layout(axes=(0, 1), channels=2).read(np.zeros((5, 4, 3)), (range(1, 3), range(4))).shape
    (3, 2, 4)
    """

    axes: tuple[int, ...]
    channels: int | None

    def sizes(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Those of the image."""
        return tuple(shape[axis] for axis in self.axes)

    def read(self, array: Array, ranges: Sequence[range]) -> Array:
        """The pixels (C, *sizes) in these ranges, in the array's own type."""
        index: list[int | slice] = [0] * array.ndim
        for axis, wanted in zip(self.axes, ranges, strict=True):
            index[axis] = slice(wanted.start, wanted.stop)
        if self.channels is not None:
            index[self.channels] = slice(None)
        found = array[tuple(index)]
        if self.channels is None:
            return np.asarray(found)[None]
        # What is indexed by a number is gone: the channels' axis among those that are left.
        left = sorted((*self.axes, self.channels))
        return np.moveaxis(np.asarray(found), left.index(self.channels), 0)


def layout(
    shape: Sequence[int], names: str | None, spatial: int, channels: int | None, what: str
) -> Layout:
    """The layout of an array.

    Args:
        shape: of the array.
        names: of its axes, a letter each, or None where nothing says.
        spatial: how many axes the network slides along: the last ones of z, y, x.
        channels: that the network takes; None takes a mask, which has one.
        what: the array's name, for messages.

    Raises:
        UsageError: the axes or the channels are not those of the network.

    >>> layout((1, 3, 1, 50, 40), "tczyx", 2, 3, "slide")
    Layout(axes=(3, 4), channels=1)
    >>> layout((50, 40, 3), None, 2, 3, "photo")
    Layout(axes=(0, 1), channels=2)
    """
    found = _unnamed(shape, spatial, channels) if names is None else _named(shape, names, spatial)
    if found is None:
        raise UsageError(
            f"{what} has sizes {_by(shape)}{_called(names)}, wanted {spatial} axes of an image and "
            f"{_channels(channels)}: choose an array or a page of such sizes"
        )
    got = 1 if found.channels is None else shape[found.channels]
    if got != (channels or 1):
        raise UsageError(
            f"{what} has {got} channels, wanted {_channels(channels)}: choose another image, or "
            "another network"
        )
    return found


def _named(shape: Sequence[int], names: str, spatial: int) -> Layout | None:
    names = names.lower()
    wanted = "zyx"[3 - spatial :]
    if not all(name in names for name in wanted):
        return None
    colours = [k for k, name in enumerate(names) if name in _CHANNELS]
    # A TIFF may have both, planes and samples: one of them then says nothing.
    if len(colours) > 1:
        colours = [k for k in colours if shape[k] > 1] or colours[:1]
    axes = tuple(names.index(name) for name in wanted)
    others = set(range(len(shape))) - {*axes, *colours}
    if len(colours) > 1 or any(shape[k] != 1 for k in others):
        return None
    return Layout(axes, next(iter(colours), None))


def _unnamed(shape: Sequence[int], spatial: int, channels: int | None) -> Layout | None:
    if len(shape) == spatial:
        return Layout(tuple(range(spatial)), None)
    if len(shape) != spatial + 1:
        return None
    first, last = (shape[k] == (channels or 1) for k in (0, -1))
    if first and last:  # nobody can tell
        return None
    if last:
        return Layout(tuple(range(spatial)), spatial)
    return Layout(tuple(range(1, spatial + 1)), 0)


def _by(sizes: Sequence[int]) -> str:
    return "×".join(map(str, sizes))


def _called(names: str | None) -> str:
    return "" if names is None else f" called {names}"


def _channels(channels: int | None) -> str:
    if channels in (None, 1):
        return "one channel"
    return f"{channels} channels"
