"""What "linear" covers: 1×1s in other layouts, and the views around them."""

from __future__ import annotations

from .case import W84, Case, P, X, floats, ints

__all__ = ["LINEAR"]

LINEAR = (
    Case(
        "NHWC between transposes that cancel",
        ("linear",),
        "t = Transpose<perm=[0,2,3,1]>(x) u = MatMul(t, w) q = Add(u, b) "
        "y = Transpose<perm=[0,3,1,2]>(q)",
        {"w": (5, 4), "b": (4,)},
        P * 20,
        P * 20,
        gone=("Transpose",),
    ),
    Case(
        "tokens of an image, then a 1×1",
        ("linear", "compose"),
        "f = Reshape(x, r) t = Transpose<perm=[0,2,1]>(f) u = MatMul(t, w) a = Add(u, b) "
        "q = Transpose<perm=[0,2,1]>(a) i = Reshape(q, k) y = Conv(i, v, c)",
        {
            "w": (5, 8),
            "b": (8,),
            **W84,
            "r": ints(2, 5, 32),
            "k": ints(2, 8, 4, 8),
        },
        P * (40 + 32),
        P * 20,
        gone=("Transpose", "Reshape"),
    ),
    Case(
        "a weight from the left",
        ("compose",),
        "t = MatMul(w, x) y = MatMul(v, t)",
        {"w": (8, 5), "v": (4, 8)},
        14 * (40 + 32),
        14 * 20,
        inputs="float[2,5,7] x",
    ),
    Case(
        "flattened to a vector",
        ("compose",),
        "t = Conv(x, w, b) f = Flatten(t) y = Gemm(f, v, c)",
        {"w": (8, 5, 1, 1), "b": (8,), "v": (8, 4), "c": (4,)},
        3 * (40 + 32),
        3 * 20,
        inputs="float[3,5,1,1] x",
    ),
    Case(
        "SegFormer's head",
        ("linear", "compose", "split", "commute"),
        "f = Reshape(z, r) t = Transpose<perm=[0,2,1]>(f) u = MatMul(t, w) a = Add(u, b) "
        "q = Transpose<perm=[0,2,1]>(a) i = Reshape(q, k) "
        'l = Resize<mode="linear">(i, "", h) o = Conv(x, e, b) '
        "j = Concat<axis: int = 1>(l, o) y = Conv(j, v)",
        {
            "r": ints(2, 7, 8),
            "w": (7, 9),
            "b": (9,),
            "k": ints(2, 9, 2, 4),
            "h": floats(1, 1, 2, 2),
            "e": (9, 5, 1, 1),
            "v": (4, 18, 1, 1),
        },
        P * (45 + 72) + P // 4 * 63,
        P * 20 + P // 4 * 28,
        gone=("Transpose", "Reshape", "Concat"),
        inputs=X + ", float[2,7,2,4] z",
    ),
)
