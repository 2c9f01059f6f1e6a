"""Write a profile: the whole new file under its name, or the old one."""

from __future__ import annotations

import json
import os

from onebyone.engines.profile import Profiled
from onebyone.errors import UsageError
from onebyone.graph.files import replace

__all__ = ["save"]


def save(profiled: Profiled, path: str | os.PathLike[str]) -> None:
    """Write what `load_profile` reads, beside the target and then renamed over it.

    Whatever happens in between, Ctrl-C and a full disk included, leaves what was there as it was
    and nothing else behind. A symbolic link is followed.

    Raises:
        UsageError: the file cannot be written.
    """
    text = json.dumps(profiled.to_dict(), indent=2) + "\n"
    try:
        replace(path, text.encode())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(
            f"cannot write {path}: {reason}; choose another path or free space"
        ) from error
