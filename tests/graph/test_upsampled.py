"""Nearest upsamplings, in every spelling; and what only looks like one."""

from __future__ import annotations

import numpy as np
import pytest

from onebyone.algebra.refusal import Refusal
from onebyone.graph.read import read
from onebyone.graph.shapes import infer
from onebyone.graph.upsampled import Upsampled, upsampled

from ..graphs.run import run
from ..graphs.text import feed, model

FREE = "float[N,3,H,W] x"
FIXED = "float[2,3,4,5] x"
FLOOR = 'mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'
S = {"s": np.array([1, 1, 2, 3], np.float32)}


def found(body: str, inputs: str, opset: int = 17, **constants: object) -> object:
    graph = read(model(body, inputs, "y", constants, opset=opset))
    infer(graph)
    return upsampled(graph.graph.outputs[0])


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


@pytest.mark.parametrize(
    ("body", "inputs", "constants", "factors"),
    [
        (f"y = Resize<{FLOOR}>(x, , s)", FREE, S, (2, 3)),
        ('y = Resize<mode = "nearest">(x, , s)', FREE, S, (2, 3)),
        (f"y = Resize<{FLOOR}>(x, , , z)", FIXED, {"z": ints(2, 3, 8, 15)}, (2, 3)),
        # By sizes that are computed.
        (f"h = Shape<start = 2>(x) b = Shape<end = 2>(x) d = Mul(h, t) q = Concat<axis = 0>(b, d)"
         f"y = Resize<{FLOOR}>(x, , , q)", FREE, {"t": ints(2, 3)}, (2, 3)),
        ("u = Unsqueeze(x, a) e = Expand(u, f) y = Reshape(e, z)", FIXED,
         {"a": ints(3, 5), "f": ints(1, 1, 1, 2, 1, 3), "z": ints(2, 3, 8, 15)}, (2, 3)),
        ("u = Unsqueeze(x, a) v = Unsqueeze(u, b) e = Tile(v, f) y = Reshape(e, z)", FIXED,
         {"a": ints(3), "b": ints(5), "f": ints(1, 1, 1, 2, 1, 3), "z": ints(2, 3, 8, 15)},
         (2, 3)),
        ("u = Reshape(x, r) e = Expand(u, f) y = Reshape(e, z)", FIXED,
         {"r": ints(2, 3, 4, 1, 5, 1), "f": ints(2, 3, 4, 2, 5, 3), "z": ints(2, 3, 8, 15)},
         (2, 3)),
        # One axis after the other, and twice.
        ("u = Unsqueeze(x, a) e = Expand(u, f) v = Reshape(e, z)"
         "w = Unsqueeze(v, b) g = Expand(w, h) y = Reshape(g, k)", FIXED,
         {"a": ints(3), "f": ints(1, 1, 1, 2, 1), "z": ints(2, 3, 8, 5),
          "b": ints(4), "h": ints(1, 1, 1, 1, 3), "k": ints(2, 3, 8, 15)}, (2, 3)),
        (f"u = Resize<{FLOOR}>(x, , s) y = Resize<{FLOOR}>(u, , s)", FREE, S, (4, 9)),
        # Axes of one position.
        ("u = Unsqueeze(x, a) e = Expand(u, f) y = Reshape(e, z)", "float[1,1,1,5] x",
         {"a": ints(3, 5), "f": ints(1, 1, 1, 2, 1, 3), "z": ints(1, 1, 2, 15)}, (2, 3)),
        (f"y = Resize<{FLOOR}>(x, , s)", "float[N,3,L] x",
         {"s": np.array([1, 1, 4], np.float32)}, (4,)),
    ],
)  # fmt: skip
def test_spellings(
    body: str, inputs: str, constants: dict[str, np.ndarray], factors: tuple[int, ...]
) -> None:
    up = found(body, inputs, **constants)
    assert isinstance(up, Upsampled)
    assert (up.factors, up.x.name) == (factors, "x")
    proto = model(body, inputs, "y", constants)
    data = feed(proto, N=2, H=3, W=2, L=5)
    (y,) = run(proto, data)
    x = data["x"]
    for axis, factor in enumerate(factors, start=2):
        x = np.repeat(x, factor, axis)
    assert np.array_equal(y["y"], x)


def test_upsample_of_opset_9() -> None:
    up = found('y = Upsample<mode = "nearest">(x, s)', FREE, 9, **S)
    assert isinstance(up, Upsampled)
    assert up.factors == (2, 3)


@pytest.mark.parametrize(
    ("body", "constants"),
    [
        ('y = Resize<mode = "nearest", nearest_mode = "floor">(x, , s)', S),
        ('y = Resize<mode = "nearest", coordinate_transformation_mode = "align_corners">(x, , s)',
         S),
        # Rounded, 2/3 is nearer to 1.
        ('y = Resize<mode = "nearest", coordinate_transformation_mode = "asymmetric">(x, , s)', S),
    ],
)  # fmt: skip
def test_other_positions_are_copied(body: str, constants: dict[str, np.ndarray]) -> None:
    for inputs in (FREE, FIXED):
        assert isinstance(found(body, inputs, **constants), Refusal)


@pytest.mark.parametrize(
    ("body", "constants"),
    [
        ("y = Relu(x)", {}),
        ('y = Resize<mode = "linear">(x, , s)', S),
        (f"y = Resize<{FLOOR}>(x, , s)", {"s": np.array([1, 1, 1.5, 2], np.float32)}),
        (f"y = Resize<{FLOOR}>(x, , s)", {"s": np.array([1, 2, 2, 2], np.float32)}),
        # 9 of 4 positions, and 10 of 5, which are whole by rounding.
        (f"y = Resize<{FLOOR}>(x, , s)", {"s": np.array([1, 1, 1, 2.1], np.float32)}),
        # The whole map twice, not each position.
        ("y = Tile(x, f)", {"f": ints(1, 1, 2, 3)}),
        ("u = Unsqueeze(x, a) e = Expand(u, f) y = Reshape(e, z)",
         {"a": ints(2), "f": ints(1, 1, 2, 1, 1), "z": ints(2, 3, 8, 5)}),
        # Merged with its neighbour.
        ("u = Unsqueeze(x, a) e = Expand(u, f) y = Reshape(e, z)",
         {"a": ints(3), "f": ints(1, 1, 1, 2, 1), "z": ints(2, 3, 4, 10)}),
        # Channels.
        ("u = Unsqueeze(x, a) e = Expand(u, f) y = Reshape(e, z)",
         {"a": ints(2), "f": ints(1, 1, 2, 1, 1), "z": ints(2, 6, 4, 5)}),
    ],
)  # fmt: skip
def test_no_upsampling(body: str, constants: dict[str, np.ndarray]) -> None:
    assert found(body, FIXED, **constants) is None
