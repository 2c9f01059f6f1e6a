"""What is not exact is refused, and converted with that said; what is not understood is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from onebyone.errors import UsageError
from onebyone.nn.sliding.fully_convolutional import fully_convolutional
from tests.nn.sliding.networks import answers, images, whole_numbers


def head(features: int) -> list[nn.Module]:
    return [nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(features, 3)]


class SqueezeExcite(nn.Module):
    """Factors for the channels from the mean over the whole image."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        n, c, _, _ = x.size()
        return x * self.fc(x.mean([2, 3])).view(n, c, 1, 1)


class SpatialSoftmax(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 100 * x.softmax(-1)


INEXACT: dict[str, tuple[list[nn.Module], str]] = {
    "padding": ([nn.Conv2d(1, 4, 3, padding=1)], r"0 \(Conv2d\) pads its input:"),
    "same": ([nn.Conv2d(1, 4, (1, 4), padding="same")], r"0 \(Conv2d\) pads its input:"),
    "mirrored": (
        [nn.Conv2d(1, 4, 3, padding=(0, 1), padding_mode="reflect")],
        r"0 \(Conv2d\) pads its input:",
    ),
    "pool": ([nn.Conv2d(1, 4, 2), nn.MaxPool2d(3, 1, 1)], r"1 \(MaxPool2d\) pads its input:"),
    "layer": ([nn.ZeroPad2d((0, 0, 0, 1)), nn.Conv2d(1, 4, 3)], r"0 \(ZeroPad2d\) pads"),
    "two": (
        [nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 4, 3, 2, 1)],
        r"0 \(Conv2d\) pads its input and 1 more:",
    ),
    "ceil_mode": (
        [nn.Conv2d(1, 4, 2), nn.AvgPool2d(2, ceil_mode=True)],
        r"1 \(AvgPool2d\) rounds its size up \(ceil_mode\), which at 9×7 is padding:",
    ),
    "group norm": ([nn.Conv2d(1, 4, 2), nn.GroupNorm(2, 4)], r"1 \(GroupNorm\) norms .* image:"),
    "instance norm": ([nn.Conv2d(1, 4, 2), nn.InstanceNorm2d(4)], r"1 \(InstanceNorm2d\) norms"),
    "batch norm": (
        [nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4, track_running_stats=False)],
        r"1 \(BatchNorm2d\) norms by the statistics of the whole batch:",
    ),
    "squeeze and excite": ([nn.Conv2d(1, 4, 2), SqueezeExcite()], r"mean \(mean\) pools over the"),
    "softmax": ([nn.Conv2d(1, 4, 2), SpatialSoftmax()], r"softmax \(softmax\) normalises over"),
}
SHAPE = (1, 10, 8)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", INEXACT)
def test_inexact_networks(name: str) -> None:
    layers, reason = INEXACT[name]
    model = whole_numbers(nn.Sequential(*layers, *head(4)), seed=3)
    with pytest.raises(UsageError, match=reason) as caught:
        fully_convolutional(model, SHAPE)
    assert "\n" not in str(caught.value)
    assert "stride " in str(caught.value)
    assert "accept_approx=True" in str(caught.value)

    sliding = fully_convolutional(model, SHAPE, accept_approx=True)
    assert not sliding.exact
    assert "exact=False" in str(sliding)
    assert "not exact" in sliding.describe()
    image, larger = images(2, *SHAPE), images(2, 1, 19, 17)
    # At the original size all but the last layer is the same layers on the same tensors, integers
    # or not. It adds up 4 products of weights of at most 2 with numbers below 10⁴, and a bias.
    bound = 2 * 5 * 2**-53 * (4 * 2 * 1e4 + 2)
    assert (sliding(image)[:, :, 0, 0] - model(image)).abs().max() <= bound
    # It is not refused for nothing: the maps are not the answers.
    assert (sliding(larger) - answers(model, sliding, larger)).abs().max() > 1e-3


def test_the_message_has_the_figures() -> None:
    layers = [nn.Conv2d(1, 4, 5, 2, (2, 0)), nn.MaxPool2d((3, 2), (2, 1), (1, 0)), *head(4)]
    with pytest.raises(UsageError) as caught:
        fully_convolutional(nn.Sequential(*layers), (1, 33, 21))
    assert str(caught.value) == (
        "got a classifier in which 0 (Conv2d) pads its input and 1 more: on larger images "
        "map positions differ from the classifier's answer on their crops, because a crop "
        "sees padding at its borders where the maps see its neighbours; "
        "stride 4×2, receptive field 41×21, "
        "padding is seen by the first 1 and last 1 rows, the first 0 and last 0 columns; "
        "remove the padding and train again, run the classifier on crops, "
        "or pass accept_approx=True"
    )


def test_positions_that_see_padding_are_those_of_the_halo() -> None:
    """Another padding value changes the maps in the halo, and nowhere else."""
    layers = [nn.ConstantPad2d((2, 1, 0, 3), 0.0), nn.Conv2d(1, 3, 3), nn.MaxPool2d(2), *head(3)]
    model = whole_numbers(nn.Sequential(*layers), seed=5)
    with torch.no_grad():
        model[1].weight.abs_().add_(1)
    sliding = fully_convolutional(model, (1, 9, 8), accept_approx=True)
    image = images(1, 1, 30, 41).abs()
    plain = sliding(image)
    model[0].value = 1000.0
    seen = (fully_convolutional(model, (1, 9, 8), accept_approx=True)(image) != plain).any(1)[0]
    (top, bottom), (left, right) = sliding.geometry.halo((30, 41))
    inside = torch.zeros_like(seen)
    inside[top : seen.shape[0] - bottom, left : seen.shape[1] - right] = True
    assert torch.equal(seen, ~inside)
    assert 0 < int(inside.sum()) < inside.numel()
    assert (top, bottom, left, right) == (0, 1, 1, 1)


def test_padding_that_is_cropped_away_is_none() -> None:
    layers = [nn.Conv2d(1, 4, 3, padding=2), nn.ZeroPad2d(-2), *head(4)]
    assert fully_convolutional(nn.Sequential(*layers), SHAPE).exact


def test_padding_after_a_crop_is_seen() -> None:
    layers = [nn.ZeroPad2d(-2), nn.Conv2d(1, 4, 3, padding=1), *head(4)]
    with pytest.raises(UsageError, match="first 1 and last 1 rows"):
        fully_convolutional(nn.Sequential(*layers), SHAPE)


class Odd(nn.Module):
    """A network with a step of its own between a 3×3 and the head."""

    def __init__(self, step: Callable[[Tensor], Tensor], features: int) -> None:
        super().__init__()
        self.step, self.conv, self.fc = step, nn.Conv2d(1, 4, 3), nn.Linear(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.step(self.conv(x)), 1))


ODD: dict[str, tuple[Callable[[Tensor], Tensor], int, str]] = {
    "control flow": (lambda x: x if x.sum() > 0 else -x, 192, "torch.fx cannot trace"),
    "upsampling": (
        lambda x: functional.interpolate(x, scale_factor=2),
        768,
        r"node interpolate \(interpolate\) stands in the way .*: no rule says",
    ),
    "attention": (
        lambda x: x.flatten(2) @ x.flatten(2).transpose(1, 2),
        16,
        r"node matmul \(matmul\) stands in the way",
    ),
    "positions": (
        lambda x: x + torch.ones(8, 6),
        192,
        r"node add \(add\) stands in the way .*: its operand differs between positions",
    ),
    "a size": (
        lambda x: x / x.size(2),
        192,
        r"node truediv \(truediv\) .*: it computes with the size of the image",
    ),
    "a part of the image": (
        lambda x: x[:, :, :5],
        120,
        r"node getitem .*: its slice is another one",
    ),
    "a row": (lambda x: x[:, :, 2], 24, r"node getitem .*: it picks one position of the image"),
    "a size written out": (
        lambda x: x.view(-1, 2, 2, 8, 6).transpose(1, 2).reshape(-1, 4, 8, 6),
        192,
        "does not run on images of",
    ),
    "branches": (
        lambda x: torch.cat([x[:, :, ::2], functional.max_pool2d(x, (2, 1))], 1),
        192,
        r"node cat .*: branches meet that are of one size for some images only",
    ),
    "strides": (
        lambda x: functional.max_pool2d(x, (8, 1)) + x[:, :, ::8],
        24,
        r"node add .*: branches meet that are of one size for some images only",
    ),
    "different strides": (
        lambda x: torch.cat([functional.max_pool2d(x, (2, 1)), x[:, :, 2:-2]], 1),
        192,
        r"node cat .*: branches with strides 1 and 2 meet",
    ),
    "halves": (lambda x: x.chunk(2, 2)[0], 96, r"node chunk .*: along axis 2 it takes parts"),
    "stacked": (lambda x: torch.cat([x, x], 2), 384, r"node cat .*: it joins positions"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_not_understood_is_named(name: str) -> None:
    step, features, message = ODD[name]
    with pytest.raises(UsageError, match=message) as caught:
        fully_convolutional(Odd(step, features), SHAPE, accept_approx=True)
    assert "\n" not in str(caught.value)


class NoAnswer(nn.Module):
    """Scores, and beside them a number that is the same for every image."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(80, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        return self.fc(x.flatten(1)), 3


@pytest.mark.parametrize(
    ("model", "size", "message"),
    [
        (NoAnswer(), SHAPE, r"returns None, wanted tensors of class scores"),
        (
            nn.Conv2d(1, 4, 3),
            SHAPE,
            r"returns a tensor of shape \(2, 4, 8, 6\), wanted \(N, classes\)",
        ),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten()), SHAPE, "a head that flattens or pools"),
        (nn.Sequential(*head(4)), (10, 8), r"got \(H, W\) for a model without a convolution"),
        (
            nn.Sequential(nn.Conv3d(1, 4, 3), nn.Flatten()),
            (10, 8),
            r"got an image size of \(10, 8\) for a model of 3 axes, wanted a side, 3 sizes",
        ),
        (nn.Sequential(nn.Conv2d(1, 4, 3)), (10, 8, 3, 3), "wanted a side"),
        (nn.Sequential(nn.Conv2d(1, 4, 3)), (1, 2, 2), r"does not run on images of \(1, 2, 2\)"),
        (
            nn.Sequential(nn.Flatten(), nn.BatchNorm1d(80), nn.Linear(80, 3)),
            SHAPE,
            r"1 \(BatchNorm1d\) .*: it differs between positions; fold it into the linear layer",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 1, 3), nn.LayerNorm((8, 6)), nn.Flatten(), nn.Linear(48, 3)),
            SHAPE,
            r"1 \(LayerNorm\) .*: it norms over the positions",
        ),
    ],
)
def test_models_that_are_no_classifiers(
    model: nn.Module, size: tuple[int, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        fully_convolutional(model, size, accept_approx=True)


def test_a_layer_called_in_two_ways() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            rows = self.fc(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            return self.fc(rows.mean((2, 3)))

    with pytest.raises(UsageError, match="layer fc is called 2 times in different ways"):
        fully_convolutional(Twice(), (4, 10, 8))
