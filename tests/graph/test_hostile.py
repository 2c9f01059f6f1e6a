"""Bad input: one line, exit code 3, no crash, nothing allocated by what a file merely claims."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onebyone.errors import OnebyoneError, UnreadableModel
from onebyone.graph.count import count
from onebyone.graph.evaluate import CannotEvaluate, evaluate
from onebyone.graph.read import read
from onebyone.graph.shapes import Sizes, infer
from onebyone.graph.write import write

FLOAT = TensorProto.FLOAT
WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3, 1, 1)


def network():
    """A convolution behind a function and before a reshape by shape arithmetic, and an If."""
    body = [helper.make_node("Mul", ["p", "p"], ["q"])]
    square = helper.make_function("my", "Square", ["p"], ["q"], body, [helper.make_opsetid("", 17)])
    nodes = [
        helper.make_node("Square", ["x"], ["a"], domain="my"),
        helper.make_node("Conv", ["a", "w"], ["b"], pads=[1, 1, 1, 1]),
        helper.make_node("Constant", [], ["shape"], value_ints=[0, -1]),
        helper.make_node("Reshape", ["b", "shape"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["n", 3, 5, 7])],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8, functions=[square])


def refusal(source):
    with pytest.raises(UnreadableModel) as caught:
        read(source)
    text = str(caught.value)
    assert text.isprintable()  # which a line break is not
    assert len(text) < 1000
    assert caught.value.exit_code == 3
    return text


@pytest.mark.parametrize(
    "content",
    [b"", b"not a model, but text\n" * 9, b"\x00" * 64, b"\x7fELF" + bytes(60), b'{"a": 1}', b"\n"],
)
def test_files_of_something_else(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert str(path) in refusal(path)


def test_a_message_of_another_kind(tmp_path):
    path = tmp_path / "tensor.pb"
    path.write_bytes(numpy_helper.from_array(WEIGHT, "w").SerializeToString())
    refusal(path)
    path.write_bytes(network().graph.SerializeToString())
    refusal(path)


def test_paths_that_are_no_files(tmp_path):
    assert "No such file" in refusal(tmp_path / "missing.onnx")
    assert "not a file" in refusal(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "not a file" in refusal(tmp_path / "pipe")
    assert "not a file" in refusal("/dev/zero")
    assert "null" in refusal("a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(network(), path)
    path.chmod(0)
    assert "Permission denied" in refusal(path)


def test_a_file_beyond_two_gigabytes(tmp_path):
    path = tmp_path / "model.onnx"
    with open(path, "wb") as file:
        file.truncate(2**31)  # sparse
    assert "external data" in refusal(path)


def test_control_characters_are_shown_not_sent(tmp_path):
    assert r"\x1b[31m" in refusal(tmp_path / "a\x1b[31m\n.onnx")
    model = network()
    model.graph.node[0].input[0] = "evil\r\n\x1b]0;"
    assert r"\x1b" in refusal(model)


@pytest.mark.parametrize("source", [None, 7, b"bytes", [], network().graph])
def test_sources_of_the_wrong_type(source):
    assert "wanted a path, an onnx.ModelProto, an onnx_ir.Model" in refusal(source)


def test_an_empty_proto():
    refusal(onnx.ModelProto())


def changed(change):
    model = network()
    change(model)
    return model


def set_dims(model, *dims):
    model.graph.initializer[0].dims[:] = dims


def copy_tensor(model, **fields):
    model.graph.initializer[0].ClearField("raw_data")
    for name, value in fields.items():
        getattr(model.graph.initializer[0], name).extend(value)


BAD_MODELS = {
    "negative dims": (lambda m: set_dims(m, -4, -3), "impossible shape"),
    "2**62 elements": (lambda m: set_dims(m, 2**31, 2**31), "impossible shape"),
    "too few bytes": (lambda m: set_dims(m, 4, 3, 2, 2), "48 bytes.*192"),
    "too many bytes": (lambda m: set_dims(m, 4), "48 bytes.*16"),
    "no bytes": (copy_tensor, "holds 0"),
    "values of another type": (lambda m: copy_tensor(m, int64_data=[1] * 12), "another type"),
    "too few values": (lambda m: copy_tensor(m, float_data=[1.0]), "holds 1 .*12"),
    "no type": (
        lambda m: setattr(m.graph.initializer[0], "data_type", 0),
        "element type|UNDEFINED",
    ),
    "unknown type": (lambda m: setattr(m.graph.initializer[0], "data_type", 99), "99"),
    "string data": (lambda m: setattr(m.graph.initializer[0], "data_type", 8), "holds 0"),
    "negative input": (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", -3),
        "impossible shape.*free",
    ),
    "vast input": (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 2**62),
        "impossible shape",
    ),
    "undefined value": (lambda m: m.graph.node[1].input.__setitem__(0, "nobody"), "nobody"),
    "undefined output": (lambda m: setattr(m.graph.output[0], "name", "nobody"), "nobody"),
    "two makers": (lambda m: m.graph.node[1].output.__setitem__(0, "a"), "a"),
    "a cycle": (lambda m: m.graph.node[0].input.__setitem__(0, "b"), "cycle"),
    "a loop": (lambda m: m.graph.node[1].input.__setitem__(0, "b"), "cycle"),
    "unknown operator": (lambda m: setattr(m.graph.node[1], "op_type", "Konv"), "Konv"),
    "unknown attribute": (lambda m: setattr(m.graph.node[1].attribute[0], "name", "p"), "p"),
    "attribute type": (lambda m: setattr(m.graph.node[1].attribute[0], "type", 1), "pads"),
    "no opset": (lambda m: m.ClearField("opset_import"), "opset"),
    "opset 0": (lambda m: setattr(m.opset_import[0], "version", 0), "."),
    "opset -1": (lambda m: setattr(m.opset_import[0], "version", -1), "."),
    "opset 999": (lambda m: setattr(m.opset_import[0], "version", 999), "pip install"),
    "IR version": (lambda m: setattr(m, "ir_version", 999), "."),
    "no graph": (lambda m: m.ClearField("graph"), "no graph"),
    "self-call": (lambda m: m.functions[0].node[0].CopyFrom(m.graph.node[0]), "."),
    "sparse": (lambda m: m.graph.sparse_initializer.add(), "sparse"),
    "sequence input": (lambda m: m.graph.input[0].type.sequence_type.SetInParent(), "."),
}


@pytest.mark.parametrize("name", BAD_MODELS)
def test_bad_models(name):
    change, words = BAD_MODELS[name]
    with pytest.raises(UnreadableModel, match=words):
        read(changed(change))
    refusal(changed(change))


def test_functions_that_explode():
    model = network()
    for level in range(40):
        body = [helper.make_node(f"F{level}", ["p"], [f"q{i}"], domain="my") for i in range(2)]
        body.append(helper.make_node("Add", ["q0", "q1"], ["q"]))
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]
        function = helper.make_function("my", f"F{level + 1}", ["p"], ["q"], body, imports)
        model.functions.append(function)
    model.functions[0].name = "F0"
    model.graph.node[0].op_type = "F40"
    assert "inlined" in refusal(model)


# --- external data ---------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """`model/model.onnx` with its weights in `model/weights`, and `outside` beside the folder."""
    inside = tmp_path / "model"
    inside.mkdir()
    onnx.save(
        network(),
        inside / "model.onnx",
        save_as_external_data=True,
        location="weights",
        size_threshold=0,
    )
    (tmp_path / "outside").write_bytes((inside / "weights").read_bytes())
    return inside


def set_external(folder, **entries):
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    tensor = model.graph.initializer[0]
    kept = {e.key: e.value for e in tensor.external_data} | entries
    del tensor.external_data[:]
    for key, value in kept.items():
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def test_external_data_is_read(folder):
    tensor = read(folder / "model.onnx").graph.initializers["w"].const_value
    assert (tensor.numpy() == WEIGHT).all()


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("../outside", "outside the model's folder"),
        ("sub/../../outside", "outside the model's folder"),
        ("/dev/zero", "outside the model's folder"),
        ("/etc/passwd", "outside the model's folder"),
        ("missing", "No such file"),
        (".", ""),
        ("", ""),
        (None, ""),
        ("a\0b", ""),
    ],
)
def test_locations_that_are_refused(folder, location, words):
    set_external(folder, location=location)
    assert words in refusal(folder / "model.onnx")


@pytest.mark.parametrize(
    "entries",
    [
        {"offset": 10**9},
        {"offset": -8},
        {"offset": 2**70},
        {"offset": "x"},
        {"length": 12},
        {"length": 2**62},
        {"length": -1},
    ],
)
def test_bytes_that_are_not_there(folder, entries):
    set_external(folder, **entries)
    refusal(folder / "model.onnx")


def test_data_cut_short(folder):
    os.truncate(folder / "weights", 20)
    assert "cut short" in refusal(folder / "model.onnx")


def test_links_out_of_the_folder(folder, tmp_path):
    (folder / "weights").unlink()
    (folder / "weights").symlink_to(tmp_path / "outside")
    assert "outside the model's folder" in refusal(folder / "model.onnx")
    (folder / "weights").unlink()
    os.link(tmp_path / "outside", folder / "weights")
    assert "hard links" in refusal(folder / "model.onnx")


def test_links_inside_the_folder_are_fine(folder):
    (folder / "weights").rename(folder / "real")
    (folder / "weights").symlink_to("real")
    tensor = read(folder / "model.onnx").graph.initializers["w"].const_value
    assert (tensor.numpy() == WEIGHT).all()


def test_a_data_file_that_is_none(folder):
    (folder / "weights").unlink()
    os.mkfifo(folder / "weights")
    refusal(folder / "model.onnx")


def test_a_proto_with_external_data_has_no_folder(folder):
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    assert "read the model from its path" in refusal(model)


# --- damage at random, and vast claims -------------------------------------------------------


def damaged(data, draw):
    """`data` cut short, with bits flipped, or with a piece moved."""
    data = bytearray(data)
    kind = draw.randrange(4)
    if kind == 0:
        return bytes(data[: draw.randrange(len(data))])
    if kind == 1:
        start, length = draw.randrange(len(data)), draw.randrange(40)
        source = draw.randrange(len(data))
        data[start : start + length] = data[source : source + draw.randrange(40)]
        return bytes(data)
    for _ in range(draw.choice([1, 1, 2, 5, 30])):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(data)


def test_damage_is_refused_or_harmless(tmp_path, capfd):
    draw, data, path = random.Random(1), network().SerializeToString(), tmp_path / "model.onnx"
    lines = []
    for _ in range(500):
        path.write_bytes(damaged(data, draw))
        try:
            model = read(path)
            infer(model)
            Sizes(model)
            write(model, tmp_path / "out.onnx")
            read(tmp_path / "out.onnx")
        except OnebyoneError as error:
            lines.append(str(error))
    assert 300 < len(lines) < 500
    assert all(line.isprintable() for line in lines)
    assert capfd.readouterr() == ("", "")


def vast(nodes, **initializers):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", FLOAT, ["n", 3, "h", 7])],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [numpy_helper.from_array(np.array(array), name) for name, array in initializers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def doubled(operator, first, **attributes):
    """`operator(v, v)` sixty times over, and a tensor of the shape that comes out."""
    names = [first, *(f"v{i}" for i in range(60))]
    nodes = [helper.make_node(operator, [a, a], [b], **attributes) for a, b in pairwise(names)]
    return [*nodes, helper.make_node("ConstantOfShape", [names[-1]], ["y"])]


SHAPE = helper.make_node("Shape", ["x"], ["s"])
VAST = {
    "product": vast(doubled("Mul", "c"), c=[3]),
    "product of sizes": vast([SHAPE, *doubled("Mul", "s")]),
    "sum of sizes": vast([SHAPE, *doubled("Add", "s")]),
    "list": vast(doubled("Concat", "c", axis=0), c=[3]),
    "list of sizes": vast([SHAPE, *doubled("Concat", "s", axis=0)]),
    "concat": vast(
        [*doubled("Concat", "x", axis=2)[:-1], helper.make_node("Relu", ["v59"], ["y"])]
    ),
    "range": vast(
        [
            helper.make_node("Range", ["a", "b", "c"], ["r"]),
            helper.make_node("Reshape", ["x", "r"], ["y"]),
        ],
        a=0,
        b=2**60,
        c=1,
    ),
    "tile": vast([helper.make_node("Tile", ["x", "c"], ["y"])], c=[2**61] * 4),
    "expand": vast([helper.make_node("Expand", ["x", "c"], ["y"])], c=[2**62] * 5),
    "fill": vast([helper.make_node("ConstantOfShape", ["c"], ["y"])], c=[2**62] * 5),
    "pad": vast([helper.make_node("Pad", ["x", "c"], ["y"])], c=[2**62] * 8),
}


CODE = """
import sys
from onebyone.graph.count import count
from onebyone.graph.read import read
from onebyone.graph.shapes import Sizes, infer
from onebyone.graph.write import write
for path in sys.argv[1:]:
    print(path, flush=True)
    model = read(path)
    infer(model)
    Sizes(model).shape(model.graph.outputs[0])
    write(model, path + '.out')
"""


def test_vast_claims_cost_nothing(tmp_path):
    """In a process of its own, which may take 2 GB and a minute, and must not die."""
    resource = pytest.importorskip("resource")
    paths = [str(tmp_path / f"{name}.onnx") for name in VAST]
    for path, model in zip(paths, VAST.values(), strict=True):
        onnx.save(model, path)
    done = subprocess.run(
        [sys.executable, "-c", CODE, *paths],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (2**31, 2**31)),
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout.splitlines(), done.stderr) == (paths, "")


@pytest.mark.parametrize(
    ("operator", "rank"),
    [(name, rank) for name, least in {"Attention": 3, "Gemm": 2, "LSTM": 2, "MatMul": 1}.items()
     for rank in range(least)],
)  # fmt: skip
def test_ranks_that_an_operator_cannot_have_are_not_counted(operator: str, rank: int) -> None:
    names = [f"x{k}" for k in range(3)]
    inputs = [helper.make_tensor_value_info(n, FLOAT, [3, 5][:rank]) for n in names]
    node = helper.make_node(operator, names[: 2 if operator == "MatMul" else 3], ["y"])
    output = helper.make_tensor_value_info("y", FLOAT, [3, 5][:rank])
    graph = helper.make_graph([node], "g", inputs, [output])
    opsets = [helper.make_opsetid("", 23)]
    counted = count(helper.make_model(graph, opset_imports=opsets, ir_version=10))
    assert ([row.op for row in counted.uncounted], counted.macs) == ([operator], 0)


def test_a_text_that_is_no_text() -> None:
    """Standard operators have words there; an engine may keep bytes in operators of its own."""
    proto = network()
    proto.graph.node[1].attribute.add(name="auto_pad", type=onnx.AttributeProto.STRING, s=b"\xff")
    assert "attribute auto_pad of a Conv is no UTF-8 text" in refusal(proto)
    proto.graph.node[1].domain = "com.example"
    proto.opset_import.add(domain="com.example", version=1)
    read(proto)


def test_as_many_repeats_as_axes() -> None:
    """NumPy would add axes where a file gives more, and shape inference would not."""
    given = {"x": np.zeros((2, 3)), "n": np.int64([1, 1, 4])}
    node = helper.make_node("Tile", ["x", "n"], ["y"])
    inputs = [helper.make_tensor_value_info("x", FLOAT, [2, 3])]
    inputs.append(helper.make_tensor_value_info("n", TensorProto.INT64, [3]))
    output = helper.make_tensor_value_info("y", FLOAT, None)
    graph = helper.make_graph([node], "g", inputs, [output])
    opsets = [helper.make_opsetid("", 17)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    with pytest.raises(CannotEvaluate, match="3 repeats for 2 axes"):
        evaluate(read(proto), given)
