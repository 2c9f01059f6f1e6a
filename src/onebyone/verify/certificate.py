"""What the comparison of two models found, as values that print."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onebyone.shown import Shown

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = [
    "ALL_NAN",
    "DIGITS_LOST",
    "OVERFLOWS",
    "SHARES",
    "Alone",
    "Certificate",
    "OutputCheck",
    "Trial",
    "severity",
]

SHARES = tuple(2.0**k for k in range(-12, 1))
"""Shares of a bound that elements are told apart by, the last one all of it."""

# Reasons that say something of A and nothing of B.
DIGITS_LOST = "A itself loses more than half of its digits on this input, so nothing can be said"
ALL_NAN = "all of A is NaN, so nothing was compared: give inputs of its domain as data"
OVERFLOWS = "A itself overflows where float64 does not, so nothing can be said there"


@dataclass(frozen=True)
class OutputCheck:
    """One output on one input.

    Args:
        name: of the output.
        dtype, shape: of what A gave.
        max_abs_error: the largest |B - reference|; for integers and strings, the largest
            difference from A, or the number of elements that differ.
        error_of_a: the largest |A - reference|.
        bound: what `max_abs_error` may reach for the tensor as a whole.
        used: the largest share of its bound that an element uses, the bounds of slices included;
            passed means that it is at most 1.
        element: the element that uses most of its bound, in words.
        reason: why the output failed; empty if it passed.
        constant: whether A gives the same, but for rounding, on unrelated inputs. B is then only
            known to give the same constant.
        shares: how many elements use none of their bound, at most the first of `SHARES` of it, …,
            at most the last, all of it, and more; empty where no element has a bound.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    max_abs_error: float = 0.0
    error_of_a: float = 0.0
    bound: float = 0.0
    used: float = 0.0
    element: str = ""
    reason: str = ""
    constant: bool = False
    shares: tuple[int, ...] = ()

    @classmethod
    def failed(cls, name: str, a: npt.NDArray[Any], reason: str) -> OutputCheck:
        """The check of an output that cannot be compared with A's value `a`."""
        return cls(name, a.dtype.name, a.shape, used=math.inf, reason=reason)

    @property
    def passed(self) -> bool:
        """Whether there is no reason against it."""
        return not self.reason

    @property
    def undecided(self) -> bool:
        """Whether it failed for a reason that says nothing of B."""
        return self.reason in (DIGITS_LOST, ALL_NAN, OVERFLOWS)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        lists = {"shape": list(self.shape), "shares": list(self.shares)}
        # Whether it passed stands before the numbers.
        first = dict.fromkeys(("name", "dtype", "shape", "passed"))
        return {**first, **vars(self), **lists, "passed": self.passed}


@dataclass(frozen=True)
class Trial:
    """Both models on one input.

    Args:
        kind: "random" (the nominal sizes), "given" (the caller's data), "drawn" (other sizes), or
            what looks for trouble: "near 2000", "offset", "ones", "mask" and others.
        shapes: of the inputs, by name.
        reference: what the outputs were compared with.
        outputs: what was found for each.
    """

    kind: str
    shapes: Mapping[str, tuple[int, ...]]
    reference: str
    outputs: tuple[OutputCheck, ...]

    @property
    def passed(self) -> bool:
        return all(output.passed for output in self.outputs)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "kind": self.kind,
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "passed": self.passed,
            "reference": self.reference,
            "outputs": [output.to_dict() for output in self.outputs],
        }


@dataclass(frozen=True)
class Alone:
    """The rewrites that made B of A, each by itself before weights were rounded.

    Args:
        rewrites: how many there are.
        proved: how many of them were found equal to what they replaced.
        used: the largest share of its bound that an element of these uses.
        failed: what differs, in words.
        unproved: why others could not be evaluated, in words; also what is no rewrite of a law.
    """

    rewrites: int
    proved: int
    used: float = 0.0
    failed: tuple[str, ...] = ()
    unproved: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether nothing was done to A that was not proved."""
        return not self.failed and not self.unproved

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**vars(self), "failed": list(self.failed), "unproved": list(self.unproved)}

    def __str__(self) -> str:
        share = f", at most {self.used:.2g} of their bound" if self.proved else ""
        return f"{self.proved} of {self.rewrites} proved by themselves in float64{share}"


@dataclass(frozen=True, repr=False)
class Certificate(Shown):
    """Whether two models compute the same, but for rounding, and how that was found out.

    Args:
        trials: one for each input, all of them judged.
        engine: what ran the two models.
        seed: drew the random inputs.
        skipped: drawn inputs on which A itself fails, and how.
        told: which sizes were left open and nobody gave, in a line.
        trouble: one for each input that looks for trouble and of which something can be said.
        unproved: what was asked on such inputs and is not proved, because A itself fails, loses its
            digits or gives numbers that are none.
        alone: what was found of the rewrites one by one; None where B was not made here.
        apart: why the models were not compared as a whole; empty where they were.
    """

    trials: tuple[Trial, ...]
    engine: str
    seed: int
    skipped: tuple[str, ...] = ()
    told: str = ""
    trouble: tuple[Trial, ...] = ()
    unproved: tuple[str, ...] = ()
    alone: Alone | None = None
    apart: str = ""

    @property
    def passed(self) -> bool:
        """Whether every output passed in every trial, and no rewrite failed by itself.

        Where there was no trial, every rewrite has to be proved by itself.
        """
        if self.apart and (self.alone is None or not self.alone.complete):
            return False
        asked = (*self.trials, *self.trouble)
        return not self._false_rewrites and all(trial.passed for trial in asked)

    @property
    def _false_rewrites(self) -> tuple[str, ...]:
        """What the rewrites that failed by themselves changed, in words."""
        return () if self.alone is None else self.alone.failed

    @property
    def undecided(self) -> bool:
        """Whether it failed, but for reasons alone that say nothing of B."""
        if self._false_rewrites:
            return False
        if self.apart:
            return not self.passed
        asked = (*self.trials, *self.trouble)
        failed = [row for trial in asked for row in trial.outputs if not row.passed]
        return bool(failed) and all(row.undecided for row in failed)

    @property
    def verdict(self) -> str:
        """In a few words: the same, different, or that it cannot be told."""
        if self.undecided:
            return "it cannot be told whether the models compute the same"
        if not self.passed:
            return "the models do not compute the same"
        if self.apart:
            return "each rewrite computes the same; the models were not compared as a whole"
        if not self.constants:
            return "the models compute the same"
        if len(self.constants) == len(self._names):
            return f"the models give the same constants; {_CONSTANTS}"
        return "the models compute the same, but of some outputs only constants were seen"

    @property
    def constants(self) -> tuple[str, ...]:
        """The outputs that passed, and that A gives the same of whatever its inputs were."""
        if not self.passed:
            return ()
        rows = [row for trial in (*self.trials, *self.trouble) for row in trial.outputs]
        varied = {row.name for row in rows if not row.constant}
        return tuple(name for name in self._names if name not in varied)

    @property
    def _names(self) -> tuple[str, ...]:
        """The outputs, each once."""
        return tuple(dict.fromkeys(row.name for trial in self.trials for row in trial.outputs))

    @property
    def _hardest(self) -> tuple[Trial, OutputCheck] | None:
        """The output that came closest to failing, or failed by most.

        Of inputs that look for trouble only one that failed: their bounds are of another kind.
        """
        failed = [trial for trial in self.trouble if not trial.passed]
        pairs = [(trial, row) for trial in (*self.trials, *failed) for row in trial.outputs]
        return max(pairs, key=lambda pair: severity(pair[1]), default=None)

    @property
    def _numbers(self) -> OutputCheck:
        """Those of the output that came closest to failing; zeros where there is no output."""
        return self._hardest[1] if self._hardest else OutputCheck("", "", ())

    @property
    def max_abs_error(self) -> float:
        """The largest |B - reference| of the output that came closest to failing."""
        return self._numbers.max_abs_error

    @property
    def bound(self) -> float:
        """What that error may reach."""
        return self._numbers.bound

    @property
    def used(self) -> float:
        """The largest share of its bound that any element uses."""
        return self._numbers.used

    @property
    def summary(self) -> str:
        """The verdict, and how near it was."""
        if self.apart:
            return self.verdict
        return f"{self.verdict}, {self.used:.1%} of the rounding allowed"

    @property
    def worst(self) -> str:
        """Where that is: the trial, the output, the element, its values."""
        if self._false_rewrites:
            return f"a rewrite by itself: {self._false_rewrites[0]}"
        if self.apart:
            left = self.alone.unproved[:1] if self.alone else ()
            return "; ".join([f"not compared as a whole: {self.apart}", *left])
        if self._hardest is None:
            return "the models have no outputs"
        trial, output = self._hardest
        text = "; ".join(part for part in (output.reason, output.element) if part)
        text = text or "all elements equal" + ", constants" * output.constant
        return f"{trial.kind} input, output {output.name!r}: {text}"

    @property
    def reference(self) -> str:
        """What the outputs were compared with, each kind once."""
        return "; ".join(dict.fromkeys(trial.reference for trial in self.trials))

    def to_dict(self) -> dict[str, Any]:
        """As JSON, schema 1 (docs/json.md)."""
        return {
            "schema": 1,
            "passed": self.passed,
            "max_abs_error": self.max_abs_error,
            "bound": self.bound,
            "used": self.used,
            "worst": self.worst,
            "reference": self.reference,
            "engine": self.engine,
            "seed": self.seed,
            "skipped": list(self.skipped),
            "verdict": self.verdict,
            "constants": list(self.constants),
            "alone": self.alone and self.alone.to_dict(),
            "apart": self.apart,
            "trials": [trial.to_dict() for trial in self.trials],
            "trouble": [trial.to_dict() for trial in self.trouble],
            "unproved": list(self.unproved),
        }


def severity(output: OutputCheck) -> tuple[bool, bool, float]:
    """What orders outputs: a difference before what cannot be told, that before what passed."""
    return not output.passed and not output.undecided, not output.passed, output.used


_CONSTANTS = "no output depends on the inputs that were tried"
