"""Write a profile: the whole new file under its name, or the old one."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

from onebyone.errors import UsageError
from onebyone.measure.profile import Profiled

__all__ = ["save"]


def save(profiled: Profiled, path: str | os.PathLike[str]) -> None:
    """Write what `load_profile` reads, beside the target and then renamed over it.

    Whatever happens in between, Ctrl-C and a full disk included, leaves what was there as it was
    and nothing else behind. A symbolic link is followed.

    Raises:
        UsageError: the file cannot be written.
    """
    target = Path(os.path.realpath(path))
    beside = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}.tmp")
    try:
        try:
            with beside.open("x", encoding="utf-8") as file:
                json.dump(profiled.to_dict(), file, indent=2)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(
            f"cannot write {path}: {reason}; choose another path or free space"
        ) from error
