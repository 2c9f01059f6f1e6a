"""Resize and Upsample of every opset, against ONNX Runtime and the reference evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from onebyone.algebra.refusal import Refusal
from onebyone.algebra.resize import COORDINATES, ROUNDINGS, Resize
from onebyone.graph.spatial import Spatial, spatial
from tests.quick import slow_but_pairs

from ..one_node import engine, mapped, model, node, read, reference

SHAPE = (2, 3, 6, 5)
X = (64 * np.random.default_rng(5).integers(-2, 3, SHAPE)).astype(np.float32)
NONE = np.zeros(0, np.float32)
# (n, scale), the scales and all coordinates exact in float32 where n·scale is an integer.
SCALES = [(1, 3.0), (2, 2.0), (4, 0.5), (6, 1.5), (6, 0.25), (5, 4.0), (8, 0.75), (7, 1.0)]
ROI = (0.25, 0.75)
MODES = [
    {"mode": "linear"},
    {"mode": "cubic"},
    {"mode": "cubic", "cubic_coeff_a": -0.5},
    {"mode": "cubic", "exclude_outside": 1},
    {"mode": "linear", "antialias": 1},
    {"mode": "cubic", "antialias": 1},
    {"mode": "cubic", "antialias": 1, "exclude_outside": 1},
]


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def matrices(
    n: int, scale: float, by_size: bool, **attributes: Any
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """The matrices (n_out, n) that ONNX Runtime, the reference and the node's map apply.

    The engines map the rows of the identity along the last axis; the reference is None where its
    coordinates of a single output, or of a length that is not an integer, are not the text's.
    """
    roi = attributes["coordinate_transformation_mode"] == "tf_crop_and_resize"
    rois = floats(0, 0, 0, ROI[0], 1, 1, 1, ROI[1]) if roi else NONE
    sizes = (NONE, ints(n, 1, 1, int(n * scale))) if by_size else (floats(1, 1, 1, scale),)
    proto = model("Resize", (n, 1, 1, n), rois, *sizes, **attributes)
    x = np.eye(n, dtype=np.float32).reshape(n, 1, 1, n)
    wanted = engine(proto, {"x": x})[:, 0, 0].T
    matrix = read("Resize", (n, 1, 1, n), rois, *sizes, **attributes).maps.get(3)
    own = np.eye(n) if matrix is None else matrix.matrix(n)
    known = "tf_half" not in attributes["coordinate_transformation_mode"]
    whole = known and int(n * scale) > 1 and float(n * scale).is_integer()
    return wanted, reference(proto, {"x": x})[:, 0, 0].T if whole else None, own


def _cases(coordinates: str) -> list[tuple[int, float]]:
    # ONNX Runtime copies where all scales are one, whatever the roi.
    return [case for case in SCALES if case[1] != 1 or coordinates != "tf_crop_and_resize"]


@pytest.mark.parametrize("coordinates", list(COORDINATES))
@pytest.mark.parametrize("rounding", [r for r in ROUNDINGS if r != "simple"])
@pytest.mark.parametrize("by_size", [False, True])
def test_nearest(coordinates: str, rounding: str, by_size: bool) -> None:
    attributes = {"coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    opset = 11 if "tf_half" in coordinates else 19
    for n, scale in _cases(coordinates):
        wanted, also, own = matrices(n, scale, by_size, opset=opset, **attributes)
        assert wanted.shape == own.shape
        assert (wanted == own).all(), (n, scale)
        assert also is None or (also == own).all(), (n, scale)


@pytest.mark.parametrize(
    ("coordinates", "mode", "by_size"), slow_but_pairs(COORDINATES, MODES, [False, True]), ids=str
)
def test_weighted(coordinates: str, mode: dict, by_size: bool) -> None:
    opset = 11 if "tf_half" in coordinates else 19
    # Opset 11, the last but one with tf_half_pixel_for_nn, had no antialias.
    mode = {key: value for key, value in mode.items() if opset > 11 or key != "antialias"}
    for n, scale in [*_cases(coordinates), (3, 1.7), (8, 0.3), (5, 0.6)]:
        wanted, also, own = matrices(
            n, scale, by_size, opset=opset, coordinate_transformation_mode=coordinates, **mode
        )
        # In float32 a coordinate of at most n takes four roundings, and a kernel's slope is below
        # two; a cubic weight takes ten more, of numbers below twelve; a normalised one is divided
        # by a sum near one of up to 4/scale of them, and up to that many are clamped together.
        weight = (8 * n + 120) * 2.0**-24
        taps = 4 * max(1, 1 / scale)
        assert wanted.shape == own.shape
        assert abs(wanted - own).max() <= 2 * taps * weight, (n, scale)
        assert also is None or abs(also - own).max() <= 2 * taps * weight, (n, scale)


@pytest.mark.parametrize("n", range(1, 14))
@pytest.mark.parametrize("scale", [0.7, 1.1, 0.1, 2.3])
def test_output_sizes_are_the_engines(n: int, scale: float) -> None:
    if n * scale >= 1:
        scales = floats(1, 1, 1, scale)
        y = engine(model("Resize", (1, 1, 1, n), None, scales), {"x": np.ones((1, 1, 1, n), "f4")})
        assert read("Resize", (1, 1, 1, n), None, scales).maps[3].out_size(n) == y.shape[3]


def both(*operands: Any, engines: tuple = (engine, reference), **attributes: Any) -> Spatial:
    """The engines compute what the maps say of two dimensions, to the last bit."""
    proto = model("Resize", SHAPE, *operands, **attributes)
    found = read("Resize", SHAPE, *operands, **attributes)
    y = mapped(found, X)
    for run in engines:
        wanted = run(proto, {"x": X})
        assert wanted.shape == y.shape
        assert (wanted == y).all(), run.__name__
    return found


@pytest.mark.parametrize("opset", [11, 13, 18, 19, 22])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_two_axes_at_once(opset: int, mode: str) -> None:
    a = {"opset": opset, "mode": mode, "coordinate_transformation_mode": "half_pixel"}
    found = both(NONE, floats(1, 1, 2, 4), **a)
    assert sorted(found.maps) == [2, 3]
    assert found.preserves_constants
    assert found.is_selection == (mode == "nearest")
    assert both(NONE, NONE, ints(2, 3, 12, 10), **a).maps[3].size == 10


@pytest.mark.parametrize("axes", [[2, 3], [3, 2], [-1, -2]])
def test_named_axes(axes: list[int]) -> None:
    # The reference evaluator cannot transpose to negative axes.
    engines = (engine, reference) if min(axes) > 0 else (engine,)
    a = {"axes": axes, "mode": "linear", "opset": 18, "engines": engines}
    found = both(None, floats(2, 4), **a)
    assert found.maps[axes[0] % 4].scale == 2.0
    found = both(None, None, ints(*(2 * SHAPE[axis] for axis in axes)), **a)
    assert [found.maps[axis].size for axis in (2, 3)] == [12, 10]


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
@pytest.mark.parametrize("opset", [18, 22])
def test_kept_aspect_ratio(policy: str, opset: int) -> None:
    a = {"axes": [2, 3], "keep_aspect_ratio_policy": policy, "opset": opset, "mode": "linear"}
    wanted = {"not_larger": (0.5, 3, 3), "not_smaller": (2.0, 12, 10)}[policy]
    maps = both(None, None, ints(3, 10), **a).maps
    assert (maps[2].scale, maps[2].size, maps[3].size) == wanted
    unknown = read("Resize", (2, 3, "h", "w"), None, None, ints(3, 10), **a)
    assert unknown.maps == dict.fromkeys((2, 3), Resize("linear", unknown_scale=True))
    assert unknown.preserves_constants


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scales", [(1, 1, 2, 4), (1, 1, 0.5, 3)])
def test_resize_of_opset_10_and_upsample(mode: str, scales: tuple) -> None:
    for op, opset in (("Resize", 10), ("Upsample", 9)):
        if op == "Upsample" and min(scales) < 1:
            continue
        proto = model(op, SHAPE, floats(*scales), opset=opset, mode=mode)
        found = read(op, SHAPE, floats(*scales), opset=opset, mode=mode)
        wanted = engine(proto, {"x": X})
        # Thirds, in float32: four roundings of products of numbers below 2 · 128.
        assert abs(mapped(found, X) - wanted).max() <= 4 * 256 * 2.0**-24
        assert found.is_selection == (mode == "nearest")


def test_upsample_with_an_attribute() -> None:
    x = ir.val("x", ir.DataType.FLOAT, SHAPE)
    found = spatial(ir.node("Upsample", [x], {"scales": [1.0, 1.0, 2.0, 2.0]}))
    assert found.maps == dict.fromkeys(
        (2, 3), Resize("nearest", "asymmetric", 2.0, rounding="simple")
    )
    assert isinstance(spatial(ir.node("Upsample", [x], {"mode": "bicubic"})), Refusal)


def test_an_axis_of_the_same_size_is_untouched() -> None:
    assert sorted(read("Resize", SHAPE, None, None, ints(2, 3, 12, 5)).maps) == [2]
    assert sorted(read("Resize", (2, 3, "h", 5), None, None, ints(2, 3, 6, 5)).maps) == [2]
    assert sorted(read("Resize", ("n", 3, "h", 5), None, floats(1, 1, 2, 1)).maps) == [2]


def test_sizes_computed_at_run_time_may_touch_every_axis() -> None:
    found = read("Resize", SHAPE, None, None, "sizes:4", mode="linear")
    assert found.maps == dict.fromkeys(range(4), Resize("linear"))
    assert [value.name for value in found.runtime] == ["sizes"]
    assert read("Resize", (*"nchw",), None, None, "sizes:4", mode="linear").maps == found.maps
    y = engine(
        model("Resize", SHAPE, None, None, "sizes:4", mode="linear"),
        {"x": X, "sizes": ints(2, 3, 12, 20)},
    )
    assert (mapped(found, X, y) == y).all()


def test_scales_computed_at_run_time_give_no_matrix() -> None:
    found = read("Resize", SHAPE, None, "scales", mode="linear")
    assert found.maps == dict.fromkeys(range(4), Resize("linear", unknown_scale=True))
    assert found.preserves_constants


def test_a_concat_of_sizes_is_known_in_part() -> None:
    scales = node_with_concat("Resize", 2, floats(1, 1), "scales")
    assert scales.maps == dict.fromkeys((2, 3), Resize("nearest", unknown_scale=True))
    sizes = node_with_concat("Resize", 3, ints(2, 3), "sizes")
    assert sizes.maps == dict.fromkeys((2, 3), Resize("nearest"))
    shape = node_with_concat("Expand", 1, ints(2, 3), "shape", (2, 3, 1, 1))
    assert sorted(shape.maps) == [2, 3]


def node_with_concat(
    op: str, index: int, known: np.ndarray, late: str, shape: tuple = SHAPE
) -> Spatial:
    """`op` whose operand `index` is Concat(known, a two-element input)."""
    operands: list[Any] = [None] * (index - 1)
    proto = model(op, shape, *operands, known)
    kind = helper.np_dtype_to_tensor_dtype(known.dtype)
    proto.graph.input.append(helper.make_tensor_value_info(late, kind, [2]))
    constant = proto.graph.initializer[0].name
    proto.graph.node.insert(0, helper.make_node("Concat", [constant, late], ["both"], axis=0))
    proto.graph.node[1].input[index] = "both"
    del proto.graph.output[0].type.tensor_type.shape.dim[:]
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    found = spatial(node(proto))
    assert isinstance(found, Spatial)
    return found


def test_an_output_of_known_size_gives_the_run_time_size() -> None:
    x, sizes = ir.val("x", ir.DataType.FLOAT, SHAPE), ir.val("s", ir.DataType.INT64, (4,))
    y = ir.val("y", ir.DataType.FLOAT, (2, 3, 12, "w"))
    found = spatial(ir.node("Resize", [x, None, None, sizes], outputs=[y]))
    assert found.maps == {2: Resize("nearest", size=12), 3: Resize("nearest")}


def test_a_crop_also_maps_axes_that_keep_their_size() -> None:
    a = {"coordinate_transformation_mode": "tf_crop_and_resize", "mode": "linear"}
    roi = floats(0, 0, 0.5, 0, 1, 1, 1, 1)
    # ONNX Runtime copies where all scales are one, whatever the roi.
    found = both(roi, floats(1, 1, 1, 1), engines=(reference,), **a)
    assert sorted(found.maps) == [2]
    assert not found.preserves_constants
    late = read("Resize", SHAPE, "roi", floats(1, 1, 1, 2), **a)
    assert sorted(late.maps) == [0, 1, 2, 3]
    assert late.maps[3].roi is None


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"exclude_outside": 1}, "undefined at the border"),
        ({"coordinate_transformation_mode": "quarter_pixel"}, "'quarter_pixel' is not in ONNX"),
        (
            {
                "coordinate_transformation_mode": "tf_crop_and_resize",
                "mode": "linear",
                "extrapolation_value": 1.0,
            },
            "extrapolates with a value that is not zero",
        ),
    ],
    ids=str,
)
def test_resizes_that_are_refused(attributes: dict, reason: str) -> None:
    x = ir.val("x", ir.DataType.FLOAT, SHAPE)
    found = spatial(ir.node("Resize", [x, None, None, None], attributes))
    assert isinstance(found, Refusal)
    assert reason in found.reason
