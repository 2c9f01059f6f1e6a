"""Draw changes of layout: tokens, NHWC, sequences, vectors, transposes that cancel, shuffles."""

from __future__ import annotations

from dataclasses import replace

from .channel import convolution, depthwise, pointwise
from .sketch import Sketch, Value
from .space import max_pool

__all__ = [
    "around",
    "passes",
    "shuffle",
    "to_image",
    "to_nhwc",
    "to_sequence",
    "to_tokens",
    "to_vector",
]


def _transposed(g: Sketch, x: Value, layout: str, perm: list[int]) -> Value:
    name = g.node("Transpose", [x.name], perm=perm)
    return replace(x, name=name, layout=layout, shapes=tuple(_permuted(s, perm) for s in x.shapes))


def _permuted(shape: tuple[int, ...], perm: list[int]) -> tuple[int, ...]:
    return tuple(shape[p] for p in perm)


def to_sequence(g: Sketch, x: Value) -> Value | None:
    """(N, C, H, W) -> (N, C, H·W) by Reshape or Flatten's relatives."""
    forms = [[0, x.channels, -1], [0, 0, -1], [(x, 0, 1), x.channels, -1]]
    target = g.extents(g.pick(forms))
    name = g.node("Reshape", [x.name, target])
    g.mark("sequence")
    shapes = tuple((n, c, h * w) for n, c, h, w in x.shapes)
    y = replace(x, name=name, layout="sequence", shapes=shapes, grid=x)
    return y if y.small() or max(s[2] for s in shapes) <= 256 else None


def to_tokens(g: Sketch, x: Value) -> Value | None:
    """(N, C, H, W) or (N, C, L) -> (N, L, C)."""
    flat = to_sequence(g, x) if x.layout == "image" else x
    if flat is None:
        return None
    g.mark("tokens")
    return _transposed(g, flat, "tokens", [0, 2, 1])


def to_nhwc(g: Sketch, x: Value) -> Value | None:
    """(N, C, H, W) -> (N, H, W, C)."""
    g.mark("nhwc")
    return replace(_transposed(g, x, "nhwc", [0, 2, 3, 1]), grid=x)


def to_image(g: Sketch, x: Value) -> Value | None:
    """Back to (N, C, H, W) from any layout; needs to know the height and width."""
    if x.layout == "nhwc":
        return replace(_transposed(g, x, "image", [0, 3, 1, 2]), grid=None)
    if x.layout == "vector":
        return _unsqueezed(g, x)
    return _gridded(g, x)


def around(g: Sketch, x: Value) -> Value | None:
    """NHWC -> NCHW, a convolution or a pooling, and back, as exporters of Keras write each one."""
    image = replace(_transposed(g, x, "image", [0, 3, 1, 2]), grid=None)
    made = g.pick([pointwise, convolution, depthwise, max_pool])(g, image)
    if made is None:
        return None
    g.mark("convolution around in nhwc")
    return to_nhwc(g, made)


def _unsqueezed(g: Sketch, x: Value) -> Value:
    g.mark("vector to image")
    if g.chance(2):
        name = g.with_axes("Unsqueeze", x.name, [2, 3], 13)
    else:
        name = g.node("Reshape", [x.name, g.integers([-1, x.channels, 1, 1])])
    shapes = tuple((*s, 1, 1) for s in x.shapes)
    return replace(x, name=name, layout="image", shapes=shapes, grid=None)


def _gridded(g: Sketch, x: Value) -> Value | None:
    if x.grid is None:
        return None
    flat = _transposed(g, x, "sequence", [0, 2, 1]) if x.layout == "tokens" else x
    target = g.extents([0, x.channels, (x.grid, 2, 4)])
    name = g.node("Reshape", [flat.name, target])
    pairs = zip(x.shapes, x.grid.shapes, strict=True)
    shapes = tuple((s[0], x.channels, *grid[2:]) for s, grid in pairs)
    g.mark("tokens to image")
    return replace(x, name=name, layout="image", shapes=shapes, grid=None)


def to_vector(g: Sketch, x: Value) -> Value | None:
    """Flatten: (N, C, 1, 1) -> (N, C), or a fully connected view (N, C·H·W) of a small map."""
    shapes = tuple((n, c * h * w) for n, c, h, w in x.shapes)
    if g.dynamic and any(s[2:] != (1, 1) for s in x.shapes):
        return None
    one = all(s[2:] == (1, 1) for s in x.shapes)
    if one and g.chance(3):
        name = g.with_axes("Squeeze", x.name, [2, 3], 13)
    elif g.chance(3):
        name = g.node("Reshape", [x.name, g.integers([0, -1])])
    else:
        name = g.node("Flatten", [x.name], axis=1 if g.chance(2) else None)
    g.mark("vector" if one else "fully connected view")
    y = replace(x, name=name, layout="vector", shapes=shapes, grid=None)
    return y if shapes[0][1] <= 32 else None


def shuffle(g: Sketch, x: Value) -> Value | None:
    """A channel shuffle: Reshape to (N, g, C/g, H, W), Transpose, Reshape."""
    divisors = [k for k in range(2, x.channels) if x.channels % k == 0]
    if not divisors:
        return None
    k = g.pick(divisors)
    split = g.node("Reshape", [x.name, g.extents([0, k, x.channels // k, (x, 2, 4)])])
    swapped = g.node("Transpose", [split], perm=[0, 2, 1, 3, 4])
    g.mark("channel shuffle")
    name = g.node("Reshape", [swapped, g.extents([0, x.channels, (x, 2, 4)])])
    return x.becomes(name, grid=None)


def _there_and_back(g: Sketch, x: Value) -> str:
    """Two Transposes that cancel."""
    perm = [*range(1, x.rank), 0]
    inverse = [x.rank - 1, *range(x.rank - 1)]
    return g.node("Transpose", [g.node("Transpose", [x.name], perm=perm)], perm=inverse)


def passes(g: Sketch, x: Value) -> Value | None:
    """What changes nothing: Identity, Dropout in inference, transposes that cancel."""
    kind = g.pick(["Identity", "Dropout", "Transpose"])
    g.mark("transposes cancel" if kind == "Transpose" else kind.lower())
    if kind == "Transpose":
        return x.becomes(_there_and_back(g, x))
    return x.becomes(g.node(kind, [x.name], outputs=2 if kind == "Dropout" and g.chance(2) else 1))
