"""One command on one folder, in a process of its own: what it did, and what it must not have done.

code 0..3, a line on stderr unless 0, nothing that steers a terminal, no traceback
nothing in the folder changed but the output of a success, nothing left in the temporary folder
processor time and memory under a limit
"""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onebyone.graph.time_limit import VARIABLE
from tests.signals import as_in_a_terminal

__all__ = [
    "COMMANDS",
    "NOTED",
    "Limits",
    "Verdict",
    "attempt",
    "clean",
    "left_by",
    "load",
    "snapshot",
    "start",
]

COMMANDS: Mapping[str, Sequence[str]] = {
    "count": ("count", "model.onnx"),
    "dry run": ("optimize", "--dry-run", "model.onnx"),
    "optimize": ("optimize", "model.onnx", "-o", "out.onnx"),
    "verify": ("verify", "model.onnx", "out.onnx"),
}
# What a success may add; the second where weights are external.
OUTPUT = {"out.onnx", "out.onnx.data"}
# Allowed, and worth knowing: what messages hold, and what the table calls it.
NOTED = {
    "out of memory": "3 memory",
    "TRACEBACK=1": "3 unforeseen",
    "the certificate failed": "1 certificate",
}


@dataclass(frozen=True)
class Limits:
    """What one command may take: seconds of processor, bytes of memory."""

    seconds: int = 60
    memory: int = 3 << 30

    def impose(self) -> None:
        """On this process, from now on; what goes beyond is killed, or gets no memory."""
        resource.setrlimit(resource.RLIMIT_CPU, (self.seconds, self.seconds + 1))
        resource.setrlimit(resource.RLIMIT_DATA, (self.memory, self.memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(15 * self.seconds)  # for what waits and computes nothing


@dataclass(frozen=True)
class Verdict:
    """What a command did; `faults` is empty if all was as it must be."""

    command: str
    code: int
    seconds: float
    megabytes: int
    message: str
    faults: tuple[str, ...] = ()

    @property
    def outcome(self) -> str:
        """The exit code, or why it does not count."""
        if self.faults:
            return "FAULT"
        return next(
            (name for words, name in NOTED.items() if words in self.message), str(self.code)
        )


def load() -> None:
    """Import all that the commands need: the processes are forked, and so start with it."""
    import onnx.version_converter  # noqa: F401
    import onnxruntime  # noqa: F401
    import rich.table  # noqa: F401

    import onebyone.cli
    import onebyone.graph.count
    import onebyone.verify.verify  # noqa: F401


def attempt(command: str, folder: Path, limits: Limits) -> Verdict:
    """Run one of `COMMANDS` in `folder`, which holds model.onnx."""
    before = snapshot(folder)
    with tempfile.TemporaryDirectory() as outer:
        place = Path(outer) / "place"
        child = start(command, folder, place, limits)
        _, status, usage = os.wait4(child, 0)
        _end_group(child)
        out, err = (place / "out").read_bytes(), (place / "err").read_bytes()
        left = left_by(place)
    code = os.waitstatus_to_exitcode(status)
    faults = [*_of_code(code), *_of_text(code, out, err), *left]
    faults += _of_files(command, code, before, snapshot(folder))
    seconds, peak = usage.ru_utime + usage.ru_stime, usage.ru_maxrss >> 10
    if peak << 20 > limits.memory:
        faults.append(f"{peak} MiB of memory")
    text = err.decode(errors="backslashreplace").strip()
    return Verdict(command, code, seconds, peak, text, tuple(faults))


def start(command: str, folder: Path, place: Path, limits: Limits | None = None) -> int:
    """Fork one of `COMMANDS`, which begins now; its output and temporary files are in `place`."""
    (place / "tmp").mkdir(parents=True)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        _command(COMMANDS[command], folder, place, limits, writer)
    os.close(writer)
    os.read(reader, 1)  # until it begins
    os.close(reader)
    return child


def left_by(place: Path) -> list[str]:
    """What the command left in its temporary folder."""
    return [f"left {name} in the temporary folder" for name in sorted(os.listdir(place / "tmp"))]


def _command(
    arguments: Sequence[str], folder: Path, place: Path, limits: Limits | None, ready: int
) -> None:
    """In the forked process: the command, as the installed program would run it. Never returns."""
    code = 70
    try:
        os.setsid()
        as_in_a_terminal()
        os.chdir(folder)
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(place / name, os.O_WRONLY | os.O_CREAT), stream)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
        tempfile.tempdir = None  # found anew, as in a process that has just begun
        os.environ["TMPDIR"] = str(place / "tmp")
        sys.argv = ["onebyone", *arguments]
        if limits is not None:
            limits.impose()
            os.environ[VARIABLE] = str(limits.seconds / 40)
        _begin(ready)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _begin(ready: int) -> None:
    """Run the program; say that it runs when its handlers of signals are in place."""
    from onebyone import cli

    run = cli.run

    def announced(arguments: Sequence[str]) -> int:
        os.write(ready, b".")
        return run(arguments)

    cli.run = announced
    cli.main()


def _end_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def _of_code(code: int) -> list[str]:
    if code < 0:
        name = signal.Signals(-code).name
        return ["took too long" if name in ("SIGXCPU", "SIGALRM", "SIGKILL") else f"died: {name}"]
    return [] if code in (0, 1, 2, 3) else [f"exit code {code}"]


def _of_text(code: int, out: bytes, err: bytes) -> list[str]:
    faults = []
    shown, said = out.decode(errors="replace"), err.decode(errors="replace")
    if code >= 0 and said.count("\n") != (code != 0):
        faults.append("no line on stderr" if not said else "lines on stderr")
    if "Traceback" in said + shown:
        faults.append("a traceback")
    if not (shown + said).replace("\n", "").isprintable():
        faults.append("control characters")
    if len(said) > 4000:
        faults.append("a line without end")
    return faults


def snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """What is in a folder, by name: kind, mode, and what it holds or points to."""
    return {path.name: _seen(path) for path in sorted(folder.iterdir())}


def _seen(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    held: object = None
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o400:
        held = hashlib.sha256(path.read_bytes()).hexdigest()
    elif stat.S_ISLNK(status.st_mode):
        held = os.readlink(path)
    return stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode), held


def _of_files(
    command: str, code: int, before: Mapping[str, object], after: Mapping[str, object]
) -> list[str]:
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    if command == "optimize" and code == 0:
        if "out.onnx" not in after:
            return ["wrote nothing"]
        changed -= OUTPUT
    return [f"changed {name[:60]!r}" for name in sorted(changed)]


def clean(folder: Path) -> None:
    """Take the folder away, whatever its content's permissions."""
    shutil.rmtree(folder, ignore_errors=True)
