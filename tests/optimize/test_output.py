"""What the command says it wrote."""

from __future__ import annotations

from math import inf
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.commands import chain

from onebyone.cli import run
from onebyone.optimize import optimize

from ..graphs.text import model


def test_it_says_what_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = chain(tmp_path / "a.onnx"), tmp_path / "b\n.onnx"
    assert run(["optimize", str(source), "-o", str(target)]) == 0
    assert f"\nwritten to {tmp_path / 'b'}\\n.onnx\n" in capsys.readouterr().out
    assert target.is_file()
    assert run(["optimize", str(source), "--dry-run"]) == 0
    assert "\nnothing was written\n" in capsys.readouterr().out
    assert run(["optimize", str(source), "-o", str(target), "--json"]) == 0
    assert capsys.readouterr().out.endswith("}\n")


def test_nodes_without_names_are_counted_and_told_apart() -> None:
    proto = model("t = Conv(x, u) y = Conv(t, v)", "float[2,3,5,4] x",
                  constants={"u": (7, 3, 1, 1), "v": (2, 7, 1, 1)})  # fmt: skip
    (row,) = optimize(proto, lost_bits=inf).report.laws
    assert row.nodes == ("t", "y")


def test_what_the_command_reads_is_not_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, data, profile = (tmp_path / name for name in ("a.onnx", "x.npz", "p.json"))
    onnx.save(model("y = Relu(x)", "float[2,3] x"), source)
    np.savez(data, x=np.ones((2, 3), np.float32))
    profile.write_text('{"channels": 1}')
    (tmp_path / "link").symlink_to("x.npz")
    for target in (data, profile, tmp_path / "link"):
        had = target.read_bytes()
        command = ["optimize", str(source), "--data", str(data), "--profile", str(profile)]
        assert run([*command, "-o", str(target)]) == 2
        assert "which is read: choose another name" in capsys.readouterr().err
        assert target.read_bytes() == had
