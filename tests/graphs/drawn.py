"""The Hypothesis strategy `drawn_models`: a random exact ONNX model and inputs for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, printer

from . import (
    averaged,
    channel,
    joins,
    layout,
    marked,
    moved,
    opaque,
    pruned,
    resize,
    space,
    taken,
    upsampled,
)
from .sketch import CHANNEL_AXIS, Sketch, Value
from .versions import Unwritable

__all__ = [
    "BY_LAYOUT",
    "CHOICES",
    "IR_VERSION",
    "MOVES",
    "OPSETS",
    "Drawn",
    "Move",
    "assembled",
    "by_layout",
    "drawn_inputs",
    "drawn_models",
    "sample",
    "step",
]

OPSETS = (17, 11, 13, 18, 20, 22)
IR_VERSION = 10

Move = Callable[[Sketch, Value], Value | None]

# Each move, how often it is tried, and the layouts it is tried on.
MOVES: tuple[tuple[Move, int, str], ...] = (
    (channel.pointwise, 16, "image sequence"),
    (channel.linear, 8, "tokens nhwc vector"),
    (channel.left_matmul, 8, "sequence"),
    (channel.convolution, 2, "image sequence"),
    (channel.depthwise, 1, "image"),
    (channel.transposed, 1, "image"),
    (channel.batch_norm, 3, "image sequence"),
    (channel.affine, 4, "image sequence tokens nhwc vector"),
    (channel.lora, 1, "image tokens vector"),
    (channel.parallel, 1, "image tokens nhwc sequence"),
    (channel.identity_branch, 2, "image tokens"),
    (channel.mix_positions, 2, "image sequence"),
    (space.average_pool, 5, "image sequence"),
    (space.global_pool, 3, "image sequence"),
    (space.reduce, 2, "image tokens nhwc sequence"),
    (space.max_pool, 2, "image"),
    (space.pad, 3, "image"),
    (space.slice_space, 2, "image tokens nhwc sequence"),
    (space.expand, 4, "image"),
    (resize.resize, 5, "image"),
    (upsampled.upsampled_kernel, 5, "image"),
    (joins.concat, 4, "image tokens nhwc vector sequence"),
    (joins.concat_space, 1, "image tokens nhwc"),
    (joins.fuse, 2, "image"),
    (joins.add, 3, "image tokens nhwc vector sequence"),
    (joins.broadcast_add, 5, "image tokens"),
    (joins.gate, 1, "image tokens"),
    (joins.pooled_context, 3, "image"),
    (joins.split, 2, "image tokens vector"),
    (layout.to_tokens, 4, "image sequence"),
    (layout.to_nhwc, 2, "image"),
    (layout.to_sequence, 3, "image"),
    (layout.to_vector, 3, "image"),
    (layout.to_image, 6, "tokens nhwc sequence vector"),
    (layout.shuffle, 4, "image"),
    (moved.gather, 3, "image tokens sequence"),
    (moved.stepped, 1, "image tokens"),
    (moved.shuffled_unit, 4, "image"),
    (moved.subsample, 1, "image sequence"),
    (moved.bottleneck, 5, "image sequence"),
    (pruned.zeroed, 4, "image"),
    (pruned.heads, 2, "tokens"),
    (pruned.depth_to_space, 1, "image"),
    (pruned.whole, 1, "image sequence"),
    (taken.pick, 1, "image tokens nhwc sequence"),
    (taken.taken, 4, "image tokens nhwc sequence"),
    (taken.attended, 6, "tokens"),
    (taken.gathered, 4, "tokens"),
    (marked.one_hot, 1, "image tokens nhwc vector sequence"),
    (averaged.one_head, 3, "tokens sequence"),
    (layout.passes, 1, "image tokens vector"),
    (space.pooled_kernel, 3, "image sequence"),
    (opaque.elementwise, 2, "image tokens nhwc vector sequence"),
    (opaque.clip, 1, "image tokens vector"),
    (opaque.maximum, 1, "image"),
)


def by_layout(moves: Sequence[tuple[Move, int, str]]) -> dict[str, tuple[Move, ...]]:
    """Those that are tried on a value of each layout, as often as they are to be tried."""
    return {
        name: tuple(m for m, often, where in moves if name in where.split() for _ in range(often))
        for name in CHANNEL_AXIS
    }


BY_LAYOUT = by_layout(MOVES)
AT_MOST = 9  # moves of a model
_SIZES = ((3, 4, 1, 5, 2, 7, 8), (4, 2, 1, 8))  # the latter have exact means
CHOICES = 128  # bytes; nine models of ten take fewer than a hundred
_INPUT_LAYOUTS = ("image",) * 8 + ("tokens", "nhwc", "vector", "sequence")


@dataclass(frozen=True)
class Drawn:
    """A model, one dict of inputs per trial, and the situations that it contains."""

    model: ModelProto
    feeds: tuple[dict[str, np.ndarray], ...]
    marks: frozenset[str]

    def __repr__(self) -> str:
        shapes = [{name: array.shape for name, array in feed.items()} for feed in self.feeds]
        return f"Drawn inputs {shapes} of\n{printer.to_text(self.model)}"

    def _repr_pretty_(self, shown: Any, cycle: bool) -> None:
        """What Hypothesis prints of a failing example."""
        shown.text(repr(self))


def _input(g: Sketch, name: str, trials: int, batch: list[int]) -> Value:
    kind = g.pick(_INPUT_LAYOUTS)
    rank, axis = {"vector": 2, "tokens": 3, "sequence": 3}.get(kind, 4), CHANNEL_AXIS[kind]
    c = g.integer(1, 6)
    options = g.pick(_SIZES)
    fixed = [g.pick(options) for _ in range(rank)]
    shapes = []
    for t in range(trials):
        sizes = fixed if t == 0 or not g.dynamic else [g.pick(options) for _ in range(rank)]
        shapes.append(
            tuple(batch[t] if a == 0 else c if a == axis else sizes[a] for a in range(rank))
        )
    return Value(name, kind, tuple(shapes), 4.0)


def step(g: Sketch, moves: Mapping[str, Sequence[Move]] = BY_LAYOUT) -> None:
    """Try one move; undo it where it does not apply or would leave the exact range."""
    x = g.pick(g.values[::-1]) if g.chance(3) else g.values[-1]
    lists = g.nodes, g.values, g.marks, g.extra
    before = [len(each) for each in lists], list(g.constants)
    try:
        y = g.pick(moves[x.layout])(g, x)
    except Unwritable:
        y = None
    if y is not None and g.fits(y) and len(g.nodes) <= g.most_nodes:
        g.values.append(y)
        return
    for each, length in zip(lists, before[0], strict=True):
        del each[length:]
    g.constants = {name: g.constants[name] for name in before[1]}
    g.weights = [pair for pair in g.weights if pair[0] in g.constants]


def _outputs(g: Sketch, inputs: list[Value]) -> list[Value]:
    """The last value, most of those that nobody reads, and some that somebody does."""
    read = {name for node in g.nodes for name in node.input}
    made = [v for v in g.values if v not in inputs]
    chosen = made[-1:]
    for value in made[:-1]:
        often = 4 if value.name in read else 1
        if g.integer(0, 4) >= often:
            g.mark("intermediate output" if value.name in read else "several outputs")
            chosen.append(value)
    return chosen


def _info(g: Sketch, value: Value, symbols: str) -> ValueInfoProto:
    """The declared type; in a dynamic model only the channels are a number."""
    shape: list[int | str | None] = list(value.shapes[0])
    if g.dynamic:
        marks = ["N"] + [f"{symbols}{a}" if symbols else None for a in range(1, value.rank)]
        shape = [value.channels if a == value.axis else marks[a] for a in range(value.rank)]
        shape[0] = "N" if symbols else None
    return helper.make_tensor_value_info(value.name, TensorProto.FLOAT, shape)


def _constant_output(g: Sketch) -> list[ValueInfoProto]:
    """Now and then an initialiser is an output itself."""
    if not g.weights or not g.chance(12) or g.weights[-1][0] not in g.constants:
        return []
    name, array = g.weights[-1]
    g.mark("initialiser as output")
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)]


def assembled(g: Sketch, inputs: list[Value], ir_version: int = IR_VERSION) -> ModelProto:
    """The model: what was drawn, some of its values as outputs."""
    outputs = [_info(g, v, "") for v in _outputs(g, inputs)] + _constant_output(g)
    # A second input of the first one's shape shares its symbols, as an exporter writes it.
    infos = [_info(g, v, f"{v.name}." if v in g.extra else "D") for v in inputs]
    constants = [g.proto(name) for name in g.constants]
    graph = helper.make_graph(g.nodes, "drawn", infos, outputs, constants)
    opsets = [helper.make_opsetid("", g.opset)]
    return helper.make_model(graph, ir_version=ir_version, opset_imports=opsets)


def _feed(g: Sketch, inputs: list[Value], trial: int) -> dict[str, np.ndarray]:
    return {v.name: g.rng.integers(-4, 5, v.shapes[trial]).astype(np.float32) for v in inputs}


def drawn_models(max_moves: int = AT_MOST) -> st.SearchStrategy[Drawn]:
    """ONNX models of up to `max_moves` operators or motifs, with integer constants and inputs.

    Their arithmetic is exact in float32, in any order and after any correct rewriting (see
    `sketch`). A third of the models have dynamic batch and sizes; these get two sets of inputs.
    """
    choices = st.binary(min_size=CHOICES, max_size=CHOICES)
    return st.builds(_drawn, choices, st.integers(0, 2**32 - 1), st.just(max_moves))


def sample(size: int, number: int) -> list[Drawn]:
    """A list of `size` models, the same for the same `number`, whatever else has been imported."""
    rng = np.random.default_rng(number)
    return [_drawn(rng.bytes(CHOICES), int(rng.integers(2**32)), AT_MOST) for _ in range(size)]


def _drawn(choices: bytes, seed: int, max_moves: int) -> Drawn:
    stream = iter(choices)
    opset, dynamic = OPSETS[next(stream) % len(OPSETS)], next(stream) % 3 == 2
    g = Sketch(stream, opset, dynamic, np.random.default_rng(seed))
    g.constant_nodes = g.chance(4)
    trials = 2 if g.dynamic else 1
    inputs = drawn_inputs(g, trials)
    g.values = list(inputs)
    g.mark("dynamic" if g.dynamic else "static", f"opset {g.opset}")
    aim = len(inputs) + g.integer(1, max_moves)
    for _ in range(2 * max_moves):
        if len(g.values) < aim:
            step(g)
    if not g.nodes:
        g.values.append(_identity(g))
    feeds = tuple(_feed(g, inputs, t) for t in range(trials))
    return Drawn(assembled(g, inputs), feeds, frozenset(g.marks))


def drawn_inputs(g: Sketch, trials: int) -> list[Value]:
    """One input, or two that differ in their channels."""
    batch = [g.integer(1, 3) for _ in range(trials)]
    x = _input(g, "x", trials, batch)
    if not g.chance(3):
        return [x]
    g.mark("two inputs")
    return [x, x.becomes("x2").sized(x.axis, [g.integer(1, 6)] * trials)]


def _identity(g: Sketch) -> Value:
    x = g.values[-1]
    return x.becomes(g.node("Identity", [x.name]))
