"""The kinds of operators in a graph, and the modules that its nodes come from."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onebyone.counting.value import Count
from onebyone.graph.count import count
from tests.graph.counted import model, node

IMAGE = {"x": (1, 3, 4, 6)}


def kinds(counted: Count) -> dict[str, tuple[int, int, int]]:
    return {each.kind: (each.nodes, each.read, each.written) for each in counted.operators}


def test_a_product_with_a_constant_is_a_linear_layer() -> None:
    nodes = [node("MatMul", "x W", "h"), node("MatMul", "h x", "y")]
    counted = count(model(nodes, {"x": (2, 3, 3)}, {"W": (3, 3)}))
    assert [(each.op, each.kind, each.macs) for each in counted.operators] == [
        ("MatMul", "linear", 54),
        ("MatMul", "product", 54),
    ]


def test_bias_of_a_layer_is_no_operator_of_its_own() -> None:
    nodes = [node("MatMul", "x W", "h"), node("Add", "h b", "g"), node("Relu", "g", "y")]
    counted = count(model(nodes, {"x": (2, 5, 3)}, {"W": (3, 4), "b": (4,)}))
    assert [each.op for each in counted.operators] == ["MatMul", "Relu"]
    assert counted.operators[0].bias_adds == 40
    assert kinds(counted)["ReLU"] == (1, 40, 40)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("nearest", "nearest resize"), ("linear", "bilinear resize"), ("cubic", "other")],
)
def test_resizes_are_told_apart_by_how(mode: str, kind: str) -> None:
    resize = node("Resize", "x - scales", "y", mode=mode)
    counted = count(model([resize], IMAGE, {"scales": np.array([1, 1, 2, 2], np.float32)}))
    assert kinds(counted) == {kind: (1, 72, 288)}


@pytest.mark.parametrize(("axes", "kind"), [([2, 3], "adaptive average pool"), ([1], "other")])
def test_a_mean_over_all_positions_is_a_pooling(axes: list[int], kind: str) -> None:
    counted = count(model([node("ReduceMean", "x", "y", axes=axes, keepdims=1)], IMAGE, {}))
    assert list(kinds(counted)) == [kind]


def test_what_computes_on_constants_alone_does_not_run() -> None:
    nodes = [node("Neg", "W", "V"), node("MatMul", "x V", "y")]
    counted = count(model(nodes, {"x": (2, 5, 3)}, {"W": (3, 4)}))
    assert [each.op for each in counted.operators] == ["MatMul"]


def scoped(scopes: str) -> onnx.ModelProto:
    made = model([node("MatMul", "x W", "y")], {"x": (2, 5, 3)}, {"W": (3, 4)})
    entry = made.graph.node[0].metadata_props.add()
    entry.key, entry.value = "pkg.torch.onnx.name_scopes", scopes
    return made


def test_the_module_that_an_exporter_names_is_where_the_layer_stands() -> None:
    counted = count(scoped("['', 'body', 'body.0', 'linear']"))
    assert counted.layers[0].scope == "body.0"
    assert counted.at_depth(9).to_dict()["tree"]["children"][0]["path"].startswith("body.0.")


@pytest.mark.parametrize("scopes", ["", "['linear']", "[" * 99_999, "no list"])
def test_what_is_no_list_of_modules_says_nothing(scopes: str) -> None:
    assert count(scoped(scopes)).layers[0].scope == ""
