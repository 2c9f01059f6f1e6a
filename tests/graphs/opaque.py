"""Draw operators that end a linear region, all of them exact."""

from __future__ import annotations

import numpy as np

from .sketch import Sketch, Value

__all__ = ["clip", "elementwise", "maximum"]


def elementwise(g: Sketch, x: Value) -> Value | None:
    """Relu, Abs, Sign, Neg: Sign starts afresh at magnitude one, Neg is linear."""
    op = g.pick(["Relu", "Abs", "Sign", "Neg"])
    g.mark("opaque", op.lower())
    if op == "Sign":
        return x.becomes(g.node(op, [x.name]), bound=1.0, bits=0)
    return x.becomes(g.node(op, [x.name]))


def clip(g: Sketch, x: Value) -> Value | None:
    """Clip to small integers: it brings the magnitudes down again."""
    low, high = (g.constant(np.array(v, np.float32)) for v in (-4, 3))
    g.mark("opaque", "clip")
    return x.becomes(g.node("Clip", [x.name, low, high]), bound=4.0)


def maximum(g: Sketch, x: Value) -> Value | None:
    """Max of x and a value of the same shape."""
    others = [v for v in g.values if v.layout == x.layout and v.shapes == x.shapes]
    v = g.pick(others[::-1])
    g.mark("opaque", "max")
    bound, bits = max(x.bound, v.bound), max(x.bits, v.bits)
    return x.becomes(g.node("Max", [x.name, v.name]), bound=bound, bits=bits)
