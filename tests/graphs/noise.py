"""How far a correct rewriting of a model may be from the truth: the model's own rounding, played.

Independent of the certificate; never less than one rounding of the result.

Truth r is the model in float64. A sample of its noise is the same
evaluation, node by node, where each result is rounded to the working precision, up or down at
random ("random rounding", D. S. Parker, *Monte Carlo Arithmetic*, 1997); what is exact stays so,
so x - c of neighbours has no noise, as in the engine. In sums of products each weight whose
products are not exact is moved by up to a unit in its last place, and the sum is made of two parts
that are rounded themselves: an engine sums in an order of its own, and another one for another
stride. The mean that a layer normalisation subtracts is rounded, too. The largest of many samples
stands for the model's error bound.

An element of B is wrong where it is further from r than `FACTOR` times the noise around it: the
largest of its line along every axis, the smallest of these. FACTOR is 16, since a fold may lose
four bits and no more (docs/numerics.md). Where that is exceeded, many more samples are taken, also
with sixteen times as coarse a rounding: a quantised step that such a rounding can flip may flip.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx_ir as ir
from onnx import ModelProto
from onnx.helper import make_tensor_value_info
from onnx.inliner import inline_selected_functions
from onnx.shape_inference import infer_shapes

from onebyone.graph.evaluate import Run, computed
from onebyone.graph.read import read

__all__ = ["FACTOR", "Model", "excess", "quietest"]

FACTOR = 16.0
FEW, MANY = 4, 48
FLOAT64_IS_ROUNDED = 30
"""Where more bits are asked for, a float64 that has more than these is taken for rounded: it was
when it was computed, or it is not by the luck of short weights alone."""

BITS = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}
LARGEST = {"float16": 65504.0, "bfloat16": 3.38e38, "float32": 3.4e38, "float64": 1.79e308}
CONTRACTIONS = frozenset({"Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul"})
AVERAGES = frozenset({"AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum", "Resize",
                      "LayerNormalization", "Softmax", "BatchNormalization"})  # fmt: skip
# The reference has these of later opsets alone; what they do to float32 has not changed.
CODES, LATER = frozenset({"DequantizeLinear", "QuantizeLinear"}), {"": 19}
STEPS = frozenset({"Ceil", "Floor", "QuantizeLinear", "Round", "Sign"})
Arrays = Mapping[str, np.ndarray]


# What engines compute by their definition: GroupNormalization's variance is the mean of squares
# less the square of the mean, which may be negative where both are large.
DEFINED = [("", "GroupNormalization")]


@dataclass(frozen=True)
class Model:
    """A model to be played, and the floating type that it calculates in."""

    graph: ir.Model
    dtype: str

    @classmethod
    def of(cls, proto: ModelProto, dtype: str) -> Model:
        """Of a message; what engines compute by its definition is written out."""
        if any(node.op_type == name for node in proto.graph.node for _, name in DEFINED):
            typed = infer_shapes(proto)
            typed.graph.value_info.extend(
                make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
                for tensor in proto.graph.initializer
            )
            proto = inline_selected_functions(typed, DEFINED, False, True)
        return cls(read(proto), dtype)

    def truth(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """The outputs in float64."""
        return self._played(inputs, None, 0)

    def overflows(self, inputs: Arrays) -> bool:
        """Whether some value comes near the largest number of the type, where all ends."""
        tops: list[float] = []
        self._played(inputs, None, 0, tops)
        return max(tops, default=0.0) > LARGEST[self.dtype] / FACTOR

    def sample(
        self, inputs: Arrays, rng: np.random.Generator, coarser: int = 0
    ) -> dict[str, np.ndarray]:
        """The outputs with random rounding, to `coarser` bits less than there are."""
        return self._played(inputs, rng, BITS[self.dtype] - coarser)

    def _played(
        self,
        inputs: Arrays,
        rng: np.random.Generator | None,
        bits: int,
        tops: list[float] | None = None,
    ) -> dict[str, np.ndarray]:
        kept = None if rng is None else partial(_kept, rng, bits)
        run = Run(self.graph.graph.opset_imports, np.dtype(np.float64), 60.0, kept)
        known = {v: inputs[str(v.name)] for v in self.graph.graph.inputs if v.name in inputs}
        run.known.update({value: run.wanted(array) for value, array in known.items()})
        with np.errstate(all="ignore"):
            for node in self.graph.graph:
                here = replace(run, opsets=LATER) if node.op_type in CODES else run
                results = computed(node, here) if rng is None else _rounded(node, here, rng, bits)
                run.known.update(zip(node.outputs, results, strict=False))
                if tops is not None:
                    tops += [np.abs(x).max(initial=0.0) for x in results if _is_float(x)]
        return {str(v.name): np.asarray(run.value(v)) for v in self.graph.graph.outputs}


def _is_float(x: object) -> bool:
    return isinstance(x, np.ndarray) and x.dtype == np.float64


def _rounded(node: ir.Node, run: Run, rng: np.random.Generator, bits: int) -> list[np.ndarray]:
    moved = _moved(node, run, rng, bits)
    before = {value: run.known[value] for value in moved if value in run.known}
    run.known.update(moved)
    results = _summed(node, run, rng, bits) if node.op_type in CONTRACTIONS else computed(node, run)
    if node.op_type == "LayerNormalization":
        results[0] = results[0] + _of_the_mean(node, run, rng, bits)
    for value in moved:
        del run.known[value]
    run.known.update(before)
    return results


def _summed(node: ir.Node, run: Run, rng: np.random.Generator, bits: int) -> list[np.ndarray]:
    """A sum of products in two parts, each rounded: the first has some weights, no bias."""
    whole = computed(node, run)
    w = node.inputs[1] if len(node.inputs) > 1 else None
    if w is None or node.inputs.count(w) > 1 or not _is_float(whole[0]):
        return whole
    known = {v: run.known[v] for v in node.inputs[1:] if v is not None and v in run.known}
    some = rng.random(np.shape(run.value(w))) < 0.5
    run.known.update({v: np.zeros_like(run.value(v)) for v in node.inputs[2:] if v is not None})
    run.known[w] = np.asarray(run.value(w)) * some
    part = computed(node, run)[0]
    for value in node.inputs[1:]:
        run.known.pop(value, None)
    run.known.update(known)
    return [_either_way(part, rng, bits) + _either_way(whole[0] - part, rng, bits)]


def _of_the_mean(node: ir.Node, run: Run, rng: np.random.Generator, bits: int) -> np.ndarray:
    """What becomes of the mean's rounding, which is subtracted from all that are normalised."""
    x, gain = (np.asarray(run.value(value)) for value in node.inputs[:2])
    axes = tuple(range(node.attributes.get_int("axis", -1) % x.ndim, x.ndim))
    mean = x.mean(axes, keepdims=True)
    deviation = np.sqrt(x.var(axes, keepdims=True) + node.attributes.get_float("epsilon", 1e-5))
    return 2.0**-bits * rng.uniform(-1, 1, mean.shape) * mean / deviation * gain


def _kept(rng: np.random.Generator, bits: int, value: ir.Value, array: np.ndarray) -> np.ndarray:
    """What is kept of a result, here and in branches."""
    node = value.producer()
    if node is not None and node.op_type == "Sigmoid":
        # ONNX Runtime's is off by up to 1.5 units of 1's last place, however small it is.
        array = array + 1.5 * 2.0**-bits * rng.uniform(-1, 1, array.shape)
    return _either_way(array, rng, bits)


def _moved(
    node: ir.Node, run: Run, rng: np.random.Generator, bits: int
) -> dict[ir.Value, np.ndarray]:
    """Operands as they have to be for the roundings inside a sum."""
    if node.op_type in STEPS:
        return _beside_a_step(node, run, rng, bits)
    if node.op_type in AVERAGES:
        at = node.inputs[:1]
    elif node.op_type in CONTRACTIONS and not _exact_products(node, run, bits):
        at = node.inputs[1:2]
    else:
        return {}
    moved = {}
    for value in at:
        array = None if value is None else np.asarray(run.value(value))
        if array is not None and array.dtype == np.float64:
            noise = 2.0**-bits * rng.uniform(-1, 1, array.shape)
            # A product with a power of two is exact.
            moved[value] = np.where(np.frexp(array)[0] % 0.5 == 0, array, array * (1 + noise))
    return moved


def _beside_a_step(
    node: ir.Node, run: Run, rng: np.random.Generator, bits: int
) -> dict[ir.Value, np.ndarray]:
    """What jumps reads moved by units of its largest number: exactly on an edge is by luck."""
    value = node.inputs[0]
    array = None if value is None else np.asarray(run.value(value))
    if value is None or array is None or array.dtype != np.float64:
        return {}
    size = 2.0**-bits * np.abs(array).max(initial=0.0)
    return {value: array + size * rng.uniform(-1, 1, array.shape)}


def _exact_products(node: ir.Node, run: Run, bits: int) -> bool:
    """Integers whose products and sums all fit."""
    x, w = (np.asarray(run.value(value)) for value in node.inputs[:2])
    if np.any(x % 1) or np.any(w % 1) or not x.size or not w.size:
        return False
    terms = max(1, w.size // min(w.shape or (1,)))
    return float(np.abs(x).max() * np.abs(w).max() * terms) < 2.0**bits


def _either_way(result: np.ndarray, rng: np.random.Generator, bits: int) -> np.ndarray:
    """Rounded to so many bits, up or down at random; what needs no rounding stays."""
    if not isinstance(result, np.ndarray) or result.dtype != np.float64:
        return result
    unit = np.ldexp(1.0, np.frexp(result)[1] - bits)
    fine = unit if bits < FLOAT64_IS_ROUNDED else unit * 2.0 ** (bits - FLOAT64_IS_ROUNDED)
    down = np.floor(result / unit)
    up = rng.random(result.shape) < 0.5
    other = (down + up) * unit if fine is unit else result + (2.0 * up - 1) * unit
    rounded = np.where(result / fine == np.floor(result / fine), result, other)
    return np.where(np.isfinite(result), rounded, result)


def _around(noise: np.ndarray) -> np.ndarray:
    """For each element the smallest of the largest noises along its axes' slices.

    Of few elements all may be small by chance, where the author's scale is not: those say nothing.
    """
    axes = [a for a in range(noise.ndim) if noise.shape[a] > 1 and noise.size >= 8 * noise.shape[a]]
    if not axes:
        return np.broadcast_to(noise.max(initial=0.0), noise.shape)
    others = [tuple(b for b in range(noise.ndim) if b != a) for a in axes]
    return np.minimum.reduce(
        [np.broadcast_to(noise.max(axis=o, keepdims=True), noise.shape) for o in others]
    )


def _allowed(model: Model, name: str, r: np.ndarray, noise: np.ndarray) -> np.ndarray:
    # Both are rounded to what is given: at most half a unit each.
    return FACTOR * _around(noise) + 2.0 ** (1 - BITS[model.dtype]) * np.abs(r)


def quietest(model: Model, feeds: Iterable[Arrays], rng: np.random.Generator) -> dict[str, float]:
    """For each output the least noise that it has on inputs where it has any.

    At x = c the original computes x - c without noise, and so does nobody else: what is left there
    is beside what the author's own scale makes of other inputs.
    """
    least: dict[str, float] = {}
    for inputs in feeds:
        truth = model.truth(inputs)
        samples = [model.sample(inputs, rng) for _ in range(FEW)]
        for name, r in truth.items():
            size = max(float(_error(each[name], r).max(initial=0.0)) for each in samples)
            least[name] = min(size or np.inf, least.get(name, np.inf))
    return {name: size for name, size in least.items() if np.isfinite(size)}


def excess(
    model: Model,
    inputs: Arrays,
    a: Arrays,
    b: Arrays,
    rng: np.random.Generator,
    floor: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """For each output that B has wrong, how many times its error is what is allowed.

    `a` and `b` are what the engine gives of the original and of the result. Where A is not finite
    nothing is asked of B, nor where a value on the way is within sixteen times of the type's
    largest: another order of the same sums may be beyond.
    """
    truth = model.truth(inputs)
    least = floor or {}
    noise = {n: np.fmax(_error(a[n], truth[n]), least.get(n, 0.0)) for n in truth}
    noise = {n: np.fmax(noise[n], _once(a[n], truth[n], model.dtype)) for n in truth}
    for count, coarser in ((0, 0), (FEW, 0), (MANY, 0), (MANY, 4)):
        for _ in range(count):
            played = model.sample(inputs, rng, coarser)
            # Where it ends in no number at all, by its own rounding, nothing is asked of B.
            ends = np.inf if coarser == 0 else 0.0
            more = {name: _error(played[name], truth[name], ends) for name in truth}
            scale = 2.0**-coarser
            noise = {name: np.fmax(noise[name], scale * more[name]) for name in truth}
        found = {name: _worst(model, name, truth[name], a, b, noise[name]) for name in truth}
        if not any(value > 1 for value in found.values()):
            return {}
    if model.overflows(inputs):
        return {}
    return {name: value for name, value in found.items() if value > 1}


def _once(x: np.ndarray, r: np.ndarray, dtype: str) -> np.ndarray:
    """What a result is rounded by where it is stored, even if all before it is exact by luck."""
    with np.errstate(all="ignore"):
        size = 2.0 ** -BITS[dtype] * np.abs(np.asarray(r, np.float64))
    return np.where(np.isfinite(size) & (x.dtype.kind not in "biu"), size, 0.0)


def _error(x: np.ndarray, r: np.ndarray, ends: float = 0.0) -> np.ndarray:
    """How far x is from r; `ends` where one of them is no number."""
    with np.errstate(all="ignore"):
        error = np.abs(np.asarray(x, np.float64) - np.asarray(r, np.float64))
    return np.where(np.isfinite(error), error, ends)


def _worst(
    model: Model, name: str, r: np.ndarray, a: Arrays, b: Arrays, noise: np.ndarray
) -> float:
    if b[name].shape != a[name].shape or b[name].dtype != a[name].dtype:
        return np.inf
    if a[name].dtype.kind in "iub":
        noise = noise.astype(np.float64)
    asked = np.isfinite(a[name].astype(np.float64)) & np.isfinite(r.astype(np.float64))
    wide = b[name].astype(np.float64)
    with np.errstate(all="ignore"):
        times = np.abs(wide - r) / np.maximum(_allowed(model, name, r, noise), 1e-300)
    same = wide == a[name].astype(np.float64)
    asked &= ~same & np.isfinite(noise)
    times = np.where(asked, np.where(np.isfinite(wide), times, np.inf), 0.0)
    return float(np.max(times, initial=0.0))
