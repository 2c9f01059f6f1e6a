"""The whole way: which laws and profile are used, what comes back, what is said when it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onebyone.errors import UnreadableModel, UsageError
from onebyone.graph.write import to_proto
from onebyone.optimize import Optimized, optimize

from ..graphs.text import integers, model
from .exact import COUNTING

X = "float[2,3,5,4] x"
CHAIN = model("a = Conv(x, w) y = Conv(a, v)", X, constants={"w": (7, 3, 1, 1), "v": (2, 7, 1, 1)})
DYNAMIC = model(
    "a = Conv(x, w) p = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(a) y = Relu(p)",
    "float[n,3,h,k] x",
    constants={"w": (7, 3, 1, 1)},
)


def laws(result: Optimized) -> list[str]:
    return [row.law for row in result.report.laws]


def test_a_chain_is_composed_and_certified() -> None:
    result = optimize(CHAIN, profile=COUNTING)
    report = result.report
    assert (report.before.macs, report.after.macs) == (40 * (21 + 14), 40 * 6)
    assert (report.before.nodes, report.after.nodes) == (2, 1)
    assert laws(result) == ["compose"]
    assert report.certificate is not None
    assert report.certificate.passed
    assert isinstance(result.model, ir.Model)


def test_without_verification_there_is_no_certificate() -> None:
    assert optimize(CHAIN, verify=False).report.certificate is None


@pytest.mark.parametrize(
    ("options", "applied"),
    [
        ({"only": ["compose"]}, ["compose"]),
        ({"only": ["split", "commute"]}, []),
        ({"without": ["compose"]}, []),
        ({"only": ["compose"], "without": ["compose"]}, []),
        ({"only": []}, ["compose"]),
    ],
)
def test_only_the_laws_asked_for(options: dict[str, list[str]], applied: list[str]) -> None:
    assert laws(optimize(CHAIN, verify=False, profile=COUNTING, **options)) == applied


@pytest.mark.parametrize("options", [{"only": ["merge"]}, {"without": ["sum", "merge"]}])
def test_an_unknown_law_is_named(options: dict[str, list[str]]) -> None:
    with pytest.raises(UsageError, match="got law 'merge', wanted one of affine, commute, compose"):
        optimize(CHAIN, **options)


def test_sizes_decide_the_counts() -> None:
    report = optimize(DYNAMIC, shapes={"x": (3, 3, 8, 6)}, verify=False, profile=COUNTING).report
    assert (report.before.macs, report.after.macs) == (3 * 8 * 6 * 21, 3 * 4 * 3 * 21)
    assert optimize(DYNAMIC, verify=False).report.before.macs == 224 * 224 * 21


def test_a_profile_may_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"peak": 1.0, "bandwidth": 1e18, "overhead": 1e-9}))
    assert laws(optimize(CHAIN, verify=False, profile=path)) == ["compose"]
    with pytest.raises(UsageError, match="nowhere"):
        optimize(CHAIN, profile=tmp_path / "nowhere.json")


def test_data_of_another_shape_is_refused() -> None:
    with pytest.raises(UsageError, match="x"):
        optimize(CHAIN, data={"x": integers("x", (2, 4, 5, 4))})


def test_what_is_no_model_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\x08\x07 nothing")
    with pytest.raises(UnreadableModel, match=r"broken\.onnx"):
        optimize(path)


def test_progress_tells_each_stage() -> None:
    stages: list[str] = []
    optimize(CHAIN, progress=lambda stage, done, total: stages.append(stage))
    assert stages[0] == "rewrite"
    assert "verify" in stages


def test_weights_that_do_not_fit_are_refusals_of_the_report() -> None:
    constants = {"w": np.full((4, 3, 1, 1), 300, np.float16),
                 "v": np.full((2, 4, 1, 1), 300, np.float16)}  # fmt: skip
    proto = model("a = Conv(x, w) y = Conv(a, v)", "float16[1,3,5,4] x", "float16[1,2,5,4] y",
                  constants)  # fmt: skip
    report = optimize(proto, verify=False, profile=COUNTING).report
    assert report.laws == ()
    assert ("compose", "a composed weight overflows float16") in {
        (refusal.law, refusal.reason) for refusal in report.refusals
    }


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan, 1e37])
def test_a_weight_with_which_no_law_may_calculate_stays(odd: float) -> None:
    """Infinity times a weight of zero is NaN: it may not become zero by reassociation."""
    w, v = integers("w", (7, 3, 1, 1)), integers("v", (2, 7, 1, 1))
    w[0, 1] = odd
    v[1, 0] = 0
    proto = model("a = Conv(x, w) y = Conv(a, v)", X, constants={"w": w, "v": v})
    result = optimize(proto, profile=COUNTING, data={"x": np.zeros((2, 3, 5, 4), np.float32)})
    assert laws(result) == []
    assert any("not finite" in refusal.reason for refusal in result.report.refusals)


def damaged(channels: int) -> onnx.ModelProto:
    """A convolution of 3 channels, given so many."""
    proto = model("t = Conv(x, w) y = Relu(t)", X, constants={"w": (7, 3, 1, 1)})
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = channels
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return proto


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (IndexError("tuple index out of range"), IndexError),
        (UsageError("got maps 6 → 8 and 9 → 3"), UnreadableModel),
    ],
)
def test_a_model_that_contradicts_itself_is_refused_by_who_runs_it(
    error: Exception, ours: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise error

    assert optimize(damaged(3), profile=COUNTING).report.certificate
    monkeypatch.setattr("onebyone.optimize.run.rewrite", fails)
    with pytest.raises(UnreadableModel, match="5 channels and a weight"):
        optimize(damaged(5), profile=COUNTING)
    with pytest.raises(ours, match=str(error)):  # the model runs: the fault is ours
        optimize(damaged(3), profile=COUNTING)


def test_an_output_of_another_type_than_declared() -> None:
    """Else the result would declare the one, and the original the other."""
    proto = damaged(3)
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    with pytest.raises(UnreadableModel, match="output 'y' is declared as INT64, and its node give"):
        optimize(proto)


def test_a_rank_that_is_declared_and_not_there_takes_nothing_out() -> None:
    """An engine only warns of it; the Expand is no identity for that."""
    text = """<ir_version: 8, opset_import: ["": 17]>
        g (float[3] x) => (float[3] y) <int64[2] s = {2, 1}> { z = Abs(x) y = Expand(z, s) }"""
    model = onnx.parser.parse_model(text)
    result = optimize(model)
    assert result.report.certificate is not None
    assert result.report.certificate.passed
    made = to_proto(result.model).graph
    assert [node.op_type for node in made.node] == ["Abs", "Expand"]
    assert [dim.dim_value for dim in made.output[0].type.tensor_type.shape.dim] == [3]


def test_an_output_of_another_rank_than_inferred() -> None:
    """The axes are an input: what inference makes of that, all axes of size 1, is not declared."""
    inputs = "float[1,3,1,5] x, int64[1] axes"
    proto = model("t = Relu(x) y = Squeeze(t, axes)", inputs, "float[1,3,5] y")
    data = {"x": integers("x", (1, 3, 1, 5)), "axes": np.int64([2])}
    report = optimize(proto, data=data).report
    assert report.certificate is not None
    assert report.certificate.trials[0].passed
