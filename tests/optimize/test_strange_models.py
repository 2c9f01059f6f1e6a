"""Strange models: not broken, not refused where the original is not, the same to the last bit."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from onebyone.cost.profile import DEFAULT, Profile
from onebyone.graph.write import to_proto
from onebyone.optimize import optimize

from ..graphs.run import run
from ..graphs.strange import CONTRIB, STRANGE
from ..graphs.text import feed
from ..graphs.valid import faults, refusal, refused
from .exact import COUNTING

MODELS = {**STRANGE, **CONTRIB}


def _feeds(proto: ModelProto) -> list[dict[str, np.ndarray]]:
    """Both ways of every condition."""
    given = {name: np.asarray(array) for name, array in feed(proto).items()}
    return [{**given, "go": np.array(go)} if "go" in given else given for go in (True, False)]


# Softmax, sigmoid, erf, quotients: their results are rounded, and sums of these in any order.
ROUNDED = ("LSTM", "GRU", "RNN", "FusedConv Sigmoid", "Gelu", "FastGelu", "QuickGelu", "BiasGelu",
           "SkipLayerNormalization", "LayerNormalization", "SimplifiedLayerNormalization",
           "Attention", "MultiHeadAttention", "GroupNormalization", "MatMulIntegerToFloat",
           "DynamicQ")  # fmt: skip


def _assert_same(now: np.ndarray, before: np.ndarray, exact: bool) -> None:
    """To the last bit; or within the rounding of sums of 5 + 8 + 16 terms, some digits lost."""
    if exact:
        np.testing.assert_array_equal(now, before)
    else:
        largest = float(np.abs(before).max(initial=0))
        np.testing.assert_allclose(now, before, rtol=0, atol=128 * 2.0**-24 * largest)


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        pytest.param(name, profile, marks=[] if k % 2 == turn else [pytest.mark.slow])
        for k, name in enumerate(MODELS)
        for turn, profile in enumerate([COUNTING, DEFAULT])
    ],
)
def test_it_is_not_broken(name: str, profile: Profile) -> None:
    proto = MODELS[name]()
    assert refusal(proto) == "", "the original has to run, or nothing is tested"
    result = optimize(proto, profile=profile, lost_bits=inf)
    after = to_proto(result.model)
    assert refused(proto, after) == []
    feeds = _feeds(proto)
    for before, now in zip(run(proto, *feeds), run(after, *feeds), strict=True):
        assert before.keys() == now.keys()
        for key, array in before.items():
            assert array.dtype == now[key].dtype
            # What is no sum of integers (softmax, normalisation) is rounded; of sizes up to 1e5.
            np.testing.assert_allclose(
                now[key], array, rtol=1e-5, atol=1e-5 * np.abs(array).max(initial=0)
            )
    certificate = result.report.certificate
    assert certificate is not None
    assert certificate.passed


def _laws(proto: ModelProto) -> tuple[Any, ...]:
    return optimize(proto, profile=COUNTING, verify=False, lost_bits=inf).report.laws


def test_something_is_rewritten_around_them() -> None:
    """Else nothing would be tested."""
    still = [name for name, made in MODELS.items()
             if not _laws(made())]  # fmt: skip
    assert still == ["no batch"]


@pytest.mark.parametrize("name", STRANGE)
def test_a_valid_original_gives_a_valid_result(name: str) -> None:
    proto = MODELS[name]()
    if not faults(proto):
        assert faults(to_proto(optimize(proto, verify=False, lost_bits=inf).model)) == []
