"""Chunks cover the map once, tiles fit into memory, and halos stay small where they can."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import prod

import pytest

from onebyone.algebra.geometry import Axis, Phase
from onebyone.algebra.window import Window
from onebyone.errors import UsageError
from onebyone.scan.place import Place, middle
from onebyone.scan.tiles import (
    CHUNKS_A_WORKER,
    MOST_ACTIVATIONS,
    MOST_MACS,
    MOST_OVERHEAD,
    MOST_PIXELS,
    MULTIPLE,
    Tiling,
    chosen,
    in_parts,
)

NARROW = Axis.of(Window(5, 2, 1, 2))
WIDE = Axis.of(Window(1043, 32, 394, 400))


@pytest.mark.parametrize("side", [(1, 1), (3, 4), (16, 100)])
@pytest.mark.parametrize("part", [(), (1, 1), (2, 3), (5, 100)])
def test_each_output_is_in_one_part_of_one_chunk(
    side: tuple[int, int], part: tuple[int, ...]
) -> None:
    tiling = Tiling((NARROW, Axis.of(Window(3))), (41, 30), side, part)
    parts = [part for index in tiling.chunks() for part in tiling.parts(index)]
    seen = [(i, j) for part in parts for i in part[0] for j in part[1]]
    assert len(seen) == len(set(seen)) == prod(tiling.outputs)
    sizes = Counter(tuple(map(len, tiling.needed(part))) for part in parts)
    assert sizes == tiling.tiles
    assert tiling.largest in tiling.tiles
    assert tiling.total(prod) == sum(prod(size) * n for size, n in sizes.items())


@pytest.mark.parametrize("part", [(), (1, 1), (3, 2)])
def test_a_tile_holds_those_of_its_parts(part: tuple[int, ...]) -> None:
    """Also where a layer asks for more pixels than a window: at the end it starts further ahead."""
    long = Axis.of(Window(5, 2, 1, 2), least=20)
    tiling = Tiling((NARROW, long), (41, 30), (4, 7), part)
    for index in tiling.chunks():
        tile = tiling.tile(index)
        for outputs in tiling.parts(index):
            own = tiling.needed(outputs)
            for inner, whole in zip(own, tile, strict=True):
                assert whole.start <= inner.start <= inner.stop <= whole.stop
            for kept, wanted in zip(tiling.kept(outputs, own), outputs, strict=True):
                assert kept.stop - kept.start == len(wanted)


def test_parts_are_as_small_as_the_cache_asks_and_halos_allow() -> None:
    whole = Tiling((NARROW, NARROW), (10**4, 10**4), (1024, 512))
    parts = in_parts(whole, lambda sizes: 4 * prod(sizes), prod)
    assert 4 * prod(parts.largest) <= MOST_ACTIVATIONS < 4 * prod(whole.largest)
    # Of a window of 17 pixels, halos would be more than they may long before.
    wide = replace(whole, axes=(Axis.of(Window(17)),) * 2)
    parts = in_parts(wide, lambda sizes: 10**6 * prod(sizes), prod)
    smaller = replace(parts, part=tuple(n // 2 for n in parts.part))
    assert parts.total(prod) <= MOST_MACS * wide.total(prod) < smaller.total(prod)
    assert in_parts(whole, lambda _: None, prod) == whole


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
