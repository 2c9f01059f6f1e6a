"""The laws of channel maps, against dense matrices, for every mix of structures."""

from __future__ import annotations

from itertools import pairwise
from math import gcd

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onebyone.algebra.channel import ChannelMap, add, compose, join_structure, split
from onebyone.errors import UsageError

WIDTHS = st.sampled_from([1, 2, 3, 4, 6])


def integers(*shape: int) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.int64, shape, elements=st.integers(-3, 3))


@st.composite
def channel_maps(draw: st.DrawFn, c_in: int, c_out: int) -> ChannelMap:
    """A dense, grouped or (where it can be) diagonal map, with a bias or without."""
    common = gcd(c_in, c_out)
    groups = draw(st.sampled_from([k for k in range(1, common + 1) if common % k == 0]))
    weight = draw(integers(c_out, c_in // groups))
    return ChannelMap(weight, draw(st.none() | integers(c_out)), groups)


@st.composite
def chains(draw: st.DrawFn, length: int) -> tuple[ChannelMap, ...]:
    widths = draw(st.lists(WIDTHS, min_size=length + 1, max_size=length + 1))
    return tuple(draw(channel_maps(c_in, c_out)) for c_in, c_out in pairwise(widths))


def sample(channels: int) -> np.ndarray:
    return np.random.default_rng(channels).integers(-4, 5, (2, channels, 3, 1))


def bias_of(f: ChannelMap) -> np.ndarray:
    return np.zeros(f.out_channels, np.int64) if f.bias is None else f.bias


@given(chains(1))
def test_a_map_is_its_dense_matrix_at_every_position(chain: tuple[ChannelMap]) -> None:
    (f,) = chain
    x = sample(f.in_channels)
    expected = np.einsum("oc,nchw->nohw", f.dense(), x) + bias_of(f)[:, None, None]
    assert (f.apply(x) == expected).all()
    assert (f.apply(np.moveaxis(x, 1, -1), axis=3) == np.moveaxis(expected, 1, -1)).all()


def test_groups_are_the_blocks_on_the_diagonal() -> None:
    f = ChannelMap(np.arange(1, 13).reshape(4, 3), groups=2)
    assert f.dense().tolist() == [
        [1, 2, 3, 0, 0, 0],
        [4, 5, 6, 0, 0, 0],
        [0, 0, 0, 7, 8, 9],
        [0, 0, 0, 10, 11, 12],
    ]
    assert (f.in_channels, f.out_channels, f.macs) == (6, 4, 12)


@given(chains(2))
def test_compose_is_one_after_the_other(chain: tuple[ChannelMap, ChannelMap]) -> None:
    f, g = chain
    gf, x = compose(g, f), sample(f.in_channels)
    assert (gf.dense() == g.dense() @ f.dense()).all()
    assert (gf.apply(x) == g.apply(f.apply(x))).all()


@given(chains(2))
def test_structure_is_known_before_it_is_multiplied(chain: tuple[ChannelMap, ChannelMap]) -> None:
    f, g = chain
    channels = (f.in_channels, f.out_channels, g.out_channels)
    assert compose(g, f).groups == join_structure(f.groups, g.groups, channels)


@pytest.mark.parametrize(
    ("first", "second", "channels", "groups"),
    [
        (6, 2, (6, 6, 4), 2),  # a diagonal, then blocks
        (2, 6, (4, 6, 6), 2),  # blocks, then a diagonal
        (2, 2, (4, 6, 2), 2),  # equal blocks
        (6, 6, (6, 6, 6), 6),  # two diagonals
        (2, 3, (6, 6, 6), 1),  # blocks that cut across each other
        (3, 3, (3, 6, 6), 3),  # equal groups, neither of them a diagonal
        (2, 6, (4, 6, 12), 1),  # as many groups as it takes channels, and yet no diagonal
        (6, 2, (12, 6, 4), 1),  # as many groups as it gives channels, and yet no diagonal
    ],
)
def test_structure_of_products(
    first: int, second: int, channels: tuple[int, int, int], groups: int
) -> None:
    assert join_structure(first, second, channels) == groups


def test_diagonals_on_either_side_of_blocks() -> None:
    blocks = ChannelMap(np.arange(1, 13).reshape(6, 2), groups=3)
    scale = ChannelMap.diagonal(np.array([2, 3, 5, 7, 11, 13]))
    assert compose(blocks, scale).weight.tolist() == [
        [2, 6], [6, 12], [25, 42], [35, 56], [99, 130], [121, 156]
    ]  # fmt: skip
    assert compose(scale, blocks).weight.tolist() == [
        [2, 4], [9, 12], [25, 30], [49, 56], [99, 110], [143, 156]
    ]  # fmt: skip


def test_blocks_that_cut_across_fill_up() -> None:
    f, g = (ChannelMap(np.ones((6, 6 // k), int), groups=k) for k in (2, 3))
    assert np.count_nonzero(compose(g, f).dense()) > max(f.weight.size, g.weight.size)


@given(WIDTHS, WIDTHS, st.data())
def test_add_is_the_sum_of_both(c_in: int, c_out: int, data: st.DataObject) -> None:
    f, g = data.draw(channel_maps(c_in, c_out)), data.draw(channel_maps(c_in, c_out))
    total, x = add(f, g), sample(c_in)
    assert (total.apply(x) == f.apply(x) + g.apply(x)).all()
    assert total.groups == (f.groups if f.groups == g.groups else 1)


@given(chains(1), st.data())
def test_split_adds_up_over_a_concat(chain: tuple[ChannelMap], data: st.DataObject) -> None:
    (f,) = chain
    cuts = sorted(data.draw(st.sets(st.integers(1, max(f.in_channels - 1, 1)), max_size=2)))
    edges = [0, *(c for c in cuts if c < f.in_channels), f.in_channels]
    sizes = [b - a for a, b in pairwise(edges)]
    x = sample(f.in_channels)
    pieces = np.split(x, edges[1:-1], axis=1)
    parts = [part.apply(piece) for part, piece in zip(split(f, sizes), pieces, strict=True)]
    whole = np.concatenate(parts, axis=1) if f.is_diagonal else sum(parts)
    assert (whole == f.apply(x)).all()


def test_a_bias_is_split_once() -> None:
    f = ChannelMap(np.array([[1, 2, 3], [4, 5, 6]]), np.array([7, 8]))
    first, second = split(f, [1, 2])
    assert bias_of(first).tolist() == [7, 8]
    assert second.bias is None


@given(chains(1))
def test_a_shift_before_is_pushed_behind(chain: tuple[ChannelMap]) -> None:
    (f,) = chain
    shift = np.arange(1, f.in_channels + 1)
    x = sample(f.in_channels)
    moved = f.apply(x) + f.push(shift)[:, None, None]
    assert (moved == f.apply(x + shift[:, None, None])).all()


def test_maps_that_do_not_meet_are_refused() -> None:
    f, g = ChannelMap(np.ones((3, 2))), ChannelMap(np.ones((3, 4)))
    with pytest.raises(UsageError, match="2 → 3 and 4 → 3"):
        compose(g, f)
    with pytest.raises(UsageError, match="wanted equal channels"):
        add(f, g)
    with pytest.raises(UsageError, match=r"\[1, 2\], wanted a sum of 4"):
        split(g, [1, 2])


def test_order_matters() -> None:
    f, g = ChannelMap(np.array([[0, 1], [0, 0]])), ChannelMap(np.array([[0, 0], [1, 0]]))
    assert (compose(g, f).dense() != compose(f, g).dense()).any()


@pytest.mark.parametrize(
    ("shape", "bias", "groups"),
    [((2, 3, 1), None, 1), ((3, 2), None, 2), ((2, 3), 3, 1), ((2, 3), None, 0)],
)
def test_shapes_that_do_not_fit_are_named(
    shape: tuple[int, ...], bias: int | None, groups: int
) -> None:
    with pytest.raises(UsageError, match=r"got a (weight|bias) of shape .*wanted"):
        ChannelMap(np.ones(shape), None if bias is None else np.ones(bias), groups)


def test_products_are_wider_than_what_is_stored() -> None:
    small = ChannelMap(np.full((1, 2), 100, np.int8), np.full(1, 100, np.int8))
    into = ChannelMap(np.full((2, 1), 100, np.int8))
    assert compose(into, small).weight.tolist() == [[10000, 10000]] * 2
    # 1 + 2^-11 lies between two float16 numbers; in float64 it is kept.
    half = ChannelMap(np.full((1, 1), 2.0**-11, np.float16))
    assert add(half, ChannelMap(np.ones((1, 1), np.float16))).weight == 1 + 2.0**-11


def test_only_a_diagonal_by_structure_counts_as_one() -> None:
    assert not ChannelMap(np.eye(3, dtype=int)).is_diagonal
    assert not ChannelMap(np.ones((6, 1)), groups=3).is_diagonal
    assert ChannelMap.diagonal(np.array([1, 2])).macs == 0
    assert ChannelMap.diagonal(np.array([1, 1]), np.array([3, 4])).is_shift
    assert not ChannelMap.diagonal(np.array([1, 2])).is_shift
    assert ChannelMap(np.ones((2, 3)), np.ones(2)).linear.bias is None
