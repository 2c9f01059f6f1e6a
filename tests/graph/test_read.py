"""What `read` promises of every model, from each kind of source."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from onebyone.errors import UnreadableModel
from onebyone.graph.read import read
from onebyone.graph.shapes import Sizes, infer
from onebyone.graph.write import to_proto

FLOAT = TensorProto.FLOAT
WEIGHT = np.arange(15, dtype=np.float32).reshape(3, 5)


def proto(nodes, initializers=(), *, inputs=(), opset=17, ir_version=8, functions=()):
    """A model x (2, 3) -> y of any rank, with the inputs asked for beside x."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["batch size", 3]), *inputs],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in initializers],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("my", 1)]
    return helper.make_model(
        graph, opset_imports=imports, ir_version=ir_version, functions=functions
    )


def linear(**options):
    return proto([helper.make_node("MatMul", ["x", "w"], ["y"])], [("w", WEIGHT)], **options)


def evaluated(model, **feeds):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


X = np.array([[1, 2, 3], [4, 5, 6]], np.float32)


@pytest.fixture(params=["path", "proto", "ir"])
def source(request, tmp_path):
    model = linear()
    if request.param == "proto":
        return model
    path = tmp_path / "linear.onnx"
    onnx.save(model, path)
    return path if request.param == "path" else ir.load(path)


def test_any_source_gives_the_model(source):
    model = read(source)
    assert [node.op_type for node in model.graph] == ["MatMul"]
    assert (model.graph.initializers["w"].const_value.numpy() == WEIGHT).all()
    assert (evaluated(to_proto(model), x=X) == X @ WEIGHT).all()


def test_a_proto_is_never_changed():
    constant = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(WEIGHT, "t"))
    for source in (linear(), proto([constant, helper.make_node("MatMul", ["x", "w"], ["y"])])):
        before = source.SerializeToString()
        model = read(source)
        model.graph.initializers["w"].const_value.name = "renamed"
        model.graph.initializers["w"].name = "other"
        to_proto(model)
        assert source.SerializeToString() == before


def test_an_ir_model_is_never_changed():
    source = ir.from_proto(linear())
    before = ir.to_proto(source).SerializeToString()
    model = read(source)
    model.graph.initializers["w"].const_value.name = "renamed"
    model.graph.node(0).op_type = "Gemm"
    assert ir.to_proto(source).SerializeToString() == before


def test_weights_are_not_copied_before_they_are_used():
    source = ir.from_proto(linear())
    array = WEIGHT.copy()
    source.graph.initializers["w"].const_value = ir.Tensor(array, name="w")
    assert np.shares_memory(read(source).graph.initializers["w"].const_value.numpy(), array)


@pytest.mark.parametrize(
    ("attribute", "value", "array"),
    [
        ("value", numpy_helper.from_array(WEIGHT, "t"), WEIGHT),
        ("value_float", 2.0, np.float32(2)),
        ("value_floats", [2.0, 3.0, 4.0], np.array([2, 3, 4], np.float32)),
    ],
)
def test_constants_become_initialisers(attribute, value, array):
    constant = helper.make_node("Constant", [], ["c"], **{attribute: value})
    use = helper.make_node("MatMul" if array.ndim == 2 else "Mul", ["x", "c"], ["y"])
    model = read(proto([constant, use]))
    assert [node.op_type for node in model.graph] == [use.op_type]
    found = model.graph.initializers["c"].const_value.numpy()
    assert found.dtype == np.float32
    assert (found == array).all()


@pytest.mark.parametrize(("key", "value"), [("value_int", 2), ("value_ints", [2])])
def test_integer_constants_become_int64(key, value):
    constant = helper.make_node("Constant", [], ["c"], **{key: value})
    cast = helper.make_node("Cast", ["c"], ["f"], to=FLOAT)
    model = read(proto([constant, cast, helper.make_node("Mul", ["x", "f"], ["y"])]))
    assert model.graph.initializers["c"].const_value.numpy().dtype == np.int64
    assert (evaluated(to_proto(model), x=X) == 2 * X).all()


def test_a_constant_output_stays():
    constant = helper.make_node("Constant", [], ["y"], value_float=2.0)
    model = read(proto([constant]))
    assert [node.op_type for node in model.graph] == ["Constant"]


def test_nodes_are_sorted():
    nodes = [
        helper.make_node("Relu", ["b"], ["y"]),
        helper.make_node("Neg", ["a"], ["b"]),
        helper.make_node("Abs", ["x"], ["a"]),
    ]
    assert [node.op_type for node in read(proto(nodes)).graph] == ["Abs", "Neg", "Relu"]


def twice(opset=17):
    body = [
        helper.make_node("Constant", [], ["two"], value_float=2.0),
        helper.make_node("Mul", ["p", "two"], ["q"]),
    ]
    return helper.make_function("my", "Twice", ["p"], ["q"], body, [helper.make_opsetid("", opset)])


CALLS = [
    helper.make_node("Twice", ["x"], ["z"], domain="my"),
    helper.make_node("Twice", ["z"], ["y"], domain="my"),
]


def test_functions_are_inlined_and_names_kept():
    model = read(proto(CALLS, functions=[twice()]))
    assert [node.op_type for node in model.graph] == ["Mul", "Mul"]
    assert [value.name for value in model.graph.outputs] == ["y"]
    assert not model.functions
    assert (evaluated(to_proto(model), x=X) == 4 * X).all()


def test_a_function_of_another_opset_is_left_alone():
    model = read(proto(CALLS, functions=[twice(opset=16)]))
    assert [node.op_type for node in model.graph] == ["Twice", "Twice"]
    assert (evaluated(to_proto(model), x=X) == 4 * X).all()


def test_foreign_operators_are_left_alone():
    model = read(proto([helper.make_node("Anything", ["x"], ["y"], domain="my", level=3)]))
    assert model.graph.node(0).domain == "my"


def branch(op):
    constant = helper.make_node("Constant", [], ["k"], value_float=3.0)
    nodes = [constant, helper.make_node(op, ["x", "k"], ["o"])]
    return helper.make_graph(nodes, "b", [], [helper.make_tensor_value_info("o", FLOAT, None)])


@pytest.mark.parametrize(("limit", "expected"), [(0, X * 3), (99, X + 3)])
def test_subgraphs_are_untouched(limit, expected):
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Constant", [], ["limit"], value_float=float(limit)),
        helper.make_node("Greater", ["most", "limit"], ["c"]),
        helper.make_node("If", ["c"], ["y"], then_branch=branch("Mul"), else_branch=branch("Add")),
    ]
    model = to_proto(read(proto(nodes)))
    inner = model.graph.node[-1].attribute[0].g
    assert [node.op_type for node in inner.node] in (["Constant", "Mul"], ["Constant", "Add"])
    assert (evaluated(model, x=X) == expected).all()


def test_before_ir_version_4_initialisers_are_constants():
    listed = [helper.make_tensor_value_info("w", FLOAT, WEIGHT.shape)]
    model = read(linear(inputs=listed, ir_version=3))
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert model.ir_version == 4
    assert (evaluated(to_proto(model), x=X) == X @ WEIGHT).all()


def test_from_ir_version_4_on_a_listed_initialiser_is_a_default():
    listed = [helper.make_tensor_value_info("w", FLOAT, WEIGHT.shape)]
    model = read(linear(inputs=listed))
    assert [value.name for value in model.graph.inputs] == ["x", "w"]
    assert (evaluated(to_proto(model), x=X, w=WEIGHT + 1) == X @ (WEIGHT + 1)).all()


@pytest.mark.parametrize("opset", [7, 10, 11, 13, onnx.defs.onnx_opset_version()])
def test_known_opsets_are_kept(opset):
    assert read(linear(opset=opset)).opset_imports[""] == opset


def test_an_opset_of_the_future_is_refused():
    future = onnx.defs.onnx_opset_version() + 1
    with pytest.raises(UnreadableModel, match=rf"opset {future}.*pip install -U onnx"):
        read(linear(opset=future))


def test_the_declared_dimension_names_survive():
    model = read(read(linear()))
    dims = to_proto(model).graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == ["batch size", 3]


@pytest.mark.parametrize(("field", "unknown"), [("dim_value", -1), ("dim_param", "?")])
def test_unknown_dimensions_are_free_each_of_its_own(field, unknown):
    """Paddle's exporter declares so; runtimes take such a model at any size."""
    source = proto([helper.make_node("Relu", ["x"], ["y"])])
    source.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, [1, 1]))
    ends = source.graph.input[0], source.graph.output[0]
    for dim in (dim for value in ends for dim in value.type.tensor_type.shape.dim):
        setattr(dim, field, unknown)
    model = read(source)
    infer(model)
    assert Sizes(model, {"x": (2, 3)}).shape(model.graph.outputs[0]) == (2, 3)
    written = to_proto(model)
    for value in (written.graph.input[0], written.graph.output[0]):
        assert not any(dim.WhichOneof("value") for dim in value.type.tensor_type.shape.dim)
    assert (evaluated(written, x=-X) == 0).all()


def test_the_weights_of_a_file_are_in_memory_once(tmp_path):
    value = np.arange(5, dtype=np.int64)
    fill = helper.make_node("ConstantOfShape", ["shape"], ["c"], value=onnx.TensorProto(
        data_type=FLOAT, dims=[1], float_data=[2.5]))  # fmt: skip
    path = tmp_path / "m.onnx"
    onnx.save(proto([helper.make_node("MatMul", ["x", "w"], ["y"]), fill],
                    [("w", WEIGHT), ("shape", value)]), path)  # fmt: skip
    found = read(path)
    weight = found.graph.initializers["w"].const_value
    assert np.shares_memory(weight.numpy(), weight.numpy())  # a message would copy each time
    again = read(found).graph.initializers["w"].const_value
    assert np.shares_memory(weight.numpy(), again.numpy())
    (number,) = (n.attributes["value"].value for n in found.graph if "value" in n.attributes)
    assert number.numpy().tolist() == [2.5]
    assert not isinstance(number, ir.serde.TensorProtoTensor)  # it would keep the whole message
