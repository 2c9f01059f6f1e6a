"""The small models: they are valid, and have the MACs that they are taken to have."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
import pytest

import onebyone
from onebyone.engines import single_operators
from onebyone.engines.engine import ENGINES, installed

SHAPE = (1, 6, 5, 7)
WEIGHT = np.arange(12, dtype=np.float32).reshape(3, 4)
MODELS = {
    "matmul": (single_operators.matmul(np.ones((4, 4), np.float32), (1, 5, 4), 3), 3 * 5 * 4 * 4),
    "matmul64": (single_operators.matmul(np.ones((4, 4))), 4 * 4 * 4),
    "conv": (single_operators.conv(SHAPE, 4, 3, depth=2), 35 * 9 * (6 * 4 + 4 * 4)),
    "add": (single_operators.add(SHAPE), 0),
    "concat": (single_operators.concat(SHAPE), 0),
    "transpose": (single_operators.transpose(SHAPE), 0),
    "softmax": (single_operators.softmax(SHAPE), 0),
    "subsample": (single_operators.subsample(SHAPE), 0),
    "between": (single_operators.between(SHAPE, False), 2 * 35 * 36),
    "between, resized": (single_operators.between(SHAPE, True), 35 * 36 + 4 * 35 * 36),
    "apart": (single_operators.siblings(SHAPE, 4, 3, 1, False), 3 * 35 * (6 * 4 + 4 * 4)),
    "stacked": (single_operators.siblings(SHAPE, 4, 3, 1, True), 3 * 35 * (6 * 4 + 4 * 4)),
}
SHAPES = {
    "matmul": [(1, 5, 4)],
    "conv": [(1, 4, 5, 7)],
    "add": [SHAPE],
    "concat": [(1, 12, 5, 7)],
    "transpose": [(1, 5, 7, 6)],
    "subsample": [(1, 6, 3, 4)],
    "between, resized": [(1, 6, 1, 1)],
    "softmax": [SHAPE],
    "stacked": [(1, 4, 5, 7)] * 3,
}


@pytest.mark.parametrize("name", MODELS)
def test_they_are_models_with_these_macs(name: str) -> None:
    data, macs = MODELS[name]
    model = onnx.load_model_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    assert onebyone.count(model).macs == macs


@pytest.mark.parametrize("name", [n for n, e in ENGINES.items() if e.suffix == ".onnx"])
@pytest.mark.parametrize("model", SHAPES)
def test_engines_run_them(model: str, name: str) -> None:
    if not installed(name):
        pytest.skip(f"{name} is not installed")
    data, _ = MODELS[model]
    graph = onnx.load_model_from_string(data).graph
    inputs = {
        v.name: np.ones([d.dim_value for d in v.type.tensor_type.shape.dim], np.float32)
        for v in graph.input
    }
    run = ENGINES[name].load(data, inputs, threads=1)
    assert [y.shape for y in run()] == SHAPES[model]
    assert all(prod(y.shape) and np.isfinite(y).all() for y in run())
