"""Random models of all kinds from one number each, with inputs on which they could go wrong.

Two in five are exact (see `sketch`): any equal model gives the same bits. The others have real
weights and constants up to 1e9 that are subtracted on the way; their inputs lie near those, or far
off with small differences, or are masks; `noise` judges them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto, numpy_helper

from . import cancel, channel, layout, quantised
from .drawn import BY_LAYOUT, CHOICES, IR_VERSION, MOVES, assembled, by_layout, drawn_inputs, step
from .dtypes import NUMPY, in_dtype
from .nested import branched, outlined
from .sketch import Sketch, Value

__all__ = ["Feed", "Wild", "choices_of", "wild"]

ANY = "image tokens nhwc vector sequence"
EXACT_MOVES = (
    *MOVES,
    (layout.around, 4, "nhwc"),
    (quantised.fake_quantised, 2, ANY),
    (quantised.weight_of_codes, 2, ANY),
    (quantised.qlinear_matmul, 1, "tokens nhwc vector"),
    (quantised.qlinear_conv, 1, "image"),
    (quantised.integer_matmul, 1, "tokens nhwc vector"),
)
ROUGH_MOVES = (
    *EXACT_MOVES,
    (cancel.centred, 10, ANY),
    (cancel.unshifted, 3, ANY),
    (cancel.masked, 6, ANY),
    (cancel.attention_mask, 3, "tokens"),
    (cancel.difference, 6, ANY),
    (cancel.neighbours, 4, "image tokens nhwc sequence"),
    (cancel.few_bits, 8, ANY),
    (cancel.layer_norm, 6, ANY),
    (cancel.rms_norm, 4, ANY),
    (cancel.softmax, 3, ANY),
    (cancel.curved, 8, ANY),
    (channel.pointwise, 10, "image sequence"),
    (channel.linear, 16, "tokens nhwc vector"),
)
EXACT, ROUGH = by_layout(EXACT_MOVES), by_layout(ROUGH_MOVES)
FRONTS = by_layout(
    (
        (cancel.centred, 4, ANY),
        (cancel.unshifted, 1, ANY),
        (cancel.masked, 2, ANY),
        (cancel.attention_mask, 2, "tokens"),
        (cancel.difference, 3, ANY),
        (cancel.neighbours, 1, "image tokens nhwc sequence"),
        (cancel.few_bits, 3, ANY),
        (cancel.layer_norm, 1, ANY),
    )
)
MAPS = by_layout(
    (
        (channel.pointwise, 4, "image sequence"),
        (channel.convolution, 2, "image sequence"),
        (channel.batch_norm, 1, "image sequence"),
        (channel.linear, 4, "tokens nhwc vector"),
        (layout.around, 1, "nhwc"),
    )
)
assert set(EXACT) == set(BY_LAYOUT)

OLDEST, NEWEST = 7, 26  # the newest that ONNX Runtime 1.31 takes
DTYPES = (
    (TensorProto.FLOAT,) * 13
    + (TensorProto.FLOAT16,) * 3
    + (TensorProto.BFLOAT16,) * 2
    + (TensorProto.DOUBLE,) * 2
)
OLDEST_OF = {TensorProto.BFLOAT16: 22}
EXACT_UP_TO = {TensorProto.FLOAT16: 2.0**10, TensorProto.BFLOAT16: 2.0**7}
Inputs = dict[str, np.ndarray]
_Draw = Callable[[Sketch, Value, tuple[int, ...]], np.ndarray]


@dataclass(frozen=True)
class Feed:
    """Inputs, and in a word what they are."""

    label: str
    inputs: Inputs


@dataclass(frozen=True)
class Wild:
    """A model, the inputs to ask it at, and whether its arithmetic is exact on them."""

    model: ModelProto
    feeds: tuple[Feed, ...]
    exact: bool
    dtype: int
    marks: frozenset[str]


def choices_of(number: int) -> bytes:
    """The bytes that decide the structure of a model; zeros are the simplest."""
    return np.random.default_rng([number, 3]).bytes(CHOICES)


def wild(number: int, choices: bytes | None = None) -> Wild:
    """The model of this number; `choices` replaces the bytes that decide its structure."""
    rng = np.random.default_rng([number, 7])
    stream = iter(choices_of(number) if choices is None else choices)
    dtype = int(rng.choice(DTYPES))
    opset = int(rng.integers(OLDEST_OF.get(dtype, OLDEST), NEWEST + 1))
    rough = bool(rng.random() < 0.6)
    g = Sketch(stream, opset, bool(rng.random() < 0.2), rng, rough=rough)
    g.constant_nodes, g.computed = (
        bool(rng.random() < 0.25) and opset >= 9,
        bool(rng.random() < 0.4),
    )
    g.dtype = dtype
    g.limit = EXACT_UP_TO.get(dtype, g.limit)
    if dtype == TensorProto.FLOAT16:
        g.decades, g.largest = 4, 6e4
    inputs = _drawn(g)
    ir_version = int(rng.choice([IR_VERSION, 8, 3 if opset < 9 else 7]))
    model = assembled(g, inputs + g.extra, ir_version)
    shape, marks = rng.random(), [*g.marks, f"opset {opset}", "rough" if rough else "exact"]
    if shape < 0.05 and ir_version >= 8:
        model, _ = outlined(model, rng), marks.append("function")
    elif shape < 0.1 and opset >= 11:
        model, _ = branched(model, rng), marks.append("subgraph")
    if ir_version < 4:
        _with_initialisers_as_inputs(model)
    marks.append(str(NUMPY[dtype]))
    exact = not rough and all(_fits(array, dtype) for array in _constants(g))
    feeds = tuple(_feeds(g, inputs, dtype))
    return Wild(in_dtype(model, dtype), feeds, exact, dtype, frozenset(marks))


def _constants(g: Sketch) -> Iterator[np.ndarray]:
    yield from g.constants.values()
    for node in g.nodes:
        yield from (numpy_helper.to_array(a.t) for a in node.attribute if a.HasField("t"))


def _fits(array: np.ndarray, dtype: int) -> bool:
    """Whether a float32 constant is the same number in the model's type."""
    return array.dtype != np.float32 or np.array_equal(array.astype(NUMPY[dtype]), array)


def _drawn(g: Sketch) -> list[Value]:
    moves, trials = ROUGH if g.rough else EXACT, 2 if g.dynamic else 1
    inputs = drawn_inputs(g, trials)
    g.values = list(inputs)
    g.most_nodes = 40
    if g.rough and not g.chance(4):
        for first in (FRONTS, MAPS):
            step(g, first)
    aim = len(g.values) + g.integer(0 if len(g.values) > len(inputs) else 1, 8)
    for _ in range(18):
        if len(g.values) < aim:
            step(g, moves)
    if not g.nodes:
        x = g.values[-1]
        g.values.append(x.becomes(g.node("Identity", [x.name])))
    return inputs


def _with_initialisers_as_inputs(model: ModelProto) -> None:
    """As files before IR version 4 have to be."""
    for tensor in model.graph.initializer:
        info = model.graph.input.add(name=tensor.name)
        info.type.tensor_type.elem_type = tensor.data_type
        info.type.tensor_type.shape.SetInParent()  # a scalar has one, too
        for size in tensor.dims:
            info.type.tensor_type.shape.dim.add(dim_value=size)


def _feeds(g: Sketch, inputs: list[Value], dtype: int) -> Iterator[Feed]:
    """Inputs of all kinds; each in the first trial's shapes, one kind in the second's."""
    kinds = _ROUGH_FEEDS if g.rough else {"small integers": _small}
    for label, draw in kinds.items():
        yield Feed(label, _fed(g, inputs, draw, 0, dtype))
    if g.dynamic:
        label, draw = next(iter(kinds.items()))
        yield Feed(f"{label}, other sizes", _fed(g, inputs, draw, 1, dtype))


def _fed(g: Sketch, inputs: list[Value], draw: _Draw, trial: int, dtype: int) -> Inputs:
    fed: dict[str, np.ndarray] = {}
    beside: dict[tuple[int, ...], np.ndarray] = {}
    for value in (*inputs, *g.extra):
        shape = value.shapes[trial]
        if value.name.startswith("mask"):
            array = _mask(g, shape)
        elif value.name.startswith("near") and shape in beside:
            array = beside[shape] + g.rng.integers(-3, 4, shape)
        else:
            array = beside[shape] = draw(g, value, shape)
        top = 6e4 if dtype == TensorProto.FLOAT16 else 1e38
        fed[value.name] = np.clip(array, -top, top).astype(NUMPY[dtype])
    return fed


def _mask(g: Sketch, shape: tuple[int, ...]) -> np.ndarray:
    """Mostly nothing is left out, now and then some or all is."""
    kind = g.rng.random()
    return g.rng.integers(0, 2, shape) if kind < 0.3 else np.full(shape, float(kind < 0.8))


def _small(g: Sketch, value: Value, shape: tuple[int, ...]) -> np.ndarray:
    return g.rng.integers(-4, 5, shape)


def _normal(g: Sketch, value: Value, shape: tuple[int, ...]) -> np.ndarray:
    return g.rng.standard_normal(shape)


def _near(g: Sketch, value: Value, shape: tuple[int, ...]) -> np.ndarray:
    """A constant that is subtracted from it, and the author's own scale around."""
    centre, scale = g.centres.get(value.name, [(0.0, 1.0)])[-1]
    return centre + scale * g.rng.standard_normal(shape)


def _zeros(g: Sketch, value: Value, shape: tuple[int, ...]) -> np.ndarray:
    return np.zeros(shape)


def _ones(g: Sketch, value: Value, shape: tuple[int, ...]) -> np.ndarray:
    return np.ones(shape)


def _bytes(g: Sketch, value: Value, shape: tuple[int, ...]) -> np.ndarray:
    return g.rng.integers(0, 256, shape)


def _far(decade: int) -> _Draw:
    def draw(g: Sketch, value: Value, shape: tuple[int, ...]) -> np.ndarray:
        offset = 10.0 ** min(decade, g.decades)
        # The differences are some units in float32's last place, or whole numbers.
        unit = max(1.0, 2.0 ** (np.floor(np.log2(offset)) - 23))
        return offset + unit * g.rng.integers(-8, 9, shape)

    return draw


_ROUGH_FEEDS: dict[str, _Draw] = {
    "normal": _normal,
    "near what is subtracted": _near,
    "ones": _ones,
    "zeros": _zeros,
    "0 to 255": _bytes,
    "about 1e5": _far(5),
    "about 1e9": _far(9),
}
