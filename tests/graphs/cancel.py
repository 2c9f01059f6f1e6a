"""Draw what cancels: centred inputs, masks of -1e9, differences, few-bit filters, normalisations.

Nothing here is exact; the judge for such models is in `noise`. Each move notes near which numbers
its operand loses what it shares with a constant: (centre, scale), for the inputs that are drawn.
"""

from __future__ import annotations

import numpy as np

from .sketch import Sketch, Value

__all__ = [
    "attention_mask",
    "centred",
    "curved",
    "difference",
    "few_bits",
    "layer_norm",
    "masked",
    "neighbours",
    "rms_norm",
    "softmax",
    "unshifted",
]


def _scalar(g: Sketch, number: float) -> str:
    return g.constant(np.array(number, np.float32))


def _per_channel(g: Sketch, x: Value, number: float, spread: float) -> np.ndarray:
    """`number` for every channel, or one beside it for each."""
    shape = (x.channels,) + (1,) * (x.rank - 1 - x.axis) if g.chance(2) else ()
    return np.asarray(number + np.round(g.rng.integers(-3, 4, shape) * spread), np.float32)


def _note(g: Sketch, x: Value, centre: np.ndarray, scale: float) -> None:
    g.centres.setdefault(x.name, []).append((float(np.mean(centre)), scale))


def centred(g: Sketch, x: Value) -> Value | None:
    """x - c, (x - c)/s or (x - c)·(1/s), where c is anything up to 1e9 and s may be far smaller."""
    size = 10.0 ** g.integer(0, g.decades)
    scale = float(max(1.0, size * 10.0 ** -g.integer(0, 5)))
    centre = _per_channel(g, x, size * g.pick([1, -1, 0.5, 2]), scale)
    negative = g.chance(3)
    part = g.constant(-centre if negative else centre)
    name = g.node("Add" if negative else "Sub", [x.name, part])
    form = g.pick(["Div", "Mul", ""])
    if form:
        by = scale if form == "Div" else 1 / scale
        name = g.node(form, [name, g.constant(_per_channel(g, x, by, 0))])
    _note(g, x, centre, scale if form else 1.0)
    g.mark("centred", f"centred at 1e{round(np.log10(size))}")
    return x.becomes(name, bound=x.bound + 4)


def unshifted(g: Sketch, x: Value) -> Value | None:
    """A large shift that the next one takes back: (x + c) - c, (x·k + c) - c."""
    size = 10.0 ** g.integer(2, g.decades)
    there = g.node("Add", [x.name, _scalar(g, size)])
    g.mark("unshifted")
    return x.becomes(g.node("Sub", [there, _scalar(g, size)]), bound=x.bound + 4)


def _mask_input(g: Sketch, x: Value) -> Value:
    """A new input of zeros and ones with x's shape, but one channel."""
    mask = x.sized(x.axis, [1] * len(x.shapes)).becomes(g.name("mask"), bound=1.0, grid=None)
    g.extra.append(mask)
    return mask


def masked(g: Sketch, x: Value) -> Value | None:
    """x + (1 - m)·-B, x + (m·B - B), x - (1 - m)·B: what a mask leaves out goes far away."""
    mask, size = _mask_input(g, x), min(g.pick([1e9, 1e4, 1e6, 3e38]), g.largest)
    form = g.integer(0, 2)
    if form == 1:
        grown = g.node("Mul", [mask.name, _scalar(g, size)])
        bias = g.node("Sub", [grown, _scalar(g, size)])
    else:
        left = g.node("Sub", [_scalar(g, 1), mask.name])
        bias = g.node("Mul", [left, _scalar(g, size if form else -size)])
    g.mark("mask added")
    name = g.node("Sub" if form == 2 else "Add", [x.name, bias])
    return x.becomes(name, bound=x.bound + 1, grid=None)


def attention_mask(g: Sketch, x: Value) -> Value | None:
    """A score of each position, what the mask leaves out taken away, a softmax, a weighted sum."""
    if x.layout != "tokens":
        return None
    name, _ = g.weight(x.channels, 1)
    score = x.becomes(g.node("MatMul", [x.name, name])).sized(2, [1] * len(x.shapes))
    away = masked(g, score)
    if away is None:
        return None
    share = g.node("Softmax", [away.name], axis=1) if g.opset >= 13 else away.name
    g.mark("attention pooling")
    mixed = g.node("Mul", [share, x.name])
    return x.becomes(mixed, bound=x.bound * 4, grid=None)


def difference(g: Sketch, x: Value) -> Value | None:
    """x - z of two values of one shape, most often an input and another near it; then a map."""
    others = [v for v in g.values + g.extra if v.shapes == x.shapes and v.layout == x.layout]
    other = g.pick(others)
    if other.name == x.name:
        other = x.becomes(g.name("near"), grid=None)
        g.extra.append(other)
    g.mark("difference")
    y = x.becomes(g.node("Sub", [x.name, other.name]), bound=x.bound + other.bound, grid=None)
    return _both(g, y, x) if g.chance(3) else y


def _both(g: Sketch, y: Value, x: Value) -> Value:
    """[x_j - x_i; x_i] as EdgeConv reads it."""
    g.mark("edge features")
    node = g.node("Concat", [y.name, x.name], axis=x.axis)
    return y.becomes(node, bound=max(x.bound, y.bound)).sized(
        x.axis, [2 * x.channels] * len(x.shapes)
    )


def neighbours(g: Sketch, x: Value) -> Value | None:
    """x[:, 1:] - x[:, :-1] along a position axis."""
    axis = g.pick([a for a in range(1, x.rank) if a != x.axis])
    if min(x.sizes(axis)) < 2:
        return None
    at = g.integers([axis])
    later = g.node("Slice", [x.name, g.integers([1]), g.integers([2**31 - 1]), at])
    first = g.node("Slice", [x.name, g.integers([0]), g.integers([-1]), at])
    g.mark("neighbours")
    y = x.becomes(g.node("Sub", [later, first]), bound=2 * x.bound, grid=None)
    return y.sized(axis, [n - 1 for n in x.sizes(axis)])


FILTERS = {
    "sobel": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "laplace": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    "haar": [[1, -1], [1, -1]],
    "difference": [[-1, 1]],
}


def few_bits(g: Sketch, x: Value) -> Value | None:
    """A map whose rows are small integers that sum to zero: on channels, or a known filter."""
    if x.layout == "image" and g.chance(2):
        return _filtered(g, x)
    rows = g.integer(1, 5)
    if x.channels < 2:
        return None
    weight = np.zeros((rows, x.channels), np.float32)
    for row in weight:
        a, b = g.rng.choice(x.channels, 2, replace=False)
        row[a], row[b] = 2.0 ** g.rng.integers(0, 3) * np.array([1, -1])
    g.mark("few bits")
    if x.axis == x.rank - 1:
        name = g.node("MatMul", [x.name, g.constant(np.ascontiguousarray(weight.T))])
    else:
        shaped = weight.reshape(*weight.shape, *(1,) * (x.rank - 2))
        name = g.node("Conv", [x.name, g.constant(shaped)])
    return x.becomes(name, bound=8 * x.bound).sized(x.axis, [rows] * len(x.shapes))


def _filtered(g: Sketch, x: Value) -> Value | None:
    kind = g.pick([*FILTERS])
    kernel = np.asarray(FILTERS[kind], np.float32)
    if any(n < k for axis, k in zip((2, 3), kernel.shape, strict=True) for n in x.sizes(axis)):
        return None
    weight = np.broadcast_to(kernel, (x.channels, 1, *kernel.shape)).copy()
    g.mark("few bits", kind)
    y = x.becomes(g.node("Conv", [x.name, g.constant(weight)], group=x.channels), grid=None)
    for axis, k in zip((2, 3), kernel.shape, strict=True):
        y = y.sized(axis, [n - k + 1 for n in x.sizes(axis)])
    return y.becomes(y.name, bound=8 * x.bound)


def _mean(g: Sketch, x: Value, name: str) -> str:
    return g.with_axes("ReduceMean", name, [x.axis - x.rank if g.opset > 10 else x.axis], 18)


def _affine(g: Sketch, x: Value, name: str, shift: bool) -> str:
    shape = (x.channels,) + (1,) * (x.rank - 1 - x.axis)
    gain = (1 + g.rng.standard_normal(shape) / 4).astype(np.float32)
    name = g.node("Mul", [name, g.constant(gain)])
    if shift:
        name = g.node("Add", [name, g.constant(g.rng.standard_normal(shape).astype(np.float32))])
    return name


def layer_norm(g: Sketch, x: Value) -> Value | None:
    """LayerNorm over channels, spelled out or in one operator."""
    if x.channels < 2:
        return None
    g.mark("layer norm")
    if x.axis == x.rank - 1 and g.chance(3):
        gain = g.constant((1 + g.rng.standard_normal(x.channels) / 4).astype(np.float32))
        shift = g.constant(g.rng.standard_normal(x.channels).astype(np.float32))
        return x.becomes(g.node("LayerNormalization", [x.name, gain, shift], axis=-1), bound=4.0)
    left = g.node("Sub", [x.name, _mean(g, x, x.name)])
    square = g.node("Pow", [left, _scalar(g, 2)]) if g.chance(2) else g.node("Mul", [left, left])
    deviation = g.node("Sqrt", [g.node("Add", [_mean(g, x, square), _scalar(g, 1e-5)])])
    name = g.node("Div", [left, deviation])
    return x.becomes(_affine(g, x, name, not g.chance(3)), bound=4.0)


def rms_norm(g: Sketch, x: Value) -> Value | None:
    """RMSNorm over channels, spelled out."""
    square = g.node("Pow", [x.name, _scalar(g, 2)]) if g.chance(2) else g.node("Mul", [x.name] * 2)
    root = g.node("Sqrt", [g.node("Add", [_mean(g, x, square), _scalar(g, 1e-6)])])
    g.mark("rms norm")
    if g.chance(2):
        name = g.node("Mul", [x.name, g.node("Reciprocal", [root])])
    else:
        name = g.node("Div", [x.name, root])
    return x.becomes(_affine(g, x, name, False), bound=4.0)


def softmax(g: Sketch, x: Value) -> Value | None:
    """Softmax over the channels."""
    g.mark("softmax")
    axis = x.axis if g.opset >= 13 or x.axis == x.rank - 1 else None
    if axis is None:
        return None
    return x.becomes(g.node("Softmax", [x.name], axis=axis), bound=1.0)


def curved(g: Sketch, x: Value) -> Value | None:
    """A smooth nonlinearity: Tanh, Sigmoid, Erf, Softplus, LeakyRelu, x·sigmoid(x)."""
    op = g.pick(["Tanh", "Sigmoid", "Erf", "LeakyRelu", "Softplus", "Swish"])
    g.mark("curved")
    if op == "Swish":
        return x.becomes(g.node("Mul", [x.name, g.node("Sigmoid", [x.name])]))
    name = g.node(op, [x.name])
    return x.becomes(name, bound=x.bound if op in ("LeakyRelu", "Softplus") else 1.0)
