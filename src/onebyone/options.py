"""The options that several commands have, and what they mean: sizes, from what was typed."""

from __future__ import annotations

from pathlib import Path

import click

from onebyone.errors import UsageError

__all__ = [
    "clock",
    "data",
    "json",
    "model",
    "report",
    "shape",
    "shapes_given",
    "size_given",
    "threads",
]


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


model = click.argument("model", type=click.Path())
shape = click.option(
    "--shape",
    "shapes",
    multiple=True,
    callback=shapes_given,
    metavar="NAME=SIZES",
    help="Sizes of an input that leaves some open: input=1,3,224,224. Repeatable. Otherwise batch "
    "1, sequence 128, image 224.",
)
data = click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FILE.npz",
    help="Your own inputs to verify on: one array per model input, by name.",
)
report = click.option(
    "--report",
    "page",
    type=click.Path(path_type=Path),
    metavar="FILE.html",
    help="Also draw the result, as one page for a browser.",
)
json = click.option("--json", "as_json", is_flag=True, help="Print JSON (docs/json.md).")
threads = click.option("--threads", type=click.IntRange(min=1), help="Default: all usable cores.")
clock = click.option(
    "--clock",
    type=click.Choice(["wall", "cpu"]),
    default="wall",
    help="cpu: the processor time of one thread, for a machine that others use, too.",
)
