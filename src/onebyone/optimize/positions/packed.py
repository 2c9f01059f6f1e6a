"""Packed: one linear layer for several blocks of channels, of which some are read at few positions.

    W x = [W₁x; W₂x; W₃x],    S W₁x = W₁ S x        S: the positions at which the first is read

Queries, keys and values are one product in most transformers. Where a class token alone is read of
what follows, its query is all that is asked for, but the keys and values of all tokens are. So the
blocks that are asked for alike get a layer of their own, and from then on each is as any other
layer: what skips positions moves back through it. A block that nobody reads goes.

The blocks are cut from the channels by a Split or Slices, or stand on an axis of their own that a
Reshape makes of them, from which a Split or Gathers take them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import onnx_ir as ir

from onebyone.cost.estimate import elements_of, node_time
from onebyone.cost.profile import Cost, pays
from onebyone.graph.axes import integers, permutation
from onebyone.graph.channels import channel_axis, weight_of
from onebyone.graph.constants import constant
from onebyone.graph.count_walk import name_of
from onebyone.graph.edit import CUT, Edit
from onebyone.graph.ops.selection import cuts
from onebyone.graph.picks import Asked, Picks
from onebyone.graph.values import Size, all_known, is_read, shape_of, size
from onebyone.optimize.positions.demand import Demand
from onebyone.optimize.positions.prices import Prices, macs_of
from onebyone.optimize.positions.through import through
from onebyone.optimize.rewritten import Rewrite, Task
from onebyone.optimize.sharing import is_kept

__all__ = ["unpack"]


@dataclass(frozen=True, eq=False)
class Pieces:
    """What is cut from a value along one axis, in equal blocks.

    Args:
        blocks_of: each piece that is read -> its block.
        blocks: how many there are.
        width: positions of the axis that a block has.
        cutters: the nodes that cut.
    """

    blocks_of: Mapping[ir.Value, int]
    blocks: int
    width: int
    cutters: tuple[ir.Node, ...]


@dataclass(frozen=True, eq=False)
class Packed:
    """A linear layer whose channels are blocks.

    Args:
        chain: the layer, and where they follow it, what adds its bias, a Reshape and a Transpose.
        data: which operand of each comes from the one before.
        axis: of the channels, in the results of the layer.
        width: channels of a block.
        cut: the axis along which the last of the chain is cut.
        has_axis: whether the blocks have that axis for themselves, by a Reshape.
        pieces: what is cut.
    """

    chain: tuple[ir.Node, ...]
    data: tuple[int, ...]
    axis: int
    width: int
    cut: int
    has_axis: bool
    pieces: Pieces

    @property
    def operand(self) -> ir.Value:
        """What the layer reads."""
        value = self.chain[0].inputs[0]
        assert value is not None
        return value


def unpack(task: Task, demand: Demand) -> Iterator[Rewrite]:
    """Give blocks that are read at other positions than the rest a layer of their own, in place."""
    edit, prices = Edit(task.model.graph), Prices(demand, task.sizes, task.profile)
    for node in list(task.model.graph):
        packed = _packed(node)
        if packed is None:
            continue
        groups = _groups(packed, demand)
        if groups is None or not _pays(packed, groups, prices):
            continue
        read = len({*packed.pieces.blocks_of.values()})
        macs = sum(macs_of(n, task.sizes) for n in packed.chain)
        saved = macs - macs * read // packed.pieces.blocks  # of what nobody reads
        names = tuple(name_of(n) for n in (*packed.chain, *packed.pieces.cutters))
        root = packed.chain[-1].outputs[0].name or ""
        for _, pieces in groups:
            _rebuild(packed, pieces, edit)
        yield Rewrite(root, names, {"demand": saved}, made=edit.fresh(), small=False)


# What is packed ----------------------------------------------------------------------------------


def _packed(node: ir.Node) -> Packed | None:
    weight, axis = weight_of(node), channel_axis(node)
    if weight is None or axis is None or weight.slot != 1:
        return None
    channels, grouped = size(node.outputs[0], axis), node.attributes.get_int("group", 1) != 1
    if channels is None or grouped or not _is_own(node, node.inputs[1]):
        return None
    chain, data, count, cut = [node], [0], 0, axis
    if (reader := _only_reader(node.outputs[0])) is not None and reader.op_type == "Add":
        chain.append(reader)
        data.append(int(reader.inputs[0] is not node.outputs[0]))
        if not _is_own(reader, reader.inputs[1 - data[-1]]):
            return None
        reader = _only_reader(reader.outputs[0])
    if reader is not None and reader.op_type == "Reshape":
        count = _cut_by(reader, axis, channels)
        if not count:
            return None
        chain.append(reader)
        data.append(0)
        reader = _only_reader(reader.outputs[0])
        order = permutation(reader) if reader is not None else None
        if reader is not None and reader.op_type == "Transpose" and order is not None:
            cut = order.index(axis)
            chain.append(reader)
            data.append(0)
    found = _pieces(chain[-1].outputs[0], cut)
    if found is None or (count and found.width > 1):
        return None
    return Packed(tuple(chain), tuple(data), axis, channels // found.blocks, cut, bool(count),
                  found)  # fmt: skip


def _is_own(node: ir.Node, value: ir.Value | None) -> bool:
    """Whether a constant is read by one node alone, so that parts of it are no copies."""
    return value is not None and constant(value) is not None and not is_kept(value, [node])


def _only_reader(value: ir.Value) -> ir.Node | None:
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    (use,) = uses
    if use.node.domain != "" or use.node.graph is not value.graph:
        return None
    return use.node


def _cut_by(node: ir.Node, axis: int, channels: int) -> int:
    """Into how many blocks a Reshape cuts the channels first; 0 where it does something else."""
    before, after = shape_of(node.inputs[0]), shape_of(node.outputs[0])
    told = constant(node.inputs[1])
    if before is None or after is None or told is None or len(after) <= axis:
        return 0
    # With the same axes before it, what comes first is the slowest part of the channels.
    count = after[axis]
    if before[:axis] != after[:axis] or not isinstance(count, int) or channels % count:
        return 0
    if told[axis] not in (-1, count) or (told[axis:] == 0).any():
        return 0
    return count


def _pieces(value: ir.Value, axis: int) -> Pieces | None:
    """The parts that all readers of a value take of it; None where they are no equal blocks."""
    uses = value.uses()
    if value.is_graph_output() or any(u.idx or u.node.graph is not value.graph for u in uses):
        return None
    readers = tuple(dict.fromkeys(use.node for use in uses))
    told = all_known(_cuts_out(reader, axis) for reader in readers)
    whole = size(value, axis)
    if not told or not whole:
        return None
    parts = [part for each in told for part in each]
    width = parts[0][2] - parts[0][1]
    found = {part: start // width for part, start, _ in parts if is_read(part)}
    if any(stop - start != width or start % width for _, start, stop in parts) or whole % width:
        return None
    if not found or whole == width or any(part.is_graph_output() for part in found):
        return None
    return Pieces(found, whole // width, width, readers)


def _cuts_out(node: ir.Node, axis: int) -> list[tuple[ir.Value, int, int]] | None:
    """What a node takes along an axis: its results, each from where to where; None: more."""
    x, rank = node.inputs[0], len(shape_of(node.inputs[0]) or ())
    length = size(x, axis)
    if node.domain != "" or not rank or length is None:
        return None
    if node.op_type == CUT:
        bounds = cuts(node)
        if bounds is None or axis not in bounds:
            return None
        start, stop, step = slice(*bounds[axis]).indices(length)
        if step != 1 or stop <= start:
            return None
        return [(node.outputs[0], start, stop)]
    if node.attributes.get_int("axis", 0) % rank != axis:
        return None
    if node.op_type == "Gather":
        index = constant(node.inputs[1])
        if index is None or index.ndim:
            return None
        return [(node.outputs[0], int(index) % length, int(index) % length + 1)]
    sizes = [size(part, axis) for part in node.outputs]
    if node.op_type != "Split" or any(n is None or n == 0 for n in sizes):
        return None
    ends = np.cumsum([n or 0 for n in sizes]).tolist()
    return [(part, end - (n or 0), end)
            for part, end, n in zip(node.outputs, ends, sizes, strict=True)]  # fmt: skip


# Who asks for what -------------------------------------------------------------------------------

Group = tuple[Asked, tuple[ir.Value, ...]]
"""What is asked of the operand of the layer, and the pieces for which that is so."""


def _groups(packed: Packed, demand: Demand) -> Sequence[Group] | None:
    """The pieces that are asked for at the same positions; None where one layer is as well."""
    alike: dict[tuple[tuple[int, Picks], ...], list[ir.Value]] = {}
    for piece in packed.pieces.blocks_of:
        asked = _asked_before(packed, piece, demand)
        alike.setdefault(tuple(sorted(asked.items(), key=lambda item: item[0])), []).append(piece)
    read = len(set(packed.pieces.blocks_of.values()))
    # Of channels that nothing cuts apart dead ones go by themselves (`channels.prune`).
    if len(alike) == 1 and (read == packed.pieces.blocks or not packed.has_axis):
        return None
    groups: list[Group] = [(dict(asked), tuple(pieces)) for asked, pieces in alike.items()]
    of = [{packed.pieces.blocks_of[piece] for piece in pieces} for _, pieces in groups]
    # A block that is asked for in two ways would be computed twice.
    return groups if sum(map(len, of)) == read else None


def _asked_before(packed: Packed, piece: ir.Value, demand: Demand) -> dict[int, Picks]:
    """The positions of the layer's operand that are needed for what is asked of a piece."""
    cutter = piece.producer()
    assert cutter is not None
    way = [*zip(packed.chain[::-1], packed.data[::-1], strict=True)]
    asked: Asked = demand.operands[cutter].get(0, {})
    if len(cutter.outputs) > 1:  # of which others may be read whole
        asked, way = demand.asked_of([piece]) or {}, [(cutter, 0), *way]
    found: dict[int, Picks] = {}
    for axis, picks in asked.items():
        own: int | None = axis
        for node, index in way:
            needs = None if own is None else through(node, own, picks, demand.version)
            told = (needs or {}).get(index)
            own, picks = (None, picks) if told is None else told
        if own is not None:
            found[own] = picks
    return found


def _pays(packed: Packed, groups: Sequence[Group], prices: Prices) -> bool:
    """Whether the layers are cheaper, each at its positions, than the one is at all of them."""
    now, best = Cost(), Cost()
    for node in packed.chain:
        now += _cost(node, Fraction(1), Fraction(1), prices)
    for asked, pieces in groups:
        blocks = {packed.pieces.blocks_of[piece] for piece in pieces}
        channels = Fraction(len(blocks), packed.pieces.blocks)
        positions = prices.share(packed.operand, asked)
        for node in packed.chain:
            best += _cost(node, channels, positions, prices)
        best += Cost(prices.profile.time() * bool(asked))  # what selects the positions
    return pays(now, best, prices.profile)


def _cost(node: ir.Node, channels: Fraction, positions: Fraction, prices: Prices) -> Cost:
    """Of a node for a part of its channels, at a part of its positions."""

    def elements(value: ir.Value) -> float:
        fixed = constant(value) is not None
        share = channels if fixed else positions
        if not fixed and value is not node.inputs[0]:
            share = channels * positions
        return float(elements_of(value, prices.sizes) * share)

    macs = float(macs_of(node, prices.sizes) * channels * positions)
    return Cost(node_time(node, macs, prices.profile, elements), round(macs))


# Layers of their own -----------------------------------------------------------------------------


def _rebuild(packed: Packed, pieces: Sequence[ir.Value], edit: Edit) -> None:
    """A layer for the blocks of some pieces, and the pieces cut from it."""
    blocks = sorted({packed.pieces.blocks_of[piece] for piece in pieces})
    value = packed.operand
    for node, at in zip(packed.chain, packed.data, strict=True):
        value = _of_blocks(packed, node, [*node.inputs[:at], value, *node.inputs[at + 1 :]],
                           at, blocks, edit)  # fmt: skip
    for piece in pieces:
        edit.replace(piece, _cut_out(packed, piece, value, blocks, edit))


def _of_blocks(
    packed: Packed,
    node: ir.Node,
    operands: list[ir.Value | None],
    at: int,
    blocks: Sequence[int],
    edit: Edit,
) -> ir.Value:
    """A node of the chain for some of the blocks; operand `at` is the chain's."""
    out, axis, width = node.outputs[0], packed.axis, packed.width
    assert out.shape is not None
    dims: list[Size] = list(out.shape)
    places = [block * width + k for block in blocks for k in range(width)]
    if node.op_type == "Reshape":
        told = integers(node, 1, "shape") or []
        operands[1] = edit.integers([*told[:axis], len(blocks), *told[axis + 1 :]])
        dims[axis] = len(blocks)
    elif node.op_type == "Transpose":
        dims[packed.cut] = len(blocks)
    else:
        weight = weight_of(node)
        if weight is not None:
            operands[1] = _part(operands[1], places, weight.rows, edit)
        for k, value in enumerate(operands):
            if k != at and (weight is None or k != weight.slot):
                rank = len(shape_of(value) or ())
                last = 0 if weight is not None and rank == 1 else axis - len(dims) + rank
                operands[k] = _part(value, places, last, edit)
        dims[axis] = len(places)
    return edit.node(node.op_type, operands, node.attributes, before=packed.chain[0],
                     stem=f"{out.name}.{node.op_type}", dtype=out.dtype, shape=dims)  # fmt: skip


def _part(value: ir.Value | None, places: Sequence[int], axis: int, edit: Edit) -> ir.Value | None:
    """Some channels of a constant; all of it where it is the same for all."""
    array = constant(value)
    if array is None or axis < 0 or array.shape[axis] == 1:
        return value
    return edit.constant_like(value, np.take(array, places, axis), "part")


def _cut_out(
    packed: Packed, piece: ir.Value, value: ir.Value, blocks: Sequence[int], edit: Edit
) -> ir.Value:
    """A piece of what holds some blocks; the value itself where that is all."""
    cutter, axis, width = piece.producer(), packed.cut, packed.pieces.width
    assert cutter is not None
    assert piece.shape is not None
    start = blocks.index(packed.pieces.blocks_of[piece]) * width
    op, attributes, operands = CUT, dict[str, int](), [value]
    if cutter.op_type == "Gather":
        op, attributes = "Gather", {"axis": axis}
        operands.append(edit.constant(np.array(start, np.int64), "index", ir.DataType.INT64))
    else:
        # A Slice may take positions as well.
        bounds = {**_positions(cutter), axis: (start, start + width, 1)}
        if len(blocks) == 1:
            del bounds[axis]
        if not bounds:
            return value
        starts, stops, steps = zip(*bounds.values(), strict=True)
        operands += [edit.integers(told) for told in (starts, stops, [*bounds], steps)]
    return edit.node(op, operands, attributes, before=packed.chain[0], stem=f"{piece.name}.{op}",
                     dtype=piece.dtype, shape=piece.shape)  # fmt: skip


def _positions(cutter: ir.Node) -> dict[int, tuple[int, int, int]]:
    """Axis -> start, end and step, of all axes along which a Slice cuts."""
    return (cuts(cutter) or {}) if cutter.op_type == CUT else {}
