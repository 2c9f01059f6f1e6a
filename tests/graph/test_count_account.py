"""What a count holds beside products: parameters, bytes, what is left out, and how it is told."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from rich.console import Console

from onebyone.counting.value import Count
from onebyone.errors import UnreadableModel
from onebyone.graph.count import count

from .counted import (
    FLOAT,
    PRODUCTS_ON_ONES,
    W,
    X,
    conv,
    model,
    node,
)

# --- what a parameter is -----------------------------------------------------------------------


def test_shared_weights_count_once_and_move_twice() -> None:
    nodes = [node("MatMul", "x W", "h"), node("Relu", "h", "r"), node("MatMul", "r W", "y")]
    counted = count(model(nodes, {"x": (2, 3)}, {"W": (3, 3), "unused": (7, 7)}))
    assert [layer.parameters for layer in counted.layers] == [9, 0]
    assert [layer.weight_bytes for layer in counted.layers] == [36, 36]
    assert (counted.parameters, counted.weight_bytes) == (9, 36)


def test_running_statistics_are_buffers() -> None:
    names = dict.fromkeys(["scale", "shift", "mean", "variance"], (3,))
    proto = model(
        [node("BatchNormalization", "x scale shift mean variance", "y")], {"x": (2, 3, 5, 7)}, names
    )
    counted = count(proto)
    assert (counted.parameters, counted.buffers, counted.macs) == (6, 6, 0)
    assert counted.weight_bytes == 12 * 4


@pytest.mark.parametrize(
    ("made", "weights", "parameters"),
    [
        (node("Mul", "x c", "y"), {"c": ()}, 0),
        (node("Mul", "x c", "y"), {"c": (3, 1, 1)}, 3),
        (node("Resize", "x - c", "y"), {"c": (4,)}, 0),
        (node("Clip", "x c", "y"), {"c": ()}, 0),
        (node("Pow", "x c", "y"), {"c": (1,)}, 0),
        (node("PRelu", "x c", "y"), {"c": (3, 1, 1)}, 3),
        (node("Reshape", "x c", "y"), {"c": np.array([2, 105])}, 0),
        (node("LayerNormalization", "x c d", "y"), {"c": (7,), "d": (7,)}, 14),
        (node("Concat", "x c", "y", axis=2), {"c": (2, 3, 1, 7)}, 42),
    ],
)
def test_what_is_learned(
    made: onnx.NodeProto, weights: Mapping[str, Sequence[int]], parameters: int
) -> None:
    counted = count(model([made], {"x": (2, 3, 5, 7)}, weights))
    assert (counted.parameters, counted.buffers, counted.macs) == (parameters, 0, 0)


def test_an_embedding_is_a_layer_without_macs() -> None:
    proto = model(
        [node("Gather", "E i", "y")],
        {"i": (2, 5)},
        {"E": np.ones((11, 3), np.float32)},
        kind=TensorProto.INT64,
        outputs={"y": (2, 5, 3)},
    )
    proto.graph.output[0].type.tensor_type.elem_type = FLOAT
    counted = count(proto)
    assert (counted.parameters, counted.macs, counted.uncounted) == (33, 0, ())


@pytest.mark.parametrize(
    "way",
    [
        [node("Transpose", "V", "W", perm=[1, 0])],
        [node("Cast", "V", "c", to=FLOAT), node("Transpose", "c", "W")],
        [node("Transpose", "V", "t"), node("Mul", "t s", "W")],
    ],
    ids=["Transpose", "Cast", "Mul"],
)
def test_weights_keep_their_count_on_their_way(way: list[onnx.NodeProto]) -> None:
    weights = {"V": (4, 3), "s": ()}
    counted = count(model([*way, node("MatMul", "x W", "y")], X, weights))
    assert (counted.parameters, counted.pointwise_macs) == (12, 2 * 5 * 3 * 4)
    assert [layer.op for layer in counted.layers] == ["MatMul"]
    # only x and y move: constants are prepared once
    assert counted.activation_bytes == 4 * (2 * 5 * 3 + 2 * 5 * 4)


def test_dequantised_weights_are_parameters_of_their_bytes() -> None:
    nodes = [node("DequantizeLinear", "V s z", "W"), node("MatMul", "x W", "y")]
    weights = {"V": np.ones((3, 4), np.int8), "s": (4,), "z": np.zeros(4, np.int8)}
    counted = count(model(nodes, X, weights))
    assert (counted.parameters, counted.weight_bytes) == (12, 12)
    assert counted.pointwise_macs == 2 * 5 * 12


def test_a_token_expanded_to_the_batch_counts_once() -> None:
    nodes = [
        node("Shape", "x", "s", end=1),
        node("Concat", "s rest", "shape", axis=0),
        node("Expand", "token shape", "e"),
        node("Concat", "e x", "y", axis=1),
    ]
    weights = {"token": (1, 1, 3), "rest": np.array([1, 3])}
    counted = count(model(nodes, {"x": (2, 5, 3)}, weights))
    assert (counted.parameters, counted.uncounted) == (3, ())


def test_a_weight_that_a_caller_may_replace_is_a_weight() -> None:
    proto = model([node("MatMul", "x W", "y")], {**X, "W": (3, 4)}, W)
    counted = count(proto)
    assert (counted.parameters, counted.pointwise_macs) == (12, 120)


def test_low_rank_weights_multiplied_in_the_graph() -> None:
    """W + B·A: a product of two constants has MACs, and is no linear layer."""
    nodes = [
        node("MatMul", "B A", "d"),
        node("Add", "W d", "V"),
        node("MatMul", "x V", "y"),
    ]
    counted = count(model(nodes, X, {**W, "B": (3, 2), "A": (2, 4)}))
    assert [layer.parameters for layer in counted.layers] == [6 + 8, 12]
    assert [layer.macs for layer in counted.layers] == [3 * 2 * 4, 2 * 5 * 12]
    assert [layer.pointwise_macs for layer in counted.layers] == [0, 2 * 5 * 12]
    assert [row.op for row in counted.uncounted] == ["Add"]


# --- bytes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "size"), [(FLOAT, 4), (TensorProto.FLOAT16, 2), (TensorProto.DOUBLE, 8)]
)
def test_bytes_and_intensity(kind: int, size: int) -> None:
    proto = model(
        [node("Conv", "x W", "y"), node("Flatten", "y", "f"), node("Relu", "f", "z")],
        {"x": (2, 3, 5, 7)},
        {"W": (4, 3, 1, 1)},
        kind=kind,
    )
    counted = count(proto)
    (layer,) = counted.layers
    x, y = 2 * 3 * 5 * 7 * size, 2 * 4 * 5 * 7 * size
    assert (layer.activation_bytes, layer.weight_bytes) == (x + y, 12 * size)
    assert layer.intensity == 2 * layer.macs / (x + y + 12 * size)
    assert counted.activation_bytes == (x + y) + 0 + (y + y)
    assert counted.intensity == 2 * layer.macs / (x + 3 * y + 12 * size)


def test_a_tensor_that_is_read_twice_moves_once() -> None:
    counted = count(model([node("Mul", "x x", "y")], {"x": (2, 3)}, {}))
    assert counted.activation_bytes == 2 * 6 * 4


def test_half_bytes_are_counted_as_stored() -> None:
    packed = helper.make_tensor("V", TensorProto.INT4, (3, 4), np.ones(12, np.int8))
    nodes = [node("DequantizeLinear", "V s", "W"), node("MatMul", "x W", "y")]
    proto = model(nodes, X, {"s": ()}, opset=21, outputs={"y": (2, 5, 4)})
    proto.graph.initializer.append(packed)
    counted = count(proto)
    assert (counted.parameters, counted.weight_bytes) == (12, 6)


# --- what is left out --------------------------------------------------------------------------


def left_out(counted: Count) -> dict[str, tuple[int, str]]:
    return {row.op: (row.nodes, row.reason) for row in counted.uncounted}


def test_all_other_arithmetic_is_listed_and_views_are_not() -> None:
    nodes = [
        node("Relu", "x", "a"),
        node("Transpose", "a", "b"),
        node("Relu", "b", "c"),
        node("Reshape", "c s", "d"),
        node("Softmax", "d", "e"),
        node("Concat", "e e", "y", axis=0),
    ]
    counted = count(model(nodes, {"x": (2, 3)}, {"s": np.array([1, 6])}))
    other = "arithmetic that is not multiply-accumulate"
    assert left_out(counted) == {"Relu": (2, other), "Softmax": (1, other)}
    assert [row.example for row in counted.uncounted] == ["Relu:a", "Softmax:e"]
    assert (counted.nodes, counted.macs, counted.pointwise_share) == (6, 0, 0.0)


@pytest.mark.parametrize(("mode", "listed"), [("nearest", []), ("linear", ["Resize"])])
def test_nearest_neighbours_are_copied_and_others_computed(mode: str, listed: list[str]) -> None:
    proto = model(
        [node("Resize", "x - s", "y", mode=mode)],
        {"x": (1, 2, 3, 5)},
        {"s": np.array([1, 1, 2, 2], np.float32)},
    )
    assert [row.op for row in count(proto).uncounted] == listed


@pytest.mark.parametrize(("reduction", "listed"), [("none", 0), ("add", 1)])
def test_a_scatter_computes_only_where_it_reduces(reduction: str, listed: int) -> None:
    proto = model(
        [node("ScatterND", "x i u", "y", reduction=reduction)],
        {"x": (5, 3), "u": (2, 3)},
        {"i": np.array([[0], [4]])},
    )
    assert len(count(proto).uncounted) == listed


def test_integer_arithmetic_says_so() -> None:
    proto = model([node("Add", "x c", "y")], {"x": (3,)}, {"c": (3,)}, kind=TensorProto.INT64)
    assert left_out(count(proto)) == {"Add": (1, "integer arithmetic")}


def test_sizes_are_constants_of_a_count() -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Mul", "s s", "t"),
        node("ConstantOfShape", "t", "y"),
    ]
    counted = count(model(nodes, {"x": (2, 3)}, {}, outputs={"y": ("a", "b")}))
    assert left_out(counted) == {"Mul": (1, "computes on constants and sizes alone")}
    assert counted.activation_bytes == 0


def test_subgraphs_are_not_entered() -> None:
    def branch(name: str) -> onnx.GraphProto:
        result = helper.make_tensor_value_info(name, FLOAT, (2, 5, 4))
        return helper.make_graph([node("MatMul", "x W", name)], name, [], [result])

    nodes = [
        node("If", "c", "h", then_branch=branch("p"), else_branch=branch("q")),
        node("MatMul", "h V", "y"),
    ]
    weights = {**W, "V": (4, 6), "c": np.array(True)}
    counted = count(model(nodes, X, weights, outputs={"y": (2, 5, 6)}))
    (found, reason) = left_out(counted)["If"]
    assert (found, counted.nodes) == (1, 2)
    # The second product alone; what an If returns is no constant, whatever decides it.
    assert (counted.parameters, counted.pointwise_macs) == (24, 2 * 5 * 24)
    assert "subgraphs are not entered" in reason


def test_operators_of_other_domains_are_listed() -> None:
    proto = model([node("Conv", "x W", "y", domain="com.example")], X, W, outputs={"y": (2, 5, 4)})
    counted = count(proto)
    assert counted.macs == 0
    assert "another domain" in left_out(counted)["com.example::Conv"][1]


def test_an_unknown_shape_is_never_guessed() -> None:
    nodes = [
        node("NonZero", "x", "n"),
        node("Cast", "n", "f", to=FLOAT),
        node("MatMul", "f V", "y"),
    ]
    proto = model(nodes, {"x": (5,), "V": ("k", 7)}, {}, outputs={"y": (1, 7)})
    counted = count(proto, {"V": (5, 7)})
    reasons = [row.reason for row in counted.uncounted if row.op == "MatMul"]
    assert counted.macs == 0
    assert any("shape of an operand or of the result is unknown" in text for text in reasons)
    assert any("its bytes are not counted" in text for text in reasons)


# --- sources, shapes, output -------------------------------------------------------------------


def dynamic() -> onnx.ModelProto:
    return model([node("Conv", "x W b", "y")], {"x": ("n", 3, "h", "w")}, conv(3, 4, 1, 1))


def test_a_free_dimension_is_of_the_usual_size_and_that_is_said() -> None:
    counted = count(dynamic())
    assert counted.inputs == (("x", (1, 3, 224, 224)),)
    assert counted.told.endswith("--shape x=1,3,224,224")
    assert counted.totals() == count(dynamic(), {"x": (1, 3, 224, 224)}).totals()


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 3, 5, 7), (3, 3, 224, 224)])
def test_work_grows_with_the_shape_and_parameters_do_not(shape: tuple[int, ...]) -> None:
    counted = count(dynamic(), {"x": shape})
    positions = prod(shape) // 3
    assert (counted.parameters, counted.macs) == (16, positions * 12)
    assert (counted.bias_adds, counted.inputs) == (positions * 4, (("x", shape),))


def test_every_kind_of_source_counts_the_same_and_is_left_alone(tmp_path: Path) -> None:
    proto, path = PRODUCTS_ON_ONES["conv"], tmp_path / "model.onnx"
    before = proto.SerializeToString(deterministic=True)
    onnx.save(proto, path)
    loaded = ir.from_proto(proto)
    as_loaded = ir.to_proto(loaded).SerializeToString(deterministic=True)
    counts = [count(source) for source in (proto, path, str(path), loaded)]
    assert all(counted == counts[0] for counted in counts)
    assert proto.SerializeToString(deterministic=True) == before
    assert ir.to_proto(loaded).SerializeToString(deterministic=True) == as_loaded


def test_no_model() -> None:
    with pytest.raises(UnreadableModel, match="no-such-file"):
        count("no-such-file.onnx")


def test_the_json_is_complete() -> None:
    counted = count(PRODUCTS_ON_ONES["conv"])
    said = json.loads(json.dumps(counted.to_dict(), allow_nan=False))
    assert list(said) == [
        *("schema", "unit", "parameters", "buffers", "macs", "flops", "pointwise_macs"),
        *("pointwise_share", "bias_adds", "activation_bytes", "weight_bytes"),
        *("peak_activation_bytes", "intensity", "nodes"),
        *("inputs", "assumed", "misfit", "layers", "uncounted", "operators", "conventions"),
    ]
    assert (said["schema"], said["unit"]) == (1, "1 MAC = 2 FLOPs")
    assert said["inputs"] == [{"name": "x", "shape": [2, 3, 5, 7]}]
    (layer,) = said["layers"]
    assert (layer["name"], layer["op"], layer["shape"]) == ("Conv:y", "Conv", [2, 4, 3, 6])
    assert said["flops"] == 2 * layer["macs"] == 2 * 2 * 4 * 3 * 6 * 3 * 3 * 2


def test_a_person_sees_layers_totals_and_what_is_missing() -> None:
    nodes = [node("Conv", "x W b", "[red]h"), node("Relu", "[red]h", "y")]
    counted = count(model(nodes, {"x": (2, 3, 5, 7)}, conv(3, 4, 1, 1)))
    console = Console(file=io.StringIO(), width=120)
    console.print(counted)
    shown = console.file.getvalue()
    for text in ("Conv:[red]h", "2×4×5×7", "840", "1,680 FLOPs", "1 MAC = 2 FLOPs", "100%", "Relu"):
        assert text in shown


def test_a_model_without_layers_is_shown_too() -> None:
    console = Console(file=io.StringIO(), width=120)
    console.print(count(model([node("Identity", "x", "y")], {"x": (2, 3)}, {})))
    assert "not counted" not in console.file.getvalue()
