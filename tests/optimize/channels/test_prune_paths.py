"""prune: dead channels through what cuts, picks, flattens, groups and spreads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import numpy_helper

from onebyone.optimize import optimize

from ...graphs.text import integers, model
from ..exact import Outcome, killed, optimized

X = "float[2,3,5,7] x"
DEAD = killed("w", (6, 3, 1, 1), rows=(1, 4))


def _pruned(body: str, inputs: str = X, outputs: str = "y", **constants: Any) -> Outcome:
    return optimized(model(body, inputs, outputs, constants), "prune")


def _vector(*numbers: int) -> np.ndarray:
    return np.array(numbers)


def _held(after: Outcome, op: str, at: int) -> list[list[int]]:
    """The constants that nodes of a type read."""
    held = {t.name: numpy_helper.to_array(t).tolist() for t in after.proto.graph.initializer}
    return [held[n.input[at]] for n in after.proto.graph.node if n.op_type == op]


# Split, Slice, Gather -----------------------------------------------------------------------------


def test_a_block_that_goes_on_with_half_of_its_channels() -> None:
    """C2f of YOLOv8: split, a bottleneck with a residual, all concatenated."""
    body = (
        "t = Conv(x, w, b) r = Relu(t) l, h = Split<axis = 1>(r, s) "
        "p = Conv<pads = [1,1,1,1]>(h, u) q = Relu(p) z = Conv<pads = [1,1,1,1]>(q, v) "
        "a = Add(h, z) c = Concat<axis = 1>(l, h, a) y = Conv(c, k)"
    )
    constants = {"b": np.float32([0, 1, 1, 1, 0, 1]), "s": _vector(3, 3), "k": (4, 9, 1, 1)}
    constants["w"] = killed("w", (6, 3, 1, 1), rows=(0, 4))
    constants["u"] = killed("u", (5, 3, 3, 3), rows=(2,))
    constants["v"] = killed("v", (3, 5, 3, 3), rows=(0, 1))
    after = _pruned(body, **constants)
    # Channel 1 of the second half is zero in both summands, channel 0 in one of them.
    wanted = [[4, 3, 1, 1], [4, 2, 3, 3], [2, 4, 3, 3], [4, 6, 1, 1]]
    assert after.weights() == wanted
    assert _held(after, "Split", 1) == [[2, 2]]


@pytest.mark.parametrize("opset", [11, 17, 18])
def test_splits_of_all_versions(opset: int) -> None:
    cut = {
        11: "a, b = Split<axis = 1, split = [3, 3]>(r)",
        17: "a, b = Split<axis = 1>(r)",
        18: "a, b = Split<axis = 1, num_outputs = 2>(r)",
    }[opset]
    constants = {"w": DEAD, "v": (4, 3, 1, 1), "k": (5, 3, 1, 1)}
    proto = model(f"t = Conv(x, w) r = Relu(t) {cut} y = Conv(a, v) z = Conv(b, k)", X, "y, z",
                  constants, opset=opset)  # fmt: skip
    assert optimized(proto, "prune").weights() == [[4, 3, 1, 1], [4, 2, 1, 1], [5, 2, 1, 1]]


def test_constants_of_each_part_enter_its_readers_bias() -> None:
    body = "t = Conv(x, w, b) a, c = Split<axis = 1>(t, s) y = Conv(a, v) z = Conv(c, k)"
    after = _pruned(body, outputs="y, z", w=DEAD, b=np.arange(1, 7, dtype=np.float32),
                    s=_vector(2, 4), v=(4, 2, 1, 1), k=(5, 4, 1, 1))  # fmt: skip
    first, second = _held(after, "Conv", 2)[1:]
    assert first == (2 * integers("v", (4, 2, 1, 1))[:, 1, 0, 0]).tolist()
    assert second == (5 * integers("k", (5, 4, 1, 1))[:, 2, 0, 0]).tolist()


def test_a_slice_names_other_channels() -> None:
    body = "t = Conv(x, w) r = Relu(t) a = Slice(r, i, j, i) y = Conv(a, v) z = Conv(r, k)"
    after = _pruned(body, outputs="y, z", w=DEAD, i=_vector(1), j=_vector(-1),
                    v=(4, 4, 1, 1), k=(5, 6, 1, 1))  # fmt: skip
    assert after.weights() == [[4, 3, 1, 1], [4, 2, 1, 1], [5, 4, 1, 1]]
    # Of channels 1 to 4 there are left 2 and 3: those behind channel 0.
    assert (_held(after, "Slice", 1), _held(after, "Slice", 2)) == ([[1]], [[3]])


def test_a_slice_of_one_channel_backwards() -> None:
    body = "t = Conv(x, w) r = Relu(t) a = Slice(r, i, j, e, m) y = Conv(a, v) z = Conv(r, k)"
    after = _pruned(body, outputs="y, z", w=DEAD, i=_vector(2), j=_vector(1), e=_vector(1),
                    m=_vector(-1), v=(4, 1, 1, 1), k=(5, 6, 1, 1))  # fmt: skip
    assert (_held(after, "Slice", 1), _held(after, "Slice", 2)) == ([[1]], [[2]])


@pytest.mark.parametrize("step", [-2, -9, 9])
def test_a_slice_of_one_channel_takes_it_by_any_step(step: int) -> None:
    body = "t = Conv(x, w) r = Relu(t) a = Slice(r, i, j, k, s) y = Conv(a, v)"
    ends = (2, 3) if step > 0 else (2, 1)
    after = _pruned(body, w=DEAD, i=_vector(ends[0]), j=_vector(ends[1]), k=_vector(1),
                    s=_vector(step), v=(4, 1, 1, 1))  # fmt: skip
    assert after.weights() == [[1, 3, 1, 1], [4, 1, 1, 1]]


def test_a_gather_of_all_channels_names_those_that_are_left() -> None:
    body = "t = Conv(x, w) r = Relu(t) a = Gather<axis = 1>(r, i) y = Conv(a, v)"
    after = _pruned(body, w=DEAD, i=np.arange(6)[::-1], v=(4, 6, 1, 1))
    assert after.weights() == [[4, 3, 1, 1], [4, 4, 1, 1]]
    assert _held(after, "Gather", 1) == [[3, 2, 1, 0]]


def test_a_gather_that_takes_channels_twice() -> None:
    body = "t = Conv(x, w) r = Relu(t) a = Gather<axis = 1>(r, i) y = Conv(a, v)"
    after = _pruned(body, w=DEAD, i=np.array([5, 0, 1, -1, 0], np.int32), v=(4, 5, 1, 1))
    assert after.weights() == [[2, 3, 1, 1], [4, 4, 1, 1]]  # nobody takes 2 and 3
    assert _held(after, "Gather", 1) == [[1, 0, 1, 0]]


def test_how_many_stay_of_parts_that_are_dead_does_not_hang_on_the_order() -> None:
    body = (
        "t = MatMul(x, w) a, c = Split<axis = 2>(t, s) g = Gather<axis = 2>(t, i) "
        "y = MatMul(a, v) u = MatMul(c, k) z = MatMul(g, k)"
    )
    after = _pruned(body, "float[2,7,3] x", "y, u, z", w=(3, 5), s=_vector(4, 1), v=(4, 2),
                    i=_vector(2), k=np.zeros((1, 2), np.float32))  # fmt: skip
    assert after.weights("MatMul")[0] == [3, 5]


# Flatten ------------------------------------------------------------------------------------------

FLATTENED = {
    "Flatten": ("f = Flatten(r)", {}),
    "Reshape with a size that is left": ("f = Reshape(r, s)", {"s": _vector(0, -1)}),
    "Reshape with written sizes": ("f = Reshape(r, s)", {"s": _vector(2, 210)}),
    "Reshape that merges in two steps": (
        "e = Reshape(r, s) f = Reshape(e, u)",
        {"s": _vector(2, 30, 7), "u": _vector(-1, 210)},
    ),
}


@pytest.mark.parametrize("name", FLATTENED)
def test_a_channel_is_as_many_columns_of_a_linear_layer_as_it_has_positions(name: str) -> None:
    nodes, constants = FLATTENED[name]
    body = f"t = Conv(x, w, b) r = Relu(t) {nodes} y = Gemm<transB = 1>(f, v, c)"
    bias = np.arange(6, dtype=np.float32)
    after = _pruned(body, w=DEAD, b=bias, v=(4, 210), c=(4,), **constants)
    assert after.weights() == [[4, 3, 1, 1]]
    assert after.weights("Gemm") == [[4, 140]]
    columns = integers("v", (4, 210)).reshape(4, 6, 35).sum(axis=2)
    wanted = integers("c", (4,)) + columns[:, 1] * 1 + columns[:, 4] * 4
    assert _held(after, "Gemm", 2) == [wanted.tolist()]


def test_a_flatten_with_a_free_batch() -> None:
    body = "t = Conv(x, w) r = Relu(t) f = Reshape(r, s) y = Gemm<transB = 1>(f, v)"
    proto = model(body, "float[N,3,5,7] x", "y", {"w": DEAD, "s": _vector(-1, 210), "v": (4, 210)})
    after = optimized(proto, "prune", {"N": 1}, {"N": 3})
    assert after.weights("Gemm") == [[4, 140]]


def test_a_channel_stays_where_one_of_its_columns_is_read() -> None:
    v = integers("v", (4, 210)).reshape(4, 6, 35)
    v[:, 2], v[:, 3, 1:], v[:, 4, :34] = 0, 0, 0
    body = "t = Conv(x, w) r = Relu(t) f = Flatten(r) y = Gemm<transB = 1>(f, v)"
    after = _pruned(body, w=(6, 3, 1, 1), v=v.reshape(4, 210))
    assert after.weights() == [[5, 3, 1, 1]]
    assert after.weights("Gemm") == [[4, 175]]


def test_what_the_first_column_of_a_channel_reads_is_computed() -> None:
    v, k = integers("v", (4, 210)).reshape(4, 6, 35), integers("k", (6, 5, 1, 1))
    v[:, 3, 1:] = 0
    k[:3, 4], k[4:, 4] = 0, 0  # only channel 3 reads the last one
    body = "t = Conv(x, w) r = Relu(t) u = Conv(r, k) f = Flatten(u) y = Gemm<transB = 1>(f, v)"
    after = _pruned(body, w=(5, 3, 1, 1), k=k, v=v.reshape(4, 210))
    assert after.laws == set()


def test_a_size_that_is_copied_from_another_axis_is_written() -> None:
    """The zero copies the height, which is six like the channels in front of the reshape."""
    body = "t = MatMul(x, w) r = Relu(t) f = Reshape(r, s) y = MatMul(f, v)"
    after = _pruned(body, "float[2,6,3] x", w=killed("w", (3, 6), columns=(1, 4)),
                    s=_vector(-1, 0), v=(6, 4))  # fmt: skip
    assert after.weights("MatMul") == [[3, 4], [4, 4]]


# Grouped and transposed convolutions --------------------------------------------------------------


def _grouped(dead: tuple[int, ...], rows: tuple[int, ...], **options: Any) -> Outcome:
    """Six channels, a 3×3 of three groups with nine results, a 1×1."""
    body = "t = Conv(x, w) r = Relu(t) g = Conv<group = 3>(r, u) q = Relu(g) y = Conv(q, v)"
    constants = {"w": killed("w", (6, 3, 1, 1), rows=dead), "v": (4, 9, 1, 1)}
    u = killed("u", (9, 2, 3, 3), rows=rows)
    return _pruned(body, **{**constants, "u": u, **options})


def test_whole_groups_go() -> None:
    after = _grouped((2, 3), (6, 7, 8))  # all that one reads, and all that one gives
    assert after.weights() == [[2, 3, 1, 1], [3, 2, 3, 3], [4, 3, 1, 1]]


def test_each_group_loses_as_many() -> None:
    after = _grouped((0, 3, 5), (1, 4, 6))
    assert after.weights() == [[3, 3, 1, 1], [6, 1, 3, 3], [4, 6, 1, 1]]


def test_what_one_group_needs_the_others_keep() -> None:
    after = _grouped((0, 3), (0, 1, 4))
    assert after.weights() == [[6, 3, 1, 1], [9, 2, 3, 3], [4, 9, 1, 1]]
    # Two of the first group's results could go, but the last group has three.
    assert after.laws == set()


def test_a_group_of_constants_enters_the_next_bias() -> None:
    after = _grouped((0, 1), (3, 4, 5))
    assert after.weights() == [[2, 3, 1, 1], [3, 2, 3, 3], [4, 3, 1, 1]]


def test_a_depthwise_kernel_with_a_multiplier() -> None:
    body = "t = Conv(x, w) g = Conv<group = 6, pads = [1,1,1,1]>(t, u) q = Relu(g) y = Conv(q, v)"
    after = _pruned(body, w=DEAD, u=(12, 1, 3, 3), v=(4, 12, 1, 1))
    assert after.weights() == [[4, 3, 1, 1], [8, 1, 3, 3], [4, 8, 1, 1]]


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_transposed_convolutions(groups: int) -> None:
    body = (
        f"t = Conv(x, w) r = Relu(t) g = ConvTranspose<strides = [2, 2], group = {groups}>(r, u, b)"
        " q = Relu(g) y = Conv(q, v)"
    )
    dead = killed("w", (6, 3, 1, 1), rows=(1, 4))  # one in each of two groups
    after = _pruned(body, w=dead, u=(6, 12 // groups, 3, 2), b=(12,), v=(4, 12, 1, 1))
    left = {1: [[4, 12, 3, 2]], 2: [[4, 6, 3, 2]], 6: [[4, 2, 3, 2]]}[groups]
    assert after.weights("ConvTranspose") == left
    assert after.weights()[-1] == [4, 8 if groups == 6 else 12, 1, 1]


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_rows_of_zeros(groups: int) -> None:
    body = (
        f"g = ConvTranspose<strides = [2, 1], group = {groups}>(x, u, b) q = Relu(g) y = Conv(q, v)"
    )
    u = integers("u", (4, 6 // groups, 3, 2))
    u[:, 1] = 0
    after = _pruned(body, "float[2,4,5,7] x", u=u, b=(6,), v=(4, 6, 1, 1))
    assert after.weights("ConvTranspose") == [[4, 5 if groups == 1 else 2, 3, 2]]


def test_a_constant_before_a_transposed_kernel_stays() -> None:
    """Three taps overlap in places: a constant one gives one at some positions, two at others."""
    body = "t = Conv(x, w, b) g = ConvTranspose<strides = [2, 2]>(t, u) y = Conv(g, v)"
    bias = np.float32([1, 1, 1, 1, 0, 1])
    after = _pruned(body, w=DEAD, b=bias, u=(6, 3, 3, 3), v=(4, 3, 1, 1))
    assert after.weights() == [[5, 3, 1, 1], [4, 3, 1, 1]]


# Heads --------------------------------------------------------------------------------------------

ATTENTION = (
    "q = MatMul(x, a) k = MatMul(x, b) v = MatMul(x, c) "
    "q4 = Reshape(q, s) k4 = Reshape(k, s) v4 = Reshape(v, s) "
    "q5 = Transpose<perm = [0, 2, 1, 3]>(q4) k5 = Transpose<perm = [0, 2, 3, 1]>(k4) "
    "v5 = Transpose<perm = [0, 2, 1, 3]>(v4) m = MatMul(q5, k5) %s o = MatMul(p, v5) "
    "o4 = Transpose<perm = [0, 2, 1, 3]>(o) o3 = Reshape(o4, e) y = MatMul(o3, d)"
)
"""Three heads of two channels."""


def _attention(function: str, **changes: np.ndarray) -> Any:
    shapes = {"a": (5, 6), "b": (5, 6), "c": (5, 6), "d": (6, 5)}
    constants = {name: changes.get(name, integers(name, shape)) for name, shape in shapes.items()}
    sizes = {"s": _vector(0, 0, 3, 2), "e": _vector(2, -1, 6)}
    return model(ATTENTION % function, "float[2,4,5] x", "y", {**constants, **sizes})


VALUES = killed("c", (5, 6), columns=(2, 3))
OUTPUTS = killed("d", (6, 5), rows=(2, 3))


@pytest.mark.parametrize("change", [{"c": VALUES}, {"d": OUTPUTS}, {"c": VALUES, "d": OUTPUTS}])
def test_a_head_goes_whole(change: dict[str, np.ndarray]) -> None:
    after = optimized(_attention("p = Abs(m)", **change), "prune")
    stored = [list(t.dims) for t in after.proto.graph.initializer if len(t.dims) == 2]
    assert sorted(stored) == [[4, 5], [5, 4], [5, 4], [5, 4]]
    assert sorted(_held(after, "Reshape", 1)) == [[0, 0, 2, 2]] * 3 + [[2, -1, 4]]


def test_a_head_of_a_softmax_goes_too() -> None:
    result = optimize(_attention("p = Softmax<axis = -1>(m)", c=VALUES), only=["prune"])
    certificate = result.report.certificate
    assert certificate is not None
    assert certificate.passed
    # 4 tokens, 2 images: of 4·5·6 for the linear layers and 2·4·2·3 for the products, a third.
    assert result.report.after.macs * 3 == result.report.before.macs * 2


def test_a_head_of_which_one_channel_lives_stays() -> None:
    half = killed("c", (5, 6), columns=(2,))
    assert optimized(_attention("p = Abs(m)", c=half), "prune").laws == set()


def test_a_softmax_over_heads_keeps_them() -> None:
    result = optimize(
        _attention("p = Softmax<axis = 1>(m)", c=VALUES), only=["prune"], verify=False
    )
    assert result.report.laws == ()


def test_hidden_units_of_a_transformer() -> None:
    body = "t = MatMul(x, w) a = Add(t, b) r = Gelu(a) s = MatMul(r, v) y = Add(x, s)"
    units = {"w": killed("w", (3, 8), columns=(1, 4)), "v": (8, 3)}
    units["b"] = np.float32([1, 0, 1, 1, 0, 1, 1, 1])
    proto = model(body, "float[2,7,3] x", "y", units, opset=20)
    assert optimize(proto, only=["prune"]).report.after.macs == 2 * 7 * 3 * 6 * 2


# Others -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_all_that_a_larger_position_is_made_of_goes(mode: str) -> None:
    rows = (1, 4, 7, 10) if mode == "DCR" else (4, 5, 6, 7)  # the second of three channels
    body = f't = Conv(x, w) d = DepthToSpace<blocksize = 2, mode = "{mode}">(t) y = Conv(d, v)'
    after = _pruned(body, w=killed("w", (12, 3, 1, 1), rows=rows), v=(4, 3, 1, 1))
    assert after.weights() == [[8, 3, 1, 1], [4, 2, 1, 1]]


def test_constants_that_make_a_pattern_stay() -> None:
    """Of four equal constants comes a constant, of different ones a pattern of two by two."""
    body = "t = Conv(x, w, b) d = DepthToSpace<blocksize = 2>(t) y = Conv(d, v)"
    w = killed("w", (12, 3, 1, 1), rows=(1, 2, 4, 5, 7, 8, 10, 11))
    bias = np.float32([1, 2, 3, 1, 2, 4, 1, 2, 3, 1, 2, 3])
    after = _pruned(body, w=w, b=bias, v=(4, 3, 1, 1))
    assert after.weights() == [[8, 3, 1, 1], [4, 2, 1, 1]]


def test_positions_that_are_joined() -> None:
    body = "t = Conv(x, w) u = Conv(x, k) r = Relu(u) c = Concat<axis = 3>(t, r) y = Conv(c, v)"
    dead = killed("k", (6, 3, 1, 1), rows=(1, 2))
    after = _pruned(body, w=DEAD, k=dead, v=(4, 6, 1, 1))
    assert after.weights() == [[5, 3, 1, 1], [5, 3, 1, 1], [4, 5, 1, 1]]


@pytest.mark.parametrize("scale", [0, 1])
def test_instance_normalisations_of_nothing(scale: int) -> None:
    """A channel of zeros, or a scale of zero, leaves the shift."""
    body = "t = Conv(x, w) n = InstanceNormalization(t, s, b) r = Relu(n) y = Conv(r, v)"
    row = np.float32([1, scale, 1, 1, scale, 1])
    weight = DEAD if scale else integers("w", (6, 3, 1, 1))
    proto = model(body, X, "y", {"w": weight, "s": row, "b": (6,), "v": (4, 6, 1, 1)})
    result = optimize(proto, only=["prune"])
    certificate = result.report.certificate
    assert certificate is not None
    assert certificate.passed
    assert result.report.after.macs == 2 * 35 * (3 * 4 + 4 * 4)
