"""Where the pixels of an image are in the world, and where the positions of a map are then.

    pixel x       at  origin + x · spacing
    position i    the middle of its window is pixel  m(i) = B·S + (first + last) / 2
    position i    at  (origin + m · spacing) + i · (S/u · spacing)

where block B = ⌊i / u⌋ and phase i mod u are those of geometry.py: for a network that upsamples
nothing, u = 1 and m(i) = i·stride + offset + (receptive field − 1) / 2. There m = m(0); of several
phases it is the mean of m(i) − i·S/u over a block. What looks at the whole image has its positions
at i·S/u. Pixels are points: the middle of the first one is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from onebyone.algebra.geometry import Axis

__all__ = ["Place", "middle"]


@dataclass(frozen=True)
class Place:
    """Sizes of pixels, and where the first one is, along each axis; () where nothing says.

    Args:
        spacing: the size of a pixel.
        origin: the middle of the first one.
        unit: of both, "micrometer" say; "" is pixels.
        tags: of a GeoTIFF: its keys, by their numbers, which a map in TIFF carries on.
        geographic: whether a GeoTIFF says so, with or without keys.

    >>> from onebyone.algebra.window import Window
    >>> axes = (Axis.of(Window(5, 4)), Axis.of(Window(3, 2, 1, 1)))
    >>> Place((0.5, 0.25), (10.0, 0.0), "micrometer").of_map(axes)
    Place(spacing=(2.0, 0.5), origin=(11.0, 0.0), unit='micrometer', tags=(), geographic=False)
    """

    spacing: tuple[float, ...] = ()
    origin: tuple[float, ...] = ()
    unit: str = ""
    tags: tuple[tuple[int, tuple[float, ...] | str], ...] = ()
    geographic: bool = False

    def along(self, axes: Sequence[int]) -> Place:
        """That of some axes of an array, in this order; the tags stay."""
        if not self.spacing:
            return self
        spacing = tuple(self.spacing[axis] for axis in axes)
        return replace(self, spacing=spacing, origin=tuple(self.origin[axis] for axis in axes))

    def of_map(self, axes: Sequence[Axis]) -> Place:
        """Where the positions of a network's map are."""
        spacing = self.spacing or (1.0,) * len(axes)
        origin = self.origin or (0.0,) * len(axes)
        each = list(zip(axes, spacing, origin, strict=True))
        return replace(
            self,
            spacing=tuple(float(axis.step) * size for axis, size, _ in each),
            origin=tuple(start + _first(axis) * size for axis, size, start in each),
        )


def middle(axis: Axis, position: int) -> float:
    """The pixel in the middle of a position's window; between two pixels it ends in a half.

    >>> from onebyone.algebra.window import Window
    >>> middle(Axis.of(Window(28, 4)), 3)
    25.5
    """
    if axis.receptive_field is None:
        return float(position * axis.step)
    block, phase = divmod(position, axis.up)
    return block * axis.stride + (axis.phases[phase].first + axis.phases[phase].last) / 2


def _first(axis: Axis) -> float:
    """m: where position 0 would be, if all were as far apart as their mean.

    >>> from onebyone.algebra.geometry import Phase
    >>> _first(Axis((Phase(), Phase())))  # of a nearest upsampling: a quarter of a pixel early
    -0.25
    """
    return sum(middle(axis, k) - float(k * axis.step) for k in range(axis.up)) / axis.up
