"""The block of a report that says where the network looks: its numbers are the geometry's."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest
from onnx import parser

from onebyone.cli import run
from onebyone.graph.receptive import geometry
from onebyone.show.html.looks import growth, looks
from onebyone.show.html.page import page
from tests.show.html.results import report

TWO = """<ir_version: 8, opset_import: ["": 17]>
    g (float[1, 3, 64, 48] x) => (float[1, 3, h, w] y) {
    a = MaxPool <kernel_shape = [7, 5], strides = [2, 2], pads = [2, 2, 2, 2]> (x)
    b = MaxPool <kernel_shape = [3, 3], strides = [2, 2]> (a)
    y = MaxPool <kernel_shape = [3, 3], dilations = [2, 1]> (b) }"""
LINEAR = """<ir_version: 8, opset_import: ["": 17]>
    g (float[2, 4] x) => (float[2, 4] y) { y = Relu(x) }"""
SEEN = """<ir_version: 8, opset_import: ["": 17]> g (float[1, 3, 9, 9] x) => (float[1, 3, 9, 9] y) {
    m = GlobalAveragePool (x)
    s = Mul (x, m)
    y = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (s) }"""


def test_rows_are_the_maps_along_each_axis() -> None:
    said = looks(geometry(parser.parse_model(TWO)))
    found = [(r.name, r.axis, r.stride, r.field, r.padding, r.offset, r.period) for r in said.rows]
    assert found == [
        ("y", "height", "4", "27", "1 and 1", "-2", "4"),
        ("y", "width", "4", "17", "1 and 1", "-2", "4"),
    ]
    assert said.exact.startswith("Tiles give what the whole image gives.")
    assert not said.reasons


@pytest.mark.parametrize("width", [912.0, 328.0])
def test_points_are_the_layers_and_as_high_as_their_receptive_fields(width: float) -> None:
    found = geometry(parser.parse_model(TWO))
    drawn = growth(found, width)
    assert drawn is not None
    assert [line.label for line in drawn.lines] == ["height: 27 pixels", "width: 17 pixels"]
    points = [
        [tuple(map(float, at)) for at in re.findall(r"M(\S+) (\S+?)h0", line.dots)]
        for line in drawn.lines
    ]
    places = {place.name: place for place in found.layers}
    assert [len(line) for line in points] == [3, 3]
    heights = {
        axis.receptive_field: points[k][i][1]
        for i, name in enumerate("aby")
        for k, axis in enumerate(places[name].axes)
        if axis
    }
    # More pixels, higher up: and one height for one receptive field.
    assert sorted(heights, reverse=True) == sorted(heights, key=lambda n: heights[n])
    assert all(44 <= x <= width and 0 <= y <= drawn.height for line in points for x, y in line)
    assert abs(drawn.lines[0].y - drawn.lines[1].y) >= 18


def test_axes_that_grow_alike_are_drawn_once() -> None:
    drawn = growth(
        geometry(parser.parse_model(TWO.replace("[7, 5]", "[5, 5]").replace("[2, 1]", "[2, 2]"))),
        912.0,
    )
    assert drawn is not None
    assert [line.label for line in drawn.lines] == ["height and width: 25 pixels"]


def test_what_looks_at_all_of_the_image_is_named() -> None:
    said = looks(geometry(parser.parse_model(SEEN)))
    assert [row.field for row in said.rows] == ["whole image"] * 2
    assert said.exact.startswith("Tiles of an image give other maps")
    assert said.reasons[0].startswith("GlobalAveragePool ")


def test_without_a_geometry_there_is_one_line() -> None:
    text = page(report(), geometry="got inputs x of rank 2, wanted one of rank 3, 4 or 5")
    block = text.split('class="looks"')[1].split("</section>")[0]
    assert "Nothing is drawn: got inputs x of rank 2" in block
    assert "<svg" not in block
    assert "<table" not in block
    assert 'class="looks"' not in page(report())


def test_the_command_draws_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text, wanted in (("two", TWO, "height: 27 pixels"), ("none", LINEAR, "of rank 2")):
        onnx.save(parser.parse_model(text), f"{name}.onnx")
        assert run(["optimize", f"{name}.onnx", "--dry-run", "--report", f"{name}.html"]) == 0
        assert wanted in Path(f"{name}.html").read_text(encoding="utf-8")
