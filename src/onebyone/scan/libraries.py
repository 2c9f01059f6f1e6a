"""What `onebyone[scan]` brings, imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from onebyone.errors import UsageError

__all__ = ["library"]


def library(name: str) -> Any:
    """A module of Dask, Zarr, tifffile or Pillow.

    Raises:
        UsageError: it is not installed.

    >>> library("math").sqrt(4.0)
    2.0
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise UsageError(
            f"a scan needs {name.partition('.')[0]}, which is not installed: pip install "
            "'onebyone[scan]' (Python 3.11 or newer)"
        ) from error
