"""Chunks cover the map once, tiles fit into memory, and halos stay small where they can."""

from __future__ import annotations

from math import prod

import pytest

from onebyone.algebra.geometry import Axis, Phase
from onebyone.algebra.window import Window
from onebyone.errors import UsageError
from onebyone.scan.place import Place, middle
from onebyone.scan.tiles import (
    CHUNKS_A_WORKER,
    MOST_OVERHEAD,
    MOST_PIXELS,
    MULTIPLE,
    Tiling,
    chosen,
)

NARROW = Axis.of(Window(5, 2, 1, 2))
WIDE = Axis.of(Window(1043, 32, 394, 400))


@pytest.mark.parametrize("side", [(1, 1), (3, 4), (16, 100)])
def test_each_output_is_in_one_chunk(side: tuple[int, int]) -> None:
    tiling = Tiling((NARROW, Axis.of(Window(3))), (41, 30), side)
    seen = [(i, j) for index in tiling.chunks() for i in tiling.chunk(index)[0]
            for j in tiling.chunk(index)[1]]  # fmt: skip
    assert len(seen) == len(set(seen)) == prod(tiling.outputs)
    assert {tuple(map(len, tiling.tile(index))) for index in tiling.chunks()} == set(tiling.tiles)
    assert sum(tiling.tiles.values()) == prod(tiling.grid)


def test_kept_outputs_are_as_many_as_the_chunk_has() -> None:
    tiling = Tiling((NARROW, NARROW), (41, 30), (4, 7))
    for index in tiling.chunks():
        for kept, outputs in zip(tiling.kept(index), tiling.chunk(index), strict=True):
            assert kept.stop - kept.start == len(outputs)


def test_tiles_are_as_large_as_memory_allows() -> None:
    def taken(sizes: tuple[int, ...]) -> int:
        return 100 * prod(sizes)

    for memory in (10**5, 10**6, 10**7):
        tiling = chosen((NARROW, NARROW), (10**5, 10**5), memory, taken)
        assert taken(tiling.largest) <= memory
        twice = Tiling(tiling.axes, tiling.pixels, tuple(2 * n for n in tiling.side))
        assert taken(twice.largest) > memory


def test_no_tile_is_larger_than_pays() -> None:
    tiling = chosen((NARROW, NARROW), (10**5, 10**5), 10**18, prod)
    assert MOST_PIXELS / 8 < prod(tiling.largest) <= MOST_PIXELS


def test_all_workers_have_chunks() -> None:
    tiling = chosen((NARROW, NARROW), (3000, 2000), 10**18, prod, workers=8)
    assert prod(tiling.grid) >= 8 * CHUNKS_A_WORKER


def test_a_wide_window_gets_large_tiles() -> None:
    tiling = chosen((WIDE, WIDE), (4096, 4096), 10**18, prod)
    assert Tiling(tiling.axes, tiling.pixels, tuple(n // 2 for n in tiling.side)).overhead > (
        MOST_OVERHEAD
    )


def test_sides_are_those_of_tiles_of_a_tiff() -> None:
    tiling = chosen((NARROW, NARROW), (10**4, 10**4), 10**7, prod)
    assert all(side % MULTIPLE == 0 for side in tiling.side)


def test_what_fits_nowhere_is_refused() -> None:
    with pytest.raises(UsageError, match="for a single position"):
        chosen((NARROW, NARROW), (100, 100), 3, prod)


def test_a_position_is_in_the_middle_of_its_window() -> None:
    assert [middle(NARROW, i) for i in range(3)] == [1, 3, 5]
    halves = Axis((Phase(0, 0), Phase(0, 2)))
    assert [middle(halves, i) for i in range(4)] == [0, 1, 1, 2]
    assert middle(Axis(whole=True, stride=3), 4) == 12


def test_places_of_a_map_are_those_of_its_middles() -> None:
    place = Place((0.5, 2.0), (10.0, -1.0), "mm").of_map((NARROW, WIDE))
    for i in range(3):
        assert place.origin[0] + i * place.spacing[0] == 10 + 0.5 * middle(NARROW, i)
        assert place.origin[1] + i * place.spacing[1] == -1 + 2 * middle(WIDE, i)
