"""demand: positions that a crop or a pick leaves out are not computed, and nothing else changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from ...graphs.text import integers, model
from ..exact import COUNTING, Outcome, optimized

TOKENS = "float[2,7,3] x"  # (N, L, C)
TOKEN_W = {"w": (3, 5), "b": (5,), "v": (5, 4)}
MAP = "float[2,3,9,7] x"
INDEX = {"first": np.array(0), "last": np.array(-1), "two": np.array([5, 1])}


def bounds(start: int, stop: int, axis: int, step: int = 1) -> dict[str, np.ndarray]:
    """The operands of a Slice, named s, e, a, t."""
    return {k: np.array([n]) for k, n in zip("seat", (start, stop, axis, step), strict=True)}


def cut(proto: ModelProto, *sizes: dict[str, int], **options: Any) -> Outcome:
    """Apply the law on a machine where only multiply-accumulates cost."""
    return optimized(proto, "demand", *sizes, **{"profile": COUNTING, **options})


def tokens(
    nodes: str, *sizes: dict[str, int], inputs: str = TOKENS, **constants: object
) -> Outcome:
    """A linear layer on tokens, these nodes from t to r, the first token of r, another layer."""
    body = f"m = MatMul(x, w) t = Add(m, b) {nodes} c = Gather<axis = 1>(r, first) y = MatMul(c, v)"
    known = {**TOKEN_W, "first": INDEX["first"], **constants}
    return cut(model(body, inputs, "y", known), *sizes)  # type: ignore[arg-type]


ROW = integers("g", (5,))
ON_THE_WAY: dict[str, tuple[str, dict[str, object]]] = {
    "Relu": ("r = Relu(t)", {}),
    "a bias per channel": ("r = Add(t, g)", {"g": ROW}),
    "a constant of all tokens": ("r = Mul(t, g)", {"g": (7, 5)}),
    "a constant of all tokens and samples": ("r = Mul(g, t)", {"g": (2, 7, 1)}),
    "a scalar": ("r = Mul(t, g)", {"g": np.array(3, np.float32)}),
    "Clip": ("r = Clip(t, g)", {"g": np.array(-3, np.float32)}),
    "Dropout": ("r = Dropout(t)", {}),
    "Identity": ("i = Identity(t) r = Neg(i)", {}),
    "Cast": ("d = Cast<to = 11>(t) h = Cast<to = 1>(d) r = Relu(h)", {}),
    "Where": ("q = Greater(t, g) r = Where(q, t, g)", {"g": ROW}),
    "Max of two": ("n = Neg(t) r = Max(t, n)", {}),
    "a square": ("r = Mul(t, t)", {}),
    "another product": ("u = Relu(t) r = MatMul(u, g)", {"g": (5, 5)}),
    "products side by side": (
        "u = Unsqueeze(t, at) p = MatMul(u, g) s = Squeeze(p, at) r = Relu(s)",
        {"g": (7, 5, 5), "at": np.array([2])},
    ),
    "an argmax over channels": ("r = Hardmax<axis = -1>(t)", {}),
    "a maximum over channels": ("o = ReduceMax<axes = [-1]>(t) r = Sub(t, o)", {}),
    "a sum over channels": (
        "o = ReduceSum<keepdims = 0>(t, at) u = Unsqueeze(o, at) r = Add(t, u)",
        {"at": np.array([2])},
    ),
    "heads": (
        "h = Reshape(t, s) p = Transpose<perm = [0, 2, 1, 3]>(h) u = Relu(p) "
        "q = Transpose<perm = [0, 2, 1, 3]>(u) r = Reshape(q, z)",
        {"s": np.array([2, 7, 5, 1]), "z": np.array([0, -1, 5])},
    ),
    "a concat of channels": (
        "u = Relu(t) n = Neg(t) o = Concat<axis = 2>(u, n) r = MatMul(o, g)",
        {"g": (10, 5)},
    ),
    "a split of channels": (
        "i, j = Split<axis = 2>(t, z) u = Relu(i) o = Concat<axis = 2>(j, u) r = Neg(o)",
        {"z": np.array([2, 3])},
    ),
    "a slice of channels": ("o = Slice(t, z, k, z) r = Concat<axis = 2>(o, t, o) ", {}),
}
ON_THE_WAY["a slice of channels"] = (
    "o = Slice(t, i, j, k) u = Concat<axis = 2>(o, t) r = MatMul(u, g)",
    {"i": np.array([1]), "j": np.array([4]), "k": np.array([2]), "g": (8, 5)},
)


@pytest.mark.parametrize("name", ON_THE_WAY)
def test_one_token_goes_back_through(name: str) -> None:
    nodes, constants = ON_THE_WAY[name]
    after = tokens(nodes, **constants)
    inner = 2 * 6 * 5 * {"another product": 3 + 5, "products side by side": 3 + 5}.get(name, 3)
    inner += 2 * 6 * 5 * {"a concat of channels": 10, "a slice of channels": 8}.get(name, 0)
    assert after.saved == inner
    assert after.ops.index("Slice") < after.ops.index("MatMul")


def test_where_another_reads_all_its_tokens_are_selected() -> None:
    body = "m = MatMul(x, w) r = Add(m, q) c = Gather<axis = 1>(r, first) y = Relu(c) z = Abs(q)"
    known = {"w": (3, 5), "first": INDEX["first"]}
    after = cut(model(body, TOKENS + ", float[2,7,5] q", "y, z", known))
    assert after.ops.count("Slice") == 2
    assert after.saved == 2 * 6 * 15


def test_what_is_selected_twice_alike_is_selected_once() -> None:
    body = (
        "m = MatMul(x, w) n = MatMul(x, u) a = Relu(m) d = Mul(a, n) c = Gather<axis = 1>(d, last) "
        "y = Relu(c)"
    )
    after = cut(model(body, TOKENS, "y", {"w": (3, 5), "u": (3, 5), "last": INDEX["last"]}))
    assert after.ops.count("Slice") == 1
    assert after.saved == 2 * 2 * 6 * 15


# What takes positions -----------------------------------------------------------------------------

PICKS: dict[str, tuple[str, dict[str, np.ndarray], int]] = {
    "one of the middle": ("y = Gather<axis = 1>(r, i)", {"i": np.array(4)}, 1),
    "the last": ("y = Gather<axis = -2>(r, i)", {"i": np.array(-1)}, 1),
    "some, in another order": ("y = Gather<axis = 1>(r, i)", {"i": np.array([5, 1, 2])}, 3),
    "some twice": ("y = Gather<axis = 1>(r, i)", {"i": np.array([5, 1, 5])}, 2),
    "one, kept as an axis": ("y = Gather<axis = 1>(r, i)", {"i": np.array([-2])}, 1),
    "a stretch": ("y = Slice(r, s, e, a, t)", bounds(2, 5, 1), 3),
    "from the end": ("y = Slice(r, s, e, a, t)", bounds(-3, -1, 1), 2),
    "every third": ("y = Slice(r, s, e, a, t)", bounds(0, 2**31 - 1, 1, 3), 3),
    "backwards, by twos": ("y = Slice(r, s, e, a, t)", bounds(-2, -(2**31), -2, -2), 3),
    "a piece": ("u, y, q = Split<axis = 1>(r, i)", {"i": np.array([2, 4, 1])}, 4),
    "a crop": ("y = Pad(r, i)", {"i": np.array([0, -2, 0, 0, -1, 0])}, 4),
    "two readers": (
        "y = Gather<axis = 1>(r, i) z = Slice(r, s, e, a, t)",
        {"i": np.array(0), **bounds(4, 6, 1)},
        3,
    ),
    "a slice of a slice": (
        "k = Slice(r, s, e, a, t) l = Relu(k) y = Gather<axis = 1>(l, i) z = Slice(l, u, e, a)",
        {"i": np.array(-1), "u": np.array([2]), **bounds(1, 6, 1, 2)},
        1,
    ),
}


@pytest.mark.parametrize("name", PICKS)
def test_what_takes_positions(name: str) -> None:
    reader, constants, count = PICKS[name]
    outputs = "y, z" if " z =" in reader else "y"
    body = f"m = MatMul(x, w) r = Relu(m) {reader}"
    after = cut(model(body, TOKENS, outputs, {"w": (3, 5), **constants}))
    assert after.saved == 2 * (7 - count) * 15


@pytest.mark.parametrize(
    ("split", "length", "piece"), [("axis = 1, split = [2, 4, 1]", 7, 4), ("axis = 1", 6, 2)]
)
def test_pieces_in_older_opsets(split: str, length: int, piece: int) -> None:
    body = f"m = MatMul(x, w) r = Relu(m) u, y, q = Split<{split}>(r)"
    after = cut(model(body, f"float[2,{length},3] x", "y", {"w": (3, 5)}, opset=11))
    assert after.saved == 2 * (length - piece) * 15


def test_two_axes_at_once() -> None:
    body = "t = Conv(x, w) r = Relu(t) y = Slice(r, s, e)"
    constants = {"s": np.array([0, 0, 2, 3]), "e": np.array([2, 5, -1, 5])}
    after = cut(model(body, MAP, "y", {"w": (5, 3, 1, 1), **constants}))
    assert after.saved == 2 * 15 * (63 - 6 * 2)
    assert after.ops == ["Slice", "Conv", "Relu"]


def test_a_selector_whose_operand_is_cut_along_another_axis() -> None:
    body = "m = MatMul(x, w) k = Gather<axis = 1>(m, i) l = Relu(k) y = Gather<axis = 2>(l, j)"
    known = {"w": (3, 5), "i": np.array([-3, 4, -3]), "j": np.array([2])}
    assert cut(model(body, TOKENS, "y", known)).saved == 2 * (7 - 1) * 15


def test_a_sample_of_the_batch() -> None:
    body = "t = Conv<pads = [1,1,1,1]>(x, w) r = Relu(t) y = Gather<axis = 0>(r, last)"
    after = cut(model(body, MAP, "y", {"w": (5, 3, 3, 3), "last": INDEX["last"]}))
    assert after.saved == 63 * 5 * 27


def test_outputs_keep_their_names() -> None:
    body = "m = MatMul(x, w) r = Relu(m) y = Slice(r, s, e, a) z = Slice(r, s, e, a)"
    known = {k: v for k, v in bounds(1, 3, 1).items() if k != "t"}
    after = cut(model(body, TOKENS, "y, z", {"w": (3, 5), **known}))
    assert after.ops == ["Slice", "MatMul", "Relu", "Identity"]


# Attention ----------------------------------------------------------------------------------------

ATTENTION = (
    "q = MatMul(x, wq) k = MatMul(x, wk) v = MatMul(x, wv) "
    "q1 = Reshape(q, s) k1 = Reshape(k, s) v1 = Reshape(v, s) "
    "q2 = Transpose<perm = [0, 2, 1, 3]>(q1) k2 = Transpose<perm = [0, 2, 3, 1]>(k1) "
    "v2 = Transpose<perm = [0, 2, 1, 3]>(v1) a = MatMul(q2, k2) h = {act}(a{mask}) "
    "o = MatMul(h, v2) o1 = Transpose<perm = [0, 2, 1, 3]>(o) o2 = Reshape(o1, z) "
    "p = MatMul(o2, wo) r = Add(p, x) "
)
HEADS = {"wq": (6, 6), "wk": (6, 6), "wv": (6, 6), "wo": (6, 6)}
TARGETS = {"s": np.array([0, -1, 2, 3]), "z": np.array([0, -1, 6])}


def _queries(length: int, left: int, batch: int = 2) -> int:
    """Of the query, its scores, their sum of values, and the projection: what one row costs."""
    return batch * (length - left) * (6 * 6 + 2 * 2 * length * 3 + 6 * 6)


@pytest.mark.parametrize(("act", "mask"), [("Hardmax", ""), ("Relu", ""), ("Add", ", m")])
def test_attention_for_one_query(act: str, mask: str) -> None:
    body = ATTENTION.format(act=act, mask=mask) + "c = Gather<axis = 1>(r, first) y = Relu(c)"
    given = {"m": (2, 1, 7, 7)} if mask else {}
    known = {**HEADS, **TARGETS, "first": INDEX["first"], **given}
    after = cut(model(body, "float[2,7,6] x", "y", known))
    assert after.saved == _queries(7, 1)


@pytest.mark.parametrize("pick", ["c = Gather<axis = 1>(r, last)", "c = Slice(r, i, j, e)"])
def test_attention_of_any_length(pick: str) -> None:
    body = ATTENTION.format(act="Add", mask=", m") + f"{pick} y = Relu(c)"
    ends = {"i": np.array([-1]), "j": np.array([2**31 - 1]), "e": np.array([1])}
    known = {**HEADS, **TARGETS, **({"last": INDEX["last"]} if "last" in pick else ends)}
    proto = model(body, "float[N,L,6] x, float[N,1,L,L] m", "y", known)
    sizes = [{"N": 2, "L": 7}, {"N": 1, "L": 1}, {"N": 3, "L": 12}]
    after = cut(proto, *sizes, shapes={"x": (2, 7, 6), "m": (2, 1, 7, 7)})
    assert after.saved == _queries(7, 1)


def test_columns_of_a_product() -> None:
    body = (
        "a = MatMul(x, w) k = Relu(a) q = Transpose<perm = [0, 2, 1]>(k) p = MatMul(u, q) "
        "y = Slice(p, s, e, a2)"
    )
    known = {"w": (3, 5), "s": np.array([1]), "e": np.array([4]), "a2": np.array([2])}
    after = cut(model(body, TOKENS + ", float[2,6,5] u", "y", known))
    assert after.saved == 2 * (7 - 3) * (15 + 6 * 5)


@pytest.mark.parametrize(
    ("rank", "mask"), [(4, ""), (4, ", m"), (3, ", m")], ids=["heads", "masked", "side by side"]
)
def test_the_attention_operator(rank: int, mask: str) -> None:
    shape = [2, 2, 7, 3] if rank == 4 else [2, 7, 6]
    heads = "" if rank == 4 else "<q_num_heads = 2, kv_num_heads = 2>"
    text = ",".join(map(str, shape))
    axis = rank - 2
    body = (
        f"q = Neg(x) r = Attention{heads}(q, k, v{mask}) a = Relu(r) "
        f"y = Gather<axis = {axis}>(a, first)"
    )
    inputs = ", ".join(f"float[{text}] {name}" for name in "xkv")
    known = {"first": INDEX["first"], **({"m": (7, 7)} if mask else {})}
    proto = model(body, inputs, "y", known, opset=23, ir_version=10)
    after = optimized_closely(proto)
    assert after == 2 * 2 * 6 * 2 * 7 * 3


def optimized_closely(proto: ModelProto) -> int:
    """What is saved where a softmax rounds: verified, and within what float32 allows."""
    from onebyone.optimize import optimize

    result = optimize(proto, only=["demand"], profile=COUNTING)
    assert result.report.certificate is not None
    assert result.report.certificate.passed
    return result.report.before.macs - result.report.after.macs


# Convolutions and pools ---------------------------------------------------------------------------

WINDOWS: dict[str, tuple[str, list[int], list[int], int]] = {
    "a crop of the middle": ("Conv<pads = [1,1,1,1]>", [2, 2], [7, 5], 5 * 3),
    "up to a border": ("Conv<pads = [1,1,1,1]>", [0, 3], [4, 7], 4 * 4),
    "one position": ("Conv<pads = [1,1,1,1]>", [0, 6], [1, 7], 1),
    "strided": ("Conv<pads = [2,1,0,1], strides = [2,1]>", [1, 1], [4, 6], 3 * 5),
    "dilated": ("Conv<pads = [2,2,2,2], dilations = [2,2]>", [3, 0], [6, 3], 9),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_a_crop_behind_a_kernel(name: str) -> None:
    op, start, stop, left = WINDOWS[name]
    body = f"t = {op}(x, w, b) r = Relu(t) y = Slice(r, s, e, a)"
    known = {"s": np.array(start), "e": np.array(stop), "a": np.array([2, 3])}
    proto = model(body, MAP, "y", {"w": (5, 3, 3, 3), "b": (5,), **known})
    whole = 5 * 7 if name == "strided" else 63
    after = cut(proto)
    assert after.saved == 2 * (whole - left) * 5 * 27


def test_halos_grow_from_kernel_to_kernel() -> None:
    body = (
        "t = Conv<pads = [1,1]>(x, w) r = Relu(t) u = Conv<pads = [1,1]>(r, v) q = Relu(u) "
        "y = Slice(q, s, e, a)"
    )
    known = {"s": np.array([4]), "e": np.array([6]), "a": np.array([2])}
    after = cut(model(body, "float[2,3,12] x", "y", {"w": (5, 3, 3), "v": (4, 5, 3), **known}))
    assert after.saved == 2 * ((12 - 4) * 45 + (12 - 2) * 60)
    assert after.ops == ["Slice", "Conv", "Relu", "Conv", "Relu"]


@pytest.mark.parametrize("kind", ["fixed", "free"])
def test_every_other_position_becomes_a_stride(kind: str) -> None:
    body = "t = Conv<pads = [1,1,1,1], strides = [1,2]>(x, w) r = Relu(t) y = Slice(r, s, e, a, t2)"
    known = {"s": np.array([0, 0]), "e": np.array([2**31 - 1] * 2), "a": np.array([2, 3])}
    inputs = MAP if kind == "fixed" else "float[N,3,H,W] x"
    proto = model(body, inputs, "y", {"w": (5, 3, 3, 3), **known, "t2": np.array([2, 3])})
    sizes = [{"N": 2, "H": 9, "W": 7}] + ([] if kind == "fixed" else [{"N": 1, "H": 4, "W": 6}])
    after = cut(proto, *sizes)
    assert after.ops == ["Conv", "Relu"]
    assert after.attribute("Conv", "strides") == [[2, 6]]


@pytest.mark.parametrize("hop", [1, 3, 9])
def test_the_first_position_alone_is_a_stride_in_every_spelling(hop: int) -> None:
    body = "t = Conv(x, w) r = Relu(t) y = Slice(r, s, e, a, h)"
    known = {"s": np.array([0]), "e": np.array([hop]), "a": np.array([3]), "h": np.array([hop])}
    after = cut(model(body, "float[2,3,9,2] x", "y", {"w": (5, 3, 1, 1), **known}))
    assert after.ops == ["Conv", "Relu"]
    assert after.attribute("Conv", "strides") == [[1, 2]]


@pytest.mark.parametrize(("hop", "left"), [(1, 4), (2, 11)])
def test_a_single_tap_that_is_padded_is_cropped_and_gets_no_stride(hop: int, left: int) -> None:
    """OpenVINO moves such a stride past the padding, and then cannot add what follows."""
    body = "t = Conv<pads = [1,1]>(x, w) r = Relu(t) y = Slice(r, s, e, a, h)"
    numbers = {"s": 0, "e": 99 if hop > 1 else 4, "a": 2, "h": hop}
    known = {name: np.array([n]) for name, n in numbers.items()}
    after = cut(model(body, "float[2,3,9] x", "y", {"w": (5, 3, 1), **known}))
    assert after.saved == 2 * 15 * (11 - left)
    assert after.attribute("Conv", "strides") in ([], [[1]])


@pytest.mark.parametrize(
    "pool",
    [
        "MaxPool<kernel_shape = [3, 2], pads = [1, 0, 1, 1]>",
        "AveragePool<kernel_shape = [2, 2], pads = [1, 1, 0, 0]>",
        "AveragePool<kernel_shape = [2, 2], pads = [1, 1, 0, 0], count_include_pad = 1>",
    ],
)
def test_a_crop_behind_a_pool(pool: str) -> None:
    body = f"t = Conv(x, w) p = {pool}(t) y = Slice(p, s, e, a)"
    known = {"s": np.array([3]), "e": np.array([5]), "a": np.array([2])}
    after = cut(model(body, "float[2,4,9,7] x", "y", {"w": (4, 4, 1, 1), **known}))
    assert after.saved > 0


# What stays ---------------------------------------------------------------------------------------

STAYS: dict[str, tuple[str, str, dict[str, object]]] = {
    "a reader of all": ("y = Gather<axis = 1>(r, i) z = Abs(r)", "y, z", {"i": np.array(1)}),
    "an output": ("y = Gather<axis = 1>(r, i)", "y, r", {"i": np.array(1)}),
    "readers that take all together": (
        "y = Slice(r, s, e, a) z = Slice(r, e, f, a)",
        "y, z",
        {"s": np.array([0]), "e": np.array([3]), "f": np.array([7]), "a": np.array([1])},
    ),
    "a flip": ("y = Slice(r, s, e, a, t)", "y", bounds(-1, -99, 1, -1)),
    "a maximum over tokens": (
        "k = ReduceMax<axes = [1]>(r) q = Sub(r, k) y = Gather<axis = 1>(q, i)",
        "y",
        {"i": np.array(1)},
    ),
    "a softmax over tokens": (
        "q = Hardmax<axis = 1>(r) y = Gather<axis = 1>(q, i)",
        "y",
        {"i": np.array(1)},
    ),
    "a padding": ("y = Pad(r, i)", "y", {"i": np.array([0, -2, 0, 0, 1, 0])}),
    "channels": ("y = Gather<axis = 2>(r, i)", "y", {"i": np.array(1)}),
    "two pieces": ("y, u, z = Split<axis = 1>(r, i)", "y, z", {"i": np.array([2, 4, 1])}),
    "tokens in a channel axis": (
        "q = Reshape(r, u) y = Gather<axis = 1>(q, i)",
        "y",
        {"u": np.array([2, 35]), "i": np.array(1)},
    ),
    "an index of two axes": ("y = Gather<axis = 1>(r, i)", "y", {"i": np.array([[1], [2]])}),
}


@pytest.mark.parametrize("name", STAYS)
def test_where_all_is_computed(name: str) -> None:
    reader, outputs, constants = STAYS[name]
    proto = model(
        f"m = MatMul(x, w) r = Relu(m) {reader}",
        TOKENS,
        outputs,
        {"w": (3, 5), **constants},  # type: ignore[dict-item]
    )
    assert cut(proto).laws == set()


PRODUCERS: dict[str, str] = {
    "batch statistics": "r, m, q = BatchNormalization<training_mode = 1>(t, g, g, g, g)",
    "sizes rounded up": "r = MaxPool<kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1>(t)",
    "padding by itself": 'r = MaxPool<kernel_shape = [2, 2], auto_pad = "SAME_UPPER">(t)',
    "a softmax over positions": "r = Hardmax<axis = 2>(t)",
    "a linear resize": 'r = Resize<mode = "linear">(t, , n)',
    "a normalisation over positions": "r = LayerNormalization<axis = 2>(t, k)",
}


@pytest.mark.parametrize("name", PRODUCERS)
def test_a_producer_that_needs_all(name: str) -> None:
    body = f"t = Conv(x, w) {PRODUCERS[name]} y = Slice(r, s, e, a)"
    known = {
        **{k: v for k, v in bounds(0, 2, 2).items() if k != "t"},
        "g": np.ones(5, np.float32),
        "n": np.array([1, 1, 2, 1], np.float32),
        "k": np.ones((9, 7), np.float32),
    }
    used = {k: v for k, v in known.items() if k in "sea" or f", {k}" in PRODUCERS[name]}
    proto = model(body, MAP, "y", {"w": (5, 3, 1, 1), **used})
    assert cut(proto).laws == set()


def test_a_softmax_of_old_is_over_all_behind_its_axis() -> None:
    body = "m = MatMul(x, w) r = Hardmax<axis = 1>(m) y = Slice(r, s, e, a)"
    known = {"s": np.array([0]), "e": np.array([2]), "a": np.array([2])}
    proto = model(body, "float[2,7,4,3] x", "y", {"w": (3, 5), **known}, opset=11)
    assert cut(proto).laws == set()


def test_nothing_is_known_of_two_crops_of_a_free_axis() -> None:
    body = "m = MatMul(x, w) r = Relu(m) y = Gather<axis = 1>(r, i) z = Gather<axis = 1>(r, j)"
    known = {"w": (3, 5), "i": np.array(0), "j": np.array(-1)}
    proto = model(body, "float[N,L,3] x", "y, z", known)
    sizes = {"N": 2, "L": 4}, {"N": 1, "L": 1}
    assert cut(proto, *sizes).laws == set()


@pytest.mark.parametrize(("start", "stop"), [(2, 5), (-3, -1), (0, 3), (1, 2**31 - 1)])
def test_a_free_axis_may_end_before_the_crop(start: int, stop: int) -> None:
    body = "m = MatMul(x, w) r = Relu(m) y = Slice(r, s, e, a, t)"
    proto = model(body, "float[N,L,3] x", "y", {"w": (3, 5), **bounds(start, stop, 1)})
    sizes = [{"N": 2, "L": length} for length in (8, 4, 3, 1)]
    assert cut(proto, *sizes, shapes={"x": (2, 9, 3)}).saved > 0


def test_sizes_that_were_read_on_the_way_are_read_elsewhere() -> None:
    body = (
        "m = MatMul(x, w) h = Shape(m) r = Relu(m) c = Gather<axis = 1>(r, first) l = Relu(c) "
        "p = Gather<axis = 0>(h, k) y = Mul(l, f) f2 = Identity(f) z = Expand(u, p)"
    )
    known = {"w": (3, 5), "first": INDEX["first"], "k": np.array([1]), "f": np.array(2, np.float32)}
    proto = model(body, "float[N,L,3] x, float[1] u", "y, z", known)
    after = cut(proto, {"N": 2, "L": 6}, {"N": 1, "L": 1}, shapes={"x": (2, 6, 3), "u": (1,)})
    assert after.saved == 2 * 5 * 15


def test_sizes_that_stand_nowhere_else_are_read_where_they_are() -> None:
    body = (
        "t = Conv<strides = [2]>(x, w) h = Shape(t) r = Relu(t) c = Gather<axis = 2>(r, first) "
        "y = Relu(c) p = Gather<axis = 0>(h, k) z = Expand(u, p)"
    )
    known = {"w": (5, 3, 1), "first": INDEX["first"], "k": np.array([2])}
    proto = model(body, "float[N,3,L] x, float[1] u", "y, z", known)
    assert cut(proto, {"N": 2, "L": 6}, shapes={"x": (2, 3, 6), "u": (1,)}).laws == set()


def test_a_reader_in_a_subgraph_needs_all() -> None:
    body = (
        "t = MatMul(x, w) r = Relu(t) c = ReduceMax<keepdims = 0>(x) d = Greater(c, o) "
        "z = Gather<axis = 1>(r, first) y = If(d) <"
        "then_branch = g () => (float[2,5] q) {q = Gather<axis = 1>(r, first)}, "
        "else_branch = h () => (float[2,5] k) {k = Neg(z)}>"
    )
    known = {"w": (3, 5), "first": INDEX["first"], "o": np.array(0, np.float32)}
    assert cut(model(body, TOKENS, "float[2,5] y, z", known)).laws == set()


def test_not_where_selecting_costs_more_than_it_saves() -> None:
    body = "m = MatMul(x, w) r = Add(m, q) y = Slice(r, s, e, a, t) z = Abs(q)"
    known = {"w": (1, 64), **bounds(1, 99, 1)}
    inputs = "float[2,70,1] x, float[2,70,64] q"
    assert optimized(model(body, inputs, "y, z", known), "demand").laws == set()
    assert cut(model(body, inputs, "y, z", known)).saved == 2 * 64


def test_nothing_without_a_product() -> None:
    body = "r = Relu(x) y = Gather<axis = 1>(r, first)"
    assert cut(model(body, TOKENS, "y", {"first": INDEX["first"]})).laws == set()


def test_an_empty_axis_is_left_alone() -> None:
    body = "m = MatMul(x, w) r = Relu(m) y = Slice(r, s, e, a, t)"
    proto = model(body, "float[2,0,3] x", "y", {"w": (3, 5), **bounds(0, 1, 1)})
    assert cut(proto).saved == 0
