"""The ledger: a graph proved step by step while it is rewritten."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from onebyone.graph.shapes import Sizes
from onebyone.verify.pieces.prove import Proof, Proved, prove
from onebyone.verify.pieces.snapshot import Snapshot, snapshot

__all__ = ["Ledger"]


@dataclass(eq=False)
class Ledger:
    """What was proved of a graph since it was opened.

    Args:
        graph: that is being rewritten.
        sizes: that it is rewritten for.
        proves: whether steps are proved, and not just remembered.
        last: the graph at the end of the last step.
        loose: pieces that belong to no rewrite: sizes that became known, nodes that were equal.
    """

    graph: ir.Graph
    sizes: Sizes
    proves: bool = True
    last: Snapshot = field(init=False)
    loose: list[Proved] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.last = snapshot(self.graph, for_proofs=self.proves)

    def step(
        self,
        moved: Collection[ir.Value] = (),
        left: float = 0.0,
        small: bool = True,
        rounds: bool = False,
    ) -> list[Proved]:
        """Prove what was done since the last step; the arguments are those of `prove`."""
        now = snapshot(self.graph, self.last, for_proofs=self.proves)
        pieces = []
        if self.proves:
            pieces = list(prove(self.last, now, self.sizes, moved, left, small, rounds))
        self.last = now
        return pieces

    def proofs(
        self, pieces: Sequence[Proved], rewrites: Sequence[Collection[str]]
    ) -> list[Proof | None]:
        """What was found of each rewrite of a step, by the names of its nodes; others are loose."""
        if not self.proves:
            return [None] * len(rewrites)
        every = {name for names in rewrites for name in names}
        self.loose += [piece for piece in pieces if piece.names.isdisjoint(every)]
        return [_of_nodes(pieces, names) for names in rewrites]


def _of_nodes(pieces: Sequence[Proved], names: Collection[str]) -> Proof:
    """What was found of all pieces that hold one of these nodes; true where there is none."""
    proofs = [piece.proof for piece in pieces if not piece.names.isdisjoint(names)]
    worst = min(proofs, key=_rank, default=Proof(True))
    return replace(worst, used=max((proof.used for proof in proofs), default=0.0))


def _rank(proof: Proof) -> int:
    """False before unknown before true."""
    return {False: 0, None: 1, True: 2}[proof.holds]
