"""The commands, as a user meets them: results on stdout, one line on stderr, an exit code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onebyone.algebra.laws import LAWS
from onebyone.cli import run
from tests.commands import (
    C_IN,
    C_MID,
    C_OUT,
    ONE_ENGINE,
    PROGRAM,
    H,
    W,
    chain,
    documented,
    keys,
    program,
    refused,
)
from tests.graphs.text import model as text_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return chain(tmp_path / "chain.onnx")


# --- the program itself ---------------------------------------------------------------------


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from onebyone.cli import run; run(['--help']); print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "optimize" in shown.stdout
    modules = {name.split(".")[0] for name in shown.stdout.splitlines()[-1].split()}
    assert not modules & {"numpy", "onnx", "onnx_ir", "onnxruntime", "rich", "scipy", "torch"}


def test_help_is_immediate() -> None:
    resource = pytest.importorskip("resource")

    def seconds() -> float:
        """Processor time of one call: on an idle machine its wall time, on a busy one still it."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert program("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.150


@pytest.mark.parametrize(
    "command",
    [[], ["count"], ["optimize"], ["verify"], ["bench"], ["profile"], ["explain"], ["explore"]],
)
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == 0
    assert "Usage: onebyone" in capsys.readouterr().out


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Commands:" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert re.fullmatch(r"onebyone \d+\.\d+\.\d+\n", capsys.readouterr().out)


# --- usage: exit 2, before any work ---------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shrink"], "No such command 'shrink'"),
        (["count"], "Missing argument 'MODEL'"),
        (["count", "m", "--fast"], "No such option"),
        (["count", "m", "--shape", "x"], "wanted NAME=SIZES"),
        (["count", "m", "--shape", "x="], "wanted NAME=SIZES"),
        (["count", "m", "--shape", "=1,3"], "wanted NAME=SIZES"),
        (["count", "m", "--shape", "x=1,b"], "wanted NAME=SIZES"),
        (["count", "m", "--shape", "x=1,0"], "wanted NAME=SIZES"),
        (["count", "m", "--shape", "x=1", "--shape", "x=2"], "give it once"),
        (["optimize", "m"], "no output given"),
        (["optimize", "m", "-o", "."], "not a file"),
        (["optimize", "m", "-o", os.devnull], "not a file"),
        (["optimize", "m", "-o", "no/such/folder/out.onnx"], "create it first"),
        (["optimize", "m", "--dry-run", "--winograd-memory", "much"], "not a valid float"),
        (["optimize", "m", "--dry-run", "--winograd-memory", "2"], "wanted --with winograd"),
        (
            ["optimize", "m", "--dry-run", "--with", "winograd", "--winograd-memory", "0"],
            "wanted a factor above 0",
        ),
        (["verify", "a", "b", "--seed", "x"], "not a valid integer"),
        (["bench"], "Missing argument 'A [B ...]'"),
        (["bench", "m", "--engine", "magic"], "wanted one of onnxruntime, openvino, litert"),
        (["bench", "m", "--threads", "0"], "0 is not in the range x>=1"),
        (["bench", "m", "--threads", "2", "--clock", "cpu"], "say --threads 1, or --clock wall"),
        (["profile"], "no output given: add -o FILE, like profile.json"),
        (["profile", "-o", "no/such/folder/here.json"], "create it first"),
        (["profile", "--engine", "magic", "-o", "here.json"], "wanted one of onnxruntime"),
        (["explain", "256"], "Missing argument 'OUT_CHANNELS'"),
        (["explain", "256", "many"], "not a valid integer"),
        (["explain", "256", "0"], "got out_channels 0, wanted at least 1"),
        (["explain", "7", "8", "--groups", "2"], "wanted both to be multiples of groups"),
        (["explain", "3", "4", "--bottleneck", "0"], "got bottleneck 0"),
        (["explain", "3", "4", "--size", "5xx"], "wanted HEIGHTxWIDTH"),
        (["explain", "3", "4", "--size", "0x5"], "got size 0"),
        (["explain", "3", "4", "--size", "1x1x1x1"], "wanted one to three axes"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, message = refused(capsys, *arguments)
    assert (code, said in message) == (2, True), message


def test_unknown_law(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, message = refused(capsys, "optimize", model, "--dry-run", "--only", "magic")
    assert code == 2
    assert "magic" in message
    assert "compose" in message


def test_help_names_every_law(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["optimize", "--help"]) == 0
    assert ", ".join(sorted(LAWS)) in " ".join(capsys.readouterr().out.split())


def test_shape_of_an_unknown_input(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "count", model, "--shape", "nosuch=1,6,5,7")[0] == 2


@pytest.mark.parametrize(
    "command", [["count"], ["optimize", "--dry-run"], ["verify", "self"], ["bench", *ONE_ENGINE]]
)
def test_the_first_line_says_open_sizes_and_can_be_pasted(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.onnx"
    text = "q = Squeeze(h, a) y = Add(x, q)"
    inputs = "float[batch,8] x, float[1,batch,8] h"
    onnx.save(text_model(text, inputs, constants={"a": np.array([0])}), path)
    arguments = [str(path) if word == "self" else word for word in [*command, str(path)]]
    assert run(arguments) == 0
    first = capsys.readouterr().out.splitlines()[0]
    told, hint = first.split("; for others add ")
    assert (told, hint) == ("open sizes: batch 1", "--shape x=1,8")
    assert run([*arguments, *hint.split()]) == 0
    assert "open sizes" not in capsys.readouterr().out


def test_data_tell_the_sizes(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data.npz"
    np.savez(data, x=np.ones((4, C_IN, H, W), np.float32))
    assert run(["optimize", str(model), "--dry-run", "--data", str(data), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["inputs"] == [{"name": "x", "shape": [4, C_IN, H, W]}]


# --- unreadable input: exit 3 ---------------------------------------------------------------


@pytest.mark.parametrize("command", [["count"], ["optimize", "--dry-run"], ["bench"]])
@pytest.mark.parametrize("content", [None, b"", b"not a model\n", b"\x08\x08\x3a\xff\xff\xff"])
def test_unreadable_model(
    command: list[str], content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.onnx"
    if content is not None:
        path.write_bytes(content)
    code, message = refused(capsys, *command, path)
    assert (code, "bad.onnx" in message) == (3, True)


def test_a_folder_is_not_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "count", tmp_path)[0] == 3


def test_unreadable_second_model(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "verify", model, "no-such-file.onnx")[0] == 3


@pytest.mark.parametrize(
    "command", [["optimize", "--dry-run"], ["verify", "self"], ["bench", *ONE_ENGINE]]
)
def test_a_model_that_contradicts_itself(
    command: list[str], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its second weight takes a channel more than the first gives: that shows when it is run."""
    proto = onnx.load(model)
    weight = np.ones((C_OUT, C_MID + 1, 1, 1), np.float32)
    proto.graph.initializer[1].CopyFrom(numpy_helper.from_array(weight, "W2"))
    onnx.save(proto, model)
    arguments = [str(model) if word == "self" else word for word in command]
    code, message = refused(capsys, *arguments, model)
    assert (code, "17" in message) == (3, True), message


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["optimize", "--dry-run"], "give sizes or data"),
        (["verify", "self"], "give sizes or data"),
        (["bench", *ONE_ENGINE], "say --shape"),
    ],
)
def test_sizes_that_the_model_cannot_take(
    command: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(text_model("y = MatMul(x, w)", "float[n,k] x", constants={"w": (C_IN, 2)}), path)
    arguments = [str(path) if word == "self" else word for word in command]
    code, message = refused(capsys, *arguments, path, "--shape", f"x=3,{C_IN + 1}")
    assert (code, said in message) == (2, True), message


def test_names_in_messages_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    code, message = refused(capsys, "count", "no\x1b[2J\u202e\nfile.onnx")
    assert code == 3
    assert r"\x1b[2J\u202e" in message


# --- what nobody foresaw --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyError("perm"), 3, "KeyError: 'perm'"),
        (ValueError("two\nlines"), 3, "two lines"),
        (MemoryError(), 3, "out of memory"),
        (RecursionError("maximum recursion depth exceeded"), 3, "nests too deeply"),
        (ImportError("No module named 'onnx'"), 2, "install onebyone again"),
        (OSError(28, "No space left on device"), 2, "No space left"),
    ],
)
def test_no_error_shows_a_traceback(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("onebyone.graph.count.count", fail)
    got, message = refused(capsys, "count", "model.onnx")
    assert (got, said in message) == (code, True), message


def _while_a_class_is_made() -> BaseException:
    """What an interruption becomes where it falls into a descriptor's `__set_name__`."""
    wrapped = RuntimeError("Error calling __set_name__")
    wrapped.__cause__ = KeyboardInterrupt()
    return wrapped


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort(), _while_a_class_is_made()])
def test_an_interruption_is_said(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise error

    monkeypatch.setattr("onebyone.graph.count.count", stop)
    assert run(["count", "model.onnx"]) == 130
    # On a terminal the cursor stands behind ^C: click ends that line first.
    assert capsys.readouterr().err.lstrip("\n") == "onebyone: interrupted\n"


def test_a_traceback_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEBYONE_TRACEBACK", "1")
    with pytest.raises(Exception, match=r"no-such-file\.onnx"):
        run(["count", "no-such-file.onnx"])


def test_a_reader_that_goes_away_is_no_failed_check(model: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [PROGRAM, "count", model, "--shape", f"x=2,{C_IN},{H},{W}"]
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_a_stdout_that_was_closed_hears_nothing() -> None:
    command = f"'{PROGRAM}' explain 3 4 >&-"
    ended = subprocess.run(command, shell=True, stderr=subprocess.PIPE, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_reader_that_goes_away_later_is_none_either() -> None:
    """Then the write fails outside of rich, and click makes it an exit without a reason."""
    code = (
        "import sys, onebyone.cli as cli\n"
        "def gone(*_):\n    raise BrokenPipeError(32, 'Broken pipe')\n"
        "cli.emit = gone\n"
        "sys.exit(cli.run(['explain', '3', '4']))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_shells_are_told_what_can_be_completed() -> None:
    """As docs/start.md has it: a function for the shell, which then asks for each word."""
    environment = os.environ | {"_ONEBYONE_COMPLETE": "zsh_source"}
    told = program(env=environment)
    assert (told.returncode, told.stderr) == (0, "")
    assert "_ONEBYONE_COMPLETE=zsh_complete" in told.stdout
    environment |= {"_ONEBYONE_COMPLETE": "bash_complete", "COMP_CWORD": "2"}
    asked = program(env=environment | {"COMP_WORDS": "onebyone optimize --dry"})
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, "plain,--dry-run\n", "")


# --- count ----------------------------------------------------------------------------------


def test_count_as_json(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["count", str(model), "--shape", f"x=2,{C_IN},{H},{W}", "--json"]) == 0
    out, err = capsys.readouterr()
    counted = json.loads(out)
    weights = C_IN * C_MID + C_MID * C_OUT
    assert (counted["schema"], counted["parameters"]) == (1, weights)
    assert counted["macs"] == counted["pointwise_macs"] == 2 * H * W * weights
    assert [layer["name"] for layer in counted["layers"]] == ["first", "second"]
    assert err == ""


def test_count_to_a_depth(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["count", str(model), "--shape", f"x=2,{C_IN},{H},{W}", "--depth", "1"]
    assert run(arguments) == 0
    assert "modules" in capsys.readouterr().out
    assert run([*arguments, "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert [branch["name"] for branch in counted["tree"]["children"]] == ["first", "second"]
    assert [each["op"] for each in counted["operators"]] == ["Conv"]
    assert counted["conventions"][0]["total"] == counted["macs"]
    assert run(["count", str(model), "--depth", "0"]) == 2


def test_node_names_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("[red]a[/red]", "b\x1b[2J")
    path = chain(tmp_path / "hostile.onnx", names)
    shape = ["--shape", f"x=1,{C_IN},{H},{W}"]
    assert run(["count", str(path), *shape]) == 0
    shown = capsys.readouterr().out
    assert "[red]a[/red]" in shown
    assert r"b\x1b[2J" in shown
    assert "\x1b" not in shown
    assert run(["count", str(path), *shape, "--json"]) == 0
    assert [layer["name"] for layer in json.loads(capsys.readouterr().out)["layers"]] == [*names]


# --- the terminal ---------------------------------------------------------------------------


def test_progress_only_on_a_terminal(model: Path) -> None:
    assert program("verify", model, model).stderr == ""
    master, slave = pytest.importorskip("pty").openpty()
    command = [PROGRAM, "verify", model, model, "--json"]
    environment = os.environ | {"TERM": "xterm", "NO_COLOR": "1"}
    shown = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=slave, env=environment, check=True
    )
    os.close(slave)
    assert b"%" in os.read(master, 1 << 16)
    os.close(master)
    assert json.loads(shown.stdout)["passed"] is True


def test_a_check_that_says_no_is_told_in_json_through_a_pipe(model: Path, tmp_path: Path) -> None:
    shown = program("verify", model, chain(tmp_path / "other.onnx", bump=1), "--json")
    assert (shown.returncode, json.loads(shown.stdout)["passed"]) == (1, False)


def test_an_ascii_terminal_shows_the_report(model: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    shown = program("optimize", model, "--dry-run", env=environment)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.isascii()


# --- the documented schemas -----------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ["count", "--shape", f"x=1,{C_IN},{H},{W}"],
        ["optimize", "--dry-run"],
        ["verify", "self"],
        ["bench", "self", *ONE_ENGINE],
        ["explain", "6", "4"],
    ],
    ids=lambda command: command[0],
)
def test_every_key_is_documented(
    command: list[str], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(model) if word == "self" else word for word in command]
    target = [] if command[0] == "explain" else [str(model)]
    assert run([*arguments, *target, "--json"]) == 0
    assert keys(json.loads(capsys.readouterr().out)) <= documented()
