"""Inferred shapes against those that ONNX Runtime computes, and how free dimensions are bound."""

from __future__ import annotations

import time

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from onebyone.errors import UsageError
from onebyone.graph.read import read
from onebyone.graph.shapes import Sizes, infer
from onebyone.graph.write import to_proto

from ..graphs.text import model as proto

torch = pytest.importorskip("torch")
FLOAT = TensorProto.FLOAT


def chain(nodes, shape, initializers=(), **more):
    """A model of x, and of further float inputs by name, to the first output of the last node."""
    inputs = {"x": shape, **more}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, FLOAT, dims) for name, dims in inputs.items()],
        [helper.make_tensor_value_info(nodes[-1].output[0], FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in initializers],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def inferred(proto):
    model = read(proto)
    infer(model)
    return model


def last(model, shapes=None):
    return Sizes(model, shapes).shape(model.graph.outputs[0])


def actual_shapes(model, sizes):
    """The shape of every node's every output when ONNX Runtime runs the model."""
    proto = to_proto(model)
    names = [value.name for node in model.graph for value in node.outputs if value.name]
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    feeds = {name: np.zeros(shape, np.float32) for name, shape in sizes.inputs.items()}
    return dict(zip(names, (out.shape for out in session.run(names, feeds)), strict=True))


class Net(torch.nn.Module):
    """Strides, a token view by shape arithmetic, a resize to another tensor's size."""

    def __init__(self):
        super().__init__()
        self.down = torch.nn.Conv2d(3, 5, 3, stride=2, padding=1)
        self.mix = torch.nn.Linear(5, 4)

    def forward(self, x):
        y = self.down(torch.nn.functional.avg_pool2d(x, 3, 2, ceil_mode=True))
        n, c, h, w = y.shape
        tokens = self.mix(y.reshape(n, c, h * w).transpose(1, 2))
        z = tokens.transpose(1, 2).reshape(n, 4, h, w)
        z = torch.nn.functional.interpolate(z, size=x.shape[2:], mode="bilinear")
        return torch.cat([z, x[:, :, : h * 2, :].mean((2, 3), keepdim=True).expand_as(x)], 1)


def exported(dynamo, path):
    net, x = Net().eval(), torch.zeros(2, 3, 37, 50)
    free = {0: "batch", 2: "height", 3: "width"}
    if dynamo:
        axes = dict.fromkeys(free, torch.export.Dim.DYNAMIC)
        options = {"dynamo": True, "dynamic_shapes": {"x": axes}, "verbose": False}
    else:
        options = {"dynamo": False, "dynamic_axes": {"x": free}}
    torch.onnx.export(net, (x,), path, input_names=["x"], external_data=False, **options)
    return read(path)


@pytest.mark.filterwarnings("ignore")  # the exporters' own
@pytest.mark.parametrize("dynamo", [False, True])
def test_dynamic_exports(dynamo, tmp_path):
    model = exported(dynamo, tmp_path / "net.onnx")
    infer(model)
    for shape in ((1, 3, 37, 50), (3, 3, 16, 9)):
        sizes = Sizes(model, {"x": shape})
        actual = actual_shapes(model, sizes)
        values = [value for node in model.graph for value in node.outputs]
        assert {value.name: sizes.shape(value) for value in values} == actual


@pytest.mark.parametrize("wide", [3.0, 1.5])
def test_scales_that_are_put_together_tell_sizes(wide):
    """As TorchScript writes those of an interpolation."""
    nodes = [
        helper.make_node("Concat", ["same", "more"], ["scales"], axis=0),
        helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest"),
    ]
    halves = [("same", np.ones(2, np.float32)), ("more", np.array([2, wide], np.float32))]
    model = inferred(chain(nodes, ["n", 3, 4, 6], halves))
    assert str(model.graph.outputs[0].shape) == f"[n,3,8,{int(6 * wide)}]"
    assert all(v.const_value is None for node in model.graph for v in node.outputs)


def test_nothing_but_shapes_stays_behind():
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "i"], ["h"]),
        helper.make_node("Reshape", ["x", "s"], ["y"]),
    ]
    model = inferred(chain(nodes, [2, 3], [("i", np.array([1]))]))
    for node in model.graph:
        assert node.outputs[0].const_value is None
        assert not node.outputs[0].metadata_props


def test_the_file_is_believed_only_where_nothing_is_known():
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Thing", ["a"], ["b"], domain="my"),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    proto = chain(nodes, ["n", 3])
    for name in "ab":
        proto.graph.value_info.append(helper.make_tensor_value_info(name, FLOAT, [7, 9]))
    model = inferred(proto)
    a, b, y = (node.outputs[0] for node in model.graph)
    sizes = Sizes(model)
    assert [sizes.shape(value) for value in (a, b, y)] == [(1, 3), (7, 9), (7, 9)]


def test_the_file_is_believed_about_a_shape_that_is_data():
    nodes = [
        helper.make_node("Cast", ["z"], ["target"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["x", "target"], ["b"]),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    proto = chain(nodes, ["n", 21], z=[3])
    proto.graph.value_info.append(helper.make_tensor_value_info("b", FLOAT, [7, "n", "m"]))
    model = inferred(proto)
    sizes = Sizes(model, {"x": (5, 21)})
    dims = [sizes.size(dim) for dim in model.graph.outputs[0].shape]
    assert dims == [7, 5, None]


def test_an_expression_of_the_file_that_cannot_be_calculated_is_not_used():
    thing = helper.make_node("Thing", ["x"], ["b"], domain="my")
    proto = chain([thing, helper.make_node("Relu", ["b"], ["y"])], ["n", 3])
    proto.graph.value_info.append(helper.make_tensor_value_info("b", FLOAT, ["9**9**n", 4]))
    model = inferred(proto)
    assert [Sizes(model).size(dim) for dim in model.graph.outputs[0].shape] == [None, 4]
    assert "**" not in str(model.graph.outputs[0].shape)


def test_an_odd_node_costs_only_its_own_shape():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),  # x has no spatial axes: no such convolution
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    model = inferred(chain(nodes, [2, 3], [("w", np.zeros((5, 3, 1, 1), np.float32))]))
    assert last(model) == (2, 3)


@pytest.mark.parametrize("name", ["two words", "9**9**9**9", "7", "a" * 500, "", None])
def test_any_name_of_a_free_dimension(name):
    model = inferred(chain([helper.make_node("Concat", ["x", "x"], ["y"], axis=1)], [2, name]))
    assert last(model, {"x": (2, 5)}) == (2, 10)
    dim = to_proto(model).graph.input[0].type.tensor_type.shape.dim[1]
    assert dim.dim_param == (name or "")


def test_an_expression_of_names():
    model = inferred(chain([helper.make_node("Relu", ["x"], ["y"])], ["n", "2*n + 1"]))
    assert last(model) == (1, 3)
    assert last(model, {"x": (3, 7)}) == (3, 7)
    with pytest.raises(UsageError, match=r"2\*n \+ 1 cannot be 8"):
        Sizes(model, {"x": (3, 8)})


def test_an_expression_alone_is_solved():
    model = inferred(chain([helper.make_node("Flatten", ["x"], ["y"])], [3, "2*n + 1", "n"]))
    assert last(model, {"x": (3, 7, 3)}) == (3, 21)


def test_free_dimensions_have_defaults():
    model = inferred(chain([helper.make_node("Relu", ["x"], ["y"])], ["n", 3, "h", None]))
    assert last(model) == (1, 3, 224, 224)
    assert Sizes(model).inputs == {"x": (1, 3, 224, 224)}


def test_equal_names_have_equal_sizes():
    node = helper.make_node("Concat", ["x", "z"], ["y"], axis=1)
    model = inferred(chain([node], ["n", "a"], z=["n", 5]))
    assert last(model, {"x": (2, 3)}) == (2, 8)
    with pytest.raises(UsageError, match="equal names have equal sizes"):
        Sizes(model, {"x": (2, 3), "z": (4, 5)})


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"q": (1,)}, "no input q in the model; its inputs are: x"),
        ({"x": (1, 3)}, r"\[1, 3\] does not fit input x"),
        ({"x": (1, 4, 5, 5)}, "does not fit"),
        ({"x": (1, 3, -5, 5)}, "does not fit"),
    ],
)
def test_shapes_that_do_not_fit(shapes, message):
    model = inferred(chain([helper.make_node("Relu", ["x"], ["y"])], ["n", 3, "h", "w"]))
    with pytest.raises(UsageError, match=message):
        Sizes(model, shapes)


def test_what_was_assumed_is_told_and_can_be_pasted():
    model = inferred(proto("y = Add(x, z) t = Abs(w)", "float[n,3] x, float[n,m] z, float[2] w"))
    sizes = Sizes(model)
    assert sizes.inputs == {"x": (1, 3), "z": (1, 128), "w": (2,)}
    assert sizes.told.endswith("for others add --shape x=1,3 --shape z=1,128")
    assert Sizes(model, {"x": (2, 3)}).told.endswith("for others add --shape z=2,128")
    pasted = Sizes(model, {"x": (1, 3), "z": (1, 128)})
    assert (pasted.inputs, pasted.assumed, pasted.told) == (sizes.inputs, (), "")


def test_one_name_at_several_places_has_one_size():
    """`batch` stands on the second axis of h: pasted back, two sizes of it were refused."""
    model = inferred(proto("y = Mul(x, x) z = Abs(h)", "float[batch,8] x, float[1,batch,8] h"))
    assert Sizes(model).inputs == {"x": (1, 8), "h": (1, 1, 8)}


def test_data_tell_the_sizes_that_are_not_given():
    model = inferred(proto("y = Mul(x, x) z = Abs(q)", "float[n,3,h,w] x, float[n,k] q"))
    data = {"x": (5, 3, 64, 48)}
    sizes = Sizes(model, data=data)
    assert sizes.inputs == {"x": (5, 3, 64, 48), "q": (5, 128)}
    assert [each.name for each in sizes.assumed] == ["k"]
    assert Sizes(model, {"x": (2, 3, 7, 9)}, data).inputs == {"x": (2, 3, 7, 9), "q": (2, 128)}
    strange = {"x": (5, 3), "nosuch": (4,)}  # told by who compares data with the inputs
    assert Sizes(model, data=strange).inputs == Sizes(model).inputs


def test_an_input_of_unknown_rank():
    model = inferred(chain([helper.make_node("Relu", ["x"], ["y"])], None))
    with pytest.raises(UsageError, match="--shape x="):
        Sizes(model)
    assert Sizes(model, {"x": (2, 3)}).shape(model.graph.inputs[0]) == (2, 3)
    assert Sizes(model, data={"x": (2, 3)}).shape(model.graph.inputs[0]) == (2, 3)


def test_an_initialiser_that_is_an_input_need_not_be_fed():
    proto = chain(
        [helper.make_node("Add", ["x", "b"], ["y"])], [2, 3], [("b", np.float32(1))], b=[]
    )
    assert Sizes(inferred(proto)).inputs == {"x": (2, 3)}


def test_data_dependent_dimensions_are_unknown():
    nodes = [
        helper.make_node("NonZero", ["x"], ["i"]),
        helper.make_node("Cast", ["i"], ["y"], to=FLOAT),
    ]
    assert last(inferred(chain(nodes, [2, 3]))) is None


def test_pads_that_torchscript_computes(tmp_path):
    # Swin pads to whole windows by sizes that it knows; the list goes through a matrix.
    class Windows(torch.nn.Module):
        def forward(self, x):
            height, width = x.shape[2:]
            right, below = torch.tensor(-width) % 4, torch.tensor(-height) % 4
            padded = torch.nn.functional.pad(x, (0, right, 0, below))
            return padded.reshape(padded.shape[0], 3, -1, 4)

    path = tmp_path / "windows.onnx"
    options = {"input_names": ["x"], "dynamic_axes": {"x": {0: "n"}}}
    with pytest.warns():
        torch.onnx.export(
            Windows(), (torch.randn(2, 3, 9, 6),), path, dynamo=False, opset_version=17, **options
        )
    model = inferred(onnx.load(path))
    assert "Pad" in {node.op_type for node in model.graph}
    assert last(model, {"x": (5, 3, 9, 6)}) == (5, 3, 24, 4)
    sizes = Sizes(model, {"x": (5, 3, 9, 6)})
    found = {v.name: sizes.shape(v) for node in model.graph for v in node.outputs}
    assert found == actual_shapes(model, sizes)


@pytest.mark.parametrize("shape", [[2, 3, 9, 7], ["n", 3, "h", "w"]])
def test_a_long_chain_takes_no_time(shape):
    count = 10_000
    nodes = [helper.make_node("Relu", [f"v{i}" if i else "x"], [f"v{i + 1}"]) for i in range(count)]
    model = read(chain(nodes, shape))
    start = time.process_time()
    infer(model)
    assert last(model) is not None
    # Measured 0.1 to 0.4 s; quadratic work would take minutes.
    assert time.process_time() - start < 10


def test_smaller_sizes_stay_apart_and_divisible_as_they_were():
    model = inferred(proto("y = Relu(x)", "float[N,3,H,W] x, float[M,3] z"))
    smaller = Sizes(model, {"x": (2, 3, 96, 112), "z": (197, 3)}).smaller
    assert smaller.shape(model.graph.outputs[0]) == (2, 3, 32, 48)
    assert smaller.size(model.graph.inputs[1].shape[0]) == 49


def test_pieces_of_computed_sizes_are_of_no_known_size():
    """They are equal only where a Split is told no sizes."""
    shapes = {}
    for told in (["x", "s"], ["x"]):
        node = helper.make_node("Split", told, ["a", "b"], axis=1)
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, None]) for n in "ab"]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 5])
        s = helper.make_tensor_value_info("s", TensorProto.INT64, [2])
        graph = helper.make_graph([node], "g", [x, s], ends)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        pieces = next(iter(inferred(made).graph)).outputs
        shapes[len(told)] = [[type(n) is int for n in value.shape] for value in pieces]
    assert shapes == {2: [[True, False]] * 2, 1: [[True, True]] * 2}


def test_halvings_of_halvings_stay_short():
    # A detector's anchors: the positions of a map at stride 32, twice and four times as fine.
    halved = [conv("x", "a0"), *(conv(f"a{k}", f"a{k + 1}") for k in range(4))]
    finer = [helper.make_node("Resize", ["a4", "", f"by{k}"], [f"b{k}"]) for k in (1, 2, 4)]
    flat = [helper.make_node("Reshape", [f"b{k}", "flat"], [f"f{k}"]) for k in (1, 2, 4)]
    joined = helper.make_node("Concat", ["f1", "f2", "f4"], ["y"], axis=2)
    weights = [("w", np.zeros((3, 3, 3, 3), np.float32)), ("flat", np.int64([0, 3, -1]))]
    weights += [(f"by{k}", np.float32([1, 1, k, k])) for k in (1, 2, 4)]
    model = inferred(
        chain([*halved, *finer, *flat, joined], ["n", 3, "image_height", "image_width"], weights)
    )
    assert [str(d) for d in model.graph.outputs[0].shape][:2] == ["n", "3"]
    for height, width in ((224, 320), (97, 33), (1, 1)):
        sizes = Sizes(model, {"x": (2, 3, height, width)})
        actual = actual_shapes(model, sizes)
        assert sizes.shape(model.graph.outputs[0]) == actual["y"]


def conv(x, y):
    pads, strides = [1, 1, 1, 1], [2, 2]
    return helper.make_node("Conv", [x, "w"], [y], pads=pads, strides=strides)


def test_what_a_file_says_of_a_size_is_read_in_its_simplest_form():
    odd = helper.make_node("Odd", ["x"], ["y"], domain="my")
    told = chain([odd], [2, "h"])
    told.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 2
    told.graph.output[0].type.tensor_type.shape.dim.add().dim_param = "floor(4*h/4)"
    assert str(inferred(told).graph.outputs[0].shape) == "[2,h]"
