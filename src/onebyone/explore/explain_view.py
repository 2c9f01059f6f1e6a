"""An explanation as one screen of a terminal."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from onebyone.explore.layer import Stack, sizes, window

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from onebyone.explore.explain import Explanation

__all__ = ["view"]


def view(explanation: Explanation) -> RenderableType:
    """What the layer is, its numbers, what could be in its place, what a bottleneck saves.

    >>> from onebyone.explore.explain import explain
    >>> print("\\n".join(str(explain(3, 5)).splitlines()[:2]))
    1×1 3 → 5, 56×56 → 56×56
    One matrix 5×3, the same at all 3,136 positions: a linear layer there.
    """
    from rich.console import Group

    dear = ["", "a bottleneck this wide costs more than it saves"]
    return Group(
        _meaning(explanation),
        _numbers(explanation),
        _redundant(explanation),
        _instead(explanation),
        "",
        _bottleneck(explanation),
        "",
        _saving(explanation),
        *(dear if explanation.block_saving < 1 else []),
    )


def _meaning(explanation: Explanation) -> str:
    layer, out = explanation.layer, explanation.layer.output
    rows, columns = layer.weight[0] // layer.groups, prod(layer.weight[1:])
    matrix = f"matrix {rows}×{columns}"
    if layer.groups > 1:
        matrix = f"block-diagonal matrix, {layer.groups} blocks {rows}×{columns}"
    linear = ": a linear layer there" if prod(layer.kernel) == 1 else ""
    return (
        f"{layer.name}, {sizes(explanation.size)} → {sizes(out)}\n"
        f"One {matrix}, the same at all {_counted(prod(out), 'position')}{linear}.\n"
        f"{_counted(prod(layer.weight), 'product')} at each, of a weight with an input, are "
        f"summed to {_counted(layer.out_channels, 'map')}.\n"
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
    table = _table("", "", "", "", left=3, header=False)
    for name, symbols, numbers, value in rows:
        table.add_row(name, symbols, f"= {numbers} =", f"{value:,}")
    return table


def _redundant(explanation: Explanation) -> str:
    """What is told of the outputs that are more than the rank, if any."""
    rest = explanation.layer.out_channels - explanation.layer.max_rank
    if not rest:
        return ""
    return f"so {rest:,} outputs are combinations of the others until a nonlinearity follows\n"


def _instead(explanation: Explanation) -> RenderableType:
    layer = explanation.layer
    table = _table("in its place", "parameters", "", "MACs", "")
    for stack in (Stack(f"this {layer.name}", (layer,)), *explanation.instead):
        times = f"{stack.parameters / layer.parameters:.2f}×"
        macs_times = f"{stack.macs / layer.macs:.2f}×"
        table.add_row(stack.name, f"{stack.parameters:,}", times, f"{stack.macs:,}", macs_times)
    return table


def _bottleneck(explanation: Explanation) -> RenderableType:
    direct, block = explanation.direct, explanation.bottleneck
    table = _table(f"bottleneck {block.name}", "parameters", "MACs")
    for layer in block.layers:
        table.add_row(layer.name, f"{layer.formula} = {layer.parameters:,}", f"{layer.macs:,}")
    table.add_row("the whole block", f"{block.parameters:,}", f"{block.macs:,}")
    cost = f"{direct.formula} = {direct.parameters:,}"
    table.add_row(f"instead of {direct.name}", cost, f"{direct.macs:,}")
    return table


def _saving(explanation: Explanation) -> RenderableType:
    direct, block = explanation.direct, explanation.bottleneck
    middle = block.layers[1]
    table = _table("what it saves", "parameters", "", "MACs")
    for name, part in ((f"the {window(middle.kernel)} alone", middle), ("the whole block", block)):
        quotient = f"{direct.parameters:,} / {part.parameters:,} ="
        times = f"{direct.parameters / part.parameters:.2f}×"
        table.add_row(name, quotient, times, f"{direct.macs / part.macs:.2f}×")
    return table


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("s" if number != 1 else "")


def _table(*headings: str, left: int = 1, header: bool = True) -> Table:
    """A table without lines: the first `left` columns are words, the others numbers."""
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=header)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index < left else "right", overflow="fold")
    return table
