"""What holds channels several times, or constants: [x; y; x; k] = P[x; y] + (0; k)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from onebyone.optimize import optimize

from ...graphs.laws.case import batch_norm, ints, norm
from ...graphs.text import model
from ..exact import COUNTING, Outcome, optimized, rewritten

X = "float[2,5,6,9] x"
BOTH = X + ", float[2,3,6,9] z"


def _alone(proto: ModelProto, *sizes: dict[str, int], **options: Any) -> Outcome:
    return optimized(proto, "compose", *sizes, profile=COUNTING, **options)


def _joined(parts: str, reader: str, x: str = BOTH, axis: int = 1, **constants: Any) -> ModelProto:
    return model(f"j = Concat<axis = {axis}>({parts}) y = {reader}", x, constants=constants)


@pytest.mark.parametrize(
    ("parts", "reader", "shape", "left"),
    [
        ("x, x", "Conv(j, w, b)", (4, 10, 1, 1), [4, 5, 1, 1]),
        ("x, x, x", "Conv<pads = [1, 0, 2, 1]>(j, w, b)", (4, 15, 3, 3), [4, 5, 3, 3]),
        ("x, x", "Conv<strides = [2, 1]>(j, w)", (4, 10, 2, 1), [4, 5, 2, 1]),
        ("x, x", "ConvTranspose<strides = [2, 2]>(j, w)", (10, 4, 3, 2), [5, 4, 3, 2]),
    ],
    ids=["1x1", "padded 3x3", "strided", "transposed"],
)
def test_a_value_beside_itself_is_read_once(
    parts: str, reader: str, shape: tuple[int, ...], left: list[int]
) -> None:
    after = _alone(_joined(parts, reader, X, w=shape, b=(4,)))
    assert len(after.ops) == 1
    assert after.weights(after.ops[0]) == [left]
    assert after.laws == {"compose"}
    assert after.saved > 0


def test_a_stride_and_a_padding_of_a_1x1_commute_with_it() -> None:
    reader = "Conv<strides = [2, 1], pads = [1, 1, 1, 1]>(j, w, b)"
    proto = _joined("x, x", reader, X, w=(4, 10, 1, 1), b=(4,))
    after = _alone(proto, only=["compose", "commute"])
    assert (after.ops, after.weights()) == (["Conv"], [[4, 5, 1, 1]])


@pytest.mark.parametrize("kernel", [1, 3])
def test_among_others_too(kernel: int) -> None:
    proto = _joined("x, z, x, z", "Conv(j, w, b)", w=(4, 16, kernel, kernel), b=(4,))
    after = _alone(proto)
    assert after.ops == ["Concat", "Conv"]
    assert after.weights() == [[4, 8, kernel, kernel]]


def test_a_difference_of_copies_leaves_nothing_to_read() -> None:
    w = np.ones((4, 10, 1, 1), np.float32)
    w[:, 5:] = -1
    after, _ = rewritten(_joined("x, x", "Conv(j, w, b)", X, w=w, b=(4,)))
    assert "Concat" not in {node.op_type for node in after.graph.node}
    optimized(_joined("x, x", "Conv(j, w, b)", X, w=w, b=(4,)), "compose")


def test_what_scales_the_copies_first() -> None:
    proto = model(
        f"j = Concat<axis = 1>(x, z, x) n = {batch_norm('j', 'n')} y = Conv(n, w, b)",
        BOTH,
        constants={"w": (4, 13, 1, 1), "b": (4,), **norm("n", 13)},
    )
    after = optimized(proto, "compose", only=["compose", "affine"], profile=COUNTING)
    assert (after.ops, after.weights()) == (["Concat", "Conv"], [[4, 8, 1, 1]])


def test_linear_layers_on_tokens() -> None:
    proto = _joined("x, z, x", "MatMul(j, w)", "float[2,7,5] x, float[2,7,3] z", 2, w=(13, 4))
    after = _alone(proto, only=["compose", "linear"])
    assert (after.ops, after.weights("MatMul")) == (["Concat", "MatMul"], [[8, 4]])


@pytest.mark.parametrize("axes", [1, 3])
def test_one_axis_and_three(axes: int) -> None:
    x = "float[N,5" + ",6" * axes + "] x"
    w = (4, 15, *(3,) * axes)
    after = _alone(_joined("x, x, x", "Conv(j, w)", x, w=w), {"N": 1}, {"N": 3})
    assert after.weights() == [[4, 5, *(3,) * axes]]


def test_a_value_that_is_linear_itself_may_be_looked_through() -> None:
    proto = model(
        "t = Conv(x, v, c) j = Concat<axis = 1>(t, t) y = Conv(j, w, b)",
        X,
        constants={"v": (8, 5, 1, 1), "c": (8,), "w": (4, 16, 1, 1), "b": (4,)},
    )
    assert _alone(proto).weights() == [[4, 5, 1, 1]]


GREY = "float[N,1,H,7] x"
SIZES = {"N": 2, "H": 6}, {"N": 1, "H": 1}


@pytest.mark.parametrize(
    "spelling",
    [
        "j = Concat<axis = 1>(x, x, x)",
        "j = Tile(x, repeats)",
        "j = Expand(x, wide)",
        "s = Shape(x) k = Mul(s, repeats) j = Expand(x, k)",
    ],
    ids=["concat", "tile", "expand", "a size at run time"],
)
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_grey_image_as_three_channels(spelling: str, kernel: int) -> None:
    pads = f"pads = {[kernel // 2] * 4}"
    proto = model(
        f"{spelling} y = Conv<{pads}>(j, w, b)",
        GREY,
        constants={
            "w": (4, 3, kernel, kernel),
            "b": (4,),
            "repeats": ints(1, 3, 1, 1),
            "wide": ints(1, 3, 1, 1),
        },
    )
    after = _alone(proto, *SIZES)
    assert (after.ops, after.weights()) == (["Conv"], [[4, 1, kernel, kernel]])


def test_several_channels_tiled() -> None:
    proto = model(
        "j = Tile(x, r) y = Conv(j, w)", X, constants={"w": (4, 10, 1, 1), "r": ints(1, 2, 1, 1)}
    )
    assert _alone(proto).weights() == [[4, 5, 1, 1]]


K = np.broadcast_to(np.array([2, 0, -1], np.float32).reshape(1, 3, 1, 1), (2, 3, 6, 9)).copy()
ZEROS = np.zeros((2, 3, 6, 9), np.float32)


@pytest.mark.parametrize("parts", ["x, k", "k, x, z", "x, k, x"])
def test_constants_beside_it_enter_the_bias(parts: str) -> None:
    width = sum({"x": 5, "z": 3, "k": 3}[part] for part in parts.split(", "))
    after = _alone(_joined(parts, "Conv(j, w, b)", k=K, w=(4, width, 1, 1), b=(4,)))
    left = 8 if "z" in parts else 5
    assert after.weights() == [[4, left, 1, 1]]
    inside = _alone(_joined(parts, "Conv(j, w)", k=K, w=(4, width, 3, 2)))
    assert inside.weights() == [[4, left, 3, 2]]


@pytest.mark.parametrize("padding", ["c = Concat<axis = 1>(x, k)", "c = Pad(x, p)"])
def test_zeros_beside_it_are_not_read(padding: str) -> None:
    """Also where zeros are padded around them."""
    constants = {"k": ZEROS, "p": ints(0, 0, 0, 0, 0, 3, 0, 0)}
    used = {name: array for name, array in constants.items() if f"{name})" in padding}
    proto = model(f"{padding} y = Conv<pads = [1, 1, 0, 1]>(c, w)", X, "y",
                  {**used, "w": (4, 8, 3, 3)})  # fmt: skip
    after = _alone(proto)
    assert (after.ops, after.weights()) == (["Conv"], [[4, 5, 3, 3]])


def test_a_constant_that_differs_from_place_to_place_stays() -> None:
    grid = K.copy()
    grid[0, 1, 2, 3] = 7
    proto = _joined("x, k", "Conv(j, w)", X, k=grid, w=(4, 8, 1, 1))
    assert _alone(proto).laws == set()


def test_a_constant_before_padding_stays() -> None:
    proto = _joined("x, k", "Conv<pads = [1, 1, 1, 1]>(j, w)", X, k=K, w=(4, 8, 3, 3))
    assert _alone(proto).laws == set()


def test_positions_that_are_padded_with_the_channels_stay() -> None:
    proto = model("c = Pad(x, p) y = Conv(c, w)", X,
                  constants={"p": ints(0, 0, 1, 0, 0, 3, 0, 0), "w": (4, 8, 1, 1)})  # fmt: skip
    assert _alone(proto).laws == set()


def test_it_is_proved() -> None:
    proto = model(
        "j = Tile(x, r) y = Conv<pads = [1, 1, 1, 1]>(j, w)",
        GREY,
        constants={"w": (4, 3, 3, 3), "r": ints(1, 3, 1, 1)},
    )
    report = optimize(proto, profile=COUNTING, lost_bits=np.inf).report
    assert report.before.macs == 3 * report.after.macs
    assert report.certificate.passed


# Refused ------------------------------------------------------------------------------------------


def test_values_that_are_only_alike_stay() -> None:
    """Equal shapes, and equal makers of two inputs, are not one value."""
    proto = _joined("x, z", "Conv(j, w)", X + ", float[2,5,6,9] z", w=(4, 10, 1, 1))
    assert _alone(proto).laws == set()
    proto = model(
        "a = Relu(x) b = Abs(x) j = Concat<axis = 1>(a, b) y = Conv(j, w)",
        X,
        constants={"w": (4, 10, 1, 1)},
    )
    assert _alone(proto).laws == set()


def test_positions_that_are_repeated_stay() -> None:
    both = model(
        "j = Tile(x, r) y = Conv(j, w)",
        "float[2,1,3,7] x",
        constants={"w": (4, 3, 1, 1), "r": ints(1, 3, 2, 1)},
    )
    assert _alone(both).laws == set()
    beside = _joined("x, x", "Conv(j, w)", X, 2, w=(4, 5, 1, 1))
    assert _alone(beside).laws == set()


def test_groups_keep_their_zeros() -> None:
    """Each group reads one copy: of a 3×3 the blocks would not be blocks any more."""
    proto = _joined("x, x", "Conv<group = 2>(j, w)", X, w=(4, 5, 3, 3))
    assert _alone(proto).laws == set()


def test_a_concat_that_is_read_whole_stays() -> None:
    proto = model(
        "j = Concat<axis = 1>(x, x) y = Conv(j, w) z = Relu(j)",
        X,
        "y, z",
        {"w": (4, 10, 1, 1)},
    )
    after = _alone(proto)
    assert sorted(after.ops) == ["Concat", "Conv", "Relu"]
    assert after.weights() == [[4, 5, 1, 1]]
