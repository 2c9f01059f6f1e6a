"""The bundled demo: what ships, its picture, its clock, and one whole run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from onebyone.bundled import MODEL, HeldOut, accuracy, held_out
from onebyone.demo import __main__ as demo
from onebyone.demo.__main__ import main
from onebyone.graph.count import count


def test_what_ships_is_small() -> None:
    assert sum(path.stat().st_size for path in MODEL.parent.glob("*.*")) < 2_000_000


def test_each_digit_lies_in_its_box_and_boxes_do_not_overlap() -> None:
    truth = held_out()
    for canvas, boxes in zip(truth.canvases, truth.boxes, strict=True):
        covered = np.zeros(canvas.shape, int)
        for top, left, bottom, right in boxes:
            covered[top:bottom, left:right] += 1
            assert canvas[top:bottom, left:right].any()
        assert covered.max() == 1
        assert covered.sum() == 5 * 28 * 28
        assert not canvas[covered == 0].any()


def test_network_holds_what_the_laws_are_about() -> None:
    """Nothing was folded on export, and most of the work is in the pointwise decoder."""
    model = onnx.load(MODEL)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("BatchNormalization") == 15
    assert kinds.count("MatMul") == kinds.count("Resize") == 4
    assert kinds.count("AveragePool") == 1
    groups = [
        attribute.i
        for node in model.graph.node
        if node.op_type == "Conv"
        for attribute in node.attribute
        if attribute.name == "group"
    ]
    assert sorted(group for group in groups if group > 1) == [4, 4, 40]
    assert count(MODEL, {"canvas": (1, 1, 96, 112)}).pointwise_share > 0.75


def _truth() -> HeldOut:
    boxes = np.array([[[0, 0, 2, 4], [2, 4, 6, 6]], [[0, 2, 4, 4], [4, 0, 6, 6]]], np.int16)
    return HeldOut(np.zeros((2, 6, 8), np.uint8), boxes, np.array([[1, 0], [0, 2]], np.uint8))


def test_accuracy_is_the_share_of_boxes_whose_largest_mean_is_their_class() -> None:
    maps = np.zeros((2, 3, 3, 4), np.float32)
    maps[0, 1, 0, :2] = 1  # right
    maps[0, 2, 0, 2:] = 9  # larger, but outside of the box
    maps[0, 0, 1:, 2] = 1  # right
    maps[1, 0, :2, 1] = 1  # right
    maps[1, 1, 2, 0] = 4  # wrong: the largest single pixel and the largest mean is of class 1
    maps[1, 2, 2, :3] = 1
    assert accuracy(maps, _truth()) == 3 / 4
    maps[1, 1, 2, 0] = 2  # still the largest pixel, but no longer the largest mean
    assert accuracy(maps, _truth()) == 1


def test_shipped_network_reads_held_out_digits_at_any_size() -> None:
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    truth = held_out()
    maps = np.concatenate(
        [session.run(None, {"canvas": x})[0] for x in np.split(truth.inputs(), 10)]
    )
    assert maps.shape == (100, 10, 48, 56)
    assert 0 <= maps.min() < maps.max() <= 1
    assert accuracy(maps, truth) >= 0.95
    odd = session.run(None, {"canvas": truth.inputs()[:2, :, :33, :51]})[0]
    assert odd.shape == (2, 10, 17, 26)


def test_demo_runs_and_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a fifth of the canvases, and timed for a moment: all of it by what is slow, below."""
    truth = held_out()
    some = HeldOut(truth.canvases[:20], truth.boxes[:20], truth.labels[:20])
    monkeypatch.setattr(demo, "held_out", lambda: some)
    monkeypatch.setattr(demo, "_SECONDS", 0.1)
    assert main(["--out", str(tmp_path / "new" / "folder")]) == 0
    shown = capsys.readouterr().out
    for wanted in ("before and after", "laws applied", "held-out digits", "as fast"):
        assert wanted in shown
    out = tmp_path / "new" / "folder"
    assert (out / "class_maps.png").read_bytes().startswith(b"\x89PNG")
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "digits.onnx" in report
    old = count(MODEL, {"canvas": (1, 1, 96, 112)})
    new = count(out / "digits.optimized.onnx", {"canvas": (1, 1, 96, 112)})
    assert new.macs < old.macs / 2
    answers = [
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(
            None, {"canvas": some.inputs()}
        )[0]
        for path in (MODEL, out / "digits.optimized.onnx")
    ]
    assert accuracy(answers[0], some) == accuracy(answers[1], some)


def test_folder_that_cannot_be_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--out", str(tmp_path / "file")]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("onebyone: --out ")
    assert captured.err.count("\n") == 1


@pytest.mark.slow
def test_what_is_missing_for_a_picture_is_said_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["--out", str(tmp_path)]) == 0
    assert "not drawn: figures need matplotlib: pip install" in capsys.readouterr().out
    assert not (tmp_path / "class_maps.png").exists()
    assert (tmp_path / "report.html").exists()
