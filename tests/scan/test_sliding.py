"""ONNX classifiers made to slide: each position is the classifier's answer on its crop, by ==."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import onnx
import pytest

from onebyone.errors import UsageError
from onebyone.scan.network import Network, load
from tests.scan.slid import Build, check_tiles, image, run

SIZES = (19, 14)
"""Of the images that the classifiers are made for."""


def features(b: Build) -> str:
    """(N, 3, 4, 5) of an image of 19×14."""
    x = b.op("Relu", b.conv("x", 2, 3, (4, 3), strides=[2, 1]))
    return b.op("MaxPool", x, kernel_shape=[2, 4], strides=[2, 2])


def flattened(b: Build) -> str:
    x = b.op("Dropout", b.op("Flatten", features(b)))
    x = b.op("Gemm", b.op("Relu", x), b.weight(7, 60), b.weight(7), transB=1, alpha=2.0, beta=3.0)
    return b.op("Gemm", b.op("Relu", x), b.weight(7, 5), b.weight(5))


def viewed(b: Build) -> str:
    """As PyTorch exports `x.view(x.size(0), -1)` with a free batch; a MatMul and an Add."""
    x = features(b)
    batch = b.op("Gather", b.op("Shape", x), b.array(0))
    rows = b.op("Unsqueeze", batch, b.array([0]))
    x = b.op("Reshape", x, b.op("Concat", rows, b.array([-1]), axis=0))
    x = b.op("Clip", b.op("Add", b.op("MatMul", x, b.weight(60, 4)), b.weight(4)), b.array(
        np.float32(-50)), b.array(np.float32(60)))  # fmt: skip
    return b.op("MatMul", b.op("Mul", x, b.weight(1, 4)), b.weight(4, 6))


def channels_last(b: Build) -> str:
    x = b.op("Transpose", features(b), perm=[0, 2, 3, 1])
    x = b.op("Reshape", x, b.array([-1, 60]))
    return b.op("Add", b.weight(6), b.op("MatMul", x, b.weight(60, 6)))


def pooled(b: Build) -> str:
    x = b.op("Flatten", b.op("GlobalMaxPool", features(b)))
    x = b.op("Gemm", x, b.weight(3, 5))
    parameters = (b.array(np.full(5, n, np.float32)) for n in (2, 1, -1, 3))
    return b.op("BatchNormalization", x, *parameters, epsilon=1.0)


def summed(b: Build) -> str:
    return b.op(
        "Gemm", b.op("ReduceSum", features(b), b.array([-1, 2]), keepdims=0), b.weight(3, 5)
    )


def averaged(b: Build) -> str:
    """Sums of 20 numbers: multiplied by 20 before, the means are whole."""
    x = b.op("Mul", features(b), b.array(np.float32(20)))
    x = b.op("Transpose", x, perm=[0, 2, 3, 1])
    x = b.op("ReduceMean", x, axes=[1, 2], keepdims=0)
    return b.op("Gemm", x, b.weight(5, 3), b.weight(1), transB=1)


def axis_by_axis(b: Build) -> str:
    """Rows first, then both the sum and the maximum of what is left."""
    x = b.op("ReduceSum", features(b), b.array([2]), keepdims=0)
    x = b.op("Relu", b.op("Mul", x, b.weight(1, 3, 1)))
    both = (
        b.op("ReduceSum", x, b.array([-1]), keepdims=0),
        b.op("ReduceMax", x, axes=[2], keepdims=0),
    )
    return b.op("Gemm", b.op("Add", *both), b.weight(3, 5))


def a_signal_behind(b: Build) -> str:
    """Columns first, a convolution and a norm of rows, then all that is left flattened."""
    x = b.op("ReduceMax", features(b), axes=[3], keepdims=0)
    x = b.op("Conv", x, b.weight(6, 1, 2), b.weight(6), group=3, dilations=[2])
    parameters = (b.array(np.full(6, n, np.float32)) for n in (2, 1, -1, 3))
    x = b.op("BatchNormalization", x, *parameters, epsilon=1.0)
    return b.op("Gemm", b.op("Flatten", x), b.weight(12, 5))


def a_pool_of_that_size(b: Build) -> str:
    x = b.op("MaxPool", features(b), kernel_shape=[4, 5], strides=[4, 5])
    x = b.conv(x, 3, 4, (1, 1))
    return b.op("Squeeze", b.conv(b.op("Relu", x), 4, 5, (1, 1)), b.array([2, 3]))


def two_heads(b: Build) -> str:
    x = features(b)
    most = b.op("Flatten", b.op("GlobalMaxPool", x))
    least = b.op("Neg", b.op("Flatten", b.op("GlobalMaxPool", b.op("Neg", x))))
    both = b.op("Concat", b.op("Sub", most, least), least, axis=-1)
    return b.op("Gemm", both, b.weight(6, 4))


CLASSIFIERS = [
    flattened, viewed, channels_last, pooled, summed, averaged, a_pool_of_that_size, two_heads,
    axis_by_axis, a_signal_behind,
]  # fmt: skip


def check_crops(network: Network, classifier: onnx.ModelProto, sizes: tuple[int, ...]) -> None:
    """Each position of the map of a larger image is the answer on its crop."""
    x = image(network.channels, sizes)
    maps = run(network.model, x)
    rank = len(sizes)
    original = classifier.graph.input[0].type.tensor_type.shape.dim[2:]
    for at in product(*map(range, maps.shape[2:])):
        corner = [i * axis.stride for i, axis in zip(at, network.axes, strict=True)]
        ends = zip(corner, original, strict=True)
        crop = x[(..., *(slice(a, a + dim.dim_value) for a, dim in ends))]
        answer = run(classifier, crop).reshape(-1)
        assert len(corner) == rank
        np.testing.assert_array_equal(maps[(0, slice(None), *at)], answer)


@pytest.mark.parametrize("make", CLASSIFIERS)
def test_each_position_is_the_answer_on_its_crop(make: Callable[[Build], str]) -> None:
    b = Build()
    classifier = b.model(make(b), sizes=SIZES)
    network = load(classifier)
    assert network.tiles
    assert network.crops
    assert network.reasons == ()
    assert [axis.stride for axis in network.axes] == [4, 2]
    assert [axis.size(n) for axis, n in zip(network.axes, SIZES, strict=True)] == [1, 1]
    check_crops(network, classifier, SIZES)
    check_crops(network, classifier, (28, 19))
    assert check_tiles(network, (51, 40), 3) > 4


def test_the_last_layers_act_on_features() -> None:
    """Softmax and layer norm round: the same operators, in the same order, to the last bits."""
    for opset, axis in ((17, -1), (12, 1)):
        b = Build(opset=opset)
        x = b.op("Gemm", b.op("Flatten", features(b)), b.weight(60, 5))
        x = b.op("Mul", x, b.array(np.float32(1 / 64)))
        classifier = b.model(b.op("Softmax", x, axis=axis), sizes=SIZES)
        network = load(classifier)
        x_full = image(2, (27, 18))
        maps = run(network.model, x_full)
        assert maps.shape == (1, 5, 3, 3)
        # Shares of 5 terms, each within a few ulps of 2⁻²⁴ of at most 1.
        for i, j in product(range(3), range(3)):
            crop = x_full[:, :, 4 * i : 4 * i + 19, 2 * j : 2 * j + 14]
            np.testing.assert_allclose(
                maps[0, :, i, j], run(classifier, crop)[0], rtol=0, atol=16 * 2**-24
            )


@pytest.mark.parametrize("rank", [1, 3])
def test_signals_and_volumes(rank: int) -> None:
    b = Build(rank=rank)
    x = b.op("Relu", b.conv("x", 2, 3, (4, 3, 2)[:rank], strides=[2, 1, 1][:rank]))
    x = b.op("Flatten", x)
    sizes = (10, 5, 4)[:rank]
    flat = 3 * int(np.prod([4, 3, 3][:rank]))
    classifier = b.model(b.op("Gemm", x, b.weight(flat, 5)), sizes=sizes)
    network = load(classifier)
    check_crops(network, classifier, (15, 6, 7)[:rank])


def test_a_free_size_is_asked_for() -> None:
    b = Build()
    model = b.model(pooled(b))
    with pytest.raises(UsageError, match="or give the size of the images that it classifies"):
        load(model)
    network = load(model, size=SIZES)
    fixed = Build()
    classifier = fixed.model(pooled(fixed), sizes=SIZES)
    check_crops(network, classifier, (25, 20))
    with pytest.raises(UsageError, match="got images of 19×15 for a model of 19×14"):
        load(classifier, size=(19, 15))


def test_padding_is_named_and_refused() -> None:
    b = Build()
    x = b.conv("x", 2, 3, (3, 3), pads=[1, 1, 1, 1])
    x = b.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 1])
    model = b.model(b.op("Gemm", b.op("Flatten", x), b.weight(3 * 5 * 4, 4)), sizes=(9, 7))
    with pytest.raises(UsageError) as refused:
        load(model)
    assert "that pads its input: Conv n_v0 and 1 more look beyond the ends" in str(refused.value)
    network = load(model, accept_approx=True)
    assert network.tiles
    assert not network.crops
    assert len(network.reasons) == 1
    # On an image of the original size it is the classifier, and tiles are exact.
    x_one = image(2, (9, 7))
    np.testing.assert_array_equal(run(network.model, x_one)[:, :, 0, 0], run(model, x_one))
    assert check_tiles(network, (40, 38), 4) > 4


def test_a_gate_inside_is_no_head() -> None:
    b = Build()
    x = features(b)
    gate = b.op("Relu", b.conv(b.op("GlobalMaxPool", x, name="gate"), 3, 3, (1, 1)))
    x = b.op("Flatten", b.op("Mul", x, gate))
    model = b.model(b.op("Gemm", x, b.weight(60, 5)), sizes=SIZES)
    with pytest.raises(UsageError, match="GlobalMaxPool n_gate: it looks at all positions"):
        load(model)
    network = load(model, accept_approx=True)
    assert not network.tiles
    x_one = image(2, SIZES)
    np.testing.assert_array_equal(run(network.model, x_one)[:, :, 0, 0], run(model, x_one))


def best_class(b: Build) -> str:
    return b.op("ArgMax", flattened(b), axis=1, name="best")


def placed(b: Build) -> str:
    return b.op("Gemm", b.op("Add", b.op("Flatten", features(b)), b.weight(60), name="places"),
                b.weight(60, 4))  # fmt: skip


def computed(b: Build) -> str:
    x = b.op("Flatten", features(b))
    return b.op("Gemm", x, x, transB=1, name="gram")


def regrouped(b: Build) -> str:
    x = b.op("ReduceSum", features(b), b.array([2]), keepdims=0)
    return b.op("Gemm", b.op("Reshape", x, b.array([1, 5, 3]), name="rows"), b.weight(3, 5))


def a_number_a_row(b: Build) -> str:
    x = b.op("ReduceSum", features(b), b.array([3]), keepdims=0)
    return b.op("ReduceSum", b.op("Mul", x, b.weight(3, 4), name="rows"), b.array([2]), keepdims=0)


def cut(b: Build) -> str:
    return b.op("Slice", flattened(b), b.array([0]), b.array([2]), b.array([1]), name="some")


REFUSED = {
    best_class: "ArgMax n_best stands in the way .* no rule says how it acts on a map",
    placed: "Add n_places stands in the way .* it is given numbers for each position",
    computed: "Gemm n_gram stands in the way .* its weight is no constant matrix",
    regrouped: "Reshape n_rows stands in the way .* it regroups what has lost an axis",
    a_number_a_row: "Mul n_rows stands in the way .* it is given numbers for each position",
    cut: "Slice n_some stands in the way .* no rule says how it acts on a map",
}


@pytest.mark.parametrize("make", REFUSED)
def test_what_cannot_slide_is_named(make: Callable[[Build], str]) -> None:
    b = Build()
    with pytest.raises(UsageError, match=REFUSED[make]):
        load(b.model(make(b), sizes=SIZES))


def test_an_image_with_its_channels_last() -> None:
    """As converters write the classifiers of TensorFlow; the sizes are told behind the turn."""
    b, plain = Build(), Build()
    x = b.op("Transpose", "x", perm=[0, 3, 1, 2])
    x = b.op("Relu", b.conv(x, 2, 3, (4, 3), strides=[2, 1]))
    x = b.op("Transpose", x, perm=[0, 2, 3, 1])
    x = b.op("ReduceMax", x, axes=[1, 2], keepdims=0)
    model = b.model(b.op("Gemm", x, b.weight(3, 5)), sizes=(1,))
    dims = onnx.helper.make_tensor_value_info("x", 1, [1, *SIZES, 2])
    model.graph.input[0].CopyFrom(dims)
    y = plain.op("Relu", plain.conv("x", 2, 3, (4, 3), strides=[2, 1]))
    y = plain.op("ReduceMax", y, axes=[2, 3], keepdims=0)
    classifier = plain.model(plain.op("Gemm", y, plain.weight(3, 5)), sizes=SIZES)
    network = load(model)
    assert network.crops
    check_crops(network, classifier, (27, 17))
