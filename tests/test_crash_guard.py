"""A command is watched: crashes become a line, signals arrive, nobody is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.signals import SIGNALS, as_in_a_terminal

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork, nothing is watched")

PROGRAM = """
import os, signal, sys, tempfile, time
from onebyone import cli
def run(arguments):
    {does}
cli.run = run
cli.main()
"""


def started(does: str, folder: Path) -> subprocess.Popen[str]:
    """The program, of which the command is this line of Python."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(does=does)],
        env={**os.environ, "TMPDIR": str(folder)},
        preexec_fn=as_in_a_terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("code", [0, 1, 2, 3, 130, 141])
def test_exit_codes_pass_through(code: int, tmp_path: Path) -> None:
    program = started(f"print('out'); print('err', file=sys.stderr); return {code}", tmp_path)
    assert (*program.communicate(), program.returncode) == ("out\n", "err\n", code)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "said"), [("SIGSEGV", "a library crashed"), ("SIGKILL", "memory was short")]
)
def test_a_crash_is_a_line_and_leaves_nothing(name: str, said: str, tmp_path: Path) -> None:
    program = started(f"tempfile.mkstemp(); os.kill(os.getpid(), signal.{name})", tmp_path)
    out, err = program.communicate()
    assert (out, program.returncode) == ("", 3)
    assert err.startswith("onebyone: ")
    assert said in err
    assert err.count("\n") == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", SIGNALS)
def test_signals_are_handed_on(number: signal.Signals, tmp_path: Path) -> None:
    program = started("print('go', flush=True); time.sleep(60)", tmp_path)
    assert program.stdout is not None
    assert program.stdout.readline() == "go\n"
    program.send_signal(number)
    assert program.communicate(timeout=30)[1] == ""  # run() says it; here it is another one
    assert program.returncode == 130
    assert os.listdir(tmp_path) == []


# As in native code: the signal is there, and Python does not hear of it.
DEAF = (
    "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]); "
    "tempfile.mkstemp(); print('go', flush=True); "
)


@pytest.mark.parametrize("number", SIGNALS)
def test_native_code_does_not_keep_anybody_waiting(number: signal.Signals, tmp_path: Path) -> None:
    program = started(DEAF + "time.sleep(60)", tmp_path)
    assert program.stdout is not None
    assert program.stdout.readline() == "go\n"
    begin = time.monotonic()
    program.send_signal(number)
    assert program.communicate(timeout=30)[1] == "onebyone: interrupted\n"
    assert program.returncode == 130
    assert time.monotonic() - begin < 2
    assert os.listdir(tmp_path) == []


def test_a_file_is_written_to_its_end(tmp_path: Path) -> None:
    inside = (
        "w = cli.unbroken(); w.__enter__(); time.sleep(2); "
        "print('whole', flush=True); "
        "w.__exit__(None, None, None); time.sleep(60)"
    )
    program = started(DEAF + inside, tmp_path)
    assert program.stdout is not None
    assert program.stdout.readline() == "go\n"
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=30)
    assert (out, err, program.returncode) == ("whole\n", "onebyone: interrupted\n", 130)


def test_an_engine_at_work_does_not_hold_up_the_end(tmp_path: Path) -> None:
    program = started(
        "import atexit; atexit.register(time.sleep, 60); print('said'); return 3", tmp_path
    )
    assert program.communicate(timeout=30) == ("said\n", "")
    assert program.returncode == 3


def test_openvino_has_a_time_limit_too(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    text = (
        '<ir_version: 8, opset_import: ["": 17]> g (float[4] x) => (float[4] y) '
        "<int64 m = {4611686018427387904}, bool t = {1}> { y = Loop (m, t, x) <body = b "
        "(int64 i, bool c, float[4] s) => (bool d, float[4] u) { d = Identity(c) u = Add(s, s) }> }"
    )
    onnx.save(onnx.parser.parse_model(text), tmp_path / "endless.onnx")
    ended = subprocess.run(
        [sys.executable, "-m", "onebyone", "bench", "endless.onnx", "--engine", "openvino"],
        cwd=tmp_path,
        env={**os.environ, "ONEBYONE_TIME_LIMIT": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "a run in OpenVINO took over 1 s" in ended.stderr


def test_a_command_whose_parent_was_killed_ends(tmp_path: Path) -> None:
    program = started("print('go', flush=True); time.sleep(60)", tmp_path)
    assert program.stdout is not None
    assert program.stdout.readline() == "go\n"
    program.kill()
    program.communicate(timeout=30)  # until nobody holds the pipes any more


def test_a_model_that_crashes_the_engine(tmp_path: Path) -> None:
    """The number of elements overflows in Tile; whatever the engine does, it is one line."""
    graph = helper.make_graph(
        [helper.make_node("Tile", ["x", "times"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 5, 7])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([2**62, 1, 1, 1]), "times")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "model.onnx")
    main = "from onebyone.cli import main; main()"
    command = [sys.executable, "-c", main, "optimize", "model.onnx", "-o", "out.onnx"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode in (2, 3), done
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert os.listdir(tmp_path) == ["model.onnx"]
