"""What the program's process may do: be interrupted politely, and take what the machine has.

SIGTERM, SIGHUP = Ctrl-C    files half written are removed
memory <= RAM + swap        what asks for more gets a MemoryError, and no machine stands still
stderr = ours               what libraries of C++ write there by themselves goes nowhere
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

__all__ = ["bound_memory", "interruptible", "memory", "own_stderr"]


# Ctrl-C reaches a process and its parent, which hands it on: what comes twice was meant once.
_ONCE = 1.0


def interruptible() -> None:
    """Ctrl-C, a polite kill and a closed terminal raise KeyboardInterrupt, unless ignored."""
    last = float("-inf")

    def interrupt(number: int, _: FrameType | None) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        if last - before > _ONCE:
            raise KeyboardInterrupt

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, interrupt)


def bound_memory() -> None:
    """Let this process have no more than the machine, or its container, has; where that works."""
    most = memory()
    try:
        import resource
    except ImportError:  # Windows
        return
    if most is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft == resource.RLIM_INFINITY or soft > most:
        with suppress(ValueError, OSError):  # a system that counts in another way
            resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def own_stderr() -> None:
    """From now on `sys.stderr` is where stderr was, and descriptor 2 is nowhere.

    ONNX Runtime's allocator logs there past all its options for logging.
    """
    if sys.stderr is None:  # closed by who started us
        return
    with suppress(OSError):
        kept = os.dup(2)
        encoding = sys.stderr.encoding
        sys.stderr.flush()
        sys.stderr = os.fdopen(kept, "w", buffering=1, encoding=encoding, errors="backslashreplace")
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)


def memory(
    machine: Path = Path("/proc/meminfo"), container: Path = Path("/sys/fs/cgroup/memory.max")
) -> int | None:
    """Bytes of RAM and swap, or what the container may have of it; None where nothing tells.

    >>> memory(Path(os.devnull), Path(os.devnull)) is None
    True
    """
    known = [_total(_text(machine)), _whole(_text(container))]
    return min((size for size in known if size), default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _total(text: str) -> int:
    """RAM and swap in Linux's table: `MemTotal: 24000000 kB`."""
    lines = (line.split() for line in text.splitlines())
    return sum(
        int(words[1]) << 10 for words in lines if words and words[0] in ("MemTotal:", "SwapTotal:")
    )


def _whole(text: str) -> int:
    return int(text) if text.strip().isdigit() else 0
