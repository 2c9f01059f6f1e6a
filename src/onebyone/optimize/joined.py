"""Things joined two by two into groups: what must change together, or lies in one place."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["Joined"]

T = TypeVar("T", bound=Hashable)


@dataclass(eq=False)
class Joined(Generic[T]):
    """Groups of things, each named by one of its members (disjoint sets, Tarjan 1975).

    >>> letters = Joined[str]()
    >>> letters.tie("ab")
    >>> letters.tie("bc")
    >>> letters.groups("abcd")
    [['a', 'b', 'c'], ['d']]
    """

    nearer: dict[T, T] = field(default_factory=dict)
    """Each thing that was tied -> another of its group, on the way to the one that names it."""

    def of(self, thing: T) -> T:
        """The name of a thing's group."""
        while (above := self.nearer.get(thing, thing)) != thing:
            # Every other step of the way is left out from now on, so that ways stay short.
            self.nearer[thing] = above = self.nearer.get(above, above)
            thing = above
        return thing

    def tie(self, things: Sequence[T]) -> None:
        """Make the groups of these things one, named as that of the first."""
        for thing in things:
            self.nearer.setdefault(thing, thing)
            self.nearer[self.of(thing)] = self.of(things[0])

    def groups(self, things: Iterable[T]) -> list[list[T]]:
        """These things by their groups, in order."""
        found: dict[T, list[T]] = {}
        for thing in things:
            found.setdefault(self.of(thing), []).append(thing)
        return list(found.values())
