"""What work takes here, for tests of how it grows: as little as possible of what others do."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

__all__ = ["least_seconds"]


def least_seconds(work: Callable[[], object], times: int = 3) -> float:
    """The least processor time of some runs of `work`, in seconds, without the collector.

    It walks all objects that the tests before have left, more often the longer the work is.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return min(_seconds(work) for _ in range(times))
    finally:
        if collects:
            gc.enable()


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
