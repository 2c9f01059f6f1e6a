"""What a rewrite claims: pairs of values, before and after, that have the same meaning.

    same(x, x)                                  an input, a constant that stayed
    same(f(x), f(x'))  where  same(x, x')       the same operator of the same operands
    claimed(v, v')                              a value that kept its name and its shape, or what
                                                a node that stayed reads in the place of another

Claims are made where the first two end, in the order of the new graph, and each counts as the same
from there on. So it is enough that every claim holds on whatever the values that are the same
*before* it hold: that is what each piece is evaluated on, and the claims follow one from another.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from onebyone.graph.constants import is_float
from onebyone.graph.exact import Exact
from onebyone.verify.pieces.snapshot import Record, Snapshot, is_constant

__all__ = ["Claim", "Meanings", "claims"]

_SMALL = 64
"""Of constants of so many numbers the numbers are compared; larger ones have to be one."""


@dataclass(frozen=True, eq=False)
class Claim:
    """That `new` has the meaning of `old`, if all that `Meanings` knows by now is true."""

    old: ir.Value
    new: ir.Value


@dataclass(eq=False)
class Meanings:
    """What is known to be the same in two graphs.

    Args:
        old, new: value -> a number, equal where the same operators compute it from the same.
        joined: number -> another one that was claimed to be the same.
        known: numbers, as `find` gives them, of values that are in both graphs.
        keys: what a number stands for.
    """

    old: dict[ir.Value, int] = field(default_factory=dict)
    new: dict[ir.Value, int] = field(default_factory=dict)
    joined: dict[int, int] = field(default_factory=dict)
    known: set[int] = field(default_factory=set)
    keys: dict[Hashable, int] = field(default_factory=dict)

    def number(self, key: Hashable) -> int:
        """The number of what a key describes."""
        return self.keys.setdefault(key, len(self.keys))

    def of(self, value: ir.Value | None, numbers: dict[ir.Value, int]) -> int:
        """The number of an operand."""
        if value is None:
            return -1
        if value not in numbers:  # nothing in the graph computes it
            numbers[value] = self.number(_leaf(value))
        return numbers[value]

    def find(self, number: int) -> int:
        """One number for all that are joined."""
        while number in self.joined:
            number = self.joined[number]
        return number

    def same(self, o: ir.Value | None, n: ir.Value | None) -> bool:
        """Whether a value before and one after are known to be the same."""
        return self.find(self.of(o, self.old)) == self.find(self.of(n, self.new))

    def key(self, record: Record, numbers: dict[ir.Value, int]) -> Hashable:
        """What describes the results of a node."""
        operands = tuple(self.of(v, numbers) for v in (*record.inputs, *record.captured))
        # Two nodes that draw random numbers draw others, however alike they are.
        drawn = record.operator.is_random and id(record.node)
        outputs = len(record.outputs)
        return record.domain, record.op_type, record.said, drawn, outputs, operands

    def stay(self, record: Record) -> None:
        """Take the results of a node for what they were."""
        numbers = [self.of(v, self.old) for v in record.outputs]
        self.new.update(zip(record.outputs, numbers, strict=True))
        self.known.update(map(self.find, numbers))

    def join(self, o: ir.Value, n: ir.Value) -> None:
        """Take a claim for true from now on."""
        before, after = self.find(self.of(o, self.old)), self.find(self.of(n, self.new))
        if before != after:
            self.joined[after] = before
        self.known.add(before)


def claims(
    old: Snapshot, new: Snapshot, moved: Collection[ir.Value]
) -> Iterator[tuple[Claim, Meanings]]:
    """What has to be shown for a graph to mean what it did before.

    Each claim comes with what is known before it, which changes when the next one is asked for.

    Args:
        old, new: the graph before and after.
        moved: values that are there with another meaning, which their shapes do not tell.
    """
    m = Meanings()
    # Numbers for all that was there; equal ones for what was computed twice.
    for record in old.records.values():
        key = m.key(record, m.old)
        m.old.update({v: m.number((key, k)) for k, v in enumerate(record.outputs)})
    standing, changed = set(m.old.values()), set[ir.Value | None]()
    for record in new.records.values():
        before = old.records.get(record.node)
        # Most nodes stand as they stood: nothing is compared for them.
        if before is record and changed.isdisjoint((*record.inputs, *record.captured)):
            m.stay(record)
            continue
        # A node that stayed and reads another value claims that this one means the same; of another
        # number of values, a concat of concats say, each may stand in another place.
        kept = before is not None and len(before.inputs) == len(record.inputs)
        for o, n in zip(before.inputs, record.inputs, strict=True) if before and kept else ():
            if o is None or n is None or m.same(o, n):
                continue
            if o in old.makers and _stands_for(n, o, old, new, moved):
                yield Claim(o, n), m
                m.join(o, n)
        if before is not None and _stayed(before, record, m):
            m.stay(record)
            continue
        # A new one: its results may be known, and are claimed where they took a name over.
        key = m.key(record, m.new)
        for k, v in enumerate(record.outputs):
            m.new.setdefault(v, m.number((key, k)))
            if m.new[v] in standing:
                m.known.add(m.find(m.new[v]))
                continue
            partner = _partner(v, old, new)
            if partner is not None and _stands_for(v, partner, old, new, moved):
                yield Claim(partner, v), m
                m.join(partner, v)
            if partner is not v or not m.same(v, v):
                changed.add(v)
    # Whatever became of the rest, the outputs have to mean what they meant.
    for o, n in zip(old.outputs, new.outputs, strict=True):
        if not m.same(o, n):
            yield Claim(o, n), m
            m.join(o, n)


def _stayed(before: Record, after: Record, m: Meanings) -> bool:
    """Whether a node does what it did, on values that are the same."""
    if before.outputs != after.outputs or len(before.inputs) != len(after.inputs):
        return False
    pairs = zip((*before.inputs, *before.captured), (*after.inputs, *after.captured), strict=False)
    same = len(before.captured) == len(after.captured) and all(m.same(o, n) for o, n in pairs)
    kinds = (before.domain, before.op_type) == (after.domain, after.op_type)
    return same and kinds and before.said == after.said


def _partner(value: ir.Value, old: Snapshot, new: Snapshot) -> ir.Value | None:
    """The value before that a value is by its identity, or by its name."""
    if value in old.makers:
        return value
    named = old.named.get(value.name or "")
    return named if named not in new.makers else None


def _stands_for(
    n: ir.Value, o: ir.Value, old: Snapshot, new: Snapshot, moved: Collection[ir.Value]
) -> bool:
    """Whether two values may be the same: they look alike, and nobody said that one has moved."""
    alike = is_float(n) and str(old.shape(o)) == str(new.shape(n))
    return alike and n not in moved and o not in moved


def _leaf(value: ir.Value) -> Hashable:
    if not is_constant(value):
        return "input", id(value)
    tensor = value.const_value
    assert tensor is not None
    if tensor.size > _SMALL or isinstance(tensor, Exact) or tensor.dtype == ir.DataType.STRING:
        return "constant", id(tensor)
    array = np.asarray(tensor.numpy())
    return "numbers", tensor.dtype, array.shape, array.tobytes()
