"""The laws that look beyond one linear region, each a pass over the whole graph.

Regions are planned by `search`; these passes move strides, drop or reorder channels and factor
maps where the regions have nothing left to gain, so each finds products as they will be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from onebyone.optimize.channels.prune import prune
from onebyone.optimize.channels.relabel import relabel
from onebyone.optimize.maps.factor import factor_maps
from onebyone.optimize.positions.crop import crop
from onebyone.optimize.rewritten import Rewrite, Task

__all__ = ["FIRST", "PASSES", "Pass"]

Pass = tuple[str, Callable[[Task], Iterator[Rewrite]]]
"""A law, and the function that carries it out, in place, telling what it did."""

FIRST: tuple[Pass, ...] = (("prune", prune),)
"""Run once, before the regions: what they leave makes regions smaller."""

PASSES: tuple[Pass, ...] = (
    ("demand", crop),
    ("prune", prune),
    ("permute", relabel),
    ("rank", factor_maps),
)
"""Run in this order, each where all before it have nothing left to do."""
