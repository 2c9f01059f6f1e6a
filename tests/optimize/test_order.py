"""Order does not matter: however its nodes are listed, a network ends at one cost.

Two kinds of random graphs, each under several random topological orders, with other inner names:
those of `tests.graphs.drawn`, and wider ones made here of what the laws beyond one region look
for (siblings, shuffles, strides, dead channels, low rank). 500 graphs take about five minutes:

    ONEBYONE_EXAMPLES=6 HYPOTHESIS_PROFILE=search pytest tests/optimize/test_order.py
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, event, given, note, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onebyone.cost.profile import DEFAULT, Profile
from onebyone.graph.write import to_proto
from onebyone.optimize import optimize
from onebyone.verify.verify import verify

from ..graphs.drawn import Drawn, drawn_models
from ..graphs.reorder import of_any_order, reordered
from ..graphs.run import differences, run
from .exact import COUNTING

DEPTH = int(os.environ.get("ONEBYONE_EXAMPLES", "1"))  # times as many graphs, for a long search
ORDERS = 3  # beside the one that a graph was drawn in

Shape = tuple[int, int, int]  # channels, height, width


@dataclass
class _Wide:
    """A graph being drawn: images of small integers, with 8 to 12 channels.

    `values` are (name, shape, bound): float32 is exact while no sum passes 2²⁴, in any order.
    """

    rng: np.random.Generator
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    values: list[tuple[str, Shape, float]] = field(default_factory=list)
    marks: set[str] = field(default_factory=set)

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        names = [f"t{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names

    def constant(self, array: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = array
        return name

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def source(self) -> tuple[str, Shape, float]:
        """The newest value, now and then an older one, which is then shared."""
        last = len(self.values) - 1
        return self.values[int(self.rng.integers(last + 1)) if self.chance(0.4) else last]

    def pointwise(
        self, x: tuple[str, Shape, float], out: int, stride: int = 1
    ) -> tuple[str, Shape, float]:
        """A 1×1 of ones, minus ones and zeros; some of its rows or columns may be dead."""
        name, (channels, h, w), bound = x
        weight = self.rng.integers(-1, 2, (out, channels))
        if self.chance(0.3):
            self.marks.add("dead")
            weight[self.rng.random(out) < 0.4] = 0
            weight[:, self.rng.random(channels) < 0.2] = 0
        operands = [name, self.constant(weight[:, :, None, None].astype(np.float32))]
        bias = np.zeros(out)
        if self.chance(0.5):
            bias = self.rng.integers(-2, 3, out)
            operands.append(self.constant(bias.astype(np.float32)))
        largest = float((np.abs(weight).sum(1) * bound + np.abs(bias)).max())
        [y] = self.node("Conv", *operands, strides=[stride, stride])
        return y, (out, -(-h // stride), -(-w // stride)), largest

    def relu(self, x: tuple[str, Shape, float]) -> tuple[str, Shape, float]:
        return self.node("Relu", x[0])[0], x[1], x[2]

    def add(self, value: tuple[str, Shape, float] | None) -> None:
        if value is not None:
            self.values.append(value)


def _siblings(g: _Wide) -> None:
    """Two to four maps of one value, joined, added, or left apart."""
    x = g.source()
    apart = [int(n) for n in g.rng.integers(2, 13, g.rng.integers(2, 5))]
    active, kind = g.chance(0.5), str(g.rng.choice(["concat", "add", "apart"]))
    outs = [apart[0]] * len(apart) if kind == "add" else apart
    made = [g.pointwise(x, n) for n in outs]
    made = [g.relu(y) for y in made] if active else made
    _, (_, h, w), _ = made[0]
    g.marks.add(f"siblings {kind}")
    if kind == "concat":
        [y] = g.node("Concat", *(name for name, _, _ in made), axis=1)
        g.add((y, (sum(outs), h, w), max(bound for _, _, bound in made)))
    elif kind == "add":
        [y] = g.node("Sum", *(name for name, _, _ in made))
        g.add((y, (outs[0], h, w), sum(bound for _, _, bound in made)))
    else:
        g.values.extend(made)


def _shuffle(g: _Wide) -> None:
    """A channel shuffle, by two or three views, or the half of it that a Split takes."""
    name, (channels, h, w), bound = g.source()
    groups = next((n for n in (3, 2) if channels % n == 0 and channels > n), None)
    if groups is None:
        return
    g.marks.add("shuffle")
    shapes = [[0, groups, channels // groups, h, w], [0, channels, h, w]]
    first, second = (g.constant(np.array(shape)) for shape in shapes)
    [y] = g.node("Reshape", name, first)
    [y] = g.node("Transpose", y, perm=[0, 2, 1, 3, 4])
    [y] = g.node("Reshape", y, second)
    g.add((y, (channels, h, w), bound))


def _split(g: _Wide) -> None:
    """Halves: one mapped and both joined again the other way round, or both left."""
    name, (channels, h, w), bound = g.source()
    if channels < 4:
        return
    counts = [channels // 2, channels - channels // 2]
    left, right = g.node("Split", name, g.constant(np.array(counts)), outputs=2, axis=1)
    pieces = [(left, (counts[0], h, w), bound), (right, (counts[1], h, w), bound)]
    g.marks.add("split")
    if g.chance(0.3):
        g.values.extend(pieces)
        return
    mapped = g.relu(g.pointwise(pieces[0], counts[0]))
    [y] = g.node("Concat", right, mapped[0], axis=1)
    g.add((y, (channels, h, w), max(bound, mapped[2])))


def _strided(g: _Wide) -> None:
    """A K×K, an activation, one or two readers with a stride; sometimes one without."""
    name, (channels, h, w), bound = g.source()
    if min(h, w) < 3:
        return
    g.marks.add("strided")
    weight = g.rng.integers(-1, 2, (8, channels, 3, 3)).astype(np.float32)
    [y] = g.node("Conv", name, g.constant(weight), pads=[1, 1, 1, 1])
    largest = float(np.abs(weight).sum((1, 2, 3)).max()) * bound
    made = g.relu((y, (8, h, w), largest))
    if g.chance(0.3):
        g.add(made)
    for _ in range(1 + g.chance(0.5)):
        g.add(g.pointwise(made, int(g.rng.integers(3, 10)), stride=2))


def _low_rank(g: _Wide) -> None:
    """A 1×1 of rank one or two: a product of integers, so that it is of that rank exactly."""
    name, (channels, h, w), bound = g.source()
    rank, out = int(g.rng.integers(1, 3)), int(g.rng.integers(16, 25))
    weight = g.rng.integers(-1, 2, (out, rank)) @ g.rng.integers(-1, 2, (rank, channels))
    if channels < 8 or not weight.any():
        return
    g.marks.add("low rank")
    [y] = g.node("Conv", name, g.constant(weight[:, :, None, None].astype(np.float32)))
    g.add((y, (out, h, w), float(np.abs(weight).sum(1).max()) * bound))


def _map(g: _Wide) -> None:
    """A 1×1, then perhaps an activation, then perhaps a residual."""
    x = g.source()
    y = g.pointwise(x, x[1][0] if g.chance(0.5) else int(g.rng.integers(8, 13)))
    y = g.relu(y) if g.chance(0.5) else y
    if y[1] == x[1] and g.chance(0.5):
        [total] = g.node("Add", x[0], y[0])
        y = total, y[1], x[2] + y[2]
    g.add(y)


MOTIFS: tuple[Callable[[_Wide], None], ...] = (
    *(_siblings, _siblings, _shuffle, _shuffle),
    *(_split, _strided, _low_rank, _map, _map),
)


def wide_model(seed: int) -> Drawn:
    """A random graph of wide images, and an input for it; the same for the same seed."""
    g = _Wide(np.random.default_rng(seed))
    channels, h, w = (int(g.rng.integers(low, high)) for low, high in ((8, 13), (3, 7), (2, 6)))
    g.values.append(("x", (channels, h, w), 4.0))
    for _ in range(int(g.rng.integers(2, 6))):
        before = len(g.nodes), len(g.values)
        MOTIFS[int(g.rng.integers(len(MOTIFS)))](g)
        if any(bound >= 2.0**23 for _, _, bound in g.values):
            del g.nodes[before[0] :], g.values[before[1] :]
    if not g.nodes:
        g.add(g.relu(g.values[0]))
    read = {name for node in g.nodes for name in node.input}
    made = {name for node in g.nodes for name in node.output}
    ends = [v for v in g.values if v[0] in made and (v[0] not in read or g.chance(0.1))]
    batch = int(g.rng.integers(1, 3))
    feed = {"x": g.rng.integers(-4, 5, (batch, channels, h, w)).astype(np.float32)}
    return Drawn(_assembled(g, ends, batch, (channels, h, w)), (feed,), frozenset(g.marks))


def _assembled(
    g: _Wide, ends: list[tuple[str, Shape, float]], batch: int, shape: Shape
) -> ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *shape])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *size])
        for name, size, _ in ends
    ]
    read = {name for node in g.nodes for name in node.input}
    constants = [numpy_helper.from_array(a, k) for k, a in g.constants.items() if k in read]
    graph = helper.make_graph(g.nodes, "wide", [x], outputs, constants)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])


# The property -------------------------------------------------------------------------------------


def _examples(number: int) -> Any:
    return settings(
        max_examples=number * DEPTH,
        deadline=None,
        phases=[phase for phase in Phase if phase is not Phase.explain],
        suppress_health_check=[HealthCheck.too_slow],
    )


def _optimized(model: ModelProto, profile: Profile) -> tuple[ModelProto, dict[str, Any], set[str]]:
    result = optimize(model, verify=False, profile=profile, lost_bits=inf)
    laws = {row.law for row in result.report.laws}
    cost = of_any_order(result.report.to_dict()["after"])
    return to_proto(result.model), cost, laws


def _assert_one_cost(drawn: Drawn, profile: Profile, order: int) -> None:
    note(drawn)
    after, cost, laws = _optimized(drawn.model, profile)
    _assert_kept(drawn, drawn.model, after, laws)
    for law in laws:
        event(law)
    for k in range(ORDERS):
        model = reordered(drawn.model, order + k)
        after, other, used = _optimized(model, profile)
        assert other == cost
        _assert_kept(drawn, model, after, used)


def _assert_kept(drawn: Drawn, model: ModelProto, after: ModelProto, laws: set[str]) -> None:
    """To the last bit; but the factors of a matrix of low rank are rounded, so there to a bound."""
    if "rank" in laws:
        assert verify(model, after, data=drawn.feeds[0]).passed
        return
    pairs = zip(run(model, *drawn.feeds), run(after, *drawn.feeds), strict=True)
    assert [differences(before, now) for before, now in pairs] == [[] for _ in drawn.feeds]


profiles = st.sampled_from([COUNTING, DEFAULT])
seeds = st.integers(0, 2**32 - 1)


@_examples(40)
@given(drawn_models(), profiles, seeds)
def test_small_graphs_end_at_one_cost(drawn: Drawn, profile: Profile, order: int) -> None:
    _assert_one_cost(drawn, profile, order)


@_examples(45)
@given(seeds, profiles, seeds)
def test_wide_graphs_end_at_one_cost(seed: int, profile: Profile, order: int) -> None:
    _assert_one_cost(wide_model(seed), profile, order)


@pytest.fixture(scope="module")
def wide() -> list[Drawn]:
    """A fixed sample of the wide graphs."""
    return [wide_model(seed) for seed in range(60)]


def test_every_motif_is_drawn(wide: list[Drawn]) -> None:
    seen = Counter(mark for drawn in wide for mark in drawn.marks)
    wanted = {"siblings concat", "siblings add", "siblings apart", "shuffle", "split", "strided"}
    assert {m for m in (*wanted, "dead", "low rank") if seen[m] < 3} == set()


def test_the_laws_beyond_one_region_are_met(wide: list[Drawn]) -> None:
    met = set().union(*(_optimized(drawn.model, COUNTING)[2] for drawn in wide))
    assert {"demand", "prune", "permute", "rank"} <= met
