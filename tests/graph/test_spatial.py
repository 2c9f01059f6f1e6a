"""Nodes read as space maps, against ONNX Runtime and the reference evaluator, by `==`."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onebyone.algebra.pool import AveragePool, Mean
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.selection import Beside, Expand, Gathered, Pad, Slice, Tile
from onebyone.graph.spatial import spatial

from .one_node import engine, mapped, model, node, read, reference

SHAPE = (2, 3, 7, 5)
# Multiples of 16 so that an average over 1, 2, 4, 8 or 16 is an integer.
X = (16 * np.random.default_rng(3).integers(-4, 5, SHAPE)).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def check(op: str, *operands: Any, shape: tuple = SHAPE, **attributes: Any) -> None:
    """Both engines compute what the maps say, to the last bit."""
    proto = model(op, shape, *operands, **attributes)
    x = X if shape == SHAPE else X.ravel()[: np.prod(shape)].reshape(shape)
    y = mapped(read(op, shape, *operands, **attributes), x)
    for run in (engine, reference):
        wanted = run(proto, {"x": x})
        assert wanted.shape == y.shape
        assert (wanted == y).all(), run.__name__


def refusal(op: str, *operands: Any, shape: tuple = SHAPE, **attributes: Any) -> str:
    found = spatial(node(model(op, shape, *operands, **attributes)))
    assert isinstance(found, Refusal), found
    assert found.law == "commute"
    return found.reason


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [2, 4], "strides": [2, 1]},
        {"kernel_shape": [2, 2], "pads": [1, 0, 0, 1]},
        {"kernel_shape": [2, 2], "pads": [1, 0, 0, 1], "count_include_pad": 1},
        {"kernel_shape": [2, 4], "strides": [3, 2], "ceil_mode": 1},
        {"kernel_shape": [2, 2], "strides": [3, 3], "pads": [1, 1, 1, 1], "ceil_mode": 1},
        {
            "kernel_shape": [4, 2],
            "strides": [2, 2],
            "pads": [0, 1, 2, 1],
            "ceil_mode": 1,
            "count_include_pad": 1,
        },
        {"kernel_shape": [2, 2], "strides": [2, 1], "auto_pad": "SAME_UPPER"},
        {"kernel_shape": [4, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
        {"kernel_shape": [4, 2], "auto_pad": "SAME_UPPER", "count_include_pad": 1},
        {"kernel_shape": [2, 4], "auto_pad": "VALID"},
        {"kernel_shape": [1, 1], "strides": [3, 2]},
    ],
    ids=str,
)
@pytest.mark.parametrize("opset", [11, 22])
def test_average_pool(attributes: dict, opset: int) -> None:
    # Windows cut to three taps divide by 3 or 6: compare those within the roundings of float32,
    # at most 16 products and sums of numbers below 64 · 16.
    proto = model("AveragePool", SHAPE, opset=opset, **attributes)
    found = read("AveragePool", SHAPE, opset=opset, **attributes)
    y = mapped(found, X)
    for run in (engine, reference):
        wanted = run(proto, {"x": X})
        assert wanted.shape == y.shape
        assert abs(wanted - y).max() <= 16 * 1024 * 2.0**-24
    assert sorted(found.maps) == [2, 3]


@pytest.mark.parametrize("count", [0, 1])
def test_dilated_average_pool(count: int) -> None:
    check("AveragePool", kernel_shape=[2, 2], dilations=[2, 3], strides=[2, 1])
    check(
        "AveragePool",
        kernel_shape=[2, 2],
        dilations=[1, 2],
        pads=[0, 1, 0, 1],
        count_include_pad=count,
    )


def test_average_pool_of_a_window_that_does_not_fit() -> None:
    assert "larger than the padded" in refusal(
        "AveragePool", kernel_shape=[1, 7], pads=[0, 1, 0, 0]
    )


def test_average_pool_in_one_and_three_dimensions() -> None:
    check("AveragePool", shape=(2, 3, 7), kernel_shape=[2], strides=[2])
    check("AveragePool", shape=(1, 3, 3, 5, 2), kernel_shape=[2, 4, 1])


def test_pool_properties_come_from_the_attributes() -> None:
    padded = read("AveragePool", SHAPE, kernel_shape=[3, 1], pads=[1, 0, 1, 0])
    assert padded.maps == {2: AveragePool(3, 1, 1, 1), 3: AveragePool(1)}
    assert padded.preserves_constants
    assert not padded.is_selection
    counted = {"kernel_shape": [3, 1], "pads": [1, 0, 1, 0], "count_include_pad": 1}
    assert not read("AveragePool", SHAPE, **counted).preserves_constants


def test_global_average_pool() -> None:
    check("GlobalAveragePool", shape=(2, 3, 4, 2))
    check("GlobalAveragePool", shape=(2, 3, 1, 1))
    found = read("GlobalAveragePool", ("n", 3, "h", "w"))
    assert found.maps == {2: Mean(), 3: Mean()}
    assert not found.vanished


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceSum"])
@pytest.mark.parametrize("axes", [(3,), (2, -1), (-4, 1)])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reductions(op: str, axes: tuple, keepdims: int) -> None:
    shape = (2, 1, 4, 8)
    check(op, ints(*axes), shape=shape, keepdims=keepdims, opset=18)
    check(op, shape=shape, keepdims=keepdims, opset=11, axes=list(axes))
    found = read(op, shape, ints(*axes), keepdims=keepdims)
    assert (not found.vanished) == bool(keepdims)
    assert found.preserves_constants == (op == "ReduceMean")


def test_a_reduction_without_axes_takes_all_or_none() -> None:
    check("ReduceMean", shape=(2, 1, 4, 8), keepdims=0)
    assert sorted(read("ReduceSum", SHAPE).maps) == [0, 1, 2, 3]
    empty = read("ReduceSum", SHAPE, noop_with_empty_axes=1)
    assert not empty.maps
    assert empty.is_selection
    check("ReduceSum", noop_with_empty_axes=1)
    assert sorted(read("ReduceSum", SHAPE, ints()).maps) == [0, 1, 2, 3]


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize("opset", [11, 22])
def test_pad(mode: str, opset: int) -> None:
    pads = ints(0, 0, 1, 2, 0, 0, 3, 0)
    check("Pad", pads, opset=opset, mode=mode)
    found = read("Pad", SHAPE, pads, opset=opset, mode=mode)
    assert found.maps == {2: Pad(1, 3, mode), 3: Pad(2, 0, mode)}
    assert found.preserves_constants == found.is_selection == (mode != "constant")


def test_pad_wraps_and_names_its_axes() -> None:
    check("Pad", ints(1, 2), None, ints(-1), mode="wrap")
    check("Pad", ints(1, 2), floats(0), ints(2))
    assert sorted(read("Pad", SHAPE, ints(1, 2), None, ints(-1)).maps) == [3]


def test_pad_with_attributes() -> None:
    attributes = {"pads": [0, 0, 1, 0, 0, 0, 0, 2], "mode": "edge"}
    old = ir.node("Pad", [ir.val("x", ir.DataType.FLOAT, SHAPE)], attributes)
    assert spatial(old).maps == {2: Pad(1, 0, "edge"), 3: Pad(0, 2, "edge")}
    filled = ir.node("Pad", old.inputs, {"pads": [0, 0, 1, 0, 0, 0, 0, 2], "value": 1.5})
    assert "not zero" in spatial(filled).reason


def test_negative_pads_crop() -> None:
    # ONNX Runtime only: the reference evaluator hands negative pads to NumPy, which raises.
    pads = ints(0, 0, -1, 0, 0, 0, 2, -2)
    wanted = engine(model("Pad", SHAPE, pads), {"x": X})
    assert (mapped(read("Pad", SHAPE, pads), X) == wanted).all()
    cropped = read("Pad", SHAPE, ints(0, 0, -1, 0, 0, 0, 0, -2), floats(7))
    assert cropped.is_selection


@pytest.mark.parametrize(
    ("operands", "mode", "reason"),
    [
        ((ints(0, 0, 1, 1, 0, 0, 0, 0), floats(2)), "constant", "a value that is not zero"),
        ((ints(0, 0, 1, 1, 0, 0, 0, 0), "value"), "constant", "value of the Pad are computed"),
        (("pads",), "constant", "the pads of the Pad are computed at run time"),
        ((ints(1, 1), None, "axes"), "edge", "the axes of the Pad are computed at run time"),
        ((ints(0, 0, 1, 0, 0, 0, -1, 0),), "reflect", "crops the other end"),
    ],
)
def test_pads_that_are_refused(operands: tuple, mode: str, reason: str) -> None:
    assert reason in refusal("Pad", *operands, mode=mode)


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ([1, 0], [5, 4], [2, 3], [2, 1]),
        ([-1], [-(2**63)], [-1], [-1]),
        ([0, 1], [2**63 - 1, -1], [2, -1], [3, 1]),
        ([1, 0, 2], [2, 9, -2], None, None),
        ([4], [0], [2], [-2]),
    ],
)
def test_slice(starts: list, ends: list, axes: list | None, steps: list | None) -> None:
    operands = [None if v is None else ints(*v) for v in (axes, steps)]
    while operands and operands[-1] is None:
        operands.pop()
    check("Slice", ints(*starts), ints(*ends), *operands)
    assert read("Slice", SHAPE, ints(*starts), ints(*ends), *operands).is_selection


def test_a_slice_of_everything_touches_nothing() -> None:
    found = read("Slice", SHAPE, ints(0, 0), ints(2**63 - 1, 4), ints(1, 2))
    assert found.maps == {2: Slice(0, 4)}


def test_slices_that_are_refused() -> None:
    assert "starts of the Slice" in refusal("Slice", "starts", ints(3))
    assert "ends of the Slice" in refusal("Slice", ints(0), "ends")
    assert "axes of the Slice" in refusal("Slice", ints(0), ints(3), "axes")
    assert "steps of the Slice" in refusal("Slice", ints(0), ints(3), ints(2), "steps")


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_gather(axis: int) -> None:
    check("Gather", ints(2, -1, 0, 0), axis=axis)
    check("Gather", np.array(1, np.int64), axis=axis)
    assert read("Gather", SHAPE, np.array(1, np.int64), axis=axis).vanished == (axis % 4,)
    assert read("Gather", SHAPE, ints(1, 0), axis=axis).is_selection


def test_gathers_at_run_time() -> None:
    found = read("Gather", SHAPE, "indices", axis=2)
    assert found.maps == {2: Gathered()}
    assert [v.name for v in found.runtime] == ["indices"]
    assert found.is_selection
    assert found.preserves_constants
    assert (found.vanished, found.added) == ((), ())
    # A table of indices adds axes, wherever its numbers come from.
    table = read("Gather", SHAPE, ints(0, 1, 6).reshape(1, 3, 1), axis=-2)
    assert (table.maps, table.added) == ({2: Gathered()}, (2, 2))
    assert [table.reads(k) for k in range(6)] == [0, 1, 2, 2, 2, 3]
    assert [table.after(k) for k in range(4)] == [0, 1, None, 5]
    one = read("Gather", SHAPE, "indices:0", axis=2)
    assert (one.vanished, one.added) == ((), ())


@pytest.mark.parametrize(
    ("shape", "batch", "vanished", "added", "sources"),
    [
        ((4, 1), 0, (), (), [0, 1, 2, 3]),
        ((4, 2), 0, (1,), (), [0, 2, 3]),
        ((2,), 0, (0, 1), (), [2, 3]),
        ((4, 6, 1), 0, (), (0,), [0, 0, 1, 2, 3]),
        ((2, 4, 1), 1, (), (), [0, 1, 2, 3]),
        ((2, 2), 1, (1, 2), (), [0, 3]),
        ((2, 3, 4, 6, 1), 2, (), (2,), [0, 1, 2, 2, 3]),
    ],
    ids=str,
)
def test_gather_nd(shape: tuple, batch: int, vanished: tuple, added: tuple, sources: list) -> None:
    picked = np.zeros(shape, np.int64)
    found = read("GatherND", SHAPE, picked, batch_dims=batch)
    named = range(batch, batch + shape[-1])
    wanted = {**dict.fromkeys(range(batch), Beside()), **dict.fromkeys(named, Gathered())}
    assert (found.maps, found.vanished, found.added) == (wanted, vanished, added)
    y = engine(model("GatherND", SHAPE, picked, batch_dims=batch), {"x": X})
    assert [found.reads(k) for k in range(y.ndim)] == sources
    kept = [k for k in range(4) if k not in found.maps]
    assert [y.shape[found.after(k)] for k in kept] == [SHAPE[k] for k in kept]


def test_gather_elements() -> None:
    picked = ints(6, -7, 0, 3).reshape(1, 1, 4, 1)
    found = read("GatherElements", SHAPE, picked.repeat(2, 0).repeat(3, 1), axis=2)
    assert found.maps == {2: Gathered(), 3: Beside()}  # along the last fewer are left
    rows = picked.repeat(2, 0).repeat(3, 1).repeat(5, 3)
    rows[0, 0, 1, 2] = 1
    assert "not known to be equal in all channels" in refusal("GatherElements", rows, axis=2)
    rows[0, :, 1, 2] = 1
    assert set(read("GatherElements", SHAPE, rows, axis=2).maps) == {0, 2, 3}


def test_gathers_of_unknown_rank() -> None:
    for op in ("Gather", "GatherND"):
        x, i = ir.val("x", ir.DataType.FLOAT, SHAPE), ir.val("i", ir.DataType.INT64)
        found = spatial(ir.node(op, [x, i]))
        assert isinstance(found, Refusal)
        assert found.reason == "the rank of its indices is unknown"


def test_expand() -> None:
    check("Expand", ints(1, 1, 4, 6), shape=(2, 3, 1, 1))
    check("Expand", ints(4, 1), shape=(2, 3, 1, 5))
    found = read("Expand", (2, "c", "h", 5), ints(2, 1, 4, 5))
    assert found.maps == {2: Expand(4)}
    assert found.is_selection
    assert "adds axes" in refusal("Expand", ints(2, *SHAPE))


def test_expand_at_run_time() -> None:
    proto = model("Expand", (2, 3, 1, 5), "shape")
    # Nothing says how long the shape is, so how many axes come out.
    assert "rank of its result" in spatial(node(proto)).reason
    proto = model("Expand", (2, 3, 1, 5), "shape:4")
    found = spatial(node(proto))
    assert found.maps == {2: Expand()}
    assert [v.name for v in found.runtime] == ["shape"]
    x = X[:, :, :1]
    y = engine(proto, {"x": x, "shape": ints(2, 3, 6, 5)})
    assert (mapped(found, x, y) == y).all()


def test_tile() -> None:
    check("Tile", ints(1, 1, 2, 3))
    assert read("Tile", SHAPE, ints(1, 1, 2, 1)).maps == {2: Tile(2)}


def test_tile_at_run_time_may_touch_every_axis() -> None:
    found = read("Tile", SHAPE, "repeats")
    assert found.maps == dict.fromkeys(range(4), Tile())
    y = engine(model("Tile", SHAPE, "repeats"), {"x": X, "repeats": ints(1, 2, 1, 3)})
    assert (mapped(found, X, y) == y).all()


def test_maps_of_different_run_time_sizes_are_not_equal() -> None:
    shapes = [ir.val(name, ir.DataType.INT64, (4,)) for name in ("a", "b")]
    x = ir.val("x", ir.DataType.FLOAT, (2, 3, 1, 1))
    a, b, again = (spatial(ir.node("Expand", [x, v])) for v in (*shapes, shapes[0]))
    assert a.maps == b.maps
    assert a != b
    assert a == again
    assert hash(a) == hash(again)


@pytest.mark.parametrize("op", ["LpPool", "MaxPool", "GlobalMaxPool", "Relu", "ReduceMax"])
def test_what_is_no_space_map(op: str) -> None:
    attributes = {"kernel_shape": [2, 2]} if op in ("LpPool", "MaxPool") else {}
    assert spatial(node(model(op, SHAPE, **attributes))) is None


def test_other_domains_integers_and_scalars_are_no_space_maps() -> None:
    x, n = ir.val("x", ir.DataType.FLOAT, SHAPE), ir.val("n", ir.DataType.INT64, SHAPE)
    assert spatial(ir.node("GlobalAveragePool", [x], domain="com.microsoft")) is None
    assert spatial(ir.node("ReduceMean", [n])) is None
    assert spatial(ir.node("ReduceMean", [ir.val("s", ir.DataType.FLOAT, ())])) is None


def test_an_unknown_rank_is_refused() -> None:
    x = ir.val("x", ir.DataType.FLOAT)
    assert "rank" in spatial(ir.node("GlobalAveragePool", [x])).reason


def test_an_initialiser_that_the_caller_can_replace_is_no_constant() -> None:
    proto = model("Pad", SHAPE, ints(0, 0, 1, 1, 0, 0, 0, 0))
    proto.graph.input.add().name = "c0"
    proto.graph.input[-1].type.tensor_type.elem_type = 7
    assert "computed at run time" in spatial(node(proto)).reason
