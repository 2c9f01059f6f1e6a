"""What onebyone shows to people: a layer explained in numbers."""

from __future__ import annotations

from onebyone.explore.explain import Explanation, explain

__all__ = ["Explanation", "explain"]
