"""A count as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from onebyone.optimize.verdict import short
from onebyone.show.terminal.table import Columns, Words

if TYPE_CHECKING:
    from rich.console import RenderableType

    from onebyone.counting.conventions import Counted
    from onebyone.counting.tree import Branch
    from onebyone.counting.value import Count, LayerCount

__all__ = ["difference", "view"]


def view(count: Count, tree: Branch | None = None, depth: int | None = 2) -> RenderableType:
    """Layers, operators, totals, what was left out and what others count, one table each.

    With a tree, the layers are summed by module, `depth` levels of them (None: all); a count whose
    names are paths brings its own, and may say how deep.

    >>> from rich.console import Console
    >>> from onebyone.counting.value import Count
    >>> nothing = Count(0, 0, 0, 0, 0, 0, 0, 0, (("x", (1, 3)),), (), ())
    >>> "1 MAC = 2 FLOPs" in str(Console(width=80).render_lines(view(nothing)))
    True
    """
    if tree is None and count.separator:
        tree, depth = count.tree(), count.depth or depth
    tables: list[RenderableType] = [Text(count.told)] if count.told else []
    if count.misfit:
        tables.append(Words(f"at these sizes the model cannot run: {count.misfit}"))
    if count.layers:
        tables.append(_layers(count) if tree is None else _modules(tree, depth))
    if count.operators:
        tables.append(_operators(count))
    tables.append(_totals(count))
    if count.uncounted:
        tables.append(_uncounted(count))
    if count.operators:
        tables.append(_conventions(count))
    return Group(*tables)


def _layers(count: Count) -> RenderableType:
    """With as many columns as leave the names room to be read."""
    rows = [_layer(layer, count.macs) for layer in count.layers]
    return Columns("layers", _HEADINGS, rows, names=(0,), words=(1,), kept=_KEPT, boxed=False)


_HEADINGS = (
    *("layer", "operator", "MACs", "of all", "output"),
    *("parameters", "1×1", "FLOP/B", "act.", "weights"),
)
_KEPT = 4
"""The columns that are always shown: up to the MACs and their share."""


def _layer(layer: LayerCount, total: int) -> tuple[str, ...]:
    return (
        layer.name,
        layer.op,
        f"{layer.macs:,}",
        _share(layer.macs, total),
        "?" if layer.shape is None else "×".join(map(str, layer.shape)),
        f"{layer.parameters:,}",
        _percent(layer.pointwise_macs, layer.macs),
        _ratio(layer.intensity),
        _bytes(layer.activation_bytes),
        _bytes(layer.weight_bytes),
    )


def _modules(tree: Branch, depth: int | None) -> RenderableType:
    rows = [_branch(branch, level, tree.macs) for level, branch in tree.walk(depth) if level]
    headings = ("module", "MACs", "of all", "operator", "parameters", "layers", "1×1", "act.")
    return Columns("modules", headings, rows, names=(0,), words=(3,), kept=3, boxed=False)


def _branch(branch: Branch, level: int, total: int) -> tuple[str, ...]:
    return (
        "  " * (level - 1) + branch.name,
        f"{branch.macs:,}",
        _share(branch.macs, total),
        branch.op or "",
        f"{branch.parameters:,}",
        f"{branch.layers:,}",
        _percent(branch.pointwise_macs, branch.macs),
        _bytes(branch.activation_bytes),
    )


def _totals(count: Count) -> RenderableType:
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
    rows += [("input", "×".join(map(str, shape)) or "scalar", name) for name, shape in count.inputs]
    title = "in total (1 MAC = 2 FLOPs)"
    return Columns(title, ("", "", ""), rows, names=(), words=(0, 2), boxed=False)


def _uncounted(count: Count) -> RenderableType:
    rows = [(f"{r.nodes:,}", r.op, r.reason, r.example) for r in count.uncounted]
    headings = ("nodes", "operator", "why", "first of them")
    return Columns("not counted", headings, rows, names=(3,), words=(1, 2), boxed=False)


def _operators(count: Count) -> RenderableType:
    """Those that multiply in rows, the others in a line."""
    rows = [
        (each.op, each.kind, f"{each.nodes:,}", f"{each.macs:,}", _share(each.macs, count.macs))
        for each in count.operators
        if each.macs
    ]
    others = [f"{each.nodes:,} {each.op}" for each in count.operators if not each.macs]
    headings = ("operator", "as", "nodes", "MACs", "of all")
    also = Words(" also " + ", ".join(others)) if others else ""
    return Group(Columns("operators", headings, rows, names=(0,), words=(1,), boxed=False), also)


def _conventions(count: Count) -> RenderableType:
    rows = [
        (f"{row.convention.name} {row.convention.version}", f"{row.total:,}", difference(row))
        for row in count.conventions()
    ]
    headings = ("by", "total", "what it counts")
    title = "as others count (--json says what each counts)"
    return Columns(title, headings, rows, names=(), words=(0, 2), boxed=False)


def difference(row: Counted) -> str:
    """What a convention's number is made of, and what it leaves out."""
    per_mac = row.convention.per_mac
    parts = [("biases", row.biases), *row.elements]
    more = [f"{short(amount)} {kind}" for kind, amount in parts if amount]
    less = [f"{short(macs)} of {kind}" for kind, macs in row.without]
    multiplied = "MACs" if per_mac == 1 else f"{per_mac} × MACs"
    without = f" (without {', '.join(less)})" if less else ""
    return " + ".join([multiplied + without, *more])


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""


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
