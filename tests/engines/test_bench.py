"""Bench: who is timed where, what is compared with what, and how it says no."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from rich.console import Console

from onebyone.engines import bench as module
from onebyone.engines import engine as rows
from onebyone.engines.bench import bench, chosen_clock
from onebyone.engines.engine import ENGINES
from onebyone.engines.machine import Machine
from onebyone.engines.single_operators import conv
from onebyone.engines.spread import Interval, Spread
from onebyone.engines.timings import Bench, Row
from onebyone.errors import UnreadableModel, UsageError

SMALL, LARGE = (1, 3, 5, 7), (1, 64, 56, 48)
HEAD = '<ir_version: 8, opset_import: ["": 17]>'
# By the processor's time, so that a busy machine does not spoil nine rounds.
QUICK = {"engines": ["onnxruntime"], "threads": 1, "seconds": 0.0, "clock": "cpu"}


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine at once, of a trillion operations a second."""
    known = Machine("processor", 2, 1, 1e12, 1e10)
    monkeypatch.setattr(module, "measure_machine", lambda *_, **__: known)


def saved(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def written(path: Path, text: str) -> Path:
    return saved(path, onnx.parser.parse_model(f"{HEAD} {text}").SerializeToString())


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    """A large convolution, and one of 3,072 times fewer MACs."""
    large = saved(tmp_path / "large.onnx", conv(LARGE, 32, 3))
    return [large, saved(tmp_path / "small.onnx", conv((1, 3, 56, 48), 2))]


def test_models_are_compared_with_the_first(models: list[Path]) -> None:
    found = bench(models, **QUICK)
    large, small = found.rows
    assert [row.model for row in found.rows] == [str(path) for path in models]
    assert (large.macs, small.macs) == (64 * 32 * 9 * 56 * 48, 3 * 2 * 56 * 48)
    assert large.ratio is None
    assert large.verdict == ""
    assert small.ratio is not None
    # 3,072 times the work: no noise makes up for that.
    assert small.ratio.low > 1
    assert small.verdict == "faster"
    assert bench(models[::-1], **QUICK).rows[1].verdict == "slower"
    assert large.rounds == small.rounds >= 9


def test_one_model_alone_has_its_control(models: list[Path]) -> None:
    [row] = bench(models[:1], **QUICK).rows
    assert row.ratio is None
    assert row.control is not None
    assert row.control.low <= row.control.median <= row.control.high


def test_every_installed_engine_unless_asked(models: list[Path]) -> None:
    found = bench(models[:1], threads=1, seconds=0.0)
    here = [n for n in ("onnxruntime", "openvino") if importlib.util.find_spec(n)]
    assert [row.engine for row in found.rows] == here


def test_sizes_left_open_are_given(tmp_path: Path) -> None:
    text = "g (float[n,3,h,7] x, int64[m] i) => (float[n,a,h,7] y) {y = Gather<axis = 1>(x, i)}"
    path = written(tmp_path / "open.onnx", text)
    fixed = saved(tmp_path / "fixed.onnx", conv(SMALL, 2))
    found = bench([path, fixed], shapes={"x": (2, 3, 5, 7), "i": (4,)}, **QUICK)
    assert all(row.time is not None for row in found.rows)
    with pytest.raises(UsageError, match="no input 'z' in any model"):
        bench([path, fixed], shapes={"z": (2,)}, **QUICK)


def test_a_model_that_no_engine_runs_is_unreadable(tmp_path: Path, models: list[Path]) -> None:
    head = '<ir_version: 8, opset_import: ["": 17, "elsewhere": 1]>'
    text = f"{head} g (float[2] x) => (float[2] y) {{y = elsewhere.Odd(x)}}"
    path = saved(tmp_path / "odd.onnx", onnx.parser.parse_model(text).SerializeToString())
    with pytest.raises(UnreadableModel, match=r"odd\.onnx: not timed: ONNX Runtime cannot run"):
        bench([*models, path], **QUICK)


@pytest.mark.parametrize("name", ["missing.onnx", "missing.tflite"])
def test_a_missing_file_is_unreadable(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnreadableModel, match=name):
        bench([tmp_path / name], **QUICK)


# --- LiteRT, played by another engine ---------------------------------------------------------


def _standing_in(source: Path, _inputs: Mapping[str, Any], _threads: int) -> rows.Run:
    assert source.suffix == ".tflite"
    return lambda: [np.zeros(1)]


@pytest.fixture
def _litert(monkeypatch: pytest.MonkeyPatch) -> None:
    row = replace(ENGINES["litert"], package="numpy", module="numpy", loader=_standing_in)
    monkeypatch.setitem(rows.ENGINES, "litert", row)


@pytest.mark.usefixtures("_litert")
def test_litert_runs_the_file_beside(models: list[Path]) -> None:
    models[1].with_suffix(".tflite").touch()
    found = bench(models, engines=["onnxruntime", "litert"], threads=1, seconds=0.0)
    *_, large, small = found.rows
    assert large.reason == "LiteRT runs .tflite files: put large.tflite beside it"
    assert large.time is None
    assert small.reason == ""
    assert small.time is not None
    assert small.ratio is None  # the first that LiteRT runs


@pytest.mark.usefixtures("_litert")
def test_a_tflite_file_is_for_litert_only(models: list[Path], tmp_path: Path) -> None:
    path = saved(tmp_path / "other.tflite", b"")
    found = bench([path], threads=1, seconds=0.0)
    assert [row.engine for row in found.rows] == ["litert"]
    assert found.rows[0].macs is None
    reasons = [row.reason for row in bench([models[0], path], threads=1, seconds=0.0).rows]
    assert reasons[1] == "ONNX Runtime runs ONNX files"


def test_an_engine_that_is_not_here_is_named(
    models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = replace(ENGINES["openvino"], module="no_such_module")
    monkeypatch.setitem(rows.ENGINES, "openvino", row)
    found = bench(models[:1], threads=1, seconds=0.0)
    assert [row.engine for row in found.rows] == ["onnxruntime"]
    assert found.notes == ("OpenVINO is not installed: pip install openvino",)
    with pytest.raises(UsageError, match="OpenVINO is not installed: pip install openvino"):
        bench(models[:1], engines=["openvino"])


# --- clocks and views -------------------------------------------------------------------------


def test_the_cpu_clock_is_for_one_thread() -> None:
    assert chosen_clock("cpu", 1) is module.CLOCKS["cpu"]
    with pytest.raises(UsageError, match="got 2 threads with the cpu clock"):
        chosen_clock("cpu", 2)
    with pytest.raises(UsageError, match="got clock 'sun', wanted one of wall, cpu"):
        chosen_clock("sun", 1)
    with pytest.raises(UsageError, match="got 0 threads"):
        chosen_clock("wall", 0)


def shown(result: Bench) -> str:
    console = Console(width=140, no_color=True)
    with console.capture() as text:
        console.print(result)
    return text.get()


def example(control: Interval) -> Bench:
    first = Row("e", "1.0", "a/one.onnx", 4_000_000, 9, Spread(2e-3, 1e-3, 3e-3), None, control)
    faster = Interval(1.25, 1.2, 1.3)
    second = replace(first, model="b/two.onnx", macs=None, ratio=faster)
    third = Row("e", "1.0", "b/three.onnx", None, reason="E cannot run [it]")
    machine = Machine("[red]chip", 4, 2, 8e9, 2e10)
    return Bench(machine, "wall", (first, second, third), ("F is not installed",))


def test_the_table_shows_what_was_found() -> None:
    text = shown(example(Interval(1.0, 0.95, 1.05)))
    # 8 MFLOP in 2 ms are 4 GFLOP/s of 8.
    for part in ("1 to 3", "50%", "1.250× [1.200, 1.300]", "faster", "one.onnx", "[red]chip"):
        assert part in text
    assert "2 of 4 threads" in text
    assert "F is not installed" in text
    assert "cannot tell" not in text
    assert "cannot be told" not in text


def test_a_noisy_machine_is_said_to_be_one() -> None:
    text = " ".join(shown(example(Interval(1.0, 0.7, 1.05))).split())
    assert "cannot tell" in text
    assert "smaller differences cannot be told: time longer, or on a quieter machine" in text


def test_equal_names_are_told_apart_by_their_paths() -> None:
    found = example(Interval(1.0, 0.95, 1.05))
    rows = (found.rows[0], replace(found.rows[1], model="b/one.onnx"))
    text = shown(replace(found, rows=rows))
    assert "a/one.onnx" in text
    assert "b/one.onnx" in text


def test_json_has_the_share_of_the_peak() -> None:
    found = example(Interval(1.0, 0.95, 1.05)).to_dict()
    assert json.loads(json.dumps(found)) == found
    first, second, third = found["rows"]
    assert first["share_of_peak"] == 0.5
    assert second["share_of_peak"] is None
    assert second["verdict"] == "faster"
    assert third["time"] is None
