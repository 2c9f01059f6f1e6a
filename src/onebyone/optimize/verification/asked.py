"""A asked on troublesome inputs: what it gives, and on which of them nothing is proved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice

import onnx_ir as ir

from onebyone.errors import OnebyoneError
from onebyone.graph.checks import one_line
from onebyone.graph.shapes import Sizes
from onebyone.optimize.verification.answers import NUMPY, Answer
from onebyone.optimize.verification.engine import Run
from onebyone.optimize.verification.inputs import Feed
from onebyone.optimize.verification.trouble import affordable, bases, smallest, troubles

__all__ = ["ask"]

# NumPy is slow where the engine cannot run a model, as one with loops in it.
_MOST_IN_NUMPY = 4
_FAILS = (OnebyoneError, MemoryError)


def ask(
    model: ir.Model, sizes: Sizes, run: Run, answers: Sequence[Answer], engine: str, seed: int
) -> tuple[list[Answer], list[str]]:
    """What A gives on troublesome inputs, and why not on others; nothing if it runs on no base."""
    ordinary = [answer.feed for answer in answers]
    random = any(feed.kind == "random" for feed in ordinary)
    base = _base(bases(model, sizes, ordinary, seed), run) if random else None
    if base is None:
        return [], []
    most = affordable(model, base, ordinary)
    if engine.startswith(NUMPY):
        most = min(most, _MOST_IN_NUMPY)
    extreme = smallest(model, sizes, seed)
    feeds = chain(troubles(model, base, seed), () if extreme is None else (extreme,))
    found, unproved = [], []
    for feed in islice(feeds, most):
        try:
            found.append(Answer(feed, run(feed.inputs)))
        except _FAILS as error:
            unproved.append(f"{feed.kind}: A itself fails: {one_line(str(error), 200)}")
    return found, unproved


def _base(candidates: Iterator[Feed], run: Run) -> Feed | None:
    """The first that A runs on; integers may be indices into something small."""
    for feed in candidates:
        for tried in (feed, feed.modest()):
            try:
                run(tried.inputs)
            except _FAILS:
                continue
            return tried
    return None
