"""Layouts, and what a step knows of the node that it comes from."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onebyone.algebra.layout import CHANNEL, Reshape, Transpose, dim
from onebyone.algebra.selection import Slice
from onebyone.graph.axes import Spatial
from onebyone.optimize.regions.steps import KernelNode, Layout, Meaning, Step, Striding

H = ir.SymbolicDim("h")
IMAGE = Layout((2, 7, H, 3), (2, 1, 5, 3), 1)
FLIP = Spatial({2: Slice(step=-1)})


def node(op: str, *operands: ir.Value | None, after: tuple = (2, 7, "h", 3), **attributes):
    x = ir.val("x", ir.DataType.FLOAT, (2, 7, "h", 3))
    made = ir.node(op, [x, *operands], attributes)
    made.outputs[0].shape = ir.Shape(after)
    return made


def sizes(*numbers: int) -> ir.Value:
    return ir.Value(
        name="sizes",
        const_value=ir.tensor(np.array(numbers, np.int64)),
        shape=ir.Shape([len(numbers)]),
    )


def test_a_layout_is_a_shape_but_for_its_channels() -> None:
    assert (IMAGE.rank, IMAGE.positions) == (4, 30)
    assert IMAGE.shape(9) == ir.Shape([2, 9, "h", 3])
    assert IMAGE.monomials == (dim(2), CHANNEL, dim(1, "h"), dim(3))


@pytest.mark.parametrize(
    ("rank", "axis", "dense", "grouped", "bias"),
    [
        (4, 1, True, True, True),
        (3, 1, True, True, True),
        (2, 1, True, False, True),
        (3, 2, True, False, False),
        (4, 2, True, False, False),
        (4, 0, False, False, False),
        (6, 1, False, False, False),
    ],
)
def test_which_products_an_operator_takes(
    rank: int, axis: int, dense: bool, grouped: bool, bias: bool
) -> None:
    layout = Layout((2,) * rank, (2,) * rank, axis)
    assert (layout.takes_product(1), layout.takes_product(2)) == (dense, grouped)
    assert layout.carries_bias == bias


def step(meaning: Meaning, made: ir.Node | None = None, after: Layout = IMAGE) -> Step:
    return Step(made, IMAGE, after, meaning)


def test_equal_steps_do_the_same_whatever_the_channels_or_the_node() -> None:
    wider = Layout((2, 99, H, 3), (2, 1, 5, 3), 1)
    same = Step(node("Slice"), wider, wider, FLIP)
    assert step(FLIP) == same
    assert hash(step(FLIP)) == hash(same)


@pytest.mark.parametrize(
    "other",
    [
        step(Spatial({3: Slice(step=-1)})),
        step(Striding((2, 1), ())),
        step(FLIP, after=Layout((2, 7, ir.SymbolicDim("w"), 3), (2, 1, 5, 3), 1)),
        step(FLIP, after=Layout((2, 7, H, 3), (2, 1, 5, 3), 3)),
        "no step",
    ],
)
def test_other_steps_are_not_equal(other: object) -> None:
    assert step(FLIP) != other


def test_what_a_step_is() -> None:
    swap, window, none = step(Transpose((0, 1, 3, 2))), step(Striding((2, 2), (0,))), step(None)
    assert swap.is_view
    assert swap.view == Transpose((0, 1, 3, 2))
    assert window.window == Striding((2, 2), (0,))
    assert none.broadcasts
    assert step(FLIP).selects
    assert [s.is_view or s.broadcasts for s in (window, step(FLIP))] == [False, False]


def test_a_reshape_is_seen_with_its_channels_as_one_symbol() -> None:
    flat = Layout((2, 7, ir.SymbolicDim("3*h")), (2, 1, 15), 1)
    made = step(Reshape((dim(2), dim(7), dim(3, "h"))), after=flat)
    assert made.view == Reshape((dim(2), CHANNEL, dim(3, "h")))


@pytest.mark.parametrize(
    ("made", "sized"),
    [
        (node("Reshape", sizes(2, 7, -1, 3)), (1, 1)),
        (node("Expand", sizes(7, 1, 1)), (1, 0)),
        (node("Expand", sizes(1, 3)), None),
        (node("Resize", None, None, sizes(2, 7, 9, 9)), (3, 1)),
        (node("Resize", None, None, sizes(9, 9), axes=[2, -1]), None),
        (node("Resize", None, sizes(1, 1, 2, 2)), None),
        (node("Tile", sizes(1, 1, 2, 2)), None),
    ],
)
def test_where_the_number_of_channels_is_written(
    made: ir.Node, sized: tuple[int, int] | None
) -> None:
    found = step(FLIP, made)
    assert found.sized == sized
    assert found.keeps_sizes(7)
    assert found.keeps_sizes(9) == (sized is None)
    assert not found.sized_at_run_time(9)


def test_sizes_computed_at_run_time() -> None:
    late = ir.val("late", ir.DataType.INT64, (4,))
    found = step(FLIP, node("Reshape", late))
    assert found.movable
    assert (found.sized_at_run_time(7), found.sized_at_run_time(9)) == (False, True)
    assert not step(FLIP, node("Reshape", ir.val("late", ir.DataType.INT64, ("k",)))).movable


def test_the_weights_of_a_kernel_are_the_nodes_or_the_sums() -> None:
    weight = np.arange(36.0).reshape(3, 2, 3, 2)
    held = ir.Value(name="w", const_value=ir.tensor(weight), shape=ir.Shape(weight.shape))
    made = KernelNode(node("Conv", held, pads=[1, 1, 1, 1], strides=[2, 2]),
                      1, 2, 3, 6, IMAGE, IMAGE, padded=True, biased=False)  # fmt: skip
    kernel = made.kernel()
    assert np.array_equal(kernel.weight, weight)
    assert (kernel.bias, kernel.stride, kernel.pads) == (None, (1, 1), ((0, 0), (0, 0)))
