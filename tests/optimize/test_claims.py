"""A refusal is a claim: what it names stands in the way, and without it the law applies."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import pytest

from onebyone.optimize import optimize
from onebyone.optimize.report import Report

from ..graphs.laws.case import batch_norm, norm
from ..graphs.text import model

X = "float[2,6,20,24] x"
KNOWN: dict[str, Any] = {
    "w": (4, 6, 1, 1),
    "u": (6, 12, 1, 1),
    "k": (4, 6, 3, 3),
    "t": (6, 4, 3, 3),
    "mid": (5, 6, 1, 1),
    "low": (3, 5, 1, 1),
    "wide": (32, 6, 1, 1),
    "narrow": (3, 32, 1, 1),
    "kn": (3, 32, 3, 3),
    "bw": (32,),
    "bk": (3,),
    "sc": (6, 1, 1),
    "sh": (6, 1, 1),
    "e": (4, 1, 1),
    "m8": (8, 4),
    "half": np.full((), 0.5, np.float32),
    "root": np.full((), 2**0.5, np.float32),
    "inverse": np.full((), 2**-0.5, np.float32),
    "one": np.full((), 1, np.float32),
    "border": np.array([0, 0, 9, 9, 0, 0, 9, 9]),
    "two": np.array([2]),
    **norm("n", 6),
}


class Claim(NamedTuple):
    """Nodes that are refused for a reason, and the same without what it names.

    `law`: of the refusal; `freed`: the law that then applies; `inputs`, `outputs`: of both.
    """

    law: str
    reason: str
    refused: str
    free: str
    freed: str = ""
    inputs: str = X
    outputs: str = "y"


RESULT = "the result of Conv has other consumers"
CLAIMS = {
    "nonlinear": Claim(
        "compose",
        "Relu is nonlinear: it does not commute with a channel map",
        "a = Conv(x, wide) r = Relu(a) y = Conv(r, narrow)",
        "a = Conv(x, wide) y = Conv(a, narrow)",
    ),
    "a normalisation": Claim(
        "compose",
        "Softmax is nonlinear: it does not commute with a channel map",
        "a = Conv(x, wide) r = Softmax<axis = 1>(a) y = Conv(r, narrow)",
        "a = Conv(x, wide) y = Conv(a, narrow)",
    ),
    "a max pool": Claim(
        "commute",
        "MaxPool is not linear: the largest of sums is no sum of largest",
        "a = Conv(x, wide) r = MaxPool<kernel_shape = [2, 2]>(a) y = Conv(r, narrow)",
        "a = Conv(x, wide) r = AveragePool<kernel_shape = [2, 2]>(a) y = Conv(r, narrow)",
    ),
    "another reader": Claim(
        "compose",
        RESULT,
        # 6 → 5 → 3 is cheaper as 6 → 3, but not beside a 6 → 5 that is computed anyway.
        "a = Conv(x, mid) y = Conv(a, low) z = Relu(a)",
        "a = Conv(x, mid) y = Conv(a, low) z = Relu(x)",
        outputs="y, z",
    ),
    "another reader of a K×K's operand": Claim(
        "compose",
        RESULT,
        "a = Conv(x, wide) y = Conv(a, kn) z = Relu(a)",
        "a = Conv(x, wide) y = Conv(a, kn) z = Relu(x)",
        outputs="y, z",
    ),
    "a bottleneck": Claim(
        "compose",
        "it stays factored: r(a + b) < ab",
        "a = Conv(x, w) y = Conv(a, m40)",
        "a = Conv(x, wide) y = Conv(a, narrow)",
    ),
    "a bottleneck that others read": Claim(
        "compose",
        "it stays factored: r(a + b) < ab",
        "a = Conv(x, w) y = Conv(a, m40) z = Relu(a)",
        "a = Conv(x, wide) y = Conv(a, narrow) z = Relu(x)",
        outputs="y, z",
    ),
    "a K×K that grows": Claim(
        "compose",
        "a K×K and its neighbour cost less apart",
        "a = Conv(x, k) y = Conv(a, m40)",
        "a = Conv(x, k) y = Conv(a, n4)",
    ),
    "padding before a kernel that a 1×1 would enter": Claim(
        "compose",
        "zero padding does not commute with a shift",
        "a = Conv(x, wide, bw) y = Conv<pads = [1, 1, 1, 1]>(a, kn)",
        "a = Conv(x, wide, bw) y = Conv(a, kn)",
    ),
    "padding behind a shift": Claim(
        "affine",
        "zero padding does not commute with a shift",
        "a = Add(x, sh) y = Conv<pads = [1, 1, 1, 1]>(a, k)",
        "a = Add(x, sh) y = Conv(a, k)",
    ),
    "padding behind a normalisation": Claim(
        "affine",
        "zero padding does not commute with a shift",
        f"a = {batch_norm('x', 'n')} y = Conv<pads = [1, 1, 1, 1]>(a, k)",
        f"a = {batch_norm('x', 'n')} y = Conv(a, k)",
    ),
    "padding of a 1×1": Claim(
        "affine",
        "zero padding does not commute with a shift",
        f"a = {batch_norm('x', 'n')} y = Conv<pads = [1, 1, 1, 1]>(a, w)",
        f"a = {batch_norm('x', 'n')} y = Conv(a, w)",
    ),
    "a transposed convolution": Claim(
        "affine",
        "a transposed convolution stamps a constant as often as a position is hit",
        f"a = {batch_norm('x', 'n')} y = ConvTranspose<strides = [2, 2]>(a, t)",
        f"a = {batch_norm('x', 'n')} y = Conv<strides = [2, 2]>(a, k)",
    ),
    "a shared weight behind a scale": Claim(
        "affine",
        "others read the weight, and a copy of it saves no multiply-accumulate",
        "a = Mul(x, sc) y = Conv(a, w) z = Conv(q, w)",
        "a = Mul(x, sc) y = Conv(a, w) z = Relu(q)",
        inputs=X + ", float[1,6,3,3] q",
        outputs="y, z",
    ),
    "a shared weight before a scale": Claim(
        "affine",
        "others read the weight, and a copy of it saves no multiply-accumulate",
        "a = Conv(x, w) y = Mul(a, e) z = Conv(q, w)",
        "a = Conv(x, w) y = Mul(a, e) z = Relu(q)",
        inputs=X + ", float[1,6,3,3] q",
        outputs="y, z",
    ),
    "a concat of positions": Claim(
        "commute",
        "it does not pay to move a channel map past Concat",
        "a = Relu(x) c = Concat<axis = 2>(a, a) y = Conv(c, narrow)",
        "a = Conv(x, wide) c = Concat<axis = 2>(a, a) y = Conv(c, narrow)",
    ),
    "a concat whose pieces are not cheaper": Claim(
        "split",
        "it does not pay: the pieces and their sum would cost more",
        "a = Relu(x) c = Concat<axis = 1>(a, x) y = Conv(c, u)",
        "a = Conv(x, wide) c = Concat<axis = 1>(a, x) y = Conv(c, n38)",
    ),
    "a border inside a bias": Claim(
        "commute",
        "Pad does not keep constants, so no bias passes it",
        "a = Relu(x) p = Pad(a, border) y = Conv(p, n6, bk)",
        "a = Relu(x) p = Pad(a, border) y = Conv(p, n6)",
        inputs="float[1,6,4,4] x",
    ),
    "a sum over rows behind a bias": Claim(
        "commute",
        "ReduceSum does not keep constants, so no bias passes it",
        "a = Conv(x, wide, bw) y = ReduceSum<keepdims = 1>(a, two)",
        "a = Conv(x, wide) y = ReduceSum<keepdims = 1>(a, two)",
        inputs="float[1,6,4,400] x",
    ),
    "channels padded, and positions": Claim(
        "commute",
        "Pad acts on channels, not on positions",
        "p = Pad(x, p44) y = Conv(p, w8)",
        "p = Pad(x, border) y = Conv(p, n6)",
    ),
    "what does not pay": Claim(
        "commute",
        "it does not pay to move a channel map past AveragePool",
        "p = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(x) y = Conv(p, w)",
        "p = Expand(x1, big) y = Conv(p, w)",
        inputs=X + ", float[2,6,1,1] x1",
    ),
    "a pool that pads": Claim(
        "pool",
        "AveragePool averages over what is no output of the K×K: its windows leave the map, or may",
        "a = Conv(x, k) "
        "y = AveragePool<kernel_shape = [2, 2], strides = [2, 2], pads = [0, 0, 0, 1]>(a)",
        "a = Conv<pads = [0, 0, 0, 1]>(x, k) "
        "y = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(a)",
    ),
    "a pool that rounds up": Claim(
        "pool",
        "AveragePool averages over what is no output of the K×K: its windows leave the map, or may",
        "a = Conv(x, k) y = AveragePool<kernel_shape = [4, 2], strides = [4, 2], ceil_mode = 1>(a)",
        "a = Conv(x, k) y = AveragePool<kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1>(a)",
    ),
    "a pool that skips nothing": Claim(
        "pool",
        "one larger kernel takes more multiply-accumulates than the K×K",
        "a = Conv(x, k) y = AveragePool<kernel_shape = [2, 2]>(a)",
        "a = Conv(x, k) y = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(a)",
    ),
    "a K×K that is pooled for one reader": Claim(
        "pool",
        "AveragePool is not the only one that reads what the K×K gives",
        "a = Conv(x, k) y = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(a) z = Relu(a)",
        "a = Conv(x, k) y = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(a) z = Relu(x)",
        outputs="y, z",
    ),
    "a map that may be small": Claim(
        "pool",
        "a size is free, and may leave no room for a window of AveragePool",
        "a = Conv<pads = [1, 1, 1, 1]>(f, k) "
        "y = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(a)",
        "a = Conv<pads = [2, 1, 1, 1]>(f, k) "
        "y = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(a)",
        inputs="float[2,6,H,24] f",
    ),
    "a padding that hangs on a free size": Claim(
        "pool",
        "the padding of the K×K hangs on a size that is free",
        'a = Conv<auto_pad = "SAME_UPPER">(f, k) '
        "y = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(a)",
        "a = Conv<pads = [2, 1, 1, 1]>(f, k) "
        "y = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(a)",
        inputs="float[2,6,H,24] f",
    ),
    "a spelling that is fused": Claim(
        "affine",
        "engines fuse this GELU or normalisation as it is written",
        "d = Div(s, root) f = Erf(d) a = Add(f, one) p = Mul(s, a) h = Mul(p, half) "
        "y = MatMul(h, m8)",
        "d = Mul(s, inverse) f = Erf(d) a = Add(f, one) p = Mul(s, a) h = Mul(p, half) "
        "y = MatMul(h, m8)",
        inputs="float[2,50,8] s",
    ),
    "a weight fed at run time": Claim(
        "compose",
        "its weight is no constant: computed at run time, overridable, or not finite",
        "a = Conv(x, wide) y = Conv(a, z)",
        "a = Conv(x, wide) y = Conv(a, narrow)",
        inputs=X + ", float[3,32,1,1] z",
    ),
}
MORE = {"m40": (40, 4, 1, 1), "n4": (2, 4, 1, 1), "n6": (3, 6, 1, 1), "n38": (6, 38, 1, 1)}
MORE |= {"p44": np.array([0, 2, 1, 0, 0, 0, 0, 0]), "w8": (3, 8, 1, 1)}
MORE |= {"big": np.array([2, 6, 20, 24])}


def report(body: str, inputs: str, outputs: str) -> Report:
    words = set(re.findall(r"\w+", body))
    draw = np.random.default_rng(0)  # of many digits, and what they lose is nobody's concern here
    used = {
        name: draw.standard_normal(a).astype(np.float32) if isinstance(a, tuple) else a
        for name, a in (KNOWN | MORE).items()
        if name in words
    }
    named = [part.split()[-1] for part in re.split(r", (?=float)", inputs)]
    read = [part for part, n in zip(re.split(r", (?=float)", inputs), named, strict=True)
            if n in words]  # fmt: skip
    proto = model(body, ", ".join(read), outputs, used)
    for node in proto.graph.node:
        node.name = node.output[0]
    return optimize(proto, verify=False).report


@pytest.mark.parametrize("name", CLAIMS)
def test_without_what_a_refusal_names_the_law_applies(name: str) -> None:
    claim = CLAIMS[name]
    told = report(claim.refused, claim.inputs, claim.outputs)
    assert (claim.law, claim.reason) in {(r.law, r.reason) for r in told.refusals}
    free = report(claim.free, claim.inputs, claim.outputs)
    law = claim.freed or claim.law
    assert law in {applied.law for applied in free.laws}
    assert claim.reason not in {r.reason for r in free.refusals}
