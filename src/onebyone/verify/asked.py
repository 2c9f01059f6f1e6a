"""Both models asked on troublesome inputs: what is found, and where nothing is proved."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice

import numpy as np
import onnx_ir as ir

from onebyone.engines.engine import EngineRefuses
from onebyone.engines.inputs import Feed
from onebyone.engines.unoptimised import Run
from onebyone.errors import OnebyoneError
from onebyone.graph.checks import one_line
from onebyone.graph.evaluate import CannotEvaluate
from onebyone.graph.ops.call import is_floating
from onebyone.graph.shapes import Sizes
from onebyone.verify.answers import Answer, Asked, Runtime
from onebyone.verify.certificate import OutputCheck, Trial
from onebyone.verify.strict import Finding, Known, strict
from onebyone.verify.trouble import affordable, elements, general, pointed, small, smallest

__all__ = ["answered", "ask", "compared"]

# NumPy is slow where the engine cannot run a model, as one with loops in it.
_MOST_IN_NUMPY = 4
_NOT_ASKED = "other kinds: not asked, as at these sizes they would take too long"
_FAILS = (OnebyoneError, MemoryError)


def ask(
    model: ir.Model, sizes: Sizes, run: Run, answers: Sequence[Answer], runtime: Runtime, seed: int
) -> Asked:
    """What A gives on troublesome inputs, and why not on others."""
    ordinary = [answer.feed for answer in answers]
    # Where inputs cannot be drawn at random, no kinds of them can be made either.
    if not any(feed.kind == "random" for feed in ordinary):
        return [], []
    base = _base(small(model, sizes, seed), ordinary, run)
    most = affordable(model, base, ordinary)
    if runtime.in_numpy:
        most = min(most, _MOST_IN_NUMPY)
    # Where the graph itself shows a constant that cancels, one input near it is worth its time.
    near = list(islice(pointed(model, base, seed), max(most, 1)))
    others = chain(general(model, base, seed), smallest(model, sizes, seed))
    feeds = [*near, *islice(others, max(most - len(near), 0))]
    found, unproved = answered(feeds, run)
    if next(others, None) is not None:
        unproved.append(_NOT_ASKED)
    return found, unproved


def answered(feeds: Iterable[Feed], run: Run) -> Asked:
    """What A gives on each of these, and why not on others."""
    found, unproved = [], []
    for feed in feeds:
        try:
            outputs = run(feed.inputs)
        except _FAILS as error:
            unproved.append(f"{feed.kind}: A itself fails: {one_line(str(error), 200)}")
            continue
        if all(x.size for x in outputs.values()):
            found.append(Answer(feed, outputs))
        else:
            # An engine may refuse to compute nothing in one order and not in another.
            unproved.append(f"{feed.kind}: A gives an empty output")
    return found, unproved


def _base(smaller: Iterator[Feed], ordinary: Sequence[Feed], run: Run) -> Feed:
    """The smallest that A runs on."""
    for tried in smaller:
        try:
            run(tried.inputs)
        except _FAILS:
            continue
        return tried
    # A ran on all of these.
    return min((feed for feed in ordinary if feed.kind != "given"), key=elements)


def compared(
    run: Run,
    model: ir.Model,
    hidden: Collection[str],
    asked: Sequence[Answer],
    ordinary: Sequence[Answer],
    known: Known,
) -> tuple[list[Trial], list[str]]:
    """B on what A was asked: the trials, and of which nothing is proved, and why.

    Args:
        run: runs B.
        model: A.
        hidden: outputs that the models do not declare.
        asked: what A gives on troublesome inputs.
        ordinary: and on others.
        known: what the others tell.
    """
    trials, unproved = [], []
    for answer in asked:
        feed, names = answer.feed, [name for name in answer.outputs if name not in hidden]
        finding = _judged(run, model, names, answer, known)
        unproved += [f"{feed.kind}: {reason}" for reason in finding.unproved]
        rows = [
            replace(row, constant=row.passed and _still(row.name, answer, ordinary))
            for row in finding.checks
        ]
        if rows:
            trials.append(Trial(feed.kind, feed.shapes, finding.reference, tuple(rows)))
    return trials, unproved


def _still(name: str, answer: Answer, ordinary: Sequence[Answer]) -> bool:
    """Whether an output spans the same values as on all ordinary inputs, of whatever shapes."""
    spans = []
    for x in (one.outputs.get(name) for one in (answer, *ordinary)):
        if x is None or not x.size or not (is_floating(x.dtype) or x.dtype.kind in "biu"):
            return True  # nothing to tell a change by
        x = x.astype(np.float64)
        if not np.isfinite(x).all():
            return True
        spans.append((x.min(), x.max()))
    return len(set(spans)) == 1


def _judged(
    run: Run, model: ir.Model, names: Sequence[str], answer: Answer, known: Known
) -> Finding:
    """B run on a troublesome input and judged."""
    try:
        b = run(answer.feed.inputs)
    except (EngineRefuses, CannotEvaluate) as error:
        checks = [OutputCheck.failed(n, answer.outputs[n], f"B fails: {error}") for n in names]
        return Finding(tuple(checks), "A itself")
    return strict(model, answer, b, names, known)
