"""The float64 evaluation against the onnx package's reference, and against ONNX Runtime."""

from __future__ import annotations

import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from onebyone.errors import UnreadableModel, UsageError
from onebyone.graph import evaluate as module
from onebyone.graph.evaluate import CannotEvaluate, evaluate
from onebyone.graph.ops import OPERATORS
from onebyone.graph.ops.call import Call, is_floating
from onebyone.graph.read import read

from ..graphs.drawn import sample
from ..graphs.run import differences, run
from ..graphs.text import feed, integers, model

# The oracle takes an output size times a scale for the output size of align_corners; ONNX Runtime,
# whose answers matter here, takes the rounded size (and disowns these two cases too).
DISPUTED = {
    "test_resize_downsample_scales_linear_align_corners",
    "test_resize_downsample_scales_cubic_align_corners",
}
# Its own expansion of MeanVarianceNormalization mixes float32 constants with float64 tensors.
BROKEN = {"test_mvn"}
# Of these the onnx package has no case that can be used: they have tests of their own.
NO_CASES = {"MeanVarianceNormalization", "Upsample"}


KERNELS = {row.name: row.value for row in OPERATORS.values() if row.value is not None}


def node_tests() -> dict[str, list[Any]]:
    """The onnx package's tests of single operators, by operator; those on tensors only."""
    from onnx.backend.test.case.node import collect_testcases

    found = defaultdict(list)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    for case in cases:
        operators = {node.op_type for node in case.model.graph.node}
        plain = all(
            isinstance(x, np.ndarray | np.generic) for inputs, _ in case.data_sets for x in inputs
        )
        if operators <= KERNELS.keys() and plain and case.name not in DISPUTED | BROKEN:
            for operator in operators:
                found[operator].append(case)
    return dict(found)


def widened(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64) if is_floating(x.dtype) else x


def close(got: np.ndarray, want: np.ndarray) -> bool:
    """Equal; floats up to the float32 roundings of attributes and constants in the oracle.

    A dozen of them at most meet in one operator, each 2^-24 relative to the largest value.
    """
    if got.shape != want.shape or not is_floating(got.dtype):
        return got.shape == want.shape and bool(np.all(got == want))
    finite = np.isfinite(want)
    scale = np.abs(want[finite]).max(initial=0)
    near = np.abs(got[finite] - want[finite]) <= 16 * 2.0**-24 * scale
    return bool(near.all()) and np.array_equal(got[~finite], want[~finite], equal_nan=True)


# The package makes its cases of these in Python, number by number: ten seconds.
POOLS = {"AveragePool", "GlobalAveragePool", "LpPool", "MaxPool"}


@pytest.mark.parametrize(
    "left_out", [("averagepool", "lppool", "maxpool"), pytest.param((), marks=pytest.mark.slow)]
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_each_kernel_does_what_the_reference_does(
    left_out: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in left_out:
        module = f"onnx.backend.test.case.node.{name}"
        monkeypatch.setitem(sys.modules, module, sys.modules.get(module, ModuleType(module)))
    cases = node_tests()
    without = KERNELS.keys() - cases.keys() - NO_CASES - (POOLS if left_out else set())
    assert not without, "of these the onnx package has no case: compare them with NumPy here"
    found = {case.name: case for several in cases.values() for case in several}
    assert [name for name, case in found.items() if not all(same_answers(case))] == []


def same_answers(case: Any) -> Iterator[bool]:
    names = [value.name for value in case.model.graph.input]
    for inputs, _ in case.data_sets:
        wide = dict(zip(names, map(widened, inputs), strict=True))
        wanted = ReferenceEvaluator(case.model).run(None, wide)
        got = evaluate(ir.from_proto(case.model), dict(zip(names, inputs, strict=True)))
        for a, b in zip(got.values(), wanted, strict=True):
            yield close(a, widened(np.asarray(b)))


def test_mean_variance_normalization() -> None:
    x = integers("x", (2, 3, 5, 4), 9)
    y = KERNELS["MeanVarianceNormalization"](Call("", 13), x.astype(np.float64))
    deviation = x.std(axis=(0, 2, 3), keepdims=True, dtype=np.float64)
    centred = x - x.mean((0, 2, 3), np.float64, keepdims=True)
    # The operator adds 1e-9 to the deviation; the rest is a dozen roundings of 2^-53.
    assert np.abs(y * deviation - centred).max() < 1e-9 * np.abs(y).max() + 1e-13


def test_drawn_networks_give_what_the_engine_gives() -> None:
    for drawn in sample(40, 11):
        loaded = read(drawn.model)
        for inputs, outputs in zip(drawn.feeds, run(drawn.model, *drawn.feeds), strict=True):
            got = evaluate(loaded, inputs)
            assert differences(outputs, {n: got[n].astype(outputs[n].dtype) for n in got}) == []


CONVOLUTIONS = [
    ("Conv", (2, 5, 7, 9), (4, 5, 3, 2), "pads=[1,0,2,1], strides=[2,1]"),
    ("Conv", (1, 6, 9, 8), (4, 3, 3, 3), "group=2, dilations=[2,1]"),
    ("Conv", (2, 3, 8, 5), (6, 1, 3, 3), "group=3, pads=[1,1,1,1]"),
    ("Conv", (1, 4, 7, 1), (4, 1, 3, 1), "group=4, strides=[2,1], pads=[0,0,1,0]"),
    ("Conv", (2, 6, 5, 3), (4, 3, 1, 1), "group=2, strides=[2,2]"),
    ("Conv", (2, 3, 5, 4), (7, 3, 1, 1), "pads=[1,0,0,2]"),
    ("Conv", (2, 3, 11), (2, 3, 4), 'auto_pad="SAME_UPPER", strides=[3]'),
    ("Conv", (2, 3, 11), (2, 3, 4), 'auto_pad="SAME_LOWER"'),
    ("Conv", (1, 2, 4, 5, 3), (3, 2, 2, 3, 1), "pads=[1,0,0,0,1,0]"),
    ("ConvTranspose", (2, 4, 3, 5), (4, 2, 3, 2), "strides=[2,3], pads=[1,0,0,1]"),
    ("ConvTranspose", (1, 4, 3, 2), (4, 3, 2, 2), "group=2, output_padding=[1,0], strides=[2,1]"),
    ("ConvTranspose", (1, 2, 4), (2, 3, 3), "dilations=[2], strides=[2], output_padding=[1]"),
    ("ConvTranspose", (1, 2, 4, 3), (2, 3, 2, 4), 'auto_pad="SAME_UPPER", strides=[3,3]'),
    ("ConvTranspose", (1, 2, 4), (2, 3, 2), 'auto_pad="SAME_LOWER", strides=[4], dilations=[2]'),
]


@pytest.mark.parametrize(("operator", "x", "w", "attributes"), CONVOLUTIONS)
def test_convolutions_of_integers_are_exact(
    operator: str, x: tuple[int, ...], w: tuple[int, ...], attributes: str
) -> None:
    channels = w[0] if operator == "Conv" else w[1] * (2 if "group=2" in attributes else 1)
    proto = model(
        f"y = {operator} <{attributes}> (x, w, b)",
        f"float{list(x)} x",
        constants={"w": w, "b": (channels,)},
    )
    inputs = feed(proto)
    (wanted,) = run(proto, inputs)
    got = evaluate(ir.from_proto(proto), inputs)["y"]
    assert got.dtype == np.float64
    assert np.array_equal(got, wanted["y"])


@pytest.mark.parametrize(
    ("size", "node"),
    [
        (5, "Slice(x, before, least, axis, minus)"),
        (3, "AveragePool<kernel_shape = [5], strides = [3]>(x)"),
        (2, "AveragePool<kernel_shape = [5], strides = [3], pads = [1, 0]>(x)"),
        (2, "MaxPool<kernel_shape = [5], strides = [4]>(x)"),
    ],
)
def test_what_starts_or_ends_outside_is_read_as_the_engine_does(size: int, node: str) -> None:
    """A slice from before the first position on takes it; a window larger than all takes all."""
    constants = (
        "int64[1] before = {-9}, int64[1] least = {-9223372036854775808}, "
        "int64[1] axis = {2}, int64[1] minus = {-1}"
    )
    text = f"g (float[1,2,{size}] x) => (float[n,c,l] y) <{constants}> {{ y = {node} }}"
    proto = onnx.parser.parse_model('<ir_version: 8, opset_import: ["": 17]>' + text)
    # Multiples of 6: the averages are integers.
    inputs = {"x": 6 * np.arange(2.0 * size, dtype=np.float32).reshape(1, 2, size) - 12}
    (wanted,) = run(proto, inputs)
    assert wanted["y"].shape == (1, 2, 1)
    assert np.array_equal(evaluate(read(proto), inputs)["y"], wanted["y"])


def test_columns_come_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    from onebyone.graph.ops import convolution

    proto = model("y = Conv <pads=[1,1,1,1]> (x, w)", "float[2,5,9,7] x",
                  constants={"w": (3, 5, 3, 3)})  # fmt: skip
    whole = evaluate(ir.from_proto(proto), feed(proto))["y"]
    monkeypatch.setattr(convolution, "BAND", 1)
    assert np.array_equal(evaluate(ir.from_proto(proto), feed(proto))["y"], whole)


@pytest.mark.parametrize("taken", [True, False])
def test_if_reads_what_lies_outside(taken: bool) -> None:
    branch = "{}_branch = {} () => (float[N] {}) {{ {} = {}(h) }}"
    proto = model(
        "h = Neg(x) "
        f"y = If (c) <{branch.format('then', 'a', 'p', 'p', 'Abs')}, "
        f"{branch.format('else', 'b', 'q', 'q', 'Identity')}>",
        "float[3] x, bool c",
    )
    y = evaluate(ir.from_proto(proto), {"x": np.float32([1, -2, 3]), "c": np.array(taken)})["y"]
    assert y.tolist() == ([1, 2, 3] if taken else [-1, 2, -3])


def loop(limit: int) -> onnx.ModelProto:
    """total = Σ_i x and all its partial sums, `limit` times."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["total", "x"], ["sum"]),
            helper.make_node("Identity", ["go"], ["still"]),
            helper.make_node("Identity", ["sum"], ["seen"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("total", TensorProto.FLOAT, [2]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, [2]),
            helper.make_tensor_value_info("seen", TensorProto.FLOAT, [2]),
        ],
    )
    node = helper.make_node("Loop", ["n", "", "zero"], ["y", "all"], body=body)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [2]),
            helper.make_tensor_value_info("all", TensorProto.FLOAT, [None, 2]),
        ],
        [
            numpy_helper.from_array(np.array(limit), "n"),
            numpy_helper.from_array(np.zeros(2, np.float32), "zero"),
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


@pytest.mark.parametrize("limit", [0, 3])
def test_loop_gives_what_the_engine_gives(limit: int) -> None:
    inputs = {"x": np.float32([1, -5])}
    (wanted,) = run(loop(limit), inputs)
    got = evaluate(ir.from_proto(loop(limit)), inputs)
    assert differences(wanted, {name: got[name].astype(np.float32) for name in got}) == []


def test_scan_runs_along_any_axis_and_backwards() -> None:
    body = helper.make_graph(
        [
            helper.make_node("Add", ["s", "slice"], ["t"]),
            helper.make_node("Identity", ["t"], ["seen"]),
        ],
        "body",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in ("s", "slice")],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in ("t", "seen")],
    )
    proto = model("y = Abs(x) ", "float[2,3] x, float[2] s0", "y")
    del proto.graph.node[:], proto.graph.output[:]
    proto.graph.node.append(
        helper.make_node(
            "Scan", ["s0", "x"], ["end", "all"], body=body, num_scan_inputs=1,
            scan_input_axes=[1], scan_input_directions=[1], scan_output_axes=[1],
        )
    )  # fmt: skip
    proto.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("end", "all")
    )
    inputs = feed(proto)
    (wanted,) = run(proto, inputs)
    got = evaluate(ir.from_proto(proto), inputs)
    assert differences(wanted, {name: got[name].astype(np.float32) for name in got}) == []


def test_every_float_is_wide_and_every_cast_to_one_too() -> None:
    proto = model(
        "h = Cast <to=10> (x) i = Cast <to=6> (x) s = Shape(x) y = Mul(h, h)",
        "float[3] x",
        "float16[3] y, int32[3] i, int64[1] s",
    )
    x = np.float32([0.1, 2.7, -2.7])
    got = evaluate(ir.from_proto(proto), {"x": x})
    assert np.array_equal(got["y"], x.astype(np.float64) ** 2)
    assert got["i"].tolist() == [0, 2, -2]
    assert [got[name].dtype for name in "yis"] == [np.float64, np.int32, np.int64]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_the_precision_is_the_callers(dtype: type[np.floating[Any]]) -> None:
    proto = model("h = Conv(x, w) y = Relu(h)", "float[1,3,4,5] x", constants={"w": (2, 3, 1, 1)})
    y = evaluate(ir.from_proto(proto), feed(proto), dtype=dtype)["y"]
    assert y.dtype == dtype


def test_tensors_are_dropped_after_their_last_use(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = model("a = Relu(x) b = Neg(a) c = Abs(b) y = Add(c, x)", "float[2,3] x")
    alive = []
    plain = module.computed

    def spy(node: ir.Node, run: module.Run) -> list[Any]:
        alive.append({value.name for value in run.known})
        return plain(node, run)

    monkeypatch.setattr(module, "computed", spy)
    evaluate(ir.from_proto(proto), feed(proto))
    assert alive == [{"x"}, {"x", "a"}, {"x", "b"}, {"x", "c"}]


def test_an_overridable_initialiser_may_be_given() -> None:
    proto = model("y = Add(x, w)", "float[2] x, float[2] w", constants={"w": np.float32([1, 2])})
    x = np.float32([10, 20])
    assert evaluate(ir.from_proto(proto), {"x": x})["y"].tolist() == [11, 22]
    assert evaluate(ir.from_proto(proto), {"x": x, "w": x})["y"].tolist() == [20, 40]


@pytest.mark.parametrize("given", [{}, {"x": np.zeros(2), "z": np.zeros(2)}])
def test_missing_and_unknown_inputs_are_named(given: dict[str, np.ndarray]) -> None:
    with pytest.raises(UsageError, match=r"missing|unknown"):
        evaluate(ir.from_proto(model("y = Abs(x)", "float[2] x")), given)


def test_what_cannot_run_says_which_node() -> None:
    foreign = model("y = Abs(x)", "float[2] x")
    foreign.graph.node[0].domain = "com.example"
    foreign.opset_import.add(domain="com.example", version=1)
    random = model("y = RandomNormalLike(x)", "float[2] x")
    misshapen = model("y = MatMul(x, w)", "float[N,2] x", constants={"w": (2, 3)})
    for proto, shape in ((foreign, 2), (random, 2), (misshapen, (4, 5))):
        with pytest.raises(CannotEvaluate, match=proto.graph.node[0].op_type) as caught:
            evaluate(ir.from_proto(proto), {"x": np.zeros(shape, np.float32)})
        assert isinstance(caught.value, UnreadableModel)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sizes", [[2, 9], [2, 3], [6, 0, -1]])
def test_a_split_takes_all_that_there_is(sizes: list[int]) -> None:
    names = "abc"[: len(sizes)]
    declared = ", ".join(f"float[3,size_{name}] {name}" for name in names)
    body = f"{', '.join(names)} = Split<axis = 1>(x, s)"
    proto = model(body, "float[3,6] x, int64[k] s", declared)
    with pytest.raises(CannotEvaluate, match="on an axis of 6, wanted them to add up"):
        evaluate(ir.from_proto(proto), {"x": np.zeros((3, 6), np.float32), "s": np.array(sizes)})


def test_an_operator_without_kernel_runs_in_the_reference() -> None:
    assert "TopK" not in KERNELS
    proto = model(
        "v, i = TopK (x, k)",
        "float[2,5] x",
        "float[2,2] v, int64[2,2] i",
        {"k": np.array([2], np.int64)},
    )
    x = np.array([[1, 5, 2, 4, 3], [9, 8, 7, 6, 5]], np.float32)
    got = evaluate(ir.from_proto(proto), {"x": x})
    assert got["v"].tolist() == [[5, 4], [9, 8]]
    assert got["i"].tolist() == [[1, 3], [0, 1]]
    assert got["v"].dtype == np.float64


@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("aligned", [0, 1])
@pytest.mark.parametrize("opset", [16, 20])
def test_grid_sample_of_either_opset_is_what_the_engine_gives(
    padding: str, aligned: int, opset: int
) -> None:
    # All places are multiples of a sixteenth, so that float32 is exact.
    mode = "bilinear" if opset < 20 else "linear"
    body = f'y = GridSample<mode = "{mode}", align_corners = {aligned}, '
    body += f'padding_mode = "{padding}">(x, g)'
    rng = np.random.default_rng(5)
    proto = model(body, "float[2,3,5,9] x, float[2,4,7,2] g", "float[2,3,4,7] y", opset=opset)
    grid = rng.integers(-10, 11, (2, 4, 7, 2)) / 8
    given = {"x": integers("x", (2, 3, 5, 9)), "g": grid.astype(np.float32)}
    (wanted,) = run(proto, given)
    got = evaluate(read(proto), given)
    assert (got["y"] == wanted["y"]).all()


@pytest.mark.parametrize("shape", ["2,6,3,5", "1,4,7,2"])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_local_response_is_normalised_over_channels(shape: str, size: int) -> None:
    """The onnx package's reference walks over the batch, and normalises only so many channels."""
    body = f"y = LRN<size = {size}, alpha = 0.5, beta = 0.75, bias = 2.0>(x)"
    proto = model(body, f"float[{shape}] x", f"float[{shape}] y")
    (wanted,) = run(proto, feed(proto))
    assert close(wanted["y"].astype(np.float64), evaluate(read(proto), feed(proto))["y"])


@pytest.mark.parametrize("opset", [10, 13, 17, 21])
@pytest.mark.parametrize("code", [np.int8, np.uint8])
@pytest.mark.parametrize("axis", [None, 1, -1])
def test_codes_of_old_opsets_are_numbers_again(opset: int, code: type, axis: int | None) -> None:
    """The onnx package has no implementation of DequantizeLinear before opset 19."""
    if axis is not None and opset < 13:
        pytest.skip("scales along an axis came with opset 13")
    size = 1 if axis is None else (2, 5, 3)[axis]
    scales = 2.0 ** np.arange(-2, size - 2, dtype=np.float32)
    zeros = np.arange(3, 3 + size).astype(code)
    constants = {"s": scales if axis else scales[0], "z": zeros if axis else zeros[0]}
    given = "" if axis is None else f"<axis = {axis}>"
    proto = model(
        f"y = DequantizeLinear{given}(x, s, z)",
        f"{np.dtype(code).name}[2,5,3] x",
        constants={name: np.asarray(array) for name, array in constants.items()},
        opset=opset,
    )
    x = {"x": np.arange(-15, 15).reshape(2, 5, 3).astype(code)}
    assert np.array_equal(evaluate(read(proto), x)["y"], run(proto, x)[0]["y"])
