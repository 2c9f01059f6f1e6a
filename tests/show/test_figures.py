"""Figures: what is drawn, how it is named, and what is said where matplotlib is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from onebyone.errors import UsageError
from onebyone.show.figures import MISSING, class_maps, save

CANVAS = np.zeros((24, 28), np.uint8)
MAPS = np.random.default_rng(0).random((10, 12, 14), np.float32)


def tiles(figure: object) -> list[NDArray[np.float32]]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes]


def titles(figure: object) -> list[str]:
    return [part.get_suptitle() for part in figure.subfigs]


def test_canvas_and_both_networks_maps_are_drawn_and_numbered() -> None:
    after = MAPS + np.float32(1e-3)
    figure = class_maps(CANVAS + np.uint8(51), MAPS, after)
    drawn = tiles(figure)
    np.testing.assert_allclose(drawn[0], 0.2)
    np.testing.assert_array_equal(drawn[1:11], MAPS)
    np.testing.assert_array_equal(drawn[11:], after)
    names = [axes.get_title("left") for axes in figure.axes]
    assert names == ["", *map(str, range(10)), *map(str, range(10))]
    assert "1.0e-03" in titles(figure)[2]
    assert titles(class_maps(CANVAS, MAPS, MAPS))[2] == "after: the same"


def test_an_odd_number_of_maps_leaves_no_empty_frame() -> None:
    assert len(class_maps(CANVAS, MAPS[:3], MAPS[:3]).axes) == 1 + 3 + 3


def test_a_file_is_the_same_when_it_is_made_again(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.png", "b.png", "dark.png")]
    for path in files:
        save(class_maps(CANVAS, MAPS, MAPS, dark=path.stem == "dark"), path)
    a, b, dark = (path.read_bytes() for path in files)
    assert a == b != dark


def test_what_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"onebyone\[report\]") as raised:
        class_maps(CANVAS, MAPS, MAPS)
    assert str(raised.value) == MISSING
