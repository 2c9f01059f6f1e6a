"""What the kernels of selections write, against the onnx package's reference and ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onebyone.graph.evaluate import evaluate, reference
from onebyone.graph.ops import OPERATORS
from onebyone.graph.ops.call import call_of

from ...graphs.run import run
from ...graphs.text import integers, model

REDUCTIONS = [(11, "none"), (16, "none"), *((16, r) for r in ("add", "mul"))]
REDUCTIONS += [(18, r) for r in ("none", "add", "mul", "max", "min")]

# With the same place twice and more, the last update unlike those before it, and from the end.
PLACES = {
    "rows": np.array([[2], [0], [2], [-1], [-3], [2]]),
    "places": np.array([[[0, 4], [1, -1]], [[-3, 4], [0, -1]]]),
    "numbers": np.array([[2, 0, 1], [-1, -5, -1], [2, 0, 1]]),
    "nowhere": np.zeros((0, 2), np.int64),
}


def scattered(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A tensor, and updates of it at these indices."""
    x = integers("x", (3, 5, 2), 9)
    return x, integers("u", (*indices.shape[:-1], *x.shape[indices.shape[-1] :]), 9)


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(("opset", "reduction"), REDUCTIONS)
def test_scatter_nd_gives_what_the_engine_gives(opset: int, reduction: str, where: str) -> None:
    indices = PLACES[where]
    x, updates = scattered(indices)
    attribute = f'<reduction="{reduction}">' if reduction != "none" else ""
    proto = model(f"y = ScatterND {attribute} (x, i, u)", f"float{list(x.shape)} x",
                  constants={"i": indices, "u": updates}, opset=opset)  # fmt: skip
    (wanted,) = run(proto, {"x": x})
    assert np.array_equal(evaluate(ir.from_proto(proto), {"x": x})["y"], wanted["y"])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64, np.int8, bool])
def test_scatter_nd_goes_through_its_updates_in_order(
    kind: type, reduction: str, order: str
) -> None:
    """Sums of floats hang on the order of many updates of one place, in whatever memory order."""
    rng = np.random.default_rng(7)
    x = (8 * rng.standard_normal((4, 3))).astype(kind)
    indices = np.array(rng.integers(-3, 3, (20, 30, 1)), order=order)[::-1]
    updates = np.array((8 * rng.standard_normal((20, 30, 3))).astype(kind), order=order)[:, ::-1]
    node = ir.node("ScatterND", [ir.val(n) for n in "xiu"], {"reduction": reduction})
    kernel = OPERATORS["ScatterND"].value
    assert kernel is not None
    given = [x, indices, updates]
    before = x.copy()
    with np.errstate(all="ignore"):
        got, (wanted,) = kernel(call_of(node, 18), *given), reference(node, given, {"": 18})
    assert np.array_equal(got, wanted)
    assert got.dtype == wanted.dtype
    assert np.array_equal(x, before)


def test_scatter_nd_leaves_odd_shapes_to_the_reference() -> None:
    node = ir.node("ScatterND", [ir.val(n) for n in "xiu"])
    kernel, x = OPERATORS["ScatterND"].value, np.arange(6.0).reshape(3, 2)
    assert kernel is not None
    assert kernel(call_of(node, 18), x, np.array([[0]]), np.float64([7])) is None
    assert kernel(call_of(node, 18), x, np.zeros((1, 0), np.int64), x[None]) is None
    with pytest.raises(IndexError):
        kernel(call_of(node, 18), x, np.array([[3]]), np.zeros((1, 2)))
