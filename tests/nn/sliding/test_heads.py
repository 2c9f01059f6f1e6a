"""The spellings of a head: all that flattens, pools, norms and connects fully."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from onebyone.errors import UsageError
from onebyone.nn.class_maps import ClassMaps
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.sliding.fully_convolutional import fully_convolutional
from tests.nn.sliding.networks import check_slides, images, whole_numbers

# Features of (3, 8, 4) at the original size: means over them are divisions by 32 or less, so exact.
SHAPE, LARGER = (2, 10, 6), (3, 5)


class Net(nn.Module):
    """A 3×3 without padding and a head; the head may use the layers that it is given here."""

    def __init__(self, head: Callable[[Net, Tensor], Tensor], features: int = 3) -> None:
        super().__init__()
        self.head = head
        self.conv, self.fc = nn.Conv2d(2, 3, 3), nn.Linear(features, 4)
        self.bn, self.scale = nn.BatchNorm1d(3), nn.Parameter(torch.zeros(4))
        self.pointwise = Pointwise(3, 5, channel_dim=-1)
        self.pool, self.softmax = nn.AdaptiveAvgPool2d(1), nn.Softmax(-1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self, self.conv(x))


FLATTENS: dict[str, Callable[[Tensor], Tensor]] = {
    "view": lambda x: x.view(x.size(0), -1),
    "view of a shape": lambda x: x.view(x.shape[0], x.shape[1] * x.shape[2] * x.shape[3]),
    "view, batch open": lambda x: x.view(-1, 96),
    "reshape": lambda x: x.reshape(x.shape[0], -1),
    "flatten": lambda x: torch.flatten(x, 1),
    "method": lambda x: x.flatten(start_dim=1),
    "in two steps": lambda x: x.flatten(2).flatten(1),
    "dropped out": lambda x: functional.dropout(functional.relu(torch.flatten(x, 1)), 0.5, False),
}
POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: x.mean([2, 3]),
    "mean of negative axes": lambda x: torch.mean(x, dim=(-1, -2)),
    "mean, kept": lambda x: x.mean((2, 3), keepdim=True).flatten(1),
    "mean of rows": lambda x: x.view(x.size(0), x.size(1), -1).mean(2),
    "mean of a flat": lambda x: x.flatten(2).mean(dim=-1),
    "sum": lambda x: x.sum(dim=(2, 3)),
    "maximum": lambda x: x.amax((2, 3)),
    "adaptive": lambda x: functional.adaptive_avg_pool2d(x, 1).view(x.size(0), -1),
    "adaptive, squeezed": lambda x: functional.adaptive_avg_pool2d(x, (1, 1)).squeeze(),
    "squeezed twice": lambda x: functional.adaptive_max_pool2d(x, 1).squeeze(-1).squeeze(-1),
    "squeezed at once": lambda x: functional.adaptive_avg_pool2d(x, 1).squeeze((2, 3)),
    "picked": lambda x: functional.adaptive_avg_pool2d(x, 1)[:, :, 0, 0],
    "window of the map": lambda x: functional.avg_pool2d(x, x.size()[2:]).flatten(1),
    "window of its sizes": lambda x: functional.max_pool2d(x, (x.size(2), x.size(3))).flatten(1),
    "window, written out": lambda x: functional.avg_pool2d(x, (8, 4)).flatten(1),
    "window, stride 1": lambda x: functional.avg_pool2d(x, (8, 4), stride=1).reshape(-1, 3),
    "both": lambda x: x.mean((2, 3)) + x.amax((2, 3)),
}


@pytest.mark.parametrize("flatten", FLATTENS.values(), ids=FLATTENS)
def test_flattened(flatten: Callable[[Tensor], Tensor]) -> None:
    model = whole_numbers(Net(lambda net, x: net.fc(flatten(x)), 96))
    sliding = check_slides(model, SHAPE, LARGER)
    assert sliding.network.fc.kernel_size == (8, 4)


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_pooled(pool: Callable[[Tensor], Tensor]) -> None:
    sliding = check_slides(whole_numbers(Net(lambda net, x: net.fc(pool(x)))), SHAPE, LARGER)
    # Whatever the stride of a pool with one window is, the sliding one has stride 1.
    assert sliding.geometry.stride == (1, 1)
    assert sliding.geometry.receptive_field == (10, 6)


HEADS: dict[str, tuple[Callable[[Net, Tensor], Tensor], int]] = {
    "norm before": (lambda net, x: net.fc(net.bn(x.mean([2, 3]))), 3),
    "a constant for each class": (lambda net, x: net.fc(x.mean([2, 3])) * net.scale + 1, 3),
    "a constant first": (lambda net, x: 2 - net.scale * net.fc(x.mean([2, 3])), 3),
    "joined vectors": (lambda net, x: net.fc(torch.cat([x.mean([2, 3]), x.amax((2, 3))], -1)), 6),
    "part of a vector": (lambda net, x: net.fc(x.mean([2, 3]))[:, 1:], 3),
    "parts of a vector": (lambda net, x: net.fc(x.mean([2, 3])).chunk(2, dim=-1)[1], 3),
    "linear function": (
        lambda net, x: functional.linear(x.flatten(1), net.fc.weight, net.fc.bias),
        96,
    ),
    "linear function of a vector": (
        lambda net, x: functional.linear(x.amax((2, 3)), net.fc.weight),
        3,
    ),
    "a 1×1 for the linear layer": (lambda net, x: net.pointwise(x.mean([2, 3])), 3),
    "a 1×1 before pooling": (
        lambda net, x: net.pointwise(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).mean([2, 3]),
        3,
    ),
    "channels last": (
        lambda net, x: net.fc(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).mean([2, 3]),
        3,
    ),
    "back to a map": (
        lambda net, x: net.fc(net.pool(x).view(x.size(0), -1, 1, 1).squeeze(3).squeeze(2)),
        3,
    ),
    "squeeze and excite at one position": (
        lambda net, x: net.fc(
            (net.pool(x) * functional.hardtanh(net.pool(net.pool(x)))).flatten(1)
        ),
        3,
    ),
    "called twice": (lambda net, x: net.fc(net.pool(x).flatten(1)) + net.fc(x.amax((2, 3))), 3),
    "maximum over channels": (
        lambda net, x: net.fc(x.mean([2, 3]) + x.max(1, True)[0].amax((2, 3))),
        3,
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads(name: str) -> None:
    head, features = HEADS[name]
    check_slides(whole_numbers(Net(head, features)), SHAPE, LARGER)


@pytest.mark.parametrize(
    ("head", "features"),
    [
        (lambda net, x: functional.softmax(net.fc(x.mean([2, 3])), dim=-1), 3),
        (lambda net, x: net.softmax(net.fc(x.mean([2, 3]))), 3),
        (lambda net, x: net.fc(x.flatten(1)).log_softmax(1), 96),
        (lambda net, x: functional.normalize(net.fc(x.mean([2, 3]))), 3),
        (lambda net, x: net.fc(functional.layer_norm(x.mean([2, 3]), (3,))), 3),
        (
            lambda net, x: net.fc(
                functional.layer_norm(x.permute(0, 2, 3, 1), (3,)).permute(0, 3, 1, 2).mean([2, 3])
            ),
            3,
        ),
        (lambda net, x: net.fc(functional.local_response_norm(x, 2).mean([2, 3])), 3),
        (lambda net, x: net.fc(x.softmax(1).mean([2, 3])), 3),
    ],
)
def test_what_rounds(head: Callable[[Net, Tensor], Tensor], features: int) -> None:
    """Softmax and norms slide too; they round, so the answers are compared with a bound."""
    model = whole_numbers(Net(head, features))
    sliding = fully_convolutional(model, SHAPE)
    image = images(2, 2, 12, 9)
    assert sliding.exact
    maps = sliding(image)
    for i in range(3):
        for j in range(4):
            answer = model(image[:, :, i : i + 10, j : j + 6])
            # The features are integers of at most 18·6 + 2 = 110 and exact. They and their means
            # are rounded fewer than ten times before a norm divides them by √(var + 10⁻⁵), which
            # magnifies errors at most 317 times; the last layer has three weights of at most 2.
            # (Softmax and the other norms magnify less.) Two results, each within that.
            bound = 2 * (10 * 110 * 317 * 6) * 2**-53
            assert (maps[:, :, i, j] - answer).abs().max() <= bound


def test_class_maps() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), ClassMaps(3, 5))
    sliding = check_slides(whole_numbers(model), SHAPE, LARGER)
    assert {f"network.{name}" for name in model.state_dict()} == set(sliding.state_dict())


@pytest.mark.parametrize(("n", "out", "window", "step"), [(6, 3, 2, 2), (7, 3, 3, 2), (5, 2, 3, 2)])
def test_even_adaptive_pools_are_fixed_ones(n: int, out: int, window: int, step: int) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.AdaptiveMaxPool2d((out, None)),
        nn.Flatten(),
        nn.Linear(2 * 4 * out, 3),
    )
    sliding = check_slides(whole_numbers(model), (1, n + 2, 6), (5, 3))
    assert sliding.geometry.stride == (step, 1)
    assert sliding.geometry.receptive_field == ((out - 1) * step + window + 2, 6)


def test_uneven_adaptive_pools_are_refused() -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool2d((3, 2)), nn.Flatten(), nn.Linear(6, 3))
    with pytest.raises(UsageError, match=r"0 \(AdaptiveAvgPool2d\).* windows .* are uneven"):
        fully_convolutional(model, (1, 8, 6))


def test_ceil_mode_that_adds_nothing_is_left_out() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.MaxPool2d(3, 2, ceil_mode=True), nn.Flatten(), nn.Linear(24, 3)
    )
    # 11×9 after the convolution: (n − 3) / 2 is whole, no window is cut off.
    sliding = check_slides(whole_numbers(model), (1, 11, 9), (5, 3))
    assert model[1].ceil_mode
    assert sliding.geometry.stride == (2, 2)


def test_a_pool_that_is_called_twice() -> None:
    pool = nn.AvgPool2d(2, 2, ceil_mode=True)
    layers = [nn.Conv2d(1, 2, 3), pool, nn.ReLU(), pool, nn.Flatten(), nn.Linear(4, 3)]
    check_slides(whole_numbers(nn.Sequential(*layers)), (1, 10, 6), (9, 3))
