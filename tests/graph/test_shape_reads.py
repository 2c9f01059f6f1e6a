"""Shapes read elsewhere: only where every size that is used stands somewhere that stays."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onebyone.graph.edit import Edit
from onebyone.graph.read import read
from onebyone.graph.shape_reads import ShapeReads, consumers
from onebyone.graph.shapes import infer
from onebyone.graph.write import to_proto

from ..graphs.run import run
from ..graphs.text import integers, model

X = "float[n,3,h,5] x"
HEAD = "c = Conv(x, w) p = AveragePool<kernel_shape = [2, 2]>(c) "


def graph_of(body: str, inputs: str = X, outputs: str = "y", **constants: list[int]) -> ir.Model:
    """A model with weights w (4, 3, 1, 1) and these index vectors."""
    arrays = {name: np.array(entries) for name, entries in constants.items()}
    proto = model(body, inputs, outputs, {"w": (4, 3, 1, 1), **arrays})
    found = read(proto)
    infer(found)
    return found


def shape_node(found: ir.Model) -> ir.Node:
    return next(node for node in found.graph if node.op_type == "Shape")


@pytest.mark.parametrize(
    ("body", "constants", "serves"),
    [
        # p is (n, 4, h - 1, 4), and h - 1 stands nowhere else.
        (HEAD + "y = Shape(p)", {}, False),
        (HEAD + "y = Shape<end = 2>(p)", {}, True),
        (HEAD + "y = Shape<start = 3>(p)", {}, True),
        (HEAD + "y = Shape<start = -2>(p)", {}, False),
        (HEAD + "s = Shape(p) y = Gather(s, k)", {"k": [0, -1]}, True),
        (HEAD + "s = Shape(p) y = Gather(s, k)", {"k": [2]}, False),
        (HEAD + "s = Shape(p) y = Slice(s, k, e)", {"k": [0], "e": [2]}, True),
        (HEAD + "s = Shape(p) y = Slice(s, k, e)", {"k": [1], "e": [4]}, False),
        (HEAD + "s = Shape(p) y = Slice(s, k, e, a, t)",
         {"k": [3], "e": [0], "a": [0], "t": [-2]}, True),
        (HEAD + "s = Shape(p) y = Slice(s, k, e, a, t)",
         {"k": [2], "e": [1], "a": [0], "t": [-1]}, False),
        (HEAD + "s = Shape(p) y = Neg(s)", {}, False),
        (HEAD + "r = Relu(p) s = Shape(p) t = Shape(r) y = Add(s, t)", {}, False),
        ("c = Conv(x, w) y = Shape(c)", {}, True),
    ],
)  # fmt: skip
def test_a_read_is_served_where_all_its_sizes_are_known(
    body: str, constants: dict[str, list[int]], serves: bool
) -> None:
    found = graph_of(body, outputs="int64[k] y", **constants)
    reads = ShapeReads.of(found.graph)
    node = shape_node(found)
    assert reads.serves(node) == serves
    assert (node in consumers(node.inputs[0], reads)) != serves


@pytest.mark.parametrize(
    ("body", "constants"),
    [
        (HEAD + "y = Shape<end = 2>(p)", {}),
        (HEAD + "s = Shape(p) y = Gather(s, k)", {"k": [3, 0, 1]}),
        (HEAD + "s = Shape(p) y = Slice(s, k, e)", {"k": [0], "e": [2]}),
        ("c = Conv(x, w) y = Shape(c)", {}),
    ],
)
def test_a_rebuilt_shape_says_the_same(body: str, constants: dict[str, list[int]]) -> None:
    found = graph_of(body, outputs="int64[k] y", **constants)
    feeds = {"x": integers("x", (2, 3, 6, 5))}
    (before,) = run(to_proto(found), feeds)
    rebuild(found)
    proto = to_proto(found)
    (after,) = run(proto, feeds)
    assert np.array_equal(before["y"], after["y"])
    assert {n.input[0] for n in proto.graph.node if n.op_type == "Shape"} <= {"x"}


def rebuild(found: ir.Model) -> None:
    """Put what `rebuild` makes in the place of the one Shape node."""
    old, edit = shape_node(found), Edit(found.graph)
    edit.replace(old.outputs[0], ShapeReads.of(found.graph).rebuild(old, edit))
    found.graph.remove(old, safe=True)


def test_a_size_is_not_read_off_a_value_that_comes_later() -> None:
    body = HEAD + "s = Shape(p) a = Relu(p) y = Add(s, s)"
    found = graph_of(body, outputs="int64[k] y, float[a,b,c,d] a")
    assert not ShapeReads.of(found.graph).serves(shape_node(found))
