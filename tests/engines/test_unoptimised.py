"""ONNX Runtime as the verifier runs it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onebyone.engines import unoptimised
from onebyone.engines.engine import EngineRefuses
from onebyone.graph.read import read

from ..graphs.text import integers
from ..optimize.networks import CLASSES, deep


def answered(model: ir.Model, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    with unoptimised.opened(model) as run:
        return run(inputs)


def test_a_large_model_goes_by_way_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = read(deep())
    inputs = {"x": integers("x", (2, 5, 7, 6), 4)}
    small = answered(loaded, inputs)["y"]
    monkeypatch.setattr(unoptimised, "_LARGEST_IN_MEMORY", 1000)
    assert np.array_equal(answered(loaded, inputs)["y"], small)


def test_an_ir_version_that_the_engine_does_not_know_is_no_obstacle() -> None:
    proto = deep()
    proto.ir_version = onnx.IR_VERSION
    loaded = read(proto)
    assert loaded.ir_version == onnx.IR_VERSION
    inputs = {"x": np.zeros((1, 5, 4, 3), np.float32)}
    assert answered(loaded, inputs)["y"].shape[1] == CLASSES


def test_what_the_engine_throws_is_one_line() -> None:
    with pytest.raises(EngineRefuses) as caught:
        answered(read(deep()), {"x": np.zeros((1, 4, 4, 3), np.float32)})
    assert "\n" not in str(caught.value)
