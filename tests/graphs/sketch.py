"""The model being drawn: its nodes and constants so far, and what is known of each value.

Every value is k / 2^bits with |value| <= bound, where `bound` is computed with absolute values
all the way, so it holds for the partial sums of any rewriting too. While bound * 2^bits < 2^24
float32 represents everything exactly, and two equal models must agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from .computed import expression
from .versions import as_written

__all__ = ["CHANNEL_AXIS", "EXACT", "MAX_SIZE", "Sizes", "Sketch", "Value"]

EXACT = 2.0**23  # one bit below float32's 2^24, for an engine's own intermediate results
ROUGH = 1e12  # far from float32's largest
MAX_SIZE = 16  # of an axis; keeps an example in the millisecond range
CHANNEL_AXIS = {"image": 1, "sequence": 1, "tokens": 2, "nhwc": 3, "vector": 1}

Sizes = tuple[int, ...]  # one size per trial: a dynamic model is run on several shapes


@dataclass(frozen=True)
class Value:
    """A float32 tensor of the sketch; `shapes` has one shape per trial.

    `layout` is image (N, C, H, W), sequence (N, C, L), tokens (N, L, C), nhwc (N, H, W, C) or
    vector (N, C). `grid` is the image whose positions a token or nhwc value still has, in order.
    """

    name: str
    layout: str
    shapes: tuple[tuple[int, ...], ...]
    bound: float
    bits: int = 0
    grid: Value | None = None

    @property
    def axis(self) -> int:
        return CHANNEL_AXIS[self.layout]

    @property
    def channels(self) -> int:
        return self.shapes[0][self.axis]

    @property
    def rank(self) -> int:
        return len(self.shapes[0])

    def sizes(self, axis: int) -> Sizes:
        return tuple(shape[axis] for shape in self.shapes)

    def exact(self) -> bool:
        return self.bound * 2.0**self.bits < EXACT

    def small(self) -> bool:
        return all(1 <= size <= MAX_SIZE for shape in self.shapes for size in shape)

    def sized(self, axis: int, sizes: Sequence[int]) -> Value:
        """The same value with other sizes along `axis`."""
        shapes = ((*s[:axis], n, *s[axis + 1 :]) for s, n in zip(self.shapes, sizes, strict=True))
        return replace(self, shapes=tuple(shapes))

    def becomes(self, name: str, **changes: Any) -> Value:
        return replace(self, name=name, **changes)


@dataclass
class Sketch:
    """What has been drawn so far. `choices` decides the structure, `rng` fills the constants.

    The choices are one byte string that Hypothesis draws at once: ten times faster than a draw
    for each, evenly spread, and still shrunk, since byte 0 is the simplest choice everywhere.
    """

    choices: Iterator[int]
    opset: int
    dynamic: bool
    rng: np.random.Generator
    constant_nodes: bool = False
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    values: list[Value] = field(default_factory=list)
    weights: list[tuple[str, np.ndarray]] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    minted: int = 0
    rough: bool = False  # real weights: nothing is promised of the arithmetic
    computed: bool = False  # some weights are computed in the graph
    decades: int = 9  # the largest constant that is subtracted is 10 to this power
    dtype: int = TensorProto.FLOAT  # that the whole model gets in the end
    largest: float = 3.4e38
    most_nodes: int = 24  # a composite move may pass the aim of fourteen; this is the hard end
    limit: float = EXACT
    extra: list[Value] = field(default_factory=list)  # inputs that moves have asked for
    centres: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def pick(self, options: Sequence[Any]) -> Any:
        return options[self.integer(0, len(options) - 1)]

    def integer(self, low: int, high: int) -> int:
        """A number in low..high; low once the choices are used up."""
        return low + next(self.choices, 0) % (high - low + 1)

    def chance(self, one_in: int) -> bool:
        """True one time in `one_in`; shrinks to False."""
        return self.integer(0, one_in - 1) == one_in - 1

    def mark(self, *situations: str) -> None:
        """Note that this situation was drawn, for the statistics."""
        self.marks.extend(situations)

    def name(self, stem: str) -> str:
        self.minted += 1
        return f"{stem}{self.minted}"

    def node(self, op: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> str:
        """Append a node; give its first output's name (the others follow in `nodes[-1]`)."""
        op, inputs, given = as_written(self.opset, self.constants, op, inputs, attributes)
        names = [self.name("t") for _ in range(outputs)]
        if op in ("Slice", "Gather") and len(inputs) > 1:
            inputs = [inputs[0], *self.narrow(inputs[1:])]
        self.nodes.append(helper.make_node(op, inputs, names, self.name(op), **given))
        return names[0]

    def narrow(self, indices: Sequence[str]) -> Sequence[str]:
        """The same indices as int32, now and then, where all are constants: they share a type."""
        if not all(name in self.constants for name in indices) or not self.chance(4):
            return indices
        self.mark("int32 indices")
        return [self.constant(self.constants[name].astype(np.int32)) for name in indices]

    def constant(self, array: np.ndarray) -> str:
        """Store a constant: an initialiser, or a Constant node when the model likes those."""
        name = self.name("c")
        if self.constant_nodes and self.chance(2):
            tensor = numpy_helper.from_array(array, name)
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            self.constants[name] = array
        return name

    def integers(self, values: Sequence[int]) -> str:
        """The name of an int64 vector; equal ones are shared."""
        array = np.asarray(values, np.int64)
        for name, known in self.constants.items():
            if known.dtype == np.int64 and np.array_equal(known, array):
                return name
        return self.constant(array)

    def weight(self, *shape: int, limit: int = 2) -> tuple[str, np.ndarray]:
        """Integers in -limit..limit (float32); now and then one that is in use already."""
        known = [pair for pair in self.weights if pair[1].shape == shape]
        if known and self.chance(4):
            self.mark("shared initialiser")
            return known[-1]
        array = self._array(shape, limit)
        if len(shape) > 1 and self.chance(5):
            self._kill(array)
        name = expression(self, array) if self.computed and self.chance(3) else None
        self.weights.append((name or self.constant(array), array))
        return self.weights[-1]

    def _array(self, shape: tuple[int, ...], limit: int) -> np.ndarray:
        if self.rough and not self.chance(4):
            fan_in = max(1, int(np.prod(shape[1:])))
            return (self.rng.standard_normal(shape) / fan_in**0.5).astype(np.float32)
        return self.rng.integers(-limit, limit + 1, shape).astype(np.float32)

    def fits(self, value: Value) -> bool:
        """Whether a value may be used: exact, or, in a rough model, of any usual size."""
        if self.rough:
            return value.bound < ROUGH
        return value.bound * 2.0**value.bits < self.limit

    def _kill(self, weight: np.ndarray) -> None:
        """Zero some rows, or some columns, as pruning does."""
        axis = self.integer(0, 1)
        dead = self.rng.random(weight.shape[axis]) < 0.6
        np.moveaxis(weight, axis, 0)[dead] = 0
        self.mark("dead channels")

    def extents(self, parts: Sequence[int | tuple[Value, int, int]]) -> str:
        """An int64 vector put together of numbers and of axes start..stop-1 of values.

        A constant where the shapes are static, otherwise arithmetic on `Shape`.
        """
        if self.dynamic:
            self.mark("run-time sizes")
            pieces = [self._extent(part) for part in parts]
            return pieces[0] if len(pieces) == 1 else self.node("Concat", pieces, axis=0)
        spread: list[int] = []
        for part in parts:
            spread += [part] if isinstance(part, int) else part[0].shapes[0][part[1] : part[2]]
        return self.integers(spread)

    def _extent(self, part: int | tuple[Value, int, int]) -> str:
        if isinstance(part, int):
            return self.integers([part])
        value, start, stop = part
        shape = self.node("Shape", [value.name])
        return self.node("Slice", [shape, self.integers([start]), self.integers([stop])])

    def with_axes(self, op: str, name: str, axes: Sequence[int], since: int, **more: Any) -> str:
        """A node whose axes are an attribute before opset `since`, an input from then on."""
        if self.opset < since:
            return self.node(op, [name], axes=list(axes), **more)
        return self.node(op, [name, self.integers(axes)], **more)

    def proto(self, name: str) -> TensorProto:
        return numpy_helper.from_array(self.constants[name], name)
