"""The report of an optimisation: a value, and its two forms (JSON and a terminal view)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from onebyone.algebra.laws import LAWS, QUANTISED
from onebyone.cost.profile import DEFAULT, ORIGIN, Profile
from onebyone.counting.value import Count
from onebyone.optimize.outline import Outline
from onebyone.shown import Shown

if TYPE_CHECKING:
    from onebyone.verify.verify import Certificate

__all__ = ["AppliedLaw", "RefusedLaw", "Region", "Report", "Side"]


@dataclass(frozen=True)
class Side:
    """A model before or after.

    Args:
        count: its parameters, MACs and bytes, at the sizes that costs were computed for.
        seconds: its modelled time, by the profile.
    """

    count: Count
    seconds: float

    @property
    def macs(self) -> int:
        return self.count.macs

    @property
    def parameters(self) -> int:
        return self.count.parameters

    @property
    def nodes(self) -> int:
        return self.count.nodes

    def to_dict(self) -> dict[str, Any]:
        """The totals and the modelled time."""
        return {**self.count.totals(), "modelled_seconds": self.seconds}


@dataclass(frozen=True)
class AppliedLaw:
    """A law at work in one region.

    Args:
        law: its name.
        root: the value that the region computes.
        nodes: the names of the nodes that were replaced.
        saved_macs: what it saved, after the laws told before it.
        note: the numbers that the decision hangs on, if there are any.
        lost_bits: the digits that the whole rewrite can lose where the original cancels, at most.
        made: the names of the nodes that stood in their place then; a later rewrite may have
            replaced them.
        proved: whether the whole rewrite was found equal by itself; None where that is not known.
        unproved: why it is not known, or what differs; empty if it is proved.
    """

    law: str
    root: str
    nodes: tuple[str, ...]
    saved_macs: int
    note: str = ""
    lost_bits: float = 0.0
    made: tuple[str, ...] = ()
    proved: bool | None = None
    unproved: str = ""

    def to_dict(self) -> dict[str, Any]:
        """With the law's equation."""
        return {
            "law": self.law,
            "equation": LAWS[self.law].equation,
            "root": self.root,
            "nodes": list(self.nodes),
            "saved_macs": self.saved_macs,
            "note": self.note,
            "lost_bits": self.lost_bits,
            "made": list(self.made),
            "proved": self.proved,
            "unproved": self.unproved,
        }


@dataclass(frozen=True)
class RefusedLaw:
    """A law that nearly applied at a node, and the side condition that failed."""

    law: str
    node: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"law": self.law, "node": self.node, "reason": self.reason}


@dataclass(frozen=True)
class Region:
    """A rewrite as it can be drawn.

    Args:
        root: the value that it computes.
        laws: at work in it.
        saved_macs: by all of them.
        before, after: the nodes that were replaced, and those that stood in their place then.
    """

    root: str
    laws: tuple[str, ...]
    saved_macs: int
    before: Outline
    after: Outline


@dataclass(frozen=True, repr=False)
class Report(Shown):
    """What was done to a model, what could not be, and the proof that it computes the same.

    `simplified` counts, by operator, nodes that computed nothing and went (`graph.simplify`).
    `regions` are the rewrites in their order, as they can be drawn. `profile` is the machine that
    was decided for, `origin` where its numbers come from.
    """

    before: Side
    after: Side
    laws: tuple[AppliedLaw, ...]
    refusals: tuple[RefusedLaw, ...]
    certificate: Certificate | None = None
    simplified: Mapping[str, int] = field(default_factory=dict)
    regions: tuple[Region, ...] = ()
    profile: Profile = DEFAULT
    origin: str = ORIGIN

    @property
    def saved(self) -> float:
        """The fraction of the MACs that is saved."""
        return 1 - self.after.macs / self.before.macs if self.before.macs else 0.0

    @property
    def unchanged(self) -> bool:
        """Whether nothing was gained, and the model is as good as it was."""
        return not self.laws and self.before.to_dict() == self.after.to_dict()

    @property
    def quantised(self) -> bool:
        """Whether parts were left as they are because they are quantised."""
        return any(refusal.reason.endswith(QUANTISED) for refusal in self.refusals)

    @property
    def summary(self) -> str:
        """What was gained, and whether it is proved, in a line."""
        from onebyone.optimize.verdict import gained, proof

        return f"{gained(self)}; proof: {proof(self).split(';')[0]}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON, schema 2 (docs/json.md)."""
        return {
            "schema": 2,
            "inputs": [{"name": n, "shape": list(shape)} for n, shape in self.before.count.inputs],
            "assumed": [size.to_dict() for size in self.before.count.assumed],
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "laws": [law.to_dict() for law in self.laws],
            "refusals": [refusal.to_dict() for refusal in self.refusals],
            "profile": {**asdict(self.profile), "origin": self.origin},
            "simplified": dict(sorted(self.simplified.items())),
            "certificate": None if self.certificate is None else self.certificate.to_dict(),
        }
