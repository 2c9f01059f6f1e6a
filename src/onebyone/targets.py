"""The files that a command is to write, known to be writable before any work begins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from onebyone.errors import UsageError

__all__ = ["writable", "writable_page"]


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


def writable_page(page: Path | None, read: Sequence[str | Path | None]) -> None:
    """Nothing, if a page can be made and written there; it is none of the files of the command."""
    if page is None:
        return
    for each in read:
        path = None if each is None else Path(each)
        same = path is not None and path.exists() and page.exists() and page.samefile(path)
        if same or path == page:
            raise UsageError(f"--report {page} is a file of this command: choose another name")
    writable(page, "report.html", option="--report")
