"""Edits: names are new, constants stored once, readers redirected, and results keep their names."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onebyone.graph.edit import Edit, respell
from onebyone.graph.exact import Exact, Unrepresentable
from onebyone.graph.read import read
from onebyone.graph.shapes import infer
from onebyone.graph.unused import remove_unused
from onebyone.graph.write import to_proto

from ..graphs.run import run
from ..graphs.text import feed, model

X = "float[2,6,5] x"
F32, F16 = ir.DataType.FLOAT, ir.DataType.FLOAT16


def edited(body: str, outputs: str = "y") -> Edit:
    """A model of one input, about to be changed."""
    found = read(model(body, X, outputs))
    infer(found)
    return Edit(found.graph)


def made_by(edit: Edit, op: str) -> ir.Node:
    return next(node for node in edit.graph if node.op_type == op)


def operators(edit: Edit) -> list[str]:
    """What is left when what nobody reads has gone."""
    remove_unused(edit.graph)
    return [node.op_type for node in edit.graph]


# Names and constants ------------------------------------------------------------------------------


def test_names_are_new_in_subgraphs_too() -> None:
    """Also where one has inputs and constants and no node at all."""
    inside = ir.Value(name="held", const_value=ir.tensor(np.float32([1]), name="held"))
    given = [ir.val("step"), ir.val("more"), ir.val("state")]
    body = ir.Graph(given, [given[1]], nodes=[], initializers=[inside])
    node = ir.node("Loop", [ir.val("x")], {"body": ir.AttrGraph("body", body)}, name="loop")
    node.outputs[0].name = "y"
    edit = Edit(ir.Graph([ir.val("x")], node.outputs, nodes=[node]))
    taken = ("x", "y", "loop", "held", "step", "more", "state")
    assert edit.taken == {*taken}
    assert [edit.mint(stem) for stem in taken] == [f"{stem}_1" for stem in taken]
    assert [edit.mint(stem) for stem in ("y", "new", "new")] == ["y_2", "new", "new_1"]


def test_what_is_fresh_is_told_once() -> None:
    edit = edited("y = Relu(x)")
    old = edit.graph[0]
    value = edit.node("Neg", [edit.constant(np.ones(3), "w", F32)], before=old, stem="n")
    assert edit.fresh() == ("w", "n")
    edit.replace(old.outputs[0], value)
    assert edit.fresh() == ()


def test_equal_constants_are_stored_once() -> None:
    edit = edited("y = Relu(x)")
    ones = edit.constant(np.ones((2, 3)), "w", F32)
    assert edit.constant(np.ones((2, 3)), "v", F32) is ones
    others = [np.ones((3, 2)), np.zeros((2, 3)), np.ones((2, 3), np.float16)]
    assert ones not in [edit.constant(array, "w", F32) for array in others]
    assert edit.constant(np.ones((2, 3)), "w", F16) is not ones
    names = ["w", "w_1", "w_2", "w_3", "w_4"]
    assert [*edit.graph.initializers] == names
    assert [value.dtype for value in edit.graph.initializers.values()] == [F32] * 4 + [F16]


def test_integers_are_constants_too() -> None:
    edit = edited("y = Relu(x)")
    like = ir.val("like", ir.DataType.INT32)
    found = edit.integers([1, 2])
    assert (
        found
        is edit.integers((np.int32(1), 2))
        is edit.constant(np.array([1, 2]), "n", found.dtype)
    )
    assert found.const_value.numpy().tolist() == [1, 2]
    assert edit.integers([1, 2], like).dtype == ir.DataType.INT32
    assert edit.integers([]).shape == ir.Shape([0])


def test_a_constant_like_another_has_its_type_and_name() -> None:
    edit = edited("y = Relu(x)")
    half = edit.constant(np.ones(2), "w", F16)
    third = edit.constant_like(half, np.full(2, 1 / 3), "folded")
    assert (third.name, third.dtype) == ("w.folded", F16)
    assert isinstance(third.const_value, Exact)


# Nodes --------------------------------------------------------------------------------------------


def test_nodes_stand_in_front_of_what_they_are_made_for() -> None:
    edit = edited("r = Relu(x) y = Neg(r)")
    last, first = made_by(edit, "Neg"), made_by(edit, "Relu")
    square = edit.node("Mul", [first.outputs[0]] * 2, before=last, stem="m", dtype=F32, shape=[2])
    edit.node("Softmax", [square], {"axis": 1}, before=last, stem="m")
    edit.sizes("Shape", [edit.graph.inputs[0]], 3, first, start=0)
    assert [node.op_type for node in edit.graph] == ["Shape", "Relu", "Mul", "Softmax", "Neg"]
    sizes, _, mul, softmax, _ = edit.graph
    assert [node.name for node in (sizes, mul, softmax)] == ["r.Shape", "m", "m_1"]
    assert (square.name, square.dtype, square.shape) == ("m", F32, ir.Shape([2]))
    assert sizes.outputs[0].dtype == ir.DataType.INT64
    assert sizes.outputs[0].shape == ir.Shape([3])
    assert softmax.attributes["axis"].value == 1
    assert (softmax.outputs[0].dtype, softmax.outputs[0].shape) == (None, None)


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_parts_of_a_value(opset: int) -> None:
    """From opset 13 on, their sizes are an operand."""
    proto = model("r = Relu(x) y = Concat<axis = 1>(r, r)", X, "y")
    proto.opset_import[0].version = opset
    found = read(proto)
    infer(found)
    edit, last = Edit(found.graph), found.graph[1]
    parts = edit.split(last.inputs[0], [1, 3, 2], 1, last)
    assert [part.name for part in parts] == ["r.Split.0", "r.Split.1", "r.Split.2"]
    assert [part.shape[1] for part in parts] == [1, 3, 2]
    respell(last, "Concat", [*parts[::-1], last.inputs[1]], last.attributes)
    (answer,) = run(to_proto(found), feeds := feed(proto))
    r = np.maximum(feeds["x"], 0)
    assert (answer["y"] == np.concatenate([r[:, 4:], r[:, 1:4], r[:, :1], r], axis=1)).all()


def test_a_respelled_node_keeps_its_results() -> None:
    edit = edited("t = Transpose<perm = [1, 0, 2]>(x) r = Relu(t) y = Neg(r)")
    node = made_by(edit, "Relu")
    name, result = node.name, node.outputs[0]
    respell(node, "Softmax", [edit.graph.inputs[0]], {"axis": 1})
    assert (node.name, node.outputs[0], result.name) == (name, result, "r")
    assert operators(edit) == ["Softmax", "Neg"]
    assert edit.graph.inputs[0].uses()[0].node is node


def _overflow(edit: Edit, kept: ir.Value) -> None:
    old = edit.graph[0]
    with edit.attempt() as made:
        first = edit.node("Neg", [edit.graph.inputs[0]], before=old, stem="n")
        one = edit.constant(np.ones(1), "one", F32)
        edit.node("Add", [first, one], before=old, stem="n")
        assert edit.integers([1]) is kept
        assert [node.op_type for node in made] == ["Neg", "Add"]
        edit.constant(np.array([65520.0]), "w", F16)


def test_a_failed_attempt_leaves_nothing() -> None:
    edit = edited("y = Relu(x)")
    kept = edit.integers([1])
    with pytest.raises(Unrepresentable, match="float16"):
        _overflow(edit, kept)
    assert [node.op_type for node in edit.graph] == ["Relu"]
    assert [*edit.graph.initializers.values()] == [kept]
    assert len(edit.graph.inputs[0].uses()) == 1
    assert edit.integers([1]) is kept
    one = edit.constant(np.ones(1), "one", F32)
    assert edit.graph.initializers[one.name] is one


# Readers and results ------------------------------------------------------------------------------


def test_a_new_node_takes_on_the_name_of_a_result() -> None:
    edit = edited("r = Relu(x) y = Neg(r)")
    old = made_by(edit, "Neg")
    edit.replace(old.outputs[0], edit.node("Abs", old.inputs, before=old, stem="a"))
    assert operators(edit) == ["Relu", "Abs"]
    assert [value.name for value in edit.graph.outputs] == ["y"]


def test_a_result_keeps_the_shape_that_is_declared_of_it() -> None:
    """Of what it copies nothing may be known, and a file without the shape is not valid."""
    edit = edited("t = Relu(x) y = Identity(t)")
    (y,), t = edit.graph.outputs, made_by(edit, "Relu").outputs[0]
    t.shape = None
    edit.replace(y, t)
    assert [(v.name, str(v.shape)) for v in edit.graph.outputs] == [("y", "[2,6,5]")]


def test_what_is_no_result_lends_nobody_its_name() -> None:
    edit = edited("r = Relu(x) y = Neg(r)")
    old = made_by(edit, "Relu")
    edit.replace(old.outputs[0], edit.node("Abs", old.inputs, before=old, stem="a"))
    assert operators(edit) == ["Abs", "Neg"]
    assert made_by(edit, "Neg").inputs[0].name == "a"


@pytest.mark.parametrize(
    ("body", "outputs", "new", "left"),
    [
        ("y = Relu(x)", "y", "x", ["Identity"]),
        ("z = Relu(x) y = Abs(z)", "y, z", "z", ["Relu", "Identity"]),
        ("z = Relu(x) y = Abs(z)", "y", "z", ["Relu"]),
    ],
    ids=["an input", "another result", "any other value"],
)
def test_what_has_a_name_to_keep_is_copied(
    body: str, outputs: str, new: str, left: list[str]
) -> None:
    values = {"x": 0, "z": 1}
    edit, again = edited(body, outputs), edited(body, outputs)
    for each in (edit, again):
        each.graph.inputs[0].dtype = F32
    before = [value.name for value in edit.graph.outputs]
    sources = [
        [each.graph.inputs[0], each.graph[0].outputs[0]][values[new]] for each in (edit, again)
    ]
    edit.replace(edit.graph.outputs[0], sources[0])
    assert operators(edit) == left
    assert [value.name for value in edit.graph.outputs] == before
    assert edit.graph.outputs[0].shape == ir.Shape([2, 6, 5])
    # Where a copy would be needed, nothing is gained by going without the node.
    assert again.bypass(again.graph.outputs[0], sources[1]) == ("Identity" not in left)
    assert ([value.name for value in again.graph.outputs]) == before


def test_only_values_of_one_type_stand_for_each_other() -> None:
    edit = edited("r = Relu(x) c = Cast<to = 10>(r) d = Cast<to = 1>(c) y = Neg(d)")
    relu, half, wide, last = edit.graph
    assert not edit.bypass(half.outputs[0], relu.outputs[0])
    assert edit.bypass(wide.outputs[0], relu.outputs[0])
    half.outputs[0].type = None
    assert edit.bypass(relu.outputs[0], half.outputs[0])
    assert last.inputs[0] is half.outputs[0]


def test_numbers_stand_under_the_name_of_what_they_were() -> None:
    edit = edited("r = Relu(x) y = Neg(r) z = Add(r, x)", "y, z")
    relu, neg, add = edit.graph
    numbers = np.ones((2, 6, 5), np.float32)
    for node in (relu, neg):
        value = node.outputs[0]
        assert edit.holds(value) == (node is relu)
        edit.freeze(value, ir.tensor(numbers, name=value.name))
    assert operators(edit) == ["Constant", "Add"]
    assert add.inputs[0] is edit.graph.initializers["r"]
    assert [value.name for value in edit.graph.outputs] == ["y", "z"]
    for value in (add.inputs[0], edit.graph.outputs[0]):
        assert (value.dtype, value.shape) == (F32, ir.Shape([2, 6, 5]))
