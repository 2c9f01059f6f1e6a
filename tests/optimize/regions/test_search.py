"""The planner: whatever it chooses computes the term, and is the cheapest that the laws allow.

Terms are drawn over real steps without a graph; what a plan does is carried out in NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.expression import Choice, Concat, Leaf, Node, Sum, Term, collect
from onebyone.algebra.laws import LAWS
from onebyone.algebra.layout import Reshape, Transpose
from onebyone.algebra.pool import AveragePool
from onebyone.algebra.pool import Sum as SumOver
from onebyone.algebra.resize import Resize
from onebyone.algebra.selection import Pad, Slice, subsample
from onebyone.algebra.space import AxisMap, apply
from onebyone.algebra.word import Word
from onebyone.cost.profile import Cost, Profile
from onebyone.graph.axes import Spatial
from onebyone.optimize.regions.operations import (
    Concatenate,
    Mapped,
    Moved,
    Operation,
    Source,
    Total,
    build,
)
from onebyone.optimize.regions.plan import Apply, Plan, runs
from onebyone.optimize.regions.price import Pricer
from onebyone.optimize.regions.search import Planner
from onebyone.optimize.regions.steps import Layout, Step, Striding

from ...algebra.test_channel import channel_maps, integers
from ...graphs.text import model
from ..exact import COUNTING, optimized
from .test_lift import lifted

PROFILES = [
    COUNTING,
    Profile(peak=1e18, bandwidth=1.0, overhead=1e-9),
    Profile(peak=1e18, bandwidth=1e18, overhead=1.0),
]
SIZES = (2, 3, 1)  # batch, height, width
PLAIN = Layout((2, 0, 3, 1), (2, 1, 3, 1), 1)

Values = Mapping[str, np.ndarray]


# Steps -------------------------------------------------------------------------------------------


def on_axis(before: Layout, axis: int, axis_map: AxisMap) -> Step:
    sizes = list(before.sizes)
    sizes[axis] = axis_map.out_size(sizes[axis]) or 0
    found = Spatial({axis: axis_map})
    return Step(None, before, of_sizes(sizes, before.axis), found, found.preserves_constants)


def of_sizes(sizes: list[int], axis: int) -> Layout:
    return Layout(tuple(sizes), tuple(sizes), axis)


def transposed(before: Layout, permutation: tuple[int, ...]) -> Step:
    sizes = [before.sizes[k] for k in permutation]
    after = of_sizes(sizes, permutation.index(before.axis))
    return Step(None, before, after, Transpose(permutation))


def joined(before: Layout) -> Step:
    """(N, C, H, W) to (N, C, H·W)."""
    n, _, h, w = before.sizes
    after = of_sizes([n, 1, h * w], 1)
    return Step(None, before, after, Reshape(after.monomials or ()))


def back(step: Step) -> Step:
    """The view that undoes a view."""
    meaning = step.meaning
    if isinstance(meaning, Transpose):
        return transposed(step.after, tuple(int(k) for k in np.argsort(meaning.permutation)))
    return Step(None, step.after, step.before, Reshape(step.before.monomials or ()))


def windowed(before: Layout, strides: tuple[int, int], pads: tuple[int, ...]) -> Step:
    n, c, h, w = before.sizes
    high, wide = ((size + sum(pads[k::2]) - 1) // strides[k] + 1 for k, size in enumerate((h, w)))
    window = Striding(strides, pads)
    return Step(None, before, of_sizes([n, c, high, wide], 1), window, not any(pads))


def stepped(step: Step, x: np.ndarray) -> np.ndarray:
    meaning, channels = step.meaning, x.shape[step.before.axis]
    after = [channels if k == step.after.axis else n for k, n in enumerate(step.after.sizes)]
    if isinstance(meaning, Spatial):
        return apply(meaning.maps, x)
    if isinstance(meaning, Striding):
        pads = [(0, 0), (0, 0), *zip(meaning.pads[:2], meaning.pads[2:], strict=True)]
        return np.pad(x, pads)[:, :, :: meaning.strides[0], :: meaning.strides[1]]
    if isinstance(meaning, Transpose):
        return x.transpose(meaning.permutation)
    return x.reshape(after) if isinstance(meaning, Reshape) else np.broadcast_to(x, after)


# What terms and plans compute --------------------------------------------------------------------


def value(term: Term, values: Values) -> np.ndarray:
    """The term, factor by factor in its order."""
    x, axis = of_node(term.node, values)
    for factor in in_order(term.word):
        if isinstance(factor, Step):
            x, axis = stepped(factor, x), factor.after.axis
        else:
            x = factor.apply(x, axis)
    return x


def in_order(word: Word) -> Iterator[ChannelMap | Step]:
    done = 0
    for f, slot in zip(word.maps, word.slots, strict=True):
        yield from word.spaces[done:slot]
        yield f
        done = slot
    yield from word.spaces[done:]


def of_node(node: Node, values: Values) -> tuple[np.ndarray, int]:
    """The value of a node, and its channel axis: only words leave axis 1 here."""
    if isinstance(node, Leaf):
        return values[node.value[0]], node.value[1].axis
    parts = [value(term, values) for term in node.terms]
    if isinstance(node, Concat):
        return np.concatenate(parts, axis=1), 1
    return (sum(parts[1:], parts[0]) if isinstance(node, Sum) else parts[0]), 1


def computed(operation: Operation, values: Values) -> np.ndarray:
    if isinstance(operation, Source):
        return values[operation.value]
    if isinstance(operation, Total | Concatenate):
        parts = [computed(part, values) for part in operation.operands]
        axis = operation.layout.axis
        return np.concatenate(parts, axis) if isinstance(operation, Concatenate) else sum(parts)
    x = computed(operation.operand, values)
    if isinstance(operation, Moved):
        return stepped(operation.step, x)
    assert isinstance(operation, Mapped)
    x = x if operation.window is None else stepped(operation.window, x)
    return ChannelMap(operation.linear.weight, operation.bias, operation.linear.groups).apply(
        x, operation.after.axis
    )


# Drawing terms -----------------------------------------------------------------------------------


@dataclass
class Drawn:
    """A term and what its leaves hold."""

    draw: st.DrawFn
    values: dict[str, np.ndarray] = field(default_factory=dict)
    leaves: list[Leaf] = field(default_factory=list)

    def leaf(self, x: np.ndarray) -> Leaf:
        name = f"x{len(self.values)}"
        self.values[name] = x
        return Leaf((name, PLAIN), x.shape[1])

    def start(self) -> None:
        rng = np.random.default_rng(0)
        for channels in (2, 3):
            shape = (SIZES[0], channels, *SIZES[1:])
            self.leaves.append(self.leaf(rng.integers(-4, 5, shape).astype(float)))

    def pick(self, *options: str) -> str:
        return self.draw(st.sampled_from(options))

    def node(self, depth: int) -> Node:
        kind = self.pick("leaf", "sum", "concat", "shared") if depth else "leaf"
        if kind == "leaf":
            return self.draw(st.sampled_from(self.leaves))
        if kind == "sum":
            return self.sum(self.draw(st.sampled_from([1, 2, 3])), depth - 1)
        if kind == "concat":
            return Concat((self.kept(None, depth - 1), self.kept(None, depth - 1)))
        shared = self.kept(None, depth - 1)
        return Choice((Term(Word(), self.leaf(value(shared, self.values))), shared))

    def sum(self, channels: int, depth: int) -> Node:
        terms = [self.kept(channels, depth) for _ in range(self.draw(st.integers(1, 2)))]
        if self.draw(st.booleans()):
            crop = on_axis(PLAIN, 2, Slice(0, 1))
            broadcast = Step(None, crop.after, PLAIN, None)
            terms.append(self.kept(channels, depth).then(Word((crop, broadcast))))
        whole = Sum((self.kept(channels, depth), *terms))
        collected = collect(whole)
        if collected is None:
            return whole
        return Choice((Term(Word(), whole), collected), "sum")

    def kept(self, channels: int | None, depth: int) -> Term:
        """A term that ends as it began, in PLAIN; `channels` wide, if that is said."""
        node = self.node(depth)
        word, now = Word(), node.channels
        for _ in range(self.draw(st.integers(0, 2))):
            kind = self.pick("map", "space", "tokens")
            if kind == "space":
                axis_map = self.draw(st.sampled_from(KEEPING_SIZES))
                word = word.then(Word((on_axis(PLAIN, 2, axis_map),)))
                continue
            width = self.draw(st.sampled_from([1, 2, 3]))
            inner = self.map(now, width) if kind == "map" else self.tokens(PLAIN, now, width)
            word, now = word.then(inner), width
        if channels not in (None, now):
            word = word.then(self.map(now, channels))
        return Term(word, node)

    def map(self, c_in: int, c_out: int) -> Word:
        return Word.of([self.draw(channel_maps(c_in, c_out))])

    def tokens(self, layout: Layout, c_in: int, c_out: int) -> Word:
        """A linear layer, a scale or a shift on tokens, as MatMul, Mul and Add, and back."""
        join = joined(layout)
        swap = transposed(join.after, (0, 2, 1))
        maps = [ChannelMap(self.draw(integers(c_out, c_in)))]
        if self.draw(st.booleans()):
            maps.append(ChannelMap.diagonal(self.draw(integers(c_out))))
        if self.draw(st.booleans()):
            maps.append(ChannelMap.diagonal(np.ones(c_out, int), self.draw(integers(c_out))))
        return Word.of([join, swap, *maps, back(swap), back(join)])

    def tail(self, term: Term) -> Term:
        """What may follow at the end: sizes that change, strides, views that stay."""
        layout, channels = PLAIN, term.channels
        for _ in range(self.draw(st.integers(0, 2))):
            if self.draw(st.booleans()):
                axis = self.draw(st.sampled_from([2, 3]))
                step = on_axis(layout, axis, self.draw(st.sampled_from(CHANGING_SIZES)))
                term = term.then(Word((step,)))
            else:
                strides, pads = self.draw(st.sampled_from(WINDOWS))
                step, width = windowed(layout, strides, pads), self.draw(st.sampled_from([1, 4]))
                f = self.draw(channel_maps(channels, width))
                term, channels = term.then(Word((step,), (f,), (1,))), width
            layout = step.after
        return term.then(self.tokens(layout, channels, 2)) if self.draw(st.booleans()) else term


KEEPING_SIZES = [Slice(step=-1), Pad(1, -1), AveragePool(2, 1, 0, 1)]
CHANGING_SIZES = [subsample(2), SumOver(), Pad(0, 1), Resize("nearest", scale=2.0)]
WINDOWS = [((2, 1), (0, 0, 0, 0)), ((1, 1), (1, 0, 0, 1)), ((2, 3), (0, 0, 1, 0))]


@st.composite
def regions(draw: st.DrawFn) -> tuple[Term, Values]:
    drawn = Drawn(draw)
    drawn.start()
    return drawn.tail(drawn.kept(None, 2)), drawn.values


def planned(term: Term, laws: frozenset[str], profile: Profile = COUNTING) -> Plan:
    plan = Planner(Pricer(profile), laws).best(term)
    assert plan is not None
    return plan


# The tests ---------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(regions(), st.permutations(list(LAWS)), st.sampled_from(PROFILES))
def test_plans_compute_the_term_and_laws_never_cost(
    region: tuple[Term, Values], order: list[str], profile: Profile
) -> None:
    _no_law_costs(region, order, profile)


@pytest.mark.slow
@given(regions(), st.permutations(list(LAWS)), st.sampled_from(PROFILES))
def test_many_plans_compute_the_term_and_laws_never_cost(
    region: tuple[Term, Values], order: list[str], profile: Profile
) -> None:
    """As many again and more: of large terms a plan takes a tenth of a second."""
    _no_law_costs(region, order, profile)


def _no_law_costs(region: tuple[Term, Values], order: list[str], profile: Profile) -> None:
    term, values = region
    expected = value(term, values)
    plans = [planned(term, frozenset(order[:k]), profile) for k in range(len(order) + 1)]
    for k, plan in enumerate(plans):
        assert np.array_equal(computed(build(plan), values), expected)
        assert plan.laws <= set(order[:k])
    assert all(more.cost <= less.cost for less, more in pairwise(plans))


def priced(term: Term, price: Pricer) -> Cost:
    """What the graph of a term costs as it stands, one operator a factor."""
    cost, layout, channels = of_operands(term.node, price)
    window: Step | None = None
    for factor in in_order(term.word):
        if isinstance(factor, Step) and factor.window is not None:
            window = factor
        elif isinstance(factor, Step):
            cost, layout = cost + price.step(factor, channels), factor.after
        elif factor.is_diagonal and window is None:
            cost += price.elementwise(
                layout, channels, int(not (factor.is_shift or factor.linear.is_negation))
            )
        else:
            after, ends = layout if window is None else window.after, factor.out_channels
            window = None
            cost += price.linear(layout, after, (channels, ends), factor.groups)
            layout, channels = after, ends
        if isinstance(factor, ChannelMap) and factor.bias is not None:
            cost += price.bias(channels)
    return cost


def of_operands(node: Node, price: Pricer) -> tuple[Cost, Layout, int]:
    if isinstance(node, Leaf):
        return Cost(), PLAIN, node.channels
    if isinstance(node, Choice):
        return priced(node.terms[0], price), PLAIN, node.channels
    cost = sum((priced(term, price) for term in node.terms), Cost())
    if isinstance(node, Concat):
        return cost + price.concat(PLAIN, node.channels), PLAIN, node.channels
    return cost + price.addition(PLAIN, node.channels, len(node.terms)), PLAIN, node.channels


@given(regions(), st.sampled_from(PROFILES))
def test_without_laws_the_plan_costs_what_the_graph_costs(
    region: tuple[Term, Values], profile: Profile
) -> None:
    plan = planned(region[0], frozenset(), profile)
    assert plan.cost == priced(region[0], Pricer(profile))
    assert plan.laws == frozenset()


@given(st.lists(st.integers(1, 9), min_size=3, max_size=7))
def test_a_chain_is_multiplied_in_the_best_order(widths: list[int]) -> None:
    maps = [ChannelMap(np.ones((b, a))) for a, b in pairwise(widths)]
    term = Term(Word.of(maps), Leaf(("x", PLAIN), widths[0]))
    n = len(maps)
    cuts = (c for k in range(n) for c in combinations(range(1, n), k))
    ways = [[widths[0], *(widths[k] for k in cut), widths[-1]] for cut in cuts]
    fewest = min(sum(a * b for a, b in pairwise(way) if a * b > 1) for way in ways)
    assert planned(term, frozenset(LAWS)).cost.macs == fewest * PLAIN.positions


# r(a + b) < ab, and equality, where one operator is less than two.
@pytest.mark.parametrize(("r", "b", "applied"), [(1, 7, 2), (2, 7, 2), (2, 6, 1), (3, 7, 1)])
def test_a_product_stays_factored_where_that_is_cheaper(r: int, b: int, applied: int) -> None:
    a = 3
    maps = [ChannelMap(np.ones((r, a))), ChannelMap(np.ones((b, r)))]
    term = Term(Word.of(maps), Leaf(("x", PLAIN), a))
    for profile in PROFILES:
        plan = planned(term, frozenset(LAWS), profile)
        assert sum(1 for _ in applications(plan)) == applied


def applications(plan: Plan) -> Iterator[Apply]:
    while isinstance(plan.how, Apply):
        yield plan.how
        plan = plan.how.before


def test_a_map_goes_where_there_are_fewest_positions() -> None:
    shrink, grow = on_axis(PLAIN, 2, subsample(2)), on_axis(PLAIN, 2, Resize("nearest", scale=2.0))
    f = ChannelMap(np.ones((5, 3)), np.ones(5))
    for step, factors in ((shrink, (f, shrink)), (grow, (grow, f))):
        plan = planned(Term(Word.of(factors), Leaf(("x", PLAIN), 3)), frozenset({"commute"}))
        fewest = min(step.before.positions, step.after.positions)
        assert (plan.cost.macs, plan.laws) == (fewest * 15, {"commute"})


def test_a_bias_holds_a_map_before_padding() -> None:
    pad = on_axis(PLAIN, 2, Pad(0, -1))
    shift = on_axis(PLAIN, 2, Pad(1, -2))
    for step, moves in ((pad, True), (shift, False)):
        f = ChannelMap(np.ones((5, 3)), np.ones(5))
        plan = planned(Term(Word.of([f, step]), Leaf(("x", PLAIN), 3)), frozenset(LAWS))
        assert ("commute" in plan.laws) == moves


def test_a_kernel_takes_a_map_from_behind_a_space_by_two_laws() -> None:
    body = "c = Conv(x, k) p = AveragePool<kernel_shape = [2, 2]>(c) y = Conv(p, w)"
    constants = {"k": (8, 3, 3, 3), "w": (2, 8, 1, 1)}
    term = lifted(model(body, "float[2,3,5,6] x", constants=constants))["y"].term
    both = planned(term, frozenset({"compose", "commute"}))
    assert (both.laws, both.cost.macs) == ({"compose", "commute"}, 2 * 3 * 4 * 54)
    for alone in both.laws:
        assert planned(term, frozenset({alone})).cost == planned(term, frozenset()).cost


def test_sums_of_what_is_broadcast_are_not_taken_for_broadcast() -> None:
    """An Add makes small tensors as large as its other operand, not as large as they will be."""
    f, g = ChannelMap(np.ones((3, 2), int)), ChannelMap(2 * np.ones((3, 2), int))
    x, small = Leaf(("x", PLAIN), 2), Leaf(("s", of_sizes([2, 1, 1, 1], 1)), 2)
    broadcast = Word((Step(None, small.value[1], PLAIN, None),))
    inner = Sum((Term(Word.of([f]), small), Term(Word.of([g]), small)))
    term = Term(Word(), Sum((Term(Word.of([f]), x), Term(broadcast, inner))))
    term = term.then(Word((on_axis(PLAIN, 2, Slice(1, 2)),)))
    values = {"x": np.arange(12.0).reshape(2, 2, 3, 1), "s": np.arange(4.0).reshape(2, 2, 1, 1)}
    found = computed(build(planned(term, frozenset(LAWS))), values)
    assert np.array_equal(found, value(term, values))


def test_runs_say_what_a_product_will_be() -> None:
    scale = ChannelMap.diagonal(np.array([2, 3, 4, 5]))
    blocks = ChannelMap(np.ones((6, 2)), np.ones(6), 2)
    dense = ChannelMap(np.ones((1, 6)))
    found = list(runs(Word.of([scale, blocks, dense]), 0, 4))
    assert [(r.to, r.channels, r.groups, r.only_shifts) for r in found] == [
        (1, 4, 4, False),
        (2, 6, 2, False),
        (3, 1, 1, False),
    ]
    assert [set(r.laws) for r in found] == [set(), {"affine"}, {"affine", "compose"}]


@pytest.mark.parametrize(("perm", "stays"), [("[0, 1, 3, 2]", True), ("[0, 1, 2, 3]", False)])
def test_views_of_a_square_cancel_only_where_they_move_nothing(perm: str, stays: bool) -> None:
    body = (
        f"a = Conv(x, w) t = Transpose<perm = {perm}>(a) f = Reshape(t, flat) "
        "r = Reshape(f, square) y = Conv(r, v)"
    )
    constants = {"w": (6, 3, 1, 1), "v": (2, 6, 1, 1)}
    sizes = {"flat": np.array([2, 6, 25]), "square": np.array([2, 6, 5, 5])}
    after = optimized(model(body, "float[2,3,5,5] x", constants={**constants, **sizes}), "linear")
    assert ("Transpose" in after.ops) == stays
