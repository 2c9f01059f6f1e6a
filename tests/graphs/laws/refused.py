"""Graphs where a law looks applicable and must not be applied."""

from __future__ import annotations

import numpy as np

from .case import W54, W58, W84, Case, Constants, P, floats, ints, resize_mode

__all__ = ["REFUSED"]


def _stays(
    name: str, body: str, constants: Constants, macs: int, refused: str = "", **more: str
) -> Case:
    """A graph that nothing may be done to, with a refusal that the report may have to give."""
    return Case(name, (), body, constants, macs, macs, refused=refused, **more)


CHAIN = {**W58, **W84}
CHAIN_MACS = P * (40 + 32)

REFUSED = (
    _stays("Relu between", "t = Conv(x, w, b) r = Relu(t) y = Conv(r, v, c)", CHAIN, CHAIN_MACS),
    _stays(
        "MaxPool between",
        "t = Conv(x, w, b) r = MaxPool<kernel_shape=[2,2], strides=[1,1], pads=[1,1,0,0]>(t) "
        "y = Conv(r, v, c)",
        CHAIN,
        CHAIN_MACS,
    ),
    _stays(
        "low rank stays factored",
        "t = Conv(x, w) y = Conv(t, v)",
        {"w": (1, 5, 1, 1), "v": (4, 1, 1, 1)},
        P * 9,
        "compose",
    ),
    _stays(
        "bias before a pool that counts its padding",
        "t = Conv(x, w, b) y = AveragePool<kernel_shape=[2,2], strides=[2,2], pads=[1,1,1,1], "
        "count_include_pad: int = 1>(t)",
        W54,
        P * 20,
        "commute",
    ),
    _stays(
        "bias before zero padding",
        "t = Conv(x, w, b) p = Pad(t, k) y = Slice(p, s, e, a, j)",
        {
            **W54,
            "k": ints(0, 0, 1, 1, 0, 0, 1, 1),
            "s": ints(0, 0),
            "e": ints(99, 99),
            "a": ints(2, 3),
            "j": ints(2, 2),
        },
        P * 20,
        "commute",
    ),
    _stays(
        "bias before a zero-padded 1×1",
        "t = Conv(x, w, b) y = Conv<pads=[1,1,1,1], strides=[2,2]>(t, v, c)",
        CHAIN,
        P * 40 + 2 * 3 * 5 * 32,
    ),
    _stays(
        "a shift before a padded 3×3",
        "t = Add(x, s) y = Conv<pads=[1,1,1,1]>(t, w, b)",
        {"s": (5, 1, 1), "w": (4, 5, 3, 3), "b": (4,)},
        P * 180,
        "affine",
    ),
    _stays(
        "bias before a resize that extrapolates",
        "t = Conv(x, w, b) y = Resize<"
        + resize_mode("linear", "tf_crop_and_resize", ", extrapolation_value: float = 3.0")
        + '>(t, o, "", r)',
        {**W54, "o": floats(0, 0, 0, 0, 1, 1, 2, 2), "r": ints(2, 4, 2, 3)},
        P * 20,
        "commute",
    ),
    _stays(
        "bias before a nonzero pad",
        "t = Pad(x, k, f) y = Conv(t, w, b)",
        {**W54, "k": ints(0, 0, 1, 1, 0, 0, 1, 1), "f": floats(3.0).reshape(())},
        2 * 6 * 10 * 20,
        "commute",
    ),
    _stays(
        "a MatMul on the width is no linear layer",
        "t = MatMul(x, w) y = MatMul(t, v)",
        {"w": (8, 3), "v": (3, 8)},
        2 * 5 * 4 * (24 + 24),
    ),
    _stays(
        "a constant along the width is no channel map",
        "t = Conv(x, w) m = Mul(t, s) y = Conv(m, v)",
        {"w": (8, 5, 1, 1), "s": (8,), "v": (4, 8, 1, 1)},
        CHAIN_MACS,
    ),
    _stays(
        "a gate of two data values",
        "t = Conv(x, w) g = Conv(x, b) m = Mul(t, g) y = Conv(m, v)",
        {"w": (8, 5, 1, 1), "b": (8, 5, 1, 1), "v": (4, 8, 1, 1)},
        P * (40 + 40 + 32),
    ),
    _stays(
        "channels mixed by a reshape",
        "t = Conv(x, w) r = Reshape(t, k) y = Conv(r, v)",
        {"w": (8, 5, 1, 1), "k": ints(2, 4, 8, 8), "v": (3, 4, 1, 1)},
        P * 40 + 2 * 64 * 12,
    ),
    _stays(
        "training-mode dropout",
        "t = Conv(x, w, b) d = Dropout(t, o, h) y = Conv(d, v, c)",
        {**CHAIN, "o": np.array(0.0, np.float32), "h": np.array(True)},
        CHAIN_MACS,
    ),
)
