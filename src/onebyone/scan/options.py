"""The options of a scan, and what follows from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onebyone.engines.machine import usable_cores
from onebyone.errors import UsageError
from onebyone.scan.tiles import Tiling, chosen

__all__ = ["Options", "bytes_of", "chosen_classes", "chosen_side", "shares"]

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
          "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """As `scan` has them.

    Raises:
        UsageError: a number that cannot be, before anything is read.
    """

    tile: int | None = None
    classes: Sequence[str | int] | None = None
    memory: str | int = "2GiB"
    workers: int | None = None
    scale: float | None = None
    mean: Sequence[float] = ()
    std: Sequence[float] = ()
    mask: Any = None
    level: int = 0
    accept_approx: bool = False
    result: str | None = None

    def __post_init__(self) -> None:
        if self.tile is not None and self.tile < 1:
            raise UsageError(f"got --tile {self.tile}, wanted 1 or more outputs along each axis")
        bytes_of(self.memory)


def bytes_of(memory: str | int) -> int:
    """A number of bytes, from a number or a text.

    >>> bytes_of("2GiB"), bytes_of("1.5 MB"), bytes_of(4096)
    (2147483648, 1500000, 4096)
    """
    found = re.fullmatch(r"([\d.]+)\s*([kmgt]?i?)b?", str(memory).strip().lower())
    try:
        if found is not None:
            return int(float(found[1]) * _UNITS[found[2]])
    except (KeyError, ValueError):
        pass
    raise UsageError(f"got {memory!r} for the memory of a worker, wanted bytes like 2GiB")


def shares(workers: int | None, client: Any) -> tuple[int, int]:
    """How many work at once, and how many threads each one's engine has.

    In this process workers × threads are at most the cores. A cluster says how many work on it,
    `dask worker --nthreads`, and each has one thread.
    """
    if client is not None:
        found = sum(client.nthreads().values())
        if not found:
            raise UsageError("the cluster has no workers: start some, `dask worker ADDRESS`")
        if workers is not None:
            raise UsageError("a cluster has as many workers as it has: leave --workers out")
        return found, 1
    cores = usable_cores()
    if workers is None:
        return cores, 1
    if workers < 1:
        raise UsageError(f"got {workers} workers, wanted 1 or more")
    return workers, max(1, cores // workers)


def chosen_classes(
    wanted: Sequence[str | int] | None, outputs: int, names: Sequence[str]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The numbers of the maps that are kept, and their names where the network has some.

    >>> chosen_classes(["cat", 0], 3, ("dog", "bird", "cat"))
    ((2, 0), ('cat', 'dog'))
    """
    if wanted is None:
        return tuple(range(outputs)), tuple(names)
    found = tuple(_number(each, outputs, names) for each in wanted)
    if not found or len(set(found)) < len(found):
        raise UsageError(f"got classes {list(wanted)}, wanted each once and at least one")
    return found, tuple(names[k] for k in found) if names else ()


def _number(wanted: str | int, outputs: int, names: Sequence[str]) -> int:
    if isinstance(wanted, str) and wanted in names:
        return list(names).index(wanted)
    if str(wanted).isdecimal() and int(wanted) < outputs:
        return int(wanted)
    known = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    raise UsageError(
        f"got class {wanted!r}, wanted 0 to {outputs - 1}{f', or {known}' * bool(names)}"
    )


def chosen_side(
    single: Tiling, options: Options, taken: Callable[[tuple[int, ...]], int], workers: int
) -> Tiling:
    """The tiling of chunks as large as was asked for, or as memory allows.

    Args:
        single: with chunks of one output.
        taken: the bytes that a tile of some sizes takes.
    """
    memory = bytes_of(options.memory)
    if options.tile is None:
        return chosen(single.axes, single.pixels, memory, taken, workers)
    return replace(single, side=tuple(min(options.tile, n) for n in single.outputs))
