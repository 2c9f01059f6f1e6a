"""Placing: which ONNX nodes operations become, their names, their rounding."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onebyone.algebra.channel import ChannelMap
from onebyone.graph.edit import Edit
from onebyone.graph.exact import Unrepresentable
from onebyone.graph.unused import remove_unused
from onebyone.graph.write import to_proto
from onebyone.optimize.regions.operations import (
    Concatenate,
    Mapped,
    Moved,
    Operation,
    Source,
    Total,
)
from onebyone.optimize.regions.place import place
from onebyone.optimize.regions.steps import Layout, Step, Striding

from ...graphs.run import run
from ...graphs.text import integers

IMAGE = Layout((2, 0, 5, 3), (2, 1, 5, 3), 1)
TOKENS = Layout((2, 5, 0), (2, 5, 1), 2)
LEFT = Layout((2, 0, 6), (2, 1, 6), 1)
ROWS = Layout((2, 0), (2, 1), 1)
DENSE = ChannelMap(np.array([[1, 2, 3, 4], [0, -1, 1, 2]]))
BLOCKS = ChannelMap(np.array([[1, 2], [3, -1], [0, 2], [1, 1]]), groups=2)
SCALE = ChannelMap.diagonal(np.array([1, 2, 3, -4]))
UNIT = ChannelMap.diagonal(np.ones(4))
MINUS = ChannelMap.diagonal(-np.ones(4))


def graph_of(layout: Layout, channels: int, dtype: ir.DataType = ir.DataType.FLOAT) -> ir.Model:
    """x → Relu → y, whose y will be replaced."""
    x = ir.Value(name="x", shape=layout.shape(4), type=ir.TensorType(dtype))
    node = ir.Node("", "Relu", [x], name="old")
    y = node.outputs[0]
    y.name, y.shape, y.dtype = "y", layout.shape(channels), dtype
    graph = ir.Graph([x], [y], nodes=[node], opset_imports={"": 17}, name="g")
    return ir.Model(graph, ir_version=8)


def placed(operation: Operation, model: ir.Model) -> list[ir.Node]:
    made = place({model.graph.outputs[0]: operation}, Edit(model.graph))
    remove_unused(model.graph)
    return made


@pytest.mark.parametrize(
    ("f", "bias", "layout", "nodes"),
    [
        (DENSE, [5, 6], IMAGE, ["Conv"]),
        (BLOCKS, [5, 6, 7, 8], IMAGE, ["Conv"]),
        (DENSE, None, LEFT, ["Conv"]),
        (DENSE, [5, 6], ROWS, ["Gemm"]),
        (DENSE, [5, 6], TOKENS, ["MatMul", "Add"]),
        (DENSE, None, TOKENS, ["MatMul"]),
        (DENSE, [5, 6], Layout((2, 3, 1, 0, 2), (2, 3, 1, 1, 2), 3), ["MatMul", "Add"]),
        (SCALE, None, IMAGE, ["Mul"]),
        (SCALE, [5, 6, 7, 8], IMAGE, ["BatchNormalization"]),
        (SCALE, [5, 6, 7, 8], TOKENS, ["Mul", "Add"]),
        (UNIT, [5, 6, 7, 8], IMAGE, ["Add"]),
        (MINUS, None, IMAGE, ["Neg"]),
        (MINUS, [5, 6, 7, 8], IMAGE, ["Sub"]),
        (MINUS, [5, 6, 7, 8], TOKENS, ["Sub"]),
    ],
)
def test_a_map_becomes_the_operator_of_its_layout(
    f: ChannelMap, bias: list[int] | None, layout: Layout, nodes: list[str]
) -> None:
    model = graph_of(layout, f.out_channels)
    x = integers("x", [int(n) for n in layout.shape(4)], 4)
    shift = None if bias is None else np.array(bias)
    made = Mapped(Source(model.graph.inputs[0]), f.linear, layout, layout, bias=shift)
    assert [node.op_type for node in placed(made, model)] == nodes
    expected = ChannelMap(f.weight, shift, f.groups).apply(x, layout.axis)
    assert np.array_equal(run(to_proto(model), {"x": x})[0]["y"], expected)


def test_strides_and_pads_come_back_into_the_convolution() -> None:
    window = Striding((2, 1), (1, 0, 0, 1))
    after = Layout((2, 0, 3, 4), (2, 1, 3, 4), 1)
    model = graph_of(after, 2)
    model.graph.inputs[0].shape = IMAGE.shape(4)
    step = Step(None, IMAGE, after, window, preserves_constants=False)
    source = Source(model.graph.inputs[0])
    (node,) = placed(Mapped(source, DENSE, IMAGE, after, step, np.array([5, 6])), model)
    assert node.attributes["strides"].as_ints() == (2, 1)
    assert node.attributes["pads"].as_ints() == (1, 0, 0, 1)
    x = integers("x", (2, 4, 5, 3))
    padded = np.pad(x, [(0, 0), (0, 0), (1, 0), (0, 1)])[:, :, ::2]
    expected = ChannelMap(DENSE.weight, np.array([5, 6])).apply(padded)
    assert np.array_equal(run(to_proto(model), {"x": x})[0]["y"], expected)


def test_a_stride_alone_is_a_slice() -> None:
    after = Layout((2, 0, 3, 3), (2, 1, 3, 3), 1)
    model = graph_of(after, 4)
    model.graph.inputs[0].shape = IMAGE.shape(4)
    step = Step(ir.node("Conv", []), IMAGE, after, Striding((2, 1), (0, 0, 0, 0)))
    (node,) = placed(Moved(Source(model.graph.inputs[0]), step, 4), model)
    assert node.op_type == "Slice"
    x = integers("x", (2, 4, 5, 3))
    assert np.array_equal(run(to_proto(model), {"x": x})[0]["y"], x[:, :, ::2])


def test_a_space_map_that_the_graph_has_already_is_not_made_again() -> None:
    model = graph_of(IMAGE, 4)
    x = model.graph.inputs[0]
    flip = ir.Node("", "Transpose", [x], [ir.AttrInt64s("perm", (0, 1, 2, 3))], name="kept")
    flip.outputs[0].name, flip.outputs[0].shape = "f", IMAGE.shape(4)
    model.graph.insert_before(next(iter(model.graph)), flip)
    moved = Moved(Source(x), Step(flip, IMAGE, IMAGE, None), 4)
    nodes = placed(Mapped(moved, SCALE, IMAGE, IMAGE), model)
    assert [node.op_type for node in nodes] == ["Mul"]
    assert nodes[0].inputs[0] is flip.outputs[0]


def test_sums_put_convolutions_last_and_share_what_they_share() -> None:
    model = graph_of(IMAGE, 4)
    x = Source(model.graph.inputs[0])
    scaled = Mapped(x, SCALE, IMAGE, IMAGE)
    product = Mapped(scaled, BLOCKS, IMAGE, IMAGE)
    nodes = placed(Total([product, scaled, x], IMAGE, 4), model)
    assert [node.op_type for node in nodes] == ["Mul", "Conv", "Add", "Add"]
    assert nodes[-1].inputs[1] is nodes[1].outputs[0] or nodes[-2].inputs[1] is nodes[1].outputs[0]
    array = integers("x", (2, 4, 5, 3))
    expected = BLOCKS.apply(SCALE.apply(array)) + SCALE.apply(array) + array
    assert np.array_equal(run(to_proto(model), {"x": array})[0]["y"], expected)


def test_what_is_negated_is_subtracted_unless_all_is() -> None:
    array = integers("x", (2, 4, 5, 3))
    for signs, nodes in (
        ("-+", ["Mul", "Sub"]),
        ("+-", ["Mul", "Sub"]),
        ("--", ["Neg", "Mul", "Sub"]),
    ):
        model = graph_of(IMAGE, 4)
        x = Source(model.graph.inputs[0])
        parts: list[Operation] = [x, Mapped(x, SCALE, IMAGE, IMAGE)]
        parts = [Mapped(p, MINUS, IMAGE, IMAGE) if s == "-" else p
                 for p, s in zip(parts, signs, strict=True)]  # fmt: skip
        made = placed(Total(parts, IMAGE, 4), model)
        assert sorted(node.op_type for node in made) == sorted(nodes)
        one, other = (-1 if s == "-" else 1 for s in signs)
        expected = one * array + other * SCALE.apply(array)
        assert np.array_equal(run(to_proto(model), {"x": array})[0]["y"], expected)


def test_what_is_broadcast_is_noted_as_small_until_it_is() -> None:
    model = graph_of(IMAGE, 4)
    x = Source(model.graph.inputs[0])
    mean = ir.node("GlobalAveragePool", [x.value], name="mean")
    mean.outputs[0].name, mean.outputs[0].shape = "m", ir.Shape([2, 4, 1, 1])
    model.graph.insert_before(next(iter(model.graph)), mean)
    first, second = placed(Total([Source(mean.outputs[0])] * 2 + [x], IMAGE, 4), model)
    assert [str(node.outputs[0].shape) for node in (first, second)] == ["[2,4,1,1]", "[2,4,5,3]"]


def test_concats_stack_along_the_channel_axis() -> None:
    model = graph_of(TOKENS, 8)
    x = Source(model.graph.inputs[0])
    (node,) = placed(Concatenate([x, x], TOKENS, 8, TOKENS.axis), model)
    assert node.attributes["axis"].as_int() == 2


def test_what_comes_out_keeps_name_and_type() -> None:
    model = graph_of(IMAGE, 2)
    placed(Mapped(Source(model.graph.inputs[0]), DENSE, IMAGE, IMAGE), model)
    (output,) = model.graph.outputs
    assert (output.name, output.shape, output.dtype) == ("y", IMAGE.shape(2), ir.DataType.FLOAT)
    assert [node.op_type for node in model.graph] == ["Conv"]


def test_an_output_that_is_an_input_needs_a_node_between() -> None:
    model = graph_of(IMAGE, 4)
    assert placed(Source(model.graph.inputs[0]), model)[-1].op_type == "Identity"
    assert [value.name for value in model.graph.outputs] == ["y"]


def test_minted_names_are_new_in_the_graph_and_below() -> None:
    inner = ir.Node("", "Neg", [], name="inner")
    inner.outputs[0].name = "deep"
    branch = ir.Graph([], inner.outputs, nodes=[inner])
    node = ir.Node("", "If", [], [ir.AttrGraph("then_branch", branch)], name="choice")
    node.outputs[0].name = "y"
    edit = Edit(ir.Graph([ir.val("x")], node.outputs, nodes=[node]))
    assert edit.taken >= {"x", "y", "deep", "inner", "choice"}
    assert [edit.mint(stem) for stem in ("y", "y", "deep", "new", "new")] == [
        "y_1", "y_2", "deep_1", "new", "new_1"]  # fmt: skip


def test_a_weight_that_overflows_changes_nothing() -> None:
    model = graph_of(IMAGE, 2, ir.DataType.FLOAT16)
    huge = ChannelMap(np.full((2, 4), 65520.0))
    half = Layout((2, 0, 3, 3), (2, 1, 3, 3), 1)
    step = Step(ir.node("Conv", []), IMAGE, half, Striding((2, 1), (0, 0, 0, 0)))
    sliced = Moved(Source(model.graph.inputs[0]), step, 4)
    edit = Edit(model.graph)
    with pytest.raises(Unrepresentable, match="float16"):
        place({model.graph.outputs[0]: Mapped(sliced, huge, half, half)}, edit)
    assert [node.op_type for node in model.graph] == ["Relu"]
    assert not model.graph.initializers
    assert not edit.stored  # the bounds of the slice are not in the graph: not to be shared


@pytest.mark.parametrize("linear", [DENSE, BLOCKS], ids=["dense", "blocks"])
def test_there_is_no_convolution_of_float64(linear: ChannelMap) -> None:
    """Of ONNX Runtime's: over one axis a product will do, over two nothing."""
    model = graph_of(LEFT, 4, ir.DataType.DOUBLE)
    product = Mapped(Source(model.graph.inputs[0]), linear, LEFT, LEFT)
    placed(product, model)
    assert [node.op_type for node in model.graph] == ["MatMul"]
    x = integers("x", (2, 4, 6)).astype(np.float64)
    (found,) = run(to_proto(model), {"x": x})
    assert (found["y"] == np.einsum("oc,ncp->nop", linear.dense(), x)).all()
    image = graph_of(IMAGE, 4, ir.DataType.DOUBLE)
    operation = Mapped(Source(image.graph.inputs[0]), linear, IMAGE, IMAGE)
    with pytest.raises(Unrepresentable, match="float64, which ONNX Runtime has not"):
        place({image.graph.outputs[0]: operation}, Edit(image.graph))


def test_where_there_are_convolutions_of_float64_there_may_be_one_more() -> None:
    model = graph_of(IMAGE, 4, ir.DataType.DOUBLE)
    weight = ir.val("k", const_value=ir.tensor(np.ones((4, 4, 1, 1)), name="k"))
    model.graph.register_initializer(weight)
    model.graph.append(ir.node("Conv", [model.graph.inputs[0], weight]))
    operation = Mapped(Source(model.graph.inputs[0]), DENSE, IMAGE, IMAGE)
    made = place({model.graph.outputs[0]: operation}, Edit(model.graph))
    assert [node.op_type for node in made] == ["Conv"]
