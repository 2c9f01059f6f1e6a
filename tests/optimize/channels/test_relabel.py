"""permute: shuffles and other moves of channels go into the weights around them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from onebyone.cost.profile import DEFAULT
from onebyone.graph.read import read
from onebyone.graph.shapes import Sizes, infer
from onebyone.graph.write import to_proto
from onebyone.optimize.channels.relabel import relabel
from onebyone.optimize.rewritten import Task

from ...graphs.laws.case import batch_norm, norm
from ...graphs.run import differences, run
from ...graphs.text import feed, model
from ..exact import COUNTING, optimized

X = "float[2,3,4,7] x"
IN = "t = Conv(x, w, b) r = Relu(t)"
W = {"w": (6, 3, 1, 1), "b": (6,), "v": (4, 6, 1, 1)}


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def _shuffle(before: str, after: str, sizes: str) -> str:
    return (
        f"{after}_1 = Reshape({before}, {sizes}_parts) "
        f"{after}_2 = Transpose<perm = [0, 2, 1, 3, 4]>({after}_1) "
        f"{after} = Reshape({after}_2, {sizes}_whole)"
    )


def _sizes(name: str, groups: int, channels: int, n: int = 2, w: int = 7) -> dict[str, np.ndarray]:
    parts = ints(n, groups, channels // groups, 4, w)
    return {f"{name}_parts": parts, f"{name}_whole": ints(n, channels, 4, w)}


def _model(body: str, outputs: str = "y", opset: int = 17, **constants: Any) -> ModelProto:
    given = {
        **W,
        "n0": ints(0),
        "n1": ints(1),
        "n2": ints(2),
        "n3": ints(3),
        "n6": ints(6),
        **constants,
    }
    words = body.replace("(", " ").replace(")", " ").replace(",", " ").split()
    used = {name: array for name, array in given.items() if name in words}
    return model(body, X, outputs, used, opset=opset)


@pytest.mark.parametrize(("groups", "channels"), [(2, 6), (3, 6), (3, 9), (5, 5), (2, 4)])
def test_a_shuffle_goes(groups: int, channels: int) -> None:
    body = f"{IN} {_shuffle('r', 'q', 's')} y = Conv(q, v)"
    shapes = {"w": (channels, 3, 1, 1), "b": (channels,), "v": (4, channels, 1, 1)}
    after = optimized(_model(body, **shapes, **_sizes("s", groups, channels)), "permute")
    assert after.ops == ["Conv", "Relu", "Conv"]


THROUGH = {
    "elementwise": ("p = Clip(q, o)", {"o": np.array(1, np.float32)}),
    "per-channel constants": ("a = Mul(k, q) c = Sub(a, k) p = PRelu(c, k)", {"k": (6, 1, 1)}),
    "BatchNormalization": (f"p = {batch_norm('q', 'n')}", norm("n", 6)),
    "a depthwise 3×3": ("p = Conv<group = 6, pads = [1,1,1,1]>(q, k, b)", {"k": (6, 1, 3, 3)}),
    "pools": (
        "m = MaxPool<kernel_shape = [2, 2]>(q) p = AveragePool<kernel_shape = [2, 2]>(m)",
        {},
    ),
    "a residual": ("u = Conv(x, k) a = Add(q, u) p = Relu(a)", {"k": (6, 3, 1, 1)}),
    "a sum of two shuffled alike": (
        f"u = Conv(x, k) {_shuffle('u', 'z', 's')} a = Add(q, z) p = Relu(a)",
        {"k": (6, 3, 1, 1)},
    ),
}


@pytest.mark.parametrize("name", ["elementwise", *list(THROUGH)[1:-1]])
def test_what_is_elementwise_or_depthwise_is_permuted_along(name: str) -> None:
    nodes, constants = THROUGH[name]
    body = f"{IN} {_shuffle('r', 'q', 's')} {nodes} y = Conv(p, v)"
    after = optimized(_model(body, **_sizes("s", 2, 6), **constants), "permute")
    assert not {"Transpose", "Reshape", "Gather"} & set(after.ops)


def test_two_shuffled_values_that_meet_keep_their_answers() -> None:
    nodes, constants = THROUGH["a sum of two shuffled alike"]
    body = f"{IN} {_shuffle('r', 'q', 's')} {nodes} y = Conv(p, v)"
    optimized(_model(body, **_sizes("s", 2, 6), **constants), "permute")


def test_a_value_added_to_itself_shuffled_needs_both_orders() -> None:
    body = f"{IN} {_shuffle('r', 'q', 's')} a = Add(q, r) e = Relu(a) y = Conv(e, v)"
    after = optimized(_model(body, **_sizes("s", 2, 6)), "permute")
    assert after.laws == set()


CHAINS = {
    "a shuffle and its inverse": _shuffle("r", "p", "s") + " " + _shuffle("p", "q", "i"),
    "a shuffle and a reversal": _shuffle("r", "p", "s") + " q = Gather<axis = 1>(p, back)",
    "two gathers": "p = Gather<axis = 1>(r, back) q = Gather<axis = -3>(p, back)",
    "halves swapped": "f = Slice(r, n0, n3, n1) g = Slice(r, n3, n6, n1) "
    "q = Concat<axis = 1>(g, f)",
    "a split put together backwards": "f, g, h = Split<axis = 1>(r, twos) "
    "q = Concat<axis = 1>(h, g, f)",
}
CHAINED = {
    **_sizes("s", 2, 6),
    **_sizes("i", 3, 6),
    "back": ints(5, -2, 3, 2, 1, 0),
    "twos": ints(2, 2, 2),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chains_of_moves_go(name: str) -> None:
    proto = _model(f"{IN} {CHAINS[name]} y = Conv(q, v)", **CHAINED)
    assert optimized(proto, "permute").ops == ["Conv", "Relu", "Conv"]


def test_gathers_between_an_input_and_an_output_become_one() -> None:
    body = "p = Gather<axis = 1>(x, first) y = Gather<axis = 1>(p, second)"
    constants = {"first": ints(2, 0, 3, 1, 4), "second": ints(0, 4, 2, 1, 3)}
    proto = model(body, "float[2,5,4,7] x", "y", constants)
    assert optimized(proto, "permute").ops == ["Gather"]


def test_what_is_read_whole_too_is_stored_in_stretches() -> None:
    body = f"{IN} e = Gather<axis = 1>(r, evens) y = Conv(r, v) z = Conv(e, u)"
    after = optimized(_model(body, "y, z", evens=ints(0, 2, 4), u=(4, 3, 1, 1)), "permute")
    assert sorted(after.ops) == ["Conv", "Conv", "Conv", "Relu", "Slice"]
    assert sorted(after.weights()) == [[4, 3, 1, 1], [4, 6, 1, 1], [6, 3, 1, 1]]


SELECTED = {
    "Gather": ("q = Gather<axis = 1>(r, some)", [4, 5, 1]),
    "Slice": ("q = Slice(r, n3, n6, n1)", [3, 4, 5]),
    "Slice by twos": ("q = Slice(r, n1, n6, n1, n2)", [1, 3, 5]),
    "Slice backwards": ("q = Slice(r, end, front, n1, back2)", [5, 3, 1]),
    "half of a Split": ("q, z = Split<axis = 1>(r, threes)", [0, 1, 2]),
}


@pytest.mark.parametrize("name", SELECTED)
def test_channels_that_nobody_selects_are_not_computed(name: str) -> None:
    nodes, _ = SELECTED[name]
    some = {"some": ints(4, -1, 1), "threes": ints(3, 3)}
    ends = {"end": ints(-1), "front": ints(-99), "back2": ints(-2)}
    after = optimized(
        _model(f"{IN} {nodes} y = Conv(q, v)", v=(4, 3, 1, 1), **some, **ends), "permute"
    )
    assert after.ops == ["Conv", "Relu", "Conv"]
    assert after.weights() == [[3, 3, 1, 1], [4, 3, 1, 1]]
    assert [row["saved_macs"] for row in after.told["laws"]] == [after.saved]


def test_two_readers_of_interleaved_channels_get_stretches() -> None:
    body = (
        f"{IN} e = Slice(r, n0, n6, n1, n2) o = Slice(r, n1, n6, n1, n2) "
        "f = Relu(e) y = Conv(f, v) z = Conv(o, v)"
    )
    after = optimized(_model(body, "y, z", v=(4, 3, 1, 1)), "permute")
    assert sorted(after.ops) == ["Conv", "Conv", "Conv", "Relu", "Relu", "Split"]


def test_a_bias_between_two_changes_is_that_of_both() -> None:
    """Of one convolution the operand is put in another order, and of its result one half goes."""
    body = (
        f"{IN} p = Gather<axis = 1>(r, some) y = Conv(p, u) "
        "c = Conv(r, k, d) e, f = Split<axis = 1>(c, ones) z = Relu(e)"
    )
    more = {"some": ints(5, 3, 1), "u": (4, 3, 1, 1), "k": (2, 6, 1, 1), "d": (2,)}
    after = optimized(_model(body, "y, z", ones=ints(1, 1), **more), "permute")
    assert after.weights() == [[6, 3, 1, 1], [4, 3, 1, 1], [1, 6, 1, 1]]
    assert not {"Gather", "Split"} & {*after.ops}


@pytest.mark.parametrize("opset", [11, 12, 13, 18, 22])
def test_units_of_shufflenet_keep_no_shuffle(opset: int) -> None:
    """Two units: half goes on as it is, half through a branch; joined, shuffled, cut again."""
    halves = ", split = [3, 3]" if opset < 13 else ""
    more = "" if opset < 13 else ", threes"
    unit = (
        "{0}a, {0}b = Split<axis = 1" + halves + ">({1}" + more + ") {0}c = Conv({0}b, {0}k) "
        "{0}d = Conv<group = 3, pads = [1,1,1,1]>({0}c, d) {0}e = Relu({0}d) "
        "{0}f = Concat<axis = 1>({0}a, {0}e) "
    )
    body = (
        f"{IN} " + unit.format("A", "r") + _shuffle("Af", "p", "s") + " "
        + unit.format("B", "p") + _shuffle("Bf", "q", "s") + " y = Conv(q, v)"
    )  # fmt: skip
    weights = dict.fromkeys(("Ak", "Bk"), (3, 3, 1, 1)) | {"d": (3, 1, 3, 3)}
    constants = {**weights, "threes": ints(3, 3), **_sizes("s", 2, 6)}
    after = optimized(_model(body, opset=opset, **constants), "permute")
    assert not {"Transpose", "Reshape", "Gather"} & set(after.ops)


STAYS = {
    "an output": _shuffle("r", "y", "s"),
    "a grouped convolution": _shuffle("r", "q", "s") + " y = Conv<group = 2>(q, g)",
    "a softmax over channels": _shuffle("r", "q", "s") + " p = Softmax<axis = 1>(q) y = Conv(p, v)",
    "a flattened map": _shuffle("r", "q", "s") + " y = Reshape(q, flat)",
}


@pytest.mark.parametrize("name", STAYS)
def test_an_order_that_others_count_on_is_kept(name: str) -> None:
    constants = {**_sizes("s", 2, 6), "g": (4, 3, 1, 1), "flat": ints(2, -1)}
    after = optimized(_model(f"{IN} {STAYS[name]}", **constants), "permute")
    assert after.laws == set()


def test_channels_taken_twice() -> None:
    body = f"{IN} q = Gather<axis = 1>(r, twice) p = Relu(q) y = Conv(p, v)"
    optimized(_model(body, twice=ints(0, -1, 2, 2, 1), v=(4, 5, 1, 1)), "permute")


def test_outputs_keep_their_names() -> None:
    """Both gathers are the identity, and one is of an input."""
    body = "y = Gather<axis = 1>(x, same) t = Relu(y) z = Gather<axis = 1>(t, same) a = Abs(t)"
    optimized(_model(body, "y, z, a, t", same=ints(0, 1, 2)), "permute")


LAST = {
    "gather": "q = Gather<axis = 2>(r, order) y = MatMul(q, k)",
    "gather of positions": "q = Gather<axis = 1>(r, order) y = MatMul(q, k)",
    "concat": "c = Concat<axis = -1>(r, r) y = MatMul(c, kk)",
    "split": "f, g = Split<axis = 2>(r, threes) y = MatMul(g, k3)",
}


@pytest.mark.parametrize("name", LAST)
def test_channels_on_the_last_axis_are_left_as_they_are(name: str) -> None:
    constants = {
        "w": (3, 6),
        "k": (6, 4),
        "kk": (12, 4),
        "k3": (3, 4),
        "order": ints(5, 0, 1, 2, 4, 3),
        "threes": ints(3, 3),
    }
    body = f"t = MatMul(x, w) r = Relu(t) {LAST[name]}"
    used = {k: v for k, v in constants.items() if f" {k})" in body}
    proto = model(body, "float[2,6,3] x", "y", used)
    assert optimized(proto, "permute").laws == set()


@pytest.mark.parametrize("free", ["N", "N,H,W"])
def test_exports_that_compute_their_bounds(free: str) -> None:
    """Shape → Gather → Div gives the middle of the channels, whose number is fixed."""
    body = (
        f"{IN} s = Shape(r) c = Gather(s, one) h = Div(c, two) m = Unsqueeze(h, n0) "
        "f = Slice(r, n0, m, n1) g = Slice(r, m, far, n1) q = Concat<axis = 1>(g, f) y = Conv(q, v)"
    )
    constants = {**W, "n0": ints(0), "n1": ints(1), "far": ints(99)}
    constants |= {"one": np.array(1), "two": np.array(2)}
    inputs = {"N": "float[N,3,4,7] x", "N,H,W": "float[N,3,H,W] x"}[free]
    proto = model(body, inputs, "y", constants)
    after = optimized(proto, "permute", {"N": 2, "H": 3, "W": 5}, {"N": 1, "H": 1, "W": 2})
    assert after.ops == ["Conv", "Relu", "Conv"]


def test_a_shuffle_of_what_a_linear_layer_takes_for_positions_stays() -> None:
    """The layer's channels are on the last axis; the shuffle moves those on the second."""
    body = (
        "t = MatMul(x, w) r = Relu(t) c = Add(r, r) a = Reshape(c, s) "
        "b = Transpose<perm = [0, 2, 1, 3, 4]>(a) d = Reshape(b, e) y = Conv(d, v)"
    )
    sizes = {"s": np.array([0, 2, 5, 4, 2]), "e": np.array([0, 10, 4, 2])}
    proto = model(body, "float[1,10,4,5] x", "y", {"w": (5, 2), "v": (3, 10, 1, 1), **sizes})
    assert optimized(proto, "permute").laws == set()


def test_stretches_of_an_input_that_each_take_an_operator_stay() -> None:
    body = "f = Slice(x, n1, n2, n1) g = Slice(x, n2, n3, n1) y = Concat<axis = 1>(g, f)"
    assert optimized(_model(body), "permute", profile=COUNTING).laws == set()


def test_a_stretch_within_another_stays_if_a_concat_would_join_its_parts() -> None:
    body = "f = Slice(x, n1, n3, n1) g = Slice(x, n1, n2, n1) y = Relu(f) z = Abs(g)"
    assert optimized(_model(body, "y, z"), "permute", profile=COUNTING).laws == set()


def test_a_choice_of_channels_on_both_sides_of_a_product() -> None:
    """What the product is known to read goes before its weight is reindexed."""
    body = (
        "a = Gather<axis = 1>(x, both) b = Gather<axis = 1>(a, n0) m = MatMul(b, w) "
        "y = Slice(m, n0, n6, n1, n2)"
    )
    numbers = {f"n{k}": ints(k) for k in (0, 1, 2, 6)}
    proto = model(body, "float[3,2] x", "y", {"both": ints(0, 1), "w": (1, 5), **numbers})
    assert optimized(proto, "permute").weights("MatMul") == [[1, 3]]


CUTS = {
    "slice": ("p = Slice(k, n2, n8, n1)", {}),
    "slice with int32": ("p = Slice(k, i2, i8, i1)", {}),
    "split": ("p, q = Split<axis = 1>(k, parts)", {"parts": ints(6, 3)}),
    "gather": ("p = Gather<axis = 1>(k, order)", {"order": ints(8, 0, 3, 3, 1, 5)}),
    "concat of cuts": (
        "p2 = Slice(k, n0, n2, n1) p4 = Slice(k, n2, n6, n1) p = Concat<axis = 1>(p4, p2)", {}),
}  # fmt: skip


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("after", ["y = Conv(s, v)", "r = Relu(s) y = Conv(r, v)"])
@pytest.mark.parametrize("opset", [11, 17])
def test_a_constant_is_cut_as_it_was(cut: str, after: str, opset: int) -> None:
    """Nobody stores its channels in another order, so moves of them stay, or are folded."""
    body, constants = CUTS[cut]
    if opset < 13:
        body = body.replace("Split<axis = 1>(k, parts)", "Split<axis = 1, split = [6, 3]>(k)")
    more = {"n8": ints(8), **{f"i{k}": np.int32([k]) for k in (1, 2, 8)}, **constants}
    shapes = {"w": (6, 3, 1, 1), "b": (6,), "v": (4, 6, 1, 1), "k": (1, 9, 4, 7)}
    optimized(_model(f"t = Conv(x, w, b) {body} s = Add(t, p) {after}", opset=opset, **shapes,
                     **more), "permute")  # fmt: skip


@pytest.mark.parametrize("cut", ["slice", "split", "gather"])
def test_the_pass_alone_leaves_what_is_cut(cut: str) -> None:
    """Whether or not somebody folded the cut before."""
    body, constants = CUTS[cut]
    given = {"n1": ints(1), "n2": ints(2), "n8": ints(8), "k": (1, 9, 4, 7), **W, **constants}
    words = body.replace("(", " ").replace(")", " ").replace(",", " ").split()
    used = {name: value for name, value in given.items() if name in [*words, *W]}
    proto = model(f"t = Conv(x, w, b) {body} s = Add(t, p) y = Conv(s, v)", X, "y", used)
    made = read(proto)
    infer(made)
    list(relabel(Task(made, Sizes(made), COUNTING)))
    (before,), (now,) = run(proto, feed(proto)), run(to_proto(made), feed(proto))
    assert differences(before, now) == []


def test_what_has_no_known_size_is_left_in_its_order() -> None:
    """Of nothing every order costs the same: a concat was put in another one, fifty times."""
    body = "s = Add(x, z) t = Conv(s, v) c = Concat<axis = 1>(t, x, t) y = Conv(c, w)"
    weights = {"v": (1, 1, 1, 1), "w": (2, 3, 1, 1)}
    proto = model(body, "float[N,1,A,B] x, float[N,1,C,D] z", constants=weights)
    found = read(proto)
    infer(found)
    sizes = Sizes(found)
    assert sizes.shape(found.graph[2].outputs[0]) is None
    assert list(relabel(Task(found, sizes, DEFAULT))) == []
