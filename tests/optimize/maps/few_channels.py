"""Optimising for a machine on which few channels are enough for tiles: its memory is fast."""

from __future__ import annotations

from functools import partial

import onebyone.optimize
from onebyone.cost.profile import Profile

__all__ = ["FEW", "optimize"]

FEW = Profile(bandwidth=90e9, overhead=1.3e-6, rows=2.5, tiles=4)

optimize = partial(onebyone.optimize.optimize, profile=FEW)
