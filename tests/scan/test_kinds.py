"""Networks of every kind, and images of one and three axes: tiled equals whole, by `==`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tifffile
from onnx import TensorProto, helper, numpy_helper, parser

from onebyone.algebra.weights import Array
from onebyone.scan.scan import scan
from tests.scan.networks import C_IN, network, pixels, whole


def drawn(*shape: int) -> Array:
    return np.random.default_rng(shape).integers(-2, 3, shape).astype(np.float32)


def model(text: str, **weights: Array) -> onnx.ModelProto:
    """A graph in ONNX's own notation, with its weights."""
    made = parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}')
    made.graph.initializer.extend(numpy_helper.from_array(w, n) for n, w in weights.items())
    return made


def segmenter() -> onnx.ModelProto:
    """Down by 4 and up again: a transposed convolution, a nearest resize, a shortcut."""
    return model(
        """g (float[N, 3, H, W] x) => (float[N, 4, h, w] y) {
        a = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, A)
        r = Relu (a)
        b = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (r, B)
        u = ConvTranspose <strides = [2, 2]> (b, C)
        s = Add (u, r)
        t = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric",
                    nearest_mode = "floor"> (s, , scales)
        y = Conv <pads = [1, 1, 1, 1]> (t, D) }""",
        A=drawn(5, 3, 4, 4), B=drawn(6, 5, 4, 4), C=drawn(6, 5, 2, 2), D=drawn(4, 5, 3, 3),
        scales=np.array([1, 1, 2, 2], np.float32),
    )  # fmt: skip


def test_a_segmenter_of_stride_one_and_period_four(tmp_path: Path) -> None:
    made, image = segmenter(), pixels(3, 88, 60)
    done = scan(made, image, tmp_path / "maps.zarr", tile=13, scale=1)
    assert done.array().shape == (4, 88, 60)
    assert (done.array()[:] == whole(made, image)).all()


def test_a_network_that_wants_thirds(tmp_path: Path) -> None:
    # What is proved of it is proved of an image that it takes, and 64 is none.
    made = model(
        """g (float[N, 2, H, W] x) => (float[N, 5, h, w] y) {
        p = MaxPool <kernel_shape = [3, 3], strides = [3, 3]> (x)
        a = Conv <pads = [2, 2, 2, 2]> (p, A)
        u = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric",
                    nearest_mode = "floor"> (a, , scales)
        y = Concat <axis = 1> (x, u) }""",
        A=drawn(3, 2, 5, 5), scales=np.array([1, 1, 3, 3], np.float32),
    )  # fmt: skip
    image = pixels(2, 66, 48)
    done = scan(made, image, tmp_path / "maps.zarr", tile=9, scale=1)
    assert (done.array()[:] == whole(made, image)).all()


def test_a_signal(tmp_path: Path) -> None:
    made = model(
        """g (float[N, 2, L] x) => (float[N, 3, l] y) {
        a = Conv <strides = [3], pads = [2, 1]> (x, A)
        r = Relu (a)
        y = MaxPool <kernel_shape = [4], strides = [2]> (r) }""",
        A=drawn(3, 2, 5),
    )
    signal = pixels(2, 1001, dtype=np.int16)
    done = scan(made, signal, tmp_path / "maps.zarr", tile=11, scale=1)
    assert (done.array()[:] == whole(made, signal)).all()


def test_a_volume(tmp_path: Path) -> None:
    made = model(
        """g (float[N, 2, D, H, W] x) => (float[N, 3, d, h, w] y) {
        a = Conv <strides = [1, 2, 1], pads = [1, 0, 1, 0, 1, 1]> (x, A)
        y = Relu (a) }""",
        A=drawn(3, 2, 3, 3, 2),
    )
    volume = pixels(2, 17, 22, 13)
    done = scan(made, volume, tmp_path / "maps.zarr", tile=5, scale=1)
    assert (done.array()[:] == whole(made, volume)).all()


def classifier() -> onnx.ModelProto:
    """Of 3×9×10 images: a convolution, a pool, a flatten and two layers."""
    return model(
        """g (float[1, 3, 9, 10] x) => (float[1, 7] y) {
        a = Conv (x, A)
        r = Relu (a)
        p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)
        f = Flatten (p)
        h = Gemm <transB = 1> (f, B, b)
        k = Relu (h)
        y = Gemm <transB = 1> (k, C) }""",
        A=drawn(2, 3, 2, 3), B=drawn(5, 2 * 4 * 4), b=drawn(5), C=drawn(7, 5),
    )  # fmt: skip


def test_each_position_is_the_classifier_on_its_crop(tmp_path: Path) -> None:
    made, image = classifier(), pixels(3, 41, 36)
    maps = scan(made, image, tmp_path / "maps.zarr", tile=6, scale=1).array()[:]
    assert maps.shape == (7, 17, 14)
    for i, j in np.ndindex(17, 14):
        crop = image[:, 2 * i : 2 * i + 9, 2 * j : 2 * j + 10]
        assert (whole(made, crop) == maps[:, i, j]).all()


def test_numbers_that_are_no_whole_ones_are_equal_within_their_rounding(tmp_path: Path) -> None:
    made, rng = network((1, 2, 1, 2)), np.random.default_rng(3)
    for tensor in made.graph.initializer:
        numbers = rng.standard_normal(tuple(tensor.dims)).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(numbers, tensor.name))
    image = rng.standard_normal((C_IN, 61, 47)).astype(np.float32)
    done = scan(made, image, tmp_path / "maps.zarr", tile=8)
    # Both sums of 3·3·5 products, then of 5, in any order: each differs from the real number by
    # n·u of the sum of magnitudes, u = 2⁻²⁴, as Higham's γ has it; those of the first pass on.
    absolute = network((1, 2, 1, 2))
    for ours, theirs in zip(absolute.graph.initializer, made.graph.initializer, strict=True):
        ours.CopyFrom(numpy_helper.from_array(np.abs(numpy_helper.to_array(theirs)), ours.name))
    terms = (3 * C_IN * 5 + 1) + (5 + 1)
    bound = 2 * terms * 2.0**-24 * 1.01 * whole(absolute, np.abs(image))
    assert (np.abs(done.array()[:] - whole(made, image)) <= bound).all()


def test_a_geotiff_gives_a_geotiff(tmp_path: Path) -> None:
    keys = (1, 1, 0, 1, 1024, 0, 1, 1)
    tags = [
        (33550, 12, 3, (10.0, 20.0, 0.0), True),
        (33922, 12, 6, (0.0, 0.0, 0.0, 5000.0, 8000.0, 0.0), True),
        (34735, 3, len(keys), keys, True),
    ]
    image = np.moveaxis(pixels(C_IN, 261, 147), 0, -1)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", extratags=tags)
    scan(network(), tmp_path / "a.tif", tmp_path / "maps.tif", tile=16, scale=1)
    with tifffile.TiffFile(tmp_path / "maps.tif") as tiff:
        found = tiff.pages[0].tags
        # 4 rows and 2 columns to a position, of 5×6 pixels: their middle is 2.5 and 3.
        assert found[33550].value == (2 * 10.0, 4 * 20.0, 0.0)
        assert found[33922].value[3:5] == (5000 + (3 - 1) * 10.0, 8000 - (2.5 - 2) * 20.0)
        assert found[34735].value == keys


@pytest.mark.parametrize("kind", ["uint8", "int64"])
def test_maps_of_whole_numbers(kind: str, tmp_path: Path) -> None:
    made = network()
    to = {"uint8": TensorProto.UINT8, "int64": TensorProto.INT64}[kind]
    made.graph.node.append(helper.make_node("Cast", ["y"], ["z"], to=to))
    made.graph.node.insert(3, helper.make_node("Abs", ["p"], ["q"]))
    output: Any = made.graph.output[0]
    output.name = "z"
    output.type.tensor_type.elem_type = to
    image = pixels(C_IN, 61, 47)
    if kind == "uint8":
        made.graph.node[-2].input[1] = "A"
        made.graph.node[-2].input.pop()
        made.graph.initializer.append(numpy_helper.from_array(drawn(4, 5, 1, 1) * 0 + 1, "A"))
        image = image // 9
    done = scan(made, image, tmp_path / "maps.zarr", tile=8, scale=1)
    assert done.array().dtype == kind
    assert (done.array()[:] == whole(made, image)).all()
