"""What "compose" covers: chains of channel maps become one matrix."""

from __future__ import annotations

from .case import W58, W84, Case, P

__all__ = ["COMPOSE"]

COMPOSE = (
    Case(
        "two 1×1",
        ("compose",),
        "t = Conv(x, w, b) y = Conv(t, v, c)",
        {**W58, **W84},
        P * (5 * 8 + 8 * 4),
        P * 5 * 4,
    ),
    Case(
        "three 1×1",
        ("compose",),
        "t = Conv(x, w, b) u = Conv(t, v, c) y = Conv(u, z)",
        {**W58, **W84, "z": (3, 4, 1, 1)},
        P * (5 * 8 + 8 * 4 + 4 * 3),
        P * 5 * 3,
    ),
    Case(
        "a narrow waist stays factored around it",
        ("compose",),
        "t = Conv(x, w) u = Conv(t, v) q = Conv(u, z) y = Conv(q, k)",
        {"w": (6, 5, 1, 1), "v": (1, 6, 1, 1), "z": (7, 1, 1, 1), "k": (4, 7, 1, 1)},
        P * (30 + 6 + 7 + 28),
        P * (5 + 4),
    ),
    Case(
        "linear layers on tokens",
        ("compose",),
        "t = MatMul(x, w) u = Add(t, b) q = MatMul(u, v) y = Add(c, q)",
        {"w": (5, 8), "b": (8,), "v": (8, 4), "c": (4,)},
        14 * (5 * 8 + 8 * 4),
        14 * 5 * 4,
        inputs="float[2,7,5] x",
    ),
    Case(
        "Gemm after Gemm",
        ("compose",),
        "t = Gemm<transB: int = 1>(x, w, b) y = Gemm<alpha: float = 2.0>(t, v, c)",
        {"w": (8, 5), "b": (8,), "v": (8, 4), "c": (4,)},
        3 * (5 * 8 + 8 * 4),
        3 * 5 * 4,
        inputs="float[3,5] x",
    ),
    Case(
        "3×3 then 1×1",
        ("compose",),
        "t = Conv<pads=[1,1,1,1]>(x, w, b) y = Conv(t, v, c)",
        {"w": (8, 5, 3, 3), "b": (8,), **W84},
        P * (9 * 5 * 8 + 8 * 4),
        P * 9 * 5 * 4,
    ),
    Case(
        "1×1 without bias then padded 3×3",
        ("compose",),
        "t = Conv(x, w) y = Conv<pads=[1,1,1,1]>(t, v, c)",
        {"w": (8, 5, 1, 1), "v": (4, 8, 3, 3), "c": (4,)},
        P * (5 * 8 + 9 * 8 * 4),
        P * 9 * 5 * 4,
    ),
    Case(
        "1×1 with bias then unpadded 3×3",
        ("compose",),
        "t = Conv(x, w, b) y = Conv(t, v, c)",
        {**W58, "v": (4, 8, 3, 3), "c": (4,)},
        P * 5 * 8 + 2 * 2 * 6 * 9 * 8 * 4,
        2 * 2 * 6 * 9 * 5 * 4,
    ),
    Case(
        "grouped after grouped",
        ("compose",),
        "t = Conv<group: int = 3>(x, w, b) y = Conv<group: int = 3>(t, v)",
        {"w": (12, 2, 1, 1), "b": (12,), "v": (9, 4, 1, 1)},
        P * (12 * 2 + 9 * 4),
        P * 9 * 2,
        inputs="float[2,6,4,8] x",
    ),
    Case(
        "through Identity and Dropout",
        ("compose",),
        "t = Conv(x, w, b) i = Identity(t) d = Dropout(i) y = Conv(d, v, c)",
        {**W58, **W84},
        P * (5 * 8 + 8 * 4),
        P * 5 * 4,
        gone=("Identity", "Dropout"),
    ),
)
