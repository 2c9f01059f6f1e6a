"""Layers and blocks traced by `torch.fx` and compiled by TorchScript, with no size fixed.

Small integers, so that all outputs are compared by `==` (blocks.py); a block with a sigmoid runs
the same operators before and after, in the same order, and so gives the same numbers too.
"""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from onebyone.errors import UsageError
from onebyone.nn.bottleneck import Bottleneck
from onebyone.nn.class_maps import ClassMaps
from onebyone.nn.points import PointNetClassifier, PointNetEncoder
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.shared_mlp import SharedMLP
from onebyone.nn.shortcut import ProjectionShortcut

from .blocks import BLOCKS, MOSTLY_SLOW, Block, sample, with_small_integers
from .test_pointwise import LAYOUTS

pytestmark = [
    pytest.mark.filterwarnings(r"ignore:`torch\.jit\.\w+` is deprecated"),
    # Of what PyTorch writes in its own GraphModule.
    pytest.mark.filterwarnings("ignore:The TorchScript type system doesn't support instance-level"),
]

each_block = pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)


def saved_and_loaded(module: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)


def unpickled(module: fx.GraphModule) -> fx.GraphModule:
    return pickle.loads(pickle.dumps(module))


MADE: dict[str, Callable[[nn.Module], nn.Module]] = {
    "traced": fx.symbolic_trace,
    "traced and pickled": lambda m: unpickled(fx.symbolic_trace(m)),
    "traced and copied": lambda m: copy.deepcopy(fx.symbolic_trace(m)),
    "scripted": torch.jit.script,
    "scripted and saved": lambda m: saved_and_loaded(torch.jit.script(m)),
    "traced, then scripted": lambda m: torch.jit.script(fx.symbolic_trace(m)),
}

each_way = pytest.mark.parametrize("make", MADE.values(), ids=MADE)


def doubled(block: Block) -> tuple[int, ...]:
    return tuple(n * (1 + (axis in block.free)) for axis, n in enumerate(block.shape))


@pytest.mark.parametrize("block", MOSTLY_SLOW)
@each_way
def test_every_block_at_any_size(make: Callable[[nn.Module], nn.Module], block: Block) -> None:
    module = with_small_integers(block.make())
    made = make(module)
    for shape in (block.shape, doubled(block)):
        x = sample(shape, seed=1)
        assert torch.equal(made(x), module(x))


@pytest.mark.parametrize(("shape", "axis"), LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("make", [fx.symbolic_trace, torch.jit.script])
def test_every_layout(make, shape: tuple[int, ...], axis: int, groups: int) -> None:
    layer = with_small_integers(Pointwise(6, 4, groups=groups, channel_dim=axis))
    assert torch.equal(make(layer)(sample(shape)), layer(sample(shape)))


@pytest.mark.parametrize("stride", [2, (2, 3)])
@pytest.mark.parametrize(("shape", "axis"), [((2, 6, 9, 7), 1), ((2, 9, 7, 6), -1)])
@pytest.mark.parametrize("make", [fx.symbolic_trace, torch.jit.script])
def test_strides(make, shape: tuple[int, ...], axis: int, stride: int | tuple[int, int]) -> None:
    layer = with_small_integers(Pointwise(6, 4, stride=stride, channel_dim=axis))
    assert torch.equal(make(layer)(sample(shape)), layer(sample(shape)))


def test_a_pointwise_is_one_node() -> None:
    graph = fx.symbolic_trace(nn.Sequential(Pointwise(3, 4), nn.ReLU())).graph
    called = [node.name for node in graph.nodes if node.op in ("call_function", "call_module")]
    assert called == ["pointwise", "_1"]


@each_block
def test_gradients_of_a_trace(block: Block) -> None:
    module = with_small_integers(block.make())
    traced = fx.symbolic_trace(copy.deepcopy(module))
    if not list(module.parameters()):
        return
    for net in (module, traced):
        net(sample(block.shape)).sum().backward()
    theirs = dict(traced.named_parameters())
    for name, parameter in module.named_parameters():
        assert torch.equal(parameter.grad, theirs[name].grad), name


# --- flags ----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [fx.symbolic_trace, torch.jit.script])
def test_flags_stay_arguments(make) -> None:
    head, x = with_small_integers(ClassMaps(6, 5)), sample((2, 6, 8, 4))
    made = make(head)
    assert made(x).shape == (2, 5)
    assert torch.equal(made(x, True), head(x, maps=True))
    encoder = PointNetEncoder(3, (4, 5), (4, 6, 8), (7, 6))
    net, cloud = with_small_integers(PointNetClassifier(5, encoder, (7, 6))), sample((2, 3, 11))
    scores, transform = make(net)(cloud, True)
    expected, matrix = net(cloud, with_transform=True)
    assert torch.equal(scores, expected)
    assert torch.equal(transform, matrix)


def test_an_encoder_gives_its_names() -> None:
    encoder = with_small_integers(PointNetEncoder(3, (4, 5), (4, 6, 8), None))
    features = torch.jit.script(encoder)(sample((2, 3, 11)))
    assert features._fields == ("local", "overall", "transform")
    assert features.transform is None
    assert torch.equal(features.overall, encoder(sample((2, 3, 11))).overall)


# --- errors ---------------------------------------------------------------------------------

UNFIT = [
    (
        lambda: Pointwise(3, 4),
        (2, 5, 7, 3),
        r"shape \(2, 5, 7, 3\), wanted 3 channels along axis 1",
    ),
    (lambda: Pointwise(3, 4, stride=(2, 1)), (2, 3, 5), r"got stride \(2, 1\) for an input with 1"),
    (lambda: ClassMaps(3, 4), (2, 3), r"got features of shape \(2, 3\)"),
    (lambda: ProjectionShortcut(3, 4, 2, "A"), (2, 5, 7, 7), r"wanted \(N, 3, H, W\)"),
    (lambda: PointNetEncoder(3, (4,), (5,), None), (2, 4, 9), r"got points of shape \(2, 4, 9\)"),
]


@pytest.mark.parametrize(("make", "shape", "said"), UNFIT)
def test_inputs_that_do_not_fit_are_refused_by_all(make, shape, said: str) -> None:
    layer = make()
    for called in (layer, fx.symbolic_trace(layer)):
        with pytest.raises(UsageError, match=said):
            called(torch.ones(shape))
    with pytest.raises(torch.jit.Error, match=said):
        torch.jit.script(layer)(torch.ones(shape))


# --- features, as tools that are built on torch.fx take them -----------------------------------


def until(net: nn.Module, path: str) -> fx.GraphModule:
    """The network up to what the submodule `path` gives."""
    traced = fx.symbolic_trace(net)
    inside = [n for n in traced.graph.nodes if path in (n.meta.get("nn_module_stack") or {})]
    [output] = [node for node in traced.graph.nodes if node.op == "output"]
    output.args = (inside[-1],)
    traced.graph.eliminate_dead_code()
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


@pytest.mark.parametrize("path", ["0.conv1", "0.bn1", "0.conv3", "0.downsample", "0", "1.0", "1"])
def test_features_in_the_middle_are_those_that_a_hook_sees(path: str) -> None:
    net = nn.Sequential(
        Bottleneck(6, 4, 10, 2), nn.Sequential(Pointwise(10, 3), nn.ReLU()), ClassMaps(3, 5)
    )
    net, x = with_small_integers(net), sample((2, 6, 9, 7))
    seen: list[Tensor] = []
    handle = net.get_submodule(path).register_forward_hook(lambda _m, _x, y: seen.append(y))
    net(x)
    handle.remove()
    features = until(net, path)
    assert torch.equal(features(x), seen[0])
    assert not any("2.project" in name for name, _ in features.named_parameters())


def test_features_of_points() -> None:
    mlp, x = with_small_integers(SharedMLP(6, (4, 5), channel_dim=-1)), sample((2, 11, 6))
    features = until(nn.Sequential(mlp), "0.2")
    assert torch.equal(features(x), nn.Sequential(*list(mlp)[:3])(x.flatten(0, 1)))
