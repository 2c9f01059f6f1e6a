"""The files of a command beside its models: arrays to read, and what it is to write."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onebyone.errors import UnreadableModel, UsageError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["arrays_of", "writable", "writable_page"]

# Bytes of inputs to verify on: a small file may unpack to a thousand times its size.
LARGEST_DATA = 4 << 30


def writable(
    output: Path | None,
    usual: str = "model.onnx",
    read: Sequence[Path | None] = (),
    option: str = "-o",
) -> Path:
    """The file to write, known to be writable before any work begins; raises UsageError.

    It is none of those that the command reads, apart from the model.
    """
    if output is None:
        raise UsageError(f"no output given: add -o FILE, like {usual}")
    for path in read:
        if path is not None and path.exists() and output.exists() and output.samefile(path):
            raise UsageError(f"{option} {output} is {path}, which is read: choose another name")
    if output.exists() and not output.is_file():
        raise UsageError(f"{option} {output} is not a file: name one, like {output / usual}")
    if not output.parent.is_dir():
        raise UsageError(f"{option} {output}: there is no folder {output.parent}: create it first")
    if not os.access(output.parent, os.W_OK):
        raise UsageError(
            f"{option} {output}: {output.parent} is not writable: choose another folder"
        )
    return output


def writable_page(page: Path | None, others: Sequence[str | Path | None]) -> None:
    """Nothing, if a page can be made, and written there: none of the command's `others`.

    A file that is there is written over if it is a page.
    """
    if page is None:
        return
    from onebyone.show.html.page import available, is_page

    available()
    # Also where neither is there yet, however they are spelled.
    if page.resolve() in [Path(other).resolve() for other in others if other is not None]:
        raise UsageError(f"--report {page} is a file of this command: choose another name")
    writable(page, "report.html", option="--report")
    if page.exists() and not is_page(page):
        raise UsageError(f"--report {page} is there and no page: choose another name")


def arrays_of(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of an .npz file by name; nothing in it is executed."""
    import zipfile
    import zlib

    import numpy as np

    try:
        # Opened here, so that it is closed also when it turns out to be something else.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise UsageError(f"{path} is one array: wanted np.savez(FILE, NAME=array)")
            # No more is unpacked than is declared.
            if sum(entry.file_size for entry in archive.zip.infolist()) > LARGEST_DATA:
                raise UnreadableModel(f"{path} unpacks to more than {LARGEST_DATA >> 30} GiB")
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        # RuntimeError: the archive is encrypted, or packed in a way that zipfile does not know.
        raise UnreadableModel(f"{path}: wanted an .npz file of plain arrays: {error}") from error
