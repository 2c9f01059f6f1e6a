"""What is written is the model, whole, or nothing at all."""

from __future__ import annotations

import errno
import os
import stat

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from onebyone.errors import UsageError
from onebyone.graph import write as module
from onebyone.graph.read import read
from onebyone.graph.write import to_proto, write

X = np.arange(6, dtype=np.float32).reshape(2, 3)
WEIGHT = np.arange(3 * 700, dtype=np.float32).reshape(3, 700)
BIAS = np.arange(700, dtype=np.float32)


def affine(scale=1.0):
    """y = x W + b; W is large enough to be written apart from the message, c is not."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["a"]),
        helper.make_node("Mul", ["a", "c"], ["y"]),
    ]
    arrays = {"w": WEIGHT, "b": BIAS, "c": np.array(scale, np.float32)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 700])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(path):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options, ["CPUExecutionProvider"]).run(None, {"x": X})[0]


EXPECTED = X @ WEIGHT + BIAS


@pytest.mark.parametrize("largest", [10**9, 1000])
def test_what_is_written_is_the_model(tmp_path, largest):
    path = tmp_path / "model.onnx"
    write(read(affine()), path, largest=largest)
    onnx.checker.check_model(path)
    assert (run(path) == EXPECTED).all()
    beside = {"model.onnx.data"} if largest == 1000 else set()
    assert set(os.listdir(tmp_path)) == {"model.onnx", *beside}


def test_the_parts_of_a_message_are_the_message(tmp_path):
    model = read(affine())
    model.graph.initializers["w"].const_value.doc_string = "the weight"
    model.metadata_props["key"] = "value"
    write(model, tmp_path / "model.onnx")
    written, whole = onnx.load(tmp_path / "model.onnx"), to_proto(model)
    for each in (written, whole):
        each.graph.initializer.sort(key=lambda tensor: tensor.name)
        del each.graph.value_info[:]
    assert written == whole


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float64, np.int8, np.bool_])
@pytest.mark.parametrize("largest", [10**9, 100])
def test_element_types_survive(tmp_path, dtype, largest):
    array = (np.arange(3 * 1031) % 2).reshape(3, 1031).astype(dtype)
    model = read(affine())
    value = ir.Value(name="t", const_value=ir.tensor(array, name="t"))
    model.graph.register_initializer(value)
    write(model, tmp_path / "model.onnx", largest=largest)
    found = read(tmp_path / "model.onnx").graph.initializers["t"].const_value.numpy()
    assert found.dtype == array.dtype
    assert (found == array).all()


def test_int4_survives(tmp_path):
    model = read(affine())
    array = (np.arange(3 * 1031) % 8).reshape(3, 1031).astype(ml_dtypes.int4)
    tensor = ir.Tensor(array, dtype=ir.DataType.INT4, name="t")
    model.graph.register_initializer(ir.Value(name="t", const_value=tensor))
    write(model, tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    tensor = next(each for each in proto.graph.initializer if each.name == "t")
    assert (numpy_helper.to_array(tensor).astype(int) == array.astype(int)).all()


def test_external_data_stays_external_and_moves_along(tmp_path):
    onnx.save(
        affine(), tmp_path / "source.onnx", save_as_external_data=True, location="weights.bin"
    )
    (tmp_path / "other").mkdir()
    write(read(tmp_path / "source.onnx"), tmp_path / "other" / "copy.onnx")
    assert sorted(os.listdir(tmp_path / "other")) == ["copy.onnx", "copy.onnx.data"]
    assert (run(tmp_path / "other" / "copy.onnx") == EXPECTED).all()


def test_the_source_itself_can_be_the_target(tmp_path):
    path = tmp_path / "model.onnx"
    write(read(affine()), path, largest=1000)
    model = read(path)
    weight = model.graph.initializers.pop("w")  # behind the others: at another offset
    model.graph.register_initializer(weight)
    write(model, path)
    write(model, path)
    assert (run(path) == EXPECTED).all()
    assert (weight.const_value.numpy() == WEIGHT).all()


@pytest.fixture
def source(tmp_path):
    """A model with its weights in `s.data`, of which `optimize` could keep none."""
    onnx.save(
        affine(),
        tmp_path / "s.onnx",
        save_as_external_data=True,
        location="s.data",
        size_threshold=0,
    )
    return tmp_path / "s.onnx"


def in_memory(path):
    """The model at `path` after every weight was replaced by one in memory."""
    model = read(path)
    for value in model.graph.initializers.values():
        value.const_value = ir.tensor(value.const_value.numpy().copy(), name=value.name)
    return model


def same(path):
    return path


def linked(path):
    (path.parent / "link").symlink_to(path.name)
    return path.parent / "link"


def hard_linked(path):
    os.link(path, path.parent / "link")
    return path.parent / "link"


@pytest.mark.parametrize("named", [same, linked, hard_linked])
@pytest.mark.parametrize("loaded", [read, in_memory])
@pytest.mark.parametrize("largest", [10**9, 1000])
def test_the_data_of_the_source_is_spared(source, named, loaded, largest):
    model, data = loaded(source), source.parent / "s.data"
    had, target = data.read_bytes(), named(data)
    with pytest.raises(UsageError, match="is the data of the model that was read"):
        write(model, target, largest=largest)
    assert data.read_bytes() == had
    assert set(os.listdir(source.parent)) == {"s.onnx", "s.data", target.name}


@pytest.mark.parametrize("loaded", [read, in_memory])
def test_data_beside_the_target_may_be_those_of_the_source(tmp_path, loaded):
    onnx.save(affine(), tmp_path / "s.onnx", save_as_external_data=True, location="t.onnx.data",
              size_threshold=0)  # fmt: skip
    model = loaded(tmp_path / "s.onnx")
    for before in (False, True):  # whether there is another model of the name
        if before:
            (tmp_path / "t.onnx").write_bytes(b"another")
        with pytest.raises(UsageError, match=r"t\.onnx\.data is the data of the model"):
            write(model, tmp_path / "t.onnx", largest=1000)
    (tmp_path / "t.onnx").unlink()
    os.link(tmp_path / "s.onnx", tmp_path / "t.onnx")  # whose other name still needs the data
    with pytest.raises(UsageError, match=r"t\.onnx\.data is the data of the model"):
        write(model, tmp_path / "t.onnx", largest=1000)
    assert (run(tmp_path / "s.onnx") == EXPECTED).all()


def test_weights_never_take_the_place_of_the_source(tmp_path):
    onnx.save(affine(), tmp_path / "t.data")
    with pytest.raises(UsageError, match="its weights would go to the model that was read"):
        write(read(tmp_path / "t.data"), tmp_path / "t", largest=1000)
    assert os.listdir(tmp_path) == ["t.data"]
    assert (run(tmp_path / "t.data") == EXPECTED).all()


def test_external_data_inside_a_node_are_spared(tmp_path, source):
    proto = onnx.load(source, load_external_data=False)
    tensors = [each for each in proto.graph.initializer if each.name == "w"]
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=tensors[0]))
    proto.graph.initializer.remove(tensors[0])
    source.write_bytes(proto.SerializeToString())
    had = (tmp_path / "s.data").read_bytes()
    with pytest.raises(UsageError, match="is the data of the model that was read"):
        write(in_memory(source), tmp_path / "s.data")
    assert (tmp_path / "s.data").read_bytes() == had


def fail_at(monkeypatch, name, count, error):
    """The `count`-th call of `os.<name>` raises `error`."""
    real, calls = getattr(os, name), []

    def failing(*args, **kwargs):
        calls.append(args)
        if len(calls) == count:
            raise error
        return real(*args, **kwargs)

    monkeypatch.setattr(module.os, name, failing)


FULL = OSError(errno.ENOSPC, "No space left on device")
FAILURES = [
    ("fsync", 1, FULL),
    ("fsync", 2, FULL),
    ("replace", 1, KeyboardInterrupt()),
    ("replace", 2, KeyboardInterrupt()),
    ("replace", 2, FULL),
]


@pytest.mark.parametrize(("name", "count", "error"), FAILURES)
@pytest.mark.parametrize("before", [False, True])
def test_a_failure_leaves_everything_as_it_was(tmp_path, monkeypatch, before, name, count, error):
    path = tmp_path / "model.onnx"
    if before:
        write(read(affine()), path, largest=1000)
    had = {each: (tmp_path / each).read_bytes() for each in os.listdir(tmp_path)}
    fail_at(monkeypatch, name, count, error)
    with pytest.raises((KeyboardInterrupt, UsageError)):
        write(read(affine(scale=2.0)), path, largest=1000)
    assert {each: (tmp_path / each).read_bytes() for each in os.listdir(tmp_path)} == had
    if before:
        assert (run(path) == EXPECTED).all()


def test_a_failure_in_the_middle_of_the_weights(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"precious")
    monkeypatch.setattr(module, "_payload", lambda value: (_ for _ in ()).throw(KeyboardInterrupt))
    for largest in (1000, 10**9):
        with pytest.raises(KeyboardInterrupt):
            write(read(affine()), path, largest=largest)
        assert os.listdir(tmp_path) == ["model.onnx"]
        assert path.read_bytes() == b"precious"


@pytest.mark.parametrize("path", ["no/such/folder/model.onnx", "a_folder", "x" * 300 + ".onnx"])
def test_a_path_that_cannot_be_written(tmp_path, path):
    (tmp_path / "a_folder").mkdir()
    with pytest.raises(UsageError, match=r"cannot write .*; choose"):
        write(read(affine()), tmp_path / path)
    assert os.listdir(tmp_path) == ["a_folder"]


def test_mode_and_link_of_an_existing_target_are_kept(tmp_path):
    target, link = tmp_path / "target.onnx", tmp_path / "link.onnx"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(target)
    write(read(affine()), link)
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert (run(target) == EXPECTED).all()


def test_the_model_is_not_changed_by_writing(tmp_path):
    model = read(affine())
    before = to_proto(model)
    write(model, tmp_path / "model.onnx", largest=1000)
    assert to_proto(model) == before
