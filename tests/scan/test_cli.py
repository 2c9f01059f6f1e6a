"""The command: one line for what is wrong, its exit code, and JSON whose keys are documented."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper

from onebyone.cli import run
from onebyone.scan.targets import Target
from tests.scan.networks import C_IN, network, pixels, saved, whole

DOCUMENTED = Path(__file__).parents[2] / "docs" / "json.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a model and an image."""
    saved(network(), tmp_path)
    np.save(tmp_path / "image.npy", pixels(C_IN, 61, 47))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scanned(*options: str) -> int:
    return run(["scan", "model.onnx", "image.npy", "-o", "maps.zarr", *options])


def test_it_writes_maps_and_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scanned("--scale", "1", "--tile", "8") == 0
    out = capsys.readouterr().out
    assert "61×47, 3 channels: 2,867 pixels" in out
    assert "written    " in out
    maps = Target(str(folder / "maps.zarr")).array()[:]
    assert (maps == whole(network(), np.load("image.npy"))).all()


def test_a_dry_run_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(folder.iterdir())
    assert run(["scan", "model.onnx", "image.npy", "--scale", "1", "--dry-run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sorted(folder.iterdir()) == before
    assert (told["schema"], told["pixels"], told["positions"]) == (1, [61, 47], [15, 21])
    # Pools that do not overlap share nothing: each position is 2×2 of the 3×5s, and a 1×1.
    assert told["crop_macs"] == told["macs"] == 15 * 21 * (4 * 5 * C_IN * 15 + 4 * 5)


@pytest.mark.parametrize("options", [["--dry-run"], []])
def test_every_key_is_documented(
    options: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert scanned("--scale", "1", "--json", *options) == 0
    section = (
        DOCUMENTED.read_text(encoding="utf-8").split("## `onebyone scan`")[1].split("\n## ")[0]
    )
    for key in json.loads(capsys.readouterr().out):
        assert f"`{key}`" in section, key


def test_peaks_go_into_a_file(folder: Path) -> None:
    assert scanned("--scale", "1", "--top", "3", "--geojson", "peaks.geojson") == 0
    points = json.loads((folder / "peaks.geojson").read_text())["features"]
    maps = whole(network(), np.load("image.npy"))
    assert len(points) == 3
    assert points[0]["properties"]["score"] == maps.max()


@pytest.mark.parametrize(
    ("options", "code", "why"),
    [
        ([], 2, "say --scale 255"),
        (["--scale", "1", "--mean", "a"], 2, "wanted numbers"),
        (["--scale", "1", "--mean", "nan"], 2, "wanted numbers"),
        (["--scale", "1", "--classes", "²"], 2, "wanted 0 to 3"),
        (["--scale", "1", "-o", ""], 2, "no output given"),
        (["--scale", "1", "--top", "3"], 2, "both --top K and --geojson"),
        (["--scale", "1", "--level", "2"], 2, "one level"),
        (["--scale", "1", "--mask", "no.png"], 3, "no such file"),
        (["--scale", "1", "-o", "no/maps.zarr"], 2, "there is no folder"),
        (["--scale", "1", "-o", "image.npy"], 2, "no result of a scan"),
        (["--scale", "1", "--scheduler", "tcp://127.0.0.1:1"], 2, "nothing answers"),
    ],
)
def test_what_is_wrong_is_one_line(
    options: list[str], code: int, why: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.iterdir())
    assert scanned(*options) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert why in err
    assert sorted(folder.iterdir()) == before


def test_peaks_are_written_over_nothing_that_is_read_or_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = np.ones((61, 47), np.uint8)
    np.save("mask.npy", mask)
    for file in ("mask.npy", "image.npy", "model.onnx", "maps.zarr", "./maps.zarr"):
        assert scanned("--scale", "1", "--mask", "mask.npy", "--top", "3", "--geojson", file) == 2
        assert f"{Path(file)} is a file of this command" in capsys.readouterr().err
    assert not (folder / "maps.zarr").exists()
    assert (np.load("mask.npy") == mask).all()


def test_a_dry_run_without_a_name_does_not_mind_what_is_there(folder: Path) -> None:
    assert scanned("--scale", "1") == 0
    assert run(["scan", "model.onnx", "image.npy", "--scale", "2", "--dry-run"]) == 0
    assert scanned("--scale", "2", "--dry-run") == 2


def test_what_a_signal_cannot_be_written_as_is_told_first(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(
        onnx.parser.parse_model(
            """<ir_version: 8, opset_import: ["": 17]> g (float[1, 3, L] x) => (float[1, 3, M] y)
            { y = MaxPool<kernel_shape = [2], strides = [2]>(x) }"""
        ),
        "model.onnx",
    )
    np.save("image.npy", pixels(C_IN, 61))
    for options, why in (
        (["-o", "maps.tif"], "a TIFF holds maps of two axes, got 1"),
        (["--top", "3", "--geojson", "peaks.geojson"], "a signal has one"),
    ):
        assert scanned("--scale", "1", *options) == 2
        assert why in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["image.npy", "model.onnx"]


def whole_image_network() -> onnx.ModelProto:
    """A squeeze-and-excitation: x · sigmoid(mean of x)."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["m"], "squeeze"),
        helper.make_node("Sigmoid", ["m"], ["s"]),
        helper.make_node("Mul", ["x", "s"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, C_IN, "H", "W"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, C_IN, "H", "W"])
    graph = helper.make_graph(nodes, "g", [x], [y])
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def test_what_looks_at_the_whole_image_is_named_and_measured_if_accepted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(whole_image_network(), folder)
    assert scanned("--scale", "1", "--tile", "16") == 2
    assert "squeeze" in capsys.readouterr().err
    assert scanned("--scale", "1", "--tile", "16", "--accept-approx", "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)["agreements"]
    assert (told["beside"], told["samples"]) == ("tiles", 64)
    assert 0 < told["difference"] < 1
    assert Target(str(folder / "maps.zarr")).said["agreements"] == [told]


def test_an_output_may_be_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scanned("--scale", "1", "--result", "z") == 2
    assert "got no output z, wanted one of y" in capsys.readouterr().err
    assert scanned("--scale", "1", "--result", "y") == 0
    assert Target(str(folder / "maps.zarr")).array().shape[0] == 4
