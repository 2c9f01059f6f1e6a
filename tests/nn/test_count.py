"""Counts of small modules: figures known beforehand, PyTorch's own counter, nothing left behind.

FlopCounterMode counts a FLOP for a multiplication and one for an addition: twice the MACs.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from torch.utils.flop_counter import (
    FlopCounterMode,
    flop_registry,
    register_flop_formula,
    sdpa_flop_count,
)

from onebyone.counting.gaps import ARITHMETIC, CONSTANT, INTEGER, NO_FORMULA
from onebyone.counting.value import Count
from onebyone.errors import UsageError
from onebyone.nn.count import count
from onebyone.nn.count_gaps import _MOVES, _NO_FORMULA, FOREIGN, INNER
from onebyone.nn.pointwise import Pointwise

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
# Fused attention on a CPU has MACs that PyTorch's counter knows under the names of other devices.
FUSED = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: (
        sdpa_flop_count(q, k, v)
    )
}


class Calls(nn.Module):
    """A function of parameters and inputs as a module."""

    def __init__(self, function: Callable[..., Any], **parameters: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        for name, shape in parameters.items():
            setattr(self, name, nn.Parameter(torch.rand(shape)))

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(self, *inputs)


def flops(module: nn.Module, *inputs: Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=FUSED) as counter:
        module(*inputs)
    return int(counter.get_total_flops())


def left_out(counted: Count) -> dict[str, str]:
    return {row.op: row.reason for row in counted.uncounted}


# --- multiply-accumulates, those that are pointwise, additions of a bias ------------------------

x, image = torch.rand(2, 5, 3), torch.rand(2, 6, 5, 7)
PRODUCTS: dict[str, tuple[nn.Module, tuple[Tensor, ...], int, int]] = {
    "tokens": (nn.Linear(3, 4), (torch.rand(2, 196, 3),), 2 * 196 * 12, 2 * 196 * 4),
    "vector": (nn.Linear(3, 4), (torch.rand(3),), 12, 4),
    "turned tokens": (nn.Linear(5, 4), (x.mT,), 2 * 3 * 20, 2 * 3 * 4),
    "pointwise image": (Pointwise(6, 4), (image,), 2 * 35 * 24, 2 * 35 * 4),
    "pointwise tokens": (Pointwise(3, 4, channel_dim=-1), (x,), 120, 40),
    "pointwise groups": (Pointwise(6, 4, groups=2), (image,), 2 * 35 * 12, 2 * 35 * 4),
    "grouped tokens": (Pointwise(6, 4, groups=2, channel_dim=-1), (image.permute(0, 2, 3, 1),),
                       2 * 35 * 12, 0),  # its bias is added to a copy in another order
    "kernel of one": (nn.Conv3d(6, 4, 1, stride=2), (torch.rand(2, 6, 5, 3, 1),), 2 * 6 * 24, 48),
    "function": (Calls(lambda m, x: functional.linear(x, m.w), w=(4, 3)), (x,), 120, 0),
    "@": (Calls(lambda m, x: x @ m.w, w=(3, 4)), (x,), 120, 0),
    "@ and +": (Calls(lambda m, x: x @ m.w.t() + m.b, w=(4, 3), b=(4,)), (x,), 120, 40),
    "from the left": (Calls(lambda m, x: m.w @ x, w=(4, 5)), (x,), 2 * 4 * 3 * 5, 0),
    "vector product": (Calls(lambda m, x: x @ m.w, w=(3,)), (x,), 30, 0),
    "einsum": (Calls(lambda m, x: torch.einsum("bchw,dc->bdhw", x, m.w), w=(4, 6)), (image,),
               2 * 35 * 24, 0),
    "computed weight": (Calls(lambda m, x: x @ (2 * m.w)[:3], w=(7, 4)), (x,), 120, 0),
    "literal": (Calls(lambda m, x: x @ torch.tensor([[1.0], [2.0], [3.0]])), (x,), 30, 0),
}  # fmt: skip


@pytest.mark.parametrize("case", PRODUCTS)
def test_a_product_with_a_constant_is_pointwise(case: str) -> None:
    module, inputs, macs, bias_adds = PRODUCTS[case]
    counted = count(module, inputs)
    assert (counted.macs, counted.pointwise_macs, counted.bias_adds) == (macs, macs, bias_adds)
    assert counted.parameters == sum(p.numel() for p in module.parameters())
    if case != "vector product":  # PyTorch's counter does not know it
        assert counted.flops == flops(module, *inputs)


heads = torch.rand(2, 6, 5, 3)
OTHERS: dict[str, tuple[nn.Module, tuple[Tensor, ...], int]] = {
    "convolution": (nn.Conv2d(6, 4, 3, padding=1), (image,), 2 * 35 * 4 * 54),
    "depthwise": (nn.Conv2d(6, 12, (3, 1), groups=6), (image,), 2 * 12 * 3 * 7 * 3),
    "function": (Calls(lambda m, x: functional.conv1d(x, m.w), w=(4, 5, 2)), (x,), 2 * 4 * 2 * 10),
    "no batch": (nn.Conv1d(5, 4, 3, padding="same"), (x[0],), 4 * 3 * 15),
    "transposed": (nn.ConvTranspose2d(6, 4, (3, 2), 2, groups=2), (image,), 2 * 35 * 6 * 2 * 6),
    "weights from data": (Calls(lambda m, x, w: functional.conv1d(x, w)), (x, x[:, :, :1]), 60),
    "two activations": (Calls(lambda m, x: x @ x.mT), (x,), 2 * 25 * 3),
    "einsum of two": (Calls(lambda m, x: torch.einsum("bic,bjc->bij", x, x)), (x,), 150),
    "attention": (Calls(lambda m, q: functional.scaled_dot_product_attention(q, q, q)), (heads,),
                  12 * 25 * 6),
    "dropped": (Calls(lambda m, q: functional.scaled_dot_product_attention(q, q, q, dropout_p=0.5)),
                (heads,), 12 * 25 * 6),
    "shared keys": (
        Calls(lambda m, q, k, v: functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)),
        (heads, torch.rand(2, 3, 7, 3), torch.rand(2, 3, 7, 3)), 12 * 35 * 6),
    "written over": (Calls(lambda m, x: torch.zeros_like(x).copy_(x) @ x.mT), (x,), 150),
    "addition": (Calls(lambda m, x: torch.addmm(x[0, :, :1], x[0], x[1].mT)), (x,), 75),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_other_products_are_not_pointwise(case: str) -> None:
    module, inputs, macs = OTHERS[case]
    counted = count(module, inputs)
    assert (counted.macs, counted.pointwise_macs) == (macs, 0)
    assert counted.flops == flops(module, *inputs)


RECURRENCES: dict[str, nn.RNNBase] = {
    "lstm": nn.LSTM(3, 4, 2, bidirectional=True),
    "lstm, projected": nn.LSTM(3, 4, proj_size=2, batch_first=True),
    "gru": nn.GRU(3, 4, bias=False),
    "rnn_relu": nn.RNN(3, 4, nonlinearity="relu"),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("case", RECURRENCES)
def test_a_recurrence_is_one_layer(case: str) -> None:
    module = RECURRENCES[case]
    counted = count(module, torch.rand(7, 2, 3))
    sizes = [p.numel() for name, p in module.named_parameters() if "weight" in name]
    assert (counted.macs, counted.pointwise_macs) == (14 * sum(sizes), 0)
    assert counted.bias_adds == 14 * (counted.parameters - sum(sizes))
    assert [layer.op for layer in counted.layers] == [case.partition(",")[0]]


def test_a_packed_sequence_counts_its_steps() -> None:
    gru = nn.GRU(3, 4)
    packed = nn.utils.rnn.pack_padded_sequence(torch.rand(7, 2, 3), [7, 4])
    assert count(gru, (packed,)).macs == 11 * 12 * (3 + 4)


def test_the_fused_encoder_is_counted_operator_by_operator() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    tokens = torch.rand(2, 5, 8)
    counted = count(layer, tokens)
    pointwise = 10 * (8 * 24 + 8 * 8 + 2 * 8 * 16)
    assert (counted.pointwise_macs, counted.macs) == (pointwise, pointwise + 2 * 2 * 25 * 8)
    assert torch.backends.mha.get_fastpath_enabled()


# --- layers, names, parameters, bytes ----------------------------------------------------------


def network() -> nn.Sequential:
    block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(block, nn.Conv2d(4, 5, 1)).eval()


def test_each_layer_to_the_byte() -> None:
    counted = count(network(), torch.empty(2, 3, 7, 9))
    assert [layer.name for layer in counted.layers] == ["0.0", "0.1", "1"]
    positions = 2 * 5 * 7
    read, hidden, written = 4 * 2 * 3 * 63, 4 * 4 * positions, 4 * 5 * positions
    sizes = [(layer.activation_bytes, layer.weight_bytes) for layer in counted.layers]
    assert sizes == [(read + hidden, 4 * 112), (2 * hidden, 4 * 16), (hidden + written, 4 * 25)]
    assert counted.activation_bytes == sum(size for size, _ in sizes) + 2 * hidden
    assert (counted.parameters, counted.buffers) == (112 + 8 + 25, 8)
    assert counted.inputs == (("input", (2, 3, 7, 9)),)


def test_a_module_that_runs_several_operators_numbers_them() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.fc(x)) @ self.fc.weight

    counted = count(Twice(), torch.empty(2, 3))
    assert [layer.name for layer in counted.layers] == ["fc.addmm", "fc.addmm_2", "mm"]
    assert [layer.parameters for layer in counted.layers] == [12, 0, 0]
    assert (counted.parameters, counted.weight_bytes) == (12, 48)
    assert counted.macs == 3 * 2 * 9


def test_tied_weights_count_once() -> None:
    embedding, head = nn.Embedding(11, 3), nn.Linear(3, 11, bias=False)
    head.weight = embedding.weight
    counted = count(nn.Sequential(embedding, head), torch.zeros(2, 5, dtype=torch.long))
    assert [layer.parameters for layer in counted.layers] == [33, 0]
    assert (counted.parameters, counted.pointwise_macs) == (33, 10 * 33)


def test_a_low_rank_update_is_one_linear_layer_of_all_its_parameters() -> None:
    shapes = {"w": (4, 3), "b": (4, 2), "a": (2, 3)}
    module = Calls(lambda m, x: x @ (m.w + m.b @ m.a).t(), **shapes)
    counted = count(module, x)
    assert counted.parameters == 12 + 8 + 6
    assert (counted.pointwise_macs, counted.macs) == (120, 120 + 24)
    assert left_out(counted) == {"add": CONSTANT}


def test_a_bias_that_others_see_without_it_is_an_addition() -> None:
    module = Calls(lambda m, x: (h := x @ m.w, h + m.b), w=(3, 4), b=(4,))
    counted = count(module, x)
    assert (counted.bias_adds, counted.parameters) == (0, 16)
    assert left_out(counted) == {"add": ARITHMETIC}


def test_a_second_bias_is_an_addition() -> None:
    linear = nn.Linear(3, 4)
    counted = count(Calls(lambda m, x: linear_of(m, x) + m.b, w=(4, 3), c=(4,), b=(4,)), x[0])
    assert counted.bias_adds == count(linear, x[0]).bias_adds == 20
    assert left_out(counted) == {"add": ARITHMETIC}


def linear_of(m: Calls, x: Tensor) -> Tensor:
    return functional.linear(x, m.w, m.c)


def test_unused_parameters_are_listed() -> None:
    module = Calls(lambda m, x: x @ m.w, w=(3, 4), idle=(7,))
    counted = count(module, x)
    assert counted.parameters == 12
    (row,) = counted.uncounted
    assert (row.op, row.nodes, row.example) == ("parameter", 1, "idle")
    assert "7 elements" in row.reason


def test_expanded_tensors_are_read_once() -> None:
    module = Calls(lambda m, x: x.expand(8, 5, 3) * 2)
    assert count(module, x[:1]).activation_bytes == 4 * 15 + 4 * 8 * 15


def test_what_is_written_over_is_not_read() -> None:
    module = Calls(lambda m, x: (2 * x).copy_(x))
    assert count(module, x).activation_bytes == 2 * (4 * 30 + 4 * 30)


def test_a_view_in_place_is_no_step() -> None:
    def turned(m: Calls, x: Tensor) -> Tensor:
        return (x @ m.w).unsqueeze_(0).transpose_(1, 2).squeeze_(0).transpose_(0, 1) + m.b

    plain = count(Calls(lambda m, x: x @ m.w + m.b, w=(3, 4), b=(4,)), x[0])
    counted = count(Calls(turned, w=(3, 4), b=(4,)), x[0])
    assert (counted, counted.bias_adds, left_out(counted)) == (plain, 20, {})


def test_a_stored_tensor_is_no_step() -> None:
    counted = count(Calls(lambda m, x: x * torch.tensor([1.0, 2.0, 3.0])), x)
    assert (counted.nodes, left_out(counted)) == (1, {"mul": ARITHMETIC})


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("device", DEVICES)
def test_bytes_are_of_the_type_and_macs_of_none(dtype: torch.dtype, device: str) -> None:
    layer = nn.Linear(3, 4).to(device, dtype)
    counted = count(layer, x.to(device, dtype))
    assert (counted.macs, counted.bias_adds, counted.weight_bytes) == (120, 40, 16 * dtype.itemsize)


def test_layers_in_training_mode_and_channels_last() -> None:
    module, data = network().train(), torch.rand(2, 3, 7, 9)
    counted = count(module.to(memory_format=torch.channels_last), data)
    assert (counted.macs, counted.parameters) == (count(network(), data).macs, 145)


# --- what is left out --------------------------------------------------------------------------


def test_what_is_not_counted_says_why() -> None:
    def function(m: Calls, x: Tensor, i: Tensor) -> tuple[Tensor, ...]:
        moved = torch.cat([x, x.flip(1)]).clone()
        return (
            functional.bilinear(x, x, m.w),
            moved.relu().relu(),
            i + 1,
            m.w.exp(),
            functional.pad(x, [1, 1]),
        )

    counted = count(Calls(function, w=(4, 3, 3)), (x, torch.arange(3)))
    assert left_out(counted) == {
        "_trilinear": NO_FORMULA,
        "relu": ARITHMETIC,
        "add": INTEGER,
        "exp": CONSTANT,
    }
    assert counted.uncounted[0].nodes == 2


def test_products_without_a_formula_are_not_called_arithmetic() -> None:
    def function(m: Calls, a: Tensor) -> tuple[Tensor, ...]:
        # From 25 points on PyTorch computes distances by a product of matrices.
        return torch.cdist(a, a), torch.conv_tbc(a, m.w, m.b), torch.linalg.qr(a).Q

    counted = count(Calls(function, w=(2, 3, 4), b=(4,)), torch.rand(2, 26, 3))
    names = ("_euclidean_dist", "conv_tbc", "linalg_qr")
    assert left_out(counted) == dict.fromkeys(names, NO_FORMULA)


@torch.library.custom_op("onebyone_tests::project", mutates_args=())
def project(x: Tensor, w: Tensor) -> Tensor:
    return x @ w


def test_custom_operators_are_listed_or_counted_by_their_own_formula() -> None:
    module = Calls(lambda m, x: project(x, m.w) @ m.v, w=(3, 4), v=(4, 2))
    counted = count(module, x)  # no fake kernel: its shapes are found by running it
    assert left_out(counted) == {"onebyone_tests::project": FOREIGN}
    assert (counted.macs, counted.parameters) == (2 * 5 * 8, 20)
    operator = torch.ops.onebyone_tests.project
    register_flop_formula(operator)(lambda a, w, **_: 2 * 2 * 5 * w[0] * w[1])
    try:
        counted = count(module, x)
    finally:
        flop_registry.pop(operator)
    assert (counted.macs, counted.pointwise_macs) == (2 * 5 * (12 + 8), 2 * 5 * 8)
    assert counted.uncounted == ()


def test_operators_that_run_functions_are_listed() -> None:
    def function(m: Calls, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda y: y @ y.mT, lambda y: 2 * y @ y.mT, (x,))

    counted = count(Calls(function), x)
    assert left_out(counted)["higher_order::cond"] == INNER
    assert counted.macs == 0


def test_the_tables_name_operators_that_exist() -> None:
    known = {name.removesuffix("_") for name in dir(torch.ops.aten)}
    known |= {
        s.name.removeprefix("aten::").removesuffix("_") for s in torch._C._jit_get_all_schemas()
    }
    assert known >= _MOVES | _NO_FORMULA


# --- nothing is left behind --------------------------------------------------------------------


class Restless(nn.Module):
    """Draws numbers, moves buffers, keeps what it computed, and fails on request."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fc = nn.BatchNorm1d(3), nn.Linear(3, 4)
        self.register_buffer("average", torch.zeros(3))
        self.calls: list[Tensor] = []
        self.fail = False

    def forward(self, x: Tensor) -> Tensor:
        self.average = 0.9 * self.average + 0.1 * x.mean(0)
        self.fc.weight.mul_(2)
        x.add_(random.random() + np.random.rand())
        self.calls.append(x)
        y = self.fc(functional.dropout(self.norm(x)))
        if self.fail:
            raise RuntimeError("on request")
        return y


def everything(module: Restless, data: Tensor) -> list[object]:
    state = [*module.state_dict().values(), data, torch.get_rng_state()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules()]
    globals_ = [len(torch.nn.modules.module._global_forward_hooks), module.training]
    drawn = [random.getstate(), np.random.get_state()[1].tolist(), module.calls[:]]
    return [*(t.tolist() for t in state), hooks, globals_, drawn]


@pytest.mark.parametrize("needs_numbers", [False, True])
def test_a_failed_call_leaves_nothing_behind(needs_numbers: bool) -> None:
    module, data = Restless(), torch.rand(2, 3)
    if needs_numbers:
        module.register_forward_pre_hook(lambda _, args: print(args[0].sum().item()))
    before = everything(module, data)
    counted = count(module, data)
    assert everything(module, data) == before
    module.fail = True
    with pytest.raises(RuntimeError, match="on request") as raised:
        count(module, data)
    assert raised.value.__context__ is None
    assert everything(module, data) == before
    assert not _get_current_dispatch_mode_stack()
    module.fail = False
    assert count(module, data) == counted
    assert (counted.macs, counted.parameters) == (24, 6 + 16)


def test_numbers_are_looked_at_only_where_needed() -> None:
    huge = nn.Linear(2**16, 2**16, device="meta")
    assert count(huge, torch.empty(1, 2**16, device="meta")).macs == 2**32
    chosen = Calls(lambda m, x: x @ m.w if x.sum() > 0 else x, w=(3, 4))
    assert [count(chosen, sign * x).macs for sign in (1, -1)] == [120, 0]
    found = Calls(lambda m, x: x[x[:, 0] > 0.5] @ m.w, w=(3, 4))
    assert count(found, torch.eye(3)).macs == 12


@pytest.mark.filterwarnings(r"ignore:`torch\.jit\.\w+` is deprecated:DeprecationWarning")
def test_a_traced_module_has_arguments_without_names() -> None:
    traced = torch.jit.trace(nn.Linear(3, 4), x)
    counted = count(traced, x)
    assert (counted.macs, counted.parameters) == (120, 16)
    assert counted.inputs == (("input0", (2, 5, 3)),)


def test_a_compiled_module_counts_as_it_was_written() -> None:
    compiled = torch.compile(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), backend="eager")
    assert [layer.name for layer in count(compiled, x).layers] == ["0"]


# --- the example, the value, the table ---------------------------------------------------------


def test_arguments_by_position_and_by_name() -> None:
    class Two(nn.Module):
        def forward(self, a: Tensor, pair: list[Tensor], scale: float = 1.0) -> Tensor:
            return a @ pair[0] * scale

    weight, module = torch.rand(3, 4), Two()
    counts = [
        count(module, (x, [weight], 2.0)),
        count(module, {"a": x, "pair": [weight], "scale": 2.0}),
    ]
    assert counts[0] == counts[1]
    assert counts[0].inputs == (("a", (2, 5, 3)), ("pair[0]", (3, 4)))


@pytest.mark.parametrize(
    ("module", "example", "match"),
    [
        (nn.Linear(3, 4), None, "wanted what to call it with"),
        (nn.Linear(3, 4), (2, 3), r"the sizes \(2, 3\)"),
        (nn.LazyLinear(4), x, "call the module once"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
def test_wrong_use(module: nn.Module, example: object, match: str) -> None:
    with pytest.raises(UsageError, match=match) as raised:
        count(module, example)
    assert "\n" not in str(raised.value)


def test_a_module_that_cannot_be_copied() -> None:
    module = nn.Linear(3, 4)
    module.stream = (x for x in range(3))
    with pytest.raises(UsageError, match="cannot be copied"):
        count(module, x)


def test_the_json_holds_the_tree_and_the_table_two_levels() -> None:
    counted = count(nn.ModuleDict({"stem": network()})["stem"], torch.empty(1, 3, 7, 9))
    said = json.loads(json.dumps(counted.to_dict(), allow_nan=False))
    assert [child["path"] for child in said["tree"]["children"]] == ["0", "1"]
    assert said["tree"]["macs"] == counted.macs
    shown = str(counted)
    for text in ("modules", "_native_batch_norm", "in total", "not counted", "relu"):
        assert text in shown
