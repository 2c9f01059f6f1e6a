"""Copy a model as it is, byte for byte: what `optimize` writes where there is nothing to gain.

source, and the data files that it names ──▶ bytes beside the target ──▶ renamed over the target
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress

import onnx_ir as ir

from onebyone.graph.files import beside, cannot_write, publish
from onebyone.graph.write import SOURCE, Source

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
    pairs = _data(os.path.dirname(os.path.abspath(os.fsdecode(source))), end, model)
    if pairs is None:
        return False
    made = [new for _, new in pairs]
    try:
        for old, new in [*pairs, (origin, end)]:
            _put(old, new)
        made.clear()  # all of them are there: nothing to undo
    except OSError as error:
        raise cannot_write(end, error) from error
    finally:
        for new in made:
            with suppress(OSError):
                os.unlink(new)
    return True


def _data(here: str, end: str, model: ir.Model) -> list[tuple[str, str]] | None:
    """The data files to copy, from where to where; None where another file is in the way.

    They are those that the file in the folder `here` names, though the model may hold them all in
    memory by now.
    """
    there = os.path.dirname(end)
    names = {os.path.relpath(path, here) for path in model.graph.meta.get(SOURCE, Source()).data}
    if os.path.basename(end) in names:
        return None
    if os.path.realpath(here) == there:
        return []
    pairs = [(os.path.join(here, name), os.path.join(there, name)) for name in sorted(names)]
    # Data in folders of its own would need those made, too.
    if any(map(os.path.dirname, names)) or any(os.path.lexists(new) for _, new in pairs):
        return None
    return pairs


def _put(old: str, new: str) -> None:
    """The whole of `old` takes the name `new`, or nothing does."""
    with open(old, "rb") as source, beside(new) as file:
        shutil.copyfileobj(source, file, 1 << 20)
        publish(file, new)
