"""Resize: hand-computed rows, sizes, symmetries. The engines are asked in tests/graph."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebyone.algebra.resize import COORDINATES, Resize, fit
from onebyone.algebra.space import apply
from onebyone.errors import UsageError

SELF_INVERSE = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners"]


@pytest.mark.parametrize(
    ("resize", "x", "wanted"),
    [
        (Resize("nearest", "asymmetric", 2.0, rounding="floor"), [1, 2], [1, 1, 2, 2]),
        (Resize("nearest", "asymmetric", 2.0, rounding="ceil"), [1, 2], [1, 2, 2, 2]),
        (Resize("nearest", "asymmetric", 0.5, rounding="simple"), [1, 2, 3, 4], [1, 3]),
        (Resize("nearest", "asymmetric", 2.0), [1, 2], [1, 1, 2, 2]),
        (Resize("nearest", "asymmetric", 2.0, rounding="round_prefer_ceil"), [1, 2], [1, 2, 2, 2]),
        (Resize("nearest", "tf_half_pixel_for_nn", 0.5, rounding="floor"), [1, 2, 3, 4], [2, 4]),
        (Resize("linear", "align_corners", size=3), [0, 8], [0, 4, 8]),
        (Resize("linear", "align_corners", size=1), [3, 8], [3]),
        (Resize("linear", "asymmetric", 2.0), [0, 8], [0, 4, 8, 8]),
        (Resize("linear", "half_pixel", 0.5), [0, 8, 4, 2], [4, 3]),
        (Resize("linear", "pytorch_half_pixel", size=1), [0, 8, 4], [0]),
        (Resize("linear", "half_pixel", size=1), [0, 8, 4], [8]),
        (Resize("linear", "half_pixel_symmetric", 0.75), [0, 4, 8, 12, 16], [8 / 3, 8, 40 / 3]),
        (Resize("linear", "half_pixel", 0.5, antialias=True), [0, 8, 16, 0], [5, 7]),
        (
            Resize("linear", "tf_crop_and_resize", size=3, roi=(-0.5, 0.5)),
            [4, 8, 12],
            [0, 4, 8],
        ),
        (Resize("cubic", "align_corners", size=5), [0, 8, 0], [0, 4.75, 8, 4.75, 0]),
    ],
    ids=str,
)
def test_by_hand(resize: Resize, x: list[float], wanted: list[float]) -> None:
    # Exact but for the thirds of the symmetric mode: coordinates below 4, values below 16.
    assert np.abs(apply({0: resize}, np.array(x, float)) - wanted).max() <= 8 * 16 * 2.0**-52


@pytest.mark.parametrize("coordinates", SELF_INVERSE)
@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 2), (3, 6), (5, 5), (7, 2), (1, 3)])
def test_mirrored_input_gives_mirrored_output(coordinates: str, mode: str, n: int, m: int) -> None:
    matrix = Resize(mode, coordinates, size=m).matrix(n)
    # Ten roundings of numbers below 12 in each weight.
    assert abs(matrix - matrix[::-1, ::-1]).max() <= 240 * 2.0**-53


@given(st.sampled_from([c for c in COORDINATES if c != "tf_half_pixel_for_nn"]), st.integers(1, 9))
def test_the_same_size_is_the_identity(coordinates: str, n: int) -> None:
    for mode in ("nearest", "linear", "cubic"):
        resize = Resize(mode, coordinates, size=n, roi=(0.0, 1.0))
        assert (resize.matrix(n) == np.eye(n)).all()


@given(st.integers(1, 9), st.sampled_from(["linear", "cubic"]))
def test_antialias_does_nothing_to_enlargements(n: int, mode: str) -> None:
    plain, smooth = (Resize(mode, scale=2.0, antialias=a).matrix(n) for a in (False, True))
    # The second is normalised: divided by a sum within 4·120 roundings of one.
    assert abs(plain - smooth).max() <= 2 * 480 * 2.0**-53


def test_exclude_outside_reads_nothing_twice() -> None:
    row = Resize("cubic", scale=2.0, exclude_outside=True).matrix(4)[0]
    # Output 0 lies at -0.25, with neighbours -2..1; output 2 at 0.75, with neighbours -1..2.
    kept = Resize("cubic", scale=2.0).matrix(6)[2, 1:3]
    # Dyadic weights, one division.
    assert (row[:2] == kept / kept.sum()).all()
    assert (row[2:] == 0).all()


@pytest.mark.parametrize(
    ("n", "scale", "wanted"),
    # 10 · float32(0.7) is 6.9999998 in float64 and 7 in float32, in which ONNX infers it.
    [(10, 0.7, 7), (5, 0.5, 2), (7, 1.5, 10), (1, 0.5, 0), (10, 1.1, 11)],
)
def test_the_output_size_is_floored_in_float32(n: int, scale: float, wanted: int) -> None:
    assert Resize("linear", scale=float(np.float32(scale))).out_size(n) == wanted


def test_a_run_time_size_gives_the_scale() -> None:
    at_run_time, fixed = Resize("linear"), Resize("linear", size=7)
    assert at_run_time.out_size(3) is None
    assert (at_run_time.matrix(3, 7) == fixed.matrix(3)).all()


def test_an_unknown_scale_has_properties_but_no_matrix() -> None:
    resize = Resize("nearest", unknown_scale=True)
    assert resize.preserves_constants
    assert resize.is_selection
    with pytest.raises(UsageError, match="wanted its scale"):
        resize.matrix(3, 6)


def test_a_run_time_roi_has_no_matrix() -> None:
    with pytest.raises(UsageError, match="without roi"):
        Resize("linear", "tf_crop_and_resize").matrix(3, 6)


def test_what_extrapolates_claims_nothing() -> None:
    resize = Resize("nearest", "tf_crop_and_resize", size=4, roi=(0.0, 1.5))
    assert not resize.preserves_constants
    assert not resize.is_selection
    assert resize.matrix(3).sum(axis=1).tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize("wrong", [("area",), ("linear", "half"), ("nearest", "asymmetric")])
def test_unknown_modes_are_named(wrong: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"got '.*', wanted one of .*: check the Resize"):
        Resize(*wrong, rounding="up")


@pytest.mark.parametrize(
    ("policy", "wanted"), [("not_larger", (0.75, (2, 4))), ("not_smaller", (2.0, (6, 10)))]
)
def test_fit_rounds_halves_up(policy: str, wanted: tuple[float, tuple[int, ...]]) -> None:
    # 0.75 · (3, 5) = (2.25, 3.75); and 0.5 · 3 = 1.5 -> 2.
    assert fit((3, 5), (6, 4), policy) == ((0.8, (2, 4)) if policy == "not_larger" else wanted)
    assert fit((3, 4), (9, 2), "not_larger") == (0.5, (2, 2))


ROUNDINGS = ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil", "simple"]


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("coordinates", sorted(set(COORDINATES) - {"tf_crop_and_resize"}))
def test_copies_of_each_position_are_what_the_matrix_says(coordinates: str, rounding: str) -> None:
    for factor in (1, 2, 3, 4, 5):
        by_scale = Resize("nearest", coordinates, float(factor), rounding=rounding)
        told = []
        for n in range(1, 9):
            repeats = np.repeat(np.eye(n), factor, axis=0)
            by_size = Resize("nearest", coordinates, size=factor * n, rounding=rounding)
            for resize in (by_scale, by_size):
                told.append(resize.copies(factor, n))
                assert told[-1] == np.array_equal(resize.matrix(n), repeats)
        assert by_scale.copies(factor, None) == (all(told) and coordinates != "align_corners")


def test_copies_of_another_factor_mode_or_unknown_scale() -> None:
    twice = Resize("nearest", "asymmetric", 2.0, rounding="floor")
    assert twice.copies(2, None)
    others = [
        Resize("linear", "asymmetric", 2.0),
        Resize("nearest", "asymmetric", 2.5, size=4, rounding="floor"),
        Resize("nearest", "tf_crop_and_resize", 2.0, rounding="floor", roi=(0, 1)),
        Resize("nearest", "asymmetric", rounding="floor", unknown_scale=True),
    ]
    assert not any(other.copies(2, n) for other in others for n in (None, 2))
    assert not twice.copies(3, 2)
    # An axis of free size that stays.
    assert Resize("nearest", "asymmetric").copies(1, None)
    assert not Resize("nearest", "tf_half_pixel_for_nn", rounding="ceil").copies(1, None)
