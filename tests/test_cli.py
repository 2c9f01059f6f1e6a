"""The commands, as a user meets them: results on stdout, one line on stderr, an exit code."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from onebyone.algebra.laws import LAWS
from onebyone.cli import run
from onebyone.measure import profile as profiling
from onebyone.measure.turns import take_turns
from onebyone.optimize.rewrite import rewrite

T = TypeVar("T")
PROGRAM = Path(sys.executable).with_name("onebyone")
C_IN, C_MID, C_OUT, H, W = 6, 16, 3, 5, 7


def chain(path: Path, names: tuple[str, str] = ("first", "second"), bump: int = 0) -> Path:
    """Two 1x1 convolutions 6 -> 16 -> 3 without anything between, small-integer weights.

    Multiplied out, 6·16 + 16·3 = 144 MACs a position become 6·3 = 18. `bump` changes one weight.
    """
    random = np.random.default_rng(0)
    first = random.integers(-3, 4, (C_MID, C_IN, 1, 1)).astype(np.float32)
    second = random.integers(-3, 4, (C_OUT, C_MID, 1, 1)).astype(np.float32)
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


@pytest.fixture(autouse=True)
def _piped(monkeypatch: pytest.MonkeyPatch) -> None:
    """stdout is a pipe without a width of its own, under any runner."""
    monkeypatch.delenv("COLUMNS", raising=False)


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


# --- the program itself ---------------------------------------------------------------------


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from onebyone.cli import run; run(['--help']); print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "optimize" in shown.stdout
    modules = {name.split(".")[0] for name in shown.stdout.splitlines()[-1].split()}
    assert not modules & {"numpy", "onnx", "onnx_ir", "onnxruntime", "rich", "scipy", "torch"}


def test_help_is_immediate() -> None:
    def seconds() -> float:
        """Processor time of one call: on an idle machine its wall time, on a busy one still it."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert program("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.150


@pytest.mark.parametrize(
    "command", [[], ["count"], ["optimize"], ["verify"], ["bench"], ["profile"], ["explain"]]
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
        (["verify", "a", "b", "--seed", "x"], "not a valid integer"),
        (["bench"], "Missing argument 'A [B …]'"),
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


def test_count_needs_the_sizes_left_open(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, message = refused(capsys, "count", model)
    assert (code, "--shape" in message) == (2, True)


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


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
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


def test_a_reader_that_goes_away_later_is_none_either() -> None:
    """Then the write fails outside of rich, and click makes it an exit without a reason."""
    code = (
        "import sys, onebyone.cli as cli\n"
        "def gone(*_):\n    raise BrokenPipeError(32, 'Broken pipe')\n"
        "cli._emit = gone\n"
        "sys.exit(cli.run(['explain', '3', '4']))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (141, b"")


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


# --- optimize -------------------------------------------------------------------------------


def test_optimize_writes_an_equal_cheaper_model(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.onnx"
    assert run(["optimize", str(model), "-o", str(target), "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (report["schema"], report["certificate"]["passed"], err) == (1, True, "")
    before, after = report["before"]["macs"], report["after"]["macs"]
    assert before * C_IN * C_OUT == after * (C_IN * C_MID + C_MID * C_OUT)
    assert [row["law"] for row in report["laws"]] == ["compose"]
    assert run(["verify", str(model), str(target)]) == 0
    assert [node.op_type for node in onnx.load(target).graph.node] == ["Conv"]


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


# --- bench and profile ----------------------------------------------------------------------

ONE_ENGINE = ("--engine", "onnxruntime", "--threads", "1", "--seconds", "0")


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
    page = Path(__file__).parents[1].joinpath("docs", "json.md").read_text(encoding="utf-8")
    assert keys(told) <= set(re.findall(r"`(\w+)`", page))
    assert run(["optimize", str(model), "--dry-run", "--profile", str(path)]) == 0
    assert run(["profile", "--threads", "1", "-o", str(path)]) == 0
    assert "bilinear" in capsys.readouterr().out


# --- the terminal ---------------------------------------------------------------------------


def test_progress_only_on_a_terminal(model: Path) -> None:
    assert program("verify", model, model).stderr == ""
    master, slave = pty.openpty()
    command = [PROGRAM, "verify", model, model, "--json"]
    environment = os.environ | {"TERM": "xterm", "NO_COLOR": "1"}
    shown = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=slave, env=environment, check=True
    )
    os.close(slave)
    assert b"%" in os.read(master, 1 << 16)
    os.close(master)
    assert json.loads(shown.stdout)["passed"] is True


def test_an_ascii_terminal_shows_the_report(model: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    shown = program("optimize", model, "--dry-run", env=environment)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.isascii()


# --- explain --------------------------------------------------------------------------------


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


# --- the documented schemas -----------------------------------------------------------------


def keys(value: object) -> set[str]:
    """All keys of nested objects; those of `shapes` are the model's names, not ours."""
    if isinstance(value, list):
        return set().union(*map(keys, value))
    if not isinstance(value, dict):
        return set()
    return set(value).union(*(keys(item) for key, item in value.items() if key != "shapes"))


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
    page = Path(__file__).parents[1].joinpath("docs", "json.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`(\w+)`", page))
    assert keys(json.loads(capsys.readouterr().out)) <= documented
