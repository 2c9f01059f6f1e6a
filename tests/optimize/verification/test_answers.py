"""What the original gives, and what is known of how the engine computes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto

from onebyone.errors import UsageError
from onebyone.graph.read import read
from onebyone.graph.time_limit import TakesTooLong
from onebyone.optimize.verification import answers, engine
from onebyone.optimize.verification.answers import Answer, Reference, noise
from onebyone.optimize.verification.engine import Array, Run
from onebyone.optimize.verification.inputs import Feed
from onebyone.optimize.verification.verify import verify

from ...graphs.text import model


def floor(body: str, x: str = "float[1] x") -> float:
    """What the engine loses in the output of these nodes, at values of any size."""
    proto = model(body, x)
    y = {"y": np.zeros(1, np.float32)}
    answer = Answer(Feed("random", {}), y)
    return noise(read(proto), answer, Reference(y, "", independent=False), "y").floor


@pytest.mark.parametrize(
    ("body", "holds"),
    [
        ("y = Sigmoid(x)", True),
        ("s = Sigmoid(x) n = Neg(x) y = Concat<axis = 0>(n, s)", True),
        ("s = Sigmoid(x) r = Identity(s) y = Identity(r)", True),
        ("s = Sigmoid(x) y = Neg(s)", False),
        ("y = Identity(x)", False),
    ],
)
def test_a_sigmoid_is_seen_through_layout_alone(body: str, holds: bool) -> None:
    assert (floor(body) > 0) == holds


def test_a_tensor_joined_with_itself_again_and_again_is_looked_at_once() -> None:
    """2^70 paths lead back to the input, which is empty."""
    names = ["x", *(f"v{k}" for k in range(69)), "y"]
    body = " ".join(f"{b} = Concat<axis = 0>({a}, {a})" for a, b in pairwise(names))
    assert floor(body, "float[0] x") == 0


@pytest.mark.parametrize("error", [MemoryError(), TakesTooLong("a run", 60)])
@pytest.mark.parametrize("scarce", [1, 2, 3])
def test_where_memory_or_time_is_short(
    scarce: int, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs of our own choice may be too large for this machine, those of the caller's not."""
    real = answers.opened

    @contextmanager
    def short(proto: ir.Model) -> Iterator[Run]:
        with real(proto) as run:

            def scarcely(inputs: Mapping[str, Array]) -> dict[str, Array]:
                if len(inputs["x"]) == scarce:
                    raise error
                return run(inputs)

            yield scarcely

    proto = model("y = Relu(x)", "float[N,3] x")
    monkeypatch.setattr(answers, "opened", short)
    if scarce == 1:
        with pytest.raises(type(error)):
            verify(proto, proto)
        return
    certificate = verify(proto, proto)
    assert certificate.passed
    assert (len(certificate.trials), len(certificate.skipped)) == (2, 1)


def test_what_fails_is_told_in_one_line_however_long_the_names() -> None:
    name = "longer" * 1000
    proto = model(f"y = Reshape(x, {name})", f"float[2,3] x, int64[1] {name}", "float[k] y")
    with pytest.raises(UsageError, match="the original fails; give sizes or data") as raised:
        verify(proto, proto)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize("said", ["std::bad_alloc", "Failed to allocate memory for requested"])
def test_an_engine_without_memory_refuses_nothing(said: str) -> None:
    with pytest.raises(MemoryError, match="ONNX Runtime: "), engine._told():
        raise RuntimeError(f"while running Pad node: {said}")


@pytest.mark.parametrize(
    ("inside", "outside", "kind", "fault"),
    [("FLOAT", "double", np.float32, 1e-3), ("FLOAT16", "float", np.float16, 0.3)],
)
def test_a_model_that_is_coarser_inside_than_at_its_border(
    inside: str, outside: str, kind: type[np.floating], fault: float
) -> None:
    """Its outputs hold what it rounds inside, and a rewrite rounds otherwise."""
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 9, 9, 1, 1)).astype(kind)
    down, up = (TensorProto.DataType.Value(k) for k in (inside, outside.upper()))

    def made(body: str, **weights: np.ndarray) -> onnx.ModelProto:
        cast = f"c = Cast<to = {down}>(x) {body} y = Cast<to = {up}>(s)"
        border = f"{outside}[2,9,3,5]"
        return model(cast, f"{border} x", f"{border} y", weights)

    original = made("h = Conv(c, w) s = Conv(h, v)", w=first, v=second)
    product = second[..., 0, 0].astype(np.float64) @ first[..., 0, 0]
    honest, wrong = product.astype(kind)[..., None, None], (product + fault).astype(kind)
    once = verify(original, made("s = Conv(c, w)", w=honest))
    assert once.passed, once.worst
    assert not verify(original, made("s = Conv(c, w)", w=wrong[..., None, None])).passed
