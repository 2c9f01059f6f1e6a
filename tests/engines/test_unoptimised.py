"""ONNX Runtime as the verifier runs it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onebyone.engines import unoptimised
from onebyone.graph.read import read

from ..graphs.text import integers
from ..optimize.networks import CLASSES, WIDTH, deep


def test_a_large_model_goes_by_way_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = read(deep())
    inputs = {"x": integers("x", (2, 5, 7, 6), 4)}
    small = unoptimised.run(loaded, inputs)["y"]
    monkeypatch.setattr(unoptimised, "_LARGEST_IN_MEMORY", 1000)
    assert np.array_equal(unoptimised.run(loaded, inputs)["y"], small)


def test_an_ir_version_that_the_engine_does_not_know_is_no_obstacle() -> None:
    proto = deep()
    proto.ir_version = onnx.IR_VERSION
    loaded = read(proto)
    assert loaded.ir_version == onnx.IR_VERSION
    assert (
        unoptimised.run(loaded, {"x": np.zeros((1, 5, 4, 3), np.float32)})["y"].shape[1] == CLASSES
    )


def test_the_engine_may_optimise_when_asked() -> None:
    loaded, inputs = read(deep()), {"x": integers("x", (1, 5, 9, 7), 2)}
    plain, fast = (unoptimised.run(loaded, inputs, optimised)["y"] for optimised in (False, True))
    assert plain.shape == fast.shape
    # Another order of at most 9·24 terms in each of 14 layers, each with the unit roundoff 2^-24.
    assert np.abs(plain - fast).max() <= 14 * 9 * WIDTH * 2.0**-24 * np.abs(plain).max()


def test_what_the_engine_throws_is_one_line() -> None:
    with pytest.raises(unoptimised.EngineRefuses) as caught:
        unoptimised.run(read(deep()), {"x": np.zeros((1, 4, 4, 3), np.float32)})
    assert "\n" not in str(caught.value)
