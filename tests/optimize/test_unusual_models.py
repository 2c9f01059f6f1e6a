"""Models that are more than a chain of float32 operators: nothing in them may be broken."""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onebyone.errors import CheckFailed, OnebyoneError
from onebyone.graph.write import to_proto
from onebyone.optimize import optimize
from onebyone.verify.verify import verify

from ..graphs.run import differences, run
from ..graphs.text import feed, integers, model
from .exact import rewritten

X = "float[2,5,4,8] x"
CHAIN = "t = Conv(x, w, b) y = Conv(t, v, c)"
WEIGHTS = {"w": (8, 5, 1, 1), "b": (8,), "v": (4, 8, 1, 1), "c": (4,)}
CHAIN_MACS, COMPOSED_MACS = 64 * (40 + 32), 64 * 20


def _assert_equal(a: ModelProto, b: ModelProto, *feeds: dict[str, np.ndarray]) -> None:
    given = feeds or (feed(a),)
    for left, right in zip(run(a, *given), run(b, *given), strict=True):
        assert differences(left, right) == []


def _operators(proto: ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in proto.graph.node)


def _constants(proto: ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def test_an_initialiser_that_callers_may_override_is_no_constant() -> None:
    proto = model(CHAIN, X + ", float[8,5,1,1] w", constants=WEIGHTS)
    after, told = rewritten(proto)
    other = {**feed(proto), "w": integers("other", (8, 5, 1, 1))}
    _assert_equal(proto, after, feed(proto), other)
    assert told["after"]["macs"] == CHAIN_MACS


def test_before_ir_version_4_every_initialiser_is_listed_and_constant() -> None:
    inputs = X + ", float[8,5,1,1] w, float[8] b, float[4,8,1,1] v, float[4] c"
    proto = model(CHAIN, inputs, constants=WEIGHTS, opset=11, ir_version=3)
    after, told = rewritten(proto)
    _assert_equal(proto, after)
    assert told["after"]["macs"] == COMPOSED_MACS


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_weights_are_composed_in_float64_and_rounded_once(dtype: Any) -> None:
    rng = np.random.default_rng(7)
    weights = {k: rng.standard_normal(shape).astype(dtype) for k, shape in WEIGHTS.items()}
    name = {np.float16: "float16", np.float32: "float"}.get(dtype, "bfloat16")
    proto = model(
        CHAIN, f"{name}[2,5,4,8] x", f"{name}[2,4,4,8] y", weights, opset=22, ir_version=10
    )
    after, _ = rewritten(proto)
    W, b, V, c = (weights[k].astype(np.float64).squeeze() for k in "wbvc")
    found = {array.ndim: array for array in _constants(after).values()}
    assert _operators(after) == {"Conv": 1}
    assert found[4].dtype == found[1].dtype == np.dtype(dtype)
    assert np.array_equal(found[4][:, :, 0, 0], (V @ W).astype(dtype))
    assert np.array_equal(found[1], (V @ b + c).astype(dtype))


def test_float64_stays_float64() -> None:
    # Integers over 3 and 5: float32 would not hold the products, float64 does to 2^-53.
    weights = {"w": integers("w", (5, 8)) / 3.0, "v": integers("v", (8, 4)) / 5.0}
    weights = {name: array.astype(np.float64) for name, array in weights.items()}
    body = "t = MatMul(x, w) y = MatMul(t, v)"
    proto = model(body, "double[2,7,5] x", "double[2,7,4] y", weights)
    after, told = rewritten(proto)
    (before,), (now,) = run(proto, feed(proto)), run(after, feed(proto))
    assert told["after"]["macs"] == 14 * 20
    assert now["y"].dtype == np.float64
    # Two dot products of 5 and 8 terms, |x| <= 4, |w| <= 2/3, |v| <= 2/5: each form errs by less
    # than (5 + 8 + 3 roundings) · 2^-53 · Σ|v||w||x| <= 16 · 2^-53 · 43, and there are two forms.
    assert np.abs(now["y"] - before["y"]).max() <= 2 * 16 * 43 * 2.0**-53


def test_model_local_functions_are_seen_through() -> None:
    functions = (
        '<domain: "local", opset_import: ["" : 17]> f (a, p, q) => (r) { r = Conv(a, p, q) }'
    )
    body = "t = local.f(x, w, b) y = local.f(t, v, c)"
    proto = model(body, X, "float[2,4,4,8] y", WEIGHTS, functions=functions)
    after, told = rewritten(proto)
    _assert_equal(proto, after)
    assert told["after"]["macs"] == COMPOSED_MACS


IF = """
    t = Conv(x, w, b)
    u = Conv(t, v, c)
    z = If (k) <
        then_branch = yes () => (float[2,4,4,8] p) { p = Conv(t, v) },
        else_branch = no () => (float[2,4,4,8] q) { q = Add(u, u) }
    >
    y = Conv(z, e)
"""


@pytest.mark.parametrize("choice", [True, False])
def test_values_that_a_branch_reads_are_kept(choice: bool) -> None:
    proto = model(IF, X + ", bool k", constants={**WEIGHTS, "e": (3, 4, 1, 1)})
    after, _ = rewritten(proto)
    _assert_equal(proto, after, {**feed(proto), "k": np.array(choice)})


LOOP = """
    t = Conv(x, w)
    s = Conv(t, v)
    y = Loop (n, go, s) <
        body = step (int64 i, bool c, float[2,4,4,8] a) => (bool d, float[2,4,4,8] o) {
            d = Identity(c)
            g = Conv(t, v)
            o = Add(a, g)
        }
    >
"""


def test_values_that_a_loop_reads_are_kept() -> None:
    constants = {"w": (8, 5, 1, 1), "v": (4, 8, 1, 1), "go": np.array(True)}
    proto = model(LOOP, X + ", int64 n", "float[2,4,4,8] y", constants)
    after, _ = rewritten(proto)
    _assert_equal(proto, after, {**feed(proto), "n": np.array(3)})


QDQ = """
    q = QuantizeLinear(x, s, o)
    d = DequantizeLinear(q, s, o)
    e = DequantizeLinear(w, s, o)
    t = Conv(d, e)
    r = QuantizeLinear(t, s, o)
    u = DequantizeLinear(r, s, o)
    f = DequantizeLinear(v, s, o)
    y = Conv(u, f)
"""


def test_quantised_regions_are_left_alone_and_said_to_be() -> None:
    constants = {
        "s": np.array(1.0, np.float32),
        "o": np.array(0, np.int8),
        "w": integers("w", (8, 5, 1, 1)).astype(np.int8),
        "v": integers("v", (4, 8, 1, 1)).astype(np.int8),
    }
    proto = model(QDQ, X, constants=constants)
    after, told = rewritten(proto)
    _assert_equal(proto, after)
    assert _operators(after) == _operators(proto)
    assert any("quanti" in row["reason"].lower() for row in told["refusals"])


def test_an_intermediate_value_that_is_an_output_is_still_there() -> None:
    proto = model(CHAIN, X, "y, t", WEIGHTS)
    after, told = rewritten(proto)
    _assert_equal(proto, after)
    assert told["after"]["macs"] <= CHAIN_MACS


@pytest.mark.parametrize("x", [X, "float[N,5,H,W] x"])
def test_a_shape_that_is_an_output_is_still_there(x: str) -> None:
    """Of a value that goes: its sizes are known, or read off the input."""
    body = "t = Conv(x, w, b) s = Shape(t) y = Conv(t, v, c)"
    proto = model(body, x, "float[n,c,h,w] y, int64[4] s", constants=WEIGHTS)
    after, told = rewritten(proto, shapes={"x": (2, 5, 4, 8)})
    _assert_equal(proto, after, feed(proto, N=2, H=4, W=8))
    assert told["after"]["macs"] == COMPOSED_MACS


def test_a_value_with_two_readers_serves_both() -> None:
    body = "t = Conv(x, w, b) y = Conv(t, v, c) z = Relu(t)"
    proto = model(body, X, "y, z", WEIGHTS)
    after, _ = rewritten(proto)
    _assert_equal(proto, after)


def test_one_weight_of_two_layers_is_changed_for_neither() -> None:
    body = "t = Conv(x, w) m = Mul(t, s) r = Relu(m) y = Conv(r, w)"
    outputs = "float[2,5,4,8] y, float[5,5,1,1] w"
    proto = model(body, X, outputs, {"w": (5, 5, 1, 1), "s": (5, 1, 1)})
    after, _ = rewritten(proto)
    _assert_equal(proto, after)


def test_unused_outputs_and_dead_nodes_do_not_matter() -> None:
    body = "a, d = Split<axis: int = 1>(x, k) t = Conv(a, w) m = Relu(d) y = Conv(t, v)"
    constants = {"k": np.array([2, 3]), "w": (8, 2, 1, 1), "v": (4, 8, 1, 1)}
    proto = model(body, X, constants=constants)
    after, told = rewritten(proto)
    _assert_equal(proto, after)
    assert told["after"]["macs"] == 64 * 8


def test_operators_of_other_domains_are_left_as_they_are() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["t"]),
        helper.make_node("Mystery", ["t"], ["u"], domain="example.org", level=3),
        helper.make_node("Conv", ["u", "v", "c"], ["y"]),
    ]
    shapes = {"x": (2, 5, 4, 8), "y": (2, 4, 4, 8)}
    x, y = (helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in shapes.items())
    constants = [numpy_helper.from_array(integers(k, s), k) for k, s in WEIGHTS.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("example.org", 1)]
    after, _ = rewritten(helper.make_model(graph, ir_version=8, opset_imports=opsets))
    kept = [node for node in after.graph.node if node.op_type == "Mystery"]
    assert [(node.domain, node.attribute[0].i) for node in kept] == [("example.org", 3)]


def _of_another_domain(op: str) -> ModelProto:
    x, y = (helper.make_tensor_value_info(k, TensorProto.FLOAT, (2, 5)) for k in "xy")
    nodes = [helper.make_node(op, ["x"], ["y"], domain="example.org")]
    graph = helper.make_graph(nodes, "g", [x], [y])
    opsets = [helper.make_opsetid("example.org", 1)]
    return helper.make_model(graph, ir_version=8, opset_imports=opsets)


def test_a_model_without_standard_operators_is_left_as_it_is() -> None:
    report = optimize(_of_another_domain("Mystery"), verify=False).report
    assert (report.laws, report.after) == ((), report.before)


def test_names_that_engines_repeat_do_not_make_messages_long() -> None:
    with pytest.raises(OnebyoneError) as caught:
        optimize(_of_another_domain("Long" * 10_000))
    assert len(str(caught.value)) < 1000


def test_one_value_as_two_outputs_stays_two() -> None:
    """PyTorch's TorchScript exporter writes `return y, y` so."""
    types = "float[2,4,5,7] y, float[2,4,5,7] y"
    proto = model("h = Conv(x, w) y = Conv(h, v)", "float[2,5,5,7] x", types, PAIR)
    once = model(
        "h = Conv(x, w) y = Conv(h, v)", "float[2,5,5,7] x", types[: types.index(", float")], PAIR
    )
    result = optimize(proto, lost_bits=inf)
    assert result.report.certificate is not None
    assert result.report.certificate.passed
    after = to_proto(result.model)
    assert [output.name for output in after.graph.output] == ["y", "y"]
    assert _operators(after) == {"Conv": 1}
    with pytest.raises(CheckFailed, match=r"A has outputs \['y', 'y'\], B has \['y'\]"):
        verify(proto, once)


PAIR = {"w": (6, 5, 1, 1), "v": (4, 6, 1, 1)}

DYNAMIC = """
    d = Shape(z)
    h = Slice(d, i2, i4)
    n = Slice(d, i0, i1)
    f = Reshape(z, flat)
    m = Transpose<perm=[0,2,1]>(f)
    u = MatMul(m, w)
    a = Add(u, b)
    q = Transpose<perm=[0,2,1]>(a)
    s = Concat<axis: int = 0>(n, k, h)
    i = Reshape(q, s)
    o = Shape(x)
    g = Slice(o, i2, i4)
    e = Concat<axis: int = 0>(n, k, g)
    l = Resize<mode = "linear">(i, "", "", e)
    j = Concat<axis: int = 1>(l, x)
    y = Conv(j, v)
"""


def test_a_decoder_with_run_time_sizes_saves_the_same_at_every_size() -> None:
    numbers = {f"i{k}": np.array([k]) for k in (0, 1, 2, 4)}
    shapes = {"flat": np.array([0, 7, -1]), "k": np.array([9])}
    weights = {"w": (7, 9), "b": (9,), "v": (4, 14, 1, 1)}
    inputs = "float[N,5,H,W] x, float[N,7,A,B] z"
    proto = model(DYNAMIC, inputs, "float[N,4,H,W] y", {**numbers, **shapes, **weights})
    sizes = {"x": (1, 5, 8, 12), "z": (1, 7, 4, 6)}
    after, told = rewritten(proto, shapes=sizes)
    feeds = [feed(proto, N=n, H=2 * a, W=2 * b, A=a, B=b) for n, a, b in [(1, 4, 6), (3, 1, 5)]]
    _assert_equal(proto, after, *feeds)
    assert told["before"]["macs"] == 24 * 63 + 96 * 56
    assert told["after"]["macs"] == 24 * 28 + 96 * 20


@pytest.mark.parametrize(
    ("after", "macs"),
    [
        ("y = Sub(p, q)", 4 * 4),
        ("r = Relu(p) s = Sigmoid(q) y = Concat<axis = 1>(r, s)", 2 * 4 * 4),
    ],
)
def test_an_expansion_goes_where_each_reader_alone_is_cheaper_without_it(
    after: str, macs: int
) -> None:
    """4 → 64 read by two 64 → 4, 768 multiply-accumulates a position."""
    body = f"a = Conv(x, w) p = Conv(a, v) q = Conv(a, u) {after}"
    weights = {"w": (64, 4, 1, 1), "v": (4, 64, 1, 1), "u": (4, 64, 1, 1)}
    proto = model(body, "float[2,4,5,3] x", constants=weights)
    result, told = rewritten(proto)
    assert told["before"]["macs"] == 30 * 768
    assert told["after"]["macs"] == 30 * macs
    if "Sigmoid" not in after:
        _assert_equal(proto, result)


@pytest.mark.parametrize(
    "nothing",
    [
        "y = Pad(t, zeros)",
        "y = Slice(t, zero, end)",
        "y = Transpose<perm = [0, 1, 2, 3]>(t)",
        "y = Reshape(t, same)",
    ],
)
def test_operators_that_do_nothing_go(nothing: str) -> None:
    # TensorFlow's padding, computed from sizes, comes to nothing where the stride is one.
    numbers = {"zeros": [0] * 8, "zero": [0], "end": [2**63 - 1], "same": [2, 4, 4, 8]}
    constants = {k: np.array(v) for k, v in numbers.items() if k in nothing}
    weights = {"w": (8, 5, 1, 1), "v": (3, 4, 3, 3), "u": (4, 8, 1, 1)}
    body = f"s = Conv(x, w) r = Relu(s) t = Conv(r, u) {nothing} z = Conv(y, v)"
    after, told = rewritten(model(body, X, "z", {**weights, **constants}))
    assert _operators(after) == {"Conv": 3, "Relu": 1}
    assert told["laws"] == []  # no law is needed
    _assert_equal(model(body, X, "z", {**weights, **constants}), after)


def test_sizes_that_become_known_when_a_value_goes_are_folded_at_once() -> None:
    # As OPT reads the number of tokens off queries that are composed with what follows.
    body = "t = MatMul(x, w) u = MatMul(t, v) s = Shape(t) d = Slice(s, second, third) "
    body += "f = Concat<axis = 0>(all, d, four) y = Reshape(u, f)"
    numbers = {"second": [-2], "third": [-1], "all": [-1], "four": [2, 2]}
    constants = {"w": (8, 9), "v": (9, 4), **{k: np.array(n) for k, n in numbers.items()}}
    proto = model(body, "float[N,5,8] x", "float[M,5,2,2] y", constants)
    after, _ = rewritten(proto)
    _assert_equal(proto, after, feed(proto, N=2), feed(proto, N=3))
    again, told = rewritten(after)
    assert told["laws"] == []
    assert _operators(again) == _operators(after) == {"MatMul": 1, "Reshape": 1}


@pytest.mark.parametrize(
    "view", ["u = Unsqueeze(x, one)", "u = Flatten<axis = 2>(x)", "u = Squeeze(x, one)"]
)
def test_one_channel_among_axes_of_one_position(view: str) -> None:
    body = f"{view} m = MatMul(u, w) y = Add(m, b)"
    known = {"one": np.array([1]), "w": (1, 6), "b": (6,)}
    used = {k: v for k, v in known.items() if k != "one" or "one" in view}
    proto = model(body, "float[2,1,1] x", constants=used)
    _assert_equal(proto, rewritten(proto)[0])


def test_a_shape_that_is_a_result_keeps_its_operand() -> None:
    body = "t = Conv(x, w) s = Shape(t) y = Conv(t, v)"
    known = {"w": (8, 5, 1, 1), "v": (4, 8, 1, 1)}
    outputs = "float[2,4,N,8] y, int64[4] s"
    proto = model(body, "float[2,5,N,8] x", outputs, known)
    _assert_equal(proto, rewritten(proto)[0], feed(proto, N=3))


def test_a_squeeze_that_names_no_axis_keeps_its_channels() -> None:
    known = {"b": (8,), "w": (1, 2)}
    body = "a = Add(x, b) z = Squeeze(a) m = MatMul(w, z) y = Relu(m)"
    proto = model(body, "float[1,8,2,8] x", constants=known)
    _assert_equal(proto, rewritten(proto)[0])


def test_a_pruned_channel_is_not_squeezed() -> None:
    weight = integers("w", (3, 5, 1, 1))
    weight[1:] = 0
    body = "a = Conv(x, w) r = Relu(a) z = Squeeze(r) p = Transpose<perm = [1, 2, 0]>(z) "
    proto = model(
        body + "y = MatMul(p, v)", "float[1,5,4,8] x", constants={"w": weight, "v": (3, 2)}
    )
    _assert_equal(proto, rewritten(proto)[0])


def test_a_factor_that_is_one_once_it_is_rounded_goes() -> None:
    """(s - 2000)/1000 + s is 1.001 s - 2, and bfloat16 has no 1.001."""
    kind = ml_dtypes.bfloat16
    thousand = np.full(2, 1000, kind)
    proto = model(
        """r = MatMul(x, w) t = MatMul(r, v) s = Add(r, t)
        h = Sub(s, c) d = Div(h, k) y = Sum(d, s)""",
        "bfloat16[2,3,5] x",
        "bfloat16[2,3,2] y, bfloat16[2,3,2] s",
        {"w": integers("w", (5, 2)).astype(kind), "v": integers("v", (2, 2)).astype(kind),
         "c": 2 * thousand, "k": thousand},
        opset=22,
    )  # fmt: skip
    after = to_proto(optimize(proto).model)
    assert [node.op_type for node in after.graph.node] == ["MatMul", "MatMul", "Add", "Add"]
    assert optimize(after).report.unchanged


@pytest.mark.parametrize("size", ["M", "mask.2"])
@pytest.mark.parametrize(
    "body",
    [
        "r = Relu(z) s = Shape(x) e = Expand(r, s) y = Relu(e)",
        "r = Relu(z) t = Add(r, x) s = Shape(x) y = Expand(t, s)",
        "r = Relu(z) t = Add(r, x) s = Shape(t) y = Expand(r, s)",
    ],
)
def test_a_free_size_may_be_one(body: str, size: str) -> None:
    """What is spread over another value's sizes is not of its own."""
    x, z = np.ones((2, 3, 5), np.float32), 2 * np.ones((2, 3, 1), np.float32)
    proto = model(body, "float[N,3,H] x, float[N,3,M] z")
    proto.graph.input[1].type.tensor_type.shape.dim[2].dim_param = size
    after, _ = rewritten(proto)
    _assert_equal(proto, after, {"x": x, "z": z}, {"x": x, "z": np.repeat(z, 5, 2)})


def test_maps_of_no_channels_stay() -> None:
    body = (
        "a = Mul(x, s) b = Neg(a) c = BatchNormalization(b, m, m, m, m) y = Concat<axis = 1>(c, z)"
    )
    proto = model(body, "float[2,0,5,4] x, float[2,3,5,4] z", constants={"s": (0, 1, 1), "m": (0,)})
    after, told = rewritten(proto)
    _assert_equal(proto, after)
    assert told["laws"] == []


def test_what_draws_numbers_reads_nothing_and_is_not_cropped() -> None:
    tail = "h = Conv(r, w) g = Relu(h) s = Slice(g, i, j, k) z = Slice(x, i, j, k)"
    proto = model(
        f"r = RandomNormal<shape = [2,3,4,6]>() {tail} y = Add(s, z)",
        "float[2,4,4,6] x",
        constants={"w": (4, 3, 1, 1), "i": np.array([1]), "j": np.array([2]), "k": np.array([2])},
    )
    after, told = rewritten(proto)
    # Numbers that were drawn are not compared; on the position that is read the 1×1 is computed.
    assert run(after, feed(after))[0]["y"].shape == (2, 4, 1, 6)
    assert told["after"]["macs"] * 4 == told["before"]["macs"]
    assert _operators(after)["RandomNormal"] == 1


def test_scales_that_are_put_together_are_known_at_once() -> None:
    body = 'c = Concat<axis = 0>(s, t) u = Resize<mode = "nearest">(x, , c) y = Conv(u, w)'
    ones = np.ones(2, np.float32)
    weights = {"w": (4, 3, 1, 1), "s": ones, "t": 2 * ones}
    proto = model(body, "float[2,3,4,5] x", constants=weights)
    after, told = rewritten(proto)
    _assert_equal(proto, after)
    assert told["after"]["macs"] * 4 == told["before"]["macs"]
    assert rewritten(after)[1]["laws"] == []
