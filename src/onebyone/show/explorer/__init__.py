"""The explorer: one page that shows by playing what a 1×1 convolution is (`onebyone explore`)."""

from __future__ import annotations

__all__: list[str] = []
