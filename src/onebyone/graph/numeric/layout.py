"""Operators that move, join and cut tensors, and those that speak of shapes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onebyone.graph.numeric.call import Array, Call, Kernel, is_floating

__all__ = ["KERNELS"]

PAD_MODES = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def _reshape(call: Call, x: Array, shape: Array) -> Array:
    sizes = [int(n) for n in shape]
    if not call.get("allowzero", 0):
        sizes = [x.shape[axis] if n == 0 else n for axis, n in enumerate(sizes)]
    return x.reshape(sizes)


def _flatten(call: Call, x: Array) -> Array:
    axis = call.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(int(np.prod(x.shape[:axis])), -1) if x.size else _flat_empty(x, axis)


def _flat_empty(x: Array, axis: int) -> Array:
    return x.reshape(int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:])))


def _squeeze(call: Call, x: Array, given: Array | None = None) -> Array:
    axes = call.ints("axes", given)
    return np.squeeze(x, tuple(axes) if axes is not None else None)


def _unsqueeze(call: Call, x: Array, given: Array | None = None) -> Array:
    return np.expand_dims(x, tuple(call.ints("axes", given) or ()))


def _transpose(call: Call, x: Array) -> Array:
    return np.transpose(x, call.get("perm"))


def _concat(call: Call, *inputs: Array) -> Array:
    return np.concatenate(inputs, axis=call.get("axis"))


def _split(call: Call, x: Array, given: Array | None = None) -> tuple[Array, ...]:
    axis = call.get("axis", 0)
    sizes = call.ints("split", given)
    if sizes is None:
        each = -(-x.shape[axis] // call.outputs)
        cuts = [each * i for i in range(1, call.outputs)]
    else:
        if sum(sizes) != x.shape[axis]:  # np.split takes what there is
            raise ValueError(
                f"got sizes {sizes} on an axis of {x.shape[axis]}, wanted them to add up"
            )
        cuts = [int(end) for end in np.cumsum(sizes)[:-1]]
    return tuple(np.split(x, cuts, axis))


def _slice(
    call: Call,
    x: Array,
    starts: Array | None = None,
    ends: Array | None = None,
    axes: Array | None = None,
    steps: Array | None = None,
) -> Array:
    first = call.ints("starts", starts) or []
    last = call.ints("ends", ends) or []
    along = call.ints("axes", axes) or range(len(first))
    by = [1] * len(first) if steps is None else [int(step) for step in steps]
    index = [slice(None)] * x.ndim
    for axis, start, end, step in zip(along, first, last, by, strict=True):
        index[axis] = _range(start, end, step, x.shape[axis])
    return x[tuple(index)]


def _range(start: int, end: int, step: int, size: int) -> slice:
    """ONNX counts an end below -size as -1, "before the first"; Python needs None for it.

    And it takes the first position where a negative step starts before that; Python takes none.
    """
    if step > 0:
        return slice(start, end, step)
    return slice(max(start, -size), end if end >= -size else None, step)


def _gather(call: Call, x: Array, indices: Array) -> Array:
    return np.take(x, indices, axis=call.get("axis", 0))


def _gather_elements(call: Call, x: Array, indices: Array) -> Array:
    return np.take_along_axis(x, indices, axis=call.get("axis", 0))


def _expand(call: Call, x: Array, shape: Array) -> Array:
    # Both ways: an axis of the tensor may be longer than what is asked for.
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(int(n) for n in shape)))


def _tile(call: Call, x: Array, repeats: Array) -> Array:
    if len(repeats) != x.ndim:  # NumPy would add axes
        raise ValueError(f"{len(repeats)} repeats for {x.ndim} axes")
    return np.tile(x, [int(n) for n in repeats])


def _shape(call: Call, x: Array) -> Array:
    return np.array(x.shape[call.get("start", 0) : call.get("end")], np.int64)


def _pad(
    call: Call,
    x: Array,
    given: Array | None = None,
    value: Array | None = None,
    axes: Array | None = None,
) -> Array:
    """A negative pad crops: crop first, then add what is positive."""
    amounts = call.ints("pads", given) or []
    half = len(amounts) // 2
    along = range(x.ndim) if axes is None else [int(axis) % x.ndim for axis in axes]
    pads = [(0, 0)] * x.ndim
    for axis, before, after in zip(along, amounts[:half], amounts[half:], strict=True):
        pads[axis] = (before, after)
    x = x[tuple(slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(pads, x.shape, strict=True))]
    room = [(max(a, 0), max(b, 0)) for a, b in pads]
    mode = call.get("mode", "constant")
    if mode != "constant":
        return np.asarray(np.pad(x, room, mode=PAD_MODES[mode]))  # type: ignore[call-overload]
    fill = call.get("value", 0.0) if value is None else value
    return np.pad(x, room, constant_values=np.asarray(fill).astype(x.dtype).item())


def _constant_of_shape(call: Call, shape: Array) -> Array:
    value = call.get("value")
    fill = np.zeros(1, call.dtype) if value is None else value.numpy()
    kind = call.dtype if is_floating(fill.dtype) else fill.dtype
    return np.full([int(n) for n in shape], fill.reshape(-1)[0], kind)


def _arange(call: Call, start: Array, limit: Array, step: Array) -> Array:
    return np.arange(start.item(), limit.item(), step.item()).astype(start.dtype)


def _dropout(call: Call, x: Array, *rest: Array | None) -> Array | tuple[Array, Array] | None:
    training = rest[1] if len(rest) > 1 else None
    if training is not None and bool(training):
        return None
    if call.outputs > 1 and call.version < 10:
        # Of this mask the standard says nothing; engines fill it with zeros, and few read it.
        return x, np.zeros(x.shape, x.dtype)
    return x if call.outputs == 1 else (x, np.ones(x.shape, bool))


def _blocks(x: Array, sizes: Sequence[int], order: Sequence[int], shape: Sequence[int]) -> Array:
    return x.reshape(*sizes).transpose(order).reshape(shape)


def _depth_to_space(call: Call, x: Array) -> Array:
    b = call.get("blocksize")
    n, c, h, w = x.shape
    shape = (n, c // b**2, h * b, w * b)
    if call.get("mode", "DCR") == "DCR":
        return _blocks(x, (n, b, b, c // b**2, h, w), (0, 3, 4, 1, 5, 2), shape)
    return _blocks(x, (n, c // b**2, b, b, h, w), (0, 1, 4, 2, 5, 3), shape)


def _space_to_depth(call: Call, x: Array) -> Array | None:
    if call.get("mode", "DCR") != "DCR":
        return None
    b = call.get("blocksize")
    n, c, h, w = x.shape
    shape = (n, c * b**2, h // b, w // b)
    return _blocks(x, (n, c, h // b, b, w // b, b), (0, 3, 5, 1, 2, 4), shape)


KERNELS: dict[str, Kernel] = {
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "DepthToSpace": _depth_to_space,
    "Dropout": _dropout,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Pad": _pad,
    "Range": _arange,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": lambda call, x: np.array(x.size, np.int64),
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
