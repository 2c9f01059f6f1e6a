"""One value read in the place of another that equals it."""

from __future__ import annotations

import onnx_ir as ir

__all__ = ["bypass"]


def bypass(value: ir.Value, source: ir.Value) -> bool:
    """Let all that reads `value` read `source`, which equals it; whether that can be.

    A result of the graph keeps its name, so `source` takes it on. That cannot be where `source`
    has a name to keep itself: as an input, an initialiser, another result, or in an outer graph.
    """
    if not _agree(value, source):
        return False
    if not value.is_graph_output():
        value.replace_all_uses_with(source)
        return True
    node, maker = value.producer(), source.producer()
    free = not (source.is_graph_input() or source.is_initializer() or source.is_graph_output())
    if not free or node is None or maker is None or maker.graph is not node.graph:
        return False
    name = value.name
    value.replace_all_uses_with(source, replace_graph_outputs=True)
    value.name = f"{name}.gone"
    source.name = name
    return True


def _agree(value: ir.Value, source: ir.Value) -> bool:
    """Whether they are tensors of one type; a type that is unknown fits any."""
    kinds = {value.dtype, source.dtype} - {None}
    return len(kinds) < 2
