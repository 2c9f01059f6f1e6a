"""The verifier: honest rewrites pass, faults do not, and what cannot be known fails."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onebyone.engines.engine import EngineRefuses
from onebyone.errors import CheckFailed, UnreadableModel, UsageError
from onebyone.graph.read import read
from onebyone.verify.verify import Certificate, verify

from ..graphs.drawn import sample
from ..graphs.text import feed, integers, model
from ..optimize.networks import CLASSES, FAULTS, composed, deep, edited

FLOAT = TensorProto.FLOAT

SHAPE = {"x": (1, 5, 17, 23)}


# --- rounding passes, faults do not ---------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("pooled", [False, True])
def test_an_honest_rewrite_passes(pooled: bool, seed: int) -> None:
    original = deep(pooled=pooled, seed=seed)
    certificate = verify(original, composed(original), shapes=SHAPE, seed=seed)
    assert certificate.passed, certificate.worst
    assert 0 < certificate.max_abs_error <= certificate.bound
    assert [trial.kind for trial in certificate.trials] == ["random", "drawn", "drawn"]


@pytest.mark.parametrize(
    ("fault", "pooled"),
    [
        pytest.param(fault, pooled, marks=[] if pooled == k % 2 else [pytest.mark.slow])
        for k, fault in enumerate(sorted(FAULTS))
        for pooled in (False, True)
    ],
)
def test_a_fault_is_rejected_and_located(pooled: bool, fault: str) -> None:
    original = deep(pooled=pooled)
    certificate = verify(original, edited(original, FAULTS[fault]), shapes=SHAPE)
    assert not certificate.passed
    assert certificate.used > 1
    assert all(word in certificate.worst for word in ("'y'", "A has", "B ", "the reference"))


def test_the_fault_of_one_small_channel_is_found_there() -> None:
    original = deep()
    certificate = verify(original, edited(original, FAULTS["the small class"]), shapes=SHAPE)
    random = certificate.trials[0].outputs[0]
    # The tensor as a whole is well within its bound: only the slice of the channel shows it.
    assert random.max_abs_error < random.bound
    assert ", 2, " in random.element
    assert not random.passed


def unlikely(proto: ModelProto, shift: float) -> ModelProto:
    """The model with a Sigmoid at its end that gives about e^-shift everywhere."""
    proto.graph.node[-1].output[0] = "logits"
    proto.graph.initializer.append(numpy_helper.from_array(np.float32(shift), "shift"))
    steps = ("Sub", "logits shift", "less"), ("Sigmoid", "less", "p"), ("Transpose", "p", "q")
    for operator, inputs, output in (*steps, ("Transpose", "q", "y")):
        proto.graph.node.append(onnx.helper.make_node(operator, inputs.split(), [output]))
    return proto


@pytest.mark.parametrize("shift", [14.0, 18.0, 30.0])
def test_small_probabilities_are_held_to_what_the_engine_gives(shift: float) -> None:
    """Its Sigmoid has an absolute error, beside which such values are nothing."""
    original, other = unlikely(deep(), shift), unlikely(composed(deep()), shift)
    certificate = verify(original, other, shapes=SHAPE)
    assert certificate.passed, certificate.worst
    assert certificate.reference == "A in float64"


def test_a_fault_in_small_probabilities_is_rejected() -> None:
    assert not verify(unlikely(deep(), 12.0), unlikely(deep(), 11.5), shapes=SHAPE).passed


def test_the_same_model_is_the_same() -> None:
    certificate = verify(deep(), deep(), shapes=SHAPE)
    assert certificate.passed
    assert certificate.max_abs_error == max(
        output.error_of_a for output in certificate.trials[0].outputs
    )


def test_exact_networks_have_no_error() -> None:
    for drawn in sample(8, 3):
        certificate = verify(drawn.model, drawn.model, data=drawn.feeds[0])
        given = certificate.trials[0]
        assert given.kind == "given"
        assert all(output.max_abs_error == 0 for output in given.outputs)
        assert certificate.passed, certificate.worst


def test_an_integer_network_off_by_one_is_rejected() -> None:
    weight = integers("w", (3, 5, 1, 1))
    original = model("y = Conv(x, w)", "float[2,5,7,6] x", constants={"w": weight})
    faulty = edited(original, {"w": lambda w: w + (np.arange(w.size) == 4).reshape(w.shape)})
    certificate = verify(original, faulty, data=feed(original))
    assert not certificate.passed
    assert certificate.trials[0].outputs[0].max_abs_error >= 1


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_every_precision_has_its_own_bound(dtype: type) -> None:
    original = deep(dtype)
    certificate = verify(original, composed(original), shapes=SHAPE)
    assert certificate.passed, certificate.worst
    unit = float(ml_dtypes.finfo(dtype).eps) / 2
    # The outputs are of the order of one: a bound of a thousand roundings, at most.
    assert certificate.bound < 1000 * unit
    # bfloat16 has three digits: the fault has to be larger than what rounding does.
    faulty = edited(original, FAULTS["a square matrix is transposed"])
    assert not verify(original, faulty, shapes=SHAPE).passed


def test_the_engine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ONNX Runtime" in verify(deep(), deep(), shapes=SHAPE).engine
    told = verify(deep(ml_dtypes.bfloat16), deep(ml_dtypes.bfloat16), shapes=SHAPE)
    assert told.engine.startswith("NumPy")
    assert "bfloat16" in told.engine
    assert told.reference == "A in float64"


# --- what is compared -----------------------------------------------------------------------


def test_other_sizes_are_drawn_only_where_they_are_free() -> None:
    fixed = model("y = Relu(x)", "float[2,3,5,4] x")
    assert [trial.kind for trial in verify(fixed, fixed).trials] == ["random"]
    certificate = verify(deep(), deep(), shapes={"x": (1, 5, 9, 11)})
    sizes = [dict(trial.shapes)["x"] for trial in certificate.trials]
    assert sizes[0] == (1, 5, 9, 11)
    for n, c, h, w in sizes[1:]:
        assert n > 1
        assert c == 5
        assert h != w
    assert any(size % 2 for shape in sizes[1:] for size in shape[2:])


def test_a_size_that_the_original_refuses_is_skipped_and_said() -> None:
    def halves(fault: float) -> ModelProto:
        return model(
            "h = Reshape(x, s) y = Mul(h, k)",
            "float[N,6] x",
            constants={"s": np.array([-1, 8]), "k": np.float32([fault])},
        )

    certificate = verify(halves(2), halves(2), shapes={"x": (4, 6)})
    assert certificate.passed
    assert len(certificate.trials) + len(certificate.skipped) == 3
    assert any("drawn" in reason for reason in certificate.skipped)
    assert not verify(halves(2), halves(3), shapes={"x": (4, 6)}).passed


def test_the_nominal_size_has_to_work() -> None:
    proto = model("y = Reshape(x, s)", "float[N,6] x", constants={"s": np.array([-1, 7])})
    with pytest.raises(UsageError, match="sizes or data"):
        verify(proto, proto, shapes={"x": (1, 6)})


def test_the_callers_data_come_first_and_count() -> None:
    """Equal on every random input, not on the one that the caller has."""
    at = "y = Where(m, a, x)"
    proto = model(f"m = Equal(x, k) a = Mul(x, f) {at}", "float[3] x",
                  constants={"k": np.float32([12345]), "f": np.float32([1])})  # fmt: skip
    other = edited(proto, {"f": lambda f: f + 1})
    assert verify(proto, other).passed
    data = {"x": np.array([1, 12345, 2])}
    certificate = verify(proto, other, data=data)
    assert not certificate.passed
    assert [trial.passed for trial in certificate.trials] == [False, True]
    assert "given" in certificate.worst


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "wanted exactly"),
        ({"z": np.zeros(3)}, "wanted exactly"),
        ({"x": np.zeros((3, 1))}, "shape"),
        ({"x": np.array(["a", "b", "c"])}, "wanted float32"),
    ],
)
def test_data_that_do_not_fit_are_refused(data: dict[str, np.ndarray], said: str) -> None:
    proto = model("y = Relu(x)", "float[3] x")
    with pytest.raises(UsageError, match=said) as caught:
        verify(proto, proto, data=data)
    assert "\n" not in str(caught.value)


def test_integer_inputs_that_index_are_drawn_small() -> None:
    table = integers("t", (2, 5))
    proto = model("y = Gather(t, i)", "int64[3,4] i", constants={"t": table})
    certificate = verify(proto, edited(proto, {"t": lambda t: t * 1.0}))
    assert certificate.passed
    assert not verify(proto, edited(proto, {"t": lambda t: -t})).passed


@pytest.mark.parametrize(
    "other",
    [
        model("z = Relu(x)", "float[3] x", "z"),
        model("y = Relu(w)", "float[3] w"),
        model("y = Cast <to=11> (x)", "float[3] x", "double[3] y"),
        model("y = Relu(x)", "float[1,3] x"),
        model("h = Relu(x) y = Unsqueeze(h, a)", "float[3] x", constants={"a": np.array([0])}),
    ],
)
def test_another_interface_is_another_model(other: ModelProto) -> None:
    with pytest.raises(CheckFailed) as caught:
        verify(model("y = Relu(x)", "float[3] x"), other)
    assert "\n" not in str(caught.value)


def test_a_model_that_cannot_run_is_not_the_same() -> None:
    original = model("y = Relu(x)", "float[3] x")
    foreign = model("y = Relu(x)", "float[3] x")
    foreign.graph.node[0].domain = "com.example"
    foreign.opset_import.add(domain="com.example", version=1)
    with pytest.raises(CheckFailed, match="A runs and B does not"):
        verify(original, foreign)
    with pytest.raises(UnreadableModel):
        verify(foreign, foreign)


def test_a_size_that_only_b_refuses_is_a_failure() -> None:
    original = model("y = Mul(x, k)", "float[N] x", constants={"k": np.ones(1, np.float32)})
    fixed = model("y = Mul(x, k)", "float[N] x", constants={"k": np.ones(4, np.float32)})
    certificate = verify(original, fixed, shapes={"x": (4,)})
    assert [trial.passed for trial in certificate.trials] == [True, False, False]
    assert "B " in certificate.worst


# --- NaN, infinities, integers, ties --------------------------------------------------------


def test_infinities_and_nan_have_to_coincide() -> None:
    x = {"x": np.float32([1, -1, 0, np.inf])}
    original = model("y = Log(x)", "float[4] x")
    assert verify(original, model("h = Log(x) y = Identity(h)", "float[4] x"), data=x).passed
    hidden = model("h = Abs(x) y = Log(h)", "float[4] x")
    certificate = verify(original, hidden, data=x)
    assert not certificate.trials[0].passed
    assert "nan" in certificate.worst


def test_nothing_but_nan_proves_nothing() -> None:
    proto = model("h = Abs(x) g = Neg(h) y = Sqrt(g)", "float[4] x")
    certificate = verify(proto, proto)
    assert not certificate.passed
    assert "nothing was compared" in certificate.worst


def test_strings_booleans_and_counts_are_equal_or_not() -> None:
    proto = model("y = Greater(x, k)", "float[6] x", "bool[6] y", {"k": np.float32([0])})
    assert verify(proto, proto).passed
    certificate = verify(proto, edited(proto, {"k": lambda k: k - 1e9}))
    assert not certificate.passed
    assert "elements differ" in certificate.worst


def classifier(scale: float, bump: float = 0.0) -> ModelProto:
    """The place of the largest of the channels; `scale` leaves it where it is."""
    weight = np.ones((4, 3, 1, 1), np.float32) * np.float32([1, 1, 0.5, -2]).reshape(-1, 1, 1, 1)
    weight[1] *= 1 + bump
    return model(
        "h = Conv(x, w) m = Mul(h, k) y = ArgMax <axis=1, keepdims=0> (m)",
        "float[1,3,6,5] x",
        "int64[1,6,5] y",
        {"w": weight, "k": np.float32([scale])},
    )


def test_an_argmax_may_flip_where_the_reference_has_a_tie() -> None:
    """Channels 0 and 1 are equal; one rounding in B decides between them another way."""
    certificate = verify(classifier(1), classifier(1, bump=2.0**-22))
    output = certificate.trials[0].outputs[0]
    assert certificate.passed, certificate.worst
    assert "ties" in output.element
    assert 0 <= output.max_abs_error <= output.bound
    renamed = classifier(1, bump=2.0**-22)
    for node in renamed.graph.node:
        node.input[:] = [{"m": "other"}.get(name, name) for name in node.input]
        node.output[:] = [{"m": "other"}.get(name, name) for name in node.output]
    assert verify(classifier(1), renamed).passed


def test_an_argmax_may_not_flip_elsewhere() -> None:
    certificate = verify(classifier(1), classifier(1, bump=2.0**-10))
    assert not certificate.passed
    assert not verify(classifier(1), classifier(-1)).passed


def test_an_argmax_of_other_tensors_is_judged_by_its_places() -> None:
    # Twice the values have the same largest ones; that the searched tensors differ is no matter.
    assert verify(classifier(1), classifier(2)).passed


# --- references -----------------------------------------------------------------------------


def test_without_float64_the_original_is_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    from onebyone.verify import answers

    def cannot(*_: object, **__: object) -> None:
        raise answers.CannotEvaluate("no kernel")

    monkeypatch.setattr(answers, "evaluate", cannot)
    original = deep()
    certificate = verify(original, composed(original), shapes=SHAPE)
    assert certificate.passed, certificate.worst
    assert "A itself" in certificate.reference
    assert "no kernel" in certificate.reference
    assert not verify(
        original, edited(original, FAULTS["a kernel is flipped"]), shapes=SHAPE
    ).passed


def test_a_reference_that_disagrees_with_the_original_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A wrong kernel here must not widen the bound: |A - r| would be large."""
    from onebyone.graph.ops import OPERATORS

    wrong = replace(OPERATORS["Relu"], value=lambda call, x: np.maximum(x, 0.1))
    monkeypatch.setitem(OPERATORS, "Relu", wrong)
    original = deep()
    certificate = verify(original, composed(original), shapes=SHAPE)
    assert certificate.passed, certificate.worst
    assert "half of the digits" in certificate.reference
    assert not verify(original, edited(original, FAULTS["a bias is dropped"]), shapes=SHAPE).passed


def chaos(w: float) -> ModelProto:
    """Thirty steps of x <- 4x(1-x): rounding grows to the size of the values."""
    body = "".join(f"a{k} = Sub(one, x{k}) b{k} = Mul(x{k}, a{k}) x{k + 1} = Mul(b{k}, w) "
                   for k in range(30))  # fmt: skip
    return model(
        f"x0 = Sigmoid(x) {body} y = Identity(x30)",
        "float[3,5] x",
        constants={"one": np.float32([1]), "w": np.float32([w])},
    )


def test_where_rounding_is_all_there_is_nothing_can_be_said() -> None:
    certificate = verify(chaos(4), chaos(np.nextafter(np.float32(4), np.float32(0))))
    assert not certificate.passed
    assert "half of its digits" in certificate.worst
    assert certificate.undecided
    assert "cannot be told whether the models compute the same" in str(certificate)
    assert verify(chaos(4), chaos(4)).passed


# --- the certificate as a value -------------------------------------------------------------


def test_the_certificate_is_plain_json_and_prints() -> None:
    original = deep()
    faulty = edited(original, FAULTS["a kernel is flipped"])
    for other, verdict in (
        (composed(original), "models compute"),
        (faulty, "models do not compute"),
    ):
        certificate = verify(original, other, shapes=SHAPE)
        told = json.loads(json.dumps(certificate.to_dict(), allow_nan=False))
        keys = {"schema", "passed", "max_abs_error", "bound", "worst", "reference", "trials"}
        assert keys <= told.keys()
        assert told["trials"][0]["outputs"][0]["shape"] == [1, CLASSES, 17, 23]
        assert verdict in str(certificate)


def test_the_same_seed_gives_the_same_certificate() -> None:
    original = deep()
    first, again, other = (
        verify(original, composed(original), shapes=SHAPE, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert isinstance(first, Certificate)


def test_progress_is_told_to_its_end() -> None:
    told: list[tuple[str, int, int]] = []
    verify(deep(), deep(), shapes=SHAPE, progress=lambda *step: told.append(step))
    assert told == [("verify", k, 9) for k in range(1, 10)]


def test_the_sources_stay_as_they_are() -> None:
    proto, loaded = classifier(1), read(deep())
    before = proto.SerializeToString()
    shapes = [str(value.shape) for value in loaded.graph.inputs]
    verify(proto, proto)
    verify(loaded, loaded, shapes=SHAPE)
    assert proto.SerializeToString() == before
    assert [str(value.shape) for value in loaded.graph.inputs] == shapes
    assert len(loaded.graph.outputs) == 1


def test_files_are_verified_too(tmp_path: Path) -> None:
    onnx.save(deep(), tmp_path / "a.onnx")
    onnx.save(composed(deep()), str(tmp_path / "b.onnx"))
    assert verify(tmp_path / "a.onnx", str(tmp_path / "b.onnx"), shapes=SHAPE).passed


# --- what is no tensor ----------------------------------------------------------------------


def parts(*sizes: int, scale: float = 1.0) -> ModelProto:
    """A sequence of tensors of so many rows, and a tensor."""
    constants = {"sizes": np.int64(sizes), "k": np.float32([scale])}
    body = "h = Mul(x, k) y = SplitToSequence(h, sizes) z = Abs(x)"
    return sequenced(model(body, "float[5,3] x", "z", constants), "output")


def sequenced(proto: ModelProto, end: str) -> ModelProto:
    """With a sequence called y among the inputs or outputs."""
    kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(FLOAT, None))
    getattr(proto.graph, end).append(helper.make_value_info("y", kind))
    return proto


@pytest.mark.parametrize("engine_takes_it", [True, False])
def test_sequences_are_compared_element_by_element(
    engine_takes_it: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not engine_takes_it:
        monkeypatch.setattr("onebyone.verify.answers.opened", refuses)
    certificate = verify(parts(2, 3), parts(2, 3))
    assert certificate.passed
    assert [o.name for o in certificate.trials[0].outputs] == ["z", "y[0]", "y[1]"]
    assert [o.shape for o in certificate.trials[0].outputs] == [(5, 3), (2, 3), (3, 3)]


def refuses(_: object) -> None:
    raise EngineRefuses("no")


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (parts(2, 3, scale=2.0), "further from the reference"),
        (parts(3, 2), "A gives float32[2, 3], B float32[3, 3]"),
        (parts(5), "B float32[5, 3]"),
        (parts(2, 2, 1), "B float32[2, 3]"),
    ],
)
def test_other_sequences_are_no_equals(other: ModelProto, said: str) -> None:
    certificate = verify(parts(2, 3), other)
    assert not certificate.passed
    assert any(said in o.reason for o in certificate.trials[0].outputs)


def test_sequences_that_are_longer_or_shorter_are_no_equals() -> None:
    for told, a, b in (("A", parts(5), parts(5, 0)), ("B", parts(5, 0), parts(5))):
        assert f"{told} gives no such element" in verify(a, b).worst


@pytest.mark.parametrize("given", [[np.ones(2)], [np.ones(2), np.ones(3)], []])
def test_a_sequence_cannot_be_given(given: list[np.ndarray]) -> None:
    proto = sequenced(model("z = Abs(x)", "float[N,3] x", "z"), "input")
    with pytest.raises(UsageError, match=r"'y' is Sequence.*compared on tensors only"):
        verify(proto, proto, data={"x": np.ones((2, 3), np.float32), "y": given})


def test_a_sequence_cannot_be_drawn() -> None:
    proto = sequenced(model("z = Abs(x)", "float[N,3] x", "z"), "input")
    with pytest.raises(UsageError, match=r"input 'y' is Sequence.*compared on tensors only"):
        verify(proto, proto)
