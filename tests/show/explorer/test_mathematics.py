"""The page's mathematics beside NumPy's, for 200 random sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.kernel import Kernel
from onebyone.algebra.rank import singular_values, threshold
from onebyone.counting.layer import Layer, Stack
from onebyone.show.explorer import data
from onebyone.show.explorer.seed import uniform

from .expected import shortcut, swap

Call = Callable[..., Any]

SIZES = 200
ROUNDING = 1e-12  # of the largest


def agree(found: object, right: np.ndarray) -> None:
    flat = np.asarray(found, np.float64).reshape(right.shape)
    assert np.abs(flat - right).max() <= ROUNDING * max(np.abs(right).max(), 1e-300)


def drawn() -> list[np.random.Generator]:
    """A source of random sizes and numbers for each of the 200 comparisons."""
    return [np.random.default_rng(seed) for seed in range(SIZES)]


def test_random_numbers_are_the_same_bit_for_bit(mathematics: Call) -> None:
    for random in drawn():
        seed, count, start = (int(n) for n in random.integers([1, 1, 0], [2**16, 999, 2**20]))
        found = mathematics("mathematics/seed.js", "uniform", seed, count, start)
        assert np.array_equal(found, uniform(seed, count, start))


def test_pointwise_is_a_channel_map(mathematics: Call) -> None:
    for random in drawn():
        c_in, c_out, height, width = random.integers(1, 14, 4)
        W, b = random.normal(size=(c_out, c_in)), random.normal(size=c_out)
        x = random.normal(size=(1, c_in, height, width))
        arguments = [W.ravel().tolist(), x.ravel().tolist(), int(height * width), b.tolist()]
        found = mathematics("mathematics/pointwise.js", "pointwise", *arguments)
        agree(found, ChannelMap(W, b).apply(x))


def test_convolve_is_a_sum_over_windows(mathematics: Call) -> None:
    for random in drawn():
        c_in, c_out, rows, columns, stride = (int(n) for n in random.integers(1, 5, 5))
        padding = int(random.integers(0, 3))
        size = [c_in, rows + int(random.integers(0, 6)), columns + int(random.integers(0, 6))]
        x, W = random.normal(size=size), random.normal(size=(c_out, c_in, rows, columns))
        b = random.normal(size=c_out)
        padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (rows, columns), (1, 2))
        right = np.einsum("ihwrk,oirk->ohw", windows[:, ::stride, ::stride], W) + b[:, None, None]
        found = mathematics(
            "mathematics/convolution.js",
            "convolve",
            x.ravel().tolist(),
            size,
            W.ravel().tolist(),
            [rows, columns],
            {"stride": stride, "padding": padding, "b": b.tolist()},
        )
        agree(found, right)


def test_dense_is_a_matrix_product(mathematics: Call) -> None:
    for random in drawn():
        W = random.normal(size=random.integers(1, 40, 2))
        x = random.normal(size=W.shape[1])
        found = mathematics("mathematics/convolution.js", "dense", W.ravel().tolist(), x.tolist())
        agree(found, W @ x)


def test_singular_values_and_ranks_are_those_of_lapack(mathematics: Call) -> None:
    for random in drawn():
        rows, inner, columns = (int(n) for n in random.integers(1, 24, 3))
        W = random.normal(size=(rows, inner)) @ random.normal(size=(inner, columns))
        W *= 10.0 ** random.integers(-9, 9)
        right = singular_values(W)
        sizes = (rows, columns)
        found = mathematics("mathematics/spectrum.js", "singularValues", W.ravel().tolist(), *sizes)
        agree(found, right)
        least = mathematics("mathematics/spectrum.js", "threshold", found, *sizes)
        assert least == pytest.approx(threshold(W, right), rel=ROUNDING)
        rank = mathematics("mathematics/spectrum.js", "rank", found, *sizes)
        assert rank == (right > threshold(W, right)).sum() == min(rows, inner, columns)


@pytest.mark.parametrize("matrix", [[[0.0, 0.0]], [[2.0]], [[0, 3], [0, 0], [0, 0]]])
def test_singular_values_of_matrices_with_nothing_in_them(
    matrix: list[list[float]], mathematics: Call
) -> None:
    W = np.array(matrix, np.float64)
    found = mathematics("mathematics/spectrum.js", "singularValues", W.ravel().tolist(), *W.shape)
    agree(found, singular_values(W))


def test_parameters_and_macs_are_those_of_a_layer(mathematics: Call) -> None:
    for random in drawn():
        groups, a, b, kernel, height, width = (int(n) for n in random.integers(1, 12, 6))
        bias = bool(random.integers(2))
        layer = Layer(groups * a, groups * b, (kernel, kernel), (height, width), groups, bias)
        sizes = (layer.in_channels, layer.out_channels)
        found = mathematics("mathematics/count.js", "parameters", *sizes, kernel, groups, bias)
        assert found == layer.parameters
        found = mathematics("mathematics/count.js", "macs", *sizes, height * width, kernel, groups)
        assert found == layer.macs


@pytest.mark.parametrize("space", [*swap.SPACES, "maximum"])
def test_space_maps_are_those_of_the_algebra(space: str, mathematics: Call) -> None:
    for random in drawn():
        channels, height, width = (int(n) for n in random.integers([1, 2, 2], [4, 14, 14]))
        x = random.normal(size=(1, channels, height, width))
        right, size = swap.space_map(space, x), [height, width]
        found = mathematics("mathematics/space.js", "sizeAfter", space, size)
        assert tuple(found) == right.shape[2:]
        agree(
            mathematics("mathematics/space.js", "applySpace", space, x.ravel().tolist(), size),
            right,
        )


def test_both_orders_are_those_of_the_algebra(mathematics: Call) -> None:
    names = [*swap.SPACES, "maximum"]
    for random in drawn():
        space, relu = names[random.integers(len(names))], bool(random.integers(2))
        channels, height, width = (int(n) for n in random.integers([1, 2, 2], [4, 14, 14]))
        x = random.integers(-9, 9, (1, channels, height, width)).astype(np.float64)
        W, b = random.integers(-4, 5, (1, channels)), int(random.integers(-2, 3))
        right = swap.both_orders(space, x, ChannelMap(W, np.array([b])), relu)
        arguments = [space, x.ravel().tolist(), [height, width], W.ravel().tolist(), b, relu]
        found = mathematics("mathematics/swap.js", "bothOrders", *arguments)
        for mine, theirs in zip(found["outputs"], (right.first, right.last), strict=True):
            assert np.array_equal(mine, theirs.ravel()), "whole numbers are exact"
        gap = (right.first - right.last).ravel()
        assert np.array_equal(found["gaps"], gap)
        assert abs(gap[found["worst"]]) == np.abs(gap).max()
        assert (found["differing"], *found["macs"]) == (np.count_nonzero(gap), *right.macs)
        reason = mathematics("mathematics/swap.js", "refusal", space, b, relu)
        assert (reason is None) == swap.promised(space, bool(b), relu)
        assert reason is not None or not gap.any()


def test_blocks_are_counted_as_their_layers(mathematics: Call) -> None:
    for random in drawn():
        a, b, c, kernel, height, width = (int(n) for n in random.integers(1, 40, 6))
        size, full = (height, width), (kernel, kernel)
        layers = (
            Layer(a, b, (1, 1), size),
            Layer(b, b, full, size),
            Layer(b, c, (1, 1), size),
        )
        stack, wide = Stack("block", layers), Layer(a, c, full, size)
        arguments = [a, b, c, kernel, height * width]
        found = mathematics("mathematics/blocks.js", "bottleneck", *arguments)
        for mine, theirs in [(found["block"], stack), (found["wide"], wide)]:
            assert (mine["parameters"], mine["macs"]) == (theirs.parameters, theirs.macs)
        share = (layers[0].macs + layers[2].macs) / stack.macs
        assert found["pointwiseShare"] == pytest.approx(share, rel=ROUNDING)
        pair = mathematics("mathematics/blocks.js", "separable", a, c, kernel)
        assert pair["depthwise"] == Layer(a, a, full, (1, 1), groups=a).macs
        assert pair["pointwise"] == Layer(a, c, (1, 1), (1, 1)).macs
        assert pair["pair"] == pair["depthwise"] + pair["pointwise"]
        assert pair["standard"] == Layer(a, c, full, (1, 1)).macs


@pytest.mark.parametrize("kind", ["identity", *shortcut.OPTIONS])
def test_a_skip_gives_the_shape_of_the_library_s(kind: str, mathematics: Call) -> None:
    for random in drawn()[:50]:
        c_in, stride, side = (int(n) for n in random.integers([1, 1, 1], [9, 5, 12]))
        c_out = c_in + int(random.integers(0, 9))
        layer = shortcut.shortcut(kind, c_in, c_out, stride)
        right = layer(torch.ones(1, c_in, side, side))
        found = mathematics("mathematics/blocks.js", "skip", kind, c_in, c_out, stride, side)
        shape = (found["channels"], found["side"], found["side"])
        assert shape == tuple(right.shape[1:])
        assert found["weights"] == sum(p.numel() for p in layer.parameters())


def test_a_slid_network_is_a_convolution_and_a_pointwise(mathematics: Call) -> None:
    for random in drawn():
        channels, hidden = (int(n) for n in random.integers(1, 5, 2))
        kernel = int(random.choice([1, 3, 5]))
        x = random.normal(size=(channels, *random.integers(1, 9, 2)))
        W, b = random.normal(size=(hidden, channels, kernel, kernel)), random.normal(size=hidden)
        v = random.normal(size=hidden)
        pads = ((kernel // 2, kernel // 2),) * 2
        units = np.maximum(Kernel(W, b, (1, 1), (1, 1), pads).apply(x[None]), 0)
        right = ChannelMap(v[None]).apply(units)[0, 0]
        network = (W.ravel().tolist(), b.tolist(), v.tolist())
        sizes = [int(n) for n in x.shape]
        flat = x.ravel().tolist()
        agree(mathematics("mathematics/sliding.js", "slid", flat, sizes, kernel, *network), right)
        row, column = (int(random.integers(n)) for n in sizes[1:])
        window = mathematics("mathematics/sliding.js", "under", flat, sizes, kernel, row, column)
        once = mathematics("mathematics/sliding.js", "once", window, *network)
        assert abs(once["y"] - right[row, column]) <= ROUNDING * np.abs(right).max()


def test_an_order_of_positions_is_that_of_its_numbers(mathematics: Call) -> None:
    for random in drawn():
        seed, positions, channels = (int(n) for n in random.integers([1, 1, 1], [2**16, 40, 4]))
        found = mathematics("mathematics/sliding.js", "order", seed, positions)
        right = np.argsort(uniform(seed, positions), kind="stable")
        assert np.array_equal(found, right)
        x = random.normal(size=(channels, positions))
        moved = mathematics(
            "mathematics/sliding.js", "reordered", x.ravel().tolist(), right.tolist()
        )
        agree(moved, x[:, right])


def test_class_maps_are_convolutions_and_their_means_a_dense_layer(mathematics: Call) -> None:
    module = "mathematics/classmaps.js"
    for random in drawn():
        x = random.normal(size=(1, *random.integers(1, 14, 2)))
        layers, right = [], x
        for outputs in random.integers(1, 7, random.integers(1, 4)):
            kernel, stride = int(random.choice([1, 3])), int(random.integers(1, 3))
            W = random.normal(size=(outputs, len(right), kernel, kernel))
            b = random.normal(size=outputs)
            layers.append(_layer(W, b, stride))
            pads = ((kernel // 2, kernel // 2),) * 2
            right = Kernel(W, b, (stride, stride), (1, 1), pads).apply(right[None])[0].clip(min=0)
        W, b = random.normal(size=(3, len(right))), random.normal(size=3)
        last = _layer(W[:, :, None, None], b, 1)
        image, size = x.ravel().tolist(), list(x.shape[1:])
        found = mathematics(module, "featuresOf", image, size, [*layers, last])
        assert list(found["shape"]) == list(right.shape)
        features, positions = right.ravel().tolist(), right[0].size
        agree(found["values"], right)
        maps = ChannelMap(W, b).apply(right[None])[0]
        agree(mathematics(module, "mapsOf", features, positions, last), maps)
        scores = maps.mean((1, 2))
        agree(mathematics(module, "means", maps.ravel().tolist(), positions), scores)
        of_means = mathematics(module, "scoresOfMeans", features, positions, last)
        assert np.abs(np.asarray(of_means) - scores).max() <= ROUNDING * np.abs(maps).max()
        turned = mathematics(module, "mirrored", features, right.shape[2])
        assert np.array_equal(turned, right[:, :, ::-1].ravel())


def _layer(W: np.ndarray, b: np.ndarray, stride: int) -> dict[str, object]:
    """A layer as the page has it, of a weight (C_out, C_in, K, K)."""
    told = {"stride": stride, "kernel": W.shape[2], "outputs": len(W)}
    return {"W": W.ravel().tolist(), "b": b.tolist(), **told}


def test_the_classifier_is_decoded_as_python_has_it(mathematics: Call) -> None:
    weights = np.load(data._DATA / "classifier.npy", allow_pickle=False)
    told = json.loads((data._DATA / "classifier.json").read_text(encoding="utf-8"))
    found = mathematics(
        "mathematics/classmaps.js", "decoded", weights.view(np.uint8).tolist(), told
    )
    for layer, (weight, bias, stride) in zip(found, data.classifier(), strict=True):
        assert np.array_equal(layer["W"], weight.ravel())
        assert (layer["stride"], layer["outputs"]) == (stride, len(bias))
