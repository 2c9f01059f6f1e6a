"""What the roundings inside a model do to its outputs: evaluated with each of them drawn at random.

    ã    A in float64, where each number that its own type cannot hold is moved by up to u of itself

u is the unit roundoff of the tensor. A number that the type holds was not rounded, and stays: the
difference of two neighbours, a mask of 0 and 1, an integer below 2²⁴. So |ã - r| is the noise of A
alone, on inputs that are what they are; moving the inputs themselves would add what the author's
subtraction of a constant takes away again (docs/numerics.md). Where all inputs are special numbers,
zeros or ones, much is exact by luck that is not in another order of the same sums: there all that
is computed is moved.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.engines.unoptimised import flat
from onebyone.graph.evaluate import evaluate
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.call import is_floating
from onebyone.graph.ops.row import Rounding
from onebyone.verify.bound import UNITS, unit_roundoff

__all__ = ["disturbed"]


def disturbed(
    model: ir.Model,
    inputs: Mapping[str, Array],
    rng: np.random.Generator,
    longest: float,
    lucky: bool = False,
) -> dict[str, Array]:
    """The outputs of one such evaluation, by name, in float64.

    Args:
        model: A.
        inputs: by name.
        rng: draws the roundings.
        longest: seconds that a Loop may take.
        lucky: whether what is exact is so by luck, and moved as well.

    Raises:
        CannotEvaluate: as `evaluate`.

    >>> import onnx.parser
    >>> text = "g (float[2] x) => (float[2] y) {y = Mul(x, x)}"
    >>> head = '<ir_version: 8, opset_import: ["": 17]>'
    >>> model = ir.from_proto(onnx.parser.parse_model(head + text))
    >>> x = {"x": np.float32([3, 1 + 2**-20])}
    >>> y = disturbed(model, x, np.random.default_rng(0), 600.0)["y"]
    >>> y[0], 0 < abs(y[1] / float(x["x"][1]) ** 2 - 1) <= 2**-24
    (np.float64(9.0), np.True_)
    """
    kinds: dict[ir.Value, np.dtype[np.generic]] = {}

    def rounded(value: ir.Value, array: Array) -> Array:
        kinds[value] = kind = _kind(value.producer(), kinds)
        return _moved(array, kind, value.producer(), rng, lucky)

    outputs = evaluate(model, inputs, longest=longest, rounded=rounded)
    return flat(outputs.items())


def _kind(
    node: ir.Node | None, kinds: Mapping[ir.Value, np.dtype[np.generic]]
) -> np.dtype[np.generic]:
    """The type that a node's floating results have: Cast says it, others keep their operand's."""
    if node is None:
        return np.dtype(np.float32)
    if node.op_type == "Cast" and (given := node.attributes.get_int("to", 0)):
        return ir.DataType(given).numpy()
    for value in filter(None, node.inputs):
        # A number that was evaluated before has the type that it was given then.
        if value in kinds and is_floating(kinds[value]):
            return kinds[value]
        if value not in kinds and value.dtype is not None and value.dtype in UNITS:
            return value.dtype.numpy()
    return np.dtype(np.float32)


def _moved(
    array: Array,
    kind: np.dtype[np.generic],
    node: ir.Node | None,
    rng: np.random.Generator,
    lucky: bool,
) -> Array:
    if node is not None and operator_of(node).rounding is Rounding.NEVER:
        return array
    moved = array * (1 + unit_roundoff(kind) * rng.uniform(-1, 1, array.shape))
    stays = ~np.isfinite(array)
    # A Cast of an integer is exact by no luck: there is no other order of it.
    if not lucky or (node is not None and node.op_type == "Cast"):
        stays |= _held(array, kind)
    return np.asarray(np.where(stays, array, moved))


def _held(array: Array, kind: np.dtype[np.generic]) -> Array:
    """Where a type can hold the numbers, so that nothing was rounded."""
    if kind == np.float64:  # which holds all that is evaluated here, whether it was rounded or not
        return np.asarray(array == np.rint(array))
    return np.asarray(array.astype(kind).astype(np.float64) == array)
