"""Copies of modules whose weights pruning, norms of weights or parametrizations compute."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

import onebyone
from onebyone.errors import UsageError
from onebyone.nn import convert
from onebyone.nn.copies import computing_hooks, copied, stored
from onebyone.nn.pointwise import Pointwise

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{old}:FutureWarning")
    for old in ("`torch.nn.utils.weight_norm` is deprecated", "`torch.nn.utils.spectral_norm`")
]


class Doubled(nn.Module):
    """A parametrization of a stranger, as those that merge a LoRA: W + BA."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight * 2


def masked(layer: nn.Module) -> None:
    mask = (torch.arange(layer.weight.numel()) % 3 > 0).float().reshape(layer.weight.shape)
    prune.custom_from_mask(layer, "weight", mask)


def twice(layer: nn.Module) -> None:
    prune.l1_unstructured(layer, "weight", 0.3)
    prune.random_unstructured(layer, "weight", 0.2)  # a container of both
    prune.identity(layer, "bias")


TREATMENTS: dict[str, Callable[[nn.Module], object]] = {
    "structured": lambda c: prune.ln_structured(c, "weight", 0.5, 2, 0),
    "unstructured": lambda c: prune.l1_unstructured(c, "weight", 0.5),
    "mask": masked,
    "twice, and the bias": twice,
    "weight_norm hook": weight_norm,
    "spectral_norm hook": spectral_norm,
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "own parametrization": lambda c: parametrize.register_parametrization(c, "weight", Doubled()),
}

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "Conv2d": lambda: nn.Conv2d(4, 6, 3),
    "Pointwise": lambda: Pointwise(4, 6),
}

treatments = pytest.mark.parametrize("treat", TREATMENTS.values(), ids=TREATMENTS)
layers = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)


def images() -> Tensor:
    return torch.randn(2, 4, 8, 7)


def network(make: Callable[[], nn.Module], treat: Callable[[nn.Module], object]) -> nn.Sequential:
    """A treated layer, then a norm with statistics of its own, and a head on 8×7 images."""
    torch.manual_seed(0)
    layer, norm = make(), nn.BatchNorm2d(6)
    treat(layer)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    with torch.no_grad():  # what the layer holds is of before the next call
        size = layer(images()).shape[1:].numel()
    return nn.Sequential(layer, norm, nn.ReLU(), nn.Flatten(), nn.Linear(size, 5)).eval()


def plain_kind(module: nn.Module) -> bool:
    return not parametrize.is_parametrized(module) and not computing_hooks(module)


def untouched(net: nn.Module) -> Callable[[], bool]:
    """Whether a network holds and is what it was, to be asked later."""
    before = {name: value.clone() for name, value in net.state_dict().items()}
    kinds = [type(part) for part in net.modules()]

    def ask() -> bool:
        after = net.state_dict()
        same = before.keys() == after.keys() and all(after[k].equal(before[k]) for k in before)
        return same and kinds == [type(part) for part in net.modules()]

    return ask


@treatments
@layers
def test_stored_weights_are_those_of_the_next_call(make, treat) -> None:
    net, x = network(make, treat), images()
    with torch.no_grad():
        for parameter in net[0].parameters():
            parameter.add_(0.25)  # an optimiser's step: attributes that hooks computed are old now
    same, expected = untouched(net), net(x)
    plain = stored(net)
    assert type(plain[0]) in (nn.Conv2d, Pointwise)
    assert sorted(plain[0].state_dict()) == ["bias", "weight"]
    assert all(map(plain_kind, plain.modules()))
    assert torch.equal(plain(x), expected)
    assert same()
    assert isinstance(plain[0].weight, nn.Parameter)


@treatments
@layers
def test_functions_on_whole_modules_take_them(make, treat) -> None:
    net, x = network(make, treat), images()
    same, exact = untouched(net), stored(net).double()(x.double())
    noise = (net(x).double() - exact).abs().max()
    fused = convert.fuse_norms(net)
    sliding = convert.fully_convolutional(net, (4, 8, 7))
    assert isinstance(fused[1], nn.Identity)
    assert plain_kind(fused[0])
    for y in (fused(x), sliding(x).flatten(1), convert.plain(net)(x)):
        # To first order each errs as the network does; 16 times that at most (docs/numerics.md).
        assert (y.double() - exact).abs().max() <= 16 * noise
    assert onebyone.count(net, x).macs >= onebyone.count(stored(net), x).macs
    assert onebyone.rank(net[0]).rank == onebyone.rank(stored(net[0])).rank
    assert onebyone.rank(net[:3], x).out_channels == 6
    assert same()


def test_pruned_channels_are_no_rank() -> None:
    net = network(LAYERS["Pointwise"], lambda c: prune.ln_structured(c, "weight", 2, 2, 0))
    # 4 rows are left, and the bias is one column more.
    assert onebyone.rank(net[0]).rank == 5
    assert onebyone.rank(net[:1], images()).rank == 5


@pytest.mark.parametrize("name", ["structured", "weight_norm hook", "weight_norm"])
@pytest.mark.parametrize(
    ("make", "norm", "shape"),
    [
        (lambda: nn.Conv1d(4, 6, 3), nn.BatchNorm1d, (2, 4, 9)),
        (lambda: nn.Conv3d(4, 6, (1, 2, 3)), nn.BatchNorm3d, (2, 4, 3, 5, 4)),
        (lambda: nn.ConvTranspose2d(4, 6, 3, 2), nn.BatchNorm2d, (2, 4, 5, 3)),
        (lambda: nn.Conv2d(4, 6, 3, groups=2, bias=False), nn.BatchNorm2d, (2, 4, 5, 6)),
        (lambda: Pointwise(4, 6, groups=2, stride=2), nn.BatchNorm2d, (2, 4, 5, 6)),
    ],
)
def test_norms_of_other_layers_are_fused(name, make, norm, shape) -> None:
    torch.manual_seed(0)
    layer, after, x = make(), norm(6), torch.randn(shape)
    TREATMENTS[name](layer)
    after.running_var.uniform_(0.5, 2)
    prune.l1_unstructured(after, "weight", 0.5)  # a norm may be pruned as well
    net = nn.Sequential(layer, after).eval()
    exact = stored(net).double()(x.double())
    fused = convert.fuse_norms(net)
    assert isinstance(fused[1], nn.Identity)
    limit = 16 * (net(x).double() - exact).abs().max()
    assert (fused(x).double() - exact).abs().max() <= limit


def test_layers_that_are_not_fused_stay_pruned() -> None:
    pruned = prune.l1_unstructured(nn.Conv2d(3, 4, 1), "weight", 0.5)
    net = nn.Sequential(pruned, nn.ReLU(), nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5)).eval()
    fused = convert.fuse_norms(net)
    assert list(fused[0].state_dict()) == list(pruned.state_dict())
    assert isinstance(fused[3], nn.Identity)


def test_a_hook_of_a_stranger_keeps_its_norm() -> None:
    seen: list[object] = []
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    prune.l1_unstructured(net[0], "weight", 0.5)
    net[0].register_forward_pre_hook(lambda *_: seen.append(1))
    assert isinstance(convert.fuse_norms(net)[1], nn.BatchNorm2d)
    assert seen == []


def test_functions_on_layers_say_what_to_do() -> None:
    layer = prune.l1_unstructured(nn.Conv2d(3, 4, 1), "weight", 0.5)
    norm = nn.BatchNorm2d(4).eval()
    with pytest.raises(UsageError, match=r"wanted it stored: onebyone.nn.convert.stored\(layer\)"):
        convert.fuse_norm(layer, norm)
    assert type(convert.fuse_norm(convert.stored(layer), norm)) is nn.Conv2d


def test_tensors_that_operators_computed_are_copied_wherever_they_are() -> None:
    net = nn.Sequential(nn.Linear(3, 4))
    net.last, net.all = net[0].weight * 2, {"sums": [net[0].weight.sum()]}
    twin = copied(net)
    assert torch.equal(twin.last, net.last)
    assert torch.equal(twin.all["sums"][0], net.all["sums"][0])
    assert twin.last is not net.last
    assert net.last.grad_fn is not None, "the argument is as it was"


def test_what_nobody_can_copy_is_said() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    net.lines = (line for line in "abc")
    for call in (copied, stored, convert.fuse_norms, convert.plain):
        with pytest.raises(
            UsageError, match=r"got a Sequential that cannot be copied \(.*generator"
        ):
            call(net)
    with pytest.raises(UsageError, match="cannot be copied"):
        onebyone.rank(net, torch.randn(2, 3, 8, 7))


def test_an_adapter_beside_a_layer_is_taken_as_it_is() -> None:
    """As LoRA's layers are: y = Wx + BAx, in a module with a forward of its own."""

    class Adapted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base_layer = nn.Conv2d(4, 6, 1)
            self.lora_A, self.lora_B = nn.Conv2d(4, 2, 1, bias=False), nn.Conv2d(2, 6, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.base_layer(x) + self.lora_B(self.lora_A(x))

    net, x = network(Adapted, lambda _: None), images()
    assert isinstance(convert.fuse_norms(net)[1], nn.BatchNorm2d), "two layers feed the norm"
    sliding = convert.fully_convolutional(net, (4, 8, 7))
    assert torch.allclose(sliding(x).flatten(1), net(x), rtol=0, atol=1e-5)
    assert onebyone.rank(net[:1], x).rank == 5
