"""What a scan will take, said before it starts.

MACs           those of each tile together, halos with them
MACs of crops  those of the network on one receptive field, for each position
time           that of one tile, read and run, for all tiles on all workers
disk           of the maps before they are compressed
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from math import prod
from typing import Any

import onnx

from onebyone.counting.value import Count
from onebyone.errors import UsageError
from onebyone.graph.count import count
from onebyone.scan.network import fed
from onebyone.scan.stages import Stage, halves
from onebyone.scan.tiles import Tiling
from onebyone.shown import Shown

__all__ = ["Cost", "Counts", "crop_macs", "scan_macs"]

# Of what the engine takes for activations against what is alive at once, by our count: it lays
# kernels' windows out, reorders channels, and keeps what it took.
_ENGINE = 2.0
# Of the process before it has read a pixel.
_PROCESS = 200 << 20


@dataclass(frozen=True)
class Counts:
    """What a network costs on tiles of any size.

    Args:
        model: with one input of free sizes.
        channels: of its input.
        item: bytes of a pixel's channel as it is stored.
        stage: where it is cut in two, if it is.
    """

    model: onnx.ModelProto
    channels: int
    item: int
    stage: Stage | None = None

    @property
    def pixel(self) -> int:
        """Bytes of a pixel as it is stored."""
        return self.channels * self.item

    def macs(self, sizes: Sequence[int]) -> int:
        """Multiply-accumulates on an image of these sizes."""
        if self.stage is None:
            return self._of(sizes).macs
        tiling = self.stage.tiling(sizes)
        return tiling.total(lambda tile: self._first(tile).macs) + self._second(tiling).macs

    def activations(self, sizes: Sequence[int]) -> int | None:
        """Bytes that are alive at once inside the network; None where its sizes are not known."""
        return _alive(self._at_once(sizes))

    def taken(self, sizes: Sequence[int]) -> int:
        """Bytes that a worker takes for a tile of these sizes, roughly.

        Raises:
            UsageError: sizes inside the network are not known.
        """
        found = self._at_once(sizes)
        alive = _alive(found)
        if alive is None:
            raise UsageError("cannot tell what memory a tile takes: say how large with --tile")
        # As stored, and as a float32 copy, which the network's input is.
        pixels = prod(sizes) * self.channels * (self.item + 4)
        weights = sum(each.weight_bytes for each in found)
        return int(_PROCESS + weights + pixels + _ENGINE * alive)

    def _at_once(self, sizes: Sequence[int]) -> list[Count]:
        """What is run at once on an image: all of it, or a tile of the first stage, and the second.

        What is between the two is counted with the second; the engine keeps what either took.
        """
        if self.stage is None:
            return [self._of(sizes)]
        tiling = self.stage.tiling(sizes)
        return [self._first(tiling.largest), self._second(tiling)]

    def _of(self, sizes: Sequence[int]) -> Count:
        return count(self.model, fed(self.model, self.channels, sizes))

    @cached_property
    def _halves(self) -> tuple[onnx.ModelProto, onnx.ModelProto]:
        found = None if self.stage is None else halves(self.model, self.stage.value)
        assert found is not None  # else it would not have been cut there
        return found

    def _first(self, tile: Sequence[int]) -> Count:
        first, _ = self._halves
        return count(first, fed(first, self.channels, tile))

    def _second(self, tiling: Tiling) -> Count:
        _, second = self._halves
        channels = second.graph.input[0].type.tensor_type.shape.dim[1].dim_value
        return count(second, fed(second, channels, tiling.outputs))


def _alive(found: Sequence[Count]) -> int | None:
    each = [known for count in found if (known := count.peak_activation_bytes) is not None]
    return sum(each) if len(each) == len(found) else None


@dataclass(frozen=True, repr=False)
class Cost(Shown):
    """What a scan takes.

    Args:
        image: its name; `pixels`: its sizes; `channels`.
        classes: maps that are kept; `positions`: the sizes of a map.
        chunks: all; `done`: those that an earlier run has finished.
        tile: sizes of the largest tile.
        read: pixels that are read, those of halos each time, over the pixels of the image.
        macs, crop_macs: of the scan, and of the network on a crop for each position; None where
            a position sees the whole image.
        seconds: expected for what is left, from one tile; None where it was not measured.
        workers, threads: how many work, and the threads of each.
        memory: bytes that a worker is expected to take at most.
        disk, free: bytes of the maps before they are compressed, and on the disk.
        values: what the network is given for pixels, in words.
        notes: what is not exact, or was not done, a line each.
    """

    image: str
    pixels: tuple[int, ...]
    channels: int
    classes: int
    positions: tuple[int, ...]
    chunks: int
    done: int
    tile: tuple[int, ...]
    read: float
    macs: int
    crop_macs: int | None
    seconds: float | None
    workers: int
    threads: int
    memory: int
    disk: int
    free: int | None
    values: str
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The pixels and the chunks."""
        return f"{prod(self.pixels):,} pixels in {self.chunks:,} chunks, {self.done:,} done"

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON, schema 1."""
        return {"schema": 1, **asdict(self)}


def crop_macs(counts: Counts, tiling: Tiling) -> int | None:
    """Those of the network on one receptive field for each position."""
    fields = [axis.receptive_field for axis in tiling.axes]
    known = [field for field in fields if field is not None]
    if len(known) < len(fields):
        return None
    return counts.macs(known) * prod(tiling.outputs)


def scan_macs(counts: Counts, tiling: Tiling) -> int:
    """Those of all tiles together."""
    return tiling.total(counts.macs)
