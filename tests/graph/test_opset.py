"""Old operators in the words of opset 11: the same numbers in ONNX Runtime, or left alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from onebyone.graph.evaluate import CannotEvaluate, evaluate
from onebyone.graph.opset import OLDEST_OPSET, modernise
from onebyone.graph.read import read
from onebyone.graph.write import to_proto

OPSETS = range(7, OLDEST_OPSET)
DRAW = np.random.default_rng(7)


def draw(*shape: int) -> Any:
    return DRAW.standard_normal(shape).astype(np.float32)


X = draw(2, 3, 5, 7)


KINDS = {
    **dict.fromkeys(("ArgMax", "ArgMin", "Cast", "NonMaxSuppression"), TensorProto.INT64),
    **dict.fromkeys(("Equal", "Greater", "Less"), TensorProto.BOOL),
    **dict.fromkeys(("If", "Loop", "OneHot"), TensorProto.FLOAT),
}


@dataclass(frozen=True)
class Case:
    """One node, for the opsets from `since` to `until`; `extra` are constants, in order."""

    op: str
    attributes: dict[str, Any] = field(default_factory=dict)
    extra: tuple[Any, ...] = ()
    since: int = 7
    until: int = 10
    x: Any = field(default_factory=lambda: X)
    outputs: int = 1

    def __str__(self) -> str:
        words = [
            f"{k}={v}" for k, v in self.attributes.items() if not isinstance(v, onnx.GraphProto)
        ]
        return f"{self.op} {' '.join(words)} {[np.shape(e) for e in self.extra]} {self.since}"

    def opsets(self) -> range:
        return range(self.since, self.until + 1)

    def kinds(self, of_input: int) -> list[int]:
        """The element type of each output."""
        if self.op in KINDS:
            return [KINDS[self.op]] * self.outputs
        return [of_input, TensorProto.INT64 if self.op in ("MaxPool", "TopK") else of_input,
                of_input][: self.outputs]  # fmt: skip

    def proto(self, opset: int) -> onnx.ModelProto:
        names = ["x", *(f"c{k}" if e is not None else "" for k, e in enumerate(self.extra))]
        outputs = [f"y{k}" for k in range(self.outputs)]
        node = helper.make_node(self.op, names, outputs, **self.attributes)
        kind = helper.np_dtype_to_tensor_dtype(self.x.dtype)
        return helper.make_model(
            helper.make_graph(
                [node],
                "g",
                [helper.make_tensor_value_info("x", kind, self.x.shape)],
                [
                    helper.make_tensor_value_info(name, each, None)
                    for name, each in zip(outputs, self.kinds(kind), strict=True)
                ],
                [
                    numpy_helper.from_array(np.asarray(e), name)
                    for e, name in zip(self.extra, names[1:], strict=True)
                    if e is not None
                ],
            ),
            opset_imports=[helper.make_opsetid("", opset)],
            ir_version=4,
        )


def floats(*numbers: float) -> Any:
    return np.array(numbers, np.float32)


def ints(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


def then(value: float) -> onnx.GraphProto:
    """A branch that cuts a constant by bounds in attributes."""
    c, b = f"c{value}", f"b{value}"
    constant = numpy_helper.from_array(floats(value, 2, 3))
    return helper.make_graph(
        [
            helper.make_node("Constant", [], [c], value=constant),
            helper.make_node("Slice", [c], [b], starts=[0], ends=[2]),
        ],
        "branch",
        [],
        [helper.make_tensor_value_info(b, TensorProto.FLOAT, [2])],
    )


def body() -> onnx.GraphProto:
    """A step that doubles its state."""
    return helper.make_graph(
        [
            helper.make_node("Add", ["state", "state"], ["sum"]),
            helper.make_node("Identity", ["go"], ["again"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [2, 3]),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, [2, 3]),
        ],
    )


def step() -> onnx.GraphProto:
    """A step of a Scan: the running sum."""
    return helper.make_graph(
        [
            helper.make_node("Add", ["sum", "part"], ["more"]),
            helper.make_node("Identity", ["more"], ["told"]),
        ],
        "step",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [5, 7])
            for name in ("sum", "part")
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [5, 7])
            for name in ("more", "told")
        ],
    )


POOL = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}
FACTORS = (1.0, 1.25, 1.5, 2.0, 2.3, 3.0, 0.5, 0.4, 0.77)
EXTREME = floats(-np.inf, -3e38, -1, 0, 1, 3e38, np.inf, np.nan)
BN = (draw(3), draw(3), draw(3), np.abs(draw(3)) + 1)
BOXES = np.cumsum(np.abs(draw(1, 6, 2, 2)), axis=2).reshape(1, 6, 4)


def resized() -> Iterator[Case]:
    for mode in ("nearest", "linear"):
        for factor in FACTORS:
            scales = [1.0, 1.0, factor, factor if mode == "linear" else max(factor, 1.0)]
            if mode == "nearest" and factor < 1:
                scales[3] = factor * 0.8
            if factor >= 1:
                yield Case("Upsample", {"mode": mode, "scales": scales}, until=8)
                yield Case("Upsample", {"mode": mode}, (floats(*scales),), since=9, until=9)
            yield Case("Resize", {"mode": mode}, (floats(*scales),), since=10)
    yield Case("Upsample", {"scales": [2.0, 3.0, 1.0, 1.25]}, until=8)
    yield Case("Upsample", {"mode": "linear", "scales": [1.5, 2.0]}, until=8, x=draw(5, 7))
    yield Case("Resize", {"mode": "linear"}, (floats(0.5, 2.0),), since=10, x=draw(5, 7))


KEPT = [
    *resized(),
    *(Case(op, {"axis": axis, "keepdims": keep})
      for op in ("ArgMax", "ArgMin") for axis, keep in ((0, 1), (2, 0))),
    *(Case(op, {"axes": [1, 3], "keepdims": keep}) for keep in (0, 1)
      for op in ("ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
                 "ReduceProd", "ReduceSum", "ReduceSumSquare")),
    Case("ReduceLogSum", {"axes": [2]}, x=np.abs(X)),
    *(Case("AveragePool", {**POOL, "count_include_pad": n}) for n in (0, 1)),
    *(Case("AveragePool", {"kernel_shape": [2, 3], "auto_pad": f"SAME_{end}", "strides": [2, 2]})
      for end in ("UPPER", "LOWER")),
    Case("MaxPool", POOL),
    Case("MaxPool", {**POOL, "storage_order": 1}, since=8, outputs=2),
    Case("MaxPool", {**POOL, "ceil_mode": 1}, since=10),
    Case("LpPool", {"kernel_shape": [3, 2], "p": 2}),
    Case("MaxUnpool", {"kernel_shape": [1, 2], "strides": [1, 2]},
         (np.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7) * 2,), since=9),
    Case("BatchNormalization", {"epsilon": 0.125}, BN),
    Case("BatchNormalization", {"spatial": 1}, BN, until=8),
    Case("Cast", {"to": TensorProto.INT64}),
    Case("Clip", x=EXTREME),
    Case("Clip", {"min": -0.5}, x=EXTREME),
    Case("Clip", {"max": 6.0}, x=EXTREME),
    Case("Clip", {"min": 0.0, "max": 6.0}),
    Case("Compress", {"axis": 1}, (np.array([True, False, True]),), since=9),
    Case("Concat", {"axis": 2}, (X,)),
    Case("Conv", {"pads": [1, 0, 0, 1], "strides": [2, 1]}, (draw(4, 3, 3, 3), draw(4))),
    Case("Conv", {"auto_pad": "SAME_LOWER"}, (draw(4, 3, 2, 2),)),
    Case("ConvTranspose", {"strides": [2, 3], "output_padding": [1, 0]}, (draw(3, 4, 3, 3),)),
    Case("DepthToSpace", {"blocksize": 2}, x=draw(2, 8, 3, 5)),
    Case("Dropout", {"ratio": 0.3}),
    *(Case(op, {}, (ints(1, 0, 2),), x=ints(1, 2, 3)) for op in ("Equal",)),
    *(Case(op, {}, (draw(3, 5, 1),)) for op in ("Greater", "Less", "PRelu")),
    Case("Flatten", {"axis": 2}),
    Case("Gather", {"axis": 1}, (ints(2, 0),)),
    Case("Gemm", {"transB": 1, "alpha": 0.5}, (draw(4, 5), draw(4)), x=draw(3, 5)),
    *(Case(op, {"axis": axis}) for op in ("Hardmax", "LogSoftmax", "Softmax") for axis in (1, 2)),
    *(Case(op, {}, (draw(2, 3, 5, 7), X)) for op in ("Max", "Mean", "Min", "Sum")),
    *(Case(op, {}, (draw(3, 1, 7),), since=8) for op in ("Max", "Mean", "Min", "Sum")),
    Case("MatMul", {}, (draw(7, 4),)),
    Case("NonMaxSuppression", {}, (np.abs(draw(1, 2, 6)), ints(3), floats(0.4), floats(0.1)),
         since=10, x=BOXES.astype(np.float32)),
    *(Case("Pad", {"pads": [0, 0, 1, 2, 0, 0, 3, 0], "mode": mode})
      for mode in ("constant", "reflect", "edge")),
    Case("Pad", {"pads": [0, 1, 0, -1, 0, 0, 3, 0], "value": 1.5}),
    Case("Scatter", {"axis": 2}, (np.array([[[[4, 1]]]]), draw(1, 1, 1, 2)), since=9),
    Case("Slice", {"starts": [1, -3], "ends": [9, -1], "axes": [1, 3]}, until=9),
    Case("Slice", {"starts": [1], "ends": [2**31]}, until=9),
    Case("Slice", {}, (ints(4, 0), ints(-9, 2), ints(2, 3), ints(-2, 1)), since=10),
    Case("Split", {"axis": 1, "split": [1, 2]}, outputs=2),
    Case("Split", {"axis": 1}, outputs=3),
    Case("Squeeze", {"axes": [0, 2]}, x=draw(1, 3, 1, 2)),
    Case("Unsqueeze", {"axes": [0, 3]}),
    Case("TopK", {"k": 3, "axis": 2}, until=9, outputs=2),
    Case("TopK", {"axis": 2}, (ints(3),), since=10, outputs=2),
    Case("If", {"then_branch": then(1.0), "else_branch": then(4.0)}, until=9, x=np.array(False)),
    Case("Loop", {"body": body()}, (np.array(True), draw(2, 3)), x=np.array(3)),
    Case("Scan", {"body": step(), "num_scan_inputs": 1}, (X[0],), since=9, x=draw(5, 7), outputs=2),
]  # fmt: skip

LEFT = [
    Case("BatchNormalization", {"spatial": 0}, tuple(draw(3, 5, 7) for _ in range(4)), until=8),
    Case("ConvTranspose", {"strides": [2, 2], "output_shape": [9, 14]}, (draw(3, 4, 3, 3),)),
    Case("ConvTranspose", {"strides": [2, 2], "auto_pad": "SAME_UPPER"}, (draw(3, 4, 3, 3),)),
    Case("Dropout", {}, until=9, outputs=2),
    Case("OneHot", {}, (np.array(3), floats(2, 5)), since=9, x=ints(0, -1, 2)),
    Case("Resize", {}, (floats(1, 1, 2, 0.5),), since=10),
]


def run(proto: onnx.ModelProto, x: Any) -> list[Any]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    return session.run(None, {"x": x})


def modern(proto: onnx.ModelProto) -> tuple[ir.Model, Any]:
    model = read(proto)
    return model, modernise(model)


@pytest.mark.parametrize("case", KEPT, ids=str)
def test_the_same_numbers_in_the_words_of_opset_11(case: Case) -> None:
    for opset in case.opsets():
        proto = case.proto(opset)
        model, reason = modern(proto)
        assert reason is None
        after = to_proto(model)
        assert [each.version for each in after.opset_import] == [OLDEST_OPSET]
        for output in after.graph.output:  # of any rank
            output.type.tensor_type.shape.SetInParent()
        onnx.checker.check_model(after, full_check=True)
        pairs = zip(run(proto, case.x), run(after, case.x), strict=True)
        for before, now in pairs:
            assert before.dtype == now.dtype
            np.testing.assert_array_equal(before, now)


@pytest.mark.parametrize("case", LEFT, ids=str)
def test_what_means_something_else_stays(case: Case) -> None:
    for opset in case.opsets():
        proto = case.proto(opset)
        model, (_, refusal) = modern(proto)
        assert refusal.reason.startswith(f"opset {opset}: {case.op} ")
        assert to_proto(model).graph.node == proto.graph.node
        assert model.opset_imports[""] == opset


def changed() -> set[tuple[str, int]]:
    """Each operator with each of its definitions that opset 11 has no more."""
    rows = set()
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "" and schema.since_version < OLDEST_OPSET and not schema.deprecated:
            for opset in OPSETS:
                old = version(schema.name, opset)
                if old not in (None, version(schema.name, OLDEST_OPSET)):
                    rows.add((schema.name, old))
    return rows


def version(op: str, opset: int) -> int | None:
    try:
        schema = onnx.defs.get_schema(op, opset)
    except onnx.defs.SchemaError:
        return None
    return None if schema.deprecated else schema.since_version


def test_every_operator_that_changed_is_among_them() -> None:
    met = {(case.op, version(case.op, o)) for case in (*KEPT, *LEFT) for o in case.opsets()}
    met |= {("Constant", version("Constant", opset)) for opset in OPSETS}  # in the branches of If
    assert changed() - met == {("Scan", 8)}  # below


def test_a_scan_for_each_batch_stays() -> None:
    proto = Case("Scan", {"body": step(), "num_scan_inputs": 1}, x=draw(3, 5, 7)).proto(8)
    proto.graph.node[0].input[:] = ["", "x", "x"]
    _, (_, refusal) = modern(proto)
    assert refusal.reason.startswith("opset 8: Scan ")


@pytest.mark.parametrize("case", [*KEPT, *LEFT], ids=str)
def test_float64_has_the_old_meaning_too(case: Case) -> None:
    """A in float64 is the file as it is given: within float32's rounding of what the engine gives.

    Sums here have at most 105 terms of size below 4·4, or products of 10; 1e-3 is far above their
    rounding and far below another sampling, mask or mode.
    """
    for opset in case.opsets():
        proto = case.proto(opset)
        try:
            exact = evaluate(read(proto), {"x": case.x}).values()
        except CannotEvaluate:  # then the engine alone is asked
            assert case.op in ("BatchNormalization", "Scatter")
            continue
        for number, engine in zip(exact, run(proto, case.x), strict=True):
            np.testing.assert_allclose(number, engine, rtol=1e-4, atol=1e-3)


def test_types_are_known_behind_old_forms() -> None:
    """Our inference has no rule for a Slice of opset 7; onnx's has."""
    sizes = {"x": 5, "y": 3}
    ends = [helper.make_tensor_value_info(k, TensorProto.FLOAT, [2, n]) for k, n in sizes.items()]
    nodes = [
        helper.make_node("Slice", ["x"], ["s"], starts=[1], ends=[4], axes=[1]),
        helper.make_node("Clip", ["s"], ["y"], min=0.0, max=6.0),
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 7)], ir_version=4)
    model, reason = modern(proto)
    assert reason is None
    x = draw(2, 5) * 9
    np.testing.assert_array_equal(run(to_proto(model), x)[0], run(proto, x)[0])
