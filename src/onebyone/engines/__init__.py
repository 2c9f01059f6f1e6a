"""Run models in engines and time them: `onebyone bench` and `onebyone profile`."""

from __future__ import annotations
