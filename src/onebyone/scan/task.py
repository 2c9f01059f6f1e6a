"""One task: a chunk of the maps from its tile, in whichever process or thread runs it.

    read the tile and its halo ─▶ values ─▶ ONNX Runtime ─▶ cut ─▶ write one chunk ─▶ marker

A task needs nothing of other tasks, and the same task gives the same bytes anywhere. Each thread
that runs tasks has sessions of its own, of as many threads as the job says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnxruntime import InferenceSession, SessionOptions

from onebyone.algebra.weights import Array
from onebyone.engines.session import NATIVE, session
from onebyone.errors import UnreadableModel
from onebyone.graph.checks import one_line
from onebyone.scan.place import middle
from onebyone.scan.sources import Image
from onebyone.scan.stages import Stage, first_result, halves, in_stages
from onebyone.scan.targets import Target
from onebyone.scan.tiles import Index, Tiling
from onebyone.scan.values import Values

__all__ = ["Engine", "Job", "answer", "chunk", "engine", "loaded", "run", "sample"]

# Of the preview, along each axis.
_PREVIEW = 1024
_mine = threading.local()

Engine = Callable[[Array], Array]
"""Maps N×K×… of images N×C×…."""


@dataclass(frozen=True)
class Job:
    """What all tasks of a scan have in common.

    Args:
        image: what is read.
        values: what the network is given for pixels.
        tiling: the chunks, and their tiles.
        target: what is written.
        outputs: the network's channels that are kept, in this order.
        dtype: of the maps.
        threads: of a session.
        mask: positions whose middle pixel is 0 in it are left out.
        stage: where the network is cut in two, if it is.
    """

    image: Image
    values: Values
    tiling: Tiling
    target: Target
    outputs: tuple[int, ...]
    dtype: str
    threads: int
    mask: Image | None = None
    stage: Stage | None = None


def run(job: Job, index: Index) -> Index:
    """Do one task: write a chunk, and then its marker.

    Raises:
        UnreadableModel: the image cannot be read there, or the engine fails.
        UsageError: the chunk cannot be written.
    """
    maps, pixels = chunk(job, index, loaded(job))
    seal = job.target.write(index, maps)
    job.target.mark(index, seal, **sample(job, index, maps, pixels))
    return index


def chunk(job: Job, index: Index, engine: Engine) -> tuple[Array, Array | None]:
    """The maps (K, *sizes) of a chunk, and the pixels (C, *sizes) of its tile; None if masked."""
    outputs = job.tiling.chunk(index)
    shape = (len(job.outputs), *map(len, outputs))
    fill = np.nan if np.dtype(job.dtype).kind == "f" else 0
    wanted = None if job.mask is None else _wanted(job, job.mask, outputs)
    if wanted is not None and not wanted.any():
        return np.full(shape, fill, job.dtype), None
    tile = job.tiling.tile(index)
    pixels = job.image.read(tile)
    maps = np.empty(shape, job.dtype)
    for part in job.tiling.parts(index):
        there = (slice(p.start - o.start, p.stop - o.start)
                 for p, o in zip(part, outputs, strict=True))  # fmt: skip
        maps[(slice(None), *there)] = _part(job, part, tile, pixels, engine)
    if wanted is not None:
        maps[:, ~wanted] = fill
    return maps, pixels


def _part(
    job: Job,
    outputs: Sequence[range],
    tile: Sequence[range],
    pixels: Array,
    engine: Engine,
) -> Array:
    """The maps of some outputs, from pixels (C, …) of a tile that holds theirs."""
    own = job.tiling.needed(outputs)
    there = (slice(r.start - t.start, r.stop - t.start) for r, t in zip(own, tile, strict=True))
    found = answer(job, pixels[(slice(None), *there)], engine)
    told = tuple(axis.size(len(n)) for axis, n in zip(job.tiling.axes, own, strict=True))
    if found.shape[1:] != told:
        raise UnreadableModel(
            f"the network gave maps of {found.shape[1:]} for a tile of {tuple(map(len, own))}, "
            f"where its windows say {told}: give it a larger image"
        )
    kept: Array = found[(slice(None), *job.tiling.kept(outputs, own))]
    return kept


def answer(job: Job, pixels: Array, engine: Engine) -> Array:
    """The network's maps (K, …) of pixels (C, …), those that are kept.

    Raises:
        UnreadableModel: the engine fails.
    """
    try:
        found = engine(job.values.of(pixels)[None])[0]
    except NATIVE as error:
        raise UnreadableModel(f"ONNX Runtime cannot run the network: {one_line(error)}") from error
    kept: Array = found[list(job.outputs)]
    return kept


def engine(model: Any, threads: int, stage: Stage | None = None) -> Engine:
    """What runs a model, a path or bytes, on so many threads: whole, or cut in two.

    Raises:
        UnreadableModel: ONNX Runtime cannot load it.
    """
    if stage is None:
        return partial(first_result, _session(model, threads))
    whole = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(model)
    parts = halves(whole, stage.value)
    assert parts is not None  # else it would not have been cut there
    first, second = (_session(part.SerializeToString(), threads) for part in parts)
    return in_stages(first, second, stage)


def _session(model: Any, threads: int) -> InferenceSession:
    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Tiles at the edges have other sizes: a plan of memory for each would be kept.
    options.enable_mem_pattern = False
    try:
        return session(model, options)
    except NATIVE as error:
        raise UnreadableModel(f"ONNX Runtime cannot load the network: {one_line(error)}") from error


def sample(job: Job, index: Index, maps: Array, pixels: Array | None) -> dict[str, Array]:
    """What the preview shows of a chunk: "image" and "score", some points along each axis."""
    outputs, tile = job.tiling.chunk(index), job.tiling.tile(index)
    if len(outputs) != 2:  # nothing is drawn of a sequence or a volume
        return {}
    counts = [
        max(1, min(len(each), _PREVIEW // grid))
        for each, grid in zip(outputs, job.tiling.grid, strict=True)
    ]
    cells = [np.linspace(0, len(each), n, endpoint=False, dtype=int)
             for each, n in zip(outputs, counts, strict=True)]  # fmt: skip
    score = maps.astype(np.float32).max(0)
    for k, starts in enumerate(cells):
        score = np.maximum.reduceat(score, starts, k)
    if pixels is None:
        return {"image": np.zeros(counts, np.float32), "score": score}
    seen = []
    each = zip(job.tiling.axes, outputs, cells, tile, strict=True)
    for axis, positions, starts, read in each:
        middles = [middle(axis, positions[start]) - read.start for start in starts]
        seen.append(np.clip(np.array(middles).astype(int), 0, len(read) - 1))
    return {"image": pixels[(slice(None), *np.ix_(*seen))].mean(0, np.float32), "score": score}


def _wanted(job: Job, mask: Image, outputs: Sequence[range]) -> Array:
    """Which positions of a chunk the mask asks for, by the pixel in the middle of each window."""
    points = []
    sizes = zip(job.tiling.axes, outputs, job.tiling.pixels, mask.sizes, strict=True)
    for axis, positions, pixels, there in sizes:
        middles = np.array([middle(axis, position) for position in positions])
        # A mask may be smaller than the image: its pixel that covers the middle.
        covered = np.floor((np.clip(middles, 0, pixels - 1) + 0.5) * there / pixels)
        points.append(np.clip(covered.astype(int), 0, there - 1))
    ranges = [range(int(p.min()), int(p.max()) + 1) for p in points]
    read = mask.read(ranges)[0]
    starts = zip(points, ranges, strict=True)
    found: Array = read[np.ix_(*(p - r.start for p, r in starts))] != 0
    return found


def loaded(job: Job) -> Engine:
    """The engine of this thread; made anew for another target."""
    key = (job.target.path, job.threads, job.target.model.stat().st_mtime_ns)
    if getattr(_mine, "key", None) != key:
        _mine.key, _mine.engine = key, engine(job.target.model, job.threads, job.stage)
    found: Engine = _mine.engine
    return found
