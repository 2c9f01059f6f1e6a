"""What "commute" covers: a channel map changes places with a space map."""

from __future__ import annotations

from .case import W54, W58, W84, Case, Constants, P, floats, ints, resize_mode

__all__ = ["COMMUTE"]


def _after(name: str, move: str, positions: int, constants: Constants | None = None) -> Case:
    """A biased 1×1 (5→4) that belongs behind a space map which leaves that many positions."""
    body = f"t = Conv(x, w, b) y = {move}"
    given = {**W54, **(constants or {})}
    return Case(name, ("commute",), body, given, P * 20, positions * 20)


def _before(name: str, move: str, positions: int, constants: Constants | None = None) -> Case:
    """A 1×1 (5→4) that belongs before a space map which makes that many positions."""
    body = f"t = {move} y = Conv(t, w, b)"
    given = {**W54, **(constants or {})}
    return Case(name, ("commute",), body, given, positions * 20, P * 20)


def _resize(name: str, attributes: str) -> Case:
    move = f'Resize<{attributes}>(x, "", r)'
    return _before(f"Resize {name}", move, 4 * P, {"r": floats(1, 1, 2, 2)})


POOLED = {"w": (4, 5, 1, 1), "b": (4,), "g": ints(2, 5, 4, 8)}

COMMUTE = (
    _after("average pool", "AveragePool<kernel_shape=[2,2], strides=[2,2]>(t)", 2 * 2 * 4),
    _after(
        "average pool that would count padding but has none",
        "AveragePool<kernel_shape=[2,2], strides=[2,2], count_include_pad: int = 1>(t)",
        2 * 2 * 4,
    ),
    _after(
        "padded average pool that does not count its padding",
        "AveragePool<kernel_shape=[2,2], strides=[2,2], pads=[0,1,0,1]>(t)",
        2 * 2 * 5,
    ),
    _after(
        "average pool with ceil_mode",
        "AveragePool<kernel_shape=[2,2], strides=[2,3], ceil_mode: int = 1>(t)",
        2 * 2 * 3,
    ),
    _after("global average pool", "GlobalAveragePool(t)", 2),
    _after("mean over space", "ReduceMean<axes=[2,3]>(t)", 2),
    _after("mean over space, axes dropped", "ReduceMean<axes=[-1,-2], keepdims: int = 0>(t)", 2),
    _after("mean over one axis", "ReduceMean<axes=[3]>(t)", 2 * 4),
    _after(
        "strided slice",
        "Slice(t, s, e, a, k)",
        2 * 2 * 4,
        {"s": ints(1, 0), "e": ints(99, 99), "a": ints(2, 3), "k": ints(2, 2)},
    ),
    _after("crop", "Slice(t, s, e, a)", 2 * 2 * 8, {"s": ints(1), "e": ints(3), "a": ints(2)}),
    _after(
        "flip and stride",
        "Slice(t, s, e, a, k)",
        2 * 4 * 4,
        {"s": ints(-1), "e": ints(-99), "a": ints(3), "k": ints(-2)},
    ),
    _resize("nearest", 'mode="nearest"'),
    _resize("nearest, asymmetric", resize_mode("nearest", "asymmetric", ', nearest_mode="floor"')),
    _resize("linear, half_pixel", 'mode="linear"'),
    _resize("linear, pytorch_half_pixel", resize_mode("linear", "pytorch_half_pixel")),
    _resize("linear, asymmetric", resize_mode("linear", "asymmetric")),
    _resize("cubic", 'mode="cubic", cubic_coeff_a: float = -0.5'),
    _before(
        "Resize by sizes", 'Resize<mode="linear">(x, "", "", r)', 4 * P, {"r": ints(2, 5, 8, 16)}
    ),
    _before(
        "Resize with aligned corners",
        f'Resize<{resize_mode("linear", "align_corners")}>(x, "", "", r)',
        2 * 7 * 15,
        {"r": ints(2, 5, 7, 15)},
    ),
    _before(
        "reflect pad",
        'Pad<mode="reflect">(x, p)',
        2 * 10 * 15,
        {"p": ints(0, 0, 3, 3, 0, 0, 3, 4)},
    ),
    _before("edge pad", 'Pad<mode="edge">(x, p)', 2 * 6 * 15, {"p": ints(0, 0, 0, 3, 0, 0, 2, 4)}),
    Case(
        "zero pad before a 1×1 without bias",
        ("commute",),
        "t = Pad(x, p) y = Conv(t, w)",
        {"p": ints(0, 0, 1, 3, 0, 0, 2, 4), "w": (4, 5, 1, 1)},
        2 * 7 * 15 * 20,
        P * 20,
    ),
    Case(
        "zero pad between two 1×1, the second one's bias added last",
        ("commute", "compose"),
        "t = Conv(x, w, b) p = Pad(t, k) y = Conv<strides=[2,2]>(p, v, c)",
        {**W58, **W84, "k": ints(0, 0, 1, 1, 0, 0, 1, 1)},
        P * 40 + 2 * 3 * 5 * 32,
        P * 20,
    ),
    Case(
        "Expand of a pooled vector",
        ("commute",),
        "t = Expand(x, g) y = Conv(t, w, b)",
        POOLED,
        P * 20,
        2 * 20,
        inputs="float[2,5,1,1] x",
    ),
    Case(
        "Tile of a pooled vector",
        ("commute",),
        "t = Tile(x, g) y = Conv(t, w, b)",
        {**POOLED, "g": ints(1, 1, 4, 8)},
        P * 20,
        2 * 20,
        inputs="float[2,5,1,1] x",
    ),
    Case(
        "1×1 before a 1×1 of stride two",
        ("commute", "compose"),
        "t = Conv(x, w, b) y = Conv<strides=[2,2]>(t, v, c)",
        {**W58, **W84},
        P * 40 + P // 4 * 32,
        P // 4 * 20,
    ),
    Case(
        "tokens averaged over their length",
        ("commute",),
        "t = MatMul(x, w) u = Add(t, b) y = ReduceMean<axes=[1], keepdims: int = 0>(u)",
        {"w": (5, 4), "b": (4,)},
        2 * 8 * 20,
        2 * 20,
        inputs="float[2,8,5] x",
    ),
)
