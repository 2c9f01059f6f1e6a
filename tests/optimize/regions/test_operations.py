"""From plans to operators: where each bias ends up, and what weights come out."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from onebyone.algebra.laws import LAWS
from onebyone.optimize.regions.operations import (
    Concatenate,
    Convolved,
    Mapped,
    Moved,
    Operation,
    Source,
    Total,
    build,
)
from onebyone.optimize.regions.price import Pricer
from onebyone.optimize.regions.search import Planner

from ...graphs.text import model
from ..exact import COUNTING
from .test_lift import lifted

X = "float[2,3,5,4] x"


def built(proto: ModelProto, *laws: str, root: str = "y") -> Operation:
    """The operations of the best plan for the region of `root`; under all laws if none is named."""
    chosen = frozenset(laws or LAWS)
    plan = Planner(Pricer(COUNTING), chosen).best(lifted(proto, chosen)[root].term)
    assert plan is not None
    return build(plan)


def weights(proto: ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t).astype(int) for t in proto.graph.initializer}


def test_a_chain_becomes_one_map_with_one_bias() -> None:
    constants = {"w": (4, 3, 1, 1), "b": (4,), "v": (2, 4, 1, 1), "c": (2,)}
    proto = model("a = Conv(x, w, b) y = Conv(a, v, c)", X, constants=constants)
    (w, b, v, c), made = weights(proto).values(), built(proto)
    assert isinstance(made, Mapped)
    assert isinstance(made.operand, Source)
    assert (made.linear.weight == v[..., 0, 0] @ w[..., 0, 0]).all()
    assert (made.bias == v[..., 0, 0] @ b + c).all()


def test_a_bias_that_passes_a_space_is_taken_up_before_it() -> None:
    body = 'p = Resize<mode = "nearest">(x, , s) a = Add(p, b) y = Conv(a, w)'
    constants = {"s": np.array([1, 1, 2, 3], np.float32), "b": (3, 1, 1), "w": (4, 3, 1, 1)}
    proto = model(body, X, constants=constants)
    made = built(proto)
    assert isinstance(made, Moved)
    assert isinstance(made.operand, Mapped)
    held = weights(proto)
    assert (made.operand.bias == held["w"][..., 0, 0] @ held["b"][:, 0, 0]).all()
    assert isinstance(made.operand.operand, Source)


def test_a_bias_before_padding_is_added_before_it() -> None:
    body = "a = Conv(x, w, b) p = Pad(a, k) y = Conv(p, v)"
    constants = {"w": (4, 3, 1, 1), "b": (4,), "v": (1, 4, 1, 1),
                 "k": np.array([0, 0, 1, 0, 0, 0, 0, 2])}  # fmt: skip
    made = built(model(body, X, constants=constants))
    assert isinstance(made, Moved)
    assert isinstance(made.operand, Mapped)
    assert made.operand.bias is not None  # W₂b₁ stands before the padding, which keeps it inside


def test_a_bias_behind_padding_is_added_behind_it() -> None:
    constants = {"v": (1, 3, 1, 1), "c": (1,), "k": np.array([0, 0, 1, 0, 0, 0, 0, 2])}
    proto = model("p = Pad(x, k) y = Conv(p, v, c)", X, constants=constants)
    made = built(proto)
    assert isinstance(made, Mapped)
    assert made.linear.is_shift
    assert (made.bias == weights(proto)["c"]).all()
    assert isinstance(made.operand, Moved)
    assert isinstance(made.operand.operand, Mapped)
    assert made.operand.operand.bias is None


def test_a_matrix_product_has_its_bias_added() -> None:
    constants = {"w": (3, 4), "b": (4,), "v": (4, 2), "c": (2,)}
    body = "m = MatMul(x, w) a = Add(m, b) n = MatMul(a, v) y = Add(n, c)"
    proto = model(body, "float[2,5,3] x", constants=constants)
    made, held = built(proto), weights(proto)
    assert isinstance(made, Mapped)
    assert made.linear.is_shift
    assert (made.bias == held["v"].T @ held["b"] + held["c"]).all()
    assert isinstance(made.operand, Mapped)
    assert (made.operand.linear.weight == (held["w"] @ held["v"]).T).all()
    assert made.operand.bias is None


@pytest.mark.parametrize("laws", [("affine",), ("affine", "split")])
def test_a_shift_after_a_concat_is_divided_among_its_operands(laws: tuple[str, ...]) -> None:
    constants = {"w": (4, 3, 1, 1), "v": (2, 3, 1, 1), "b": (6, 1, 1)}
    body = "p = Conv(x, w) q = Conv(x, v) c = Concat<axis = 1>(p, q) y = Add(c, b)"
    proto = model(body, X, constants=constants)
    made, b = built(proto, *laws), weights(proto)["b"].ravel()
    assert isinstance(made, Concatenate)
    shares = [part.bias for part in made.operands if isinstance(part, Mapped)]
    assert [share.tolist() for share in shares] == [b[:4].tolist(), b[4:].tolist()]


def test_a_sum_gives_its_bias_to_one_summand() -> None:
    constants = {"w": (4, 3, 1, 1), "v": (4, 3, 1, 1), "b": (4, 1, 1)}
    body = "r = Relu(x) p = Conv(x, w) q = Conv(r, v) s = Add(p, q) y = Add(s, b)"
    proto = model(body, X, constants=constants)
    made = built(proto, "affine")
    assert isinstance(made, Total)
    biases = [part.bias for part in made.operands if isinstance(part, Mapped)]
    assert sum(bias is not None for bias in biases) == 1
    given = next(bias for bias in biases if bias is not None)
    assert (given == weights(proto)["b"].ravel()).all()


def test_biases_of_products_are_added_once_behind_their_sum() -> None:
    constants = {"w": (3, 4), "b": (4,), "v": (3, 4), "c": (4,)}
    body = "r = Relu(x) m = MatMul(x, w) a = Add(m, b) n = MatMul(r, v) d = Add(n, c) y = Add(a, d)"
    proto = model(body, "float[2,5,3] x", constants=constants)
    made, held = built(proto), weights(proto)
    assert isinstance(made, Mapped)
    assert made.linear.is_shift
    assert (made.bias == held["b"] + held["c"]).all()
    assert isinstance(made.operand, Total)
    assert [part.bias for part in made.operand.operands if isinstance(part, Mapped)] == [None] * 2


def test_a_bias_of_zeros_is_left_out() -> None:
    constants = {"w": (4, 3, 1, 1), "b": np.zeros(4, np.float32), "v": (2, 4, 1, 1)}
    made = built(model("a = Conv(x, w, b) y = Conv(a, v)", X, constants=constants))
    assert isinstance(made, Mapped)
    assert made.bias is None


def test_maps_around_a_kernel_are_multiplied_into_it() -> None:
    constants = {"u": (2, 3, 1, 1), "a": (2,), "k": (6, 2, 3, 2), "b": (6,), "s": (6, 1, 1)}
    proto = model("i = Conv(x, u, a) c = Conv(i, k, b) y = Mul(c, s)", X, constants=constants)
    held, made = weights(proto), built(proto)
    assert isinstance(made, Convolved)
    # 3→2 and then 2→6 by 6 taps stays in two parts; the scale behind it costs nothing inside.
    scale = held["s"].ravel()
    assert (made.weight == held["k"] * scale[:, None, None, None]).all()
    assert (made.bias == held["b"] * scale).all()
    assert isinstance(made.operand, Mapped)
    assert (made.operand.bias == held["a"]).all()


def test_a_kernel_without_padding_takes_a_shift_before_it() -> None:
    constants = {"s": (3, 1, 1), "t": (3, 1, 1), "k": (4, 3, 2, 2)}
    proto = model("m = Mul(x, s) a = Add(m, t) y = Conv(a, k)", X, constants=constants)
    held, made = weights(proto), built(proto)
    assert isinstance(made, Convolved)
    assert isinstance(made.operand, Source)
    s, t, k = held["s"].ravel(), held["t"].ravel(), held["k"]
    assert (made.weight == k * s[:, None, None]).all()
    assert (made.bias == np.einsum("oikl,i->o", k, t)).all()


def test_a_kernel_with_padding_leaves_the_shift() -> None:
    constants = {"s": (3, 1, 1), "t": (3, 1, 1), "k": (4, 3, 3, 3)}
    body = "m = Mul(x, s) a = Add(m, t) y = Conv<pads = [1, 1, 1, 1]>(a, k)"
    made = built(model(body, X, constants=constants))
    assert isinstance(made, Convolved)
    assert made.bias is None
    assert isinstance(made.operand, Mapped)
    assert made.operand.bias is not None
