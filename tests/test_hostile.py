"""Interrupted runs and hostile files, at the level of files and of the program."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onebyone.cli import run
from onebyone.errors import UsageError
from onebyone.graph import write as module
from onebyone.graph.evaluate import CannotEvaluate, evaluate
from onebyone.graph.read import read
from onebyone.graph.write import write
from onebyone.process import memory
from tests.commands import chain
from tests.hostile.deep import DEEP
from tests.quick import slow_but

ROOT = Path(__file__).parents[1]
PAIR, SINGLE = 1000, 10**9  # the largest message: with external data, and without


def affine(scale: float) -> onnx.ModelProto:
    """x @ w + b, of which the weight is large enough to be written apart."""
    weight = np.full((300, 5), scale, np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 300])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(weight[0], "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def written(folder: Path, scale: float, largest: int) -> dict[str, bytes]:
    write(read(affine(scale)), folder / "model.onnx", largest=largest)
    return contents(folder)


# --- interrupted ----------------------------------------------------------------------------


class _Stack(ctypes.Structure):
    """`stack_t` of signal.h."""

    _fields_ = (("at", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@pytest.fixture
def usual_stack() -> None:
    """Signals come on the usual stack.

    Once OpenVINO has run in this process, a signal may save more registers than there is room for
    on the alternative stack that pytest or a library has set up, and the kernel ends the process.
    """
    if sys.platform == "linux":
        disabled = _Stack(None, 2, 0)  # SS_DISABLE
        assert ctypes.CDLL(None).sigaltstack(ctypes.byref(disabled), None) == 0


@contextmanager
def interrupted_at(line: int, number: int) -> Iterator[list[int]]:
    """A signal arrives before the `line`-th line that `onebyone.graph.write` executes."""
    seen = [0]

    def trace(frame: FrameType, event: str, argument: Any) -> Callable[..., Any] | None:
        if frame.f_code.co_filename != module.__file__:
            return None
        if event == "line":
            seen[0] += 1
            if seen[0] == line:
                signal.raise_signal(number)
        return trace

    before = signal.signal(number, signal.default_int_handler)
    sys.settrace(trace)
    try:
        yield seen
    finally:
        sys.settrace(None)
        signal.signal(number, before)


@pytest.mark.usefixtures("usual_stack")
@pytest.mark.parametrize(
    ("there", "largest", "number"),
    [
        (True, PAIR, signal.SIGINT),
        (True, PAIR, signal.SIGTERM),
        (True, SINGLE, signal.SIGINT),
        (False, PAIR, signal.SIGINT),
    ],
)
def test_an_interrupt_at_any_line_leaves_old_or_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool, largest: int, number: int
) -> None:
    """Every line that `write` executes is tried; what follows a signal is as if it came there."""
    monkeypatch.setattr(module.os, "fsync", lambda descriptor: None)  # slow, and not the point
    (tmp_path / "new").mkdir()
    new, lines, outcomes = written(tmp_path / "new", 2.0, largest), 1, []
    usual = signal.getsignal(signal.SIGINT)
    while len(outcomes) < lines:
        folder = tmp_path / str(len(outcomes))
        folder.mkdir()
        old = written(folder, 1.0, largest) if there else {}
        model = read(affine(2.0))
        try:
            with interrupted_at(len(outcomes) + 1, number) as seen:
                write(model, folder / "model.onnx", largest=largest)
                lines = seen[0]
        except KeyboardInterrupt:
            lines = len(outcomes) + 2  # at least one line more
        outcomes.append("old" if contents(folder) == old else "new")
        assert contents(folder) in (old, new), (outcomes[-5:], os.listdir(folder))
        assert signal.getsignal(signal.SIGINT) is usual
    assert outcomes.index("new") > 30
    assert set(outcomes[outcomes.index("new") :]) == {"new"}  # once it is there, it stays


def test_an_interrupt_that_is_ignored_stays_so(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with interrupted_at(0, signal.SIGINT):
            written(tmp_path, 1.0, SINGLE)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


# --- no room, no permission, no place ---------------------------------------------------------


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """The disk is full for files of more than so many bytes."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 1, 100, 300, 1023, 4096, 5999])
@pytest.mark.parametrize("largest", [PAIR, SINGLE])
@pytest.mark.parametrize("there", [True, False])
def test_a_full_disk(tmp_path: Path, there: bool, largest: int, size: int) -> None:
    old = written(tmp_path, 1.0, largest) if there else {}
    model = read(affine(2.0))
    with files_at_most(size), pytest.raises(UsageError, match=r"cannot write .*; choose"):
        write(model, tmp_path / "model.onnx", largest=largest)
    assert contents(tmp_path) == old


def test_data_that_the_source_needs_is_not_replaced(tmp_path: Path) -> None:
    source = tmp_path / "source.onnx"
    for name in ("data", "other.onnx.data"):
        onnx.save(affine(1.0), source, save_as_external_data=True, location=name, size_threshold=0)
    (tmp_path / "data").unlink()
    before = contents(tmp_path)
    for name in ("other.onnx", "other.onnx.data"):
        with pytest.raises(UsageError, match=r"is the data of the model that was read"):
            write(read(source), tmp_path / name)
    assert contents(tmp_path) == before


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"onebyone: [^\n]+\n", err), err
    assert err[:-1].isprintable()
    return code, err


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    onnx.save(affine(1.0), folder / "model.onnx")
    return folder / "model.onnx"


def test_an_output_that_is_no_file(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = model.parent
    (folder / "folder").mkdir()
    (folder / "link").symlink_to("folder")
    os.mkfifo(folder / "pipe")
    before = sorted(os.listdir(folder))
    for name in ("folder", "link", "pipe"):
        assert said(capsys, "optimize", model, "-o", folder / name)[0] == 2
    assert said(capsys, "optimize", model, "-o", folder / ("x" * 300))[0] == 2
    assert sorted(os.listdir(folder)) == before


@pytest.mark.skipif(not os.access("/proc/sys", os.F_OK), reason="no read-only folder is known here")
def test_a_folder_that_takes_no_files(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "optimize", model, "-o", "/proc/sys/out.onnx")[0] == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(model.parent)
    model.parent.chmod(0o555)
    assert said(capsys, "optimize", model, "-o", model.parent / "out.onnx")[0] == 2
    model.parent.chmod(0o755)
    assert contents(model.parent) == before


def test_an_input_that_takes_itself_as_output_is_left_alone_by_failures(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain(model)  # something to gain, so that there is something to write
    before = contents(model.parent)
    with files_at_most(100):
        assert said(capsys, "optimize", model, "-o", model)[0] == 2
    assert contents(model.parent) == before


# --- long and deep ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", slow_but(*DEEP.keys() - {"10,000 convolutions"}, of=list(DEEP)))
def test_long_and_deep_models(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Optimised or refused; the chains are counted (`benchmarks/hostile.py` optimises them)."""
    data, codes = DEEP[name]
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    command = ["count"] if name.startswith("10,000") else ["optimize", "--dry-run"]
    before = time.process_time()
    code = run([*command, "--json", str(path)])
    out, err = capsys.readouterr()
    assert code in codes
    assert bool(out) == (code == 0)
    assert re.fullmatch(r"onebyone: [^\n]+\n" if code else "", err)
    assert time.process_time() - before < 20


# --- data that is no data ---------------------------------------------------------------------


def header(shape: str, kind: str = "<f4") -> bytes:
    text = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


PICKLE = b"cos\nsystem\n(S'touch was-run'\ntR."
ARCHIVES = {
    "a pickle": header("(1,)", "|O") + PICKLE,
    "a vast claim": header(f"({2**45},)"),
    "more than there is": header("(2000000000,)") + bytes(64),
    "negative": header("(-1,)") + bytes(64),
    "overflowing": header(f"({2**62}, 16)") + bytes(64),
    "code": header("(__import__('os').getpid(),)"),
    "an unknown type": header("(1,)", "<M8[foo]") + bytes(8),
    "a deep header": b"\x93NUMPY\x02\x00" + (9000).to_bytes(4, "little") + b"(" * 9000,
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives(
    name: str, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(model.parent)
    with zipfile.ZipFile("data.npz", "w") as archive:
        archive.writestr("x.npy", ARCHIVES[name])
    assert said(capsys, "verify", model, model, "--data", "data.npz")[0] == 3
    Path("data.npz").write_bytes(ARCHIVES[name])
    assert said(capsys, "verify", model, model, "--data", "data.npz")[0] in (2, 3)
    assert not Path("was-run").exists()


def test_an_archive_that_unpacks_to_much(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(model.parent)
    monkeypatch.setattr("onebyone.paths.LARGEST_DATA", 1 << 20)
    np.savez_compressed("data.npz", x=np.zeros((1000, 300), np.float32))
    assert os.path.getsize("data.npz") < 3000
    code, message = said(capsys, "verify", model, model, "--data", "data.npz")
    assert (code, "unpacks to more than" in message) == (3, True)


@pytest.mark.parametrize(("at", "value"), [(6, 1), (8, 97)])
def test_an_archive_that_cannot_be_unpacked(
    at: int, value: int, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Encrypted, and packed by a method that nobody knows."""
    path = model.with_name("data.npz")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header("(1,)") + bytes(4))
    data = bytearray(path.read_bytes())
    data[at] = data[data.index(b"PK\x01\x02") + at + 2] = value
    path.write_bytes(data)
    code, message = said(capsys, "verify", model, model, "--data", path)
    assert (code, "wanted an .npz file" in message) == (3, True)


# --- the process ------------------------------------------------------------------------------


def test_the_memory_of_a_machine_and_of_a_container(tmp_path: Path) -> None:
    machine, container = tmp_path / "meminfo", tmp_path / "memory.max"
    machine.write_text("MemTotal:  1000 kB\nMemFree:  1 kB\nSwapTotal:   24 kB\n")
    assert memory(machine, container) == 1 << 20
    container.write_text("max\n")
    assert memory(machine, container) == 1 << 20
    container.write_text("4096\n")
    assert memory(machine, container) == 4096


def endless(kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """A Loop whose condition stays true."""
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Neg", ["v"], ["w"])],
        "body",
        [
            info("i", TensorProto.INT64, []),
            info("go", TensorProto.BOOL, []),
            info("v", kind, [3]),
        ],
        [info("on", TensorProto.BOOL, []), info("w", kind, [3])],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["", "yes", "x"], ["y"], body=body)],
        "g",
        [info("x", kind, [3])],
        [info("y", kind, [3])],
        [helper.make_tensor("yes", TensorProto.BOOL, [], [True])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    "command",
    [["optimize", "-o", "out.onnx"], ["verify", "model.onnx"], ["bench", "--threads", "1"]],
)
def test_a_loop_without_end_is_broken_off(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ONEBYONE_TIME_LIMIT", "0.5")
    monkeypatch.chdir(tmp_path)
    onnx.save(endless(), "model.onnx")
    code, message = said(capsys, *command, "model.onnx")
    assert (code, "took over 0.5 s: is there a loop without end?" in message) == (3, True)
    assert message.endswith("If not, set ONEBYONE_TIME_LIMIT=5\n")
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_a_loop_without_end_is_broken_off_in_numpy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which runs what ONNX Runtime does not take."""
    with pytest.raises(CannotEvaluate, match="without end"):
        evaluate(read(endless()), {"x": np.zeros(3, np.float32)}, longest=0.2)
    monkeypatch.setenv("ONEBYONE_TIME_LIMIT", "0.2")
    onnx.save(endless(TensorProto.BFLOAT16), tmp_path / "model.onnx")
    code, message = said(capsys, "optimize", "--dry-run", tmp_path / "model.onnx")
    assert (code, "a Loop in NumPy took over 0.2 s" in message) == (3, True)


def test_what_libraries_write_to_stderr_is_not_seen() -> None:
    """The program's own line is; descriptor 2 is what libraries of C++ know."""
    code = """
import os, sys
sys.argv[1:] = ["count", "missing.onnx"]
from onebyone import cli
told = cli.run
cli.run = lambda arguments: os.write(2, b"noise") and told(arguments)
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert re.fullmatch(r"onebyone: missing\.onnx: [^\n]+\n", done.stderr)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize(
    ("mutants", "interruptions"), [(5, 3), pytest.param(25, 12, marks=pytest.mark.slow)]
)
def test_mutants_and_random_interruptions(mutants: int, interruptions: int) -> None:
    """A slice of `benchmarks/hostile.py`: mutants of each kind, and runs that are interrupted."""
    command = [sys.executable, ROOT / "benchmarks" / "hostile.py", "--no-deep", "--workers", "1"]
    command += ["--mutants", str(mutants), "--interruptions", str(interruptions)]
    command += ["--sources", "controlled"]
    command += ["--kinds", "bytes", "fields", "graph", "names", "external"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"0 of {mutants} mutants met a fault" in done.stdout
    assert f"0 of {interruptions} interruptions" in done.stdout
