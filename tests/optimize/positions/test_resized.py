"""demand: a crop goes through a resize where a smaller resize computes the same, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from ...graphs.text import model
from ..exact import COUNTING, Outcome, optimized

MAP = "float[2,3,9,7] x"
W = {"w": (5, 3, 1, 1)}
HALF = 'coordinate_transformation_mode = "half_pixel"'
ROUNDED = 'nearest_mode = "round_prefer_floor"'
FLOOR = 'coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'
CEIL = 'coordinate_transformation_mode = "asymmetric", nearest_mode = "ceil"'
CORNERS = 'coordinate_transformation_mode = "align_corners", nearest_mode = "floor"'


def cropped(resize: str, start: int, end: int, axis: int = 2, **constants: object) -> Outcome:
    body = f"t = Conv(x, w) u = {resize} r = Relu(u) y = Slice(r, s, e, a)"
    bounds = {"s": np.array([start]), "e": np.array([end]), "a": np.array([axis])}
    proto = model(body, MAP, "y", {**W, **bounds, **constants}, opset=18)  # type: ignore[dict-item]
    return optimized(proto, "demand", profile=COUNTING)


def by(height: float, width: float) -> np.ndarray:
    return np.array([1, 1, height, width], np.float32)


@pytest.mark.parametrize("how", [f"{HALF}, {ROUNDED}", FLOOR, HALF])
@pytest.mark.parametrize(
    ("factor", "start", "end"), [(2, 4, 10), (3, 0, 6), (3, 21, 27), (4, 8, 12)]
)
def test_whole_blocks_of_a_nearest_one(how: str, factor: int, start: int, end: int) -> None:
    after = cropped(f"Resize<{how}>(t, , f)", start, end, f=by(factor, 1))
    assert after.saved == 2 * 15 * 7 * (9 - (end - start) // factor)
    assert "Slice" not in after.ops[1:]


def test_an_axis_of_several_whose_sizes_are_named() -> None:
    sizes = np.array([18, 21])
    after = cropped("Resize<axes = [2, 3]>(t, , , n)", 3, 9, 3, n=sizes)
    assert after.saved == 2 * 15 * 9 * 5
    assert cropped("Resize<axes = [-1, -2]>(t, , , n)", 3, 9, 3, n=sizes[::-1].copy()).saved


@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest"])
def test_along_an_axis_that_is_not_resized(mode: str) -> None:
    after = cropped(f'Resize<mode = "{mode}">(t, , f)', 2, 5, 3, f=by(2, 1))
    assert after.saved == 2 * 15 * 9 * 4
    named = cropped(f'Resize<mode = "{mode}">(t, , , n)', 2, 5, 3, n=np.array([2, 5, 18, 7]))
    assert named.saved == after.saved


STAYS = {
    "half a block": (f"Resize<{FLOOR}>(t, , f)", 3, 9, by(2, 1)),
    "no whole factor": (f"Resize<{FLOOR}>(t, , f)", 4, 8, by(1.5, 1)),
    "smaller": (f"Resize<{FLOOR}>(t, , f)", 1, 3, by(0.5, 1)),
    "a linear one": ('Resize<mode = "linear">(t, , f)', 4, 8, by(2, 1)),
    "blocks that begin one before": (f"Resize<{CEIL}>(t, , f)", 4, 8, by(2, 1)),
    "blocks that are not equal": (f"Resize<{CORNERS}>(t, , f)", 4, 8, by(2, 1)),
}


@pytest.mark.parametrize("name", STAYS)
def test_where_a_smaller_one_would_not_do(name: str) -> None:
    resize, start, end, scales = STAYS[name]
    assert cropped(resize, start, end, f=scales).laws == set()


def test_upsample_of_old() -> None:
    body = "t = Conv(x, w) u = Upsample(t, f) r = Relu(u) y = Gather<axis = 2>(r, i)"
    known = {**W, "i": np.array([4, 5]), "f": by(2, 3)}
    after = optimized(model(body, MAP, "y", known, opset=9), "demand", profile=COUNTING)
    assert after.saved == 2 * 15 * 7 * 8
