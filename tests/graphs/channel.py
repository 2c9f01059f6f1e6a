"""Draw operators that act on channels: convolutions of all kinds, linear layers, affine maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .sketch import Sketch, Value

__all__ = [
    "affine",
    "batch_norm",
    "convolution",
    "depthwise",
    "identity_branch",
    "left_matmul",
    "linear",
    "lora",
    "mix_positions",
    "parallel",
    "pointwise",
    "transposed",
]


def _row_bound(weight: np.ndarray, bound: float) -> float:
    """max_o Σ |W[o, ...]| · bound: the largest magnitude any partial sum can have."""
    return float(np.abs(weight).reshape(len(weight), -1).sum(1).max()) * bound


def _groups(g: Sketch, channels: int) -> int:
    if not g.chance(4):
        return 1
    return g.pick([k for k in range(1, channels + 1) if channels % k == 0])


def _bias(g: Sketch, channels: int) -> tuple[list[str], float]:
    """A bias input or none, and its magnitude."""
    if g.chance(3):
        return [], 0.0
    name, array = g.weight(channels, limit=3)
    return [name], float(np.abs(array).max())


def _convolve(
    g: Sketch,
    x: Value,
    c_out: int,
    groups: int,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
) -> Value | None:
    """One Conv node; `pads` are the begins then the ends. None where nothing would be left."""
    name, weight = g.weight(c_out, x.channels // groups, *kernel)
    bias, magnitude = _bias(g, c_out)
    y = x
    for i, k in enumerate(kernel):
        total = pads[i] + pads[i + len(kernel)] - dilations[i] * (k - 1)
        y = y.sized(i + 2, [(n + total - 1) // strides[i] + 1 for n in x.sizes(i + 2)])
    if not y.small():
        return None
    node = g.node(
        "Conv",
        [x.name, name, *bias],
        group=groups if groups > 1 else None,
        kernel_shape=None if g.chance(4) else list(kernel),
        strides=list(strides) if max(strides) > 1 else None,
        pads=list(pads) if max(pads) > 0 else None,
        dilations=list(dilations) if max(dilations) > 1 else None,
    )
    bound = _row_bound(weight, x.bound) + magnitude
    return y.becomes(node, bound=bound, grid=None).sized(1, [c_out] * len(y.shapes))


def _per_axis(g: Sketch, x: Value, usual: int, other: int, one_in: int) -> list[int]:
    """One number per spatial axis, mostly `usual`."""
    return [other if g.chance(one_in) else usual for _ in range(x.rank - 2)]


def pointwise(g: Sketch, x: Value) -> Value | None:
    """A 1×1 Conv: strided, grouped, or zero-padded now and then."""
    groups = _groups(g, x.channels)
    strides = _per_axis(g, x, 1, 2, 6)
    pads = _per_axis(g, x, 0, 1, 12) * 2
    g.mark("1x1", *(["strided 1x1"] if max(strides) > 1 else []))
    c_out = groups * g.integer(1, max(1, 6 // groups))
    ones = [1] * (x.rank - 2)
    return _convolve(g, x, c_out, groups, ones, strides, pads, ones)


def convolution(g: Sketch, x: Value) -> Value | None:
    """A K×K Conv with stride, dilation, uneven padding, groups."""
    groups = _groups(g, x.channels)
    kernel = [g.integer(1, 3) for _ in range(x.rank - 2)]
    pads = [g.integer(0, 1) for _ in range(2 * (x.rank - 2))]
    strides, dilations = _per_axis(g, x, 1, 2, 4), _per_axis(g, x, 1, 2, 6)
    g.mark("KxK")
    c_out = groups * g.integer(1, max(1, 4 // groups))
    return _convolve(g, x, c_out, groups, kernel, strides, pads, dilations)


def depthwise(g: Sketch, x: Value) -> Value | None:
    """A Conv with as many groups as channels, of multiplier one or two."""
    kernel = [g.integer(1, 3) for _ in range(x.rank - 2)]
    pads = [g.integer(0, 1) for _ in range(2 * (x.rank - 2))]
    g.mark("depthwise")
    c_out = x.channels * (2 if g.chance(4) else 1)
    strides = _per_axis(g, x, 1, 2, 4)
    return _convolve(g, x, c_out, x.channels, kernel, strides, pads, [1] * (x.rank - 2))


def transposed(g: Sketch, x: Value) -> Value | None:
    """A ConvTranspose with stride, padding, output padding, groups."""
    groups, spatial = _groups(g, x.channels), x.rank - 2
    kernel = [g.integer(1, 3) for _ in range(spatial)]
    strides = [g.integer(1, 2) for _ in range(spatial)]
    pads = [g.integer(0, min(1, k - 1)) for k in kernel] * 2
    extra = [g.integer(0, s - 1) for s in strides]
    per_group = g.integer(1, 3)
    name, weight = g.weight(x.channels, per_group, *kernel)
    bias, magnitude = _bias(g, per_group * groups)
    y = x.sized(1, [per_group * groups] * len(x.shapes))
    for i, k in enumerate(kernel):
        grow = k - 2 * pads[i] + extra[i]
        y = y.sized(i + 2, [(n - 1) * strides[i] + grow for n in x.sizes(i + 2)])
    if not y.small():
        return None
    attributes = {"strides": strides, "pads": pads, "output_padding": extra, "group": groups}
    node = g.node("ConvTranspose", [x.name, name, *bias], kernel_shape=kernel, **attributes)
    g.mark("transposed")
    # An output meets every input channel of its group and at most every tap of the kernel.
    bound = _row_bound(np.moveaxis(weight, 1, 0), x.bound) + magnitude
    return y.becomes(node, bound=bound, grid=None)


def batch_norm(g: Sketch, x: Value) -> Value | None:
    """BatchNormalization where var + epsilon is 1/4, 1 or 4, so that its root is exact."""
    c, epsilon = x.channels, 2.0 ** -g.integer(3, 10)
    power = g.rng.integers(-1, 2, c)
    scale, bias, mean = (g.weight(c, limit=3) for _ in range(3))
    var = g.constant((4.0**power - epsilon).astype(np.float32))
    names = [x.name, scale[0], bias[0], mean[0], var]
    node = g.node("BatchNormalization", names, epsilon=epsilon)
    g.mark("batch norm")
    gain = np.abs(scale[1]) * 2.0**-power
    bound = float((gain * (x.bound + np.abs(mean[1])) + np.abs(bias[1])).max())
    return x.becomes(node, bound=max(bound, 1.0), bits=x.bits + 1)


def _constant_shape(g: Sketch, x: Value) -> tuple[int, ...]:
    """Shapes that broadcast against x: mostly per channel, or scalar, or (a trap) along an axis."""
    c, after = x.channels, x.rank - 1 - x.axis
    per_channel = (c,) + (1,) * after
    if g.chance(6) and not g.dynamic:
        g.mark("constant along space")
        axis = g.integer(0, x.rank - 1)
        return tuple(n if i == axis else 1 for i, n in enumerate(x.shapes[0]))
    forms = [per_channel, (1,) * x.axis + per_channel, (), (1,), (1,) * x.rank]
    return g.pick(forms[:1] * 4 + forms)


def affine(g: Sketch, x: Value) -> Value | None:
    """Mul, Add, Sub or Div by a constant, on either side where the operator allows."""
    op, shape = g.pick(["Mul", "Add", "Sub", "Div"]), _constant_shape(g, x)
    array = g.rng.integers(-3, 4, shape).astype(np.float32)
    if op == "Div":
        array = 2 ** np.abs(array) * np.where(array < 0, -1, 1).astype(np.float32)
    name = g.constant(np.asarray(array, np.float32))
    inputs = [x.name, name] if op == "Div" or g.chance(2) else [name, x.name]
    node = g.node(op, inputs)
    g.mark(f"affine {op}")
    largest = float(np.abs(array).max())
    if op == "Div":
        return x.becomes(node, bits=x.bits + 3)
    bound = x.bound * max(largest, 1) if op == "Mul" else x.bound + largest
    return x.becomes(node, bound=bound)


def linear(g: Sketch, x: Value) -> Value | None:
    """MatMul (+ Add) or Gemm on the last axis; the weight may come through a Transpose."""
    if x.layout == "vector" and g.chance(2):
        return _gemm(g, x)
    c_out = g.integer(1, 6)
    if g.chance(4):
        name, weight = g.weight(c_out, x.channels)
        name, weight = g.node("Transpose", [name], perm=[1, 0]), weight.T
    else:
        name, weight = g.weight(x.channels, c_out)
    node = g.node("MatMul", [x.name, name])
    bias, magnitude = _bias(g, c_out)
    if bias:
        node = g.node("Add", [node, *bias] if g.chance(2) else [*bias, node])
    g.mark("linear", f"linear {x.layout}")
    bound = _row_bound(weight.T, x.bound) + magnitude
    return x.becomes(node, bound=bound).sized(x.axis, [c_out] * len(x.shapes))


def _gemm(g: Sketch, x: Value) -> Value:
    c_out, transposed_weight = g.integer(1, 6), g.chance(2)
    shape = (c_out, x.channels) if transposed_weight else (x.channels, c_out)
    name, weight = g.weight(*shape)
    bias, magnitude = _bias(g, c_out)
    alpha, beta = g.pick([1.0, 2.0, 0.5]), g.pick([1.0, 2.0])
    node = g.node("Gemm", [x.name, name, *bias], alpha=alpha, beta=beta, transB=+transposed_weight)
    g.mark("linear", "gemm")
    rows = weight if transposed_weight else weight.T
    bound = _row_bound(rows, x.bound) * max(alpha, 1) + beta * magnitude
    return x.becomes(node, bound=bound, bits=x.bits + 1).sized(1, [c_out] * len(x.shapes))


def left_matmul(g: Sketch, x: Value) -> Value | None:
    """W @ x on a sequence (N, C, L): a linear layer on channels, from the left."""
    c_out = g.integer(1, 6)
    name, weight = g.weight(c_out, x.channels)
    node = g.node("MatMul", [name, x.name])
    g.mark("left matmul")
    bound = _row_bound(weight, x.bound)
    return x.becomes(node, bound=bound).sized(1, [c_out] * len(x.shapes))


def mix_positions(g: Sketch, x: Value) -> Value | None:
    """A MatMul on an axis that is not the channels': it must not be taken for a linear layer."""
    n, n_out = x.shapes[0][-1], g.integer(1, 5)
    if g.dynamic:
        return None
    name, weight = g.weight(n, n_out)
    g.mark("matmul on space")
    node, bound = g.node("MatMul", [x.name, name]), _row_bound(weight.T, x.bound)
    return x.becomes(node, bound=bound, grid=None).sized(x.rank - 1, [n_out] * len(x.shapes))


def _plain(g: Sketch, x: Value, c_out: int) -> Value:
    """A channel map without bias in x's own layout."""
    if x.axis == x.rank - 1:
        name, weight = g.weight(x.channels, c_out)
        node, rows = g.node("MatMul", [x.name, name]), weight.T
    else:
        name, rows = g.weight(c_out, x.channels, *([1] * (x.rank - 2)))
        node = g.node("Conv", [x.name, name])
    y = x.becomes(node, bound=_row_bound(rows, x.bound))
    return y.sized(x.axis, [c_out] * len(x.shapes))


def _join(g: Sketch, a: Value, b: Value, op: str = "Add") -> Value:
    return a.becomes(
        g.node(op, [a.name, b.name]), bound=a.bound + b.bound, bits=max(a.bits, b.bits)
    )


def lora(g: Sketch, x: Value) -> Value | None:
    """W x + scale · B A x with a rank below both widths."""
    c_out = g.integer(2, 6)
    main, low = _plain(g, x, c_out), _plain(g, _plain(g, x, 1), c_out)
    if g.chance(2):
        scale = g.constant(np.float32(2.0).reshape(()))
        low = low.becomes(g.node("Mul", [low.name, scale]), bound=2 * low.bound)
    g.mark("lora")
    return _join(g, main, low)


def parallel(g: Sketch, x: Value) -> Value | None:
    """W₁x ± W₂x, with two weights or twice the same."""
    c_out = g.integer(1, 6)
    g.mark("parallel")
    return _join(g, _plain(g, x, c_out), _plain(g, x, c_out), g.pick(["Add", "Sub", "Sum"]))


def identity_branch(g: Sketch, x: Value) -> Value | None:
    """x + W x."""
    g.mark("identity branch")
    return _join(g, x, _plain(g, x, x.channels))
