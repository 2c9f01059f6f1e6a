"""Which outputs make a chunk, and which pixels its tile holds: arithmetic, nothing is read.

The outputs along each axis fall into chunks of `side`; the last one may be smaller. The tile of a
chunk is what `Axis.needed` says: its pixels and a halo, from a multiple of the network's period on,
so that the network, run on the tile alone, gives the outputs of the whole image (geometry.py has
the proof). Its other outputs are cut off (`Axis.kept`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from onebyone.algebra.geometry import Axis
from onebyone.errors import UsageError

__all__ = ["Index", "Tiling", "chosen"]

Index = tuple[int, ...]
"""Of a chunk: which one along each axis."""

# Pixels of a tile: a larger halo is read and computed again below, and above it is not faster.
MOST_PIXELS = 1 << 22
# Pixels read over pixels of the image, above which chunks are not made smaller than memory asks.
MOST_OVERHEAD = 1.2
# Chunks for each worker, so that none waits long for the last one of another.
CHUNKS_A_WORKER = 4
# A multiple of it is a tile of a TIFF, too.
MULTIPLE = 16


@dataclass(frozen=True)
class Tiling:
    """The chunks of a map.

    Args:
        axes: of the network, one a spatial axis.
        pixels: of the image, along each axis.
        side: outputs of a chunk, along each axis.

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

    def tile(self, index: Index) -> tuple[range, ...]:
        """The pixels that a chunk's task reads."""
        each = zip(self.axes, self.chunk(index), self.pixels, strict=True)
        return tuple(axis.needed(outputs, n) for axis, outputs, n in each)

    def kept(self, index: Index) -> tuple[slice, ...]:
        """Which of the network's outputs on the tile are the chunk's."""
        each = zip(self.axes, self.chunk(index), self.tile(index), self.pixels, strict=True)
        return tuple(axis.kept(outputs, tile, n) for axis, outputs, tile, n in each)

    @property
    def overhead(self) -> float:
        """Pixels that all tiles hold together, over those of the image."""
        return sum(prod(sizes) * n for sizes, n in self.tiles.items()) / prod(self.pixels)

    @property
    def largest(self) -> tuple[int, ...]:
        """Pixels along each axis of the largest tile."""
        return tuple(
            max(len(self._part(k, i)) for i in range(grid)) for k, grid in enumerate(self.grid)
        )

    def _part(self, axis: int, i: int) -> range:
        index = tuple(i if k == axis else 0 for k in range(len(self.axes)))
        return self.tile(index)[axis]

    @property
    def tiles(self) -> dict[tuple[int, ...], int]:
        """How many tiles there are of each size."""
        along = [
            Counter(len(self._part(k, i)) for i in range(grid)) for k, grid in enumerate(self.grid)
        ]
        each = product(*(counts.items() for counts in along))
        return {tuple(n for n, _ in sizes): prod(times for _, times in sizes) for sizes in each}


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
