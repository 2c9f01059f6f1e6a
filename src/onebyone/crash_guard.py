"""The program guarded by its parent: what kills a library of C++ becomes one line and an exit code.

    main ──fork──▶ the command, as if nothing were
      └── waits, hands signals on ──▶ its exit code, or 3 and a line where it crashed

ONNX Runtime multiplies some sizes without looking: a file can make it write where it must not.

Python hears of a signal when native code returns, which may take minutes: a command that has not
ended a second after it was asked to is killed, except while it writes a file.
"""

from __future__ import annotations

import mmap
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

__all__ = ["guarded", "said_all", "unbroken"]

# Of a bug in native code, on damaged input; and what the kernel sends where memory is short.
_CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL")
# Seconds for a command to clean up after the parent was killed.
_GRACE = 5.0
# Seconds for a command to end by itself after a signal; then how long a file in writing may take
# between two looks; then seconds in which a second signal is the first one, come by another way.
_PATIENCE, _AGAIN, _ONCE = 1.0, 0.05, 0.3
# What the command tells its parent, in memory of both: the places of two flags.
_WRITING, _SAID = 0, 1
_flags: mmap.mmap | None = None


def guarded() -> bool:
    """Fork, and return in the child; the parent ends with the child's exit code.

    Nothing happens, and False is returned, where there is no fork (Windows), or no room for another
    process.
    """
    global _flags
    if not hasattr(os, "fork"):
        return False
    _flags = mmap.mmap(-1, 2)
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
        return False
    if child:
        os.close(reader)
        _wait(child, mask, scratch)
    os.close(writer)
    if scratch is not None:
        os.environ["TMPDIR"] = str(scratch)
    threading.Thread(target=_end_with_parent, args=(reader,), daemon=True).start()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return True


@contextmanager
def unbroken() -> Iterator[None]:
    """In the command: it is not killed meanwhile, as it writes a file, and can take that back.

    >>> with unbroken():
    ...     pass
    """
    _tell(_WRITING, 1)
    try:
        yield
    finally:
        _tell(_WRITING, 0)


def said_all() -> None:
    """In the command: it has nothing to say any more, however it ends."""
    _tell(_SAID, 1)


def _tell(flag: int, value: int) -> None:
    if _flags is not None:
        _flags[flag] = value


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

    asked = float("inf")

    def hand_on(number: int, _: FrameType | None) -> None:
        nonlocal asked
        again = time.monotonic() - asked > _ONCE
        asked = min(asked, time.monotonic())
        with suppress(ProcessLookupError):
            os.kill(child, number)
        signal.setitimer(signal.ITIMER_REAL, _AGAIN if again else _PATIENCE, _AGAIN)

    def end(_number: int, _: FrameType | None) -> None:
        if _flags is None or not _flags[_WRITING]:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, end)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, hand_on)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    _, status = os.waitpid(child, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    _remove(scratch)
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGKILL and asked < float("inf"):
        os._exit(_interrupted())
    os._exit(code if code >= 0 else _died(signal.Signals(-code)))


def _interrupted() -> int:
    """Say that the command was killed on request, where it did not say it; the exit code."""
    with suppress(AttributeError, OSError):
        if sys.stderr.isatty():  # below what was left of a progress bar, which hid the cursor
            sys.stderr.write("\r\x1b[2K\x1b[?25h")
        if _flags is None or not _flags[_SAID]:
            sys.stderr.write("onebyone: interrupted\n")
        sys.stderr.flush()
    return 130


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
