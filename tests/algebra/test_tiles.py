"""A network on a tile gives what it gives on the whole image: both are computed, in integers.

A network is a list of layers, each a function on NumPy arrays beside its `Axis`; branches are lists
of layers. What a tile holds and which outputs are kept is asked of the axis; the rest is compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onebyone.algebra.geometry import Axis, join
from onebyone.algebra.resize import Resize
from onebyone.algebra.transposed import TransposedKernel
from onebyone.algebra.upsampled import blocks, resized, transposed
from onebyone.algebra.window import Window
from onebyone.errors import UsageError

Signal = NDArray[np.float64]
WEIGHTS = np.array([3.0, -2, 5, 7, -1, 4, 9])
MODULUS = 4099
"""Values are taken modulo a prime, so that sums stay exact however deep a network is."""


@dataclass(frozen=True)
class Layer:
    axis: Axis
    run: Callable[[Signal], Signal]
    name: str = ""

    def __repr__(self) -> str:
        return self.name


def layer(axis: Axis, run: Callable[[Signal], Signal], *name: object) -> Layer:
    return Layer(axis, run, " ".join(map(str, name)))


def slid(x: Signal, window: Window, reduce_: Callable[..., Signal], fill: float) -> Signal:
    """What a reduction makes of each window, of so much padding."""
    front, back = max(window.before, 0), max(window.after, 0)
    inner = x[max(-window.before, 0) : len(x) - max(-window.after, 0)]
    padded = np.concatenate([np.full(front, fill), inner, np.full(back, fill)])
    n_out = max((len(padded) - window.extent) // window.stride + 1, 0)
    at = np.arange(n_out)[:, None] * window.stride + np.arange(window.kernel) * window.dilation
    return reduce_(padded[at])


def convolution(k: int, s: int = 1, p: int = 0, q: int = 0, d: int = 1, bias: int = 3) -> Layer:
    window = Window(k, s, p, q, d)

    def run(x: Signal) -> Signal:
        return (slid(x, window, lambda seen: seen @ WEIGHTS[:k], 0) + bias) % MODULUS

    return layer(Axis.of(window), run, "convolution", k, s, p, q, d)


def pool(k: int, s: int, p: int = 0, q: int = 0, *, up: bool = False) -> Layer:
    window = Window(k, s, p, q)
    laid = window.rounded_up() if up else window

    def run(x: Signal) -> Signal:
        return slid(x, laid, lambda seen: seen.max(axis=1, initial=-1), -1)

    return layer(Axis.of(laid), run, "pool", k, s, p, q, up)


def mirrored(p: int, q: int) -> Layer:
    """Padding by reflection: made of p + 1 and q + 1 positions."""
    axis = Axis.of(Window(1, 1, p, q), least=max(p, q) + 1)
    return layer(axis, lambda x: np.pad(x, (p, q), mode="reflect"), "mirrored", p, q)


def nearest(times: int) -> Layer:
    return layer(blocks(times), lambda x: np.repeat(x, times), "nearest", times)


def resize(how: Resize) -> Layer:
    """In units that keep the weights of the resize whole."""
    axis = resized(how)
    assert isinstance(axis, Axis)

    def run(x: Signal) -> Signal:
        rows = how.matrix(len(x)) * 128
        np.testing.assert_array_equal(rows, np.round(rows))
        return rows @ x % MODULUS

    return layer(axis, run, how.mode, how.coordinates, how.scale)


def stamped(k: int, s: int, p: int = 0, q: int = 0, more: int = 0) -> Layer:
    kernel = TransposedKernel(WEIGHTS[None, None, :k], None, (s,), (1,), ((p, q),), (more,))
    run = lambda x: kernel.apply(x[None, None])[0, 0] % MODULUS  # noqa: E731
    return layer(transposed(Window(k, s, p, q), more), run, "stamped", k, s, p, q, more)


def chain(layers: list[Layer]) -> Layer:
    return layer(
        reduce(Axis.then, (each.axis for each in layers), Axis()),
        lambda x: reduce(lambda value, each: each.run(value), layers, x),
        layers,
    )


def together(*branches: Layer) -> Layer:
    """The sum of what branches give, and their axis; for images of some sizes only, maybe."""
    axis = join([branch.axis for branch in branches], multiples=True)
    assert isinstance(axis, Axis)

    def run(x: Signal) -> Signal:
        results = [branch.run(x) for branch in branches]
        assert len({len(result) for result in results}) == 1, "branches of several sizes"
        return sum(results) % MODULUS  # type: ignore[no-any-return, return-value]

    return layer(axis, run, "together", branches)


IMAGE = np.random.default_rng(5).integers(1, MODULUS, 400).astype(np.float64)


def check(network: Layer, n: int, step: int = 1) -> int:
    """All tiles of an image of n pixels, and how many of them were no whole image."""
    axis, whole, cut = network.axis, network.run(IMAGE[:n]), 0
    assert axis.size(n) == len(whole)
    for start in range(0, len(whole), step):
        for stop in {start + 1, start + 2, start + 5, len(whole)}:
            if stop > len(whole):
                continue
            outputs = range(start, stop)
            tile = axis.needed(outputs, n)
            assert 0 <= tile.start < tile.stop <= n
            part = network.run(IMAGE[tile.start : tile.stop])
            kept = part[axis.kept(outputs, tile, n)]
            np.testing.assert_array_equal(kept, whole[start:stop], f"{outputs} {tile} of {n}")
            cut += len(tile) < n
    return cut


UNET = together(
    convolution(3, 1, 1, 1),
    chain(
        [
            pool(2, 2),
            together(
                convolution(3, 1, 1, 1),
                chain([convolution(3, 2, 1, 1), convolution(3, 1, 1, 1), stamped(2, 2)]),
            ),
            resize(Resize("linear", "half_pixel", 2.0)),
        ]
    ),
)
NETWORKS = {
    "one layer": convolution(3, 1, 1, 1),
    "asymmetric": convolution(4, 1, 1, 2),
    "dilated": chain([convolution(3, 1, 2, 2, 2), convolution(3, 1, 0, 4, 4)]),
    "strides": chain([convolution(5, 3, 2, 1), pool(2, 2), convolution(3, 1, 1, 1)]),
    "odd strides": chain([convolution(7, 5, 3, 3), convolution(3, 3, 1, 0)]),
    "rounded up": chain([pool(3, 2, up=True), convolution(3, 1, 1, 1), pool(2, 3, up=True)]),
    "strides that skip": chain([convolution(1, 3), convolution(2, 4, 1)]),
    "crops": chain([convolution(3, 1, 2, 2), convolution(3, 2, -1, -2), convolution(3, 1, 1, 1)]),
    "mirrors": chain([mirrored(3, 2), convolution(6), convolution(3, 2, 1, 1), mirrored(2, 4)]),
    "much padding": chain([convolution(3, 1, 5, 6), convolution(3, 2, 4, 4)]),
    "residual": together(convolution(1, 2), chain([convolution(3, 2, 1, 1), pool(3, 1, 1, 1)])),
    "upsampled": chain([convolution(3, 1, 1, 1), nearest(3), convolution(4, 1, 2, 1)]),
    "down and up": chain([convolution(3, 2, 1, 1), pool(3, 3), nearest(2), convolution(3, 3, 1)]),
    "linear": chain([pool(3, 3), resize(Resize("linear", "asymmetric", 4.0)), convolution(2)]),
    "cubic": chain([resize(Resize("cubic", "half_pixel", 2.0, cubic_a=-0.5)), convolution(3, 2)]),
    "thirds": chain([resize(Resize("nearest", "half_pixel", 3.0)), convolution(3, 2)]),
    "made smaller": chain([resize(Resize("linear", "half_pixel", 0.5)), convolution(3, 1, 1, 1)]),
    "by one and a half": chain([resize(Resize("nearest", "asymmetric", 1.5)), convolution(3)]),
    "stamps": chain([convolution(3, 1, 1, 1), stamped(5, 3, 1, 2, 1), pool(2, 2)]),
    "stamps apart": chain([pool(3, 2, 1, 1), stamped(2, 5, 0, 1, 2), convolution(3, 1, 1, 1)]),
    "stamped at an end": chain([stamped(3, 1, 2, 2), stamped(4, 2), convolution(5, 4, 0, 2)]),
    "u-net": UNET,
}


@pytest.mark.parametrize("most", [32, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NETWORKS)
def test_tiles_of_all_sizes_give_what_the_image_gives(name: str, most: int) -> None:
    network, cut, sizes = NETWORKS[name], 0, 0
    for n in range(1, most + 1):
        if n % network.axis.multiple or not network.axis.size(n):
            continue
        if name == "mirrors" and n < 8:  # so little cannot be reflected
            continue
        cut, sizes = cut + check(network, n), sizes + 1
    assert sizes >= 5
    assert cut > 20  # most tiles are smaller than the image


def test_a_tile_is_no_larger_than_it_has_to_be() -> None:
    # One output of a 3×3 in the middle sees three pixels; two of stride 2 and a pool see more.
    assert NETWORKS["one layer"].axis.needed(range(9, 10), 30) == range(8, 11)
    stem = convolution(7, 2, 3, 3).axis.then(pool(3, 2, 1, 1).axis)
    assert stem.needed(range(10, 11), 224) == range(32, 48)
    assert UNET.axis.multiple == UNET.axis.period == 4


def test_padding_at_a_cut_is_seen_where_the_tile_is_smaller() -> None:
    """The halo is needed: a tile with a period less gives other numbers."""
    network = chain([convolution(5, 3, 2, 1), convolution(2, 2), convolution(3, 1, 1, 1)])
    n, outputs, axis, whole = 120, range(5, 8), network.axis, network.run(IMAGE[:120])
    tile = axis.needed(outputs, n)
    for less in (
        range(tile.start + axis.period, tile.stop),
        range(tile.start, tile.stop - axis.period),
    ):
        part = network.run(IMAGE[less.start : less.stop])
        kept = part[axis.kept(outputs, less, n)]
        assert not np.array_equal(kept, whole[outputs.start : outputs.stop])


def test_two_periods_are_one_that_both_divide() -> None:
    network = chain([pool(2, 2), nearest(2), pool(3, 3)])
    assert (network.axis.period, network.axis.stride, network.axis.up) == (6, 6, 2)
    assert str(network.axis.step) == "3"
    assert check(network, 60)


@pytest.mark.parametrize("n", [3, 7, 18, 401 // 4 * 2 + 1])
def test_an_image_of_no_multiple_is_refused(n: int) -> None:
    with pytest.raises(UsageError, match=f"got an image of {n} pixels along an axis, wanted a mul"):
        UNET.axis.needed(range(1), n)


def test_outputs_that_are_not_there_are_refused() -> None:
    axis = NETWORKS["strides"].axis
    for outputs in (range(0), range(-1, 2), range(axis.size(40) + 1), range(0, 4, 2)):
        with pytest.raises(UsageError, match="wanted some of the"):
            axis.needed(outputs, 40)
    with pytest.raises(UsageError, match="wanted one that starts and ends at a multiple of 6"):
        axis.kept(range(1, 2), range(3, 12), 40)


layers = st.one_of(
    st.builds(
        convolution,
        st.integers(1, 4), st.integers(1, 3), st.integers(-2, 4), st.integers(-2, 4),
        st.integers(1, 2),
    ),
    st.builds(pool, st.integers(1, 3), st.integers(1, 3), up=st.booleans()),
    st.builds(nearest, st.integers(2, 3)),
    st.builds(stamped, st.integers(2, 5), st.integers(1, 3), st.integers(0, 1), st.integers(0, 1)),
    st.builds(mirrored, st.integers(0, 2), st.integers(0, 2)),
    st.sampled_from([resize(Resize("linear", "half_pixel", s)) for s in (2.0, 4.0, 0.5)]),
    st.sampled_from([resize(Resize("nearest", "half_pixel", s)) for s in (3.0, 1.5)]),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(layers, min_size=1, max_size=4), st.integers(40, 70))
def test_random_chains(each: list[Layer], n: int) -> None:
    network = chain(each)
    # Every layer gets something, or NumPy has no answer of the whole image either.
    values = IMAGE[:n]
    for one in each:
        if len(values) < max(5, one.axis.least):
            return
        values = one.run(values)
    if len(values):
        check(network, n, max(len(values) // 6, 1))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(layers, max_size=3), min_size=2, max_size=3), layers, st.integers(40, 64))
def test_random_branches(branches: list[list[Layer]], after: Layer, n: int) -> None:
    parts = [chain(each) for each in branches]
    axis = join([part.axis for part in parts], multiples=True)
    if isinstance(axis, str):
        return
    if n % axis.multiple or min(part.axis.size(n) for part in parts) < 8:
        return
    try:
        network = chain([together(*parts), after])
        whole = network.run(IMAGE[:n])
    except ValueError:
        return
    if len(whole) and all(part.axis.least <= n // 2 for part in parts):
        check(network, n, max(len(whole) // 6, 1))
