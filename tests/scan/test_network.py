"""Networks as a scan takes them: tiles and crops compared with the whole image, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from onebyone.errors import UsageError
from onebyone.scan.network import load
from tests.scan.slid import Build, check_tiles, image, run

PADDED = {"pads": [1, 1, 1, 1]}


def chain(b: Build) -> str:
    x = b.conv("x", 2, 3, (5, 3), strides=[3, 1], pads=[2, 0, 1, 2])
    x = b.op("MaxPool", b.op("Relu", x), kernel_shape=[2, 3], strides=[2, 1], pads=[0, 1, 0, 1])
    return b.conv(x, 3, 4, (3, 3), dilations=[1, 2], **PADDED)


def rounded_up(b: Build) -> str:
    x = b.op("MaxPool", "x", kernel_shape=[3, 2], strides=[2, 2], ceil_mode=1)
    return b.conv(x, 2, 3, (3, 1), pads=[1, 0, 1, 0])


def residual(b: Build) -> str:
    left = b.conv("x", 2, 4, (3, 3), strides=[2, 2], **PADDED)
    right = b.conv("x", 2, 4, (1, 1), strides=[2, 2])
    return b.op("Relu", b.op("Add", left, right))


def u_net(b: Build) -> str:
    top = b.conv("x", 2, 3, (3, 3), **PADDED)
    low = b.op("MaxPool", top, kernel_shape=[2, 2], strides=[2, 2])
    mid = b.conv(low, 3, 4, (3, 3), **PADDED)
    deep = b.op("AveragePool", mid, kernel_shape=[2, 2], strides=[2, 2])
    deep = b.op("Mul", b.conv(deep, 4, 5, (3, 3), **PADDED), b.array(np.float32(4)))
    up = b.op("ConvTranspose", deep, b.weight(5, 4, 2, 2), strides=[2, 2])
    mid = b.op("Concat", up, mid, axis=1)
    up = b.op("Resize", mid, "", b.array(np.array([1, 1, 2, 2], np.float32)), mode="nearest",
              coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    return b.conv(b.op("Concat", up, top, axis=1), 11, 2, (3, 3), **PADDED)


def resized_to_the_image(b: Build) -> str:
    """As exporters write `interpolate(x, size=image.shape[2:])`."""
    x = b.conv("x", 2, 3, (3, 3), strides=[2, 2], **PADDED)
    x = b.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = b.op("Mul", x, b.array(np.float32(64)))
    sizes = b.op("Slice", b.op("Shape", "x"), b.array([2]), b.array([4]), b.array([0]))
    start = b.op("Slice", b.op("Shape", x), b.array([0]), b.array([2]), b.array([0]))
    target = b.op("Concat", start, sizes, axis=0)
    return b.op("Resize", x, "", "", target, mode="linear",
                coordinate_transformation_mode="half_pixel")  # fmt: skip


def shuffled(b: Build) -> str:
    x = b.conv(b.op("SpaceToDepth", "x", blocksize=2), 8, 9, (3, 3), **PADDED)
    return b.op("DepthToSpace", x, blocksize=3)


def same(b: Build) -> str:
    x = b.conv("x", 2, 3, (3, 5), strides=[2, 2], auto_pad="SAME_UPPER")
    return b.conv(x, 3, 2, (4, 3), auto_pad="SAME_LOWER")


def same_up(b: Build) -> str:
    """As decoders of TensorFlow: twice and three times the size, whatever the kernel."""
    x = b.op("ConvTranspose", b.conv("x", 2, 3, (3, 3), strides=[6, 6], auto_pad="SAME_UPPER"),
             b.weight(3, 4, 3, 4), strides=[2, 3], auto_pad="SAME_UPPER")  # fmt: skip
    x = b.op("ConvTranspose", x, b.weight(4, 2, 4, 2), strides=[1, 2], auto_pad="SAME_LOWER")
    return b.op("LRN", x, size=3, alpha=3.0, beta=1.0, bias=2.0)


def segmented(b: Build) -> str:
    """The number of the best class."""
    return b.op("ArgMax", b.conv("x", 2, 5, (3, 3), **PADDED), axis=1)


def mirrored(b: Build) -> str:
    x = b.op("Pad", "x", b.array([0, 0, 2, 3, 0, 0, 1, 2]), mode="reflect")
    x = b.op("Slice", b.conv(x, 2, 3, (4, 4)), b.array([1]), b.array([-2]), b.array([3]))
    return b.op("Softsign", b.op("Pad", x, b.array([0, 0, 1, 1, 0, 0, 0, 0]), mode="edge"))


def channels_last(b: Build) -> str:
    x = b.op("Transpose", b.conv("x", 2, 3, (3, 3), **PADDED), perm=[0, 2, 3, 1])
    x = b.op("Add", b.op("MatMul", x, b.weight(3, 5)), b.weight(5))
    x = b.op("Clip", x, b.array(np.float32(-9)), b.array(np.float32(9)))
    return b.op("Transpose", x, perm=[0, 3, 1, 2])


def tokens(b: Build) -> str:
    """Linear layers on tokens, and a shuffle of channels: positions are merged and told apart."""
    x = b.conv("x", 2, 6, (3, 3), strides=[2, 1], **PADDED)
    shape = b.op("Shape", x)
    x = b.op("Reshape", x, b.array([0, 6, -1]))
    x = b.op("MatMul", b.op("Transpose", x, perm=[0, 2, 1]), b.weight(6, 8))
    x = b.op("Transpose", b.op("Add", x, b.weight(8)), perm=[0, 2, 1])
    sizes = b.op("Slice", shape, b.array([2]), b.array([4]), b.array([0]))
    x = b.op("Reshape", x, b.op("Concat", b.array([-1, 8]), sizes, axis=0))
    first = b.op("Concat", b.array([-1, 2, 4]), sizes, axis=0)
    x = b.op("Transpose", b.op("Reshape", x, first), perm=[0, 2, 1, 3, 4])
    x = b.op("Reshape", x, b.op("Concat", b.array([-1, 8]), sizes, axis=0))
    return b.conv(x, 8, 3, (3, 3), **PADDED)


def rows_of_tokens(b: Build) -> str:
    """All positions of all images as rows of one matrix."""
    x = b.op("Transpose", b.conv("x", 2, 3, (3, 3), **PADDED), perm=[0, 2, 3, 1])
    shape = b.op("Shape", x)
    x = b.op("Gemm", b.op("Reshape", x, b.array([-1, 3])), b.weight(3, 4), b.weight(4))
    lead = b.op("Slice", shape, b.array([0]), b.array([3]), b.array([0]))
    x = b.op("Reshape", x, b.op("Concat", lead, b.array([4]), axis=0))
    return b.op("Transpose", x, perm=[0, 3, 1, 2])


def focus(b: Build) -> str:
    """Every other pixel, from the first and from the second on."""
    every = [
        b.op("Slice", "x", b.array([i, j]), b.array([2**40] * 2), b.array([2, 3]), b.array([2, 2]))
        for i in range(2)
        for j in range(2)
    ]
    return b.conv(b.op("Concat", *every, axis=1), 8, 3, (3, 3), **PADDED)


def best(b: Build) -> str:
    """A detector's dense head: logits through a sigmoid, the best of two classes."""
    x = b.op("BatchNormalization", b.conv("x", 2, 4, (3, 3), strides=[2, 2], **PADDED),
             *(b.array(np.full(4, n, np.float32)) for n in (1, 2, 0, 1)), epsilon=3.0)  # fmt: skip
    return b.op("ReduceMax", x, axes=[1], keepdims=1)


MADE: dict[Callable[[Build], str], int] = {
    chain: 1, rounded_up: 1, residual: 1, u_net: 4, resized_to_the_image: 4, shuffled: 2, same: 2,
    mirrored: 1, channels_last: 1, focus: 2, best: 1, tokens: 1, rows_of_tokens: 1,
    same_up: 6, segmented: 1,
}  # fmt: skip
"""Networks, and the numbers of which an image has to have a multiple of pixels."""


@pytest.mark.parametrize("make", MADE)
def test_tiles_give_what_the_image_gives(make: Callable[[Build], str]) -> None:
    b = Build()
    network = load(b.model(make(b)))
    multiple = MADE[make]
    assert network.tiles
    assert network.reasons == ()
    assert {axis.multiple for axis in network.axes} == {multiple}
    for sizes in ((60, 48), (60 - multiple, 48 + multiple), (24, 12 + multiple)):
        cut = check_tiles(network, sizes, 5)
    assert check_tiles(network, (72, 60), 7) > 4
    assert cut >= 0


@pytest.mark.parametrize("rank", [1, 3])
def test_signals_and_volumes(rank: int) -> None:
    b = Build(rank=rank)
    x = b.conv("x", 2, 3, (3, 2, 4)[:rank], strides=[2, 1, 3][:rank])
    x = b.op("MaxPool", x, kernel_shape=[2] * rank, pads=[1] * 2 * rank, strides=[1, 2, 1][:rank])
    network = load(b.model(x))
    assert len(network.axes) == rank
    assert check_tiles(network, (40, 14, 25)[:rank], 4) > 2


def test_the_file_is_for_images_of_any_size(tmp_path: Path) -> None:
    b = Build()
    proto = b.model(chain(b), sizes=(24, 36))
    proto.metadata_props.add(key="onebyone.classes", value='["a", "b", "c", "d"]')
    copy = onnx.ModelProto.FromString(proto.SerializeToString())
    onnx.save(copy, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    network, again = load(tmp_path / "m.onnx"), load(proto)
    assert network.classes == ("a", "b", "c", "d")
    assert (network.channels, network.outputs, network.dtype) == (2, 4, np.float32)
    assert network.digest == again.digest
    assert load(b.model(chain(b))).digest != network.digest
    onnx.checker.check_model(network.model, full_check=True)
    np.testing.assert_array_equal(
        run(network.model, image(2, (24, 36))), run(proto, image(2, (24, 36)))
    )


def test_crops_are_exact_without_padding() -> None:
    b = Build()
    x = b.op("MaxPool", b.conv("x", 2, 3, (5, 4), strides=[3, 1]), kernel_shape=[2, 2])
    network = load(b.model(b.conv(x, 3, 4, (3, 2), dilations=[1, 3])))
    assert network.crops
    x_full = image(2, (40, 23))
    maps, (height, width) = run(network.model, x_full), network.axes
    assert maps.shape[2:] == (height.size(40), width.size(23))
    for i in range(maps.shape[2]):
        for j in range(maps.shape[3]):
            rows = slice(i * height.stride, i * height.stride + (height.receptive_field or 0))
            columns = slice(j * width.stride, j * width.stride + (width.receptive_field or 0))
            answer = run(network.model, x_full[:, :, rows, columns])
            assert answer.shape == (1, 4, 1, 1)
            np.testing.assert_array_equal(answer[0, :, 0, 0], maps[0, :, i, j])
    b = Build()
    assert not load(b.model(chain(b))).crops


def squeezed(b: Build) -> str:
    x = b.conv("x", 2, 3, (3, 3))
    scale = b.op("Sigmoid", b.conv(b.op("GlobalAveragePool", x, name="squeeze"), 3, 3, (1, 1)))
    return b.op("Mul", x, scale)


def normed(b: Build) -> str:
    return b.op("InstanceNormalization", "x", b.weight(2), b.weight(2), name="norm")


def pyramid(b: Build) -> str:
    """A pool of everything, resized back and put beside the rest."""
    mean = b.op("ReduceMean", "x", axes=[2, 3], name="all")
    back = b.op("Resize", mean, "", "", b.op("Shape", "x"), mode="nearest")
    return b.op("Concat", "x", back, axis=1)


def attention(b: Build) -> str:
    tokens = b.op("Reshape", "x", b.array([0, 2, -1]))
    scores = b.op("MatMul", b.op("Transpose", tokens, perm=[0, 2, 1]), tokens, name="scores")
    mixed = b.op("MatMul", tokens, b.op("Softmax", scores))
    return b.op("Reshape", mixed, b.op("Shape", "x"))


def aligned(b: Build) -> str:
    return b.op("Resize", "x", "", b.array(np.array([1, 1, 2, 2], np.float32)), mode="linear",
                coordinate_transformation_mode="align_corners", name="corners")  # fmt: skip


def of_one_size(b: Build) -> str:
    return b.op("Resize", "x", "", "", b.array([1, 2, 64, 64]), mode="nearest", name="fixed")


def two_strides(b: Build) -> str:
    left = b.op("MaxPool", "x", kernel_shape=[1, 1], strides=[2, 2])
    return b.op("Add", left, b.op("MaxPool", "x", kernel_shape=[1, 1], strides=[4, 4]), name="sum")


def placed(b: Build) -> str:
    return b.op("Add", "x", b.weight(1, 2, 24, 36), name="embedding")


def counted(b: Build) -> str:
    """It divides by the number of rows."""
    rows = b.op("Gather", b.op("Shape", "x"), b.array(2))
    return b.op("Div", "x", b.op("Cast", rows, to=1), name="divided")


def cut_tokens(b: Build) -> str:
    """Tokens are told apart in another way than they were merged."""
    x = b.op("Reshape", "x", b.array([0, 2, -1]))
    sizes = [b.op("Gather", b.op("Shape", "x"), b.array([k])) for k in (3, 2)]
    return b.op("Reshape", x, b.op("Concat", b.array([0, 2]), *sizes, axis=0), name="turned")


def flipped(b: Build) -> str:
    return b.op("Slice", "x", b.array([-1]), b.array([-(2**40)]), b.array([2]), b.array([-1]),
                name="flip")  # fmt: skip


REFUSED: dict[Callable[[Build], str], tuple[str, bool]] = {
    squeezed: ("GlobalAveragePool n_squeeze: it looks at all positions", True),
    normed: ("InstanceNormalization n_norm: it looks at all positions", False),
    pyramid: ("ReduceMean n_all: it looks at all positions", True),
    attention: ("MatMul n_scores: it looks at all positions", False),
    aligned: ("Resize n_corners: it aligns corners", False),
    of_one_size: ("Resize n_fixed: it resizes to a size", False),
    two_strides: ("Add n_sum: branches with strides 2 and 4 meet", False),
    placed: ("Add n_embedding: it is given numbers for each position", False),
    counted: ("Div n_divided: it calculates with the size of the image", True),
    cut_tokens: ("Reshape n_turned: it merges or cuts apart the axis of positions", False),
    flipped: ("Slice n_flip: it runs backwards", False),
}


@pytest.mark.parametrize("make", REFUSED)
def test_what_looks_at_the_whole_image_is_named(make: Callable[[Build], str]) -> None:
    b = Build()
    model, (reason, has_positions) = b.model(make(b)), REFUSED[make]
    with pytest.raises(UsageError) as refused:
        load(model)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
    if has_positions:
        network = load(model, accept_approx=True)
        assert not network.tiles
        assert not network.crops
        assert reason in network.reasons[0]
        assert len(network.axes) == 2


def test_what_a_subgraph_reads_is_read() -> None:
    b = Build()
    branch = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["inner"])], "then", [],
        [helper.make_tensor_value_info("inner", 1, None)],
    )  # fmt: skip
    mean = b.op(
        "If", b.array(np.array(True)), name="either", then_branch=branch, else_branch=branch
    )
    with pytest.raises(UsageError, match="If n_either: it runs graphs of its own"):
        load(b.model(b.op("Add", "x", mean)))


def test_inputs_and_outputs_that_do_not_fit() -> None:
    b = Build()
    model = b.model(b.op("Add", "x", "y"))
    model.graph.input.append(helper.make_tensor_value_info("y", 1, [1]))
    with pytest.raises(UsageError, match="that also reads y, wanted one of the image alone"):
        load(model)
    b = Build(rank=0)
    with pytest.raises(UsageError, match="got inputs x of rank 2, wanted one of rank 3, 4 or 5"):
        load(b.model(b.op("Relu", "x")))
    b = Build()
    model = b.model(b.op("Relu", "x"))
    model.metadata_props.add(key="onebyone.classes", value='["a"]')
    with pytest.raises(UsageError, match="got 1 names in onebyone"):
        load(model)


def test_of_several_outputs_the_first_with_positions_is_taken() -> None:
    b = Build()
    x = b.conv("x", 2, 5, (3, 3))
    mean = b.op("ReduceMean", x, axes=[2, 3], keepdims=0)
    network = load(b.model(mean, x, b.op("Relu", x)))
    assert [value.name for value in network.model.graph.output] == [x]
    assert network.tiles
    assert network.outputs == 5


def test_of_several_outputs_the_one_that_is_named_is_taken() -> None:
    b = Build()
    x = b.conv("x", 2, 5, (3, 3))
    mean, other = b.op("ReduceMean", x, axes=[2, 3], keepdims=0), b.conv(x, 5, 4, (1, 1))
    model = b.model(x, mean, other)
    network = load(model, result=other)
    assert [value.name for value in network.model.graph.output] == [other]
    assert network.outputs == 4
    assert network.digest != load(model).digest
    with pytest.raises(UsageError, match=f"got no output z, wanted one of {x}, {mean}, {other}"):
        load(model, result="z")


def test_channels_that_come_last_are_put_first() -> None:
    """As converters write the models of TensorFlow: turned to begin with, and turned back."""
    b, plain = Build(), Build()
    x = b.op("Transpose", "x", perm=[0, 3, 1, 2])
    y = b.op("Transpose", b.conv(x, 2, 5, (3, 4), strides=[2, 1]), perm=[0, 2, 3, 1])
    model = b.model(b.op("Relu", y), sizes=(12,))
    dims = [1, 12, 16, 2]
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", 1, dims))
    network = load(model)
    reference = load(plain.model(plain.op("Relu", plain.conv("x", 2, 5, (3, 4), strides=[2, 1]))))
    assert network.axes == reference.axes
    assert (network.channels, network.outputs) == (2, 5)
    x_full = image(2, (30, 21))
    np.testing.assert_array_equal(run(network.model, x_full), run(reference.model, x_full))
    assert check_tiles(network, (30, 21), 4) > 4
    onnx.checker.check_model(network.model, full_check=True)
