"""Nodes that only move channels, read as which channel comes from where."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onebyone.graph.read import read
from onebyone.graph.shapes import infer
from onebyone.optimize.channels.moves import Move, moves

from ...graphs.text import model

X = "float[2,6,4,8] x"


def _moves(body: str, outputs: str = "y", opset: int = 17, **constants: Any) -> list[Move]:
    """Of the last node of a graph, in which every value has its channels on axis 1."""
    made = read(model(body, X, outputs, constants, opset=opset))
    infer(made)
    axes: dict[ir.Value, int] = {v: 1 for node in made.graph for v in node.outputs}
    return list(moves(list(made.graph)[-1], axes))


def sources(move: Move) -> list[int]:
    """Of a move of one operand: for each channel the one that it is."""
    (link,) = move.links
    assert link.outs.tolist() == [*range(len(link.outs))]
    return [int(k) for k in link.sources]


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def _shuffle(parts: tuple[int, ...], perm: str = "[0, 2, 1, 3, 4]") -> list[Move]:
    body = f"a = Reshape(x, p) b = Transpose<perm = {perm}>(a) y = Reshape(b, q)"
    return _moves(body, p=ints(*parts), q=ints(2, 6, 4, 8))


def test_a_shuffle_of_groups() -> None:
    (two,) = _shuffle((2, 2, 3, 4, 8))
    assert sources(two) == [0, 3, 1, 4, 2, 5]
    (three,) = _shuffle((2, 3, 2, 4, 8))
    assert sources(three) == [0, 2, 4, 1, 3, 5]
    assert [n.op_type for n in three.nodes] == ["Reshape", "Transpose", "Reshape"]
    assert three.scatters


def test_views_that_are_no_shuffle() -> None:
    assert _shuffle((2, 2, 3, 8, 4)) == []  # positions are cut anew
    assert _shuffle((2, 2, 3, 4, 8), "[0, 1, 2, 4, 3]") == []
    assert _shuffle((2, 12, 1, 4, 4)) == []


def test_a_shuffle_whose_inside_is_read_too() -> None:
    body = "a = Reshape(x, p) b = Transpose<perm = [0, 2, 1, 3, 4]>(a) c = Abs(b) y = Reshape(b, q)"
    assert _moves(body, "y, c", p=ints(2, 2, 3, 4, 8), q=ints(2, 6, 4, 8)) == []


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_a_split(opset: int) -> None:
    body = (
        "y, z = Split<axis = -3, split = [2, 4]>(x)"
        if opset < 13
        else "y, z = Split<axis = 1>(x, s)"
    )
    given = {} if opset < 13 else {"s": ints(2, 4)}
    first, second = _moves(body, "y, z", opset, **given)
    assert sources(first) == [0, 1]
    assert sources(second) == [2, 3, 4, 5]
    assert not first.scatters


def test_slices_and_gathers() -> None:
    (cut,) = _moves("y = Slice(x, p, q, o)", p=ints(-4), q=ints(99), o=ints(1))
    (back,) = _moves("y = Slice(x, p, q, o, s)", p=ints(-1), q=ints(-99), o=ints(1), s=ints(-2))
    (picked,) = _moves("y = Gather<axis = -3>(x, p)", p=ints(5, -6, 2, 2))
    assert sources(cut) == [2, 3, 4, 5]
    assert sources(back) == [5, 3, 1]
    assert sources(picked) == [5, 0, 2, 2]


def test_a_concat_counts_its_operands() -> None:
    (joined,) = _moves("r = Relu(x) y = Concat<axis = 1>(r, x)")
    assert [link.operand.name for link in joined.links] == ["r", "x"]
    assert [link.outs.tolist() for link in joined.links] == [[*range(6)], [*range(6, 12)]]
    assert [link.sources.tolist() for link in joined.links] == [[*range(6)]] * 2


@pytest.mark.parametrize(
    ("body", "given"),
    [
        ("y = Gather<axis = 2>(x, p)", ints(0, 2)),
        ("y = Slice(x, p, q, p)", ints(2)),
        ("y = Concat<axis = 3>(x, x)", None),
        ("y = Gather<axis = 1>(x, p)", np.array(3)),  # which drops the axis
        ("y = Relu(x)", None),
    ],
)
def test_what_moves_no_channels(body: str, given: np.ndarray | None) -> None:
    constants = {} if given is None else {"p": given}
    if "q" in body:
        constants["q"] = ints(3)
    assert _moves(body, **constants) == []


def test_a_concat_of_channels_on_the_last_axis_is_left_alone() -> None:
    made = read(model("y = Concat<axis = -1>(x, x)", X, "y"))
    infer(made)
    (node,) = made.graph
    assert list(moves(node, {node.outputs[0]: 3})) == []
