"""Without fork, SIGHUP and `resource`, as on Windows: docs/start.md says what happens then."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import C_IN, H, W, chain
from tests.signals import as_in_a_terminal

# What Windows lacks goes, before the package looks for it.
PROGRAM = """
import os, signal, sys
del os.fork, signal.SIGHUP, signal.SIGALRM, signal.setitimer, signal.pthread_sigmask
sys.modules["resource"] = None
from onebyone import cli
{more}
cli.main()
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="what is simulated here is there")


def started(*arguments: object, more: str = "") -> subprocess.Popen[str]:
    """The program on such a system, after `more` lines of Python."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(more=more), *map(str, arguments)],
        preexec_fn=as_in_a_terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_commands_do_what_they_do_elsewhere(tmp_path: Path) -> None:
    model, output = chain(tmp_path / "model.onnx"), tmp_path / "output.onnx"
    program = started("optimize", model, "-o", output, "--shape", f"x=1,{C_IN},{H},{W}")
    out, err = program.communicate()
    assert (program.returncode, err) == (0, "")
    assert "the models compute the same" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "output.onnx"]


def test_an_error_is_a_line_and_its_code(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08\x08no model")
    program = started("count", tmp_path / "model.onnx")
    out, err = program.communicate()
    assert (program.returncode, out) == (3, "")
    assert re.fullmatch(r"onebyone: [^\n]+\n", err)


def test_a_crash_ends_the_command_with_its_own_code() -> None:
    program = started(more="cli.run = lambda _: os.kill(os.getpid(), signal.SIGSEGV)")
    assert program.communicate() == ("", "")
    assert program.returncode == -signal.SIGSEGV


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heard_in_python(number: signal.Signals) -> None:
    wait = "import time; cli.cli.main = lambda *_, **__: (print('go', flush=True), time.sleep(60))"
    program = started(more=wait)
    assert program.stdout is not None
    assert program.stdout.readline() == "go\n"
    program.send_signal(number)
    assert program.communicate(timeout=30) == ("", "onebyone: interrupted\n")
    assert program.returncode == 130


def test_no_limit_is_set_and_none_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    from onebyone.graph.memory_limit import allowed
    from onebyone.process import bound_memory

    monkeypatch.setitem(sys.modules, "resource", None)
    bound_memory()
    assert allowed() is None
