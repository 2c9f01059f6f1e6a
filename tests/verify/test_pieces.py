"""Rewrites proved by themselves: what is seen that the whole does not show, and what it serves."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from onnx import ModelProto, TensorProto, helper, numpy_helper
from tests.optimize.exact import COUNTING

from onebyone.algebra import layout
from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.refusal import Refusal
from onebyone.errors import UnreadableModel
from onebyone.graph.constants import set_aside
from onebyone.graph.edit import Edit
from onebyone.graph.read import read
from onebyone.graph.shapes import Sizes, infer
from onebyone.graph.simplify import simplify
from onebyone.graph.time_limit import VARIABLE
from onebyone.optimize import optimize
from onebyone.optimize.maps import phases
from onebyone.optimize.maps.upsampled_kernels import Form, Site
from onebyone.optimize.regions import operations
from onebyone.optimize.rewrite import rewrite
from onebyone.optimize.rewritten import Rewrite
from onebyone.verify.certificate import Alone
from onebyone.verify.pieces import draw, prove
from onebyone.verify.pieces.ledger import Ledger
from onebyone.verify.pieces.piece import Piece
from onebyone.verify.pieces.prove import Proof
from onebyone.verify.pieces.views import viewed

from ..graphs.drawn import Drawn, drawn_models
from ..graphs.text import integers, model

LAWS = ("affine", "commute", "compose", "demand", "linear", "permute", "pool", "prune", "rank",
        "split", "sum")  # fmt: skip


def drawn(name: str, *shape: int) -> np.ndarray:
    """Normal numbers of the size that keeps a layer's results near one."""
    rng = np.random.default_rng(len(name) + sum(shape))
    return (rng.standard_normal(shape) / np.sqrt(shape[1])).astype(np.float32)


def wide(channels: int = 512) -> ModelProto:
    """Two maps, one after the other."""
    first, second = (
        drawn("w", 2 * channels, channels, 1, 1),
        drawn("v", channels, 2 * channels, 1, 1),
    )
    body = "a = Conv(x, w) y = Conv(a, v)"
    return model(body, f"float[1,{channels},5,4] x", constants={"w": first, "v": second})


@pytest.fixture
def one_weight_is_off(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Products of maps in which one weight is larger by 0.1%, one of the smaller ones."""
    plain, share = operations.product, []

    def faulty(maps: list[ChannelMap]) -> ChannelMap:
        found = plain(maps)
        weight = np.array(found.weight, np.float64)
        at = np.argsort(np.abs(weight), axis=None)[weight.size // 100]
        share.append(abs(weight.flat[at]) / np.abs(weight).max())
        weight.flat[at] *= 1.001
        return ChannelMap(weight, found.bias, found.groups)

    monkeypatch.setattr(operations, "product", faulty)
    return share


def test_a_small_fault_in_one_weight_shows_in_the_rewrite_and_not_in_the_whole(
    one_weight_is_off: list[float],
) -> None:
    certificate = optimize(wide(), only=["compose"]).report.certificate
    assert certificate is not None
    assert one_weight_is_off
    assert all(trial.passed for trial in certificate.trials)
    assert not certificate.passed
    assert not certificate.undecided
    assert certificate.alone is not None
    assert "'y' differs" in certificate.alone.failed[0]
    assert "compose at y" in certificate.worst
    assert certificate.verdict == "the models do not compute the same"


def test_without_the_fault_it_is_proved_with_room_to_spare() -> None:
    report = optimize(wide(), only=["compose"]).report
    assert report.certificate is not None
    assert report.certificate.passed
    assert report.certificate.alone is not None
    assert (report.certificate.alone.rewrites, report.certificate.alone.proved) == (1, 1)
    assert report.certificate.alone.used < 0.01
    assert report.laws[0].proved


def test_three_maps_are_rounded_once_in_all() -> None:
    weights = {name: drawn(name, 5 + k, 4 + k, 1, 1) for k, name in enumerate(["u", "vv", "www"])}
    proto = model("a = Conv(x, u) b = Conv(a, vv) y = Conv(b, www)", "float[1,4,5,3] x",
                  constants=weights)  # fmt: skip
    result = optimize(proto, only=["compose"], profile=COUNTING)
    (node,) = result.model.graph
    stored = node.inputs[1].const_value.numpy()
    u, v, w = (weight.astype(np.float64)[:, :, 0, 0] for weight in weights.values())
    either = [((w @ v) @ u).astype(np.float32), (w @ (v @ u)).astype(np.float32)]
    assert stored.dtype == np.float32
    assert any((stored[:, :, 0, 0] == product).all() for product in either)
    twice = w @ (v @ u).astype(np.float32)
    assert (stored[:, :, 0, 0] != twice.astype(np.float32)).any()


# What nothing here can run ------------------------------------------------------------------------


def foreign() -> ModelProto:
    """Two pairs of maps, and between them an operator of somebody else."""
    x, y, f = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, c, 6, 5])
        for name, c in (("x", 4), ("y", 3), ("f", 3))
    )
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["h"], "first"),
        helper.make_node("Conv", ["h", "b"], ["g"], "second"),
        helper.make_node("Foo", ["g"], ["f"], "foreign", domain="com.else"),
        helper.make_node("Conv", ["f", "c"], ["k"], "third"),
        helper.make_node("Conv", ["k", "d"], ["y"], "fourth"),
    ]
    shapes = {"a": (7, 4), "b": (3, 7), "c": (8, 3), "d": (3, 8)}
    weights = [numpy_helper.from_array(drawn(n, *s, 1, 1), n) for n, s in shapes.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], weights, value_info=[f])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.else", 1)]
    return helper.make_model(graph, ir_version=8, opset_imports=opsets)


def test_a_model_with_foreign_operators_has_a_certificate_of_its_pieces() -> None:
    result = optimize(foreign(), profile=COUNTING)
    certificate = result.report.certificate
    assert [node.op_type for node in result.model.graph] == ["Conv", "Foo", "Conv"]
    assert certificate is not None
    assert certificate.passed
    assert certificate.alone is not None
    assert (certificate.alone.rewrites, certificate.alone.proved) == (2, 2)
    assert "Foo" in certificate.apart
    assert "not compared as a whole" in certificate.verdict
    assert "2 of 2 proved by themselves" in str(certificate)
    assert certificate.to_dict()["apart"] == certificate.apart


def test_a_fault_in_it_is_no_certificate(one_weight_is_off: list[float]) -> None:
    with pytest.raises(UnreadableModel, match="Foo"):
        optimize(foreign(), profile=COUNTING)
    assert one_weight_is_off


def looped(times: int) -> ModelProto:
    """A pair of maps beside a Loop that adds one so many times."""
    body = onnx.parser.parse_graph(
        "body (int64 i, bool go, float[1,3,5,4] s) => (bool still, float[1,3,5,4] t) "
        "{ still = Identity(go) t = Add(s, one) }"
    )
    shape = [1, 3, 5, 4]
    x, y, z = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "xyz")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "wide"),
        helper.make_node("Conv", ["a", "v"], ["y"], "narrow"),
        helper.make_node("Loop", ["times", "", "x"], ["z"], "loop", body=body),
    ]
    constants = {"w": drawn("w", 9, 3, 1, 1), "v": drawn("v", 3, 9, 1, 1),
                 "one": np.float32(1), "times": np.int64(times)}  # fmt: skip
    weights = [numpy_helper.from_array(np.asarray(a), n) for n, a in constants.items()]
    graph = helper.make_graph(nodes, "g", [x], [y, z], weights)
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, ir_version=8, opset_imports=opsets)


def test_a_pair_beside_a_loop_is_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = optimize(looped(3), profile=COUNTING).report.certificate
    assert certificate is not None
    assert certificate.passed
    assert certificate.alone is not None
    assert (certificate.alone.rewrites, certificate.alone.proved, certificate.apart) == (1, 1, "")
    monkeypatch.setenv(VARIABLE, "0.3")
    certificate = optimize(looped(2**40), profile=COUNTING).report.certificate
    assert certificate is not None
    assert certificate.passed
    assert "took over 0.3 s" in certificate.apart


# Every law ----------------------------------------------------------------------------------------

IMAGE = "float[2,4,6,5] x"
EXAMPLES = {
    "compose": (
        "a = Conv(x, w) y = Conv(a, v)",
        IMAGE,
        {"w": drawn("w", 9, 4, 1, 1), "v": drawn("v", 3, 9, 1, 1)},
    ),
    "permute": (
        "a = Conv(x, w) b = Reshape(a, apart) c = Transpose<perm = [0, 2, 1, 3, 4]>(b) "
        "d = Reshape(c, together) e = Relu(d) y = Conv(e, v)",
        IMAGE,
        {
            "w": (6, 4, 1, 1),
            "v": (3, 6, 1, 1),
            "apart": np.int64([2, 2, 3, 6, 5]),
            "together": np.int64([2, 6, 6, 5]),
        },
    ),
    "prune": (
        "a = Conv(x, w) r = Relu(a) y = Conv(r, v)",
        IMAGE,
        {
            "w": np.concatenate([integers("w", (3, 4, 1, 1)), np.zeros((2, 4, 1, 1), np.float32)]),
            "v": (3, 5, 1, 1),
        },
    ),
    "rank": (
        "y = Conv(x, w)",
        "float[2,16,6,5] x",
        {"w": (integers("p", (16, 2)) @ integers("q", (2, 16))).reshape(16, 16, 1, 1)},
    ),
    "demand": (
        "a = Conv<pads = [1, 1, 1, 1]>(x, w) r = Relu(a) y = Conv<strides = [2, 2]>(r, v)",
        IMAGE,
        {"w": (5, 4, 3, 3), "v": (3, 5, 1, 1)},
    ),
    "affine": (
        "n = Mul(x, g) m = Add(n, b) y = Conv(m, w)",
        IMAGE,
        {"g": (4, 1, 1), "b": (4, 1, 1), "w": (3, 4, 1, 1)},
    ),
}


def proved(proto: ModelProto, *laws: str) -> tuple[list[Rewrite], set[str], Ledger]:
    """The rewrites of a model, the names of its nodes then, and what is proved."""
    found = read(proto)
    infer(found)
    set_aside(found.graph)
    sizes = Sizes(found)
    ledger = Ledger(found.graph, sizes)
    done, _ = rewrite(found, sizes, laws, COUNTING, None, 40.0, ledger)
    return done, {node.name or str(node.outputs[0].name) for node in found.graph}, ledger


@pytest.mark.parametrize("law", EXAMPLES)
def test_a_rewrite_names_what_it_replaced_and_what_it_put_there(law: str) -> None:
    body, inputs, constants = EXAMPLES[law]
    proto = model(body, inputs, constants=constants)
    before = {node.name or node.output[0] for node in proto.graph.node}
    done, after, ledger = proved(proto, law)
    assert [law in step.laws for step in done] == [True]
    assert set(done[0].nodes) <= before
    assert done[0].made
    assert set(done[0].made) <= after
    assert after - before <= set(done[0].made)
    assert done[0].proof is not None
    assert done[0].proof.holds
    assert not [piece for piece in ledger.loose if not piece.proof.holds]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drawn_models())
def test_of_random_graphs_every_rewrite_is_proved(case: Drawn) -> None:
    done, _, ledger = proved(case.model, *LAWS)
    assert not [step for step in done if step.proof is None or step.proof.holds is False]
    assert not [piece for piece in ledger.loose if piece.proof.holds is False]


def test_what_is_too_large_at_its_sizes_is_proved_at_smaller_ones() -> None:
    """A Slice says which positions, so fewer of them would be another piece; free sizes may be."""
    body = 'u = Resize<mode = "linear">(x, , s) c = Conv(u, w) d = Slice(c, b, e, a) y = Conv(d, v)'
    constants = {
        "s": np.float32([1, 1, 2, 2]),
        "w": drawn("w", 48, 64, 1, 1),
        "v": drawn("v", 16, 48, 1, 1),
        **{name: np.array([n], np.int64) for name, n in (("b", 1), ("e", 2**31 - 1), ("a", 2))},
    }
    changed = read(model(body, "float[N,64,H,W] x", "y", constants))
    infer(changed)
    sizes = Sizes(changed, {"x": (1, 64, 480, 640)})
    ledger = Ledger(changed.graph, sizes)
    done, _ = rewrite(changed, sizes, LAWS, COUNTING, ledger=ledger)
    assert {law for r in done for law in r.laws} >= {"commute", "compose"}
    assert all(r.proof is not None and r.proof.holds for r in done)


# --- what a piece is evaluated on ---------------------------------------------------------------


@pytest.fixture
def given_shapes(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[int, ...]]]:
    """The shapes of what each piece is given from now on."""
    shapes: list[list[tuple[int, ...]]] = []
    plain = prove._compared

    def noted(piece: Piece, given: dict[int, np.ndarray], *rest: Any) -> Proof | None:
        shapes.append(sorted(array.shape for array in given.values()))
        return plain(piece, given, *rest)

    monkeypatch.setattr(prove, "_compared", noted)
    return shapes


def sizes_of_the_proof(proto: ModelProto, shapes: list[list[tuple[int, ...]]]) -> list[Any]:
    """What the only rewrite of a model is evaluated on; it is proved."""
    done, _, _ = proved(proto, "commute", "split", "sum")
    assert [step.proof is not None and step.proof.holds for step in done] == [True]
    return shapes[-1]


def test_multiples_stay_multiples_and_are_no_larger_than_that(
    given_shapes: list[list[tuple[int, ...]]],
) -> None:
    body = "f = Relu(x) u = Resize(z, , , s) c = Concat<axis = 1>(f, u) y = Conv(c, w)"
    constants = {"w": [5, 5, 1, 1], "s": np.array([1, 2, 48, 80])}
    proto = model(body, "float[1,3,48,80] x, float[1,2,12,20] z", constants=constants)
    # 12 and 48, 20 and 80: four times as many, the smaller ones as few as there may be.
    assert sizes_of_the_proof(proto, given_shapes) == [(1, 2, 4, 5), (1, 3, 16, 20)]


def test_where_positions_get_fewer_what_can_be_halved_stays_so(
    given_shapes: list[list[tuple[int, ...]]],
) -> None:
    body = "a = Conv(x, w) y = AveragePool<kernel_shape = [2,2], strides = [2,2]>(a)"
    proto = model(body, "float[1,3,24,40] x", constants={"w": [5, 3, 1, 1]})
    assert sizes_of_the_proof(proto, given_shapes) == [(1, 3, 8, 16)]


def doubled_twice(x: tuple[int, ...], outs: int, between: str = "r = Relu(a)") -> Alone:
    """What is proved of phases behind two upsamplings."""
    constants = {"s": np.float32([1, 1, 2, 2]), "k": drawn("k", x[1], x[1], 3, 3),
                 "b": drawn("b", x[1], 1)[:, 0], "l": drawn("l", outs, x[1], 3, 3)}  # fmt: skip
    first = 'u = Resize<mode = "nearest">(x, , s) a = Conv<pads = [1, 1, 1, 1]>(u, k, b)'
    second = 'v = Resize<mode = "nearest">(r, , s) c = Conv<pads = [1, 1, 1, 1]>(v, l)'
    body = f"{first} {between} {second} y = Relu(c)"
    proto = model(body, f"float[{','.join(map(str, x))}] x", constants=constants)
    certificate = optimize(proto, profile=COUNTING, only=["phases"]).report.certificate
    assert certificate is not None
    assert certificate.alone is not None
    return certificate.alone


@pytest.mark.parametrize(
    ("x", "outs"),
    [
        ((1, 24, 24, 24), 24),  # positions and channels of equal numbers, before and after
        ((1, 24, 24, 24), 48),
        ((1, 48, 24, 24), 24),  # as many channels as the result has positions along an axis
        ((1, 32, 32, 48), 5),
        ((1, 32, 47, 32), 5),
        ((3, 32, 32, 32), 32),
    ],
)
def test_phases_are_proved_at_few_positions_whatever_sizes_are_equal(
    x: tuple[int, ...], outs: int, given_shapes: list[list[tuple[int, ...]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(draw, "LARGEST", 0)  # as if they were too large to be evaluated whole
    alone = doubled_twice(x, outs)
    assert (alone.rewrites, alone.proved, alone.unproved) == (2, 2, ())
    assert all(np.prod(shape) < np.prod(x) for shapes in given_shapes for shape in shapes)


@pytest.mark.parametrize("x", [(1, 32, 16, 16), (1, 48, 24, 24)])
@pytest.mark.parametrize("join", ["Mul", "Add"])
def test_what_is_read_twice_between_has_its_channels_where_its_reader_says(
    x: tuple[int, ...], join: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draw, "LARGEST", 0)
    alone = doubled_twice(x, x[1], between=f"q = Sigmoid(a) r = {join}(a, q)")
    assert (alone.rewrites, alone.proved, alone.unproved) == (2, 2, ())


def test_phases_in_each_others_places_are_false_at_few_positions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = phases.form_of

    def swapped(site: Site) -> Form | Refusal | None:
        form = plain(site)
        assert isinstance(form, Form)
        assert isinstance(form.kernels, tuple)
        first, second, *others = form.kernels
        return dataclasses.replace(form, kernels=(second, first, *others))

    monkeypatch.setattr(phases, "form_of", swapped)
    monkeypatch.setattr(draw, "LARGEST", 0)
    alone = doubled_twice((1, 24, 24, 24), 24)
    assert alone.proved == 0
    assert all("at few positions 'y' differs" in reason for reason in alone.unproved)


@pytest.mark.parametrize(
    ("before", "given", "move", "after"),
    [
        ((1, 64, 64, 256), (1, 8, 8, 256), (64, 64, 2, 128), (8, 8, 2, 128)),
        ((64, 2, 64, 128), (8, 2, 8, 128), (1, 128, 128, 64), (1, 16, 16, 64)),
        ((2, 64, 64, 64), (2, 64, 8, 8), (2, 4096, 64), (2, 512, 8)),
        ((2, 64, 4096), (2, 64, 64), (2, 8, 8, 64, 64), (2, 8, 8, 8, 8)),  # what was merged
        ((2, 4096, 64), (2, 64, 64), (2, 64, 64, 64, 1), (2, 8, 8, 64, 1)),
        ((2, 64, 4096), (2, 64, 60), (2, 64, 64, 64), None),  # no sizes of 60 in all
        ((2, 6, 5), (2, 6, 4), (2, 5, 6), None),  # neither axis is cut there
        ((0, 64), (0, 8), (64, 0), None),
    ],
)
def test_sizes_of_views_follow_from_their_operands(
    before: tuple[int, ...], given: tuple[int, ...], move: tuple[int, ...],
    after: tuple[int, ...] | None,
) -> None:  # fmt: skip
    fewer = {64: 8, 128: 16, 256: 32}
    assert viewed(before, given, layout.Reshape(tuple(map(layout.dim, move))), fewer) == after


@pytest.mark.parametrize(("number", "holds"), [(0, True), (1, False)])
def test_what_is_computed_from_constants_is_no_number_that_may_be_any(
    number: int, holds: bool, given_shapes: list[list[tuple[int, ...]]]
) -> None:
    """x + c is x where c is 0, which a piece that is given any c does not see."""
    body = "n = Identity(c) m = Neg(n) a = Add(x, m) b = Mul(x, m) y = Concat<axis = 1>(a, b)"
    found = read(model(body, "float[2,3] x", constants={"c": np.full(3, number, np.float32)}))
    infer(found)
    ledger = Ledger(found.graph, Sizes(found))
    addition = next(node for node in found.graph if node.op_type == "Add")
    Edit(found.graph).replace(addition.outputs[0], found.graph.inputs[0])
    found.graph.remove(addition, safe=True)
    (piece,) = ledger.step(rounds=True)
    assert piece.proof.holds is holds
    assert set(map(tuple, given_shapes)) == {((2, 3),)}


def test_what_a_side_would_compute_and_is_given_is_computed_first() -> None:
    """Far more is computed behind it, on which the other side hangs in name only."""
    chain = " ".join(f"n{k + 1} = Abs(n{k})" for k in range(40))
    body = (
        f"u = Neg(x) r = Relu(u) n0 = Sin(z) {chain} m = Mul(n40, c) a = Add(u, m) q = Relu(a) "
        "y = Mul(q, r)"
    )
    constants = {"c": np.zeros((1, 1), np.float32)}
    found = read(model(body, "float[2,3] x, float[2,3] z", constants=constants))
    infer(found)
    ledger = Ledger(found.graph, Sizes(found))
    values = {node.outputs[0].name: node.outputs[0] for node in found.graph}
    Edit(found.graph).replace(values["q"], values["r"])
    (piece,) = ledger.step()
    assert piece.proof.holds


def test_operands_of_a_concat_that_are_more_stand_in_other_places() -> None:
    body = (
        "t = Sin(x) g = GlobalAveragePool(t) e = Expand(g, s) j = Concat<axis = 1>(t, e) "
        "y = Concat<axis = 1>(j, t)"
    )
    found = read(model(body, "float[2,3,4,8] x", constants={"s": np.array([1, 1, 4, 8])}))
    infer(found)
    ledger = Ledger(found.graph, Sizes(found))
    assert simplify(found.graph, 17)
    assert [len(node.inputs) for node in found.graph if node.op_type == "Concat"] == [3]
    assert all(piece.proof.holds for piece in ledger.step(rounds=True))
