"""Results that reports are made of in tests: small ones, large ones, hostile ones."""

from __future__ import annotations

from functools import cache

import numpy as np
from onnx import ModelProto

import onebyone
from onebyone.counting.gaps import Uncounted
from onebyone.counting.value import Count, LayerCount, total
from onebyone.engines.machine import Machine
from onebyone.engines.spread import Spread, ratio
from onebyone.engines.timings import Bench, Row
from onebyone.optimize.report import Report
from onebyone.verify.certificate import Certificate
from tests.graphs.text import model
from tests.optimize.exact import COUNTING

HOSTILE = (
    "</script><script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=1">',
    "'; alert(1); //",
    "\u202eevil\u2066\u200b",
    "<!--<script>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt;\u2028\u2029\\u003c",
    "x" * 10_000,
)
"""Names that would do something where a page took them for more than names."""


def network() -> ModelProto:
    """A head as those of segmentation networks, with a chain, a 3×3, a depthwise, a product."""
    random = np.random.default_rng(0)
    weights = {
        name: random.standard_normal(shape).astype(np.float32)
        for name, shape in (
            ("A", (16, 6, 1, 1)),
            ("F", (8, 20, 1, 1)),
            ("D", (8, 1, 3, 3)),
            ("K", (12, 8, 3, 3)),
            ("Y", (5, 12, 1, 1)),
        )
    }
    return model(
        """
        a = Conv(x, A)
        r = Resize<mode="linear">(a, , s)
        j = Concat<axis=1>(r, z)
        f = Conv(j, F)
        g = Relu(f)
        d = Conv<group=8, pads=[1,1,1,1]>(g, D)
        k = Conv<pads=[1,1,1,1]>(d, K)
        t = Transpose<perm=[0,1,3,2]>(k)
        m = MatMul(k, t)
        y = Conv(m, Y)
        w = Relu(d)
        """,
        "float[1,6,5,7] x, float[1,4,10,14] z",
        "y, w",
        {**weights, "s": np.float32([1, 1, 2, 2])},
    )


@cache
def report() -> Report:
    """Of that network."""
    return onebyone.optimize(network(), profile=COUNTING).report


def certificate() -> Certificate:
    """Of the same."""
    found = report().certificate
    assert found is not None
    return found


@cache
def count() -> Count:
    """Of the same."""
    return onebyone.count(network())


def many(layers: int) -> Count:
    """A count of so many layers, each with other numbers."""
    kinds = ("pointwise", "K×K", "depthwise", "attention", "other")
    rows = [
        LayerCount(f"/stage.{k % 7}/layer.{k}/Conv", "Conv", (1, 64, k % 97 + 1, 8), k, 0,
                   (k * 7919) % 100_003, 0, 0, 1000 + k, 4 * k, kinds[k % 5])
        for k in range(layers)
    ]  # fmt: skip
    return _of(rows)


def hostile() -> Count:
    """A count whose names are hostile."""
    rows = [
        LayerCount(name, "Conv", (1, 2), 3, 0, 1000 - k, 0, 0, 10, 10, "pointwise")
        for k, name in enumerate(HOSTILE)
    ]
    return _of(rows, tuple(Uncounted(name, 1, "why", name) for name in HOSTILE))


def _of(rows: list[LayerCount], uncounted: tuple[Uncounted, ...] = ()) -> Count:
    return total(
        rows,
        activation_bytes=1,
        weight_bytes=2,
        nodes=len(rows),
        inputs=(("x", (1, 3)),),
        uncounted=uncounted,
    )


def bench() -> Bench:
    """Two models in one engine, whose rounds are known, and one that was not timed."""
    first = tuple(0.010 + 0.0001 * (k % 7) for k in range(40))
    again = tuple(0.010 + 0.0001 * (k % 5) for k in range(40))
    second = tuple(0.004 + 0.0001 * (k % 3) for k in range(40))
    control = ratio(first, again)
    rows = (
        Row("onnxruntime", "1", "a/first.onnx", 10**9, 40, Spread.of(first), None, control,
            seconds=first, again=again),
        Row("onnxruntime", "1", "a/second.onnx", 10**8, 40, Spread.of(second),
            ratio(first, second), control, seconds=second),
        Row("onnxruntime", "1", "a/third.tflite", None, reason="ONNX Runtime runs ONNX files"),
    )  # fmt: skip
    return Bench(Machine("a processor", 2, 2, 1e11, 1e10), "wall", rows, ("a note",))
