"""The rules for shape arithmetic that the library leaves out, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from onebyone.graph.read import read
from onebyone.graph.shape_rules import Context, keeps_sizes
from onebyone.graph.shapes import Sizes, infer
from tests.quick import slow_but_pairs


def model(nodes, constants):
    """y is made of x (n, 3, h) and of h, the last size of x, as a list of one element."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "last"], ["h"]),
        *nodes,
    ]
    arrays = {"last": [2], **constants}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array(array), name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def both(proto, shape):
    """The shape of y as inferred, and as it is."""
    found = read(proto)
    infer(found)
    session = ort.InferenceSession(proto.SerializeToString(), None, ["CPUExecutionProvider"])
    (actual,) = session.run(None, {"x": np.zeros(shape, np.float32)})
    return Sizes(found, {"x": shape}).shape(found.graph.outputs[0]), actual.shape


SHAPES = [(1, 3, 7), (2, 3, 1), (2, 3, 8)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("by", [1, 2, 4])
def test_a_quotient_of_sizes(shape, by):
    nodes = [
        helper.make_node("Div", ["h", "by"], ["part"]),
        helper.make_node("ConstantOfShape", ["part"], ["y"]),
    ]
    assert both(model(nodes, {"by": [by]}), shape) == ((shape[2] // by,), (shape[2] // by,))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_tensor_filled_to_size(shape):
    nodes = [
        helper.make_node("Concat", ["h", "five"], ["sizes"], axis=0),
        helper.make_node("ConstantOfShape", ["sizes"], ["y"]),
    ]
    assert both(model(nodes, {"five": [5]}), shape) == ((shape[2], 5), (shape[2], 5))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("start", [0, 1, 3, 9, -1])
def test_a_crop_to_a_size(shape, start):
    """From a constant on, to one before the end; counted from the end, it is left unknown."""
    nodes = [
        helper.make_node("Sub", ["h", "one"], ["end"]),
        helper.make_node("Slice", ["x", "start", "end", "last"], ["y"]),
    ]
    inferred, actual = both(model(nodes, {"one": [1], "start": [start]}), shape)
    assert inferred == actual or (inferred is None and start < 0)


@pytest.mark.parametrize(
    ("shape", "start", "end", "step"),
    slow_but_pairs(
        SHAPES,
        [0, 2, 9, -1, -3],
        [1, 4, 9, -1, -2, 2**31 - 1, 2**31, 2**62, 2**63 - 1],
        [1, 3],
    ),
)
def test_a_crop_that_the_axis_may_be_too_short_for(shape, start, end, step):
    constants = {"start": [start], "end": [end], "step": [step]}
    node = helper.make_node("Slice", ["x", "start", "end", "last", "step"], ["y"])
    inferred, actual = both(model([node], constants), shape)
    assert inferred == actual or (actual[2] == 0 and inferred is None)


@pytest.mark.parametrize(
    ("shape", "start", "end", "step"),
    slow_but_pairs(SHAPES, [-1, -2, -9, 0, 3, 9], [-(2**31), 1 - 2**63, -(2**63)], [-1, -3]),
)
def test_a_crop_from_the_end_to_the_first(shape, start, end, step):
    """Two axes at once: the channels, of known size, and the free one."""
    constants = {"start": [start, start], "end": [end, end], "step": [-2, step]}
    node = helper.make_node("Slice", ["x", "start", "end", "axes", "step"], ["y"])
    inferred, actual = both(model([node], {**constants, "axes": [1, 2]}), shape)
    assert inferred == actual


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("end", [-(2**31), 1 - 2**63, -(2**63)])
def test_the_least_end_is_before_the_first(shape, end):
    constants = {"start": [0, 0], "end": [end, end], "axes": [1, 2], "step": [1, 1]}
    node = helper.make_node("Slice", ["x", "start", "end", "axes", "step"], ["y"])
    assert both(model([node], constants), shape) == ((shape[0], 0, 0),) * 2


def inferred(text):
    """The shapes of the results of a graph, by name."""
    found = read(onnx.parser.parse_model('<ir_version: 8, opset_import: ["": 17]>' + text))
    infer(found)
    values = [value for node in found.graph for value in node.outputs]
    return {value.name: tuple(value.shape) for value in values}


@pytest.mark.parametrize("pool", ["AveragePool", "LpPool", "MaxPool"])
@pytest.mark.parametrize("sizes", [(5, 2), (5, 3)])
def test_a_window_larger_than_the_axis_has_no_size(pool, sizes):
    """No part of one fits: ONNX Runtime makes one position of it, or fails; ONNX none.

    Nor do the sizes say it that the file declares, there and behind.
    """
    attributes = "<kernel_shape = [3, 5], strides = [2, 3], pads = [0, 1, 0, 1]>"
    found = inferred(
        f"g (float[1,2,{sizes[0]},{sizes[1]}] x) => (float[1,2,2,7] z) "
        f"<float[1,2,2,7] y> {{ y = {pool} {attributes} (x) z = Relu(y) }}"
    )
    assert found["y"][:3] == (1, 2, 2)
    assert found["y"] == found["z"]
    assert (found["y"][3] == 1) is (sizes[1] == 3)
    assert isinstance(found["y"][3], int) is (sizes[1] == 3)


@pytest.mark.parametrize("side", ["UPPER", "LOWER"])
@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize(
    ("kernel", "attributes", "known"),
    [
        ((2, 3), "", (False, True)),
        ((2, 2), "dilations = [2, 1]", (True, False)),
        ((1, 2), "output_padding = [1, 1]", (False, True)),
        ((1, 1), "output_shape = [9, 8]", (True, True)),
    ],
)
def test_taps_that_do_not_reach_one_another_leave_the_size_open(
    side, free, kernel, attributes, known
):
    """ONNX Runtime makes (n - 1)·s + k positions, ONNX n·s."""
    h, w = ("h", "w") if free else (4, 5)
    more = f", {attributes}" if attributes else ""
    k = ",".join(map(str, kernel))
    found = inferred(
        f"g (float[1,2,{h},{w}] x, float[2,3,{k}] u) => (float[1,3,7,7] z) <float[1,3,7,7] y> "
        f'{{ y = ConvTranspose <auto_pad = "SAME_{side}", strides = [3, 3]{more}> (x, u) '
        "z = Relu(y) }"
    )
    whole = ("3*h", "3*w") if free else ("12", "15")
    whole = ("9", "8") if "output_shape" in attributes else whole
    assert found["y"] == found["z"]
    for size, want, is_known in zip(found["y"][2:], whole, known, strict=True):
        assert (str(size) == want) is is_known
        assert str(size) != "7"


@pytest.mark.parametrize("shape", SHAPES)
def test_an_expand_of_a_free_size_leaves_it_open(shape):
    """x has n positions, or those of the target where n is 1."""
    nodes = [
        helper.make_node("Concat", ["h", "tail"], ["sizes"], axis=0),
        helper.make_node("Expand", ["x", "sizes"], ["y"]),
    ]
    proto = model(nodes, {"tail": [1, 1]})
    if shape[0] in (1, shape[2]):
        inferred, actual = both(proto, shape)
        assert inferred is None or inferred == actual
    found = read(proto)
    infer(found)
    assert str(found.graph.outputs[0].shape[0]) not in ("n", "h")


def picked(cases):
    """y of the sizes (h, *tail), but 1 where the two cases are equal."""
    return [
        helper.make_node("ConstantOfShape", ["length"], ["ones"], value=ONE),
        helper.make_node("Mul", ["ones", "minus"], ["minuses"]),
        helper.make_node("Concat", ["h", "tail"], ["wanted"], axis=0),
        helper.make_node("Equal", cases, ["same"]),
        helper.make_node("Where", ["same", "ones", "wanted"], ["sizes"]),
        helper.make_node("Expand", ["one", "sizes"], ["y"]),
    ]


ONE = helper.make_tensor("value", TensorProto.INT64, [1], [1])
EXPAND = {"length": [3], "minus": -1, "tail": [-1, 5], "one": np.float32([[[1]]])}


@pytest.mark.parametrize("shape", [(1, 3, 7), (2, 3, 1), (2, 3, 2)])
@pytest.mark.parametrize("cases", [["wanted", "minuses"], ["minuses", "wanted"]])
def test_an_expand_that_keeps_sizes_by_minus_one(shape, cases):
    """As TorchScript exports x.expand(h, -1, 5)."""
    inferred, actual = both(model(picked(cases), EXPAND), shape)
    assert inferred == actual == (shape[2], 1, 5)


@pytest.mark.parametrize("shape", [(1, 3, 7), (2, 3, 1)])
def test_sizes_that_may_be_equal_are_left_unknown(shape):
    """Whether h is 7 depends on the input."""
    constants = {**EXPAND, "tail": [1, 5], "sevens": [7, 7, 7]}
    inferred, _ = both(model(picked(["wanted", "sevens"]), constants), shape)
    assert inferred is None


def test_unequal_symbols_broadcast_to_something_without_a_name() -> None:
    text = "g (float[N,5,H] x, float[N,5,A] z) => (float[n,c,h] y) { y = Add(x, z) }"
    model = read(onnx.parser.parse_model('<ir_version: 8, opset_import: ["": 17]>' + text))
    infer(model)
    n, c, h = model.graph.outputs[0].shape
    assert (str(n), c) == ("N", 5)
    assert str(h) not in ("H", "A")


@pytest.mark.parametrize("operator", ["Add", "Less", "Max"])
@pytest.mark.parametrize("operands", ["a, x", "x, a", "a, a"])
def test_what_is_cut_to_one_position_is_broadcast(operator: str, operands: str) -> None:
    """x[:, :1] has Min(L, 1) positions, which beside L others are one."""
    text = (
        f"g (float[N,L,5] x) => (y) {{ a = Slice(x, i, j, j) y = {operator}({operands}) }}"
    ).replace("(y)", "(float[n,l,c] y) <int64[1] i = {0}, int64[1] j = {1}>")
    model = read(onnx.parser.parse_model('<ir_version: 8, opset_import: ["": 17]>' + text))
    infer(model)
    expected = "[N,Min(1, L),5]" if operands == "a, a" else "[N,L,5]"
    assert [str(v.shape) for v in model.graph.outputs] == [expected]


def test_what_is_cut_to_one_position_of_half_of_them_is_broadcast() -> None:
    text = (
        "g (float[N,L,5] x) => (float[n,l,c] y) "
        "<int64[1] i = {0}, int64[1] j = {1}, int64[1] k = {2}, int64[1] e = {99999}> "
    )
    body = "{ h = Slice(x, i, e, j, k) a = Slice(h, i, j, j) y = Mul(a, h) }"
    model = read(onnx.parser.parse_model('<ir_version: 8, opset_import: ["": 17]>' + text + body))
    infer(model)
    h, _, y = (node.outputs[0].shape for node in model.graph)
    assert str(y) == str(h)


WINDOWS = [
    # kernel, pads, strides, dilations: kept or not
    (1, (0, 0), 1, 1, True),
    (3, (1, 1), 1, 1, True),
    (3, (0, 2), 1, 1, True),
    (3, (2, 2), 1, 2, True),
    (3, (1, 1), 1, 2, False),
    (3, (1, 1), 2, 1, False),
    (1, (0, 0), 2, 1, False),
    (1, (1, 0), 1, 1, False),
    (4, (1, 1), 1, 1, False),
]


@pytest.mark.parametrize(("kernel", "pads", "stride", "dilation", "kept"), WINDOWS)
def test_a_convolution_that_keeps_sizes_is_known_by_its_numbers(
    kernel: int, pads: tuple[int, int], stride: int, dilation: int, kept: bool
) -> None:
    numbers = {"pads": list(pads), "strides": [stride], "dilations": [dilation]}
    node = helper.make_node("Conv", ["x", "w"], ["y"], **numbers)
    proto = model([node], {"w": np.ones((5, 3, kernel), np.float32)})
    found = read(proto)
    infer(found)
    assert (str(found.graph.outputs[0].shape) == "[n,5,h]") is kept
    for size in (8, 13):
        inferred, actual = both(proto, (2, 3, size))
        assert inferred == actual


@pytest.mark.parametrize("odd", ["auto_pad", "a short kernel_shape", "short pads", "a flat weight"])
def test_what_is_odd_about_a_convolution_is_left_to_the_library(odd: str) -> None:
    numbers = {
        "auto_pad": {"auto_pad": "SAME_UPPER"},
        "a short kernel_shape": {"kernel_shape": []},
        "short pads": {"pads": [0]},
        "a flat weight": {},
    }[odd]
    x = ir.val("x", ir.DataType.FLOAT, ["n", 3, "h"])
    w = ir.val("w", ir.DataType.FLOAT, [5, 3] if odd == "a flat weight" else [5, 3, 1])
    assert not keeps_sizes(Context({"": 17}), ir.node("Conv", [x, w], numbers))


COMPUTED = {
    "axes of a cut": ("y = Slice(x, one, four, k)", "[_d0,_d1,_d2]"),
    "steps of a cut": ("y = Slice(x, one, four, one, k)", "[_d0,_d1,_d2]"),
    "axes that go": ("y = Squeeze(x, k)", "None"),
    "axes that come": ("y = Unsqueeze(x, k)", "None"),
    "axes of a sum": ("y = ReduceSum(x, k)", "None"),
    "axes of padding": ("y = Pad(x, ends, , k)", "None"),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_axes_that_are_computed_are_none_in_particular(name: str) -> None:
    body, wanted = COMPUTED[name]
    known = "int64[1] one = {1}, int64[1] four = {4}, int64[2] ends = {1, 1}"
    text = f"g (float[1,5,1] x, int64[1] k) => (float[a] z) <{known}> {{ {body} z = Neg(y) }}"
    made = read(onnx.parser.parse_model('<ir_version: 8, opset_import: ["": 18]> ' + text))
    infer(made)
    assert str(made.graph[0].outputs[0].shape) == wanted
