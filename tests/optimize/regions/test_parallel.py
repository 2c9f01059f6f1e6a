"""Absorb: parallel convolutions of one input become one, chains of a 1×1 and a K×K too.

Each form from both sides, on small integers with `==`: where its condition holds one convolution
is left, where it is broken what was there is, and the answers are equal either way.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, shape_inference

from onebyone.algebra.kernel import Kernel
from onebyone.optimize.regions.parallel import _regrouped

from ...graphs.laws.case import batch_norm, norm
from ...graphs.reorder import of_any_order, reordered
from ...graphs.run import differences, run
from ...graphs.text import feed, integers, model
from ..exact import rewritten

X = "float[2,6,5,7] x"
SAME = "pads = [1,1,1,1]"


def _operators(proto: ModelProto) -> list[str]:
    return sorted(node.op_type for node in proto.graph.node)


def _left(proto: ModelProto, **options: Any) -> list[str]:
    """The operators of the result, which is checked: equal, idempotent, whatever the order."""
    after, told = rewritten(proto, **options)
    data = feed(proto)
    for before, now in zip(run(proto, data), run(after, data), strict=True):
        assert differences(before, now) == []
    assert rewritten(after, **options)[1]["after"] == told["after"]
    for seed in (1, 2):
        other = rewritten(reordered(proto, seed), **options)[1]
        assert of_any_order(other["after"]) == of_any_order(told["after"])
    return _operators(after)


def _sum(*branches: str, more: str = "", **constants: Any) -> ModelProto:
    """The sum of branches, of which those without an operator are values."""
    lines, names = [], []
    for k, branch in enumerate(branches):
        names.append(f"b{k}" if "(" in branch else branch)
        if "(" in branch:
            lines.append(f"b{k} = {branch}")
    return model(f"{more} {' '.join(lines)} y = Sum({', '.join(names)})", X, constants=constants)


def _k(*shape: int) -> tuple[int, ...]:
    """The shape of a dense kernel from 6 to 6 channels."""
    return (6, 6, *shape)


# Branches: the reads of one are among the reads of the other --------------------------------------


@pytest.mark.parametrize(
    ("branches", "shapes"),
    [
        ((f"Conv<{SAME}>(x, k)", "Conv(x, w)"), {"k": _k(3, 3), "w": _k(1, 1)}),
        ((f"Conv<{SAME}>(x, k)", "x"), {"k": _k(3, 3)}),
        (("x", "Conv(x, w, b)", f"Conv<{SAME}>(x, k, b)"),
         {"k": _k(3, 3), "w": _k(1, 1), "b": (6,)}),
        ((f"Conv<{SAME}>(x, k)", f"Conv<{SAME}>(x, l)"), {"k": _k(3, 3), "l": _k(3, 3)}),
        (('Conv<auto_pad = "SAME_UPPER">(x, k)', "Conv(x, w)"), {"k": _k(3, 3), "w": _k(1, 1)}),
        # ACNet: a cross of a column and a row in the square.
        (("Conv<pads = [0,1,0,1]>(x, r)", "Conv<pads = [1,0,1,0]>(x, c)", f"Conv<{SAME}>(x, k)"),
         {"k": _k(3, 3), "r": _k(1, 3), "c": _k(3, 1)}),
        (("x", "Conv<pads = [0,1,0,1]>(x, r)", f"Conv<{SAME}>(x, k)"),
         {"k": _k(3, 3), "r": _k(1, 3)}),
        ((f"Conv<{SAME}>(x, k)", "Conv<pads = [2,2,2,2]>(x, l)"), {"k": _k(3, 3), "l": _k(5, 5)}),
        (("Conv<dilations = [2,2], pads = [2,2,2,2]>(x, k)", "Conv<pads = [2,2,2,2]>(x, l)"),
         {"k": _k(3, 3), "l": _k(5, 5)}),
        (("Conv<dilations = [2,3], pads = [2,3,2,3]>(x, k)", "Conv<dilations = [5,4]>(x, w)"),
         {"k": _k(3, 3), "w": _k(1, 1)}),
        ((f"Conv<strides = [2,1], {SAME}>(x, k)", "Conv<strides = [2,1]>(x, w)"),
         {"k": _k(3, 3), "w": _k(1, 1)}),
        # Causal: the 1×1 is the last tap, not the one in the middle.
        (("Conv<pads = [2,0,0,0]>(x, k)", "Conv(x, w)", "x"), {"k": _k(3, 1), "w": _k(1, 1)}),
        (("Conv<pads = [0,0,1,1]>(x, k)", "Conv(x, w)"), {"k": _k(2, 2), "w": _k(1, 1)}),
        ((f'Conv<auto_pad = "NOTSET", {SAME}>(x, k)', 'Conv<auto_pad = "VALID">(x, w)'),
         {"k": _k(3, 3), "w": _k(1, 1)}),
        # Depthwise and grouped.
        ((f"Conv<group = 6, {SAME}>(x, k)", "Conv<group = 6>(x, w)", "x"),
         {"k": (6, 1, 3, 3), "w": (6, 1, 1, 1)}),
        ((f"Conv<group = 2, {SAME}>(x, k)", "Conv<group = 6>(x, w)", "Conv<group = 2>(x, g)", "x"),
         {"k": (6, 3, 3, 3), "w": (6, 1, 1, 1), "g": (6, 3, 1, 1)}),
        ((f"Conv<{SAME}>(x, k)", f"Conv<group = 2, {SAME}>(x, l)", f"Conv<group = 6, {SAME}>(x, m)",
          "Conv<group = 3>(x, g)", "x"),
         {"k": _k(3, 3), "l": (6, 3, 3, 3), "m": (6, 1, 3, 3), "g": (6, 2, 1, 1)}),
        ((f"Conv<group = 6, {SAME}>(x, k)", "Conv<group = 6>(x, w)"),
         {"k": (12, 1, 3, 3), "w": (12, 1, 1, 1)}),
    ],
)  # fmt: skip
def test_branches_become_one(branches: tuple[str, ...], shapes: dict[str, Any]) -> None:
    proto = _sum(*branches, **shapes)
    assert _left(proto) == ["Conv"]
    assert _left(proto, profile=None) == ["Conv"]
    assert rewritten(proto)[1]["after"]["macs"] <= rewritten(proto)[1]["before"]["macs"]


@pytest.mark.parametrize(
    ("branches", "shapes"),
    [
        # Neither reads what the other does.
        (("Conv<pads = [0,1,0,1]>(x, r)", "Conv<pads = [1,0,1,0]>(x, c)"),
         {"r": _k(1, 3), "c": _k(3, 1)}),
        (("Conv<dilations = [2,2], pads = [2,2,2,2]>(x, k)", f"Conv<{SAME}>(x, l)"),
         {"k": _k(3, 3), "l": _k(3, 3)}),
        (("Conv<pads = [2,0,0,0]>(x, k)", "Conv<pads = [0,0,2,0]>(x, l)"),
         {"k": _k(3, 1), "l": _k(3, 1)}),
        # Other strides: 5 rows in steps of 2 and 3 rows without padding are both 3.
        (("Conv<strides = [2,1], pads = [1,1,1,1]>(x, k)", "Conv(x, l)"),
         {"k": _k(3, 3), "l": _k(3, 1)}),
        # Dense zeros would have to be filled in.
        ((f"Conv<group = 6, {SAME}>(x, k)", "Conv(x, w)"), {"k": (6, 1, 3, 3), "w": _k(1, 1)}),
        ((f"Conv<group = 6, {SAME}>(x, k)", "Conv<group = 2>(x, w)"),
         {"k": (6, 1, 3, 3), "w": (6, 3, 1, 1)}),
        ((f"Conv<group = 2, {SAME}>(x, k)", "Conv<group = 3>(x, w)"),
         {"k": (6, 3, 3, 3), "w": (6, 2, 1, 1)}),
        # Together they would be a dense 5×5, of 150 weights an output, not 54 + 75.
        (("Conv<pads = [1,1,1,1]>(x, k)", "Conv<group = 2, pads = [2,2,2,2]>(x, l)"),
         {"k": _k(3, 3), "l": (6, 3, 5, 5)}),
        # Of equal sizes, but it begins at the padding: −1, 1, 3 and not 0, 2, 4.
        ((f"Conv<strides = [2,1], {SAME}>(x, k)", "Conv<strides = [2,1], pads = [1,0,0,0]>(x, w)"),
         {"k": _k(3, 3), "w": _k(1, 1)}),
        # A 1×1 that is padded itself.
        (("Conv<pads = [2,2,2,2]>(x, k)", "Conv<pads = [1,1,1,1]>(x, w)"),
         {"k": _k(3, 3), "w": _k(1, 1)}),
    ],
)  # fmt: skip
def test_branches_that_read_other_positions_or_channels_stay(
    branches: tuple[str, ...], shapes: dict[str, Any]
) -> None:
    proto = _sum(*branches, **shapes)
    assert _left(proto).count("Conv") == _operators(proto).count("Conv")


def test_branches_of_other_inputs_stay() -> None:
    body = f"a = Conv<{SAME}>(x, k) b = Conv(z, w) y = Add(a, b)"
    proto = model(body, f"{X}, float[2,6,5,7] z", constants={"k": _k(3, 3), "w": _k(1, 1)})
    assert _left(proto) == ["Add", "Conv", "Conv"]


def test_branches_of_two_inputs_become_two() -> None:
    body = (
        f"a = Conv<{SAME}>(x, k) b = Conv(x, w) c = Conv<{SAME}>(z, l) d = Conv(z, v) "
        "y = Sum(a, c, b, d, z)"
    )
    shapes = {"k": _k(3, 3), "w": _k(1, 1), "l": _k(3, 3), "v": _k(1, 1)}
    proto = model(body, f"{X}, float[2,6,5,7] z", constants=shapes)
    assert [op for op in _left(proto) if op == "Conv"] == ["Conv", "Conv"]


def test_a_branch_that_is_broadcast_is_no_branch() -> None:
    """3×3 without padding leaves one position of 3×3, which the addition repeats."""
    body = "a = Conv(x, k) b = Conv(x, w) y = Add(a, b)"
    proto = model(body, "float[2,6,3,3] x", constants={"k": _k(3, 3), "w": _k(1, 1)})
    assert _left(proto) == ["Add", "Conv", "Conv"]


def test_a_branch_that_somebody_else_reads_stays() -> None:
    body = f"a = Conv<{SAME}>(x, k) b = Conv(x, w) y = Add(a, b) z = Relu(b)"
    proto = model(body, X, "y, z", {"k": _k(3, 3), "w": _k(1, 1)})
    assert _left(proto) == ["Add", "Conv", "Conv", "Relu"]


def test_a_difference() -> None:
    body = f"a = Conv<{SAME}>(x, k) b = Conv(x, w, c) y = Sub(b, a)"
    proto = model(body, X, constants={"k": _k(3, 3), "w": _k(1, 1), "c": (6,)})
    assert _left(proto) == ["Conv"]


@pytest.mark.parametrize("sizes", [{"N": 1, "H": 1, "W": 1}, {"N": 3, "H": 4, "W": 9}])
def test_sizes_known_only_at_run_time(sizes: dict[str, int]) -> None:
    body = f"a = Conv<{SAME}>(x, k) b = Conv(x, w) s = Add(a, b) y = Add(s, x)"
    proto = model(body, "float[N,6,H,W] x", constants={"k": _k(3, 3), "w": _k(1, 1)})
    after, _ = rewritten(proto)
    assert _operators(after) == ["Conv"]
    data = feed(proto, **sizes)
    assert differences(run(proto, data)[0], run(after, data)[0]) == []


@pytest.mark.parametrize(
    ("kernel", "pads", "x"), [((3,), [1, 1], [7]), ((3, 3, 3), [1] * 6, [3, 4, 5])]
)
def test_along_one_axis_and_three(kernel: tuple[int, ...], pads: list[int], x: list[int]) -> None:
    body = f"a = Conv<pads = {pads}>(x, k) b = Conv(x, w) s = Add(a, b) y = Add(s, x)"
    shape = ",".join(map(str, [2, 6, *x]))
    constants = {"k": _k(*kernel), "w": _k(*[1] * len(kernel))}
    assert _left(model(body, f"float[{shape}] x", constants=constants)) == ["Conv"]


# Batch normalisations -----------------------------------------------------------------------------


def _repvgg(group: int = 1, stride: int = 1) -> ModelProto:
    """3×3, 1×1 and identity, a batch normalisation behind each."""
    options = f"group = {group}, strides = [{stride},{stride}]"
    identity = f"c = {batch_norm('x', 'i')} y = Add(s, c)" if stride == 1 else "y = Relu(s)"
    body = (
        f"k3 = Conv<{options}, {SAME}>(x, k) a = {batch_norm('k3', 'n')} "
        f"k1 = Conv<{options}>(x, w) b = {batch_norm('k1', 'm')} s = Add(a, b) {identity}"
    )
    shapes = {"k": (6, 6 // group, 3, 3), "w": (6, 6 // group, 1, 1)}
    return model(body, X, constants={**shapes, **norm("n", 6), **norm("m", 6), **norm("i", 6)})


@pytest.mark.parametrize("group", [1, 2, 6])
@pytest.mark.parametrize("stride", [1, 2])
def test_repvgg_and_mobileone(group: int, stride: int) -> None:
    assert _left(_repvgg(group, stride)) == ["Conv", "Relu"][: 1 + (stride > 1)]


def test_mobileone_with_copies_of_each_branch() -> None:
    branches, constants = [], {}
    for k in range(4):
        branches.append(
            f"k{k} = Conv<group = 6, {SAME}>(x, w{k}) b{k} = {batch_norm(f'k{k}', f'n{k}')}"
        )
        constants |= {f"w{k}": (6, 1, 3, 3), **norm(f"n{k}", 6)}
    sums = "s0 = Add(b0, b1) s1 = Add(s0, b2) s2 = Add(s1, b3) y = Add(s2, x)"
    assert _left(model(" ".join([*branches, sums]), X, constants=constants)) == ["Conv"]


def test_a_normalisation_before_the_branches_is_one_input() -> None:
    body = (
        f"n = {batch_norm('x', 'n')} a = Conv<{SAME}>(n, k) b = Conv(n, w) s = Add(a, b) "
        "y = Add(s, n)"
    )
    proto = model(body, X, constants={"k": _k(3, 3), "w": _k(1, 1), **norm("n", 6)})
    assert _left(proto) == ["BatchNormalization", "Conv"]


def test_a_shift_of_its_own_before_a_padded_branch_stays() -> None:
    body = f"n = Add(x, t) a = Conv<{SAME}>(n, k) b = Conv(x, w) y = Add(a, b)"
    proto = model(body, X, constants={"k": _k(3, 3), "w": _k(1, 1), "t": (6, 1, 1)})
    assert _left(proto) == ["Add", "Add", "Conv", "Conv"]


@pytest.mark.parametrize(
    "before",
    [
        "n = Add(x, t) a = Conv<pads = [1,1,1,1]>(n, k)",
        "n = Slice(x, last, first, axis, back) a = Conv<pads = [1,1,1,1]>(n, k)",
        "n = Conv<pads = [1,1,1,1]>(x, k) a = Slice(n, last, first, axis, back)",
    ],
)
def test_what_comes_before_or_after_one_branch_only(before: str) -> None:
    """Flipped, or shifted before the padding: it reads the same value at other positions."""
    ends = {"last": -1, "first": -99, "axis": 3, "back": -1}
    constants: dict[str, Any] = {name: np.array([n], np.int64) for name, n in ends.items()}
    constants |= {"k": _k(3, 3), "l": _k(3, 3), "t": (6, 1, 1)}
    proto = model(f"{before} b = Conv<{SAME}>(x, l) y = Add(a, b)", X, constants=constants)
    assert _left(proto) == _operators(proto)


def test_a_normalised_1x1_needs_affine() -> None:
    body = f"a = Conv<{SAME}>(x, k) u = Conv(x, w) b = {batch_norm('u', 'n')} y = Add(a, b)"
    proto = model(body, X, constants={"k": _k(3, 3), "w": _k(1, 1), **norm("n", 6)})
    assert _left(proto) == ["Conv"]
    assert _left(proto, without=["affine"]) == ["Add", "BatchNormalization", "Conv", "Conv"]


@pytest.mark.parametrize("law", ["sum", "affine"])
def test_without_the_law_that_it_needs_nothing_is_absorbed(law: str) -> None:
    after, told = rewritten(_repvgg(), without=[law])
    assert _operators(after).count("Conv") == 2
    assert law not in {row["law"] for row in told["laws"]}
    assert _left(
        _sum(f"Conv<{SAME}>(x, k)", "Conv(x, w)", k=_k(3, 3), w=_k(1, 1)), only=["sum"]
    ) == ["Conv"]


def test_a_1x1_behind_a_branch_needs_compose() -> None:
    body = f"a = Conv<{SAME}>(x, k) c = Conv(a, v) b = Conv(x, w) y = Add(c, b)"
    proto = model(body, X, constants={"k": _k(3, 3), "v": _k(1, 1), "w": _k(1, 1)})
    assert _left(proto) == ["Conv"]
    assert _left(proto, without=["compose"]) == ["Add", "Conv", "Conv", "Conv"]


def test_1x1s_behind_branches_may_change_the_channels() -> None:
    """What follows the sum is planned for as many as it has: 5, not the 4 of the branches."""
    body = (
        f"a = Conv<{SAME}>(x, k) c = Conv(a, v) b = Conv<{SAME}>(x, l) d = Conv(b, w) "
        "s = Add(c, d) y = GlobalAveragePool(s)"
    )
    weights = {"k": (4, 6, 3, 3), "v": (5, 4, 1, 1), "l": (4, 6, 3, 3), "w": (5, 4, 1, 1)}
    proto = model(body, X, constants=weights)
    after, _ = rewritten(proto)
    assert _left(proto) == ["Conv", "GlobalAveragePool"]
    inferred = shape_inference.infer_shapes(after).graph.value_info
    shapes = {v.name: v.type.tensor_type.shape.dim for v in inferred}
    assert [d.dim_value for d in shapes[after.graph.node[0].output[0]]] == [2, 5, 5, 7]


# Chains -------------------------------------------------------------------------------------------


def _chain(first: str, second: str, **constants: Any) -> ModelProto:
    return model(f"t = {first} y = {second}", X, constants=constants)


def test_a_1x1_before_a_kxk_where_that_is_cheaper() -> None:
    wide = _chain("Conv(x, w)", f"Conv<{SAME}>(t, k)", w=(9, 6, 1, 1), k=(4, 9, 3, 3))
    assert _left(wide) == ["Conv"]
    narrow = _chain("Conv(x, w)", f"Conv<{SAME}>(t, k)", w=(2, 6, 1, 1), k=(4, 2, 3, 3))
    assert _left(narrow) == ["Conv", "Conv"]  # 12 + 72 a position, 216 as one


def test_a_1x1_after_a_kxk_where_that_is_cheaper() -> None:
    down = _chain(f"Conv<{SAME}>(x, k, b)", "Conv(t, w, c)", k=(9, 6, 3, 3), b=(9,), w=(4, 9, 1, 1),
                  c=(4,))  # fmt: skip
    assert _left(down) == ["Conv"]
    up = _chain(f"Conv<{SAME}>(x, k)", "Conv(t, w)", k=(2, 6, 3, 3), w=(9, 2, 1, 1))
    assert _left(up) == ["Conv", "Conv"]


def test_a_bias_before_padding_stays_outside() -> None:
    constants = {"w": (9, 6, 1, 1), "b": (9,), "k": (4, 9, 3, 3)}
    padded = _chain("Conv(x, w, b)", f"Conv<{SAME}>(t, k)", **constants)
    assert _left(padded) == ["Conv", "Conv"]
    assert _left(_chain("Conv(x, w, b)", "Conv(t, k)", **constants)) == ["Conv"]
    inside = _chain("Conv<pads = [1,1,1,1]>(x, w, b)", "Conv(t, k)", **constants)
    assert _left(inside) == ["Conv", "Conv"]  # the border is b there, not 0


def test_strides_of_the_kxk_are_kept() -> None:
    proto = _chain("Conv(x, w)", f"Conv<strides = [2,1], dilations = [1,2], {SAME}>(t, k)",
                   w=(9, 6, 1, 1), k=(4, 9, 3, 3))  # fmt: skip
    assert _left(proto) == ["Conv"]


@pytest.mark.parametrize(
    ("first", "second", "shapes", "left"),
    [
        # A dense 1×1 would fill the groups.
        ("Conv(x, w)", f"Conv<group = 6, {SAME}>(t, k)", {"w": _k(1, 1), "k": (6, 1, 3, 3)}, 2),
        (f"Conv<group = 6, {SAME}>(x, k)", "Conv(t, w)", {"w": _k(1, 1), "k": (6, 1, 3, 3)}, 2),
        # A depthwise 1×1 is a scale, and enters whatever the groups.
        ("Conv<group = 6>(x, w)", f"Conv<group = 2, {SAME}>(t, k)",
         {"w": (6, 1, 1, 1), "k": (6, 3, 3, 3)}, 1),
        (f"Conv<group = 6, {SAME}>(x, k)", "Conv<group = 6>(t, w)",
         {"w": (6, 1, 1, 1), "k": (6, 1, 3, 3)}, 1),
    ],
)  # fmt: skip
def test_chains_with_groups(first: str, second: str, shapes: dict[str, Any], left: int) -> None:
    assert len(_left(_chain(first, second, **shapes))) == left


def test_something_nonlinear_between_ends_it() -> None:
    body = f"t = Conv(x, w) r = Relu(t) y = Conv<{SAME}>(r, k)"
    proto = model(body, X, constants={"w": (9, 6, 1, 1), "k": (4, 9, 3, 3)})
    assert _left(proto) == ["Conv", "Conv", "Relu"]


# Groups -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("groups", "fewer"), [(6, 2), (6, 3), (6, 1), (2, 1), (3, 3), (1, 1)])
@pytest.mark.parametrize("multiplier", [1, 2])
def test_fewer_groups_with_zeros_between(groups: int, fewer: int, multiplier: int) -> None:
    weight = integers("k", (6 * multiplier, 6 // groups, 2, 3)).astype(np.int64)
    kernel = Kernel(weight, None, (2, 1), (1, 1), ((0, 1), (1, 0)), groups)
    found = _regrouped(kernel, fewer)
    assert found is not None
    assert (found.groups, found.channels) == (fewer, kernel.channels)
    x = integers("x", (2, 6, 4, 5), 4).astype(np.int64)
    assert np.array_equal(found.apply(x), kernel.apply(x))
    back = _regrouped(found, groups)
    assert fewer > 1 or (back is not None and np.array_equal(back.weight, weight))


def test_more_groups_are_refused_where_something_is_between_them() -> None:
    dense = Kernel(integers("k", (6, 6, 1, 1)), None, (1, 1), (1, 1), ((0, 0),) * 2)
    assert [_regrouped(dense, groups) for groups in (2, 3, 6)] == [None] * 3
    assert _regrouped(dense, 4) is None
    kernel = Kernel(integers("k", (6, 3, 1, 1)), None, (1, 1), (1, 1), ((0, 0),) * 2, 2)
    assert _regrouped(kernel, 3) is None
    assert _regrouped(kernel, 6) is None
