"""`onebyone optimize`, as a user meets it: the verdict first, what to do next last."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import numpy as np
import onnx
import pytest

from onebyone.cli import run
from tests.commands import C_IN, ONE_ENGINE, H, W, chain, program
from tests.graphs.text import model as text_model
from tests.quick import slow_but


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return chain(tmp_path / "a chain.onnx")


def nothing(path: Path) -> Path:
    """A model with nothing to gain, in a form that onebyone itself would not write."""
    proto = text_model("h = Relu(x) y = MatMul(h, w)", "float[n,3] x", constants={"w": (3, 2)})
    proto.producer_name = "somebody"
    proto.opset_import.append(onnx.helper.make_opsetid("not.used", 1))
    onnx.save(proto, path)
    return path


def last(text: str) -> list[str]:
    return text.splitlines()[-3:]


def test_it_ends_with_what_to_do_next_and_that_can_be_pasted(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, shape = tmp_path / "out it is.onnx", f"x=2,{C_IN},{H},{W}"
    assert run(["optimize", str(model), "-o", str(out), "--shape", shape]) == 0
    written, following, hint = last(capsys.readouterr().out)
    assert written == f"written to {out}"
    words = shlex.split(following)
    assert words == ["next", "onebyone", "bench", str(model), str(out), "--shape", shape]
    assert "quantise" in hint
    assert run([*words[2:], *ONE_ENGINE]) == 0
    capsys.readouterr()
    assert run(["optimize", str(model), "--dry-run"]) == 0
    written, following, _ = last(capsys.readouterr().out)
    assert written == "nothing was written"
    assert shlex.split(following)[1:] == ["onebyone", "optimize", str(model), "-o", "OUT.onnx"]


def test_with_nothing_to_gain_out_is_the_input_byte_for_byte(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = nothing(tmp_path / "in.onnx"), tmp_path / "out.onnx"
    assert run(["optimize", str(source), "-o", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "gained  nothing to gain" in shown
    assert shown.endswith(f"{out} is {source}, byte for byte\n")
    assert out.read_bytes() == source.read_bytes()
    assert run(["optimize", str(source), "-o", str(source)]) == 0
    assert capsys.readouterr().out.endswith(f"{source} stays as it is\n")
    assert out.read_bytes() == source.read_bytes()


def test_quantise_after_is_said_where_it_was_done_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "quantised.onnx"
    constants = {"s": np.array(0.5, np.float32), "z": np.array(3, np.uint8)}
    text = "q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z)"
    onnx.save(text_model(text, "float[n,3] x", constants=constants), path)
    assert run(["optimize", str(path), "--dry-run"]) == 0
    assert "optimise first, then quantise" in last(capsys.readouterr().out)[-1]


TERMINALS = {
    f"{encoding} {width}": (encoding, width)
    for encoding in ("ascii", "cp1252", "utf-8")
    for width in ("40", "80")
}


@pytest.mark.parametrize("terminal", slow_but("ascii 40", "cp1252 80", of=TERMINALS))
def test_any_terminal_can_show_it(terminal: tuple[str, str], model: Path) -> None:
    encoding, width = terminal
    surroundings = {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    environment = os.environ | surroundings | {"COLUMNS": width}
    shown = program(
        "optimize", model, "--dry-run", env=environment, encoding=encoding, errors="strict"
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "\\x" not in shown.stdout
    assert "\\u" not in shown.stdout
    if encoding != "utf-8":
        assert "W2(W1x" in shown.stdout
    failed = program("count", "no such → file", env=environment, encoding=encoding)
    wanted = "no such → file" if encoding == "utf-8" else "no such -> file"
    assert (failed.returncode, wanted in failed.stderr) == (3, True), failed.stderr


def test_the_report_as_json_is_not_followed_by_words(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["optimize", str(model), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == 2


def test_small_external_data_are_seen_by_the_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In bytes their place is lost: the certificate was then of NumPy alone."""
    path = tmp_path / "model.onnx"
    proto = text_model("y = MatMul(x, w)", "float[n,3] x", constants={"w": (3, 2)})
    onnx.save(proto, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    assert run(["optimize", str(path), "--dry-run", "--json"]) == 0
    engine = json.loads(capsys.readouterr().out)["certificate"]["engine"]
    assert engine.startswith("ONNX Runtime")


def test_a_law_that_has_to_be_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "in.onnx", tmp_path / "out.onnx"
    weight = np.random.default_rng(0).standard_normal((128, 96, 3, 3)).astype(np.float32) / 30
    body = "y = Conv<pads = [1, 1, 1, 1]>(x, k)"
    onnx.save(text_model(body, "float[1,96,24,28] x", constants={"k": weight}), source)
    (machine := tmp_path / "machine.json").write_text('{"rows": 2.5, "bandwidth": 9e10}', "utf-8")
    assert run(["optimize", str(source), "--dry-run"]) == 0
    assert "nothing to gain" in capsys.readouterr().out
    asked = ["--profile", str(machine), "--with", "winograd"]
    assert run(["optimize", str(source), "-o", str(out), *asked]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "cost nodes 1 → " in shown
    assert "; weights 442 kB → 885 kB" in shown
    # Maps of 24 rows become maps of 6 tiles that see 6 rows each.
    assert "; peak memory of activations 602 kB → 903 kB" in shown
    assert "take the original, not this" in shown
    assert "bits of what is computed on tiles" in shown
    assert "tiles of 4 rows" in shown
    limit = [*asked, "--winograd-memory"]
    assert run(["optimize", str(source), "-o", str(out), *limit, "1.4"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "; peak memory of activations 602 kB → 731 kB" in shown
    assert run(["optimize", str(source), "--dry-run", *limit, "1.2"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "nothing to gain" in shown
    assert "would take 731,136 bytes at once, more than" in shown
    assert run(["optimize", str(source), "--dry-run", "--with", "magic"]) == 2
    assert "got law 'magic'" in capsys.readouterr().err
