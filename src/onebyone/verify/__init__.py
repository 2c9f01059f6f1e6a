"""Are two models equal? Knows no law, so that no fault of a law can hide here.

The package can be called: `onebyone.verify(a, b)` is `onebyone.verify.verify.verify`.
"""

from __future__ import annotations

from onebyone.callable import calls

__all__: list[str] = []

calls(__name__, "onebyone.verify.verify", "verify")
