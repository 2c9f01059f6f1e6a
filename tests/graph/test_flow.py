"""How channels flow through single nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onebyone.graph.channels import flow
from onebyone.graph.ops.flow import Flow, channels_of
from onebyone.graph.read import read
from onebyone.graph.shapes import infer

from ..graphs.text import integers, model

X = "float[2,6,4,8] x"


def _flow(body: str, axis: int = 1, outputs: str = "y", **constants: Any) -> Flow | None:
    """Of the last node of a graph."""
    graph = read(model(body, X, outputs, constants))
    infer(graph)
    return flow(list(graph.graph)[-1], axis)


LINKS = {
    "Relu": ("y = Relu(x)", {}),
    "Mul by constants": ("y = Mul(x, s)", {"s": (6, 1, 1)}),
    "Where of a mask": ("y = Where(m, x, s)", {"m": np.ones((6, 1, 1), bool), "s": (1,)}),
    "Add of a scalar": ("y = Add(x, s)", {"s": (1,)}),
    "MaxPool": ("y = MaxPool<kernel_shape = [2, 2]>(x)", {}),
    "AveragePool": ("y = AveragePool<kernel_shape = [2, 2]>(x)", {}),
    "depthwise": ("y = Conv<group = 6>(x, w)", {"w": (6, 1, 3, 3)}),
    "Pad of positions": ("y = Pad(x, p)", {"p": np.array([0, 0, 1, 1] * 2)}),
    "Slice of positions": ("y = Slice(x, p, q, q)", {"p": np.array([1]), "q": np.array([2])}),
    "Flatten of positions": ("y = Reshape(x, p)", {"p": np.array([0, 0, -1])}),
    "Identity": ("y = Identity(x)", {}),
    "Concat of positions": ("y = Concat<axis = 2>(x, x)", {}),
    "a softmax over positions": ("y = Softmax<axis = -1>(x)", {}),
    "a normalisation over positions": ("y = LayerNormalization<axis = 2>(x, s)", {"s": (4, 8)}),
    "a product of matrices for each channel": ("y = MatMul(x, r)", {"r": (2, 6, 8, 3)}),
    "transposed depthwise": ("y = ConvTranspose<group = 6>(x, w)", {"w": (6, 1, 2, 2)}),
}


@pytest.mark.parametrize("name", LINKS)
def test_channels_go_on_one_by_one(name: str) -> None:
    body, constants = LINKS[name]
    found = _flow(body, **constants)
    assert found is not None
    (link,) = found.links
    assert found.mix is None
    assert (link.operand.name, link.axis) == ("x", 1)
    assert link.outs.tolist() == link.sources.tolist() == [*range(6)]


def test_a_transpose_takes_the_axis_along() -> None:
    found = _flow("y = Transpose<perm = [0, 2, 3, 1]>(x)", axis=3)
    assert found is not None
    assert found.axis == 3
    assert found.links[0].axis == 1


def test_a_concat_links_each_operand_behind_the_one_before() -> None:
    found = _flow("r = Neg(x) y = Concat<axis = 1>(x, r, x)")
    assert found is not None
    assert [link.operand.name for link in found.links] == ["x", "r", "x"]
    assert [link.outs.tolist() for link in found.links] == [[*range(k, k + 6)] for k in (0, 6, 12)]


def test_constants_are_held_by_the_axis_of_their_channels() -> None:
    found = _flow("y = Mul(s, x)", s=(1, 6, 1, 1))
    assert found is not None
    assert {v.name: axis for v, axis in found.constants.items()} == {"s": 1}


def test_a_dense_kernel_mixes_with_the_sum_of_its_taps() -> None:
    weight = np.zeros((2, 6, 3, 1), np.float32)
    weight[0, 1] = [[1], [2], [-3]]
    weight[1, 4] = [[0], [5], [0]]
    found = _flow("y = Conv<pads = [1, 0, 1, 0]>(x, w)", w=weight)
    assert found is not None
    assert found.mix is not None
    assert found.mix.weight[:, [1, 4]].tolist() == [[0, 0], [0, 5]]
    assert found.mix.used.nonzero()[1].tolist() == [1, 4]  # taps that cancel are still read
    assert [read.tolist() for read in found.mix.lines] == [[True, True], [0, 1, 0, 0, 1, 0]]
    assert found.mix.zeros_only


@pytest.mark.parametrize(
    ("body", "zeros_only"),
    [
        ("y = Conv(x, w)", False),
        ("y = Conv<pads = [0, 1, 0, 0]>(x, w)", True),
        ('y = Conv<auto_pad = "SAME_UPPER">(x, w)', True),
        ('y = Conv<auto_pad = "NOTSET">(x, w)', False),
        ('y = Conv<auto_pad = "NOTSET", pads = [0, 1, 0, 0]>(x, w)', True),
        ('y = Conv<auto_pad = "VALID">(x, w)', False),
    ],
)
def test_where_constants_cannot_enter_a_bias(body: str, zeros_only: bool) -> None:
    found = _flow(body, w=(2, 6, 1, 1))
    assert found is not None
    assert found.mix is not None
    assert found.mix.zeros_only is zeros_only


def test_a_transposed_kernel_mixes_and_may_vary_at_borders() -> None:
    weight = integers("w", (6, 2, 3, 1))
    found = _flow("y = ConvTranspose<strides = [2, 1]>(x, w, b)", w=weight, b=(2,))
    assert found is not None
    assert found.mix is not None
    assert (found.mix.weight == weight.sum(axis=(2, 3)).T).all()
    assert found.mix.zeros_only


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_groups_mix_among_themselves(op: str) -> None:
    shape = (4, 3, 1, 2) if op == "Conv" else (6, 2, 1, 2)
    found = _flow(f"y = {op}<group = 2>(x, w)", w=shape)
    assert found is not None
    assert found.mix is not None
    assert found.mix.groups == 2
    assert (
        found.mix.used.tolist()
        == [[k < 3 for k in range(6)]] * 2 + [[k >= 3 for k in range(6)]] * 2
    )


def test_channels_move_up_where_one_position_is_picked() -> None:
    found = _flow("y = Gather<axis = 1>(x, i)", i=np.array(2))
    assert found is not None
    (link,) = found.links
    assert (link.axis, link.outs.tolist()) == (2, [*range(4)])


def test_an_instance_normalisation_keeps_channels_apart() -> None:
    found = _flow("y = InstanceNormalization(x, s, b)", s=(6,), b=(6,))
    assert found is not None
    assert {v.name: axis for v, axis in found.constants.items()} == {"s": 0, "b": 0}


def test_linear_layers_mix_the_last_axis() -> None:
    found = _flow("y = MatMul(x, w)", axis=3, w=(8, 5))
    assert found is not None
    assert found.mix is not None
    assert (found.mix.axis, found.mix.weight.shape, found.mix.zeros_only) == (3, (5, 8), True)
    assert [read.all() and len(read) for read in found.mix.lines] == [5, 8]


UNKNOWN = {
    "a softmax over channels": ("y = Softmax<axis = 1>(x)", {}),
    "a softmax over whatever the version says": ("y = Softmax(x)", {}),
    "a normalisation over channels": ("y = LayerNormalization<axis = 1>(x, s)", {"s": (6, 4, 8)}),
    "an LRN": ("y = LRN<size = 3>(x)", {}),
    "every second channel": (
        "y = Slice(x, p, q, p, s)",
        {"p": np.array([1]), "q": np.array([5]), "s": np.array([2])},
    ),
    "padded channels": ("y = Pad(x, p)", {"p": np.array([0, 1, 0, 0, 0, 0, 0, 0])}),
    "a reshape of channels": ("y = Reshape(x, p)", {"p": np.array([2, 3, 8, 8])}),
    "sizes that are written down": (
        'y = Resize<mode = "nearest">(x, "", "", p)',
        {"p": np.array([2, 6, 8, 16])},
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known(name: str) -> None:
    body, constants = UNKNOWN[name]
    assert _flow(body, **constants) is None


def test_integers_have_no_channels() -> None:
    assert _flow("y = Cast<to = 7>(x)", outputs="int64[2,6,4,8] y") is None


@pytest.mark.parametrize("op", ["MaxPool", "LpPool"])
def test_pools_mix_any_axis_but_the_first_two(op: str) -> None:
    body = f"y = {op}<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x)"
    assert _flow(body, axis=1) is not None
    assert _flow(body, axis=3) is None


def test_batch_statistics_are_no_link() -> None:
    body = "y, m, v = BatchNormalization<training_mode = 1>(x, s, s, s, s)"
    assert _flow(body, s=(6,)) is None


def test_channels_that_are_not_fixed_are_not_known() -> None:
    value = ir.val("v", ir.DataType.FLOAT, (1, "c", 3))
    assert (channels_of(value, 1), channels_of(value, 2), channels_of(value, 3)) == (None, 3, None)
