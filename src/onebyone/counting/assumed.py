"""The sizes that a model leaves open and nobody gave, and the line that says what they became.

It is the first line of what `count`, `optimize`, `verify` and `bench` print, and what it suggests
can be pasted behind any of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from onebyone.text import shape_option

__all__ = ["Assumed", "said"]


@dataclass(frozen=True)
class Assumed:
    """One open size.

    Args:
        name: of the dimension.
        kind: "batch", "sequence", "image", "volume" or "channels".
        size: what it was taken to be.
        input: the first input that has it.
    """

    name: str
    kind: str
    size: int
    input: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def said(assumed: Sequence[Assumed], inputs: Mapping[str, Sequence[int]]) -> str:
    """The line for a person; empty where nothing was assumed.

    Args:
        assumed: the open sizes.
        inputs: the whole shape of each input.

    >>> said([Assumed("b", "batch", 1, "token ids")], {"token ids": (1, 7)})
    "open sizes: batch 1; for others add --shape 'token ids=1,7'"
    """
    if not assumed:
        return ""
    # One "batch 1" for all inputs, however their dimensions are called.
    sizes = ", ".join(dict.fromkeys(f"{each.kind} {each.size}" for each in assumed))
    names = list(dict.fromkeys(each.input for each in assumed))
    most = "" if len(names) <= _SHOWN else f", of {len(names)} inputs like"
    options = " ".join(shape_option(name, inputs[name]) for name in names[:_SHOWN])
    return f"open sizes: {sizes}; for others add{most} {options}"


_SHOWN = 8
"""Inputs in the line."""
