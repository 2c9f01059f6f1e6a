"""A model that fails when it is run: the request is wrong (exit 2), or the model is (exit 3)."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onebyone.engines.blame import leaves_choice
from onebyone.errors import UnreadableModel, UsageError
from onebyone.graph.read import read
from onebyone.optimize import optimize
from onebyone.verify.verify import verify

from ..graphs.text import integers, model

RESHAPE = ("y = Reshape(x, s)", {"s": np.array([2, 7])})
GATHER = ("y = Gather<axis = 1>(x, i)", {"i": np.array([9])})


def refusals(
    proto: onnx.ModelProto, *, shapes: dict[str, tuple[int, ...]] | None = None
) -> set[type]:
    """What `verify` and `optimize` raise."""
    raised = set()
    for call in (
        lambda: verify(proto, proto, shapes=shapes),
        lambda: optimize(proto, shapes=shapes),
    ):
        with pytest.raises((UsageError, UnreadableModel)) as caught:
            call()
        assert "\n" not in str(caught.value)
        raised.add(caught.type)
    return raised


@pytest.mark.parametrize(("body", "constants"), [RESHAPE, GATHER])
def test_where_every_size_is_declared_the_model_is_at_fault(
    body: str, constants: dict[str, np.ndarray]
) -> None:
    assert refusals(model(body, "float[3,5] x", "float[a,b] y", constants)) == {UnreadableModel}


@pytest.mark.parametrize(
    ("body", "inputs", "constants", "fits", "wrong"),
    [
        (RESHAPE[0], "float[N,2] x", RESHAPE[1], (7, 2), (5, 2)),
        ("y = MatMul(x, w)", "float[3,K] x", {"w": (5, 2)}, (3, 5), (3, 4)),
        ("y = Conv(x, w)", "float[1,C,5,4] x", {"w": (2, 6, 1, 1)}, (1, 6, 5, 4), (1, 7, 5, 4)),
    ],
)
def test_where_other_sizes_help_the_request_is(
    body: str,
    inputs: str,
    constants: dict[str, np.ndarray | tuple[int, ...]],
    fits: tuple[int, ...],
    wrong: tuple[int, ...],
) -> None:
    proto = model(body, inputs, f"float[{','.join('abcd'[: len(fits)])}] y", constants)
    assert refusals(proto) == refusals(proto, shapes={"x": wrong}) == {UsageError}
    assert verify(proto, proto, shapes={"x": fits}).passed


def test_where_other_indices_help_the_request_is() -> None:
    # Zeros do, and nobody sees that ones do not.
    constants = {"t": integers("t", (1, 5)), "k": np.array(2)}
    proto = model("j = Mul(i, k) y = Gather(t, j)", "int64[3] i", "float[3,5] y", constants)
    assert refusals(proto) == {UsageError}
    assert verify(proto, proto, data={"i": np.zeros(3, np.int64)}).passed


@pytest.mark.parametrize("group", [1, 4])
def test_a_convolution_whose_weight_fits_at_no_size(group: int) -> None:
    """5 channels come; the weight takes 3, or 12 in groups of 4."""
    body = f"t = Relu(x) y = Conv<group = {group}>(t, w)"
    proto = model(body, "float[N,3,H,W] x", "float[a,b,c,d] y", {"w": (8, 3, 1, 1)})
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 5
    assert refusals(proto) == refusals(proto, shapes={"x": (1, 5, 9, 7)}) == {UnreadableModel}
    with pytest.raises(UnreadableModel, match=f"5 channels and .* wanted {3 * group} channels"):
        verify(proto, proto)


def test_data_cannot_help_a_model_that_contradicts_itself() -> None:
    proto = model(RESHAPE[0], "float[3,5] x", "float[a,b] y", RESHAPE[1])
    with pytest.raises(UnreadableModel, match="declares every size itself"):
        verify(proto, proto, data={"x": np.ones((3, 5), np.float32)})


def test_what_the_engine_does_not_load_is_told_in_its_words() -> None:
    proto = model("y = Add(x, w)", "float[N,5] x", "float[N,b] y", {"w": (1, 1)})
    proto.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(np.ones((1, 4), np.float32), "w")
    )
    with pytest.raises(UnreadableModel, match=r"Incompatible dimensions; in NumPy: Add"):
        verify(proto, proto)


@pytest.mark.parametrize(
    ("inputs", "choice"),
    [
        ("float[3,5] x", False),
        ("float[N,5] x", True),
        ("float[3,5] x, int64[2] i", True),
        ("float[3,5] x, float16[2] i", False),
        ("float[3,5] x, bool[2] i", True),
    ],
)
def test_what_leaves_a_choice(inputs: str, choice: bool) -> None:
    assert leaves_choice(read(model("y = Relu(x)", inputs))) == choice
