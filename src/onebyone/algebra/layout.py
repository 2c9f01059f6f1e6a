"""Layout views: reshapes and transposes, which move numbers without computing anything.

A run of views is followed atom by atom. An *atom* is a piece of an axis that no view of the run
cuts further; a transpose permutes the axes that hold atoms, a reshape regroups the row-major list
of atoms, cutting one where the new axes ask for it:

    (N, C, H, W) --flatten--> (N, C, H·W) --transpose--> (N, H·W, C) --reshape--> (N, H, W, C)
    atoms  n c h w             n c (h w)                  n (h w) c                n h w c

Two runs are equal when they order the atoms alike and end in the same shape; a run is the identity
when it ends as it began. Channel maps pass a view wherever the channel axis stays one whole axis.

A dimension is a monomial, (coefficient, symbols): 6·h·w is (6, ("h", "w")). Sums such as h + 1 are
symbols of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

__all__ = [
    "CHANNEL",
    "Dim",
    "Reshape",
    "Trace",
    "Transpose",
    "View",
    "channel_axis_after",
    "dim",
    "divide",
    "product",
    "trace",
]

Dim = tuple[int, tuple[str, ...]]

CHANNEL: Dim = (1, ("#C",))
"""The channel axis's own dimension: it stays one atom whatever the number of channels."""


@dataclass(frozen=True)
class Transpose:
    """Axis k of the result is axis permutation[k] of the operand."""

    permutation: tuple[int, ...]


@dataclass(frozen=True)
class Reshape:
    """Row-major regrouping into `shape`."""

    shape: tuple[Dim, ...]


View = Transpose | Reshape


@dataclass(frozen=True)
class Trace:
    """What a run of views does: the atoms' sizes, and the atoms of each axis before and after.

    Atoms of size 1 are left out: an axis of size 1 holds none.
    """

    sizes: tuple[Dim, ...]
    before: tuple[tuple[int, ...], ...]
    after: tuple[tuple[int, ...], ...]

    @property
    def is_identity(self) -> bool:
        return self.before == self.after

    @property
    def permutation(self) -> tuple[int, ...] | None:
        """The transpose that the run is, or None where it also cuts, regroups or drops axes."""
        if len(self.before) != len(self.after) or sorted(self.before) != sorted(self.after):
            return None
        order: list[int] = []
        # Axes of size one hold no atoms and look alike: each takes the first that is left.
        for axis in self.after:
            free = [k for k, old in enumerate(self.before) if old == axis and k not in order]
            order.append(free[0])
        return tuple(order)


def dim(size: int, *symbols: str) -> Dim:
    """size · symbols as a dimension.

    >>> dim(2, "w", "h")
    (2, ('h', 'w'))
    """
    return size, tuple(sorted(symbols))


def product(dims: Sequence[Dim]) -> Dim:
    """The number of elements of a shape.

    >>> product([dim(2, "h"), dim(3), dim(1, "w")])
    (6, ('h', 'w'))
    """
    return reduce(lambda a, b: dim(a[0] * b[0], *a[1], *b[1]), dims, dim(1))


def divide(whole: Dim, part: Dim) -> Dim | None:
    """whole / part where that is a monomial again, else None.

    >>> divide(dim(6, "h", "w"), dim(2, "w")), divide(dim(3), dim(2))
    ((3, ('h',)), None)
    """
    rest = list(whole[1])
    for symbol in part[1]:
        if symbol not in rest:
            return None  # n / h says nothing, though it may be whole at run time
        rest.remove(symbol)
    if part[0] == 0 or whole[0] % part[0]:
        return None
    return dim(whole[0] // part[0], *rest)


def channel_axis_after(before: Sequence[Dim], after: Sequence[Dim], axis: int) -> int | None:
    """Where axis `axis` of a tensor reshaped from `before` to `after` stands whole, or None.

    >>> n, c, h, w = dim(1, "n"), dim(8), dim(1, "h"), dim(1, "w")
    >>> channel_axis_after([n, product([h, w]), c], [n, h, w, c], 2)
    3
    >>> channel_axis_after([n, c, h, w], [n, dim(2), dim(4), h, w], 1) is None
    True
    """
    # Row-major order keeps an axis whole where as much stands before it as did.
    lead = product(before[:axis])
    for k, size in enumerate(after):
        if size == before[axis] and product(after[:k]) == lead:
            return k
    return None


def trace(shape: Sequence[Dim], views: Sequence[View]) -> Trace | None:
    """Follow the atoms of a tensor of `shape` through `views`; None where a cut cannot be decided.

    >>> n, c, h, w = dim(2), CHANNEL, dim(1, "h"), dim(1, "w")
    >>> there = [Reshape((n, c, product([h, w]))), Transpose((0, 2, 1))]
    >>> back = [Transpose((0, 2, 1)), Reshape((n, c, h, w))]
    >>> trace([n, c, h, w], there + back).is_identity
    True
    """
    tracer = _Tracer(shape)
    for view in views:
        if isinstance(view, Transpose):
            tracer.axes = [tracer.axes[k] for k in view.permutation]
        elif not tracer.regroup(view.shape):
            return None
    return tracer.result()


class _Tracer:
    """The axes of a tensor as lists of atoms; cutting an atom cuts it in the source too."""

    def __init__(self, shape: Sequence[Dim]) -> None:
        # An axis of one holds no atom: it may be added and dropped anywhere.
        self.sizes = [d for d in shape if d != dim(1)]
        atoms = iter(range(len(self.sizes)))
        self.source = [[] if d == dim(1) else [next(atoms)] for d in shape]
        self.axes = [list(axis) for axis in self.source]

    def regroup(self, shape: Sequence[Dim]) -> bool:
        """Deal the atoms, in order, to axes of the sizes in `shape`; False where that fails."""
        dealt: list[list[int]] = []
        queue = [atom for axis in self.axes for atom in axis]
        for size in shape:
            axis = self._take(queue, size)
            if axis is None:
                return False
            dealt.append(axis)
        self.axes = dealt
        return not queue

    def _take(self, queue: list[int], size: Dim) -> list[int] | None:
        taken: list[int] = []
        while size != dim(1):
            if not queue:
                return None
            rest = divide(size, self.sizes[queue[0]])
            if rest is None:
                # The atom does not divide what the axis still lacks: the axis ends inside it.
                if not self._cut(queue, size):
                    return None
                rest = dim(1)
            taken.append(queue.pop(0))
            size = rest
        return taken

    def _cut(self, queue: list[int], size: Dim) -> bool:
        """Cut the first atom of the queue into one of `size` and the rest."""
        # Row-major: the piece that goes on alone is the outer one, the rest is inside it.
        rest = divide(self.sizes[queue[0]], size)
        if rest is None:
            return False
        old, new = queue[0], len(self.sizes)
        self.sizes[old] = size
        self.sizes.append(rest)
        # The cut is one of the tensor itself: it shows in the source and wherever the atom is.
        for axes in (self.source, self.axes, [queue]):
            for axis in axes:
                if old in axis:
                    axis.insert(axis.index(old) + 1, new)
        return True

    def result(self) -> Trace:
        return Trace(
            tuple(self.sizes), tuple(map(tuple, self.source)), tuple(map(tuple, self.axes))
        )
