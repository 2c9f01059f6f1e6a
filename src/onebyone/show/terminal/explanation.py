"""An explanation as one screen of a terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import prod
from typing import TYPE_CHECKING

from onebyone.counting.layer import Layer, Stack, sizes, window

if TYPE_CHECKING:
    from rich.console import RenderableType

    from onebyone.counting.explain import Explanation

__all__ = ["view"]


def view(explanation: Explanation) -> RenderableType:
    """What the layer is, its numbers, what could be in its place, what a bottleneck saves.

    >>> from onebyone.counting.explain import explain
    >>> print("\\n".join(str(explain(3, 5)).splitlines()[:2]))
    1×1 convolution, 3 → 5 channels, 56×56 → 56×56 positions
    One matrix 5×3, the same at all 3,136 positions: a linear layer there.
    """
    from rich.console import Group

    return Group(
        _title(explanation),
        _meaning(explanation),
        _numbers(explanation),
        _redundant(explanation),
        _instead(explanation),
        "",
        *_narrowed(explanation),
    )


def _title(explanation: Explanation) -> str:
    layer = explanation.layer
    parts = [
        f"{window(layer.kernel)} convolution",
        f"{layer.in_channels} → {_counted(layer.out_channels, 'channel')}",
        layer.kind,
        f"{sizes(explanation.size)} → {sizes(layer.output)} positions",
    ]
    return ", ".join(filter(None, parts))


def _meaning(explanation: Explanation) -> str:
    layer, positions = explanation.layer, prod(explanation.layer.output)
    rows, columns = layer.weight[0] // layer.groups, prod(layer.weight[1:])
    matrix = f"matrix {rows}×{columns}"
    if layer.groups > 1:
        matrix = f"block-diagonal matrix, {layer.groups} blocks {rows}×{columns}"
    everywhere = f", the same at all {positions:,} positions" if positions > 1 else ""
    linear = ": a linear layer" + " there" * (positions > 1) if prod(layer.kernel) == 1 else ""
    return f"One {matrix}{everywhere}{linear}.\n{_products(layer, positions)}\n"


def _products(layer: Layer, positions: int) -> str:
    """How the maps come out of inputs and weights."""
    if prod(layer.weight[1:]) == 1:
        maps = f"Each of the {layer.out_channels:,} maps" if layer.out_channels > 1 else "Its map"
        return f"{maps} is one input map times one weight{', plus a bias' * layer.bias}."
    each = " at each" if positions > 1 else ""
    return (
        f"{prod(layer.weight):,} products{each}, of a weight with an input, are summed to "
        f"{_counted(layer.out_channels, 'map')}."
    )


def _numbers(explanation: Explanation) -> RenderableType:
    layer = explanation.layer
    inputs = "·".join("K" * len(layer.kernel)) + "·C_in" + ("/g" if layer.groups > 1 else "")
    weight = f"({inputs} + 1)·C_out" if layer.bias else f"{inputs}·C_out"
    rank = f"min({layer.out_channels}, {layer.in_channels * prod(layer.kernel)}"
    rank += " + 1)" if layer.bias else ")"
    rows = [
        ("parameters", weight, layer.formula, layer.parameters),
        ("MACs", f"{inputs}·C_out·positions", layer.macs_formula, layer.macs),
        ("rank", "at most", rank, layer.max_rank),
    ]
    cells = [(name, symbols, f"= {n} =", f"{value:,}") for name, symbols, n, value in rows]
    return _table(("",) * 4, cells, words=(0, 1, 2), spared=(1, 2))


def _redundant(explanation: Explanation) -> str:
    """What is told of the outputs that are more than the rank, if any."""
    rest = explanation.layer.out_channels - explanation.layer.max_rank
    if not rest:
        return ""
    are = "output is a combination" if rest == 1 else "outputs are combinations"
    return f"so {rest:,} {are} of the others until a nonlinearity follows\n"


def _instead(explanation: Explanation) -> RenderableType:
    layer = explanation.layer
    rows = []
    for stack in (Stack(f"this {layer.name}", (layer,)), *explanation.instead):
        times = _times(stack.parameters, layer.parameters)
        macs_times = _times(stack.macs, layer.macs)
        rows.append((stack.name, f"{stack.parameters:,}", times, f"{stack.macs:,}", macs_times))
    return _table(("in its place", "parameters", "", "MACs", ""), rows, spared=(2, 4))


def _narrowed(explanation: Explanation) -> list[RenderableType]:
    """The bottleneck and what it saves, where there is one."""
    middle = explanation.bottleneck.layers[1].in_channels
    if middle == explanation.direct.in_channels == explanation.direct.out_channels == 1:
        return ["no bottleneck: one channel cannot become fewer"]
    dear = ["", "a bottleneck this wide costs more than it saves"]
    return [
        _bottleneck(explanation),
        "",
        _saving(explanation),
        *(dear if explanation.block_saving < 1 else []),
    ]


def _bottleneck(explanation: Explanation) -> RenderableType:
    direct, block = explanation.direct, explanation.bottleneck
    layers = [*block.layers, direct]
    rows = [(each.name, f"{each.formula} =", each.parameters, each.macs) for each in layers]
    rows[-1:-1] = [("the whole block", "", block.parameters, block.macs)]
    rows[-1] = (f"instead of {rows[-1][0]}", *rows[-1][1:])
    cells = [(name, how, f"{all_:,}", f"{macs:,}") for name, how, all_, macs in rows]
    return _table((f"bottleneck {block.name}", "", "parameters", "MACs"), cells, spared=(1,))


def _saving(explanation: Explanation) -> RenderableType:
    direct, block = explanation.direct, explanation.bottleneck
    middle = block.layers[1]
    rows = []
    for name, part in ((f"the {window(middle.kernel)} alone", middle), ("the whole block", block)):
        quotient = f"{direct.parameters:,} / {part.parameters:,} ="
        times = _times(direct.parameters, part.parameters)
        rows.append((name, quotient, times, _times(direct.macs, part.macs)))
    return _table(("what it saves", "parameters", "", "MACs"), rows, spared=(1,))


def _times(one: int, other: int) -> str:
    return f"{one / other:,.2f}×"


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("s" if number != 1 else "")


def _table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    words: Collection[int] = (0,),
    spared: Collection[int] = (),
) -> RenderableType:
    """A table without lines; in a narrow terminal the columns `spared` are left out first."""
    from onebyone.show.terminal.table import Columns

    kept = len(headings)
    return Columns("", headings, rows, names=(), words=words, spared=spared, kept=kept, boxed=False)
