"""The program watched by its parent: what kills a library of C++ becomes one line and an exit code.

    main ──fork──▶ the command, as if nothing were
      └── waits, hands signals on ──▶ its exit code, or 3 and a line where it crashed

ONNX Runtime multiplies some sizes without looking: a file can make it write where it must not.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

__all__ = ["watched"]

# Of a bug in native code, on damaged input; and what the kernel sends where memory is short.
_CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL")
# Seconds for a command to clean up after the parent was killed.
_GRACE = 5.0


def watched() -> None:
    """Fork, and return in the child; the parent ends with the child's exit code.

    Nothing happens where there is no fork, or no room for another process.
    """
    if not hasattr(os, "fork"):
        return
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError):  # closed by who started us
            stream.flush()
    scratch = _scratch()
    reader, writer = os.pipe()
    handed = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, handed)
    try:
        child = os.fork()
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return
    if child:
        os.close(reader)
        _wait(child, mask, scratch)
    os.close(writer)
    if scratch is not None:
        os.environ["TMPDIR"] = str(scratch)
    threading.Thread(target=_end_with_parent, args=(reader,), daemon=True).start()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _scratch() -> Path | None:
    """A folder for temporary files, which goes with the command however that ends."""
    path = Path(os.environ.get("TMPDIR") or "/tmp", f"onebyone-{secrets.token_hex(8)}")
    try:
        path.mkdir(mode=0o700)
    except OSError:
        return None
    return path.absolute()


def _end_with_parent(reader: int) -> None:
    """The parent never writes: what can be read is that it is gone. Then nobody waits for us."""
    os.read(reader, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(_GRACE)
    os._exit(1)


def _wait(child: int, mask: set[int | signal.Signals], scratch: Path | None) -> NoReturn:
    """In the parent: until the child ends, and then in the same way."""

    def hand_on(number: int, _: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            os.kill(child, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, hand_on)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    _, status = os.waitpid(child, 0)
    _remove(scratch)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else _died(signal.Signals(-code)))


def _remove(scratch: Path | None) -> None:
    if scratch is None:
        return
    try:
        scratch.rmdir()
    except OSError:  # a crash has left something in it
        import shutil

        shutil.rmtree(scratch, ignore_errors=True)


def _died(number: signal.Signals) -> int:
    """Say what killed the child, in one line; the exit code."""
    if number.name in _CRASHES:
        said = f"cannot use this model: a library crashed on it ({number.name})"
    elif number == signal.SIGKILL:
        said = "killed; if nobody did that, memory was short"
    else:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return 128 + number
    with suppress(AttributeError, OSError):
        sys.stderr.write(f"onebyone: {said}\n")
        sys.stderr.flush()
    return 3
