"""Axes against the pixels themselves: each output is the set of what it was computed from."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebyone.algebra.geometry import Axis, Geometry, join
from onebyone.algebra.window import Window

PADDING = -1  # in a set of pixels: something that is no pixel
Seen = list[frozenset[int]]


def one(stride: int = 1, extent: int = 1, before: int = 0, after: int = 0) -> Axis:
    """One layer of windows."""
    return Axis.of(Window(extent, stride, before, after))


windows = st.builds(
    one, st.integers(1, 3), st.integers(1, 4), st.integers(-2, 3), st.integers(-2, 3)
)
chains = st.lists(windows, max_size=4)


def pixels(n: int) -> Seen:
    """An image along one axis: each position is its pixel."""
    return [frozenset({i}) for i in range(n)]


def layer(seen: Seen, axis: Axis) -> Seen:
    """What the outputs of one layer of windows are computed from."""
    hull = axis.hull
    cropped = seen[max(-hull.before, 0) : len(seen) - max(-hull.after, 0)]
    padded = [
        *[frozenset({PADDING})] * max(hull.before, 0),
        *cropped,
        *[frozenset({PADDING})] * max(hull.after, 0),
    ]
    starts = range(0, len(padded) - hull.kernel + 1, hull.stride)
    return [frozenset().union(*padded[i : i + hull.kernel]) for i in starts]


def check(axis: Axis, seen: Seen, n: int) -> None:
    """What the axis says of n pixels is what the sets of pixels say."""
    assert axis.size(n) == len(seen)
    clean = [i for i, found in enumerate(seen) if PADDING not in found]
    first, last = axis.halo(n)
    assert clean == list(range(first, len(seen) - last))
    for i in clean:
        start = i * axis.stride + axis.offset
        assert (min(seen[i]), max(seen[i])) == (start, start + axis.hull.extent - 1)
    if clean:
        assert first == axis.border[0]
        assert last <= axis.border[1]
    assert not axis.exact or len(clean) == len(seen)


@given(chains, st.integers(30, 60))
def test_a_chain_is_one_window(chain: list[Axis], n: int) -> None:
    # Sizes of at least one all the way: a crop of nothing is no image.
    axis, seen = Axis(), pixels(n)
    for each in chain:
        if len(seen) < 8:
            break
        axis, seen = axis.then(each), layer(seen, each)
    check(axis, seen, n)


@given(chains)
def test_the_smallest_image_has_positions_for_every_layer(chain: list[Axis]) -> None:
    def has(n: int) -> bool:
        for window in (each.hull for each in chain):
            n = (n + window.before + window.after - window.extent) // window.stride + 1
            if n < 1:
                return False
        return True

    smallest = reduce(Axis.then, chain, Axis()).smallest_image
    assert smallest == next(n for n in range(1, 10**4) if has(n))


@given(st.lists(chains, min_size=2, max_size=3), windows, st.integers(40, 60))
def test_branches_see_the_hull(branches: list[list[Axis]], after: Axis, n: int) -> None:
    axes = [reduce(Axis.then, chain, Axis()) for chain in branches]
    joined = join(axes)
    if isinstance(joined, str):
        return
    results = [reduce(layer, chain, pixels(n)) for chain in branches]
    if min(map(len, results)) < 8:
        return
    assert len({len(result) for result in results}) == 1
    merged = [frozenset().union(*parts) for parts in zip(*results, strict=True)]
    check(joined, merged, n)
    check(joined.then(after), layer(merged, after), n)


@given(windows, windows, windows)
def test_order_of_composing_does_not_matter(a: Axis, b: Axis, c: Axis) -> None:
    assert sees(a.then(b).then(c)) == sees(a.then(b.then(c)))
    assert sees(Axis().then(a)) == sees(a.then(Axis())) or min(a.hull.before, a.hull.after) < 0


def sees(axis: Axis) -> Axis:
    """All but `least`, of which only a bound is known."""
    return replace(axis, least=1)


@given(chains, chains, st.integers(1, 5))
def test_branches_that_differ_in_size_for_some_image_are_refused(
    left: list[Axis], right: list[Axis], stretch: int
) -> None:
    a, b = (reduce(Axis.then, chain, Axis()) for chain in (left, right))
    sizes = [(a.size(n), b.size(n)) for n in range(400, 400 + a.stride * b.stride * stretch)]
    joins = not isinstance(join([a, b]), str)
    assert joins == all(x == y for x, y in sizes) or stretch == 1


def test_refusals_say_why() -> None:
    assert join([one(2), one(3), one(2)]) == "branches with strides 2 and 3 meet"
    # A pool of 2 with stride 2, and a padded 3×3 with stride 2: 4 → 2 and 2, but 5 → 2 and 3.
    pool, convolution = one(2, 2), one(2, 3, 1, 1)
    assert (pool.size(4), convolution.size(4)) == (2, 2)
    assert (pool.size(5), convolution.size(5)) == (2, 3)
    assert join([pool, convolution]) == "branches meet that are of one size for some images only"


def features(counts: tuple[int, ...]) -> Axis:
    """A ResNet's: 7×7/2, a pool 3/2, and stages of 3×3s; all but the first start with a /2."""
    stem = [one(2, 7, 3, 3), one(2, 3, 1, 1)]
    strides = [2 if stage and not i else 1 for stage, n in enumerate(counts) for i in range(n)]
    return reduce(Axis.then, [*stem, *(one(stride, 3, 1, 1) for stride in strides)], Axis())


def test_known_receptive_fields() -> None:
    eighteen, fifty = features((4, 4, 4, 4)), features((3, 4, 6, 3))
    assert (eighteen.stride, eighteen.receptive_field, eighteen.size(224)) == (32, 435, 7)
    assert (fifty.stride, fifty.receptive_field, fifty.size(225)) == (32, 427, 8)


def test_padding_after_a_crop_is_seen() -> None:
    axis = one(1, 1, -1, -1).then(one(1, 1, 1, 1))
    assert (axis.hull.before, axis.hull.after) == (0, 0)
    assert axis.border == (1, 1)
    assert axis.halo(9) == (1, 1)
    assert not axis.exact
    # The other way round the crop takes the padding away again.
    assert one(1, 1, 1, 1).then(one(1, 1, -1, -1)).exact


def test_the_whole_image_is_never_exact() -> None:
    axis = Axis(whole=True).then(one(2, 3))
    assert axis.receptive_field is None
    assert not axis.exact
    assert one(2, 3).then(Axis(whole=True)).whole
    joined = join([one(2, 3), replace(one(2, 3), whole=True)])
    assert isinstance(joined, Axis)
    assert joined.whole


def test_small_images_have_no_outputs() -> None:
    assert one(1, 5).size(3) == 0
    assert one(4, 9).size(1) == 0
    assert one(1, 5, 2, 2).halo(1) == (1, 0)


@pytest.mark.parametrize("size", [(32, 15), (40, 20), (33, 15)])
def test_both_axes(size: tuple[int, int]) -> None:
    geometry = Geometry((one(4, 30), one(2, 15, 1, 1)), (32, 15))
    assert geometry.maps(size) == (one(4, 30).size(size[0]), one(2, 15, 1, 1).size(size[1]))
    assert geometry.halo(size)[0] == (0, 0)
    assert geometry.halo(size)[1] == one(2, 15, 1, 1).halo(size[1])
    assert geometry.crop(2, 3) == (slice(8, 40), slice(6, 21))
    assert Geometry((one(4, 30), one(2, 15)), (32, 15)).exact


def test_one_axis_and_three() -> None:
    signal = Geometry((one(4, 30),), (32,))
    assert (signal.maps((40,)), signal.crop(2), signal.exact) == ((3,), (slice(8, 40),), True)
    volume = Geometry((one(4, 30), one(2, 15, 1, 1), one(1, 3)), (32, 15, 3))
    assert volume.stride == (4, 2, 1)
    assert volume.maps((40, 20, 3)) == (3, one(2, 15, 1, 1).size(20), 1)
    assert volume.crop(1, 2, 5) == (slice(4, 36), slice(4, 19), slice(5, 8))
    assert not volume.exact
