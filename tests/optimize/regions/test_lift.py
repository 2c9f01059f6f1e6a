"""Lifting: a region's term has the value of its root, and ends where it must."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from math import inf

import numpy as np
import onnx_ir as ir
import pytest
from onnx import ModelProto

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.expression import Choice, Concat, Convolution, Joined, Leaf, Node, Sum, Term
from onebyone.algebra.laws import LAWS
from onebyone.algebra.layout import Reshape, Transpose
from onebyone.algebra.selection import Gathered
from onebyone.algebra.space import apply
from onebyone.graph.axes import Spatial
from onebyone.graph.channel_axes import channel_axes
from onebyone.graph.evaluate import evaluate
from onebyone.graph.read import read
from onebyone.graph.shapes import Sizes, infer
from onebyone.optimize.regions.lift import (
    MAX_DEPTH,
    MAX_LOOKS_THROUGH,
    MAX_NODES,
    regions,
)
from onebyone.optimize.regions.region import Context, Region, is_shared
from onebyone.optimize.regions.steps import Averaging, Step, Striding
from onebyone.verify.ties import exposed

from ...graphs.drawn import Drawn, sample
from ...graphs.text import model

X = "float[2,3,5,4] x"
W43, W34, W33 = {"w": (4, 3, 1, 1)}, {"v": (3, 4, 1, 1)}, {"w": (3, 3, 1, 1)}


def prepared(proto: ModelProto) -> ir.Model:
    found = read(proto)
    infer(found)
    return found


def lifted(
    proto: ModelProto, laws: Collection[str] = LAWS, shapes: Mapping[str, tuple] | None = None
) -> dict[str, Region]:
    found = prepared(proto)
    context = Context.of(found.graph, Sizes(found, shapes), laws, inf)
    return {region.root.name: region for region in regions(found.graph, context)}


def term_of(body: str, inputs: str = X, laws: Collection[str] = LAWS, **constants: tuple) -> Term:
    """The term of the value y."""
    return lifted(model(body, inputs, constants=constants), laws)["y"].term


def factors(term: Term) -> list[str]:
    """The factors of a term in their order: channel widths, or what a step does."""
    told, done = [], 0
    for f, slot in [*zip(term.word.maps, term.word.slots, strict=True), (None, None)]:
        told += [_of_step(step) for step in term.word.spaces[done:slot]]
        done = slot
        if f is not None:
            told.append(f"{f.in_channels}→{f.out_channels}")
    return told


def _of_step(step: Step) -> str:
    return step.op_type if step.window is None else f"Striding{step.window.strides}"


# The value of a term ------------------------------------------------------------------------------


def value(term: Term, values: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """What a term computes from the values of its leaves.

    None if it holds a K×K convolution, or a gather, of which only the graph knows the indices.
    """
    found = of_node(term.node, values)
    if found is None or any(gathers(step) for step in term.word.spaces):
        return None
    x, axis = found
    done = 0
    for f, slot in zip(term.word.maps, term.word.slots, strict=True):
        for step in term.word.spaces[done:slot]:
            x, axis = stepped(step, x, values), step.after.axis
        x, done = f.apply(x, axis), slot
    for step in term.word.spaces[done:]:
        x = stepped(step, x, values)
    return x


def gathers(step: Step) -> bool:
    if not isinstance(step.meaning, Spatial):
        return False
    return any(isinstance(axis_map, Gathered) for axis_map in step.meaning.maps.values())


def of_node(node: Node, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, int] | None:
    if isinstance(node, Leaf):
        return values[node.value[0].name], node.value[1].axis
    if isinstance(node, Convolution):
        return None
    parts = [value(term, values) for term in node.terms]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    axis = axis_of(node.terms[0])
    if isinstance(node, Choice):
        assert all(np.array_equal(part, known[0]) for part in known)
        return known[0], axis
    if isinstance(node, Sum):
        return sum(known[1:], known[0]), axis
    return np.concatenate(known, node.along if isinstance(node, Joined) else axis), axis


def axis_of(term: Term) -> int:
    """The channel axis of what a term computes."""
    if term.word.spaces:
        return term.word.spaces[-1].after.axis
    return term.node.value[1].axis if isinstance(term.node, Leaf) else axis_of(term.node.terms[0])


def stepped(step: Step, x: np.ndarray, values: Mapping[str, np.ndarray]) -> np.ndarray:
    meaning, channels = step.meaning, x.shape[step.before.axis]
    after = [channels if k == step.after.axis else n for k, n in enumerate(step.after.sizes)]
    if isinstance(meaning, Transpose):
        return x.transpose(meaning.permutation)
    if isinstance(meaning, Averaging):
        operands = [values[meaning.weights.name]]
        operands.insert(meaning.slot, x)
        return np.matmul(*operands)
    if isinstance(meaning, Striding):
        half = len(meaning.strides)
        pads = zip(meaning.pads[:half], meaning.pads[half:], strict=True)
        every = tuple(slice(None, None, stride) for stride in (1, 1, *meaning.strides))
        return np.pad(x, [(0, 0), (0, 0), *pads])[every]
    if isinstance(meaning, Spatial):
        kept = iter(after)
        sizes = {k: 1 if k in meaning.vanished else next(kept) for k in range(x.ndim)}
        return apply(meaning.maps, x, {k: sizes[k] for k in meaning.maps}).reshape(after)
    return x.reshape(after) if isinstance(meaning, Reshape) else np.broadcast_to(x, after)


@cache
def drawn() -> list[Drawn]:
    return sample(60, number=3)


@pytest.mark.parametrize("laws", [tuple(LAWS), ("sum",)], ids=["all", "sum"])
def test_terms_have_the_values_of_their_roots(laws: tuple[str, ...]) -> None:
    compared = 0
    for case in drawn():
        names = [name for node in case.model.graph.node for name in node.output]
        feeds = case.feeds[-1]
        computed = evaluate(exposed(prepared(case.model), names), feeds)
        shapes = {name: array.shape for name, array in feeds.items()}
        for name, region in lifted(case.model, laws, shapes).items():
            found = value(region.term, {**feeds, **computed})
            if found is not None:
                compared += 1
                assert np.array_equal(found, computed[name]), case
    assert compared > 40


# What is in a term --------------------------------------------------------------------------------


def test_a_chain_is_one_word() -> None:
    term = term_of(
        "c = Conv(x, w) p = AveragePool<kernel_shape = [2, 2]>(c) y = Conv(p, v)", **W43, **W34
    )
    assert factors(term) == ["3→4", "AveragePool", "4→3"]
    assert isinstance(term.node, Leaf)
    assert (term.node.value[0].name, term.node.channels) == ("x", 3)


def test_strides_and_pads_are_space_maps_before_the_channel_map() -> None:
    body = "c = Conv<strides = [2, 1], pads = [0, 1, 0, 1]>(x, w) y = Neg(c)"
    term = term_of(body, **W43)
    assert factors(term) == ["Striding(2, 1)", "3→4", "4→4"]
    assert not term.word.spaces[0].preserves_constants
    assert term.word.spaces[0].after.sizes == (2, 1, 3, 6)


def test_a_linear_layer_is_followed_through_views() -> None:
    body = (
        "t = Transpose<perm = [0, 2, 3, 1]>(x) m = MatMul(t, w) "
        "b = Transpose<perm = [0, 3, 1, 2]>(m) y = Conv(b, v)"
    )
    constants = {"w": (3, 6), "v": (2, 6, 1, 1)}
    assert factors(term_of(body, **constants)) == ["Transpose", "3→6", "Transpose", "6→2"]
    left = lifted(model(body, X, constants=constants), laws=("compose",))
    assert left == {}


def test_a_difference_is_a_sum_with_a_negated_summand() -> None:
    term = term_of("a = Conv(x, w) y = Sub(x, a)", laws=("compose",), **W33)
    assert isinstance(term.node, Sum)
    plus, minus = term.node.terms
    assert factors(plus) == []
    assert minus.word.maps[-1].weight.ravel().tolist() == [-1, -1, -1]


def test_a_smaller_summand_is_broadcast() -> None:
    term = term_of("g = GlobalAveragePool(x) a = Conv(g, w) b = Conv(x, v) y = Add(a, b)",
                   v=(4, 3, 1, 1), **W43)  # fmt: skip
    assert isinstance(term.node, Sum)
    assert factors(term.node.terms[0]) == ["GlobalAveragePool", "3→4", "Broadcast"]


def test_sizes_that_may_or_may_not_be_one_are_no_broadcast() -> None:
    body = "a = Conv(x, w) b = Conv(z, v) y = Add(a, b)"
    constants = {"w": (4, 3, 1, 1), "v": (4, 3, 1, 1)}
    same = model(body, "float[n,3,h,5] x, float[n,3,h,5] z", "float[n,4,h,5] y", constants)
    other = model(body, "float[n,3,h,5] x, float[n,3,k,5] z", "float[n,4,l,5] y", constants)
    assert isinstance(lifted(same)["y"].term.node, Sum)
    assert lifted(other) == {}


def test_a_constant_summand_is_a_shift() -> None:
    (f,) = term_of("a = Add(x, b) p = AveragePool<kernel_shape = [2, 2]>(a) y = Identity(p)",
                   b=(3, 1, 1)).word.maps  # fmt: skip
    assert f.is_shift
    assert f.bias is not None


def test_concats_along_positions_are_told_from_those_of_channels() -> None:
    along = "a = Conv(x, w) b = Conv(x, v) c = Concat<axis = {}>(a, b) y = Conv(c, u)"
    stacked = term_of(along.format(1), w=(2, 3, 1, 1), v=(2, 3, 1, 1), u=(3, 4, 1, 1))
    # Both read x: the concat, or [w; v]x.
    assert isinstance(stacked.node, Choice)
    assert isinstance(stacked.node.terms[0].node, Concat)
    beside = term_of(along.format(2), **dict.fromkeys("wvu", (3, 3, 1, 1)))
    assert isinstance(beside.node, Joined)
    assert (beside.node.along, beside.channels) == (2, 3)


def test_equal_branches_are_offered_collected() -> None:
    body = "a = Conv(x, w) b = Add(a, x) y = Relu(b)"
    proto = model(body, X, constants=W33)
    term = lifted(proto)["b"].term
    assert isinstance(term.node, Choice)
    assert (term.node.law, isinstance(term.node.terms[0].node, Sum)) == ("sum", True)
    assert factors(term.node.terms[1]) == ["3→3"]
    assert isinstance(lifted(proto, laws=("compose",))["b"].term.node, Sum)


# Where a region ends ------------------------------------------------------------------------------


def test_a_shared_value_is_a_leaf_or_what_it_is_made_of() -> None:
    body = "a = Neg(x) r = Relu(a) y = Conv(a, w)"
    term = lifted(model(body, X, "y, r", W43))["y"].term
    assert isinstance(term.node, Choice)
    leaf, made = term.node.terms
    assert leaf.node.value[0].name == "a"
    assert (factors(made), made.node.value[0].name) == (["3→3"], "x")


@pytest.mark.parametrize(("kernel", "node"), [((4, 3, 1, 1), Choice), ((4, 3, 3, 3), Leaf)])
def test_a_shared_convolution_is_looked_through_where_its_kernel_is_1(
    kernel: tuple[int, ...], node: type
) -> None:
    body = "a = Conv(x, w) r = Relu(a) n = Neg(a) y = Conv(n, v)"
    term = lifted(model(body, X, "y, r", {**W34, "w": kernel}))["y"].term
    assert isinstance(term.node, node)
    leaf = term.node.terms[0].node if isinstance(term.node, Choice) else term.node
    assert leaf.value[0].name == "a"


def test_shared_values_are_looked_through_only_so_deep() -> None:
    n = MAX_LOOKS_THROUGH + 2
    chain = " ".join(f"a{k + 1} = Neg(a{k}) r{k} = Relu(a{k + 1})" for k in range(n))
    body = f"a0 = Relu(x) {chain} y = Conv(a{n}, w)"
    outputs = ", ".join(["y", *(f"r{k}" for k in range(n))])
    term, looks = lifted(model(body, X, outputs, W33))["y"].term, 0
    while isinstance(term.node, Choice):
        term, looks = term.node.terms[1], looks + 1
    assert looks == MAX_LOOKS_THROUGH
    assert term.node.value[0].name == f"a{n - MAX_LOOKS_THROUGH}"


def test_a_chain_is_cut_where_a_region_is_full() -> None:
    n = 2 * MAX_DEPTH + 1
    body = " ".join(f"a{k + 1} = Neg(a{k})" for k in range(n - 1))
    found = lifted(model(f"a0 = Conv(x, w) {body}", X, f"a{n - 1}", W33))
    lengths = [len(factors(region.term)) for region in found.values()]
    assert lengths == [MAX_DEPTH, MAX_DEPTH]  # what is left over is one node alone


def test_a_sum_is_cut_where_a_region_is_full() -> None:
    leaves = [f"c{k}" for k in range(2 * MAX_NODES)]
    body = " ".join(f"{leaf} = Conv(x, w)" for leaf in leaves)
    (region,) = lifted(model(f"{body} y = Sum({', '.join(leaves)})", X, "y", W33)).values()
    assert len(region.nodes) == MAX_NODES


@pytest.mark.parametrize(
    "body",
    [
        "a = Conv(x, w) r = Relu(a) y = Conv(r, w)",
        "a = Conv(x, w) r = MaxPool<kernel_shape = [2, 2]>(a) y = Conv(r, w)",
        "a = Conv(x, w) r = Softmax(a) y = Conv(r, w)",
    ],
)
def test_what_is_not_linear_ends_a_region_and_one_node_is_none(body: str) -> None:
    assert lifted(model(body, X, constants=W33)) == {}


def test_arithmetic_that_engines_fuse_is_left_alone() -> None:
    body = (
        "l = Conv(x, w) d = Div(l, k) f = Erf(d) s = Add(f, one) p = Mul(l, s) h = Mul(p, half) "
        "y = Conv(h, w)"
    )
    numbers = {"k": 2**0.5, "one": 1, "half": 0.5}
    constants = {name: np.full(1, value, np.float32) for name, value in numbers.items()}
    assert lifted(model(body, X, constants={**W33, **constants})) == {}


def test_who_else_reads_a_value_decides_whether_it_is_shared() -> None:
    body = "a = Neg(x) b = Neg(a) c = Neg(b) d = Neg(c) s = Shape(b) y = Add(d, d)"
    found = prepared(model(body, X, outputs="float y, float c, int64[k] s"))
    context = Context.of(found.graph, Sizes(found), LAWS, inf)
    values = {node.outputs[0].name: node.outputs[0] for node in found.graph}
    shared = [name for name in "abcdy" if is_shared(values[name], context.reads)]
    assert shared == ["c", "d", "y"]  # c is an output, d is read twice; b is only measured


def test_the_channel_axis_is_carried_through_the_graph() -> None:
    body = (
        "c = Conv(x, w) t = Transpose<perm = [0, 2, 3, 1]>(c) r = Relu(t) f = Reshape(r, s) "
        "m = MatMul(f, v) g = ReduceMean<axes = [1], keepdims = 0>(m) y = Neg(g)"
    )
    constants = {**W43, "s": np.array([2, -1, 4]), "v": (4, 3)}
    found = prepared(model(body, X, constants=constants))
    axes = {value.name: axis for value, axis in channel_axes(found.graph).items()}
    assert axes == {"c": 1, "t": 3, "r": 3, "f": 2, "m": 2, "g": 1, "y": 1}


def test_a_region_names_its_nodes() -> None:
    proto = model("a = Conv(x, w) y = Conv(a, v)", X, constants={**W43, **W34})
    for node, name in zip(proto.graph.node, ("first", "second"), strict=True):
        node.name = name
    (region,) = lifted(proto).values()
    assert region.nodes == ("first", "second")
    assert {inner.name for inner in region.inside} == {"a"}


def test_weights_are_read_as_maps() -> None:
    (f, g) = term_of("a = Conv<group = 3>(x, w) y = Conv(a, v, b)",
                     w=(6, 1, 1, 1), v=(2, 6, 1, 1), b=(2,)).word.maps  # fmt: skip
    assert (f.groups, f.bias, g.groups) == (3, None, 1)
    assert isinstance(g, ChannelMap)
    assert g.bias is not None


def test_weights_of_an_average_that_are_averaged_too_are_not_done_without() -> None:
    weights = "f = Softmax<axis = 1>(s) a = Transpose<perm = [0,2,1]>(f) v = MatMul(a, w) "
    for behind, done_without in (("u = MatMul(a, v)", set()), ("b = Abs(a) u = Add(b, v)", {"a"})):
        body = f"{weights} {behind} y = MatMul(u, w)"
        proto = model(body, "float[2,5,5] s", constants={"w": (5, 5)})
        assert {value.name for value in lifted(proto)["y"].looked_through} == done_without
