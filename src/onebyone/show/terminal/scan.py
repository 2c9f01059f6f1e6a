"""What a scan takes, and what it did, as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from onebyone.optimize.verdict import short
from onebyone.scan.cost import Cost
from onebyone.scan.result import Scanned

__all__ = ["duration", "view"]


def view(result: Cost | Scanned) -> str:
    """A line for each figure; nothing in it is markup to rich.

    >>> print(view(Scanned("maps.zarr", "maps.zarr", ("cat", "dog"), 12, 3.21)))
    written    maps.zarr: 2 maps (cat, dog)
    took       3.2 s for 12 chunks
    beside     maps.zarr/onebyone: certificate.json, model.onnx, preview.png
    """
    rows = _done(result) if isinstance(result, Scanned) else _cost(result)
    return "\n".join(f"{name:<11}{value}" for name, value in rows)


def _cost(cost: Cost) -> Iterator[tuple[str, str]]:
    """Before it starts."""
    channels = f"{cost.channels} channel{'s' * (cost.channels != 1)}"
    yield "image", f"{cost.image}, {_by(cost.pixels)}, {channels}: {prod(cost.pixels):,} pixels"
    yield "given", f"the network is given {cost.values}"
    yield "maps", f"{cost.classes} of {_by(cost.positions)} positions"
    chunks = f"{cost.chunks:,} chunks" + f", {cost.done:,} of them done" * bool(cost.done)
    yield "work", f"{chunks}; tiles of {_by(cost.tile)}, which read {cost.read:.2f}× the pixels"
    yield "MACs", _macs(cost)
    threads = f"{cost.threads} thread{'s' * (cost.threads != 1)}"
    yield "workers", f"{cost.workers} of {threads}; each about {short(cost.memory, 'B')} at most"
    if cost.seconds is not None:
        yield "time", f"about {duration(cost.seconds)}, by one tile"
    free = "" if cost.free is None else f"; {short(cost.free, 'B')} are free"
    yield "disk", f"at most {short(cost.disk, 'B')}, before they are compressed{free}"
    for note in cost.notes:
        yield "note", note


def _macs(cost: Cost) -> str:
    if not cost.crop_macs or not cost.macs:
        return short(cost.macs)
    times = cost.crop_macs / cost.macs
    return f"{short(cost.macs)}; a crop for each position {short(cost.crop_macs)}, {times:.1f}×"


def _done(done: Scanned) -> Iterator[tuple[str, str]]:
    """After it."""
    names = ", ".join(done.classes[:10]) + ", …" * (len(done.classes) > 10)
    maps = f": {len(done.classes)} maps ({names})" if names else ""
    yield "written", f"{done.output}{maps}"
    yield "took", f"{duration(done.seconds)} for {done.chunks:,} chunks"
    for each in done.agreements:
        yield "agreement", str(each)
    yield "beside", f"{done.folder}/onebyone: certificate.json, model.onnx, preview.png"


def duration(seconds: float) -> str:
    """Seconds, minutes and hours.

    >>> duration(3.21), duration(4000)
    ('3.2 s', '1 h 7 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _by(sizes: tuple[int, ...]) -> str:
    return "×".join(map(str, sizes))
