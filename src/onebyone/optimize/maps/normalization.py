"""A layer normalisation's affine part, folded into the linear layers that read it.

    W(γ∘n + β) + b = (W diag(γ))n + (Wβ + b),      n = (x − mean) / √(var + ε)

The normalisation itself stays, with γ = 1 and no β, so every reader has to take the affine part:
all of them must be linear layers on the normalised axis, and where β ≠ 0 each must have a bias
already, for an Add of its own would cost more than the β it replaces. A reader of the shape alone
does not count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onebyone.algebra.channel import ChannelMap, compose
from onebyone.algebra.digits import LOST_BITS, Behind, bits
from onebyone.algebra.weights import Array
from onebyone.graph.channels import ChannelNode, channel_map, weight_of
from onebyone.graph.constants import constant
from onebyone.graph.count_walk import name_of
from onebyone.graph.exact import Unrepresentable, rounded
from onebyone.optimize.names import Names, content
from onebyone.optimize.sharing import readers

__all__ = ["Folded", "fold_normalizations"]


@dataclass(frozen=True)
class Folded:
    """A normalisation whose affine part was taken by `nodes`, and the bits that can be lost.

    `moved` are the values in between, which do not hold it any more.
    """

    root: str
    nodes: tuple[str, ...]
    lost_bits: float
    moved: tuple[ir.Value, ...]


@dataclass(frozen=True)
class _Reader:
    """A linear layer: its MatMul or Gemm, the Add of its bias if any, and both as a map."""

    product: ir.Node
    shift: ir.Node | None
    map: ChannelMap


def fold_normalizations(graph: ir.Graph, limit: float = LOST_BITS) -> Iterator[Folded]:
    """Fold, in place, every normalisation whose readers can all take its affine part.

    A shift that folding would lose more than `limit` bits of stays where it is.
    """
    names = Names.of(graph)
    for node, affine, takers in _alike([each for n in graph for each in _foldable(n, limit)]):
        composed = [compose(taker.map, affine) for taker in takers]
        if not all(_fits(f, node.outputs[0].dtype) for f in composed):
            continue
        for taker, f in zip(takers, composed, strict=True):
            _take(graph, taker, f, names)
        _strip(graph, node, names)
        products = (t.product.outputs[0] for t in takers if t.shift is not None)
        lost = max(_lost_bits(affine, taker.map) for taker in takers)
        moved = (node.outputs[0], *products)
        changed = (n for t in takers for n in (t.product, t.shift) if n is not None)
        made = tuple(dict.fromkeys(map(name_of, changed)))
        yield Folded(node.outputs[0].name or "", (name_of(node), *made), lost, moved)


def _lost_bits(affine: ChannelMap, reader: ChannelMap) -> float:
    if affine.bias is None:
        return 0.0
    return bits(Behind().mixed(reader.weight, reader.groups).condition(affine.bias))


_Foldable = tuple[ir.Node, ChannelMap, list[_Reader]]
"""A normalisation, its affine part, and those who are to take it."""


def _foldable(node: ir.Node, limit: float) -> Iterator[_Foldable]:
    """A normalisation, if all its readers can take its affine part without losing more bits."""
    affine = _affine(node)
    takers = None if affine is None else _readers(node.outputs[0])
    if affine is None or takers is None:
        return
    if affine.bias is not None and any(taker.map.bias is None for taker in takers):
        return
    if all(_lost_bits(affine, taker.map) <= limit for taker in takers):
        yield node, affine, takers


def _alike(found: list[_Foldable]) -> list[_Foldable]:
    """Those after whose folding no weight is stored twice: who shares one takes the same affine."""
    while True:
        taken = {t.product: _taken(t.product, f) for _, f, takers in found for t in takers}
        kept = [each for each in found if all(_stays_one(t.product, taken) for t in each[2])]
        if len(kept) == len(found):
            return found
        found = kept


def _taken(product: ir.Node, affine: ChannelMap) -> tuple[object, ...]:
    """Equal for linear layers of one weight that become equal ones."""
    stored = product.op_type, *(product.attributes.get_int(a, 0) for a in ("transA", "transB"))
    factor = product.attributes.get_float("alpha", 1.0)
    return (*stored, factor, content(affine.weight))


def _stays_one(product: ir.Node, taken: dict[ir.Node, tuple[object, ...]]) -> bool:
    weight = product.inputs[1]
    return weight is not None and {taken.get(n) for n in readers(weight)} == {taken[product]}


def _fits(f: ChannelMap, dtype: ir.DataType | None) -> bool:
    """Whether a composed map can be stored in a number type."""
    try:
        for array in (f.weight, f.bias):
            if array is not None and dtype is not None:
                rounded(array, dtype)
    except Unrepresentable:
        return False
    return True


def _affine(node: ir.Node) -> ChannelMap | None:
    """γ and β of a LayerNormalization over its last axis; None where there is nothing to fold."""
    if node.op_type != "LayerNormalization" or node.domain != "" or node.outputs[0].shape is None:
        return None
    rank = node.outputs[0].shape.rank()
    if node.attributes.get_int("axis", -1) % rank != rank - 1 or len(node.outputs) > 1:
        return None
    gain = constant(node.inputs[1])
    shift = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if (
        gain is None
        or gain.ndim != 1
        or (len(node.inputs) > 2 and node.inputs[2] and shift is None)
    ):
        return None
    if shift is not None and (shift.ndim != 1 or not shift.any()):
        shift = None
    return None if (gain == 1).all() and shift is None else ChannelMap.diagonal(gain, shift)


def _readers(value: ir.Value) -> list[_Reader] | None:
    """Every reader of a normalised value as a linear layer; None if one is something else."""
    if value.is_graph_output() or value.shape is None:
        return None
    nodes = [use.node for use in value.uses() if not _reads_sizes(use.node)]
    readers = [_reader(node, value) for node in nodes]
    known = [reader for reader in readers if reader is not None]
    return known if known and len(known) == len(readers) else None


def _reads_sizes(node: ir.Node) -> bool:
    """Whether a node looks at the sizes of its operand and at none of its numbers."""
    return node.op_type in ("Shape", "Size") and node.domain == ""


def _reader(node: ir.Node, value: ir.Value) -> _Reader | None:
    assert value.shape is not None
    found = channel_map(node, value.shape.rank() - 1)
    if node.op_type not in ("MatMul", "Gemm") or not isinstance(found, ChannelNode):
        return None
    if found.operand is not value or not _same_graph(node, value):
        return None
    shift = _shift(node.outputs[0]) if node.op_type == "MatMul" else None
    if shift is None:
        return _Reader(node, None, found.map)
    added = channel_map(shift, value.shape.rank() - 1)
    assert isinstance(added, ChannelNode)
    return _Reader(node, shift, ChannelMap(found.map.weight, added.map.bias, found.map.groups))


def _shift(product: ir.Value) -> ir.Node | None:
    """The Add of a per-channel constant that is the one reader of a product."""
    users = [use.node for use in product.uses()]
    if len(users) != 1 or product.is_graph_output() or product.shape is None:
        return None
    node = users[0]
    if node.op_type != "Add" or not _same_graph(node, product):
        return None
    return node if isinstance(channel_map(node, product.shape.rank() - 1), ChannelNode) else None


def _same_graph(node: ir.Node, value: ir.Value) -> bool:
    maker = value.producer()
    return maker is not None and node.graph is maker.graph


def _take(graph: ir.Graph, reader: _Reader, f: ChannelMap, names: Names) -> None:
    """Give a linear layer new weights and a new bias."""
    node, old = reader.product, reader.map
    layout = weight_of(node)
    assert layout is not None
    weight = f.weight if layout.rows == 0 else f.weight.T
    if node.op_type == "Gemm":
        node.attributes["alpha"] = ir.AttrFloat32("alpha", 1.0)
        node.attributes["beta"] = ir.AttrFloat32("beta", 1.0)
    node.replace_input_with(1, _initializer(graph, weight, node.inputs[1], names))
    if f.bias is None or old.bias is None:
        return
    target, at = (node, 2) if reader.shift is None else (reader.shift, _constant_slot(reader.shift))
    target.replace_input_with(at, _initializer(graph, f.bias, target.inputs[at], names))


def _constant_slot(node: ir.Node) -> int:
    return 0 if constant(node.inputs[0]) is not None else 1


def _strip(graph: ir.Graph, node: ir.Node, names: Names) -> None:
    gain = constant(node.inputs[1])
    assert gain is not None
    node.replace_input_with(1, _initializer(graph, np.ones(len(gain)), node.inputs[1], names))
    if len(node.inputs) > 2:
        node.resize_inputs(2)


def _initializer(graph: ir.Graph, array: Array, like: ir.Value | None, names: Names) -> ir.Value:
    """A new initialiser named after, and of the type of, the one it stands in for."""
    assert like is not None
    assert like.dtype is not None
    value = names.constant(array, f"{like.name}.folded", like.dtype)
    graph.register_initializer(value)
    return value
