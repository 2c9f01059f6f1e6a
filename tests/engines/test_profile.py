"""Profile: the numbers that a machine of known prices must give, and the file they go into."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from math import prod
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from onebyone.cost.estimate import elements_of, node_time
from onebyone.cost.profile import DEFAULT, Profile, load_profile
from onebyone.engines import profile as module
from onebyone.engines import single_operators
from onebyone.engines.profile import Profiled, profile, save
from onebyone.errors import UsageError
from onebyone.graph.count import tally
from onebyone.graph.read import read
from onebyone.graph.shapes import Sizes, infer
from onebyone.optimize.maps.tiled_models import TIMED

SHAPE = (1, 12, 9, 7)
KNOWN = Profile(
    peak=2e10,
    bandwidth=1e10,
    overhead=3e-6,
    transpose=4.0,
    resize=50.0,
    stamp=1.7,
    split=2.0,
    softmax=8.0,
    blocks=3.0,
    rows=2.0,
    tiles=6.0,
)
assert KNOWN.channels == 4


def seconds(data: bytes) -> float:
    """What a model takes on a machine whose prices are `KNOWN`, with a millisecond a call."""
    model = read(onnx.load_model_from_string(data))
    infer(model)
    sizes = Sizes(model)
    macs = {layer.name: layer.macs for layer in tally(model, sizes).layers}
    if any(node.attributes.get_int("group", 1) > 1 for node in model.graph):
        return 1e-3 + _on_tiles(model.graph, sizes, macs)
    total = 1e-3
    for node in model.graph:
        into = sum(prod(sizes.shape(v) or ()) for v in node.inputs if v is not None and v.shape)
        out = sum(prod(sizes.shape(v) or ()) for v in node.outputs)
        elements, work = into + out, macs.get(node.name or node.outputs[0].name or "", 0)
        if node.op_type in ("Transpose", "Slice"):
            elements = 2 * out * KNOWN.transpose
        if node.op_type == "DepthToSpace":
            elements = 2 * out * KNOWN.blocks
        if node.op_type == "Split":
            elements = 2 * out * KNOWN.split
        if node.op_type == "Resize":
            elements, work = 0, out * KNOWN.resize
        if node.op_type in ("Conv", "ConvTranspose", "MatMul"):
            elements = 0
        if node.op_type == "ConvTranspose":
            work *= KNOWN.stamp
        if node.op_type == "Conv" and (sizes.shape(node.inputs[0]) or ())[1] % KNOWN.channels:
            work *= 1.3
        if node.op_type == "GlobalAveragePool":
            continue
        if node.op_type == "Softmax":
            elements = 2 * out * KNOWN.softmax
        time = KNOWN.overhead + max(work / KNOWN.peak, 4 * elements / KNOWN.bandwidth)
        total += time
    return total


def _on_tiles(graph: ir.Graph, sizes: Sizes, macs: Mapping[str, int]) -> float:
    """All but the products are dearer; U has twice as many numbers as a 3×3, or four times."""
    is_square = any(node.op_type == "DepthToSpace" for node in graph)
    dearer, more = (KNOWN.tiles, 3 / 4) if is_square else (KNOWN.rows, 1 / 2)
    total = 0.0
    for node in graph:
        work = macs.get(node.name or node.outputs[0].name or "", 0)
        time = node_time(node, work, KNOWN, lambda value: elements_of(value, sizes))
        if node.attributes.get_int("group", 1) > 1:
            total += time + KNOWN.reading(round(more * prod(sizes.shape(node.inputs[1]) or ())))
        else:
            total += dearer * time
    return total / 1e12


def test_known_prices_are_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    known = lambda _, short, long: seconds(long) - seconds(short)  # noqa: E731
    monkeypatch.setattr(module._Stand, "difference", known)
    monkeypatch.setattr(module, "_IMAGES", ((32, 28, 20), (64, 20, 28)))
    # Copies of 43 µs each, beside which the 3 µs of a node saved show.
    monkeypatch.setattr(module, "_SIBLINGS", (((1, 64, 28, 20), 32, 3),))
    monkeypatch.setattr(module, "_TILED_CHANNELS", (64, 96))
    found = profile(on_tiles=TIMED, threads=1)
    # Some differences hold a little of something else: the 0.2 µs that 16³ MACs take beside an
    # overhead of 3 µs (7%); that overhead beside the 29 µs of 28·20·32² MACs (10%), of which the
    # median over all maps has 3%; and what of these two goes into the prices measured in them.
    for each in found.measured:
        assert each.value == pytest.approx(getattr(KNOWN, each.field), rel=0.11), each
    assert found.profile.channels == 4
    for name in (
        "peak",
        "bandwidth",
        "transpose",
        "resize",
        "stamp",
        "split",
        "softmax",
        "blocks",
        "rows",
        "tiles",
    ):
        assert getattr(found.profile, name) == pytest.approx(getattr(KNOWN, name), rel=0.03)
    assert {each.field for each in found.measured} == {field.name for field in fields(Profile)}
    about = found.to_dict()["about"]
    assert (about["engine"], about["threads"]) == ("onnxruntime", 1)


@pytest.mark.parametrize(("slow", "least"), [(1, 1), (2, 2), (4, 4), (8, 8)])
def test_channels_are_the_least_multiple_that_is_fast(
    slow: int, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = lambda _, shape, kernel: 1.0 + 0.2 * (shape[1] % slow > 0)  # noqa: E731
    monkeypatch.setattr(module, "_conv_seconds", known)
    found = list(module._channels(module._Stand("onnxruntime", 1, 0.0, lambda: 0.0)))
    assert {each.value for each in found} == {least}


def test_a_difference_is_the_median_of_single_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    # The machine slows down in the last round: the difference of the medians would be 4.
    rounds = ((1.0, 2.0, 9.0), (3.0, 6.0, 10.0))
    monkeypatch.setattr(module, "take_turns", lambda *_, **__: rounds)
    stand = module._Stand("onnxruntime", 1, 0.0, lambda: 0.0)
    assert stand.difference(single_operators.add(SHAPE), single_operators.concat(SHAPE)) == 2.0


def test_every_operator_runs_in_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real measurement, of small operators and few rounds: every field is a positive number."""
    monkeypatch.setattr(module, "_IMAGES", ((16, 9, 7),))
    monkeypatch.setattr(module, "_SIBLINGS", (((1, 12, 9, 7), 4, 3),))
    monkeypatch.setattr(module, "_TWICE", (((1, 8, 9, 7), (1, 8, 18, 14)),))
    monkeypatch.setattr(module, "_SMALL", (1, 8, 4, 4))
    monkeypatch.setattr(module, "_LARGE", (1, 8, 20, 20))
    monkeypatch.setattr(module, "_TILED_CHANNELS", (8, 12))
    monkeypatch.setattr(module, "_TILED_SIDE", 8)
    found = profile(on_tiles=TIMED, threads=1, seconds=0.0)
    assert all(0 < value < float("inf") for value in asdict(found.profile).values())


def test_an_engine_must_run_onnx() -> None:
    with pytest.raises(UsageError, match="'nothing', wanted one of"):
        profile("nothing", on_tiles=TIMED)


# --- the file ---------------------------------------------------------------------------------

FOUND = Profiled(KNOWN, (), "onnxruntime", "1.0", "chip", 2, "wall", "2026-01-01T00:00:00+00:00")


def test_what_is_saved_is_what_optimize_reads(tmp_path: Path) -> None:
    path = tmp_path / "here.json"
    save(FOUND, path)
    assert load_profile(path) == KNOWN
    assert json.loads(path.read_text())["about"]["processor"] == "chip"
    assert os.listdir(tmp_path) == ["here.json"]


def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "here.json"
    path.write_text("old")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(FOUND, path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["here.json"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*No such file"):
        save(FOUND, tmp_path / "nowhere" / "here.json")


# --- the price of cutting up ------------------------------------------------------------------


def test_defaults_split_at_the_price_of_a_copy() -> None:
    assert DEFAULT.split == 1.0


@pytest.mark.slow
def test_the_number_of_differences_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the bar counts up to; the models are built, and nothing is run."""
    told: list[tuple[str, int, int]] = []
    counted = module._counted(lambda *now: told.append(now))

    def at_once(stand: module._Stand, *_: bytes) -> float:
        stand.begun()
        return 1e-3

    monkeypatch.setattr(module._Stand, "difference", at_once)
    stand = module._Stand("onnxruntime", 1, 0.0, time.perf_counter, counted)
    module._measured(stand, TIMED)
    assert told[0] == ("profile", 0, module._DIFFERENCES)
    assert len(told) == module._DIFFERENCES
