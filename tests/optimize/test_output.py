"""What the command says it wrote."""

from __future__ import annotations

from math import inf
from pathlib import Path

import onnx
import pytest

from onebyone.cli import run
from onebyone.optimize import optimize

from ..graphs.text import model


def test_it_says_what_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "a.onnx", tmp_path / "b\n.onnx"
    onnx.save(model("t = Conv(x, u) y = Conv(t, v)", "float[2,3,5,4] x",
                    constants={"u": (7, 3, 1, 1), "v": (2, 7, 1, 1)}), source)  # fmt: skip
    assert run(["optimize", str(source), "-o", str(target)]) == 0
    assert capsys.readouterr().out.endswith(f"\nwritten to {tmp_path / 'b'}\\n.onnx\n")
    assert target.is_file()
    assert run(["optimize", str(source), "--dry-run"]) == 0
    assert capsys.readouterr().out.endswith("\nnothing was written\n")
    assert run(["optimize", str(source), "-o", str(target), "--json"]) == 0
    assert capsys.readouterr().out.endswith("}\n")


def test_nodes_without_names_are_counted_and_told_apart() -> None:
    proto = model("t = Conv(x, u) y = Conv(t, v)", "float[2,3,5,4] x",
                  constants={"u": (7, 3, 1, 1), "v": (2, 7, 1, 1)})  # fmt: skip
    (row,) = optimize(proto, lost_bits=inf).report.laws
    assert row.nodes == ("t", "y")
