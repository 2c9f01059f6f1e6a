"""Layers as a tree: names that are paths are split into their parts, and each branch is summed.

sum(branch) = Σ over the layers below it = Σ over its children of sum(child)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onebyone.counting.value import LayerCount

__all__ = ["Branch", "grow", "sums"]


@dataclass(frozen=True)
class Branch:
    """A module, or a layer where there are no children: the sums over the layers in it.

    Args:
        name: its part of the path, or several where a module holds one other and nothing else.
        path: from the root on; empty for the root.
        op: the operator of a single layer, else None.
        layers: how many layers are in it.
        activation_bytes: what these read and write besides constants, if known.
        children: in the order of their first layers.
    """

    name: str
    path: str
    op: str | None
    layers: int
    parameters: int
    buffers: int
    macs: int
    pointwise_macs: int
    bias_adds: int
    activation_bytes: int
    children: tuple[Branch, ...]

    def walk(self, depth: int | None = None) -> Iterator[tuple[int, Branch]]:
        """Itself and all below, parents first, with their depths (itself: 0), down to `depth`."""
        yield 0, self
        if depth != 0:
            for child in self.children:
                below = child.walk(depth and depth - 1)
                yield from ((level + 1, branch) for level, branch in below)

    def to_dict(self, depth: int | None = None) -> dict[str, Any]:
        """For JSON: all fields, `children` as a list of the same, down to `depth` levels."""
        children = []
        if depth != 0:
            children = [child.to_dict(depth and depth - 1) for child in self.children]
        return {**vars(self), "children": children}


def sums(layers: Sequence[LayerCount]) -> dict[str, Any]:
    """What is known of every layer, summed over them."""
    names = ("parameters", "buffers", "macs", "pointwise_macs", "bias_adds")
    return {name: sum(getattr(layer, name) for layer in layers) for name in names}


def grow(layers: Sequence[LayerCount], separator: str) -> Branch:
    """The tree of the layers whose names are paths with `separator` between their parts."""
    rows = [(tuple(filter(None, layer.path.split(separator))), layer) for layer in layers]
    return _branch((), (), rows, separator)


_Row = tuple[tuple[str, ...], "LayerCount"]


def _branch(
    above: tuple[str, ...], name: tuple[str, ...], rows: Sequence[_Row], separator: str
) -> Branch:
    """The branch `name` under `above`; the paths of the rows start behind both."""
    # A module that holds one other and nothing else shares a row with it: "layer.conv".
    firsts = tuple(dict.fromkeys(parts[:1] for parts, _ in rows))
    if name and len(firsts) == 1 and firsts[0]:
        return _branch(above, name + firsts[0], _below(firsts[0], rows), separator)
    # A layer beside children ends right here: it becomes a child without a name of its own.
    path = above + name
    children = tuple(
        _branch(path, first, _below(first, rows), separator)
        for first in firsts
        if first or len(firsts) > 1
    )
    return _summed(separator.join(name), separator.join(path), rows, children)


def _below(part: tuple[str, ...], rows: Sequence[_Row]) -> list[_Row]:
    return [(parts[1:], layer) for parts, layer in rows if parts[:1] == part]


def _summed(name: str, path: str, rows: Sequence[_Row], children: tuple[Branch, ...]) -> Branch:
    layers = [layer for _, layer in rows]
    return Branch(
        name=name,
        path=path,
        op=layers[0].op if len(layers) == 1 and not children else None,
        layers=len(layers),
        **sums(layers),
        # What is unknown adds nothing: `uncounted` of the count says so.
        activation_bytes=sum(layer.activation_bytes or 0 for layer in layers),
        children=children,
    )
