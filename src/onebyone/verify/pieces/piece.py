"""A closed piece: what computes a value, before and after, from values that mean the same."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onebyone.graph.constants import is_float
from onebyone.graph.ops.gathering import picked_axes
from onebyone.graph.ops.marking import marked_axis
from onebyone.verify.pieces.claims import Claim, Meanings
from onebyone.verify.pieces.snapshot import Record, Snapshot, is_constant

Asked = Mapping[Record, tuple[int, ...]]
"""Node -> the sizes that it asks for where a piece is evaluated, if they are not its own."""

Axis = tuple[ir.Value, int]

__all__ = ["Asked", "Axis", "Piece", "Side", "smallest_piece"]


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two graphs of a piece.

    Args:
        graph: the whole one, as it stood.
        target: the value that the piece computes.
        records: the nodes that compute it, in order.
        border: values that are given to the piece -> a number, the same on the other side for
            values that mean the same.
        picked: those of the border by which gathers pick -> the values and axes that they pick of.
        marked: those of the border that mark places -> the values and axes that they mark in.
    """

    graph: Snapshot
    target: ir.Value
    records: tuple[Record, ...]
    border: Mapping[ir.Value, int]
    picked: Mapping[ir.Value, Collection[Axis]]
    marked: Mapping[ir.Value, Collection[Axis]]

    def built(self, order: Sequence[int], asked: Asked) -> tuple[ir.Graph, dict[int, ir.Value]]:
        """A graph of its own, and its inputs by these numbers; nodes ask for these sizes."""
        inputs = {number: ir.Value(name=f"given_{number}") for number in order}
        values = {value: inputs[number] for value, number in self.border.items()}
        nodes = [self._copied(record, values, asked) for record in self.records]
        output = self._read(self.target, values)
        assert output is not None
        graph = ir.Graph(
            list(inputs.values()), [output], nodes=nodes, opset_imports=dict(self.graph.opsets)
        )
        return graph, inputs

    def _copied(self, record: Record, values: dict[ir.Value, ir.Value], asked: Asked) -> ir.Node:
        operands = [self._read(value, values) for value in record.inputs]
        at = record.operator.target
        if record in asked and at is not None:
            sizes = ir.tensor(np.array(asked[record], np.int64))
            operands[at] = ir.Value(const_value=sizes)
        count = len(record.outputs)
        node = ir.Node(record.domain, record.op_type, operands, record.attributes,
                       num_outputs=count, name=record.name)  # fmt: skip
        for old, new in zip(record.outputs, node.outputs, strict=True):
            values[old], new.name = new, old.name
        return node

    def _read(self, value: ir.Value | None, values: dict[ir.Value, ir.Value]) -> ir.Value | None:
        if value is None:
            return None
        if value not in values:  # a constant
            values[value] = ir.Value(name=value.name, const_value=value.const_value)
        return values[value]


@dataclass(frozen=True, eq=False)
class Piece:
    """What computed a value, and what computes it now."""

    old: Side
    new: Side

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.old, self.new

    @property
    def border(self) -> dict[int, tuple[Side, ir.Value]]:
        """By its number each value that is given, as one of the sides has it."""
        given = [(side, value) for side in self.sides for value in side.border]
        return {side.border[value]: (side, value) for side, value in given}

    @property
    def lopsided(self) -> bool:
        """Whether each side is given what the other is not: two values that hang together."""
        old, new = self._given
        return bool(old - new) and bool(new - old)

    @property
    def fixed(self) -> list[int]:
        """What one side alone is given, though it is computed from constants: no number will do."""
        old, new = self._given
        border = self.border.items()
        return [k for k, (side, v) in border if k in old ^ new and v in side.graph.fixed]

    @property
    def _given(self) -> tuple[set[int], set[int]]:
        """The numbers of what each side is given."""
        return {*self.old.border.values()}, {*self.new.border.values()}

    @property
    def last(self) -> int | None:
        """The number of the value that is given and computed last; None if none is computed.

        Of those that one side alone is given, if there are any; before all others what a side
        would have to compute, and is given itself.
        """
        old, new = self._given
        made = [
            (value is side.target, number in old ^ new, place, number)
            for number, (side, value) in self.border.items()
            if (place := self._place(side, value)) is not None
        ]
        return max(made, default=(False, False, 0, None))[3]

    def _place(self, side: Side, value: ir.Value) -> int | None:
        """Where a value is computed, in the old graph if it was there."""
        for graph in (self.old.graph, side.graph):
            if value in graph.makers:
                return graph.places[graph.makers[value].node]
        return None

    @property
    def names(self) -> frozenset[str]:
        """Of the nodes on both sides."""
        return frozenset(record.name for side in self.sides for record in side.records)


def smallest_piece(
    claim: Claim, m: Meanings, old: Snapshot, new: Snapshot, opened: Collection[int] = ()
) -> Piece:
    """The smallest piece for a claim; values of the numbers `opened` are computed, not given."""
    before = _Walk(old, lambda v: m.find(m.of(v, m.old)), m.known, opened)
    after = _Walk(new, lambda v: m.find(m.of(v, m.new)), m.known, opened)
    return Piece(before.side(claim.old), after.side(claim.new))


@dataclass(eq=False)
class _Walk:
    graph: Snapshot
    number: Callable[[ir.Value], int]
    known: Collection[int]
    opened: Collection[int]
    border: dict[ir.Value, int] = field(default_factory=dict)
    records: dict[ir.Node, Record] = field(default_factory=dict)
    picked: dict[ir.Value, list[Axis]] = field(default_factory=dict)
    marked: dict[ir.Value, list[Axis]] = field(default_factory=dict)

    def side(self, target: ir.Value) -> Side:
        waiting, seen = [target], {target}
        while waiting:
            for value in self._operands(waiting.pop()):
                if value not in seen:
                    seen.add(value)
                    waiting.append(value)
        records = tuple(sorted(self.records.values(), key=lambda r: self.graph.places[r.node]))
        picked, marked = (
            {value: noted[value] for value in self.border if value in noted}
            for noted in (self.picked, self.marked)
        )
        return Side(self.graph, target, records, self.border, picked, marked)

    def _operands(self, value: ir.Value) -> Iterator[ir.Value]:
        """What a value is computed from; nothing of what is given, or constant."""
        maker = self.graph.makers.get(value)
        if maker is None:
            if not is_constant(value):
                self.border[value] = self.number(value)
            return
        # Floats that mean the same on both sides may be any numbers, and indices any that are
        # valid, before they were spread: to all channels they are the same. Other integers may be
        # sizes, so they are computed.
        number = self.number(value)
        given = number in self.known and number not in self.opened
        noted = value in self.picked or value in self.marked
        picks = noted and not maker.operator.hands_on
        if given and (is_float(value) or value.dtype is None or picks):
            self.border[value] = number
            return
        self.records[maker.node] = maker
        self._note_indices(value, maker)
        yield from (v for v in maker.inputs if v is not None)

    def _note_indices(self, value: ir.Value, maker: Record) -> None:
        """Note of what is picked, or in what is marked, by an operand or what a node passes on."""
        if maker.operator.gathers and (indices := maker.inputs[1]) is not None:
            x, shape = maker.inputs[0], None
            if x is not None:
                shape = self.graph.shape(x)
            if x is not None and shape is not None:
                axes = ((x, axis) for axis in picked_axes(maker.node, len(shape)))
                self.picked.setdefault(indices, []).extend(axes)
        elif maker.operator.hands_on and maker.inputs[0]:
            for noted in (self.picked, self.marked):
                if value in noted:
                    noted.setdefault(maker.inputs[0], []).extend(noted[value])
        else:
            self._note_marks(value, maker)

    def _note_marks(self, value: ir.Value, maker: Record) -> None:
        shape, said = self.graph.shape(value), {a.name: a.value for a in maker.attributes}
        if not shape:
            return
        found = marked_axis(maker.op_type, maker.inputs, said.get("axis", -1), len(shape))
        if found is not None and (indices := maker.inputs[found[0]]) is not None:
            self.marked.setdefault(indices, []).append((value, found[1]))
