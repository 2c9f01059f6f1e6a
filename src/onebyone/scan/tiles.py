"""Which outputs make a chunk, and which pixels its tile holds: arithmetic, nothing is read.

The outputs along each axis fall into chunks of `side`; the last one may be smaller. The tile of a
chunk is what `Axis.needed` says: its pixels and a halo, from a multiple of the network's period on,
so that the network, run on the tile alone, gives the outputs of the whole image (geometry.py has
the proof). Its other outputs are cut off (`Axis.kept`). A file is best large, and what the network
computes at once best in the processor's cache: a chunk may be computed in parts, each with a tile
of its own within that of the chunk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

from onebyone.algebra.geometry import Axis
from onebyone.errors import UsageError

__all__ = ["Index", "Tiling", "chosen", "in_parts"]

Index = tuple[int, ...]
"""Of a chunk: which one along each axis."""

# Pixels of a tile: a larger halo is read and computed again below, and above it is not faster.
MOST_PIXELS = 1 << 22
# Pixels read over pixels of the image, above which chunks are not made smaller than memory asks.
MOST_OVERHEAD = 1.2
# Chunks for each worker, so that none waits long for the last one of another.
CHUNKS_A_WORKER = 4
# Activations alive at once for which a chunk is computed whole. The digits' classifier took 9% less
# time on 280² pixels (5 MiB) than on 1048² (70 MiB), and half where others fought for the cache.
MOST_ACTIVATIONS = 8 << 20
# MACs of parts over those of whole chunks, above which parts are not made smaller.
MOST_MACS = 1.1
# A multiple of it is a tile of a TIFF, too.
MULTIPLE = 16


@dataclass(frozen=True)
class Tiling:
    """The chunks of a map.

    Args:
        axes: of the network, one a spatial axis.
        pixels: of the image, along each axis.
        side: outputs of a chunk, along each axis.
        part: outputs of it that are computed at once; () is all.

    >>> from onebyone.algebra.window import Window
    >>> tiling = Tiling((Axis.of(Window(3, 2)), Axis.of(Window(1))), (11, 4), (3, 4))
    >>> tiling.outputs, tiling.grid, list(tiling.chunks())
    ((5, 4), (2, 1), [(0, 0), (1, 0)])
    >>> tiling.chunk((1, 0)), tiling.tile((1, 0))
    ((range(3, 5), range(0, 4)), (range(6, 11), range(0, 4)))
    """

    axes: tuple[Axis, ...]
    pixels: tuple[int, ...]
    side: tuple[int, ...]
    part: tuple[int, ...] = ()

    @property
    def outputs(self) -> tuple[int, ...]:
        """Positions of the map along each axis."""
        return tuple(axis.size(n) for axis, n in zip(self.axes, self.pixels, strict=True))

    @property
    def grid(self) -> tuple[int, ...]:
        """Chunks along each axis."""
        return tuple(-(-n // side) for n, side in zip(self.outputs, self.side, strict=True))

    def chunks(self) -> Iterator[Index]:
        """All of them, in order of rows."""
        return product(*map(range, self.grid))

    def chunk(self, index: Index) -> tuple[range, ...]:
        """The outputs of a chunk."""
        each = zip(index, self.side, self.outputs, strict=True)
        return tuple(range(i * side, min((i + 1) * side, n)) for i, side, n in each)

    def parts(self, index: Index) -> Iterator[tuple[range, ...]]:
        """The outputs of each part of a chunk."""
        along = zip(self.chunk(index), self.part or self.side, strict=True)
        return product(*(_cut(outputs, part) for outputs, part in along))

    def needed(self, outputs: Sequence[range]) -> tuple[range, ...]:
        """The tile of some outputs."""
        each = zip(self.axes, outputs, self.pixels, strict=True)
        return tuple(axis.needed(wanted, n) for axis, wanted, n in each)

    def kept(self, outputs: Sequence[range], tile: Sequence[range]) -> tuple[slice, ...]:
        """Which of the network's outputs on a tile are these."""
        each = zip(self.axes, outputs, tile, self.pixels, strict=True)
        return tuple(axis.kept(wanted, read, n) for axis, wanted, read, n in each)

    def tile(self, index: Index) -> tuple[range, ...]:
        """The pixels that a chunk's task reads: those of its parts."""
        along = enumerate(zip(self.chunk(index), self.part or self.side, strict=True))
        return tuple(self._read(k, _cut(outputs, part)) for k, (outputs, part) in along)

    @property
    def overhead(self) -> float:
        """Pixels that all tiles hold together, over those of the image."""
        return self.total(prod) / prod(self.pixels)

    def total(self, of: Callable[[tuple[int, ...]], int]) -> int:
        """The sum over all tiles that the network is run on, of what is told of their sizes."""
        return sum(times * of(sizes) for sizes, times in self.tiles.items())

    @property
    def largest(self) -> tuple[int, ...]:
        """Pixels along each axis of the largest tile that the network is run on."""
        return tuple(max(counts) for counts in self._along)

    @property
    def tiles(self) -> dict[tuple[int, ...], int]:
        """How many tiles of each size the network is run on."""
        each = product(*(counts.items() for counts in self._along))
        return {tuple(n for n, _ in sizes): prod(times for _, times in sizes) for sizes in each}

    @property
    def _along(self) -> list[Counter[int]]:
        """The tiles' sizes along each axis, and how often they come."""
        each = enumerate(zip(self.outputs, self.side, self.part or self.side, strict=True))
        return [
            Counter(
                len(self.axes[k].needed(outputs, self.pixels[k]))
                for chunk in _cut(range(n), side)
                for outputs in _cut(chunk, part)
            )
            for k, (n, side, part) in each
        ]

    def _read(self, axis: int, parts: Sequence[range]) -> range:
        """From the first to the last pixel along an axis that parts need."""
        tiles = [self.axes[axis].needed(outputs, self.pixels[axis]) for outputs in parts]
        return range(min(tile.start for tile in tiles), max(tile.stop for tile in tiles))


def in_parts(
    tiling: Tiling,
    activations: Callable[[tuple[int, ...]], int | None],
    macs: Callable[[tuple[int, ...]], int],
    limit: int | None = None,
    most: int | None = None,
) -> Tiling:
    """The same chunks, in parts whose activations stay in the processor's cache, if that pays.

    Args:
        tiling: of whole chunks.
        activations: bytes alive at once on a tile; None where that is not known.
        macs: of a tile.
        limit: activations that parts may have, in place of those that stay in the cache.
        most: MACs of all parts; without it a tenth more than those of whole chunks.
    """
    limit = MOST_ACTIVATIONS if limit is None else limit
    most = int(MOST_MACS * tiling.total(macs)) if most is None else most
    while (activations(tiling.largest) or 0) > limit:
        smaller = replace(tiling, part=tuple(-(-n // 2) for n in tiling.part or tiling.side))
        if smaller.largest == tiling.largest or smaller.total(macs) > most:
            break
        tiling = smaller
    return tiling


def _cut(outputs: range, side: int) -> list[range]:
    """Ranges of `side`, and what is left."""
    return [outputs[start : start + side] for start in range(0, len(outputs), side)]


def chosen(
    axes: Sequence[Axis],
    pixels: Sequence[int],
    memory: int,
    taken: Callable[[tuple[int, ...]], int],
    workers: int = 1,
) -> Tiling:
    """The largest chunks whose tiles fit into memory, and enough of them for all workers.

    Args:
        axes, pixels: of the network, and of the image.
        memory: bytes that a worker may take.
        taken: the bytes that a tile of so many pixels along each axis takes.
        workers: how many work at once.

    Raises:
        UsageError: not even a single output fits.
    """
    axes, pixels = tuple(axes), tuple(pixels)
    outputs = Tiling(axes, pixels, (1,) * len(axes)).outputs
    # Halved until it fits, so that few sizes are tried: each asks for a count of the network.
    side = MULTIPLE
    while side < max(outputs):
        side *= 2
    tiling = _of(axes, pixels, outputs, side)
    while True:
        smaller = _of(axes, pixels, outputs, side // 2)
        wanted = taken(tiling.largest)
        if wanted <= memory and (side <= MULTIPLE or not _pays(tiling, smaller, workers)):
            return tiling
        if side == 1:
            raise UsageError(
                f"got {memory} bytes of memory for a worker, wanted {wanted} for a single "
                "position: give more with --memory, or scan a smaller network"
            )
        side, tiling = side // 2, smaller


def _of(
    axes: tuple[Axis, ...], pixels: tuple[int, ...], outputs: tuple[int, ...], side: int
) -> Tiling:
    """Chunks of this side, or of a whole axis where that is shorter."""
    return Tiling(axes, pixels, tuple(max(1, min(side, _whole(n))) for n in outputs))


def _pays(tiling: Tiling, smaller: Tiling, workers: int) -> bool:
    """Whether smaller chunks are better where these would fit."""
    if smaller.overhead > MOST_OVERHEAD:
        return False
    enough = prod(tiling.grid) >= CHUNKS_A_WORKER * workers
    return not enough or prod(tiling.largest) > MOST_PIXELS


def _whole(outputs: int) -> int:
    """The least side that holds an axis whole, and may be a tile of a TIFF."""
    return -(-outputs // MULTIPLE) * MULTIPLE
