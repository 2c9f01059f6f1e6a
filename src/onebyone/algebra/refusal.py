"""A law that nearly applies but does not, as a value.

`None` says that a law has nothing to do with what it was shown; a `Refusal` says that it almost
had, and which side condition failed. The report prints it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Refusal"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The side condition that kept `law` from being applied.

    `law` is the name of a law ("compose", "affine", "split", "commute", "sum", "linear");
    `reason` is one clause, lower case, without a full stop.

    >>> print(Refusal("commute", "zero padding does not commute with a bias"))
    commute: zero padding does not commute with a bias
    """

    law: str
    reason: str

    def __str__(self) -> str:
        return f"{self.law}: {self.reason}"
