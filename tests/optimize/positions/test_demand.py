"""demand: what strided readers skip is not computed, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from onebyone.cost.profile import Profile

from ...graphs.text import integers, model
from ..exact import ANY_WIDTH, COUNTING, killed, optimized

X = "float[2,3,9,7] x"
W = {"w": (5, 3, 3, 3), "b": (5,), "v": (4, 5, 1, 1)}
STRIDED = "Conv<strides = [2, 1]>"


def _between(nodes: str, extra: str = "", **constants: object):  # type: ignore[no-untyped-def]
    """A 3×3, these nodes from t to r, and a 1×1 of strides (2, 1)."""
    body = f"t = Conv<pads = [1,1,1,1]>(x, w, b) {nodes} y = {STRIDED}(r, v)"
    return model(body, X + extra, "y", {**W, **constants})


ONE = integers("s", (5, 1, 1))
ON_THE_WAY = {
    "Relu": ("r = Relu(t)", {}),
    "Clip": (
        "r = Clip(t, lo, hi)",
        {"lo": np.array(-9, np.float32), "hi": np.array(20, np.float32)},
    ),
    "PRelu": ("r = PRelu(t, s)", {"s": ONE}),
    "per-channel Add": ("u = Relu(t) r = Add(u, s)", {"s": ONE}),
    "a scalar": ("u = Relu(t) r = Mul(s, u)", {"s": np.array(3, np.float32)}),
    "Max of two": ("u = Relu(t) n = Neg(t) r = Max(u, n)", {}),
    "BatchNormalization": (
        "u = Relu(t) r = BatchNormalization<epsilon = 0.25>(u, s, s, s, q)",
        {"s": ONE.reshape(5), "q": np.full(5, 3.75, np.float32)},
    ),
    "Where": ("u = Relu(t) r = Where(c, u, t)", {"c": np.array(True)}),
    "a constant of each position": ("r = Mul(t, s)", {"s": (2, 5, 9, 7)}),
    "a constant along one side": ("u = Add(t, s) r = Mul(u, q)", {"s": (9, 1), "q": (1, 7)}),
    "a diamond": ("a = Relu(t) m = Neg(t) c = Abs(m) r = Sub(a, c)", {}),
}


@pytest.mark.parametrize("name", ON_THE_WAY)
def test_the_stride_goes_back_through(name: str) -> None:
    nodes, constants = ON_THE_WAY[name]
    after = optimized(_between(nodes, **constants), "demand")
    assert after.attribute("Conv", "strides") == [[2, 1], [1, 1]]
    assert after.saved == 2 * (9 - 5) * 7 * 5 * 27
    assert "AveragePool" not in after.ops


def test_through_a_concat_to_every_part() -> None:
    body = f"t = Conv(x, w) a = Relu(t) n = Neg(t) c = Concat<axis = -3>(a, n) y = {STRIDED}(c, v)"
    after = optimized(model(body, X, "y", {**W, "v": (4, 10, 1, 1)}), "demand")
    assert after.attribute("Conv", "strides") == [[2, 1], [1, 1]]


def test_through_a_1x1_and_on_to_what_is_behind_it() -> None:
    body = f"t = Conv(x, w) a = Relu(t) u = Conv(a, k) r = Relu(u) y = {STRIDED}(r, v)"
    after = optimized(model(body, X, "y", {**W, "k": (5, 5, 1, 1)}), "demand")
    assert after.attribute("Conv", "strides") == [[2, 1], [1, 1], [1, 1]]


@pytest.mark.parametrize(
    ("spatial", "kernel", "stride"), [([9], [3], [2]), ([5, 3, 4], [3, 1, 3], [1, 2, 2])]
)
def test_in_one_and_three_dimensions(
    spatial: list[int], kernel: list[int], stride: list[int]
) -> None:
    ones = [1] * len(spatial)
    body = f"t = Conv(x, w) r = Relu(t) y = Conv<strides = {stride}>(r, v)"
    shape = ",".join(map(str, [2, 3, *spatial]))
    proto = model(body, f"float[{shape}] x", "y", {"w": (5, 3, *kernel), "v": (4, 5, *ones)})
    assert optimized(proto, "demand").attribute("Conv", "strides") == [stride, ones]


def test_strides_multiply_with_padding_dilation_and_groups() -> None:
    body = (
        "t = Conv<strides = [2, 3], pads = [2, 0, 1, 1], dilations = [2, 1], group = 3>(x, w) "
        "r = Relu(t) y = Conv<strides = [2, 2]>(r, v)"
    )
    proto = model(body, "float[2,3,17,19] x", "y", {"w": (6, 1, 3, 2), "v": (4, 6, 1, 1)})
    assert optimized(proto, "demand").attribute("Conv", "strides") == [[4, 6], [1, 1]]


@pytest.mark.parametrize(
    "pool",
    [
        "MaxPool<kernel_shape = [3, 2], pads = [1, 0, 1, 1], strides = [1, 1]>",
        "AveragePool<kernel_shape = [2, 2], pads = [1, 1, 0, 0], count_include_pad = 1>",
    ],
)
@pytest.mark.parametrize("profile", [COUNTING, ANY_WIDTH])
def test_pools_take_the_stride(pool: str, profile: Profile) -> None:
    body = f"p = {pool}(x) t = Conv(p, w) r = Relu(t) y = Conv<strides = [2, 2]>(r, v)"
    proto = model(body, X, "y", {"w": (5, 3, 1, 1), "v": (4, 5, 1, 1)})
    after = optimized(proto, "demand", profile=profile)
    assert after.attribute("Conv", "strides") == [[1, 1], [1, 1]]
    assert [2, 2] in after.attribute(pool.partition("<")[0], "strides")


@pytest.mark.parametrize("pool", ["AveragePool", "MaxPool"])
def test_a_pool_of_one_position_goes_and_leaves_its_name(pool: str) -> None:
    body = f"t = Conv(x, w) r = Relu(t) y = {pool}<kernel_shape = [1, 1], strides = [2, 2]>(r)"
    after = optimized(model(body, X, "y", {"w": (5, 3, 3, 3)}), "demand")
    assert after.ops == ["Conv", "Relu"]


def test_two_outputs_that_become_one_value() -> None:
    pool = "<kernel_shape = [1, 1], strides = [2, 2]>(r)"
    body = f"t = Conv(x, w) r = Relu(t) y = AveragePool{pool} z = MaxPool{pool}"
    after = optimized(model(body, X, "y, z", {"w": (5, 3, 3, 3)}), "demand")
    assert after.ops == ["Conv", "Relu", "Identity"]


def test_two_readers_that_skip_the_same() -> None:
    body = f"t = Conv(x, w) r = Relu(t) y = {STRIDED}(r, v) z = {STRIDED}(r, u)"
    after = optimized(model(body, X, "y, z", {**W, "u": (2, 5, 1, 1)}), "demand")
    assert after.attribute("Conv", "strides") == [[2, 1], [1, 1], [1, 1]]


RESIDUAL = (
    "t = Conv<pads = [1,1,1,1]>(x, w) r = Relu(t) a = Add(r, s) "
    "y = Conv<strides = [2, 2]>(a, v) z = Abs(s)"
)


@pytest.mark.parametrize("kind", ["float", "float16"])
def test_what_others_read_whole_is_subsampled(kind: str) -> None:
    inputs = f"{kind}[2,3,9,7] x, {kind}[2,5,9,7] s"
    dtype = np.float32 if kind == "float" else np.float16
    weights = {k: integers(k, W[k]).astype(dtype) for k in ("w", "v")}
    outputs = f"{kind}[2,4,5,4] y, {kind}[2,5,9,7] z"
    after = optimized(model(RESIDUAL, inputs, outputs, weights), "demand", profile=COUNTING)
    assert after.ops.count("AveragePool") == 1
    assert after.attribute("Conv", "strides")[0] == [2, 2]


def test_positions_put_together_of_single_ones_are_subsampled_behind() -> None:
    body = (
        "t = Conv<pads = [1,1,1,1]>(x, w, b) c = Concat<axis = 2>(p, q) r = Add(t, c) "
        f"y = {STRIDED}(r, v)"
    )
    inputs = "float[2,3,2,1] x, float[2,5,1,1] p, float[2,5,1,1] q"
    after = optimized(model(body, inputs, "y", W), "demand", profile=COUNTING)
    assert sorted(after.ops) == ["Add", "AveragePool", "Concat", "Conv", "Conv"]


def test_float64_is_subsampled_by_a_slice() -> None:
    body = (
        "t = MaxPool<kernel_shape = [3, 3]>(x) a = Max(t, s) "
        "y = MaxPool<kernel_shape = [1, 1], strides = [2, 3]>(a)"
    )
    inputs = "double[2,3,20,21] x, double[2,3,18,19] s"
    machine = type(COUNTING)(peak=1.0, bandwidth=1e3, overhead=1e-9, resize=1e-9, transpose=1e-3)
    proto = model(body, inputs, "double[2,3,9,7] y")
    after = optimized(proto, "demand", profile=machine)
    assert after.ops == ["MaxPool", "Slice", "Max"] or after.ops == ["Slice", "MaxPool", "Max"]
    assert after.attribute("MaxPool", "strides") == [[2, 3]]


@pytest.mark.parametrize("opset", [11, 13, 17, 20, 22])
def test_in_every_version(opset: int) -> None:
    proto = model(RESIDUAL, X + ", float[2,5,9,7] s", "y, z", W, opset=opset)
    assert optimized(proto, "demand", profile=COUNTING).saved > 0


def test_with_free_sizes() -> None:
    body = "t = Conv(x, w) r = Relu(t) y = Conv<strides = [2, 2]>(r, v)"
    proto = model(body, "float[N,3,H,W] x", "y", W)
    after = optimized(proto, "demand", {"N": 2, "H": 9, "W": 6}, {"N": 1, "H": 4, "W": 3})
    assert after.attribute("Conv", "strides") == [[2, 2], [1, 1]]


READERS = {
    "another stride": ("y = Conv<strides = [2, 2]>(r, v) z = Conv<strides = [3, 3]>(r, v)", "y, z"),
    "a reader that skips nothing": ("y = Conv<strides = [2, 2]>(r, v) z = Neg(r)", "y, z"),
    "a reader on the way": ("n = Neg(r) y = Conv<strides = [2, 2]>(n, v) z = Abs(r)", "y, z"),
    "a 3×3 of stride two": ("y = Conv<strides = [2, 2]>(r, k)", "y"),
    "a padded 1×1": ("y = Conv<strides = [2, 2], pads = [1, 0, 0, 1]>(r, v)", "y"),
    "sizes rounded up": (
        "y = MaxPool<kernel_shape = [1, 1], strides = [2, 2], ceil_mode = 1>(r)",
        "y",
    ),
    "an output itself": ("y = Conv<strides = [2, 2]>(r, v)", "y, r"),
}


@pytest.mark.parametrize("name", READERS)
def test_a_reader_that_needs_more(name: str) -> None:
    readers, outputs = READERS[name]
    constants = {**W, "k": (4, 5, 3, 3)}
    proto = model(f"t = Conv(x, w) r = Relu(t) {readers}", X, outputs, constants)
    assert optimized(proto, "demand", profile=COUNTING).laws == set()


PRODUCERS = {
    "SAME padding": 't = Conv<auto_pad = "SAME_UPPER">(x, w) r = Relu(t)',
    "a pool that rounds up": "t = MaxPool<kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1>"
    "(x) r = Conv(t, k)",
    "a softmax over positions": "t = Conv(x, w) u = Hardmax<axis = 2>(t) r = Hardmax<axis = 3>(u)",
    "batch statistics": "t = Conv(x, w) r, m, q = BatchNormalization<training_mode = 1>"
    "(t, g, g, g, g)",
}


@pytest.mark.parametrize("name", PRODUCERS)
def test_a_producer_that_stays(name: str) -> None:
    constants = {
        "w": (5, 3, 3, 3),
        "v": (4, 5, 1, 1),
        "k": (5, 3, 1, 1),
        "g": np.ones(5, np.float32),
    }
    body = f"{PRODUCERS[name]} y = Conv<strides = [2, 2]>(r, v)"
    used = {k: c for k, c in constants.items() if f" {k}" in body or f"({k}" in body}
    proto = model(body, X, "y", used)
    strides = optimized(proto, "demand", profile=COUNTING).attribute("Conv", "strides")
    assert strides[-1] == [2, 2] or name == "a pool that rounds up"


ALONG_ONE_SIDE = {
    "another stride": (
        "r = Relu(t) y = Conv<strides = [2, 2]>(r, v) z = Conv<strides = [1, 2]>(r, v)",
        "y, z",
        [[1, 2], [2, 1], [1, 1]],
    ),
    "a 1×1 that is padded": (
        "r = Relu(t) y = Conv<strides = [2, 2], pads = [1, 0, 0, 0]>(r, v)",
        "y",
        [[1, 2], [2, 1]],
    ),
    "a kernel of 3×1": ("r = Relu(t) y = Conv<strides = [2, 2]>(r, q)", "y", [[1, 2], [2, 1]]),
    "a softmax of the other": (
        "r = Hardmax<axis = 2>(t) y = Conv<strides = [2, 2]>(r, v)",
        "y",
        [[1, 2], [2, 1]],
    ),
}


@pytest.mark.parametrize("name", ALONG_ONE_SIDE)
def test_a_stride_may_move_along_one_side_only(name: str) -> None:
    nodes, outputs, strides = ALONG_ONE_SIDE[name]
    proto = model(f"t = Conv(x, w, b) {nodes}", X, outputs, {**W, "q": (4, 5, 3, 1)})
    after = optimized(proto, "demand", profile=COUNTING)
    assert after.attribute("Conv", "strides") == strides
    assert after.saved == 2 * 7 * (5 - 3) * 5 * 27


def test_a_crop_and_a_stride_of_one_value() -> None:
    body = f"t = Conv(x, w, b) r = Relu(t) y = {STRIDED}(r, v) z = Slice(r, i, j, k)"
    bounds = {"i": np.array([1]), "j": np.array([3]), "k": np.array([2])}
    proto = model(body, "float[2,3,15,7] x", "y, z", {**W, "w": (5, 3, 1, 1), **bounds})
    after = optimized(proto, "demand", profile=COUNTING)
    assert after.saved == 2 * (15 - 9) * 7 * 15  # 1, and every second one
    assert after.attribute("Conv", "strides") == [[1, 1], [1, 1]]


def test_a_crop_behind_a_strided_1x1() -> None:
    body = "t = Conv(x, w, b) r = Relu(t) u = Conv<strides = [2, 1]>(r, v) y = Slice(u, i, j, k)"
    bounds = {"i": np.array([1]), "j": np.array([3]), "k": np.array([2])}
    after = optimized(model(body, X, "y", {**W, **bounds}), "demand", profile=COUNTING)
    # Rows 2 and 4 of seven are left, which windows 2 and 4 of a stride of two see.
    assert after.ops == ["Slice", "Conv", "Relu", "Conv"]
    assert after.attribute("Conv", "strides") == [[2, 1], [1, 1]]
    assert after.saved == 2 * 5 * ((7 - 2) * 5 * 27 + (4 - 2) * 5 * 4)


@pytest.mark.parametrize("start", [0, 1])
def test_a_crop_of_a_strided_1x1_of_what_others_read(start: int) -> None:
    body = f"t = {STRIDED}(x, w, b) y = Slice(t, i, j, k) z = Abs(x)"
    bounds = {"i": np.array([start]), "j": np.array([start + 2]), "k": np.array([2])}
    proto = model(body, X, "y, z", {**W, "w": (5, 3, 1, 1), **bounds})
    after = optimized(proto, "demand", profile=COUNTING)
    assert sorted(after.ops) == ["Abs", "Conv", "Slice"]
    assert after.attribute("Conv", "strides") == [[1, 1]]
    assert after.saved == 2 * (5 - 2) * 7 * 15


def test_strides_of_strides_on_axes_of_any_size() -> None:
    body = f"t = Conv<strides = [1, 3]>(x, w) r = Relu(t) u = {STRIDED}(r, q) y = {STRIDED}(u, v)"
    proto = model(body, "float[N,3,H,W] x", "y", {**W, "q": (5, 5, 1, 1)})
    sizes = {"N": 2, "H": 13, "W": 9}, {"N": 1, "H": 4, "W": 3}
    after = optimized(proto, "demand", *sizes, shapes={"x": (2, 3, 13, 9)})
    assert after.attribute("Conv", "strides") == [[4, 3], [1, 1], [1, 1]]


def test_a_reader_in_a_subgraph_needs_all() -> None:
    body = (
        "t = Conv(x, w) r = Relu(t) c = ReduceMax<keepdims = 0>(x) d = Greater(c, o) "
        "z = Conv<strides = [2, 2]>(r, v) y = If(d) <"
        "then_branch = g () => (float[2,4,4,3] q) {q = Conv<strides = [2, 2]>(r, v)}, "
        "else_branch = h () => (float[2,4,4,3] k) {k = Neg(z)}>"
    )
    constants = {"w": (5, 3, 3, 3), "v": (4, 5, 1, 1), "o": np.array(0, np.float32)}
    proto = model(body, X, "float[2,4,4,3] y, z", constants)
    assert optimized(proto, "demand", profile=COUNTING).laws == set()


def test_not_where_subsampling_costs_more_than_it_saves() -> None:
    body = (
        "t = Conv<group = 5>(x, w) r = Relu(t) a = Add(r, s) b = Add(a, q) c = Add(b, p) "
        "y = Conv<strides = [2, 2]>(c, v) z = Sum(s, q, p)"
    )
    inputs = ", ".join(f"float[2,5,9,7] {name}" for name in "xsqp")
    proto = model(body, inputs, "y, z", {"w": (5, 1, 1, 1), "v": (4, 5, 1, 1)})
    assert optimized(proto, "demand").laws == set()


def test_an_empty_map_is_left_alone() -> None:
    body = "t = Conv(x, w) r = Relu(t) y = Conv<strides = [2, 2]>(r, v)"
    proto = model(body, "float[0,3,9,7] x", "y", {**W, "v": killed("v", (4, 5, 1, 1))})
    assert optimized(proto, "demand").saved == 0
