"""The laws that look beyond one linear region, each a pass over the whole graph.

Regions are planned by `search`; these passes move strides, drop or reorder channels and factor
maps where the regions have nothing left to gain, so each finds products as they will be. Which they
are, and where, says the row of each law (`algebra/laws.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pkgutil import resolve_name

from onebyone.algebra.laws import LAWS
from onebyone.optimize.rewritten import Rewrite, Task

__all__ = ["FIRST", "PASSES", "Pass"]

Pass = tuple[str, Callable[[Task], Iterator[Rewrite]]]
"""A law, and the function that carries it out, in place, telling what it did."""

PASSES: tuple[Pass, ...] = tuple(
    (law.name, resolve_name(f"onebyone.optimize.{law.realised}"))
    for law in reversed(LAWS.values())
    if law.realised
)
"""Run in this order, each where all before it have nothing left to do."""

FIRST: tuple[Pass, ...] = tuple(row for row in PASSES if row[0] == "prune")
"""Run once, before the regions: what they leave makes regions smaller."""
