"""`onebyone bench` and `onebyone profile`, as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onebyone.cli import run
from onebyone.engines import profile as profiling
from onebyone.engines.turns import take_turns
from tests.commands import ONE_ENGINE, H, W, chain, documented, keys, refused


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return chain(tmp_path / "chain.onnx")


def test_bench_times_models_in_turns(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.onnx"
    assert run(["optimize", str(model), "-o", str(target), "--json"]) == 0
    capsys.readouterr()
    assert run(["bench", str(model), str(target), *ONE_ENGINE, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1
    assert found["machine"]["threads"] == 1
    first, second = found["rows"]
    assert (first["model"], second["model"]) == (str(model), str(target))
    assert (first["macs"], second["macs"]) == (144 * H * W, 18 * H * W)
    assert second["verdict"] in ("faster", "slower", "cannot tell")


def test_bench_shows_a_table(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", str(model), *ONE_ENGINE]) == 0
    shown = capsys.readouterr().out
    assert "chain.onnx" in shown
    assert "GFLOP/s in matrix products" in shown


def test_bench_refuses_a_shape_of_no_input(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, message = refused(capsys, "bench", model, "--shape", "nosuch=1,6,5,7")
    assert (code, "'nosuch'" in message) == (2, True)


@pytest.fixture
def _quick_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small operators: what is tested here is where the numbers go."""
    monkeypatch.setattr(profiling, "_IMAGES", ((16, 9, 7),))
    monkeypatch.setattr(profiling, "_SIBLINGS", (((1, 12, 9, 7), 4, 3),))
    monkeypatch.setattr(profiling, "_TWICE", (((1, 8, 9, 7), (1, 8, 18, 14)),))
    monkeypatch.setattr(profiling, "_TILED_CHANNELS", (8, 12))
    monkeypatch.setattr(profiling, "_TILED_SIDE", 8)
    monkeypatch.setattr(profiling, "_STAMPED", ((8, 6),))
    monkeypatch.setattr(profiling, "_WIDTH_CONVS", ((1, 6), (3, 6)))
    monkeypatch.setattr(profiling, "_SMALL", (1, 8, 4, 4))
    monkeypatch.setattr(profiling, "_LARGE", (1, 8, 20, 20))
    at_once = lambda runs, _, clock: take_turns(runs, 0.0, clock=clock)  # noqa: E731
    monkeypatch.setattr(profiling, "take_turns", at_once)


@pytest.mark.usefixtures("_quick_profile")
def test_a_profile_is_written_for_optimize(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "here.json"
    assert run(["profile", "--threads", "1", "-o", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(path.read_text())
    assert keys(told) <= documented()
    assert run(["optimize", str(model), "--dry-run", "--profile", str(path)]) == 0
    assert run(["profile", "--threads", "1", "-o", str(path)]) == 0
    assert "bilinear" in capsys.readouterr().out
