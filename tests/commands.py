"""What tests of commands share: a small model, the program, errors in one line, keys of JSON."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onebyone.cli import run

PROGRAM = Path(sys.executable).with_name("onebyone")
C_IN, C_MID, C_OUT, H, W = 6, 16, 3, 5, 7
_WEIGHTS = [-15, -13, -11, -9, 9, 11, 13, 15]
ONE_ENGINE = ("--engine", "onnxruntime", "--threads", "1", "--seconds", "0")


def chain(path: Path, names: tuple[str, str] = ("first", "second"), bump: int = 0) -> Path:
    """Two 1x1 convolutions 6 -> 16 -> 3 without anything between, small-integer weights.

    Multiplied out, 6·16 + 16·3 = 144 MACs a position become 6·3 = 18. `bump` changes one weight.
    Odd numbers of four bits: a layer of fewer could be a stencil, which keeps its order.
    """
    random = np.random.default_rng(0)
    first = random.choice(_WEIGHTS, (C_MID, C_IN, 1, 1)).astype(np.float32)
    second = random.choice(_WEIGHTS, (C_OUT, C_MID, 1, 1)).astype(np.float32)
    second[0, 0] += bump
    nodes = [
        helper.make_node("Conv", ["x", "W1"], ["h"], names[0]),
        helper.make_node("Conv", ["h", "W2"], ["y"], names[1]),
    ]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", C_IN, H, W])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", C_OUT, H, W])],
        [numpy_helper.from_array(first, "W1"), numpy_helper.from_array(second, "W2")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def program(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """The installed program, as a process of its own."""
    command = [str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and message of a command line that must fail in one line on stderr."""
    code = run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"onebyone: [^\n]+\n", err), err
    assert err[:-1].isprintable()
    return code, err


def keys(value: object) -> set[str]:
    """All keys of nested objects; those of `shapes` are the model's names, not ours."""
    if isinstance(value, list):
        return set().union(*map(keys, value))
    if not isinstance(value, dict):
        return set()
    return set(value).union(*(keys(item) for key, item in value.items() if key != "shapes"))


def documented() -> set[str]:
    """All words of docs/json.md that are set as code; among them, every key."""
    page = Path(__file__).parents[1].joinpath("docs", "json.md").read_text(encoding="utf-8")
    return set(re.findall(r"`(\w+)`", page))
