"""The preview of a scan, put together from what its tasks left beside their markers."""

from __future__ import annotations

import numpy as np

from onebyone.algebra.weights import Array
from onebyone.graph.files import replace
from onebyone.scan.task import Job
from onebyone.show.heat import heat

__all__ = ["draw"]


def draw(job: Job) -> None:
    """Write the preview of a scan that is done; nothing of a sequence or a volume."""
    if len(job.tiling.axes) == 2:
        replace(job.target.preview, heat(_whole(job, "image"), _whole(job, "score")))


def _whole(job: Job, name: str) -> Array:
    """The samples of all chunks, as they lie."""
    down, right = job.tiling.grid
    rows = ([job.target.marked((i, j))[name] for j in range(right)] for i in range(down))
    return np.concatenate([np.concatenate(row, 1) for row in rows], 0)
