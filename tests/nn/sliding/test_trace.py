"""Decisions by a size are those for the original size; decisions by anything else are refused."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import pytest
import torch
from torch import Tensor, nn

from onebyone.errors import UsageError
from onebyone.nn.sliding.fully_convolutional import fully_convolutional
from tests.nn.sliding.networks import check_slides, images, whole_numbers
from tests.quick import slow_but


def tail(x: Tensor) -> Tensor:
    height, width = x.shape[-2:]
    return x.view(-1, 4 * height * width)


def features(x: Tensor) -> Tensor:
    number = 1
    for size in x.size()[1:]:
        number *= size
    return x.view(-1, number)


def checked(x: Tensor) -> Tensor:
    if x.dim() != 4 or x.shape[1] != 4:
        raise ValueError("another image")
    return x.flatten(1)


def repeated(x: Tensor) -> Tensor:
    for i in range(x.shape[2]):
        x = x + i
    return x.flatten(1)


def odd(x: Tensor) -> Tensor:
    return (2 * x if x.shape[-1] % 2 else x).flatten(1)


SIZES: list[Callable[[Tensor], Tensor]] = [
    tail,
    features,
    checked,
    repeated,
    odd,
    lambda x: x.reshape(x.shape[0], prod(x.shape[1:])),
    lambda x: (x * int(x.shape[3])).flatten(1),
    lambda x: (x * float(x.shape[2])).flatten(1),
]


class Decides(nn.Module):
    """A classifier of 5×6 images that flattens as it is told."""

    def __init__(self, flatten: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.fc, self.flatten = nn.Conv2d(3, 4, 2), nn.Linear(80, 2), flatten

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.flatten(self.conv(x)))


@pytest.mark.parametrize("flatten", SIZES)
def test_sizes_are_those_of_a_crop(flatten: Callable[[Tensor], Tensor]) -> None:
    # One column more makes an odd width even: the crop's is odd all the same.
    check_slides(whole_numbers(Decides(flatten)), (3, 5, 6), (2, 3), (0, 1))


@pytest.mark.parametrize(
    "flatten",
    [
        lambda x: (x if x.sum() > 0 else -x).flatten(1),
        lambda x: (x if x.shape[0] == 1 else -x).flatten(1),
        lambda x: x.view(int(x.shape[0]), -1),
        lambda x: torch.stack([row.flatten() for row in x]),
    ],
    ids=["numbers", "one image", "the number of images", "each image"],
)
def test_what_differs_between_images_or_batches_is_refused(
    flatten: Callable[[Tensor], Tensor],
) -> None:
    with pytest.raises(UsageError, match=r"torch\.fx cannot trace .* how many there are"):
        fully_convolutional(Decides(flatten), (3, 5, 6))


def test_the_layers_that_are_run_to_know_a_size_are_not_drawn() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # A layer of PyTorch, which the tracer takes as a whole, with layers within.
            inner = nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True)
            self.conv, self.inner, self.fc = nn.Conv2d(3, 4, 2), inner, nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            y = self.inner(x.flatten(2).mT)
            return self.fc(y.mean(1)) if y.shape[1] == 20 else x

    with pytest.raises(UsageError, match=r"node getattr_1 .* no rule says how mT acts"):
        fully_convolutional(Attends().eval(), (3, 5, 6))
    assert isinstance(nn.ReLU()(torch.ones(1)), Tensor)  # no wrapper of the tracer is left behind


def test_each_layer_keeps_its_mode() -> None:
    inside = nn.Sequential(nn.BatchNorm2d(3), Decides(lambda x: x.flatten(1)))
    wrapped = nn.Sequential(whole_numbers(inside))  # new, and therefore in training mode
    assert wrapped.training
    sliding = fully_convolutional(wrapped, (3, 5, 6))
    assert sliding.training
    layers = (nn.BatchNorm2d, nn.Conv2d)
    modes = [m.training for m in sliding.modules() if isinstance(m, layers)]
    assert modes == [False] * 3
    x = images(2, 3, 5, 6)
    assert torch.equal(sliding(x).flatten(1), wrapped(x))


@pytest.mark.parametrize(
    "name", slow_but("ResNet", "RegNet", of=("ResNet", "MobileNetV2", "RegNet", "ConvNext"))
)
def test_classifiers_of_transformers(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    sizes: dict[str, object] = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2}
    options: dict[str, dict[str, object]] = {
        "ResNet": {"embedding_size": 8, "layer_type": "bottleneck", **sizes},
        "RegNet": {"embedding_size": 8, "groups_width": 8, **sizes},
        "ConvNext": sizes,
        "MobileNetV2": {"depth_multiplier": 0.35},
    }
    config = getattr(transformers, f"{name}Config")(num_labels=5, **options[name])

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = getattr(transformers, f"{name}ForImageClassification")(config)

        def forward(self, x: Tensor) -> Tensor:
            return self.model(x).logits

    torch.manual_seed(0)
    model, x = Logits().double().eval(), torch.randn(2, 3, 64, 47, dtype=torch.float64)
    with pytest.raises(UsageError, match="accept_approx=True"):
        fully_convolutional(model, (64, 47))
    with torch.no_grad():
        maps, scores = fully_convolutional(model, (64, 47), accept_approx=True)(x), model(x)
    assert maps.shape == (2, 5, 1, 1)
    # The same sums, in float64, but for the order of those over a window: 2⁻⁵³ each, against a
    # dropped layer, activation or branch, which moves the scores by a part of their own size.
    assert (maps.flatten(1) - scores).abs().max() <= 2**-40 * scores.abs().max()
