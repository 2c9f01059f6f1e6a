"""prune: dead channels leave the weights, and constants enter the next bias."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from ...graphs.laws.case import batch_norm, norm
from ...graphs.text import integers, model
from ..exact import Outcome, killed, optimized

X = "float[2,3,5,7] x"
V = {"v": (4, 6, 1, 1)}
DEAD = killed("w", (6, 3, 1, 1), rows=(1, 4))


def _stored(after: Outcome, name: str) -> np.ndarray:
    (tensor,) = (t for t in after.proto.graph.initializer if t.name == name)
    return numpy_helper.to_array(tensor)


def test_columns_that_are_zero_take_what_makes_them_along() -> None:
    constants = {"w": (6, 3, 3, 3), "v": killed("v", (4, 6, 1, 1), columns=(0, 5))}
    proto = model("t = Conv(x, w) r = Relu(t) y = Conv(r, v)", X, "y", constants)
    assert optimized(proto, "prune").weights() == [[4, 3, 3, 3], [4, 4, 1, 1]]


CONSTANTS_PASS = {
    "Relu": ("r = Relu(t)", {}),
    "Clip without an end": ('r = Clip(t, "", e)', {"e": np.array(1, np.float32)}),
    "PRelu": ("r = PRelu(t, s)", {"s": (6, 1, 1)}),
    "BatchNormalization": (f"n = {batch_norm('t', 'n')} r = Relu(n)", norm("n", 6)),
    "per-channel arithmetic": (
        "m = Mul(s, t) a = Add(m, s) q = Sub(s, a) r = Abs(q)",
        {"s": (6, 1, 1)},
    ),
    "Pow": ("r = Pow(t, e)", {"e": np.array(2, np.float32)}),
    "Max and Min": ("a = Max(t, s) r = Min(a, q)", {"s": (6, 1, 1), "q": (1, 6, 1, 1)}),
    "MaxPool with padding": ("r = MaxPool<kernel_shape = [3, 3], pads = [1,1,1,1]>(t)", {}),
    "AveragePool": ("r = AveragePool<kernel_shape = [2, 2]>(t)", {}),
    "unpadded depthwise": ("r = Conv<group = 6>(t, k)", {"k": (6, 1, 2, 3)}),
    "a depthwise 1×1": ("r = Conv<group = 6>(t, k, b)", {"k": (6, 1, 1, 1)}),
    "GlobalMaxPool": ("r = GlobalMaxPool(t)", {}),
    "Mean": ("r = Mean(t, s)", {"s": (6, 1, 1)}),
    "Where": ("r = Where(m, t, s)", {"m": np.arange(6).reshape(6, 1, 1) % 3 > 0, "s": (6, 1, 1)}),
    "Identity and Cast": ("i = Identity(t) r = Cast<to = 1>(i)", {}),
}


@pytest.mark.parametrize("name", CONSTANTS_PASS)
def test_constants_pass_and_enter_the_next_bias(name: str) -> None:
    nodes, constants = CONSTANTS_PASS[name]
    proto = model(f"t = Conv(x, w, b) {nodes} y = Conv(r, v)", X, "y",
                  {"w": DEAD, "b": (6,), **V, **constants})  # fmt: skip
    after = optimized(proto, "prune")
    assert after.weights()[0] == [4, 3, 1, 1]
    assert after.weights()[-1] == [4, 4, 1, 1]


def test_sigmoid_of_zero_is_a_half() -> None:
    proto = model("t = Conv(x, w) s = Sigmoid(t) y = Conv(s, v)", X, "y",
                  {"w": np.zeros((6, 3, 1, 1), np.float32), **V})  # fmt: skip
    after = optimized(proto, "prune")
    bias = _stored(after, after.proto.graph.node[-1].input[2])
    half = integers("v", V["v"])[:, 1:, 0, 0].sum(1) / 2
    assert (bias == half).all()
    assert after.weights() == [[1, 3, 1, 1], [4, 1, 1, 1]]  # of no channels one stays


KEEPS = {
    "a padded 3×3 after a constant": (
        "r = Relu(t) y = Conv<pads = [1,1,0,0]>(r, v)",
        {"v": (4, 6, 3, 3), "b": np.ones(6, np.float32)},
    ),
    "a padded depthwise": (
        "r = Conv<group = 6, pads = [1,0,0,0]>(t, k) y = Conv(r, v)",
        {"k": (6, 1, 2, 2), **V},
    ),
    "a pool that counts its padding": (
        "r = AveragePool<kernel_shape = [2, 2], pads = [1,1,1,1], count_include_pad = 1>(t) "
        "y = Conv(r, v)",
        V,
    ),
    "zero padding": ("r = Pad(t, p) y = Conv(r, v)", {"p": np.array([0, 0, 1, 1] * 2), **V}),
    "a residual that varies": (
        "z = Conv(x, k) r = Add(t, z) y = Conv(r, v)",
        {"k": (6, 3, 1, 1), **V},
    ),
    "groups of which one needs all": ("y = Conv<group = 3>(t, v)", {"v": (3, 2, 1, 1)}),
    "a softmax over channels": ("r = Softmax<axis = 1>(t) y = Conv(r, v)", V),
    "an output": ("y = Relu(t)", {}),
    "every second channel": (
        "r = Slice(t, i, j, i, k) y = Conv(r, v)",
        {"i": np.array([1]), "j": np.array([6]), "k": np.array([2]), "v": (4, 3, 1, 1)},
    ),
    "groups of channels": (
        "g = Reshape(t, s) n = InstanceNormalization(g, i, j) r = Reshape(n, u) y = Conv(r, v)",
        {"s": np.array([2, 2, -1]), "u": np.array([2, 6, 5, 7]), "i": (2,), "j": (2,), **V},
    ),
    "a size that is read": ("s = Shape(t) y = Reshape(t, s)", {}),
    "an LpPool": ("r = LpPool<kernel_shape = [2, 2]>(t) y = Conv(r, v)", V),
}  # fmt: skip


@pytest.mark.parametrize("name", KEEPS)
def test_channels_stay_before(name: str) -> None:
    nodes, constants = KEEPS[name]
    proto = model(f"t = Conv(x, w, b) {nodes}", X, "y", {"w": DEAD, "b": (6,), **constants})
    after = optimized(proto, "prune")
    assert after.weights()[0] == [6, 3, 1, 1]
    assert after.laws == set()


def test_a_constant_of_zero_passes_padding() -> None:
    proto = model("t = Conv(x, w) r = Relu(t) y = Conv<pads = [1,1,1,1]>(r, v)", X, "y",
                  {"w": DEAD, "v": (4, 6, 3, 3)})  # fmt: skip
    assert optimized(proto, "prune").weights() == [[4, 3, 1, 1], [4, 4, 3, 3]]


def test_a_concat_is_followed_into_its_parts() -> None:
    body = "t = Conv(x, w) r = Relu(t) u = Conv(x, k) c = Concat<axis = 1>(r, u, r) y = Conv(c, v)"
    dead = killed("v", (4, 14, 1, 1), columns=(0, 6, 8))
    after = optimized(
        model(body, X, "y", {"w": (6, 3, 1, 1), "k": (2, 3, 1, 1), "v": dead}), "prune"
    )
    assert after.weights() == [[5, 3, 1, 1], [1, 3, 1, 1], [4, 11, 1, 1]]


def test_a_residual_goes_where_both_sides_are_dead() -> None:
    body = "t = Conv(x, w) u = Conv(x, k) a = Add(t, u) r = Relu(a) y = Conv(r, v)"
    both = {"w": DEAD, "k": killed("k", (6, 3, 1, 1), rows=(4, 5)), **V}
    after = optimized(model(body, X, "y", both), "prune")
    assert after.weights() == [[5, 3, 1, 1], [5, 3, 1, 1], [4, 5, 1, 1]]


def test_what_nobody_reads_of_a_residual_goes_with_all_its_makers() -> None:
    body = "t = Conv(x, w) u = Conv(x, k) a = Add(t, u) r = Relu(a) y = Conv(r, v) z = Conv(u, v)"
    unread = {"w": (6, 3, 1, 1), "k": (6, 3, 1, 1), "v": killed("v", (4, 6, 1, 1), columns=(2,))}
    after = optimized(model(body, X, "y, z", unread), "prune")
    assert [shape[0] for shape in after.weights()[:2]] == [5, 5]


def test_squeeze_and_excite_gates_go_along() -> None:
    body = (
        "t = Conv(x, w) r = Relu(t) p = GlobalAveragePool(r) s = Conv(p, k) g = Relu(s) "
        "e = Conv(g, q) m = Mul(r, e) y = Conv(m, v)"
    )
    constants = {"w": DEAD, "k": (2, 6, 1, 1), "q": (6, 2, 1, 1), **V}
    proto = model(body, "float[2,3,4,8] x", "y", constants)  # 32 positions: exact means
    after = optimized(proto, "prune")
    assert after.weights() == [[4, 3, 1, 1], [2, 4, 1, 1], [4, 2, 1, 1], [4, 4, 1, 1]]


def test_depthwise_convolutions_lose_their_group() -> None:
    body = "t = Conv(x, w) d = Conv<group = 6, pads = [1,1,1,1]>(t, k) r = Relu(d) y = Conv(r, v)"
    after = optimized(model(body, X, "y", {"w": DEAD, "k": (6, 1, 3, 3), **V}), "prune")
    assert after.weights() == [[4, 3, 1, 1], [4, 1, 3, 3], [4, 4, 1, 1]]
    assert [a.i for n in after.proto.graph.node for a in n.attribute if a.name == "group"] == [4]


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 2.0])
def test_linear_layers(beta: float) -> None:
    body = (
        f"t = Gemm<transB = 1>(x, w, b) r = Relu(t) y = Gemm<alpha = 2.0, beta = {beta}>(r, v, c)"
    )
    constants = {"w": killed("w", (6, 3), rows=(0,)), "b": (6,), "v": (6, 4), "c": (4,)}
    after = optimized(model(body, "float[5,3] x", "y", constants), "prune")
    assert after.weights("Gemm") == [[5, 3], [5, 4]]


def test_tokens_lose_zeros_but_keep_constants_that_no_bias_takes() -> None:
    body = "t = MatMul(x, w) a = Add(t, b) r = Relu(a) y = MatMul(r, v)"
    w, b = killed("w", (3, 6), columns=(1, 4)), np.array([1, 0, 2, 1, 3, 1], np.float32)
    after = optimized(model(body, "float[2,7,3] x", "y", {"w": w, "b": b, "v": (6, 4)}), "prune")
    assert after.weights("MatMul") == [[3, 5], [5, 4]]


def test_a_product_of_constants_alone_is_kept_where_no_bias_takes_it() -> None:
    body = "t = MatMul(x, w) a = Add(t, b) y = MatMul(a, v)"
    constants = {
        "w": killed("w", (3, 6), columns=(1, 4)),
        "b": integers("b", (6,)),
        "v": killed("v", (6, 4), rows=(0, 2, 3, 5)),
    }
    after = optimized(model(body, "float[2,7,3] x", "y", constants), "prune")
    assert after.weights("MatMul") == [[3, 2], [2, 4]]


def test_a_matrix_from_the_left() -> None:
    body = "t = MatMul(w, x) r = Relu(t) y = MatMul(v, r)"
    constants = {"w": killed("w", (6, 3), rows=(1,)), "v": (4, 6)}
    after = optimized(model(body, "float[2,3,7] x", "y", constants), "prune")
    assert [list(t.dims) for t in after.proto.graph.initializer] == [[5, 3], [4, 5]]


def test_pools_over_the_last_axis_of_tokens_mix_channels() -> None:
    body = "t = MatMul(x, w) p = MaxPool<kernel_shape = [3], pads = [1, 1]>(t) y = MatMul(p, v)"
    constants = {"w": (3, 6), "v": killed("v", (6, 4), rows=(2,))}
    assert optimized(model(body, "float[2,7,3] x", "y", constants), "prune").laws == set()


def test_views_with_written_sizes() -> None:
    body = (
        "t = Conv(x, w) r = Relu(t) f = Reshape(r, s) p = Transpose<perm = [0, 2, 1]>(f) "
        "y = MatMul(p, v)"
    )
    constants = {"w": DEAD, "s": np.array([2, 6, 35]), "v": (6, 4)}
    after = optimized(model(body, X, "y", constants), "prune")
    assert after.weights("MatMul") == [[4, 4]]


def test_a_value_that_a_subgraph_reads_stays() -> None:
    body = (
        "t = Conv(x, w) r = Relu(t) c = ReduceMax<keepdims = 0>(x) d = Greater(c, o) "
        "z = Conv(r, v) y = If(d) <then_branch = g () => (float[2,6,5,7] q) {q = Abs(r)}, "
        "else_branch = h () => (float[2,6,5,7] k) {k = Neg(r)}>"
    )
    constants = {"w": DEAD, "o": np.array(0, np.float32), **V}
    proto = model(body, X, "float[2,6,5,7] y, z", constants)
    assert optimized(proto, "prune").weights()[0] == [6, 3, 1, 1]


def test_a_bias_that_overflows_keeps_its_channels_and_no_others() -> None:
    body = "t = Conv(x, w, b) r = Relu(t) u = Conv(r, v) s = Relu(u) y = Conv(s, k)"
    constants = {
        "w": DEAD.astype(np.float16),
        "b": np.full(6, 300, np.float16),
        "v": np.full((4, 6, 1, 1), 200, np.float16),  # 2 · 300 · 200 > 65504
        "k": killed("k", (2, 4, 1, 1), columns=(3,)).astype(np.float16),
    }
    after = optimized(model(body, "float16[2,3,5,7] x", "float16[2,2,5,7] y", constants), "prune")
    assert after.weights() == [[6, 3, 1, 1], [3, 6, 1, 1], [2, 3, 1, 1]]


def test_what_is_chosen_by_a_computed_mask_is_not_known() -> None:
    body = "t = Conv(x, w) h = Conv(x, g) m = Greater(h, o) r = Where(m, t, s) y = Conv(r, v)"
    constants = {"w": DEAD, "g": (6, 3, 1, 1), "o": np.array(0, np.float32), "s": (6, 1, 1), **V}
    assert optimized(model(body, X, "y", constants), "prune").laws == set()


@pytest.mark.parametrize("partial", ["Log", "Acosh", "Reciprocal"])
def test_partial_functions_keep_numbers_that_they_are_defined_for(partial: str) -> None:
    """Nobody reads channel 2 of l, but it is tied to one of t that is read: it is computed, and
    the logarithm of what is left of it would be infinite, times a weight of zero no number."""
    body = (
        f"c = Conv(x, w) r = Clip(c, o, o) p = Conv(r, i) l = {partial}(p) t = Conv(x, w) "
        "s = Add(l, t) y = Conv(s, k) z = Conv(t, v)"
    )
    constants = {"w": (6, 3, 1, 1), "o": np.array(1, np.float32), **V}
    constants["i"] = np.eye(6, dtype=np.float32).reshape(6, 6, 1, 1)
    constants["k"] = killed("k", (4, 6, 1, 1), columns=(2,))
    proto = model(body, X, "y, z", constants)
    assert optimized(proto, "prune").weights()[0] == [6, 3, 1, 1]


def test_a_constant_is_added_to_the_bias_that_is_there() -> None:
    constants = {"w": DEAD, "b": np.arange(1, 7, dtype=np.float32), **V, "c": (4,)}
    proto = model("t = Conv(x, w, b) r = Relu(t) y = Conv(r, v, c)", X, "y", constants)
    after = optimized(proto, "prune")
    columns = integers("v", V["v"])[:, [1, 4], 0, 0]
    wanted = columns @ np.array([2, 5]) + integers("c", (4,))
    assert (_stored(after, after.proto.graph.node[-1].input[2]) == wanted).all()


def test_inputs_keep_their_channels() -> None:
    proto = model("r = Relu(x) y = Conv(r, v)", X, "y",
                  {"v": killed("v", (4, 3, 1, 1), columns=(1,))})  # fmt: skip
    assert optimized(proto, "prune").laws == set()


def test_with_free_sizes() -> None:
    proto = model("t = Conv(x, w) r = Relu(t) y = Conv(r, v)", "float[N,3,H,W] x", "y",
                  {"w": DEAD, **V})  # fmt: skip
    after = optimized(proto, "prune", {"N": 2, "H": 3, "W": 1}, {"N": 1, "H": 1, "W": 4})
    assert after.weights() == [[4, 3, 1, 1], [4, 4, 1, 1]]


@pytest.mark.parametrize("rest", [-1, 6])
def test_channels_may_go_where_a_shape_is_read_for_its_batch_only(rest: int) -> None:
    """Flatten as exporters write it."""
    sizes = {"z": np.array([0]), "o": np.array([1]), "m": np.array([rest])}
    nodes = "g = GlobalAveragePool(t) s = Shape(g) n = Slice(s, z, o) d = Concat<axis = 0>(n, m)"
    proto = model(f"t = Conv(x, w) {nodes} f = Reshape(g, d) y = Gemm<transB = 1>(f, v)",
                  "float[N,3,5,4] x", "y", {"w": DEAD, "v": (4, 6), **sizes})  # fmt: skip
    assert optimized(proto, "prune", {"N": 2}).weights()[0] == [4, 3, 1, 1]
