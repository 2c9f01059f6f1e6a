"""Files that are no ONNX models, made by those who make them: each gets the line that helps."""

from __future__ import annotations

import gzip
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from onebyone.errors import UnreadableModel
from onebyone.graph.formats import foreign
from onebyone.graph.read import read


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()).eval()


def small() -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def legacy(path: Path) -> None:
    torch.save(network().state_dict(), path, _use_new_zipfile_serialization=False)


def scripted(path: Path) -> None:
    torch.jit.trace(network(), (torch.zeros(1, 3),)).save(str(path))


def exported(path: Path) -> None:
    torch.export.save(torch.export.export(network(), (torch.zeros(1, 3),)), path)


def safetensors(path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"w": np.ones(3, np.float32)}, path)


def zipped(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"anything")


BYTES = {
    "TensorFlow Lite": b"\x1c\0\0\0TFL3" + bytes(64),
    "own format (.ort)": b"\x08\0\0\0ORTM" + bytes(64),
    "a Keras model": b"\x89HDF\r\n\x1a\n" + bytes(64),
    "Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "a web page": b"\n<!DOCTYPE html>\n<html><body>404</body></html>",
    "an OpenVINO model": b'<?xml version="1.0"?>\n<net name="g" version="11">\n</net>',
    "gzip": gzip.compress(small().SerializeToString()),
    "ONNX as text": b'<ir_version: 8, opset_import: ["": 17]>\ng (float[2] x) => (y) {}',
    "a Python pickle": pickle.dumps({"weights": [1.0, 2.0]}),
    "a TensorFlow graph": b"\n\x1d\n\x05input\x12\x0bPlaceholder*\x07\n\x01T\x12\x020\x01",
    "JSON": b'{"model_type": "bert"}',
    "GGUF": b"GGUF\3\0\0\0" + bytes(64),
    "zip archive that is cut short": b"PK\3\4" + bytes(64),
}
MADE: list[tuple[str, str, Callable[[Path], object]]] = [
    ("PyTorch checkpoint", "torch.onnx.export", lambda p: torch.save(network().state_dict(), p)),
    ("PyTorch checkpoint", "torch.onnx.export", lambda p: torch.save(network(), p)),
    ("PyTorch checkpoint", "torch.onnx.export", legacy),
    ("TorchScript", "torch.jit.load", scripted),
    ("torch.export (.pt2)", "torch.export.load", exported),
    ("safetensors", "torch.onnx.export", safetensors),
    ("an .onnx file in it", "unpack it", lambda p: zipped(p, "a/model.onnx")),
    ("a zip archive", "unpack it", lambda p: zipped(p, "readme.txt")),
    ("a Keras model", "format='onnx'", lambda p: zipped(p, "config.json", "model.weights.h5")),
    ("arrays of NumPy", "--data", lambda p: p.write_bytes(arrays())),
]


def arrays() -> bytes:
    file = io.BytesIO()
    np.savez(file, x=np.ones(3))
    return file.getvalue()


def message(path: Path) -> str:
    with pytest.raises(UnreadableModel) as refused:
        read(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("said", BYTES)
def test_known_by_the_first_bytes_whatever_the_name(said: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(BYTES[said])
    assert said in message(path)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize(("said", "help_", "make"), MADE)
def test_made_by_those_who_make_them(
    said: str, help_: str, make: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    make(path)
    told = message(path)
    assert said in told
    assert help_ in told


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("saved_model.pb", "variables"), "a SavedModel of TensorFlow"),
        (("config.json", "model.safetensors"), "optimum-cli"),
        (("b.onnx", "a.onnx"), "name a file in it, like a.onnx"),
        ((), "not a file"),
    ],
)
def test_folders(names: tuple[str, ...], said: str, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert said in message(tmp_path)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "trap.pt").write_bytes(pickle.dumps(_Trap()))
    assert "if you trust it" in message(tmp_path / "trap.pt")
    assert not _Trap.sprung


class _Trap:
    sprung = False

    def __reduce__(self) -> tuple[object, ...]:
        return _spring, ()


def _spring() -> None:
    _Trap.sprung = True


def test_an_onnx_model_is_nothing_foreign(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    onnx.save(small(), path)
    assert foreign(str(path)) is None
    assert read(path).graph.name == "g"


def test_a_pipe_or_nothing_at_all(tmp_path: Path) -> None:
    assert foreign(str(tmp_path / "nosuch")) is None
    assert "No such file" in message(tmp_path / "nosuch")
