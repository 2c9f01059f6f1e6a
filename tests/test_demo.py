"""The bundled demo: what ships, its picture, its clock, and one whole run."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from onebyone.demo import MODEL, HeldOut, accuracy, held_out
from onebyone.demo.__main__ import main
from onebyone.demo.figure import figure
from onebyone.demo.font import text
from onebyone.demo.png import encode
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


def _decode(data: bytes) -> np.ndarray:
    """Read back a PNG of unfiltered RGB rows, checking every chunk's checksum."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + body)
        chunks[kind], at = body, at + 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    assert (depth, colour) == (8, 2)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


def test_png_reads_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(_decode(encode(pixels)), pixels)


def test_figure_shows_canvas_maps_and_their_scaled_difference() -> None:
    canvas = np.full((4, 60), 77, np.uint8)
    before = np.zeros((2, 2, 30), np.float32)
    after = before.copy()
    before[0, 0, 0], after[0, 0, 0], after[1, 1, 29] = 1, 0.5, 0.25
    shown = figure(canvas, before, after)
    rows = [shown[at : at + 4] for at in (26 * 2, 26 * 3 + 4, 26 * 4 + 8)]
    columns = [slice(6 + 66 * i, 66 + 66 * i) for i in range(3)]
    tiles = [[row[:, column] for column in columns] for row in rows]
    assert (tiles[0][0] == 77).all()
    assert (tiles[0][1][:2, :2] == 255).all()
    assert not tiles[0][1][2:].any()
    assert not tiles[0][2].any()
    assert (tiles[1][1][0, 0] == [255, 128, 0]).all()  # a half: all red, half yellow
    assert (tiles[1][2][-1, -1] == [191, 0, 0]).all()  # a quarter: three quarters of red
    assert (tiles[2][1][0, 0] == 255).all()  # the largest difference is white
    assert (tiles[2][2][-1, -1] == [255, 128, 0]).all()  # a half of the largest


def test_font_has_all_that_the_figure_writes() -> None:
    line = "canvas before after difference, at most 0123456789.e-07 e+00"
    assert text(line).shape == (7, 6 * len(line))
    assert all(text(letter).any() for letter in line if letter != " ")
    shapes = {text(letter).tobytes() for letter in set(line)}
    assert len(shapes) == len(set(line)), "two letters look the same"


def test_demo_runs_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--out", str(tmp_path / "new" / "folder")]) == 0
    shown = capsys.readouterr().out
    for wanted in ("before and after", "laws applied", "held-out digits", "as fast"):
        assert wanted in shown
    out = tmp_path / "new" / "folder"
    assert _decode((out / "class_maps.png").read_bytes()).shape == (398, 1304, 3)
    old = count(MODEL, {"canvas": (1, 1, 96, 112)})
    new = count(out / "digits.optimized.onnx", {"canvas": (1, 1, 96, 112)})
    assert new.macs < old.macs / 2
    truth = held_out()
    answers = [
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(
            None, {"canvas": truth.inputs()[:20]}
        )[0]
        for path in (MODEL, out / "digits.optimized.onnx")
    ]
    some = HeldOut(truth.canvases[:20], truth.boxes[:20], truth.labels[:20])
    assert accuracy(answers[0], some) == accuracy(answers[1], some)


def test_folder_that_cannot_be_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--out", str(tmp_path / "file")]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("onebyone: --out ")
    assert captured.err.count("\n") == 1
