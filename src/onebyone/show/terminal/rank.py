"""The rank of a layer as a table, with its spectrum in bars."""

from __future__ import annotations

from onebyone.algebra.rank import Rank

__all__ = ["view"]


def view(rank: Rank) -> str:
    """A line for each figure; nothing in it is markup to rich.

    >>> import numpy as np
    >>> from onebyone.algebra.rank import rank
    >>> print(view(rank(np.eye(2))).splitlines()[0])
    rank          2 of 2 output channels (weight)
    """
    sigma = rank.singular_values
    ends = f"{sigma[0]:.3g} to {sigma[-1]:.3g}" if sigma else "none"
    rows = [
        ("rank", rank.summary),
        ("redundant", f"{rank.redundant:,} output channels"),
        ("spectrum", f"{_bars(sigma)}  {ends}"),
        ("threshold", f"{rank.threshold:.3g}"),
        *((f"{100 * share:g} % of Σσ²", f"rank {r:,}") for share, r in rank.energy),
        ("advice", rank.advice),
    ]
    return "\n".join(f"{name:<14}{value}" for name, value in rows)


def _bars(sigma: tuple[float, ...], width: int = 32) -> str:
    """The spectrum in `width` bars at most, on a linear scale from 0 to σ₁.

    >>> _bars((8.0, 4.0, 0.0))
    '█▄▁'
    """
    if not sigma or not sigma[0]:
        return "▁" * min(len(sigma), width)
    # Of a wide spectrum every k-th value, from the largest on.
    step = max(1.0, len(sigma) / width)
    shown = [sigma[int(i * step)] for i in range(min(len(sigma), width))]
    return "".join("▁▂▃▄▅▆▇█"[max(0, round(8 * s / sigma[0]) - 1)] for s in shown)
