"""What the original gives, and what is known of how the engine computes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import ModelProto, TensorProto

from onebyone.algebra.weights import Array
from onebyone.engines import unoptimised
from onebyone.engines.inputs import Feed
from onebyone.engines.unoptimised import Run
from onebyone.errors import UsageError
from onebyone.graph.read import read
from onebyone.graph.time_limit import TakesTooLong
from onebyone.verify import answers
from onebyone.verify.answers import Answer, Reference, noise
from onebyone.verify.verify import verify

from ..graphs.text import model


def floor(body: str, x: str = "float[1] x") -> float:
    """What the engine loses in the output of these nodes, at values of any size."""
    proto = model(body, x)
    y = {"y": np.zeros(1, np.float32)}
    answer = Answer(Feed("random", {}), y)
    return noise(read(proto), answer, Reference(y, "", independent=False), "y").floor


def test_weights_of_no_type_do_not_set_the_unit() -> None:
    """Written by a damaged file; no node reads it."""
    proto = model("y = Identity(x)", "float[1] x")
    read_model = read(proto)
    odd = ir.Value(name="odd", type=ir.TensorType(ir.DataType.UNDEFINED))
    read_model.graph.initializers["odd"] = odd
    y = {"y": np.zeros(1)}
    found = noise(read_model, Answer(Feed("random", {}), y), Reference(y, "", False), "y")
    assert found.unit == 2.0**-24


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
    with pytest.raises(MemoryError, match="ONNX Runtime: "), unoptimised._one_line():
        raise RuntimeError(f"while running Pad node: {said}")


# --- outputs that do not depend on the inputs -------------------------------------------------

FAR = {"x": np.full((2, 3), 10, np.float32) + np.float32([[0, 1, 2], [3, 4, 5]])}


def dead(low: float = -1e4) -> ModelProto:
    """Zero for all that is drawn, and where the constant is met is not to be read off the graph."""
    body = "e = Exp(x) h = Add(e, k) y = Relu(h)"
    return model(body, "float[2,3] x", constants={"k": np.float32([low])})


def test_what_a_constant_hides_from_random_inputs_is_found_near_it() -> None:
    """Both are 0 for all that a standard normal gives, and differ near 50."""

    def hidden(low: float) -> ModelProto:
        body = "h = Add(x, k) y = Relu(h)"
        return model(body, "float[2,3] x", constants={"k": np.float32([low])})

    certificate = verify(hidden(-50), hidden(-50.001))
    assert all(trial.passed for trial in certificate.trials)
    assert not certificate.passed
    assert certificate.worst.startswith("near 50 input, output 'y': further from the reference")
    assert verify(hidden(-50), hidden(-50)).constants == ()


def test_an_output_that_is_always_zero_is_no_proof() -> None:
    other = dead(-2e4)  # another function, and equal where it is 0
    certificate = verify(dead(), other)
    assert certificate.passed
    assert certificate.constants == ("y",)
    assert certificate.verdict.startswith("the models give the same constants")
    assert "compute the same" not in str(certificate)
    assert all(words in str(certificate) for words in ("constants  'y'", "as data"))
    told = certificate.to_dict()
    assert (told["constants"], told["verdict"]) == (["y"], certificate.verdict)
    assert told["trials"][0]["outputs"][0]["constant"]
    assert not verify(dead(), other, data=FAR).passed


def test_data_on_which_it_varies_make_it_one() -> None:
    certificate = verify(dead(), dead(), data=FAR)
    assert [trial.outputs[0].constant for trial in certificate.trials] == [False, True]
    assert certificate.constants == ()
    assert certificate.verdict == "the models compute the same"


@pytest.mark.parametrize(
    ("body", "x", "y"),
    [
        # 1 + 2^-26 tanh x is 1, or a neighbour of it.
        ("t = Tanh(x) s = Mul(t, k) y = Add(s, one)", "float[2,3] x", "float[2,3] y"),
        ("h = Abs(x) y = ArgMin(h)", "float[1,1] x", "int64[1,1] y"),
        ("n = Less(x, x) y = NonZero(n)", "float[2,3] x", "int64[2,k] y"),
        ("c = Cast<to = 1>(x) s = Mul(c, zero) y = Add(s, one)", "int64[2,3] x", "float[2,3] y"),
    ],
)
def test_a_constant_but_for_rounding_an_index_nothing_at_all(body: str, x: str, y: str) -> None:
    init = {"k": np.float32([2**-26]), "zero": np.float32([0]), "one": np.float32([1])}
    proto = model(body, x, y, {name: value for name, value in init.items() if name in body})
    assert verify(proto, proto).constants == ("y",)


@pytest.mark.parametrize(
    ("body", "x", "y"),
    [
        ("y = Neg(x)", "float[2,3] x", "float[2,3] y"),
        ("y = Neg(x)", "int64[2,3] x", "int64[2,3] y"),
        ("y = ArgMax<axis = 1>(x)", "float[40,9] x", "int64[40,1] y"),
        ("y = Greater(x, k)", "float[2,3] x", "bool[2,3] y"),
        ("y = Mul(x, tiny)", "float[20,30] x", "float[20,30] y"),
    ],
)
def test_what_varies_is_no_constant(body: str, x: str, y: str) -> None:
    """Nor is what varies among the smallest numbers there are."""
    init = {"k": np.float32([0]), "tiny": np.float32([1e-43])}
    proto = model(body, x, y, {name: value for name, value in init.items() if f"{name})" in body})
    certificate = verify(proto, proto)
    assert certificate.constants == ()
    assert certificate.verdict == "the models compute the same"


def test_one_constant_among_others_is_told_apart() -> None:
    proto = dead()
    proto.graph.node.extend(model("z = Neg(x)", "float[2,3] x", "float[2,3] z").graph.node)
    proto.graph.output.extend(model("z = Neg(x)", "float[2,3] x", "float[2,3] z").graph.output)
    certificate = verify(proto, proto)
    assert certificate.constants == ("y",)
    assert certificate.verdict.startswith("the models compute the same, but")


def test_a_model_without_inputs_is_compared_whole() -> None:
    proto = model("y = Neg(k)", "", "float[1] y", {"k": np.float32([3])})
    assert verify(proto, proto).constants == ()


def test_data_say_which_inputs_are_in_the_domain() -> None:
    """Random inputs on which A is NaN fail by themselves, and prove nothing against B's."""
    proto = model("h = Add(x, k) y = Sqrt(h)", "float[2,3] x", constants={"k": np.float32([-5])})
    assert verify(proto, proto).undecided
    certificate = verify(proto, proto, data=FAR)
    assert certificate.passed
    assert [trial.kind for trial in certificate.trials] == ["given"]
    assert "NaN" in certificate.skipped[0]
    # B may not be another number where A is NaN, data or not.
    other = model(
        "g = Add(x, k) h = Abs(g) y = Sqrt(h)", "float[2,3] x", constants={"k": np.float32([-5])}
    )
    for data in (None, FAR):
        assert not verify(proto, other, data=data).passed
        assert not verify(proto, other, data=data).undecided


def _cancelling(order: str, kind: str, fault: float = 0.0) -> ModelProto:
    """x + 1e5 - 1e5 + x, or with the constants first, in the other order."""
    bodies = {"one": "s = Add(x, c) d = Sub(s, c) y = Add(d, x)",
              "other": "s = Add(c, x) d = Add(s, x) y = Sub(d, b)"}  # fmt: skip
    dtype = np.float64 if kind == "double" else np.float32
    constants = {"c": np.array([1e5], dtype), "b": np.array([1e5 + fault], dtype)}
    names = "cb" if order == "other" else "c"
    return model(
        bodies[order], f"{kind}[3,5] x", f"{kind}[3,5] y", {n: constants[n] for n in names}
    )


def test_a_float64_model_is_measured_by_its_own_roundings() -> None:
    """They are as large as those of the evaluation that it is compared with."""
    assert verify(_cancelling("one", "double"), _cancelling("other", "double")).passed
    wrong = _cancelling("other", "double", 1e-3)
    assert not verify(_cancelling("one", "double"), wrong).passed


def test_of_a_model_that_loses_its_digits_nothing_can_be_said() -> None:
    found = verify(_cancelling("one", "float"), _cancelling("other", "float"))
    assert not found.passed
    assert found.undecided


def test_where_the_original_overflows_nothing_can_be_said() -> None:
    factors = {"k": np.float32([3e38]), "m": np.float32([1e-38])}
    proto = model("a = Mul(x, k) y = Mul(a, m)", "float[4,5] x", constants=factors)
    product = {"km": factors["k"] * factors["m"]}
    found = verify(proto, model("y = Mul(x, km)", "float[4,5] x", constants=product))
    assert not found.passed
    assert found.undecided
    # Elsewhere B has to be right.
    wrong = model("y = Mul(x, km)", "float[4,5] x", constants={"km": np.float32([3.1])})
    assert not verify(proto, wrong).undecided


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


@pytest.mark.parametrize(
    "kind", ["uint4", "int4", "uint2", "int2", "float8e5m2", "float8e4m3fn", "float4e2m1"]
)
def test_numbers_of_a_few_bits_are_inputs_too(kind: str) -> None:
    """ONNX Runtime takes none from Python: NumPy runs the model, on all that it is asked."""
    x = onnx.helper.make_tensor_value_info("x", getattr(TensorProto, kind.upper()), [3, 5])
    y = onnx.helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 5])
    cast = onnx.helper.make_node("Cast", ["x"], ["c"], to=TensorProto.FLOAT)
    for op, same in (("Add", True), ("Mul", False)):
        graphs = [
            onnx.helper.make_graph(
                [cast, onnx.helper.make_node(o, ["c", "c"], ["y"])], "g", [x], [y]
            )
            for o in ("Add", op)
        ]
        a, b = (
            onnx.helper.make_model(
                graph, ir_version=13, opset_imports=[onnx.helper.make_opsetid("", 25)]
            )
            for graph in graphs
        )
        assert verify(a, b).passed == same
