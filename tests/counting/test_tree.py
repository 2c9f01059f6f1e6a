"""Trees of layers: sums at each branch, chains in one row, any separator."""

from __future__ import annotations

from dataclasses import fields

import pytest

from onebyone.counting.tree import Branch
from onebyone.counting.value import Count, LayerCount, total


def layer(
    name: str, parameters: int, macs: int = 0, activation_bytes: int | None = 8
) -> LayerCount:
    return LayerCount(name, "mm", (1, 2), parameters, 1, macs, macs // 2, 3, activation_bytes, 4)


def counted(*layers: LayerCount) -> Count:
    return total(
        layers,
        activation_bytes=100,
        weight_bytes=10,
        nodes=len(layers),
        inputs=(("x", (1, 2)),),
        uncounted=(),
        separator=".",
    )


COUNT = counted(
    layer("model.stem", 1, 10),
    layer("model.stage.0.conv", 2, 20),
    layer("model.stage.0.bn", 3, 0, None),
    layer("model.stage.1.block.conv", 4, 30),
    layer("head", 5, 40),
)


def test_a_branch_is_the_sum_of_its_children_and_of_the_layers_below() -> None:
    for _, branch in COUNT.tree().walk():
        if branch.children:
            for name in ("layers", "parameters", "buffers", "macs", "pointwise_macs", "bias_adds"):
                assert getattr(branch, name) == sum(getattr(c, name) for c in branch.children)
    root = COUNT.tree()
    assert (root.parameters, root.macs, root.layers) == (COUNT.parameters, COUNT.macs, 5)
    assert root.activation_bytes == 4 * 8  # of those that are known


def test_a_module_that_holds_one_other_shares_its_row() -> None:
    rows = [(depth, branch.name, branch.op) for depth, branch in COUNT.tree().walk()]
    assert rows == [
        (0, "", None),
        (1, "model", None),
        (2, "stem", "mm"),
        (2, "stage", None),
        (3, "0", None),
        (4, "conv", "mm"),
        (4, "bn", "mm"),
        (3, "1.block.conv", "mm"),
        (1, "head", "mm"),
    ]
    assert [b.path for _, b in COUNT.tree().walk(1)] == ["", "model", "head"]


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        ([], [""]),
        (["mm"], ["", "mm"]),
        (["/a/Conv", "/a/b/Conv", "/c/MatMul"], ["", "a", "a/Conv", "a/b/Conv", "c/MatMul"]),
        (["a.mm", "a.mm"], ["", "a.mm"]),
        (["a", "a.b"], ["", "a", "a", "a.b"]),
    ],
)
def test_any_names_make_a_tree(names: list[str], rows: list[str]) -> None:
    tree = counted(*(layer(name, 1) for name in names)).tree("/" if "/" in "".join(names) else None)
    assert [branch.path for _, branch in tree.walk()] == rows
    assert tree.layers == len(names)


def test_json_has_all_fields() -> None:
    said = COUNT.tree().to_dict()
    assert list(said) == [field.name for field in fields(Branch)]
    assert said["children"][1]["path"] == "head"
