"""Optimising for a machine on which few channels are enough for tiles.

By default there have to be more, so that no engine on any machine is slower.
"""

from __future__ import annotations

from functools import partial

import onebyone.optimize
from onebyone.cost.profile import Profile

__all__ = ["FEW", "optimize"]

FEW = Profile(rows=48, tiles=256)

optimize = partial(onebyone.optimize.optimize, profile=FEW)
