"""`python -m onebyone.demo`: the bundled network (`onebyone.bundled`), optimised and shown."""

from __future__ import annotations

__all__: list[str] = []
