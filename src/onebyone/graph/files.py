"""Write files that are complete when they take their names: all or nothing, whatever happens.

    bytes ──▶ a file beside the target ──fsync──▶ renamed over the target

On any failure, Ctrl-C and a full disk included, what was there is as before and nothing is left
behind.
"""

from __future__ import annotations

import os
import secrets
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from onebyone.errors import UsageError
from onebyone.graph.checks import one_line

__all__ = ["beside", "cannot_write", "publish", "replace", "sync", "sync_folder"]

# What a person, the system or a terminal that closes sends; Windows has no SIGHUP.
_INTERRUPTS = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]


def replace(path: str | os.PathLike[str], content: bytes) -> None:
    """Let `content` be what is in the file at `path`; a symbolic link is followed.

    Raises:
        UsageError: the file cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     replace(f"{folder}/a", b"one")
    ...     os.listdir(folder)
    ['a']
    """
    target = os.path.realpath(path)
    try:
        with beside(target) as file:
            file.write(content)
            publish(file, target)
    except OSError as error:
        raise cannot_write(target, error) from error


def cannot_write(target: str, error: OSError) -> UsageError:
    """What to tell somebody whose file could not be written."""
    reason = error.strerror or one_line(error)
    return UsageError(
        f"cannot write {one_line(target)}: {reason}; choose another path or free space"
    )


@contextmanager
def beside(target: str) -> Iterator[BinaryIO]:
    """A new file in the folder of `target`, gone at the end unless it was published."""
    folder, name = os.path.split(target)
    path = os.path.join(folder, f".{name[:100]}.{secrets.token_hex(8)}.tmp")
    try:
        with open(path, "xb") as file:
            with suppress(FileNotFoundError):
                os.chmod(path, stat.S_IMODE(os.stat(target).st_mode))
            yield file
    finally:
        with _undisturbed(), suppress(FileNotFoundError):
            os.unlink(path)


def publish(
    file: BinaryIO, target: str, data: BinaryIO | None = None, data_target: str = ""
) -> None:
    """Give the finished files their names, both or neither."""
    for each in (data, file):
        if each is not None:
            each.flush()
            os.fsync(each.fileno())
            each.close()
    with _undisturbed():
        _rename(file, target, data, data_target)
    sync_folder(os.path.dirname(target))


def _rename(file: BinaryIO, target: str, data: BinaryIO | None, data_target: str) -> None:
    backup = f"{file.name}.old"
    try:
        if data is not None:
            _keep(data_target, backup)
            os.replace(data.name, data_target)
        os.replace(file.name, target)
    except BaseException:
        if data is not None and os.path.exists(file.name):
            _put_back(data, data_target, backup)
        raise
    finally:
        with suppress(FileNotFoundError):
            os.unlink(backup)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP wait until the end, so that what was begun is finished.

    Masking them for this thread would not do: another thread would take them, and Python handles
    them in the main one all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # where Python handles no signals
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in _INTERRUPTS}
    try:
        for number in _INTERRUPTS:
            if before[number] not in (signal.SIG_IGN, None):
                signal.signal(number, lambda got, _: came.append(got))
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that was not set from Python stays
                signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)


def _keep(path: str, backup: str) -> None:
    """What is at `path`, if anything, also has the name `backup` from now on."""
    try:
        os.link(path, backup)
    except FileNotFoundError:
        pass
    except OSError:  # a file system without hard links
        os.replace(path, backup)


def _put_back(data: BinaryIO, data_target: str, backup: str) -> None:
    if os.path.exists(backup):
        os.replace(backup, data_target)
    elif not os.path.exists(data.name):  # renamed already, and there was nothing before
        os.unlink(data_target)


def sync_folder(folder: str) -> None:
    """Make the renames last through a power cut, where the system can."""
    with suppress(OSError):
        sync(folder)


def sync(path: str | os.PathLike[str]) -> None:
    """Force to the disk what was written to a file, or the names in a folder.

    Raises:
        OSError: it is not there, or the disk takes no more.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
