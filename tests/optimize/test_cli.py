"""`onebyone optimize` and `onebyone verify`, as a user meets them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from tests.commands import C_IN, C_MID, C_OUT, H, W, chain, refused
from tests.graphs.text import model as parsed

from onebyone.cli import run
from onebyone.optimize.rewrite import rewrite

T = TypeVar("T")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return chain(tmp_path / "chain.onnx")


def faulty(rewrite: Callable[..., T]) -> Callable[..., T]:
    """The same rewrite, but the weights that are left are doubled."""

    def wrong(model: ir.Model, *arguments: object) -> T:
        done = rewrite(model, *arguments)
        for value in model.graph.initializers.values():
            value.const_value = ir.tensor(2 * value.const_value.numpy(), name=value.name)
        return done

    return wrong


# --- optimize -------------------------------------------------------------------------------


def test_optimize_writes_an_equal_cheaper_model(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.onnx"
    assert run(["optimize", str(model), "-o", str(target), "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (report["schema"], report["certificate"]["passed"], err) == (2, True, "")
    before, after = report["before"]["macs"], report["after"]["macs"]
    assert before * C_IN * C_OUT == after * (C_IN * C_MID + C_MID * C_OUT)
    assert [row["law"] for row in report["laws"]] == ["compose"]
    assert run(["verify", str(model), str(target)]) == 0
    assert [node.op_type for node in onnx.load(target).graph.node] == ["Conv"]


def test_without_verification_the_result_is_written_and_the_report_says_so(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = tmp_path / "out.onnx"
    assert run(["optimize", str(model), "-o", str(target), "--no-verify"]) == 0
    assert "not verified: --no-verify" in capsys.readouterr().out
    assert [node.op_type for node in onnx.load(target).graph.node] == ["Conv"]
    monkeypatch.setattr("onebyone.optimize.run.rewrite", faulty(rewrite))
    assert run(["optimize", str(model), "-o", str(target), "--no-verify", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["certificate"] is None
    assert [row["proved"] for row in report["laws"]] == [None]


def test_json_tells_what_was_made_and_proved(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["optimize", str(model), "--dry-run", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (law,) = report["laws"]
    assert len(law["nodes"]) == 2
    assert len(law["made"]) == 1
    assert (law["proved"], law["unproved"]) == (True, "")
    alone = report["certificate"]["alone"]
    assert (alone["rewrites"], alone["proved"]) == (1, 1)
    assert (alone["failed"], alone["unproved"]) == ([], [])
    assert 0 <= alone["used"] < 1
    assert report["certificate"]["apart"] == ""


def test_dry_run_writes_nothing(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(model.parent.iterdir())
    assert run(["optimize", str(model), "--dry-run"]) == 0
    assert "compose" in capsys.readouterr().out
    assert sorted(model.parent.iterdir()) == before


def test_without_the_law_nothing_changes(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["optimize", str(model), "--dry-run", "--without", "compose", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["laws"] == []
    assert report["before"]["macs"] == report["after"]["macs"]


def test_the_output_may_be_the_input(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["optimize", str(model), "-o", str(model)]) == 0
    assert len(onnx.load(model).graph.node) == 1
    assert capsys.readouterr().err == ""


def test_a_failed_certificate_writes_nothing(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, target = model.read_bytes(), tmp_path / "out.onnx"
    target.write_bytes(b"precious")
    # A rewrite with a fault: the weights that it composes come out doubled.
    monkeypatch.setattr("onebyone.optimize.run.rewrite", faulty(rewrite))
    assert run(["optimize", str(model), "-o", str(target), "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["certificate"]["passed"] is False
    assert err.startswith(
        f"onebyone: {model}: the certificate failed, nothing was written: random "
    )
    assert err.endswith("; if that is not the model's own doing, report it\n")
    assert (model.read_bytes(), target.read_bytes()) == (source, b"precious")


# --- verify ---------------------------------------------------------------------------------


def test_verify_accepts_the_same_model(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(model), str(model), "--json", "--seed", "3"]) == 0
    certificate = json.loads(capsys.readouterr().out)
    assert (certificate["passed"], certificate["seed"]) == (True, 3)
    assert certificate["max_abs_error"] <= certificate["bound"]


def test_verify_tells_a_changed_weight(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = chain(tmp_path / "other.onnx", bump=1)
    assert run(["verify", str(model), str(other), "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["passed"] is False
    assert re.fullmatch(r"onebyone: .* do not compute the same\n", err)


def test_verify_on_own_data(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, x=np.ones((2, C_IN, H, W), np.float32))
    assert run(["verify", str(model), str(model), "--data", str(path)]) == 0


@pytest.mark.parametrize(
    ("arrays", "code"),
    [
        ({"z": np.ones((2, C_IN, H, W), np.float32)}, 2),
        ({"x": np.ones((2, C_IN + 1, H, W), np.float32)}, 2),
        ({"x": np.ones((C_IN, H, W), np.float32)}, 2),
        ({}, 2),
        ({"x": np.array([{}])}, 3),
    ],
)
def test_data_that_does_not_fit(
    arrays: dict[str, np.ndarray],
    code: int,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    assert refused(capsys, "verify", model, model, "--data", path)[0] == code


def test_data_that_is_no_archive(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "one.npy", np.ones(3))
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut short")
    assert refused(capsys, "verify", model, model, "--data", tmp_path / "one.npy")[0] == 2
    assert refused(capsys, "verify", model, model, "--data", tmp_path / "cut.npz")[0] == 3
    assert refused(capsys, "verify", model, model, "--data", tmp_path / "none.npz")[0] == 3


def test_optimize_and_verify_say_alike_that_nothing_was_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "nan.onnx"
    onnx.save(parsed("h = Abs(x) n = Neg(h) y = Sqrt(n)", "float[4] x"), path)
    for command in (["optimize", str(path), "--dry-run"], ["verify", str(path), str(path)]):
        assert run(command) == 1
        err = capsys.readouterr().err
        assert "it cannot be told whether the models compute the same" in err
        assert "all of A is NaN, so nothing was compared: give inputs of its domain" in err
        assert "report it" not in err
