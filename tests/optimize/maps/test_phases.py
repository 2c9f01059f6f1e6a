"""Phases of a K×K behind a nearest upsampling: `==`, where they apply, and where they do not."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from onebyone.cost.profile import DEFAULT, Profile
from onebyone.optimize import optimize

from ...graphs.text import integers, model
from ..exact import COUNTING, Outcome
from ..exact import optimized as equal_after

X = "float[2,3,4,5] x"
FREE = "float[N,3,H,W] x"
TWICE = np.array([1, 1, 2, 2], np.float32)
UP = 'u = Resize<mode = "nearest">(x, , s)'
SIZES = {"N": 2, "H": 4, "W": 5}, {"N": 1, "H": 1, "W": 3}


def optimized(
    body: str, inputs: str = X, *sizes: dict[str, int], outputs: str = "y", **constants: Any
) -> Outcome:
    options = {k: constants.pop(k) for k in ("profile", "shapes") if k in constants}
    options = {"profile": COUNTING, **options}
    return equal_after(made(body, inputs, outputs, **constants), "phases", *sizes, **options)


def made(body: str, inputs: str = X, outputs: str = "y", **constants: Any) -> ModelProto:
    return model(f"{UP} {body}", inputs, outputs, {"s": TWICE, "k": (5, 3, 3, 3), **constants})


SAME = "pads = [1, 1, 1, 1]"
TURNS = ["Transpose", "Reshape", "Transpose", "Reshape", "Transpose"]
BLOCKS = ["DepthToSpace"]
"""How phases interleave where sizes are known, and where they are free."""


def test_a_3x3_behind_a_doubling() -> None:
    after = optimized(f"y = Conv<{SAME}>(u, k, b)", b=(5,))
    assert after.ops == ["Conv"] * 4 + ["Concat", *TURNS]
    assert after.weights() == [[5, 3, 2, 2]] * 4
    assert after.saved == 2 * 8 * 10 * 5 * 3 * (9 - 4)


@pytest.mark.parametrize(
    "activation", ["Relu(c)", "LeakyRelu<alpha = 0.5>(c)", "Clip(c, low)", "Clip(c, , low)"]
)
def test_an_activation_goes_with_the_kernels(activation: str) -> None:
    # Engines compute it in the convolution that it stands behind, not behind other nodes.
    low: Any = np.array(2, np.float32)
    after = optimized(f"c = Conv<{SAME}>(u, k, b) y = {activation}", b=(5,), low=low)
    name = activation.partition("(")[0].partition("<")[0]
    assert sorted(after.ops[:-6]) == sorted(["Conv", name] * 4)
    assert after.ops[-6:] == ["Concat", *TURNS]


@pytest.mark.parametrize(
    ("body", "extra"),
    [
        ("y = Clip(c, x0)", ", float x0"),  # known at run time
        ("y = PRelu(c, slopes)", ""),  # another one a channel
        ("a = Relu(c) d = Abs(c) y = Add(a, d)", ""),  # what two read is put together once
        ("y = Mul(c, c)", ""),
    ],
)
def test_what_stays_behind_the_phases(body: str, extra: str) -> None:
    slopes = np.full((5, 1, 1), 2, np.float32)
    after = optimized(f"c = Conv<{SAME}>(u, k) {body}", X + extra, slopes=slopes)
    assert after.ops[:10] == ["Conv"] * 4 + ["Concat", *TURNS]


def test_free_sizes_and_batch() -> None:
    after = optimized(f"y = Conv<{SAME}>(u, k)", FREE, *SIZES)
    assert after.ops == ["Conv"] * 4 + ["Concat", "DepthToSpace"]


@pytest.mark.parametrize(
    ("factors", "taps", "attributes", "ops"),
    [
        ((3, 3), (3, 3), SAME, ["Conv"] * 9 + ["Concat"]),
        ((4, 4), (5, 5), "pads = [2, 2, 2, 2]", ["Conv"] * 16 + ["Concat"]),
        ((2, 2), (5, 4), "pads = [2, 1, 2, 2]", ["Conv"] * 4 + ["Concat"]),
        ((2, 2), (4, 4), "pads = [1, 1, 2, 2]", ["Conv"] * 4 + ["Concat"]),
        ((3, 3), (3, 3), "pads = [2, 2, 2, 2], dilations = [2, 2]",
         ["Conv"] * 9 + ["Concat"]),
        ((2, 2), (3, 3), "", ["Conv"] * 4 + ["Concat"]),
        ((2, 2), (3, 3), 'auto_pad = "SAME_LOWER"', ["Conv"] * 4 + ["Concat"]),
        # One phase alone.
        ((2, 2), (3, 3), f"{SAME}, strides = [2, 2]", ["Conv"]),
        ((2, 3), (3, 3), f"{SAME}, strides = [2, 3]", ["Conv"]),
        ((4, 4), (3, 3), f"{SAME}, strides = [2, 2]", ["Conv"] * 4 + ["Concat"]),
        # No blocks: other factors along the axes, or another rest.
        ((2, 3), (3, 3), SAME, ["ConvTranspose"]),
        ((1, 2), (3, 3), SAME, ["ConvTranspose"]),
        ((3, 3), (3, 3), "", ["ConvTranspose"]),
        ((3, 3), (4, 2), "pads = [1, 0, 1, 0]", ["ConvTranspose"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("free", [False, True])
def test_any_factors_taps_dilations_and_strides(
    factors: tuple[int, int], taps: tuple[int, int], attributes: str, ops: list[str], free: bool
) -> None:
    inputs, sizes = (FREE, SIZES[:1]) if free else (X, ())
    scales = np.array([1, 1, *factors], np.float32)
    body = f"y = Conv<{attributes or 'group = 1'}>(u, k, b)"
    after = optimized(body, inputs, *sizes, k=(5, 3, *taps), s=scales, b=(5,))
    interleaved = (BLOCKS if free else TURNS) if "Concat" in ops else []
    assert after.ops == [*ops, *interleaved]
    assert after.saved > 0


def test_one_axis_and_three() -> None:
    scales = np.array([1, 1, 2], np.float32)
    line = optimized("y = Conv<pads = [1, 1]>(u, k)", "float[2,3,7] x", s=scales, k=(5, 3, 3))
    assert line.ops == ["ConvTranspose"]
    free = optimized("y = Conv<pads = [1, 1]>(u, k)", "float[N,3,L] x", {"N": 2, "L": 1},
                     {"N": 1, "L": 6}, s=scales, k=(5, 3, 3))  # fmt: skip
    assert free.ops == ["ConvTranspose"]
    scales = np.array([1, 1, 2, 1, 3], np.float32)
    body = "y = Conv<pads = [1, 1, 1, 1, 1, 1]>(u, k)"
    room = optimized(body, "float[2,3,2,3,4] x", s=scales, k=(5, 3, 3, 3, 3))
    assert room.ops == ["ConvTranspose"]


def test_groups_keep_theirs() -> None:
    x = "float[2,4,3,5] x"
    for groups, shape in ((2, (6, 2, 3, 3)), (4, (8, 1, 3, 3))):
        body = f"y = Conv<{SAME}, group = {groups}>(u, k)"
        blocks = optimized(body, x, k=shape)
        assert blocks.weights() == [[shape[0], shape[1], 2, 2]] * 4
        uneven = optimized(body, x, k=shape, s=np.array([1, 1, 2, 3], np.float32))
        assert uneven.ops == ["ConvTranspose"]


@pytest.mark.parametrize(
    ("pad", "attributes", "ops"),
    [
        # Zeros go into the convolutions, with those that these pad.
        ("p = Pad(u, p0)", "", ["Conv"] * 4),
        ("p = Pad(u, p0)", SAME, ["Conv"] * 4),
        ('p = Pad<mode = "edge">(u, p0)', "", ["Pad", "Conv"] * 4),
        # Two of the phases along a row are padded alike, and share that.
        ('p = Pad<mode = "edge">(u, p2)', "", ["Pad"] * 2 + ["Conv"] * 4),
        ('p = Pad<mode = "reflect">(u, p0)', "", ["Pad", "Conv"] * 4),
    ],
)
@pytest.mark.parametrize("free", [False, True])
def test_padding_by_a_node(pad: str, attributes: str, ops: list[str], free: bool) -> None:
    pads = {
        "p0": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "p2": np.array([0, 0, 2, 3, 0, 0, 2, 1]),
    }
    inputs, sizes = (FREE, SIZES[:1]) if free else (X, ())
    body = f"{pad} y = Conv<{attributes}>(p, k)" if attributes else f"{pad} y = Conv(p, k)"
    after = optimized(body, inputs, *sizes, **pads)
    assert sorted(after.ops) == sorted([*ops, "Concat", *(BLOCKS if free else TURNS)])


def test_padding_by_the_border_before_a_transposed_one() -> None:
    pads, scales = np.array([0, 0, 1, 2, 0, 0, 1, 2]), np.array([1, 1, 2, 3], np.float32)
    body = 'p = Pad<mode = "{}">(u, p0) y = Conv(p, k)'
    for mode in ("edge", "reflect"):
        after = optimized(body.format(mode), "float[2,3,6,7] x", p0=pads, s=scales)
        assert after.ops == ["Pad", "ConvTranspose"]


def test_padding_by_the_other_end() -> None:
    pads = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    proto = model(f'{UP} p = Pad<mode = "wrap">(u, p0) y = Conv(p, k)', X, "y",
                  {"s": TWICE, "k": (5, 3, 3, 3), "p0": pads}, opset=19)  # fmt: skip
    after = equal_after(proto, "phases", profile=COUNTING)
    assert sorted(after.ops) == sorted([*["Pad", "Conv"] * 4, "Concat", *TURNS])


def test_what_is_reflected_beyond_the_border_stays() -> None:
    pads = np.array([0, 0, 2, 1, 0, 0, 1, 1])
    after = optimized('p = Pad<mode = "reflect">(u, p0) y = Conv(p, k)', p0=pads)
    assert not after.laws
    assert after.refusals == [
        "it reflects [(2, 1), (1, 1)] positions of an upsampling by (2, 2): more than copies of "
        "the border"
    ]
    twice = optimized(f'p = Pad<mode = "edge">(u, p0) y = Conv<{SAME}>(p, k)', p0=pads)
    assert twice.refusals == ["it pads by zeros what was padded by other numbers"]


# --- Through a concat ----------------------------------------------------------------------------

Z = f"{X}, float[2,2,8,10] z"


@pytest.mark.parametrize(
    ("order", "rest"),
    [("u, z", 2), ("z, u", 2), ("z, u, z", 4), ("z, z, u", 4)],
)
def test_the_kernel_is_split_over_a_concat(order: str, rest: int) -> None:
    body = f"j = Concat<axis = 1>({order}) c = Conv<{SAME}>(j, k, b) y = Relu(c)"
    after = optimized(body, Z, k=(5, 3 + rest, 3, 3), b=(5,))
    wanted = [[5, 3, 2, 2]] * 4 + [[5, rest, 3, 3]]
    assert sorted(after.weights()) == sorted(wanted)
    assert after.saved == 2 * 8 * 10 * 5 * 3 * (9 - 4)
    assert after.ops.count("Concat") == 1 + (rest > 2)


def test_two_parts_and_a_pad_of_all() -> None:
    body = (
        'v = Resize<mode = "nearest">(w, , t) j = Concat<axis = 1>(u, z, v)'
        'p = Pad<mode = "edge">(j, p0) y = Conv(p, k)'
    )
    pads, inputs = np.array([0, 0, 1, 1, 0, 0, 1, 1]), f"{Z}, float[2,1,2,5] w"
    t = np.array([1, 1, 4, 2], np.float32)
    after = optimized(body, inputs, p0=pads, t=t, k=(5, 6, 3, 3))
    assert after.weights("ConvTranspose") == [[1, 5, 6, 4]]
    assert sorted(map(tuple, after.weights())) == [(5, 2, 3, 3), *[(5, 3, 2, 2)] * 4]


def test_nothing_but_upsampled_parts() -> None:
    after = optimized(f"j = Concat<axis = 1>(u, u) y = Conv<{SAME}>(j, k)", k=(5, 6, 3, 3))
    assert after.weights() == [[5, 3, 2, 2]] * 8


def test_free_sizes_through_a_concat() -> None:
    inputs = f"{FREE}, float[N,2,P,Q] z"
    sizes = [{**each, "P": 2 * each["H"], "Q": 2 * each["W"]} for each in SIZES]
    body = f"j = Concat<axis = 1>(z, u) y = Conv<{SAME}>(j, k)"
    shapes = {"x": (2, 3, 4, 5), "z": (2, 2, 8, 10)}
    after = optimized(body, inputs, *sizes, k=(5, 5, 3, 3), shapes=shapes)
    assert after.ops.count("Conv") == 5


def test_groups_over_a_concat_stay() -> None:
    body = f"j = Concat<axis = 1>(u, z) y = Conv<{SAME}, group = 5>(j, k)"
    after = optimized(body, Z, k=(5, 1, 3, 3))
    assert not after.laws
    assert after.refusals == ["its 5 groups do not end where what is concatenated does"]


def test_a_concat_of_positions_is_none() -> None:
    after = optimized(f"j = Concat<axis = 2>(u, u) y = Conv<{SAME}>(j, k)")
    assert (after.laws, after.refusals) == (set(), [])


# --- What others read, and what pays -------------------------------------------------------------


def test_others_may_read_what_is_upsampled() -> None:
    for more in ("z = Relu(u)", "z = Identity(u)"):
        after = optimized(f"{more} y = Conv<{SAME}>(u, k)", outputs="y, z")
        assert "Resize" in after.ops
        assert after.laws == {"phases"}
    both = optimized(f"y = Conv<{SAME}>(u, k) z = Conv<{SAME}>(u, l)", outputs="y, z",
                     l=(2, 3, 3, 3))  # fmt: skip
    assert "Resize" not in both.ops


def test_a_kernel_that_others_keep_is_priced() -> None:
    shapes = {"inputs": "float[1,64,2,2] x, float[1,64,8,8] z", "outputs": "y, q"}
    body = f"y = Conv<{SAME}>(u, k) q = Conv<{SAME}>(z, {{}})"
    kernels = {"k": (64, 64, 3, 3), "l": (64, 64, 3, 3)}
    # 590 µs of products become 360 µs, and to read as many weights again takes 262 µs.
    machine = Profile(peak=1e9, bandwidth=1e9, overhead=1e-9, blocks=10, channels=1)
    alone = optimized(body.format("l"), **shapes, **kernels, profile=machine)
    shared = optimized(body.format("k"), **shapes, **kernels, profile=machine)
    assert (alone.laws, shared.laws) == ({"phases"}, set())


def test_without_arithmetic_saved_the_kernels_of_all_phases_are_not_stored() -> None:
    """Of three columns, all copies of one, there are two outputs: the phases compute three."""
    body, scales = "y = Conv<dilations = [2, 1], pads = [1, 0, 1, 0]>(u, k)", [1, 1, 2, 3]
    after = optimized(body, "float[2,3,8,1] x", profile=DEFAULT, k=(5, 3, 2, 2),
                      s=np.float32(scales))  # fmt: skip
    assert (after.laws, after.ops) == (set(), ["Resize", "Conv"])


def test_it_has_to_pay() -> None:
    body = f"y = Conv<{SAME}>(u, k)"
    small = optimized(body, profile=DEFAULT)
    assert not small.laws
    assert small.refusals == ["it does not pay: the phases and their interleaving would cost more"]
    large = optimized(body, "float[1,64,24,20] x", k=(64, 64, 3, 3), profile=DEFAULT)
    assert large.laws == {"phases"}
    # As many taps as before, and more nodes.
    wide = optimized("y = Conv<pads = [2, 2, 2, 2], dilations = [2, 2]>(u, k)")
    assert wide.refusals == small.refusals


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("y = Conv<pads = [1, 1, 1, 1], strides = [3, 3]>(u, k)",
         "a stride of 3 and an upsampling by 2 have no phases in common"),
        ("y = Conv<pads = [1, 1, 1, 1], strides = [1, 2]>(u, k)",
         "it strides, and its phases are no square blocks of an image"),
        ("y = Conv<pads = [0, 0, 1, 1], strides = [4, 1]>(u, k)",
         "its outputs are no multiple of its 2 phases"),
        ("y = Conv<pads = [3, 3, 2, 3]>(u, k)",
         "what it pads, (3, 2), is more than its kernel reaches over"),
    ],
)  # fmt: skip
def test_what_has_no_phases_says_why(body: str, reason: str) -> None:
    after = optimized(body)
    assert (after.laws, after.refusals) == (set(), [reason])


def test_other_positions_than_copies_in_turn() -> None:
    up = 'v = Resize<mode = "nearest", nearest_mode = "floor">(x, , s)'
    after = optimized(f"{up} y = Conv<{SAME}>(v, k)")
    assert after.refusals == [
        "Resize copies each position, but not a whole number of times in turn"
    ]
    linear = optimized(f'v = Resize<mode = "linear">(x, , s) y = Conv<{SAME}>(v, k)')
    assert linear.refusals == []


def test_no_constant_kernel_and_no_1x1() -> None:
    late = optimized(f"y = Conv<{SAME}>(u, w)", f"{X}, float[5,3,3,3] w")
    one = optimized("y = Conv(u, k)", k=(5, 3, 1, 1))
    assert (late.laws, late.refusals, one.laws, one.refusals) == (set(), [], set(), [])


# --- Digits and proof ----------------------------------------------------------------------------


def test_sums_that_would_round_where_taps_cancel() -> None:
    row = np.array([5, 6, -3, -7], np.float32)  # 5 + 6 has four bits
    kernel = np.tile(row, (5, 3, 3, 1))
    proto = made("y = Conv<pads = [1, 2, 1, 1]>(u, k)", k=kernel)
    limits = {"only": ["phases"], "profile": COUNTING, "verify": False}
    stays = optimize(proto, **limits).report.to_dict()
    assert stays["laws"] == []
    assert "taps cancel exactly" in stays["refusals"][0]["reason"]
    assert optimize(proto, **limits, lost_bits=inf).report.laws[0].law == "phases"
    limits["profile"] = Profile(peak=1e18, bandwidth=1.0, overhead=1e-9)
    (dear,) = optimize(proto, **limits, lost_bits=inf).report.refusals
    assert "cancel" not in dear.reason  # digits are allowed: it is the price
    limits["profile"] = COUNTING
    trained = made("y = Conv<pads = [1, 2, 1, 1]>(u, k)", k=kernel * np.float32(0.1))
    assert optimize(trained, **limits).report.laws[0].law == "phases"


@pytest.mark.parametrize("inputs", [X, FREE])
@pytest.mark.parametrize(
    "body",
    [
        f"c = Conv<{SAME}>(u, k) y = Relu(c)",
        f"j = Concat<axis = 1>(u, u) y = Conv<{SAME}>(j, l)",
        'p = Pad<mode = "reflect">(u, p0) y = Conv(p, k)',
        "y = Conv(u, m)",
    ],
)
def test_each_is_proved(body: str, inputs: str) -> None:
    tenths = {name: integers(name, shape) * np.float32(0.1) for name, shape in {
        "k": (5, 3, 3, 3), "l": (5, 6, 3, 3), "m": (5, 3, 4, 2)}.items()}  # fmt: skip
    proto = made(body, inputs, p0=np.array([0, 0, 1, 1, 0, 0, 1, 1]), **tenths)
    shapes = {"x": (2, 3, 4, 5)}
    report = optimize(proto, only=["phases"], profile=COUNTING, shapes=shapes).report
    assert report.certificate is not None
    assert report.certificate.passed
    alone = report.certificate.alone
    assert alone is not None
    assert alone.rewrites == alone.proved > 0


# --- prices, by the profile --------------------------------------------------------------------

STAMPED = {"peak": 1e3, "overhead": 1e-12, "transpose": 1e-6}
"""A machine where only arithmetic counts."""


# Three taps at fourteen places, or four at seven: 1.5 times as many multiply-accumulates.
@pytest.mark.parametrize(("stamp", "ops"), [(1.4, ["ConvTranspose"]), (1.6, ["Resize", "Conv"])])
def test_a_transposed_convolution_has_its_own_price(stamp: float, ops: list[str]) -> None:
    scales = np.array([1, 1, 2], np.float32)
    profile, x = Profile(**STAMPED, stamp=stamp), "float[2,3,7] x"
    line = optimized("y = Conv<pads = [1, 1]>(u, k)", x, s=scales, k=(5, 3, 3), profile=profile)
    assert line.ops == ops


# --- How phases interleave ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "attributes"),
    [(2, SAME), (3, SAME), (2, "pads = [0, 0, 0, 0]"), (2, "pads = [1, 3, 1, 1]")],
)
@pytest.mark.parametrize(("batch", "height"), [(2, 4), (1, 2), ("N", 4), ("N", "H"), (2, "H")])
def test_with_channels_last_unless_sizes_are_free(
    factor: int, attributes: str, batch: int | str, height: int | str
) -> None:
    sizes = [{"N": 1, "H": 3}, {"N": 3, "H": 4}] if str in map(type, (batch, height)) else []
    after = optimized(
        f"c = Conv<{attributes}>(u, k, b) y = Relu(c)",
        f"float[{batch},3,{height},5] x",
        *sizes,
        b=(5,),
        s=np.array([1, 1, factor, factor], np.float32),
    )
    ops = BLOCKS if height == "H" else TURNS
    assert after.ops[-len(ops) - 1 :] == ["Concat", *ops]
