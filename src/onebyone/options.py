"""What the options of the commands mean: sizes, from the text that was typed."""

from __future__ import annotations

import click

from onebyone.errors import UsageError

__all__ = ["shapes_given", "size_given"]


def shapes_given(
    _context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, tuple[int, ...]]:
    """`("x=1,3,224,224",)` -> `{"x": (1, 3, 224, 224)}`; a name may itself hold a `=`."""
    shapes = {}
    for text in given:
        # From the right: names of inputs are whatever an exporter made up, sizes are not.
        name, _, sizes = text.rpartition("=")
        try:
            shape = tuple(int(size) for size in sizes.split(","))
        except ValueError:
            shape = ()
        if not name or not shape or min(shape) < 1:
            raise UsageError(f"--shape {text!r}: wanted NAME=SIZES, like input=1,3,224,224")
        if name in shapes:
            raise UsageError(f"--shape {text!r}: {name!r} was given twice: give it once")
        shapes[name] = shape
    return shapes


def size_given(
    _context: click.Context, _parameter: click.Parameter, given: str | None
) -> tuple[int, ...] | None:
    """`"56x56"` -> `(56, 56)`; None where nothing was given."""
    if given is None:
        return None
    try:
        return tuple(int(size) for size in given.split("x"))
    except ValueError:
        raise UsageError(f"--size {given!r}: wanted HEIGHTxWIDTH, like 56x56") from None
