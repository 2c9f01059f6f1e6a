"""How far the maps of an inexact network are from what was asked for, on positions drawn by lot.

    crops    the network's answer on the crop that a position belongs to, alone
    tiles    the network's answer there on another tile: for one that looks at the whole image

Both are compared by the highest class, and by the largest difference over the largest answer. An
exact network is not compared: there is a proof (geometry.py).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from onebyone.algebra.weights import Array
from onebyone.scan.task import Job, answer, loaded

__all__ = ["Agreement", "agreement"]

_SAMPLES = 64
Positions = list[tuple[int, ...]]


@dataclass(frozen=True)
class Agreement:
    """How far two answers are apart.

    Args:
        beside: "crops" or "tiles".
        samples: positions that were compared.
        same_class: the share of them where both have the same highest class.
        difference: the largest between the two, over the largest answer.
    """

    beside: str
    samples: int
    same_class: float
    difference: float

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.same_class:.1%} of {self.samples} positions have the highest class that they "
            f"have on {'their crop' if self.beside == 'crops' else 'another tile'}; the largest "
            f"difference is {self.difference:.1e} of the largest answer"
        )


def agreement(
    job: Job, metadata: Mapping[str, str], tiles: bool, crops: bool
) -> tuple[Agreement, ...]:
    """What a scan that is done is like beside what it is not.

    Args:
        job: of the scan; its target is whole.
        metadata: of the network; `onebyone.size` is the sizes of the crops, as JSON.
        tiles, crops: whether the network is exact, and then not compared.
    """
    found = []
    drawn = _drawn(job)
    size = json.loads(metadata.get("onebyone.size", "null"))
    if not crops and size is not None:
        found.append(_compared("crops", job, drawn, lambda at: _on_crop(job, at, size)))
    if not tiles:
        found.append(_compared("tiles", job, drawn, lambda at: _on_another(job, at)))
    return tuple(each for each in found if each is not None)


def _drawn(job: Job) -> Positions:
    rng = np.random.default_rng(0)
    sizes = job.tiling.outputs
    return [tuple(int(rng.integers(n)) for n in sizes) for _ in range(_SAMPLES)]


def _mine(job: Job, positions: Positions) -> Iterator[tuple[tuple[int, ...], Array]]:
    """The classes in the target at these positions; each chunk is read once."""
    maps, tiling = job.target.array(), job.tiling
    chunks = defaultdict(list)
    for position in positions:
        index = tuple(i // side for i, side in zip(position, tiling.side, strict=True))
        chunks[index].append(position)
    for index, inside in chunks.items():
        outputs = tiling.chunk(index)
        read = np.asarray(maps[(slice(None), *(slice(r.start, r.stop) for r in outputs))])
        for position in inside:
            place = tuple(i - r.start for i, r in zip(position, outputs, strict=True))
            column: Array = np.moveaxis(read, 0, -1)[place]
            yield position, column


def _compared(
    beside: str, job: Job, positions: Positions, other: Callable[[tuple[int, ...]], Array | None]
) -> Agreement | None:
    """None where there is nothing to compare: all of it masked, or at the border."""
    pairs = list(_pairs(job, positions, other))
    if not pairs:
        return None
    mine, theirs = (np.array(each, np.float64) for each in zip(*pairs, strict=True))
    largest = float(np.abs(theirs).max()) or 1.0
    return Agreement(
        beside,
        len(pairs),
        float((mine.argmax(1) == theirs.argmax(1)).mean()),
        float(np.abs(mine - theirs).max()) / largest,
    )


def _pairs(
    job: Job, positions: Positions, other: Callable[[tuple[int, ...]], Array | None]
) -> Iterator[tuple[Array, Array]]:
    for position, mine in _mine(job, positions):
        if mine.dtype.kind == "f" and np.isnan(mine).all():  # masked
            continue
        theirs = other(position)
        if theirs is not None:
            yield mine, theirs


def _on_crop(job: Job, position: Sequence[int], size: Sequence[int]) -> Array | None:
    """The classes on the crop of a position; None where it reaches beyond the image."""
    starts = [i * axis.stride for i, axis in zip(position, job.tiling.axes, strict=True)]
    ranges = [range(start, start + n) for start, n in zip(starts, size, strict=True)]
    if any(r.stop > n for r, n in zip(ranges, job.tiling.pixels, strict=True)):
        return None
    found = _run(job, job.image.read(ranges))
    # On a crop of the size that the classifier was made for, there is one position.
    return found.reshape(len(found), -1)[:, 0]


def _on_another(job: Job, position: Sequence[int]) -> Array:
    """The classes at a position on a tile of which it is the middle."""
    sizes = zip(position, job.tiling.side, job.tiling.outputs, strict=True)
    ranges = [range(max(i - side // 2, 0), min(i + side // 2 + 1, n)) for i, side, n in sizes]
    each = list(zip(job.tiling.axes, ranges, job.tiling.pixels, strict=True))
    tile = [axis.needed(outputs, n) for axis, outputs, n in each]
    kept = [
        axis.kept(range(i, i + 1), read, n)
        for (axis, _, n), read, i in zip(each, tile, position, strict=True)
    ]
    found = _run(job, job.image.read(tile))
    there = tuple(place.start for place in kept)
    column: Array = found[(slice(None), *there)]
    return column


def _run(job: Job, pixels: Array) -> Array:
    return answer(job, pixels, loaded(job))
