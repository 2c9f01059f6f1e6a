"""`onebyone explain`, as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from onebyone.cli import run


def test_explain_is_one_screen(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "256", "64", "--kernel", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(len(line.rstrip()) for line in lines) <= 80
    shown = "\n".join(lines)
    for told in ("16,448", "590,080 / 36,928 =  15.98×", "590,080 / 70,016 =   8.43×"):
        assert told in shown


def test_explain_takes_every_number(capsys: pytest.CaptureFixture[str]) -> None:
    options = "--kernel 5 --stride 2 --groups 4 --no-bias --bottleneck 3 --size 9x7 --json"
    assert run(["explain", "8", "12", *options.split()]) == 0
    value = json.loads(capsys.readouterr().out)
    # 12 · 8/4 · 5·5 weights at each of ⌈9/2⌉ · ⌈7/2⌉ positions.
    assert (value["layer"]["parameters"], value["layer"]["macs"]) == (600, 600 * 5 * 4)
    assert (value["input"], value["layer"]["output"], value["stride"]) == ([9, 7], [5, 4], 2)
    assert value["bottleneck"]["name"] == "8 → 3 → 3 → 12"


def test_explain_needs_no_torch() -> None:
    code = (
        "import sys; from onebyone.cli import run; run(['explain', '3', '4']); print(*sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = {name.split(".")[0] for name in shown.stdout.splitlines()[-1].split()}
    assert not modules & {"torch", "onnx", "onnxruntime"}
