"""Copy a model as it is, byte for byte: what `optimize` writes where there is nothing to gain.

source, and the data files that it names ──▶ bytes beside the target ──▶ renamed over the target
"""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress

import onnx_ir as ir

from onebyone.errors import UsageError
from onebyone.graph.checks import one_line, tensors

__all__ = ["copy"]


def copy(source: str | os.PathLike[str], target: str | os.PathLike[str], model: ir.Model) -> bool:
    """Copy the file `source`, from which `model` was read, to `target`; False where it cannot be.

    External data go with it to another folder, under their own names. Nothing is copied, and the
    caller writes the model instead, where another file has such a name already. On any failure,
    what was there is as before and nothing is left behind.

    Raises:
        UsageError: the file cannot be written.
    """
    origin, end = (os.path.realpath(os.fsdecode(path)) for path in (source, target))
    if os.path.exists(end) and os.path.samefile(origin, end):
        return True
    pairs = _data(origin, end, model)
    if pairs is None:
        return False
    made = [new for _, new in pairs]
    try:
        for old, new in [*pairs, (origin, end)]:
            _put(old, new)
        made.clear()
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise UsageError(
            f"cannot write {one_line(end)}: {reason}; choose another path or free space"
        ) from error
    finally:
        for new in made:
            with suppress(OSError):
                os.unlink(new)
    return True


def _data(origin: str, end: str, model: ir.Model) -> list[tuple[str, str]] | None:
    """The data files to copy, from where to where; None where another file is in the way."""
    names = {os.fspath(t.location) for t in tensors(model) if isinstance(t, ir.ExternalTensor)}
    here, there = os.path.dirname(origin), os.path.dirname(end)
    if here == there:
        return None if os.path.basename(end) in names else []
    pairs = [(os.path.join(here, name), os.path.join(there, name)) for name in sorted(names)]
    free = all(os.path.dirname(name) == "" for name in names) and os.path.basename(end) not in names
    return pairs if free and not any(os.path.lexists(new) for _, new in pairs) else None


def _put(old: str, new: str) -> None:
    """The whole of `old` takes the name `new`, or nothing does."""
    folder, name = os.path.split(new)
    beside = os.path.join(folder, f".{name[:100]}.{secrets.token_hex(8)}.tmp")
    try:
        with open(old, "rb") as source, open(beside, "xb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, new)
    finally:
        with suppress(OSError):
            os.unlink(beside)
