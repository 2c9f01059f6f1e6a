"""Trained networks keep their answers when they are optimised: one image for each pipeline."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.quick import slow_but

IMAGES = {"text": "page left", "lines": "page left", "faces": "astronaut", "objects": "chelsea"}
# What a reader, a face detector and ImageNet's list of classes say of them.
ANSWERS = {
    "text": "Let us first determine",
    "lines": "background. These markers",
    "faces": "(181, 62, 268, 172)",
    "objects": "class 285",
}

no_reader = pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="rapidocr-onnxruntime has no release for this Python"
)


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A module of the benchmarks by its name; they import one another as scripts do."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return import_module


@pytest.mark.filterwarnings("ignore")  # the packages' and the exporter's, about themselves
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("text", marks=[no_reader, pytest.mark.slow]),
        *slow_but("objects", of=("lines", "faces", "objects")),
    ],
)
def test_answers_are_kept(
    name: str, benchmark: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    pipeline = replace(benchmark("pipelines").PIPELINES[name], images=(IMAGES[name],))
    [answer], networks = benchmark("trained").run_pipeline(pipeline, tmp_path)
    assert ANSWERS[name] in answer.before
    assert answer.same, f"{answer.before} became {answer.after}"
    for network in networks:
        assert network.passed, network
        assert network.macs_after <= network.macs_before


def test_a_changed_answer_is_seen(benchmark: Callable[[str], ModuleType]) -> None:
    answer = benchmark("pipelines").Answer((285,), "class 285", (0.5, 0.25))
    compare = benchmark("trained").compare
    kept = compare("objects", "chelsea", answer, replace(answer, near=(0.5, 0.5)))
    changed = compare("objects", "chelsea", answer, replace(answer, exact=(284,), near=(0.5,)))
    assert (kept.same, kept.change) == (True, 0.25)
    assert (changed.same, changed.change) == (False, np.inf)


def test_suppression_keeps_the_best_of_each_heap(benchmark: Callable[[str], ModuleType]) -> None:
    import torch

    boxes = torch.tensor([[0, 0, 4, 2], [0, 0, 4, 3], [0, 0, 4, 3], [9, 9, 10, 11.0]])
    scores, images = torch.tensor([0.7, 0.9, 0.8, 0.1]), torch.tensor([0, 0, 1, 0])
    suppress = benchmark("pipelines").batched_nms
    # Two thirds of the first box are the second's.
    assert suppress(boxes, scores, images, 0.6).tolist() == [1, 2, 3]
    assert suppress(boxes, scores, images, 0.7).tolist() == [1, 2, 0, 3]
    assert suppress(boxes[:0], scores[:0], images[:0], 0.7).tolist() == []
