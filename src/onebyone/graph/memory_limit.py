"""Is there room for a model's tensors? Asked before anything is computed.

A file of a few hundred bytes can ask for terabytes. What may be allocated is the process's own
limit, which the program sets to what the machine has (`onebyone.process`); without a limit nothing
is refused here.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import onnx_ir as ir

from onebyone.errors import UnreadableModel
from onebyone.graph.checks import one_line
from onebyone.graph.shapes import Sizes

__all__ = ["ExceedsMemory", "allowed", "check_memory"]


class ExceedsMemory(UnreadableModel):
    """A tensor of the model is larger than what this process may have."""


def check_memory(values: Iterable[ir.Value], sizes: Sizes) -> None:
    """Nothing if each of these tensors alone fits into what this process may have.

    Args:
        values: inputs, or what nodes compute, of a model that `sizes` is of.
        sizes: for which the model is to be run.

    Raises:
        ExceedsMemory: one does not: no run can succeed.
    """
    most = allowed()
    if most is None:
        return
    for value in values:
        shape = sizes.shape(value) or ()
        size = _bytes(value, shape)
        if size > most:
            raise ExceedsMemory(
                f"tensor {one_line(value.name, 100)} of shape {one_line(list(shape), 100)} takes "
                f"{_in_words(size)}, and {_in_words(most)} may be had here; try smaller sizes"
            )


def _bytes(value: ir.Value, shape: tuple[int, ...]) -> int:
    """What a tensor takes; nothing that counts where its type is unknown, or text."""
    kind = value.dtype
    if kind is None or kind in (ir.DataType.STRING, ir.DataType.UNDEFINED):
        return 0
    return prod(shape) * kind.bitwidth // 8


def allowed() -> int | None:
    """Bytes that this process may allocate; None where no limit is set."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_DATA)
    if soft == resource.RLIM_INFINITY:
        return None
    return soft


_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def _in_words(size: int) -> str:
    """Bytes in the largest unit of which there is one: `3 GiB`."""
    unit = min(max(size.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    return f"{size >> 10 * unit} {_UNITS[unit]}"
