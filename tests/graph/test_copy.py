"""A model copied as it is: its bytes, its data, and nothing that was there before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onebyone.errors import UsageError
from onebyone.graph.copy import copy
from onebyone.graph.read import read
from tests.graphs.text import model

BIG = np.arange(4096, dtype=np.float32).reshape(64, 64)


def saved(folder: Path, external: bool) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "model.onnx"
    proto = model("y = MatMul(x, w)", "float[n,64] x", constants={"w": BIG})
    onnx.save(proto, path, save_as_external_data=external, location="weights.bin", size_threshold=0)
    return path


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("external", [False, True])
def test_beside_the_source_the_data_are_shared(external: bool, tmp_path: Path) -> None:
    source = saved(tmp_path, external)
    before = held(tmp_path)
    assert copy(source, tmp_path / "out.onnx", read(source))
    assert held(tmp_path) == {**before, "out.onnx": before["model.onnx"]}


def test_to_another_folder_the_data_go_with_it(tmp_path: Path) -> None:
    source = saved(tmp_path / "a", external=True)
    (tmp_path / "b").mkdir()
    assert copy(source, tmp_path / "b" / "out.onnx", read(source))
    before = held(tmp_path / "a")
    assert held(tmp_path / "b") == {
        "out.onnx": before["model.onnx"],
        "weights.bin": before["weights.bin"],
    }
    assert read(tmp_path / "b" / "out.onnx").graph.initializers["w"].const_value is not None


def test_data_of_another_model_are_not_written_over(tmp_path: Path) -> None:
    source = saved(tmp_path / "a", external=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "weights.bin").write_bytes(b"precious")
    assert not copy(source, tmp_path / "b" / "out.onnx", read(source))
    assert held(tmp_path / "b") == {"weights.bin": b"precious"}


def test_nor_are_its_own(tmp_path: Path) -> None:
    source = saved(tmp_path, external=True)
    before = held(tmp_path)
    assert not copy(source, tmp_path / "weights.bin", read(source))
    assert held(tmp_path) == before


def test_onto_itself_nothing_happens(tmp_path: Path) -> None:
    source = saved(tmp_path, external=False)
    link = tmp_path / "link.onnx"
    link.symlink_to(source)
    before = source.stat().st_mtime_ns
    assert copy(source, link, read(source))
    assert (source.stat().st_mtime_ns, link.is_symlink()) == (before, True)


def test_what_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = saved(tmp_path / "a", external=True)
    (tmp_path / "b").mkdir()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UsageError, match="No space left on device; choose another path"):
        copy(source, tmp_path / "b" / "out.onnx", read(source))
    assert held(tmp_path / "b") == {}


def inner(folder: Path) -> Path:
    """A model of which only a branch has external data: they are in memory once it is read."""
    folder.mkdir(exist_ok=True)
    branches = "".join(
        f"{side}_branch = {side} () => (float[64,64] {side}_w) {{ {side}_w = Neg({side}_k) }}, "
        for side in ("then", "else")
    )
    proto = model(f"y = If (go) <{branches[:-2]}>", "bool go", "float[64,64] y",
                  {"then_k": BIG, "else_k": BIG})  # fmt: skip
    for attribute in proto.graph.node[0].attribute:
        kept = [t for t in proto.graph.initializer if t.name.startswith(attribute.name[:4])]
        attribute.g.initializer.extend(kept)
    del proto.graph.initializer[:]
    path = folder / "model.onnx"
    onnx.save(proto, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


def test_data_of_a_branch_go_too_and_are_spared(tmp_path: Path) -> None:
    source = inner(tmp_path / "a")
    (tmp_path / "b").mkdir()
    before = held(tmp_path / "a")
    assert set(before) == {"model.onnx", "weights.bin"}
    assert copy(source, tmp_path / "b" / "out.onnx", read(source))
    assert set(held(tmp_path / "b")) == {"out.onnx", "weights.bin"}
    read(tmp_path / "b" / "out.onnx")
    assert not copy(source, tmp_path / "a" / "weights.bin", read(source))
    assert held(tmp_path / "a") == before


def test_the_data_lie_beside_the_link_by_which_a_model_is_read(tmp_path: Path) -> None:
    source = saved(tmp_path / "a", external=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    source.rename(tmp_path / "b" / "model.onnx")
    source.symlink_to(tmp_path / "b" / "model.onnx")
    assert copy(source, tmp_path / "c" / "out.onnx", read(source))
    assert set(held(tmp_path / "c")) == {"out.onnx", "weights.bin"}
    assert copy(source, tmp_path / "b" / "out.onnx", read(source))
    assert set(held(tmp_path / "b")) == {"model.onnx", "out.onnx", "weights.bin"}
