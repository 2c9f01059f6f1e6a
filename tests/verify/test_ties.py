"""Ties of ArgMax: which outputs have one, and when another place is as good."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onebyone.verify.bound import Noise
from onebyone.verify.certificate import OutputCheck
from onebyone.verify.judge import judge_exact
from onebyone.verify.ties import Tie, exposed, settled, ties

from ..graphs.text import model

VALUES = np.array([[1.0, 3.0, 3.0 + 1e-7, -4.0], [2.0, 0.5, 1.0, 1.0]])
TIE = Tie("y", "m", "n", axis=1, keepdims=False)
NOISE = Noise(np.full(VALUES.shape, 1e-7), 8, 10, 2.0**-24)


def check(places_a: list[int], places_b: list[int], values_b: np.ndarray = VALUES) -> OutputCheck:
    a = {"y": np.array(places_a), "m": VALUES}
    b = {"y": np.array(places_b), "n": values_b}
    return settled(judge_exact("y", a["y"], b["y"]), TIE, a, b, {"m": VALUES}, NOISE)


def test_another_place_passes_only_where_the_values_tie() -> None:
    assert check([1, 0], [2, 0]).passed
    assert not check([1, 0], [0, 0]).passed
    assert not check([2, 0], [2, 1]).passed


def test_nothing_is_a_tie_in_another_tensor() -> None:
    assert not check([1, 0], [2, 0], VALUES + 1e-3).passed


def test_the_kept_axis_is_followed() -> None:
    a, b = np.array([[1], [0]]), np.array([[2], [0]])
    kept = Tie("y", "m", "n", axis=-1, keepdims=True)
    found = settled(
        judge_exact("y", a, b),
        kept,
        {"y": a, "m": VALUES},
        {"y": b, "n": VALUES},
        {"m": VALUES},
        NOISE,
    )
    assert found.passed
    assert "1 places differ" in found.element


@pytest.mark.parametrize(
    ("body", "other", "paired"),
    [
        ("h = Neg(x) y = ArgMax <axis=1> (h)", "g = Neg(x) y = ArgMax <axis=1> (g)", True),
        ("h = Neg(x) y = ArgMin <axis=1> (h)", "g = Neg(x) y = ArgMax <axis=1> (g)", False),
        ("h = Neg(x) y = ArgMax <axis=1> (h)", "g = Neg(x) y = ArgMax <axis=0> (g)", False),
        ("y = ArgMax <axis=1> (x)", "y = ArgMax <axis=1> (x)", False),
        (
            "h = Neg(x) i = ArgMax <axis=1> (h) y = Cast <to=7> (i)",
            "h = Neg(x) y = ArgMax <axis=1> (h)",
            True,
        ),
    ],
)
def test_ties_are_paired_by_their_search(body: str, other: str, paired: bool) -> None:
    a, b = (ir.from_proto(model(text, "float[2,3] x", "int64[N,M] y")) for text in (body, other))
    assert bool(ties(a, b)) == paired


def test_exposing_leaves_the_model_alone() -> None:
    loaded = ir.from_proto(model("h = Neg(x) y = Abs(h)", "float[2,3] x"))
    assert [v.name for v in exposed(loaded, ["h", "y"]).graph.outputs] == ["y", "h"]
    assert [v.name for v in loaded.graph.outputs] == ["y"]
    assert exposed(loaded, ["y"]) is loaded
