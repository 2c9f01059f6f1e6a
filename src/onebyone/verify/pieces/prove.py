"""Prove: what a rewrite claims, evaluated in float64 with weights that are not rounded yet.

    |new − old| ≤ 2⁻⁴⁰ · m          m: old with every term without its sign (graph.magnitude)

2⁻⁴⁰ ≈ 10⁻¹² is 8192 units of roundoff: room for the additions of both, and nothing beside what a
fault in a weight does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.evaluate import CannotEvaluate, Run, outputs_of
from onebyone.graph.magnitude import Sized, magnitudes
from onebyone.graph.ops.call import is_floating
from onebyone.graph.shapes import Sizes
from onebyone.verify.bound import UNITS
from onebyone.verify.pieces.claims import Claim, Meanings, claims
from onebyone.verify.pieces.draw import Shapes, drawn, fits, own_shapes, small_shapes
from onebyone.verify.pieces.piece import Asked, Piece, Side, smallest_piece
from onebyone.verify.pieces.snapshot import Snapshot

__all__ = ["TOLERANCE", "Proof", "Proved", "prove"]

TOLERANCE = 2.0**-40
MAX_OPENED = 32
"""Values that are computed instead of given, the last first, before a claim counts as false."""


@dataclass(frozen=True)
class Proof:
    """What was found of a claim.

    Args:
        holds: whether it is true; None where it could not be evaluated.
        used: the largest share of its bound that an element uses.
        reason: why it could not be evaluated, or what differs.
    """

    holds: bool | None
    used: float = 0.0
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Proved:
    """A piece, by the names of its nodes before and after, and what was found of it."""

    names: frozenset[str]
    proof: Proof


def prove(
    old: Snapshot,
    new: Snapshot,
    sizes: Sizes,
    moved: Collection[ir.Value] = (),
    left: float = 0.0,
    small: bool = True,
    rounds: bool = False,
) -> Iterator[Proved]:
    """Prove a graph to mean what it meant before, piece by piece.

    Args:
        old, new: the graph before and after.
        sizes: that it is optimised for.
        moved: values that are there with another meaning, which their shapes do not tell.
        left: what a law leaves out by itself, as the largest factor ‖y‖/‖x‖ of it.
        small: whether the pieces are the same for fewer positions.
        rounds: whether what was computed from constants was rounded to their type.
    """
    terms = _Terms(sizes, left, rounds, small)
    for claim, m in claims(old, new, moved):
        yield _proved(claim, m, old, new, terms)


@dataclass(frozen=True)
class _Terms:
    """What the pieces of a step are judged by; see `prove`."""

    sizes: Sizes
    left: float
    rounds: bool
    small: bool


def _proved(claim: Claim, m: Meanings, old: Snapshot, new: Snapshot, terms: _Terms) -> Proved:
    """On pieces that begin further and further back, until the claim holds.

    Values that were taken as given may hang together: a map is the same as two for what one of them
    gives, and not for what anything gives.
    """
    names = smallest_piece(claim, m, old, new).names
    told: list[str] = []
    # Few positions are fast, but not every piece has a smaller one that says as much.
    for few in (terms.small, not terms.small):
        judged = partial(_judged, terms=terms, few=few)
        proof = _nearest(claim, m, old, new, judged)
        # What differs at few positions may hang on sizes that were made smaller.
        if proof.holds or (proof.holds is False and not few):
            return Proved(names, proof)
        if proof.reason:
            told.append("at few positions " * few + proof.reason)
    return Proved(names, Proof(None, reason="; ".join(told)))


def _nearest(
    claim: Claim, m: Meanings, old: Snapshot, new: Snapshot, judged: Callable[[Piece], Proof]
) -> Proof:
    """What is found of the first piece for which a claim holds, or which is the last to try."""
    opened: list[int] = []
    while True:
        piece = smallest_piece(claim, m, old, new, opened)
        if fixed := piece.fixed:
            opened += fixed
            continue
        last = None if len(opened) >= MAX_OPENED else piece.last
        # A lopsided piece is given two values that hang together as if they did not: it would
        # differ, so that evaluating it tells nothing.
        if last is None or not piece.lopsided:
            proof = judged(piece)
            if proof.holds is not False or last is None:
                return proof
        opened.append(last)


def _judged(piece: Piece, terms: _Terms, few: bool) -> Proof:
    """At few positions, or at the piece's own sizes; at smaller ones if it is too large there."""
    for side in piece.sides:
        for record in side.records:
            if record.captured or any(_holds_graph(a) for a in record.attributes):
                return Proof(None, reason=f"{record.op_type} {record.name!r} holds a graph")
    name = piece.new.target.name
    sizes = terms.sizes
    if not few and not fits(piece, sizes):
        sizes = sizes.smaller
    shapes = own_shapes(piece, sizes)
    if shapes is None:
        return Proof(None, reason=f"a size next to {name!r} is unknown")
    if few:
        shapes = small_shapes(piece, shapes)
    elif not fits(piece, sizes):
        return Proof(None, reason=f"what computes {name!r} is too large to be evaluated")
    if shapes is None:  # what would say why is asked at the piece's own sizes
        return Proof(None)
    return _evaluated(piece, shapes, terms)


def _holds_graph(attribute: ir.Attr) -> bool:
    return attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def _evaluated(piece: Piece, shapes: Shapes, terms: _Terms) -> Proof:
    """Both sides on the same numbers; on positive ones where the others give NaN."""
    for positive in (False, True):
        given = drawn(piece, shapes, np.random.default_rng(0), positive)
        try:
            proof = _compared(piece, given, shapes.asked, terms)
        except (CannotEvaluate, MemoryError) as error:
            return Proof(None, reason=str(error) or "memory is short")
        if proof is not None:
            return proof
    return Proof(None, reason=f"{piece.new.target.name!r} is nothing but NaN on what was drawn")


def _compared(piece: Piece, given: dict[int, Array], asked: Asked, terms: _Terms) -> Proof | None:
    order = sorted(given)
    result = _value(piece.new, given, asked)
    # Most of what is simplified gives the very same numbers: then no magnitudes are needed.
    if terms.rounds and _equal(_value(piece.old, given, asked), result):
        return Proof(True)
    before, inputs = piece.old.built(order, asked)
    (reference,) = magnitudes(before, {inputs[k]: given[k] for k in order})
    spread, share = 0.0, TOLERANCE
    if terms.left:
        spread = terms.left * sum(map(_longest, given.values()))
    if terms.rounds:  # what was computed from constants was rounded, more than once
        share += 4 * _unit(piece)
    return _verdict(piece, reference, result, share, spread)


def _value(side: Side, given: dict[int, Array], asked: Asked) -> Any:
    """What one side of a piece gives, in float64."""
    order = sorted(given)
    graph, inputs = side.built(order, asked)
    run = Run(graph.opset_imports, np.dtype(np.float64), 600.0)
    run.known.update({inputs[k]: given[k] for k in order})
    (result,) = outputs_of(graph, run)
    return result


def _equal(x: Any, y: Any) -> bool:
    """Whether two results are the same numbers, and some that say anything."""
    if not (isinstance(x, np.ndarray) and isinstance(y, np.ndarray) and x.size):
        return False
    return np.array_equal(x, y) and (not is_floating(x.dtype) or bool(np.isfinite(x).all()))


def _unit(piece: Piece) -> float:
    """The unit roundoff of the coarsest float type in a piece."""
    records = [record for side in piece.sides for record in side.records]
    values = [v for r in records for v in (*r.inputs, *r.outputs) if v is not None]
    return max((UNITS[v.dtype] for v in values if v.dtype in UNITS), default=0.0)


def _verdict(piece: Piece, reference: Sized, y: Array, share: float, spread: float) -> Proof | None:
    name, r, size = piece.new.target.name, reference.value, reference.size
    if not isinstance(r, np.ndarray) or not isinstance(y, np.ndarray):
        return Proof(None, reason=f"{name!r} is no tensor")
    if r.shape != y.shape:
        return Proof(False, np.inf, f"{name!r} is of shape {y.shape} where {r.shape} was")
    if not is_floating(r.dtype):
        if np.array_equal(r, y):
            return Proof(True)
        return Proof(False, reason=f"{name!r} has other numbers")
    known = np.isfinite(r) & np.isfinite(y)
    if r.size and not known.any():
        return None
    if not r.size:
        return Proof(None, reason=f"{name!r} is empty")
    # Where one side is no number the other has to be the same: an infinity of its sign, or NaN.
    odd = ~known & (r != y) & ~(np.isnan(r) & np.isnan(y))
    error = np.abs(np.where(known, y, 0) - np.where(known, r, 0))
    # The least number keeps 0 / 0 away where both sides are exactly zero.
    bound = share * np.where(np.isfinite(size), size, 0) + spread + 1e-300
    used = float((error / bound).max())
    if odd.any():
        return Proof(False, used, f"{name!r} is infinite or NaN elsewhere")
    if used <= 1:
        return Proof(True, used)
    told = f"{name!r} differs by {float(error.max()):.2g}, {used:.2g} times its bound"
    return Proof(False, used, told)


def _longest(x: Array) -> float:
    """The length of the longest vector that x holds, along any axis."""
    if not is_floating(x.dtype) or not x.size:
        return 0.0
    return max((float(np.linalg.norm(x, axis=k).max()) for k in range(x.ndim)), default=0.0)
