"""`scan`: a network slid over an image of any size, chunk by chunk.

network ──optimize──▶ model ┐
image ──────────────────────┼─ prepare ─▶ Prepared ── finish ─▶ Scanned
target, if it is there ─────┘   checks all    │          │ a task a chunk, by Dask
                                            cost       maps, markers, preview
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onebyone.errors import UsageError
from onebyone.scan.agreement import agreement
from onebyone.scan.cost import Cost, Counts, crop_macs, scan_macs
from onebyone.scan.network import Network, load
from onebyone.scan.options import Options, chosen_classes, chosen_side, shares
from onebyone.scan.preview import draw
from onebyone.scan.result import Scanned
from onebyone.scan.schedule import on_cluster, on_threads
from onebyone.scan.smaller import Smaller, smaller
from onebyone.scan.sources import Image, opened
from onebyone.scan.stages import MOST_ALIVE, Stage, cut, stage_at
from onebyone.scan.targets import Target, check_model, check_same, create, found
from onebyone.scan.task import Job, chunk, engine
from onebyone.scan.tiff import check_tiff, is_tiff, working, write_tiff
from onebyone.scan.tiles import Tiling, chosen, in_parts
from onebyone.scan.values import values

__all__ = ["Prepared", "finish", "prepare", "scan"]

Progress = Callable[[str, int, int], None]


def scan(
    network: Any,
    source: Any,
    target: str | os.PathLike[str],
    *,
    client: Any = None,
    tile: int | None = None,
    classes: Sequence[str | int] | None = None,
    resume: bool = True,
    memory: str | int = "2GiB",
    workers: int | None = None,
    scale: float | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    mask: Any = None,
    level: int = 0,
    accept_approx: bool = False,
    result: str | None = None,
    progress: Progress | None = None,
) -> Scanned:
    """Slide a network over an image that may be larger than memory, and write its maps.

    The maps are those of the network on the whole image at once. What is run is what `optimize`
    makes of the network. A run that was ended, by whatever, goes on where it was.

    Args:
        network: an ONNX model (a path, an `onnx.ModelProto`) or a `scan.network.Network`.
        source: the path of a Zarr, TIFF, .npy, PNG or JPEG image, or an array of NumPy, Dask, Zarr.
        target: where to write the maps (K, H', W'): a folder of Zarr, or a file.tif.
        client: of `distributed`, whose workers see the same files; without it threads of this
            process work.
        tile: outputs of a chunk along each axis; without it what fits into `memory`.
        classes: maps to keep, by name or number, in this order; all without it.
        resume: whether to go on with a target that is there.
        memory: bytes that a worker may take, "2GiB" say.
        workers: threads that work; as many as there are cores without it.
        scale, mean, std: the network is given (pixel / scale − mean) / std.
        mask: an image of one channel; positions where it is 0 are left out, as NaN.
        level: of a pyramid; 0 is the largest.
        accept_approx: scan with a network whose maps on tiles differ from those of the whole.
        result: the name of the network's output to write; without it the first with positions.
        progress: called with (stage, done, total).

    Raises:
        UnreadableModel: the network or the image is damaged, or no such thing.
        UsageError: they do not fit each other, the target belongs to another scan, or there is no
            space: what was done stays.

    >>> import tempfile
    >>> from onnx import parser
    >>> blur = parser.parse_model('''<ir_version: 8, opset_import: ["": 17]>
    ...     g (float[1, 1, H, W] x) => (float[1, 1, h, w] y) <float[1, 1, 3, 3] k = {
    ...     1, 2, 1, 2, 4, 2, 1, 2, 1}> { y = Conv <strides = [2, 2]> (x, k) }''')
    >>> image = np.arange(35 * 50, dtype=np.float32).reshape(35, 50)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     done = scan(blur, image, f"{folder}/maps.zarr", tile=8)
    ...     maps = done.array()[:]
    >>> maps.shape, float(maps[0, 3, 5]), float(16 * image[7, 11])
    ((1, 17, 24), 5776.0, 5776.0)
    """
    options = Options(
        tile, classes, memory, workers, scale, mean, std, mask, level, accept_approx, result
    )
    prepared = prepare(
        network, source, target, options, client=client, resume=resume, progress=progress
    )
    return finish(prepared, client=client, progress=progress)


@dataclass(frozen=True)
class Prepared:
    """A scan that can begin: everything was checked, and nothing written.

    Args:
        network: as it was given.
        job: what the tasks have in common; its target may not be there yet.
        output: what was asked for: the target's folder, or a TIFF that is made of it at the end.
        model: the bytes of what is run.
        certificate: that it is equal to the network.
        said: what the target is to say of its scan.
        existing: whether the target is there.
        names: of the maps.
        workers: how many work at once.
        notes: what there is to say about exactness.
    """

    network: Network
    job: Job
    output: str
    model: bytes
    certificate: Mapping[str, Any]
    said: Mapping[str, Any]
    existing: bool
    names: tuple[str, ...]
    workers: int
    notes: tuple[str, ...]

    @cached_property
    def left(self) -> list[tuple[int, ...]]:
        """The chunks that were to do when it was first asked: what is done is read for it."""
        done = self.job.target.done() if self.existing else set()
        return [index for index in self.job.tiling.chunks() if index not in done]

    def cost(self, timed: bool = True) -> Cost:
        """What it takes; one tile is read and run for the time, unless there is nothing to do."""
        tiling, job, left = self.job.tiling, self.job, self.left
        counts = _counts(onnx.load_from_string(self.model), job.image, job.stage)
        maps = len(job.outputs) * prod(tiling.outputs) * np.dtype(job.dtype).itemsize
        chunks = replace(tiling, part=())
        return Cost(
            image=job.image.name,
            pixels=tiling.pixels,
            channels=job.image.channels,
            classes=len(job.outputs),
            positions=tiling.outputs,
            chunks=prod(tiling.grid),
            done=prod(tiling.grid) - len(left),
            tile=chunks.largest,
            read=chunks.overhead,
            macs=scan_macs(counts, tiling),
            crop_macs=crop_macs(replace(counts, stage=None), tiling),
            seconds=self._expected(left) if timed else None,
            workers=self.workers,
            threads=job.threads,
            memory=counts.taken(tiling.largest) + prod(chunks.largest) * counts.pixel,
            disk=maps,
            free=_free(self.output),
            values=job.values.described,
            notes=self.notes,
        )

    def _expected(self, left: Sequence[tuple[int, ...]]) -> float:
        """Seconds for all that is left, from one of the chunks in the middle of it."""
        if not left:
            return 0.0
        loaded = engine(self.model, self.job.threads, self.job.stage)
        start = time.perf_counter()
        chunk(self.job, left[len(left) // 2], loaded)
        return (time.perf_counter() - start) * len(left) / min(self.workers, len(left))


def prepare(
    network: Any,
    source: Any,
    target: str | os.PathLike[str],
    options: Options,
    *,
    client: Any = None,
    resume: bool = True,
    progress: Progress | None = None,
) -> Prepared:
    """Check everything, and make the model that is run; nothing is written.

    The arguments are those of `scan`, and so are the errors.
    """
    output = os.path.abspath(target)  # workers of a cluster stand elsewhere
    path = working(output) if is_tiff(output) else output
    there = _there(path, resume)
    loaded = _loaded(network, options)
    if is_tiff(output):
        check_tiff(output, len(loaded.axes))
    image = opened(source, spatial=len(loaded.axes), channels=loaded.channels, level=options.level)
    mask = _mask(options.mask, image)
    workers, threads = shares(options.workers, client)
    outputs, names = chosen_classes(options.classes, loaded.outputs, loaded.classes)
    given = values(
        image.dtype,
        loaded.dtype.str,
        loaded.channels,
        scale=options.scale,
        mean=options.mean,
        std=options.std,
        metadata=_metadata(loaded.model),
    )
    single = _single(loaded, image)
    ready = _smaller(loaded, there, progress)
    running = onnx.load_from_string(ready.content)
    stage = _stage(loaded, running, single, there)
    counts = _counts(running, image, stage)
    tiling = _tiling(loaded, single, counts, options, there, workers)
    said: dict[str, Any] = {
        "schema": 1,
        "model": loaded.digest,
        "image": image.identity,
        "mask": None if mask is None else mask.identity,
        "values": given.described,
        "classes": list(outputs),
        "tile": list(tiling.side),
        "part": list(tiling.part),
        "stage": None if stage is None else {"value": stage.value, "side": list(stage.side)},
    }
    if there is not None:
        check_same(there, said)
    said["run"] = sha256(ready.content).hexdigest()
    dtype = str(_result_type(running))
    job = Job(image, given, tiling, there or Target(path), outputs, dtype, threads, mask, stage)
    notes = (*loaded.reasons, *_padded(loaded), *ready.notes)
    return Prepared(
        loaded, job, output, ready.content, ready.certificate, said, there is not None, names,
        workers, notes,
    )  # fmt: skip


def finish(prepared: Prepared, *, client: Any = None, progress: Progress | None = None) -> Scanned:
    """Do what is left of a scan.

    Raises:
        UnreadableModel: the image cannot be read somewhere, or the engine fails.
        UsageError: there is no space, or the cluster was lost. In both cases what was done stays.
    """
    start, left = time.perf_counter(), prepared.left
    job = replace(prepared.job, target=_target(prepared))
    if client is None:
        on_threads(job, left, prepared.workers, progress)
    else:
        on_cluster(job, left, client, progress)
    draw(job)
    output, network = prepared.output, prepared.network
    agreements = agreement(job, _metadata(network.model), network.tiles, network.crops)
    job.target.say({"agreements": [each.to_dict() for each in agreements]})
    if is_tiff(output):
        place = job.image.place.of_map(job.tiling.axes)
        write_tiff(job.target, output, place, prepared.names, job.mask is not None)
    job.target.settle()
    seconds = time.perf_counter() - start
    return Scanned(output, job.target.path, prepared.names, len(left), seconds, agreements)


def _there(path: str, resume: bool) -> Target | None:
    there = found(path)
    if there is not None and not resume:
        raise UsageError(f"{path} is there: remove it, choose another name, or let it resume")
    folder = Path(path).absolute().parent
    if there is None and not folder.is_dir():
        raise UsageError(f"there is no folder {folder} for {path}: create it first")
    return there


def _loaded(network: Any, options: Options) -> Network:
    if isinstance(network, Network):
        loaded = network
    else:
        loaded = load(network, result=options.result, accept_approx=options.accept_approx)
    if not loaded.tiles and not options.accept_approx:
        raise UsageError(
            f"the maps of tiles would differ from those of the whole image: "
            f"{'; '.join(loaded.reasons)}: --accept-approx scans all the same"
        )
    return loaded


def _padded(network: Network) -> tuple[str, ...]:
    """What there is to say of a classifier that slides, and pads."""
    if network.crops or "onebyone.size" not in _metadata(network.model):
        return ()
    return ("positions are not the classifier's answers on their crops, which see padding; how far "
            "they agree is measured at the end",)  # fmt: skip


def _metadata(model: onnx.ModelProto) -> dict[str, str]:
    return {each.key: each.value for each in model.metadata_props}


def _mask(mask: Any, image: Image) -> Image | None:
    if mask is None:
        return None
    return opened(mask, spatial=len(image.sizes), channels=None, what="the mask")


def _counts(model: onnx.ModelProto, image: Image, stage: Stage | None) -> Counts:
    return Counts(model, image.channels, np.dtype(image.dtype).itemsize, stage)


def _single(network: Network, image: Image) -> Tiling:
    """A tiling of chunks of one output, of an image that the network can take."""
    single = Tiling(network.axes, image.sizes, (1,) * len(network.axes))
    smallest = tuple(axis.smallest_image for axis in network.axes)
    if any(n < least for n, least in zip(image.sizes, smallest, strict=True)):
        raise UsageError(
            f"{image.name} has sizes {image.sizes}, smaller than the network takes: wanted "
            f"{smallest} or more: pad or enlarge the image"
        )
    single.tile((0,) * len(network.axes))  # refuses sizes that the network cannot take
    return single


def _stage(
    network: Network, running: onnx.ModelProto, single: Tiling, there: Target | None
) -> Stage | None:
    """Where to cut what cannot be computed in small parts; of a target that is there its own."""
    if there is not None:
        told = there.said.get("stage")
        return None if told is None else stage_at(running, told["value"], told["side"])
    # As if memory were no question: what it takes hangs on the stage.
    tiling = chosen(single.axes, single.pixels, 0, lambda _: 0)
    counts = Counts(running, network.channels, 0)
    if network.tiles:
        tiling = in_parts(tiling, counts.activations, counts.macs)
    if (counts.activations(tiling.largest) or 0) <= MOST_ALIVE:
        return None
    return cut(running, network.channels, tiling.largest)


def _tiling(
    network: Network,
    single: Tiling,
    counts: Counts,
    options: Options,
    there: Target | None,
    workers: int,
) -> Tiling:
    """Of a target that is there its own, whatever fits now."""
    if there is not None and options.tile is None:
        tiling = replace(single, side=tuple(there.said["tile"]))
    else:
        tiling = chosen_side(single, options, counts.taken, workers)
    if counts.stage is not None or not network.tiles:
        return tiling
    return in_parts(tiling, counts.activations, counts.macs)


def _smaller(network: Network, there: Target | None, progress: Progress | None) -> Smaller:
    if there is None:
        return smaller(network, progress)
    return Smaller(check_model(there, there.said["run"]), {}, ())


def _result_type(model: onnx.ModelProto) -> np.dtype[Any]:
    """Of the maps."""
    output = model.graph.output[0].type.tensor_type
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(output.elem_type))


def _target(prepared: Prepared) -> Target:
    """The target; made now if it is not there."""
    job = prepared.job
    if prepared.existing:
        return job.target
    return create(
        job.target.path,
        (len(job.outputs), *job.tiling.outputs),
        job.tiling.side,
        job.dtype,
        names=prepared.names,
        place=job.image.place.of_map(job.tiling.axes),
        said=prepared.said,
        model=prepared.model,
        certificate=prepared.certificate,
    )


def _free(path: str) -> int | None:
    """Bytes on the disk of a path."""
    import shutil

    try:
        return shutil.disk_usage(Path(path).absolute().parent).free
    except OSError:
        return None
