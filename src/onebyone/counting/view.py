"""A count as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from onebyone.counting.tree import Branch
    from onebyone.counting.value import Count, LayerCount

__all__ = ["view"]


def view(count: Count, tree: Branch | None = None, depth: int | None = 2) -> RenderableType:
    """Layers, totals and what was left out, one table each; names are shown as they are.

    With a tree, the layers are summed by module, `depth` levels of them (None: all).

    >>> from rich.console import Console
    >>> from onebyone.counting.value import Count
    >>> nothing = Count(0, 0, 0, 0, 0, 0, 0, 0, (("x", (1, 3)),), (), ())
    >>> "1 MAC = 2 FLOPs" in str(Console(width=80).render_lines(view(nothing)))
    True
    """
    tables: list[RenderableType] = [Text(count.told)] if count.told else []
    if count.layers:
        tables.append(_Layers(count) if tree is None else _modules(tree, depth))
    tables.append(_totals(count))
    if count.uncounted:
        tables.append(_uncounted(count))
    return Group(*tables)


class _Layers:
    """The table of layers, with as many columns as leave the names room to be read."""

    def __init__(self, count: Count) -> None:
        self.rows = [_layer(layer) for layer in count.layers]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        last, names = len(_HEADINGS), min(_NAMES, max(len(cells[0]) for cells in self.rows))
        while last > _KEPT and options.max_width - self._width(last) < names:
            last -= 1
        yield self._table(last)

    def _width(self, last: int) -> int:
        """Of the columns up to `last` without the names, with a space on both sides of each."""
        lines = [_HEADINGS[:last], *(cells[:last] for cells in self.rows)]
        return sum(2 + max(map(len, cells)) for cells in list(zip(*lines, strict=True))[1:]) + 2

    def _table(self, last: int) -> Table:
        table = Table(title="layers", title_justify="left", box=None, padding=(0, 1))
        table.add_column("layer", overflow="fold")
        table.add_column("operator", no_wrap=True)
        for heading in _HEADINGS[2:last]:
            table.add_column(heading, justify="right", no_wrap=True)
        for cells in self.rows:
            table.add_row(*map(Text, cells[:last]))
        if last < len(_HEADINGS):
            table.caption = f"{', '.join(_HEADINGS[last:])}: in a wider terminal, or by --json"
        return table


_HEADINGS = (
    "layer", "operator", "output", "parameters", "MACs", "1×1", "FLOP/B", "act.", "weights"
)  # fmt: skip
_KEPT = 5
"""The columns that are always shown: up to the MACs."""
_NAMES = 20
"""Fewer characters a line, and the paths of an exported network run over many lines."""


def _layer(layer: LayerCount) -> tuple[str, ...]:
    return (
        layer.name,
        layer.op,
        "?" if layer.shape is None else "×".join(map(str, layer.shape)),
        f"{layer.parameters:,}",
        f"{layer.macs:,}",
        _percent(layer.pointwise_macs, layer.macs),
        _ratio(layer.intensity),
        _bytes(layer.activation_bytes),
        _bytes(layer.weight_bytes),
    )


def _modules(tree: Branch, depth: int | None) -> Table:
    table = Table(title="modules", title_justify="left", box=None, padding=(0, 1))
    table.add_column("module", overflow="fold")
    table.add_column("operator", overflow="fold")
    for heading in ("layers", "parameters", "MACs", "1×1", "act."):
        table.add_column(heading, justify="right", no_wrap=True)
    for level, branch in tree.walk(depth):
        if level:
            table.add_row(*_branch(branch, level))
    return table


def _branch(branch: Branch, level: int) -> list[Text]:
    cells = [
        "  " * (level - 1) + branch.name,
        branch.op or "",
        f"{branch.layers:,}",
        f"{branch.parameters:,}",
        f"{branch.macs:,}",
        _percent(branch.pointwise_macs, branch.macs),
        _bytes(branch.activation_bytes),
    ]
    return [Text(cell) for cell in cells]


def _totals(count: Count) -> Table:
    table = Table(
        title="in total (1 MAC = 2 FLOPs)", title_justify="left", box=None, padding=(0, 1)
    )
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("", overflow="fold")
    share = _percent(count.pointwise_macs, count.macs)
    rows = [
        ("parameters", f"{count.parameters:,}", f"and {count.buffers:,} buffer elements"),
        ("MACs", f"{count.macs:,}", f"{count.flops:,} FLOPs"),
        ("pointwise MACs", f"{count.pointwise_macs:,}", f"{share} 1×1 convolutions, linear layers"),
        ("bias adds", f"{count.bias_adds:,}", ""),
        ("activation bytes", f"{count.activation_bytes:,}", "read and written by all nodes"),
        ("weight bytes", f"{count.weight_bytes:,}", "as stored"),
        ("intensity", _ratio(count.intensity), "FLOPs per byte"),
        ("nodes", f"{count.nodes:,}", ""),
    ]
    rows += [("input", "×".join(map(str, shape)), name) for name, shape in count.inputs]
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _uncounted(count: Count) -> Table:
    table = Table(title="not counted", title_justify="left", box=None, padding=(0, 1))
    table.add_column("nodes", justify="right")
    for heading in ("operator", "why", "first of them"):
        table.add_column(heading, overflow="fold")
    for row in count.uncounted:
        table.add_row(*map(Text, (f"{row.nodes:,}", row.op, row.reason, row.example)))
    return table


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f}%" if whole else ""


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _bytes(number: int | None) -> str:
    """Bytes to three figures, in powers of ten.

    >>> _bytes(999), _bytes(2_360_320), _bytes(None)
    ('999 B', '2.36 MB', '?')
    """
    if number is None:
        return "?"
    size, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}"
