"""PyTorch's own layers in the place of ours: same numbers, same state dict, exact types."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import fx, nn
from torch.nn.utils import prune

import onebyone
from onebyone.errors import UsageError
from onebyone.nn import convert
from onebyone.nn.bottleneck import Bottleneck
from onebyone.nn.class_maps import ClassMaps
from onebyone.nn.convert.plain import plain, put
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.shared_mlp import SharedMLP

from ..blocks import BLOCKS, Block, sample, with_small_integers

# Layouts whose stored weight is that of another one: no layer of PyTorch has both.
REFUSED = {"pointwise, NHWC, stride 2", "pointwise, tokens, groups"}
# Stored as Conv2d's, called with other inputs: with a fitting `spatial_dims` they are below.
STORED_OTHERWISE = {"pointwise, NCL", "pointwise, NCDHW"}


def fitting(names: set[str]) -> dict[str, Block]:
    return {name: block for name, block in BLOCKS.items() if name not in names}


@pytest.mark.parametrize(
    "block",
    fitting(REFUSED | STORED_OTHERWISE).values(),
    ids=fitting(REFUSED | STORED_OTHERWISE),
)
def test_every_block(block: Block) -> None:
    module = with_small_integers(block.make())
    made, x = plain(module), sample(block.shape)
    assert not any(isinstance(part, Pointwise) for part in made.modules())
    ours = [m for m in module.modules() if isinstance(m, Pointwise)]
    exact = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
    theirs = [m for m in made.modules() if isinstance(m, exact)]
    assert all(type(m) in exact for m in theirs)
    assert len(theirs) >= len(ours)
    assert torch.equal(made(x), module(x))
    assert onebyone.count(made, x).macs == onebyone.count(module, x).macs
    # The names and shapes are the same, and each loads the other's.
    there, here = made.state_dict(), module.state_dict()
    assert [(k, v.shape) for k, v in there.items()] == [(k, v.shape) for k, v in here.items()]
    assert all(there[name].equal(here[name]) for name in here)
    other = with_small_integers(block.make(), seed=7)
    made.load_state_dict(other.state_dict())
    assert torch.equal(made(x), other(x))
    module.load_state_dict(made.state_dict())
    assert torch.equal(module(x), other(x))


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_no_layer_of_pytorch_computes_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is that of no layer of PyTorch that computes the same"):
        plain(nn.Sequential(BLOCKS[name].make()))


LAYERS: list[tuple[Callable[[], Pointwise], type[nn.Module], tuple[int, ...]]] = [
    (lambda: Pointwise(6, 4, spatial_dims=1), nn.Conv1d, (2, 6, 7)),
    (lambda: Pointwise(6, 4), nn.Conv2d, (2, 6, 7, 5)),
    (lambda: Pointwise(6, 4, spatial_dims=3), nn.Conv3d, (2, 6, 7, 5, 3)),
    (lambda: Pointwise(6, 4, False, (2, 3), 2), nn.Conv2d, (2, 6, 7, 5)),
    (lambda: Pointwise(6, 4, stride=2, spatial_dims=3), nn.Conv3d, (2, 6, 7, 5, 3)),
    (lambda: Pointwise(6, 4, channel_dim=-3), nn.Conv2d, (6, 7, 5)),
    (lambda: Pointwise(6, 4, channel_dim=-3), nn.Conv2d, (2, 6, 7, 5)),
    (lambda: Pointwise(6, 4, channel_dim=-1), nn.Linear, (2, 7, 5, 6)),
    (lambda: Pointwise(6, 4, False, channel_dim=-1), nn.Linear, (6,)),
]


@pytest.mark.parametrize(("make", "kind", "shape"), LAYERS)
def test_each_layer(make, kind: type[nn.Module], shape: tuple[int, ...]) -> None:
    layer = with_small_integers(make())
    made = plain(layer)
    assert type(made) is kind
    assert torch.equal(made(sample(shape)), layer(sample(shape)))
    assert made.weight is not layer.weight
    assert made.weight.shape == layer.weight.shape


@pytest.mark.parametrize(
    "layer",
    [
        Pointwise(6, 4, channel_dim=-1, spatial_dims=2),
        Pointwise(6, 4, channel_dim=1, spatial_dims=0),
        Pointwise(6, 4, channel_dim=-2),
        Pointwise(6, 4, stride=(2,)),
        Pointwise(6, 4, spatial_dims=4),
    ],
)
def test_a_weight_of_another_layout_is_refused(layer: Pointwise) -> None:
    with pytest.raises(UsageError, match=r"wanted channel_dim=-1 and spatial_dims=0 .* make it so"):
        plain(layer)


def test_maps_of_a_plain_head() -> None:
    head, x = with_small_integers(ClassMaps(6, 5)), sample((2, 6, 8, 4))
    made = plain(head)
    assert type(made.project) is nn.Linear
    assert torch.equal(made(x), head(x))
    assert torch.equal(made(x, maps=True), head(x, maps=True))
    assert torch.equal(made.upsampled(x, (16, 8)), head.upsampled(x, (16, 8)))


def test_modes_gradients_and_ties_stay() -> None:
    layer, frozen = Pointwise(4, 4), Pointwise(4, 4).requires_grad_(False)
    tied = Pointwise(4, 4)
    tied.weight = layer.weight
    net = nn.Sequential(layer, layer, frozen.eval(), tied)
    made = plain(net)
    assert made[0] is made[1]
    assert made[3].weight is made[0].weight
    assert made[3] is not made[0]
    assert [p.requires_grad for p in made[2].parameters()] == [False, False]
    assert [part.training for part in made] == [True, True, False, True]
    assert isinstance(net[0], Pointwise)


def test_pruned_and_compiled_ones() -> None:
    net = nn.Sequential(Pointwise(4, 6), nn.ReLU())
    prune.l1_unstructured(net[0], "weight", 0.5)
    x = sample((2, 4, 5, 3))
    assert torch.equal(plain(net)(x), net(x))
    assert (plain(net)[0].weight == 0).sum() == 12
    assert type(plain(torch.compile(net, backend="eager"))[0]) is nn.Conv2d


def test_a_class_that_computes_otherwise_is_left_alone() -> None:
    class Doubled(Pointwise):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * 2

    assert type(plain(nn.Sequential(Doubled(3, 4)))[0]) is Doubled


# --- tools that look for types ---------------------------------------------------------------


def test_a_trace_calls_the_layers() -> None:
    net = plain(with_small_integers(Bottleneck(6, 4, 10, 2)))
    traced = fx.symbolic_trace(net)
    called = {n.target for n in traced.graph.nodes if n.op == "call_module"}
    assert {"conv1", "conv2", "conv3", "downsample.0"} <= called
    assert torch.equal(traced(sample((2, 6, 9, 7))), net(sample((2, 6, 9, 7))))


@pytest.mark.filterwarnings("ignore")  # about itself: it is to move to another package
@pytest.mark.skipif(
    "none" in torch.backends.quantized.supported_engines[-1:], reason="no engine to quantise for"
)
def test_dynamic_quantisation_finds_the_linear_layers() -> None:
    mlp = with_small_integers(SharedMLP(6, (4, 5), channel_dim=-1))
    quantise = torch.ao.quantization.quantize_dynamic
    names = [type(m).__module__ for m in quantise(plain(mlp), {nn.Linear})]
    assert sum("quantized" in name for name in names) == 2
    ours = [type(m).__module__ for m in quantise(mlp, {nn.Linear})]
    assert not any("quantized" in name for name in ours)


def test_put_takes_every_name() -> None:
    relu = nn.ReLU()
    net = nn.Sequential(relu, nn.Sequential(relu))
    assert put(net, relu, nn.Tanh())[1][0] is net[0]
    assert put(relu, relu, net) is net


def test_it_is_public() -> None:
    assert convert.plain is plain
