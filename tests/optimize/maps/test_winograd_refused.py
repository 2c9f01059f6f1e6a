"""K×Ks that are not put on tiles: refused with the reason, or passed over."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest

from onebyone.cost.profile import Profile

from ...graphs.text import integers, model
from ..exact import COUNTING, killed
from .few_channels import optimize
from .test_winograd import SAME, X, made

OPEN = "its tiles hang on a height or a width that the model leaves open: fix it in the file"
ALWAYS = Profile(peak=1.0, bandwidth=1e18, overhead=1e-9, channels=1, rows=1, tiles=1)
# One channel has taps in its first row alone: in the first row of the map it reads padding.
TOP = integers("k", (5, 3, 3, 3)) * (np.arange(5) != 2)[:, None, None, None]
TOP[2, :, 0] = 1


@pytest.mark.parametrize(
    ("attributes", "inputs", "constants", "reason"),
    [
        (f"{SAME}, group = 3", X, {"k": (6, 1, 3, 3)}, "it reads single channels"),
        (f"{SAME}, strides = [2, 1]", X, {}, "it strides"),
        (SAME, X, {"k": (5, 3, 4, 3)}, "no basis is known for 4×3 taps"),
        ("pads = [1, 1]", "float[1,3,9] x", {"k": (5, 3, 3)}, "axes of positions: 1; the forms"),
        ("pads = [0, 1, 0, 1, 0, 1]", "float[1,3,5,4,9] x", {"k": (5, 3, 3, 2, 3)},
         "axes of positions: 3; the forms"),
        (SAME, "float[1,3,H,7] x", {}, OPEN),
        (SAME, "float[1,3,9,W] x", {}, OPEN),
        (SAME, X, {}, "no basis within the limit of digits pays"),
        ("pads = [3, 1, 1, 1]", X, {}, "reads padding alone"),
        ("pads = [1, 1, 1, 3]", X, {}, "reads padding alone"),
        (SAME, X, {"k": TOP}, "reads padding alone"),
    ],
)  # fmt: skip
def test_refused(attributes: str, inputs: str, constants: dict[str, Any], reason: str) -> None:
    proto = made(attributes, inputs, **constants)
    report = optimize(proto, only=["winograd"], verify=False).report
    assert report.unchanged
    assert any(reason in refusal.reason for refusal in report.refusals)


def test_zeros_that_a_pad_adds_count_as_padding() -> None:
    for ends, known in (([0, 0, 3, 0, 0, 0, 0, 0], True), ([0, 0, 2, 2, 0, 0, 2, 2], False)):
        proto = model("p = Pad(x, e) y = Conv(p, k)", "float[1,16,18,18] x", "y",
                      {"k": (16, 16, 3, 3), "e": np.array(ends)})  # fmt: skip
        report = optimize(proto, also=["winograd"], profile=ALWAYS, lost_bits=6).report
        assert report.certificate is not None
        assert report.certificate.passed
        assert any("reads padding alone" in told.reason for told in report.refusals) == known
        assert [row.law for row in report.laws] == ["winograd"] * (not known)


def test_a_channel_without_weights_is_zero_on_tiles_too() -> None:
    weight = killed("k", (16, 16, 3, 3), rows=(3,))
    proto = model(f"y = Conv<{SAME}>(x, k)", "float[1,16,18,18] x", "y", {"k": weight})
    result = optimize(proto, only=["winograd"], profile=ALWAYS, lost_bits=6)
    assert result.report.certificate is not None
    assert result.report.certificate.passed
    assert [row.law for row in result.report.laws] == ["winograd"]


@pytest.mark.parametrize("kind", ["float16", "double"])
def test_other_numbers_are_refused(kind: str) -> None:
    weight = integers("k", (5, 3, 3, 3)).astype({"double": np.float64, "float16": np.float16}[kind])
    proto = model(
        f"y = Conv<{SAME}>(x, k)", f"{kind}[1,3,9,7] x", f"{kind}[a,b,c,d] y", {"k": weight}
    )
    report = optimize(proto, only=["winograd"], verify=False, profile=COUNTING).report
    assert report.unchanged
    assert any(f"too many of the digits of {kind}" in told.reason for told in report.refusals)


def test_what_is_nothing_to_refuse() -> None:
    for proto in (
        made("pads = [0, 0, 0, 0]", k=(5, 3, 1, 1)),
        made(SAME, k=(5, 3, 1, 3)),
        made(SAME, "float[2,1,9,7] x", k=(5, 1, 3, 3)),
        model("w = Mul(k, s) y = Conv(x, w)", f"{X}, float[1] s", "y", {"k": (5, 3, 3, 3)}),
        model("c = Mul(b, s) y = Conv(x, k, c)", f"{X}, float[1] s", "y",
              {"k": (5, 3, 3, 3), "b": (5,)}),
    ):  # fmt: skip
        report = optimize(proto, only=["winograd"], verify=False, lost_bits=inf).report
        assert not [r for r in report.refusals if r.law == "winograd"]
        assert not report.laws


CODES = {"s": np.array(0.5, np.float32), "z": np.array(0, np.int8)}


@pytest.mark.parametrize(
    "body",
    [
        "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) y = Conv(d, k)",
        "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) "
        "p = MaxPool<kernel_shape = [2, 2]>(d) y = Conv(p, k)",
        "c = Conv(x, k) q = QuantizeLinear(c, s, z) y = DequantizeLinear(q, s, z)",
        "c = Conv(x, k) r = Relu(c) q = QuantizeLinear(r, s, z) y = DequantizeLinear(q, s, z)",
        "c = Conv(x, k) g = Sigmoid(c) m = Mul(c, g) r = Relu(m) q = QuantizeLinear(r, s, z) "
        "y = DequantizeLinear(q, s, z)",
    ],
)
def test_what_is_quantised_is_left(body: str) -> None:
    proto = model(body, X, "y", {"k": (5, 3, 3, 3), **CODES})
    report = optimize(proto, only=["winograd"], verify=False, profile=COUNTING).report
    assert report.unchanged
    assert any("quantise the original" in refusal.reason for refusal in report.refusals)


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        ("c = Conv(x, k) w = Conv(c, l) "
         "q = QuantizeLinear(w, s, z) y = DequantizeLinear(q, s, z)", 0),
        ("q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) "
         "w = Conv(d, l) y = Conv(w, k)", 0),
        ("p = Conv(x, k) q = QuantizeLinear(p, s, z) d = DequantizeLinear(q, s, z) "
         "c = Conv(x, m) y = Add(c, d)", 1),
        ("c = Conv(x, k) p = MaxPool<kernel_shape = [3, 3]>(x) a = Add(c, p) "
         "q = QuantizeLinear(a, s, z) y = DequantizeLinear(q, s, z)", 0),
    ],
)  # fmt: skip
def test_integers_behind_a_product_or_a_sum_are_another_tensors(body: str, refused: int) -> None:
    kernels = {"k": integers("k", (3, 3, 3, 3)), "l": integers("l", (3, 3, 1, 1))}
    kernels["m"] = integers("m", (3, 3, 3, 3))
    proto = model(body, X, "y", {**kernels, **CODES})
    report = optimize(proto, only=["winograd"], verify=False).report
    reasons = [told.reason for told in report.refusals]
    assert sum("quantise the original" in reason for reason in reasons) == refused
    assert sum("no basis within" in reason for reason in reasons) == 1
