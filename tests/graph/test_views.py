"""Nodes read as layout views, with dynamic dimensions."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onebyone.algebra.layout import Reshape, Transpose, dim
from onebyone.graph.symbolic import monomial
from onebyone.graph.views import dims_of, view, view_axis

H, W = dim(1, "h"), dim(1, "w")


def node(op: str, before: tuple[int | str, ...], after: tuple[int | str, ...] | None, **attributes):
    made = ir.node(op, [ir.val("x", ir.DataType.FLOAT, before)], attributes)
    if after is not None:
        made.outputs[0].shape = ir.Shape(after)
    return made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h", H),
        ("2*h*w", dim(2, "h", "w")),
        ("h**2*w", dim(1, "h", "h", "w")),
        ("2*h + 4", dim(2, "h + 2")),
        ("floor(h/2)", dim(1, "floor(h/2)")),
        ("h/2", dim(1, "h/2")),
        ("w/h", dim(1, "1/h", "w")),
        ("6", dim(6)),
    ],
)
def test_a_dimension_is_a_number_times_symbols(text: str, expected: tuple[int, tuple]) -> None:
    assert monomial(ir.SymbolicDim(text)) == expected


def test_equal_sizes_written_differently_are_equal() -> None:
    assert monomial(ir.SymbolicDim("2*(h + 1)")) == monomial(ir.SymbolicDim("2*h + 2"))
    assert monomial(ir.SymbolicDim("w*h")) == monomial(ir.SymbolicDim("h*w"))


def test_an_unknown_dimension_is_none() -> None:
    assert monomial(ir.SymbolicDim(None)) is None
    assert dims_of(ir.val("x", ir.DataType.FLOAT, (2, None))) is None
    assert dims_of(ir.val("x", ir.DataType.FLOAT, (2, 0))) is None
    assert dims_of(ir.val("x", ir.DataType.FLOAT)) is None


def test_views_say_what_they_do_to_axes() -> None:
    assert view(node("Transpose", (2, 3, "h"), ("h", 2, 3), perm=[2, 0, 1])) == Transpose((2, 0, 1))
    assert view(node("Transpose", (2, 3, "h"), ("h", 3, 2))) == Transpose((2, 1, 0))
    assert view(node("Flatten", (2, 3, "h"), (2, "3*h"))) == Reshape((dim(2), dim(3, "h")))
    assert view(node("Reshape", (2, 3, "h"), None)) is None


@pytest.mark.parametrize(
    ("op", "before", "after", "axis", "expected"),
    [
        ("Reshape", (2, 8, "h", "w"), (2, 8, "h*w"), 1, 1),
        ("Reshape", (2, "h*w", 8), (2, "h", "w", 8), 3, 2),
        ("Reshape", (2, "h*w", 8), (2, "h", "w", 8), 1, None),
        ("Reshape", (2, 8, "h"), (2, 4, 2, "h"), 1, None),
        ("Flatten", (2, 8, 1, 1), (2, 8), 1, 1),
        ("Squeeze", (2, 1, 8), (2, 8), 1, None),  # it names no axis
    ],
)
def test_the_axis_that_a_view_leaves_whole(
    op: str,
    before: tuple[int | str, ...],
    after: tuple[int | str, ...],
    axis: int,
    expected: int | None,
) -> None:
    assert view_axis(node(op, before, after), axis) == expected


def test_a_transpose_says_where_an_axis_came_from() -> None:
    swap = node("Transpose", (2, 8, "h"), (2, "h", 8), perm=[0, 2, 1])
    assert [view_axis(swap, axis) for axis in range(3)] == [0, 2, 1]


@pytest.mark.parametrize(
    ("op", "before", "after", "named", "sources"),
    [
        ("Unsqueeze", (2, 1, 1), (2, 1, 1, 1), {"axes": [1]}, [0, None, 1, 2]),
        ("Unsqueeze", (2, 1, 1), (2, 1, 1, 1), {"axes": [-2]}, [0, 1, None, 2]),
        ("Squeeze", (2, 1, 1, 1), (2, 1), {"axes": [1, -1]}, [0, 2]),
        ("Flatten", (2, 1, 1), (2, 1), {"axis": 2}, [0, None]),
        ("Flatten", (2, 1, 1), (2, 1), {"axis": -2}, [0, 1]),
        ("Flatten", (1, 1, 3), (1, 3), {"axis": 1}, [0, 2]),
    ],
)
def test_axes_of_one_position_are_told_apart_by_name(
    op: str,
    before: tuple[int, ...],
    after: tuple[int, ...],
    named: dict[str, object],
    sources: list[int | None],
) -> None:
    seen = node(op, before, after, **named)
    assert [view_axis(seen, axis) for axis in range(len(after))] == sources
