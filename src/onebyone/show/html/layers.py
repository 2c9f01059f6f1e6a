"""The layers as rows that a page can sort and search; the dearest of them also without a script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onebyone.counting.value import Count, LayerCount
from onebyone.show.html.words import many, named, percent, shape, short
from onebyone.text import escaped

__all__ = ["Column", "Row", "Side", "Table", "table"]

_FIRST = 20
"""Rows that are there without a script."""


@dataclass(frozen=True)
class Column:
    """A column: its heading, and how its cells are written: "name", "word", "number", "bytes"."""

    heading: str
    kind: str


COLUMNS = (
    Column("layer", "name"),
    Column("operator", "word"),
    Column("kind", "word"),
    Column("output", "word"),
    Column("MACs", "number"),
    Column("of all", "share"),
    Column("parameters", "number"),
    Column("FLOP/B", "ratio"),
    Column("moved", "bytes"),
)


@dataclass(frozen=True)
class Row:
    """A layer in words, in the order of `COLUMNS`."""

    cells: tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """One model: its name, its dearest layers, and all of them as data."""

    name: str
    told: str
    rows: tuple[Row, ...]
    data: list[list[Any]]


@dataclass(frozen=True)
class Table:
    """The last of the sides is shown first."""

    columns: tuple[Column, ...]
    sides: tuple[Side, ...]

    @property
    def data(self) -> list[dict[str, Any]]:
        """What the page's script reads."""
        return [{"name": side.name, "rows": side.data} for side in self.sides]


def table(before: Count | None, after: Count) -> Table:
    """Of one model, or of a model and what became of it."""
    counts = [("layers", after)] if before is None else [("before", before), ("after", after)]
    return Table(COLUMNS, tuple(_side(name, count) for name, count in counts))


def _side(name: str, count: Count) -> Side:
    dearest = sorted(count.layers, key=lambda layer: -layer.macs)[:_FIRST]
    rows = tuple(_row(layer, count.macs) for layer in dearest)
    data = [_data(layer, count.macs) for layer in count.layers]
    return Side(name, many(len(data), "layer"), rows, data)


def _data(layer: LayerCount, total: int) -> list[Any]:
    return [
        escaped(layer.name),
        escaped(layer.op),
        layer.kind,
        shape(layer.shape),
        layer.macs,
        layer.macs / total if total else 0,
        layer.parameters,
        None if layer.intensity is None else round(layer.intensity, 2),
        layer.activation_bytes,
    ]


def _row(layer: LayerCount, total: int) -> Row:
    moved = "?" if layer.activation_bytes is None else short(layer.activation_bytes, "B")
    return Row((
        named(layer.name, 200),
        named(layer.op),
        layer.kind,
        shape(layer.shape),
        f"{layer.macs:,}",
        percent(layer.macs, total),
        f"{layer.parameters:,}",
        "" if layer.intensity is None else f"{layer.intensity:.1f}",
        moved,
    ))  # fmt: skip
