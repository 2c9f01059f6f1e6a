"""What cancels keeps its order: models that compute exactly where their folded forms would not.

Each is optimised, and run where it cancels; the truth is a float64 evaluation of the original. The
result may be off by sixteen times (4 bits) what the original is off by there, or by a few units of
its terms' own size, n·u·Σ|terms|, where those are as small as what is left.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from onnx import ModelProto

from onebyone.errors import UsageError
from onebyone.graph.evaluate import evaluate
from onebyone.graph.read import read
from onebyone.graph.write import to_proto
from onebyone.optimize import optimize
from onebyone.optimize.run import Optimized

from ..graphs.run import run
from ..graphs.text import model

U = 2.0**-24
RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)


def full(value: float, *shape: int) -> np.ndarray:
    return np.full(shape, value, np.float32)


@dataclass
class Cancels:
    """A model, and inputs on which it cancels."""

    name: str
    body: str
    inputs: str
    constants: dict[str, np.ndarray]
    feeds: dict[str, np.ndarray]
    left: float = 1.0  # the size of what is left, of which n·u may be lost anyway
    outputs: str = "y"
    reasons: set[str] = field(default_factory=lambda: {"affine"})
    folds: bool = True  # whether the laws would, without a limit

    def proto(self) -> ModelProto:
        return model(self.body, self.inputs, self.outputs, self.constants)


def integers(low: int, high: int, *shape: int) -> np.ndarray:
    return RNG.integers(low, high, shape).astype(np.float32)


TOKENS, IMAGE = "float[2,7,8] x", "float[2,8,5,7] x"
A, B, SCORE = normal(8, 8), normal(8, 5), normal(8, 1)
K1, K3 = normal(5, 8, 1, 1), normal(5, 8, 3, 3)
DIFFERENCE = np.array([[1, -1, 0, 0, 0, 0, 0, 0], [0, 0, 1, 0, -1, 0, 0, 0], [0, 1, -2, 1, 0, 0, 0,
                       0]], np.float32)  # fmt: skip
MASK = full(1, 2, 7, 1)  # where it is 0 nothing of the score is to be seen
X = RNG.standard_normal((2, 7, 8)).astype(np.float32)
MASKED = TOKENS + ", float[2,7,1] mask"
OFFSET = 1e5 + integers(-3, 4, 2, 7, 8)
OFFSET_IMAGE = 1e5 + integers(-3, 4, 2, 8, 5, 7)
LARGE_OFFSET_IMAGE = 1e5 + integers(-3, 4, 2, 8, 95, 77)
SCORES = {"w": SCORE, "one": full(1, 1), "low": full(-1e9, 1), "high": full(1e9, 1)}
MASKS = {"x": X, "mask": MASK}
CENTRED = {"mean4": full(1e5, 1, 8, 1, 1), "std4": full(3, 1, 8, 1, 1)}
SOBEL = np.zeros((2, 8, 3, 3), np.float32)
SOBEL[0, ::2], SOBEL[1, 1::2] = (
    [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    [[1, 2, 1], [0] * 3, [-1, -2, -1]],
)
YEARS = {"x": 2000 + integers(-10, 11, 2, 7, 8)}
YEAR = {"mean": full(2000, 8), "std": full(10, 8), "inv": full(0.1, 8), "b": B, "c": normal(5)}

MODELS = [
    Cancels("(1 - mask) * -1e9 + Wx",
            "s = MatMul(x, w) n = Sub(one, mask) p = Mul(n, low) y = Add(s, p)",
            MASKED, SCORES, MASKS, reasons=set(), folds=False),
    Cancels("mask * 1e9 - 1e9 + (Wx + c)",
            "s = MatMul(x, w) t = Add(s, one) n = Mul(mask, high) p = Sub(n, high) y = Add(p, t)",
            MASKED, SCORES, MASKS),
    Cancels("Wx - (1 - mask) * 1e9",
            "s = MatMul(x, w) n = Sub(one, mask) p = Mul(n, high) y = Sub(s, p)",
            MASKED, SCORES, MASKS, reasons=set(), folds=False),
    Cancels("Wx + b + (mask - 1) * 1e9",
            "s = MatMul(x, w) t = Add(s, one) n = Sub(mask, one) p = Mul(n, high) y = Add(t, p)",
            MASKED, SCORES, MASKS),
    Cancels("(1 - mask)V * 1e9 + Wx",
            "s = MatMul(x, w) n = Sub(one, mask) v = MatMul(n, v1) p = Mul(v, high) y = Add(s, p)",
            MASKED, {**SCORES, "v1": full(1.7, 1, 1)}, MASKS, reasons=set()),
    Cancels("((1 - mask) * 1e9)V + b",
            "n = Sub(one, mask) p = Mul(n, high) v = MatMul(p, w) y = Add(v, c)",
            "float[2,7,1] mask", {**SCORES, "w": normal(1, 5), "c": normal(5)}, {"mask": MASK}),
    Cancels("(year - 2000) / 10", "c1 = Sub(x, mean) n = Div(c1, std) y = MatMul(n, b)",
            TOKENS, YEAR, YEARS),
    Cancels("(year + -2000) * 0.1", "c1 = Add(x, minus) n = Mul(c1, inv) y = MatMul(n, b)",
            TOKENS, {**YEAR, "minus": full(-2000, 8)}, YEARS),
    Cancels("(2000 - year) / 10",
            "c1 = Sub(mean, x) n = Div(c1, std) m = MatMul(n, b) y = Add(m, c)",
            TOKENS, YEAR, YEARS),
    Cancels("a bare shift, two layers", "c1 = Sub(x, mean) m = MatMul(c1, b) y = Add(m, c)",
            TOKENS, YEAR, YEARS, left=10),
    Cancels("a shift behind a view", "c1 = Sub(x, mean) n = Div(c1, std) "
            "t = Transpose<perm = [0, 2, 1]>(n) y = Conv(t, k)",
            TOKENS, {**YEAR, "k": K1[..., 0]}, YEARS),
    Cancels("a K×K behind it", "c1 = Sub(x, mean4) n = Div(c1, std4) y = Conv(n, k)",
            IMAGE, {**CENTRED, "k": K3}, {"x": OFFSET_IMAGE}),
    Cancels("a depthwise K×K behind it", "c1 = Sub(x, mean4) n = Div(c1, std4) "
            "y = Conv<group = 8>(n, k)", IMAGE, {**CENTRED, "k": normal(8, 1, 3, 3)},
            {"x": OFFSET_IMAGE}),
    Cancels("a batch normalisation", "n = BatchNormalization(x, g, h, mean, var) y = Conv(n, k)",
            IMAGE, {"g": full(1, 8), "h": full(0, 8), "mean": full(4096, 8), "var": full(4, 8),
                    "k": K1}, {"x": 4096 + integers(-3, 4, 2, 8, 5, 7)}),
    Cancels("a shift in one part of a concat",
            "c1 = Sub(x, mean4) n = Div(c1, std4) j = Concat<axis = 1>(n, z) y = Conv(j, k)",
            IMAGE + ", float[2,3,5,7] z", {**CENTRED, "k": normal(5, 11, 1, 1)},
            {"x": OFFSET_IMAGE, "z": integers(-3, 4, 2, 3, 5, 7)}),
    Cancels("EDSR's MeanShift, a 1×1 of ones on its diagonal",
            "c1 = Conv(x, eye, minus) y = Conv(c1, k)",
            IMAGE, {"eye": np.eye(8, dtype=np.float32).reshape(8, 8, 1, 1),
                    "minus": full(-1e5, 8), "k": K1}, {"x": OFFSET_IMAGE}, left=3),
    Cancels("a constant that differs from row to row", "c1 = Sub(x, table) y = MatMul(c1, b)",
            TOKENS, {"table": np.float32(1e5) + integers(-3, 4, 1, 7, 8), "b": B}, {"x": OFFSET},
            left=6, reasons=set(), folds=False),
    Cancels("differences of channels", "d = MatMul(x, d1) y = MatMul(d, b3)",
            TOKENS, {"d1": DIFFERENCE.T.copy(), "b3": normal(3, 2)}, {"x": OFFSET}, left=6,
            reasons={"compose"}),
    Cancels("differences of channels, as a 1×1 and a bias behind",
            "d = Conv(x, d1) y = Conv(d, b3, c)",
            IMAGE, {"d1": DIFFERENCE.reshape(3, 8, 1, 1), "b3": normal(2, 3, 1, 1), "c": normal(2)},
            {"x": OFFSET_IMAGE}, left=6, reasons={"compose"}),
    Cancels("differences of scaled channels of a ReLU",
            "r = Relu(x) s = Mul(r, two) d = MatMul(s, d1) y = MatMul(d, b3)",
            TOKENS, {"two": full(2, 8), "d1": DIFFERENCE.T.copy(), "b3": normal(3, 2)},
            {"x": OFFSET}, left=12, reasons={"compose"}),
    Cancels("derivatives along both axes, then a 1×1", "d = Conv(x, sobel) y = Conv(d, k)",
            IMAGE, {"sobel": SOBEL, "k": normal(1, 2, 1, 1)}, {"x": OFFSET_IMAGE}, left=300,
            reasons={"compose"}),
    Cancels("the difference of two inputs", "d = Sub(x, z) m = MatMul(d, b) y = Add(m, c)",
            TOKENS + ", float[2,7,8] z", YEAR,
            {"x": OFFSET, "z": OFFSET + integers(-2, 3, 2, 7, 8)},
            left=3, reasons=set(), folds=False),
    Cancels("the difference of two upsampled inputs",
            "u = Resize<mode = \"nearest\">(x, , s) v = Resize<mode = \"nearest\">(z, , s) "
            "d = Sub(u, v) y = Conv(d, k)",
            "float[2,8,95,77] x, float[2,8,95,77] z",
            {"k": K1, "s": np.array([1, 1, 2, 2], np.float32)},
            {"x": LARGE_OFFSET_IMAGE, "z": LARGE_OFFSET_IMAGE + integers(-2, 3, 2, 8, 95, 77)},
            left=3, reasons={"sum"}),
    Cancels("a normalisation behind a shift of few bits",
            "c = Sub(x, m) h = MatMul(c, b) y = LayerNormalization(h, g)",
            TOKENS, {"m": full(6, 8), "b": B, "g": full(1, 5)},
            {"x": 6 + integers(-3, 4, 2, 7, 8) / 2**13}),
    Cancels("the same, spelled out, behind a pool",
            "c = Sub(x, m) h = Conv(c, k) p = AveragePool<kernel_shape = [2, 2]>(h) "
            "q = Mul(p, p) r = ReduceMean<axes = [1]>(q) s = Sqrt(r) y = Div(p, s)",
            IMAGE, {"m": full(6, 1), "k": K1}, {"x": 6 + integers(-3, 4, 2, 8, 5, 7) / 2**13}),
    Cancels("the difference of two inputs by Neg, beside another term",
            "n = Neg(z) d = Add(x, n) m = MatMul(d, b) s = MatMul(x, b0) y = Add(m, s)",
            # Of x the other term reads what is zero there: it adds no noise of its own.
            TOKENS + ", float[2,7,8] z", {"b": B, "b0": B * (np.arange(8) < 2).reshape(8, 1)},
            {"x": OFFSET * (np.arange(8) > 1),
             "z": (OFFSET + integers(-2, 3, 2, 7, 8)) * (np.arange(8) > 1)},
            left=3, reasons={"sum"}),
]  # fmt: skip

SHARED = [
    Cancels("(1 - mask) read twice, at two scales",
            "s = MatMul(x, w) v = Sub(one, mask) m = Mul(v, half) n = Mul(v, high) "
            "t = Add(s, m) y = Add(t, n)",
            MASKED, {**SCORES, "half": full(0.5, 1)}, MASKS, reasons=set()),
    Cancels("(mask - ones of each row) read twice, at two scales",
            "s = MatMul(x, w) v = Sub(mask, rows) m = Mul(v, half) n = Mul(v, high) "
            "t = Add(s, m) y = Add(t, n)",
            MASKED, {**SCORES, "rows": full(1, 1, 7, 1), "half": full(0.5, 1)}, MASKS,
            reasons=set()),
]  # fmt: skip
"""Read at a small scale and at a large one: the first that reads it does not speak for both."""


def _error(proto: ModelProto, case: Cancels, exact: np.ndarray) -> float:
    found = next(iter(run(proto, case.feeds)[0].values()))
    return float(np.abs(found.astype(np.float64) - exact).max())


def _optimized(case: Cancels, **options: float) -> tuple[ModelProto, Optimized]:
    result = optimize(case.proto(), **options)
    return to_proto(result.model), result


@pytest.mark.parametrize("case", [*MODELS, *SHARED], ids=lambda case: case.name)
def test_no_digits_are_lost_where_it_cancels(case: Cancels) -> None:
    proto = case.proto()
    after, result = _optimized(case)
    exact = evaluate(read(proto), case.feeds)["y"]
    before = _error(proto, case, exact)
    assert _error(after, case, exact) <= 16 * max(before, 16 * U * case.left)
    assert case.reasons <= {row.law for row in result.report.refusals}
    assert all(row.lost_bits <= 4 for row in result.report.laws)


@pytest.mark.parametrize("case", MODELS, ids=lambda case: case.name)
def test_without_the_limit_they_are(case: Cancels) -> None:
    """The refusal is a claim: without the limit the law applies, and the digits go."""
    proto = case.proto()
    exact = evaluate(read(proto), case.feeds)["y"]
    folded = optimize(proto, lost_bits=np.inf, verify=False)
    assert [row for row in folded.report.refusals if "keeps its order" in row.reason] == []
    if not case.folds:
        assert folded.report.laws == ()
        return
    assert max(row.lost_bits for row in folded.report.laws) > 4
    bound = 16 * max(_error(proto, case, exact), 16 * U * case.left)
    assert _error(to_proto(folded.model), case, exact) > bound


KEPT = {
    "ImageNet's mean and std": (
        "c1 = Sub(x, mean) n = Div(c1, std) y = Conv<strides = [16, 16]>(n, k, b)",
        {"mean": np.float32([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1),
         "std": np.float32([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)}),
    "the same of 0…255": (
        "c1 = Sub(x, mean) n = Div(c1, std) y = Conv<strides = [16, 16]>(n, k, b)",
        {"mean": np.float32([123.675, 116.28, 103.53]).reshape(1, 3, 1, 1),
         "std": np.float32([58.395, 57.12, 57.375]).reshape(1, 3, 1, 1)}),
    "0…1 to -1…1": (
        "c1 = Mul(x, std) n = Sub(c1, mean) y = Conv<strides = [16, 16]>(n, k, b)",
        {"mean": full(1, 1, 3, 1, 1), "std": full(2, 1, 3, 1, 1)}),
    "ImageNet's, a bias before a normalisation": (
        "c1 = Sub(x, mean) n = Div(c1, std) h = Conv<strides = [16, 16]>(n, k, b) "
        "y = InstanceNormalization(h, b, b)",
        {"mean": np.float32([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1),
         "std": np.float32([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)}),
    "1 - x": (
        "n = Sub(mean, x) y = Conv<strides = [16, 16]>(n, k, b)",
        {"mean": full(1, 1, 3, 1, 1)}),
}  # fmt: skip


@pytest.mark.parametrize("name", KEPT)
def test_the_usual_normalisations_are_folded(name: str) -> None:
    body, constants = KEPT[name]
    given = {**constants, "k": normal(5, 3, 16, 16), "b": normal(5)}
    result = optimize(model(body, "float[1,3,32,48] x", constants=given))
    assert next(iter(result.model.graph)).op_type == "Conv"
    (lost,) = {row.lost_bits for row in result.report.laws}
    assert 0 <= lost < 2
    assert result.report.certificate is not None
    assert result.report.certificate.passed


def test_rounded_operands_are_not_told() -> None:
    """A batch normalisation behind a layer may shift as far as it likes: the layer has rounded."""
    constants = {
        "k": K1,
        "g": full(1, 5),
        "h": full(0, 5),
        "mean": full(4096, 5),
        "var": full(4, 5),
    }
    body = "c1 = Conv(x, k) y = BatchNormalization(c1, g, h, mean, var)"
    report = optimize(model(body, IMAGE, constants=constants)).report
    assert [(row.law, row.lost_bits) for row in report.laws] == [("affine", 0.0)]


def test_a_shift_that_rounds_what_it_is_added_to_stays() -> None:
    """A way to round to integers; folding it away would be more exact, and not the model."""
    magic = {"w": normal(8, 8), "k": full(16, 1), "c": full(1.5 * 2**23, 1), "v": B}
    body = (
        "a = MatMul(x, w) s = Mul(a, k) p = Add(s, c) q = Sub(p, c) d = Div(q, k) y = MatMul(d, v)"
    )
    proto, feed = model(body, TOKENS, constants=magic), {"x": X}
    result = optimize(proto)
    before, after = (run(each, feed)[0]["y"] for each in (proto, to_proto(result.model)))
    assert np.abs(before - after).max() <= 64 * U  # a few units of values near one
    assert [n.op_type for n in result.model.graph] == ["MatMul", "Add", "Sub", "MatMul"]
    assert result.report.certificate is not None
    assert result.report.certificate.passed
    # 2¹⁰ takes ten bits of twenty-four, and that is what a batch normalisation may do.
    proto = model(body, TOKENS, constants={**magic, "c": full(1024, 1)})
    assert [n.op_type for n in optimize(proto, verify=False).model.graph] == ["MatMul"]


def test_a_limit_is_a_number_of_bits() -> None:
    proto = MODELS[6].proto()
    assert optimize(proto, lost_bits=7.7, verify=False).report.laws != ()
    assert all(row.lost_bits == 0 for row in optimize(proto, lost_bits=0, verify=False).report.laws)
    for wrong in (-1.0, float("nan")):
        with pytest.raises(UsageError, match="wanted 0 or more"):
            optimize(proto, lost_bits=wrong)
