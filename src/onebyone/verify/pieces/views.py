"""What views give at few positions: the numbers that they are given, on other axes.

Which axis of a view holds the channels is a guess where they are cut, or merged with positions.
Sizes that follow from the operand's need none, whatever numbers are equal by chance:

    64 × 64 positions     (1, 64, 64, 256) → (64, 64, 2, 128)
    8 × 8                 (1, 8, 8, 256)   → (8, 8, 2, 128)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod

from onebyone.algebra.layout import View, dim, trace

__all__ = ["viewed"]


def viewed(
    before: Sequence[int], given: Sequence[int], move: View, fewer: Mapping[int, int]
) -> tuple[int, ...] | None:
    """The sizes of a view at few positions; None where they do not follow.

    Args:
        before, given: the operand's sizes, its own and those at few positions.
        move: what the view does to its own sizes.
        fewer: size -> a smaller one, where an axis of that size is of positions.
    """
    found = None if 0 in before else trace([dim(n) for n in before], [move])
    if found is None:
        return None
    sizes: dict[int, int] = {}
    for atoms, n in zip(found.before, given, strict=True):
        parts = _parts([found.sizes[atom][0] for atom in atoms], n, fewer)
        if parts is None:
            return None
        sizes.update(zip(atoms, parts, strict=True))
    return tuple(prod(sizes[atom] for atom in atoms) for atoms in found.after)


def _parts(own: Sequence[int], n: int, fewer: Mapping[int, int]) -> Sequence[int] | None:
    """The sizes of what an axis is cut into, each whole or smaller, where it is of size n."""
    if len(own) == 1:
        return [n]
    choices = product(*((size, fewer.get(size, size)) for size in own))
    return next((sizes for sizes in choices if prod(sizes) == n), None)
