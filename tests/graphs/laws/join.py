"""What "split" and "sum" cover: concatenations and parallel branches."""

from __future__ import annotations

from .case import W54, W58, Case, P, X, batch_norm, floats, norm

__all__ = ["SPLIT", "SUM"]

SPLIT = (
    Case(
        "a 1×1 before the Concat",
        ("split", "compose"),
        "t = Conv(x, w, b) j = Concat<axis: int = 1>(t, z) y = Conv(j, v, c)",
        {**W58, "v": (4, 11, 1, 1), "c": (4,)},
        P * (40 + 44),
        P * (20 + 12),
        inputs=X + ", float[2,3,4,8] z",
    ),
    Case(
        "upsampled and full branches",
        ("split", "commute"),
        'u = Resize<mode="linear">(z, "", r) j = Concat<axis: int = 1>(u, x) y = Conv(j, v, c)',
        {"r": floats(1, 1, 2, 2), "v": (4, 12, 1, 1), "c": (4,)},
        P * 48,
        P * 20 + P // 4 * 28,
        inputs=X + ", float[2,7,2,4] z",
    ),
    Case(
        "linear layers on concatenated tokens",
        ("split", "compose"),
        "t = MatMul(x, w) j = Concat<axis: int = -1>(z, t) y = MatMul(j, v)",
        {"w": (5, 8), "v": (11, 4)},
        14 * (40 + 44),
        14 * (20 + 12),
        inputs="float[2,7,5] x, float[2,7,3] z",
    ),
)

SUM = (
    Case(
        "two 1×1 of one input",
        ("sum",),
        "t = Conv(x, w, b) u = Conv(x, v, c) y = Add(t, u)",
        {**W54, "v": (4, 5, 1, 1), "c": (4,)},
        P * 40,
        P * 20,
    ),
    Case(
        "sum and difference of four",
        ("sum",),
        "t = Conv(x, w, b) u = Conv(x, v) q = Conv(x, z) p = Conv(x, o) "
        "r = Sum(t, u, q) y = Sub(r, p)",
        {**W54, "v": (4, 5, 1, 1), "z": (4, 5, 1, 1), "o": (4, 5, 1, 1)},
        P * 80,
        P * 20,
    ),
    Case(
        "a difference beside a product",
        ("compose",),
        "t = Conv(x, w, b) u = Conv(t, v) y = Sub(z, u)",
        {**W58, "v": (4, 8, 1, 1)},
        P * 72,
        P * 20,
        inputs=X + ", float[2,4,4,8] z",
        gone=("Neg", "Mul"),
    ),
    Case(
        "LoRA",
        ("sum",),
        "m = MatMul(x, w) a = MatMul(x, p) q = MatMul(a, k) s = Mul(q, h) y = Add(m, s)",
        {"w": (5, 6), "p": (5, 2), "k": (2, 6), "h": floats(2.0).reshape(())},
        14 * (30 + 10 + 12),
        14 * 30,
        inputs="float[2,7,5] x",
    ),
    Case(
        "identity branch",
        ("sum",),
        "t = Conv(x, w, b) y = Add(x, t)",
        {"w": (5, 5, 1, 1), "b": (5,)},
        P * 25,
        P * 25,
        gone=("Add",),
    ),
    Case(
        "RepVGG block",
        ("sum",),
        f"t = Conv<pads=[1,1,1,1]>(x, w) p = {batch_norm('t', 'n')} "
        f"u = Conv(x, v) q = {batch_norm('u', 'k')} "
        f"r = {batch_norm('x', 'i')} s = Add(p, q) y = Add(s, r)",
        {"w": (5, 5, 3, 3), "v": (5, 5, 1, 1), **norm("n", 5), **norm("k", 5), **norm("i", 5)},
        P * (225 + 25),
        P * 225,
        gone=("Add", "BatchNormalization"),
    ),
)
