"""Hypothesis in the gate: the same examples each time, and no deadline on a busy machine.

stdout is a pipe without a width of its own, under any runner: COLUMNS is not set.

`HYPOTHESIS_PROFILE=search pytest` draws new ones; ONEBYONE_EXAMPLES=20 draws many.
"""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.pop("COLUMNS", None)
settings.register_profile("gate", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "gate"))
