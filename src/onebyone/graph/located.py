"""What is known of where a value's positions are: which axes of the image stand on its axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from onebyone.algebra.geometry import Axis
from onebyone.algebra.layout import Dim, divide, product

__all__ = ["Located", "Part", "Parts", "regrouped"]

ONE: Dim = (1, ())
CHANNELS = 1
"""The axis of the image that is none of positions."""


@dataclass(frozen=True)
class Part:
    """An axis of the image that stands on an axis of a value, alone or merged with others.

    Args:
        origin: the axis of the image.
        axis: where the positions look.
        dim: how many there are; told where a view has merged them with others.
    """

    origin: int
    axis: Axis
    dim: Dim | None = field(default=None, compare=False)


Parts = tuple[Part, ...]
"""What stands on an axis of a value: nothing, one axis of the image, or several in their order."""


@dataclass(frozen=True)
class Located:
    """What is known of a value that is computed from the image.

    Args:
        places: for each of its axes the axes of the image that stand there, and where their
            positions look.
        whole: axes of the image along which it depends on all positions.
    """

    places: tuple[Parts, ...]
    whole: frozenset[int] = frozenset()

    @property
    def origins(self) -> frozenset[int]:
        """The axes of the image that stand somewhere."""
        return frozenset(part.origin for place in self.places for part in place)

    def axis(self, origin: int) -> Axis | None:
        """Where it looks along an axis of the image; None where it has no positions there."""
        alone = (place[0] for place in self.places if len(place) == 1)
        return next((part.axis for part in alone if part.origin == origin), None)


def regrouped(places: Sequence[Parts], before: Sequence[Dim], after: Sequence[Dim]) -> list[Parts]:
    """What stands on the axes of a reshape, whose elements stay in their order.

    An axis of the result is made of axes of the operand that stand side by side, whole, if its size
    is their product; axes that were merged before are told apart again. Of what is cut in another
    way nothing stands any more, nor of channels that are merged with positions.
    """
    atoms: list[tuple[Dim, Part | None]] = []
    for place, dim in zip(places, before, strict=True):
        if len(place) > 1:
            atoms += [(part.dim or dim, part) for part in place]
        else:
            atoms.append((dim, place[0] if place else None))
    found: list[Parts] = []
    for wanted in after:
        taken: list[tuple[Dim, Part | None]] = []
        while (left := divide(wanted, product([dim for dim, _ in taken]))) != ONE:
            piece = _piece(atoms, left)
            if piece is None:
                # What follows does not tell from where in the operand it is.
                return [*found, *[()] * (len(after) - len(found))]
            taken.append(piece)
        parts = [replace(part, dim=dim) for dim, part in taken if part is not None]
        others = [dim for dim, part in taken if part is None and dim != ONE]
        found.append(() if parts and others else tuple(parts))
    return found


def _piece(
    atoms: list[tuple[Dim, Part | None]], wanted: Dim | None
) -> tuple[Dim, Part | None] | None:
    """The next axis, taken from those that are left, or what is wanted of one of no positions."""
    while atoms and atoms[0] == (ONE, None):
        del atoms[0]
    if not atoms or wanted is None:
        return None
    dim, part = atoms[0]
    if divide(wanted, dim) is not None:
        return atoms.pop(0)
    rest = divide(dim, wanted)
    # The channels of the image itself, which nobody has mixed yet, are channels too.
    if rest is None or (part is not None and part.origin != CHANNELS):
        return None
    atoms[0] = rest, None
    return wanted, None
