"""The geometry of a model as tables for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.console import Group

from onebyone.show.terminal.table import Columns, Words

if TYPE_CHECKING:
    from rich.console import RenderableType

    from onebyone.algebra.geometry import Axis
    from onebyone.graph.receptive import ModelGeometry, Place

__all__ = ["view"]


def view(geometry: ModelGeometry) -> RenderableType:
    """Maps, layers, and what is exact, with the reasons.

    >>> from rich.console import Console
    >>> from onebyone.algebra.geometry import Axis
    >>> from onebyone.graph.receptive import ModelGeometry, Place
    >>> maps = Place("maps", "Conv", "c", (Axis(), Axis()), False)
    >>> found = ModelGeometry("x", ("height", "width"), (maps,), None, ())
    >>> "maps" in str(Console(width=80).render_lines(view(found)))
    True
    """
    title = "maps"
    if not any(place.is_map for place in geometry.outputs):
        title = "the last value that has positions (the outputs have none)"
    tables: list[RenderableType] = []
    if geometry.maps:
        tables.append(_table(title, [(place.name, place) for place in geometry.maps]))
    if geometry.layers:
        layers = [(place.node or place.name, place) for place in geometry.layers]
        tables.append(_table("layers", layers))
    tables.append(Words("\n".join(_sentences(geometry))))
    if geometry.reasons:
        rows = [(reason,) for reason in geometry.reasons]
        title = "what looks at the whole image"
        tables.append(Columns(title, ("",), rows, names=(), words=(0,), kept=1, boxed=False))
    return Group(*tables)


_HEADINGS = ("stride", "receptive field", "padding seen", "period", "offset", "by")


def _table(title: str, named: Sequence[tuple[str, Place]]) -> RenderableType:
    rows = [(name, *_row(place)) for name, place in named]
    return Columns(title, ("", *_HEADINGS), rows, names=(0,), kept=3, boxed=False)


def _row(place: Place) -> tuple[str, ...]:
    return (
        _each(place, lambda axis: str(axis.step)),
        _each(place, lambda axis: str(axis.receptive_field or "all")) + " + all" * place.whole,
        _ends(place),
        _each(place, lambda axis: str(axis.period)),
        _each(place, lambda axis: str(axis.offset), ", "),
        place.operator,
    )


def _each(place: Place, number: Callable[[Axis], str], between: str = "×") -> str:
    """A number for each axis, or for all; a dash where the value has no positions."""
    return _once(["–" if axis is None else number(axis) for axis in place.axes], between)


def _ends(place: Place) -> str:
    """By how many positions at the start and at the end of each axis."""
    ends = ["–" if axis is None else "{}+{}".format(*axis.border) for axis in place.axes]
    return _once(ends, ", ")


def _once(cells: list[str], between: str) -> str:
    """Cells side by side; one of them where all agree."""
    return cells[0] if len(set(cells)) == 1 else between.join(cells)


def _sentences(geometry: ModelGeometry) -> list[str]:
    axes = [axis for place in geometry.maps for axis in place.axes if axis is not None]
    if not axes:
        return [f"no value has the positions of {geometry.image}"]
    yes = {True: "yes", False: "no"}
    lines = [
        f"tiles   {yes[geometry.tiles]}: the maps on tiles of an image are "
        + "not " * (not geometry.tiles)
        + "those of the whole image",
        f"crops   {yes[geometry.crops]}: a position is "
        + "not " * (not geometry.crops)
        + "what the network gives on the crop that it sees",
    ]
    many = len(geometry.padded)
    if many:
        more = f" and {many - 1} more" * (many > 1)
        lines.append(f"padding {geometry.padded[0]}{more}")
    multiple = max(axis.multiple for axis in axes)
    if multiple > 1:
        lines.append(f"images  of a multiple of {multiple} pixels along each axis")
    return lines
