"""Classifiers without padding slide exactly: each map position is the answer on its crop."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from onebyone.errors import UsageError
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.sliding.fully_convolutional import FullyConvolutional, fully_convolutional
from tests.nn.sliding.networks import (
    answers,
    check_slides,
    images,
    whole_numbers,
)


class LeNet(nn.Module):
    """As in countless tutorials: functional pools, and the number of features written out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(240, 12), nn.Linear(12, 8), nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), (2, 2))
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = x.view(-1, 16 * 5 * 3)
        x = functional.relu(self.fc1(x))
        return self.fc3(functional.relu(self.fc2(x)))


class AlexNet(nn.Module):
    """The layers of AlexNet, narrow and without padding; an adaptive pool that changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 11, stride=4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(4, 6, 5),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(6, 5, 3),
            nn.ReLU(inplace=True),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((2, 1))
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(10, 9), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(9, 7)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


def vgg() -> nn.Module:
    def stage(c_in: int, c_out: int) -> list[nn.Module]:
        first, second = nn.Conv2d(c_in, c_out, 3), nn.Conv2d(c_out, c_out, 3, dilation=(1, 2))
        norms = nn.BatchNorm2d(c_out), nn.BatchNorm2d(c_out)
        return [first, norms[0], nn.ReLU(), second, norms[1], nn.ReLU(), nn.MaxPool2d(2)]

    head = [nn.Linear(45, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 4)]
    return nn.Sequential(*stage(3, 4), *stage(4, 5), nn.Flatten(), *head)


class Cropped(nn.Module):
    """A residual block without padding: the skip loses what the 3×3s lose."""

    def __init__(self, c_in: int, c_out: int, stride: int, by_slice: bool) -> None:
        super().__init__()
        self.conv1, self.conv2 = (
            nn.Conv2d(c_in, c_out, 3, stride, bias=False),
            Pointwise(c_out, c_out),
        )
        self.bn1, self.bn2 = nn.BatchNorm2d(c_out), nn.BatchNorm2d(c_out)
        self.downsample = Pointwise(c_in, c_out, stride=stride)
        self.by_slice = by_slice

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        skip = x[:, :, 1:-1, 1:-1] if self.by_slice else functional.pad(x, (-1, -1, -1, -1))
        return functional.relu(y + self.downsample(skip))


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.pool = nn.Conv2d(3, 4, 5, 2), nn.MaxPool2d(3, 1)
        self.layer1, self.layer2 = Cropped(4, 5, 1, True), Cropped(5, 6, 2, False)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer2(self.layer1(self.pool(self.conv1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class Inception(nn.Module):
    """Branches that keep step; channels joined, split, shuffled; the mean over space."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU6(), nn.Conv2d(3, 4, (3, 5), (2, 1)))
        self.b = nn.Sequential(nn.AvgPool2d((3, 5), (2, 1), divisor_override=1), nn.Conv2d(2, 2, 1))
        self.depthwise = nn.Conv2d(6, 6, 3, groups=6)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.a(x), self.b(x)], dim=1)
        n, c, h, w = x.shape
        x = x.view(n, 3, c // 3, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        first, second = self.depthwise(x).chunk(2, 1)
        x = torch.cat((second, functional.hardtanh(first, -9.0, 9.0)), 1)
        return self.fc(x.mean([2, 3]))


def test_lenet() -> None:
    sliding = check_slides(whole_numbers(LeNet()), (1, 32, 24), (9, 14), (0, 5))
    assert sliding.geometry.stride == (4, 4)
    assert sliding.geometry.receptive_field == (32, 24)
    assert (sliding.network.fc1.kernel_size, sliding.network.fc1.in_channels) == ((5, 3), 16)
    assert isinstance(sliding.network.fc2, Pointwise)


def test_alexnet() -> None:
    sliding = check_slides(whole_numbers(AlexNet()), (3, 117, 101), (17, 35))
    assert sliding.geometry.stride == (16, 16)
    assert sliding.geometry.receptive_field == (115, 99)


def test_vgg() -> None:
    sliding = check_slides(whole_numbers(vgg()), (3, 24, 30), (6, 11))
    assert sliding.geometry.stride == (4, 4)
    # The last pool leaves a row and columns unseen, and so do the crops.
    assert sliding.geometry.receptive_field == (24, 30)


def test_resnet() -> None:
    # The head pools 4×2 positions: a mean with a division by eight is exact.
    sliding = check_slides(whole_numbers(ResNet()), (3, 32, 22), (13, 7), (4, 0))
    assert sliding.geometry.stride == (4, 4)


def test_inception() -> None:
    sliding = check_slides(whole_numbers(Inception()), (2, 9, 10), (5, 3))
    assert sliding.geometry.stride == (2, 1)


def test_original_stays_as_it_was() -> None:
    model = whole_numbers(vgg()).train()
    before, text = copy.deepcopy(model.state_dict()), str(model)
    sliding = fully_convolutional(model, (3, 24, 30))
    assert str(model) == text
    assert model.training
    assert sliding.training
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with torch.no_grad():
        for value in sliding.parameters():
            value.zero_()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_layers_keep_their_names() -> None:
    model = whole_numbers(vgg())
    names = {f"network.{name}" for name in model.state_dict()}
    assert set(fully_convolutional(model, (3, 24, 30)).state_dict()) == names


@pytest.mark.parametrize("size", [24, (24, 24), (1, 24, 24), torch.zeros(5, 1, 24, 24).double()])
def test_sizes(size: int | tuple[int, ...] | Tensor) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(2, 3)
    )
    sliding = fully_convolutional(whole_numbers(model), size)
    assert sliding.geometry.size == (24, 24)
    assert sliding(images(1, 1, 25, 27)).shape == (1, 3, 2, 4)


def test_gradients_are_those_of_the_crops() -> None:
    model = whole_numbers(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 3))
    )
    sliding = fully_convolutional(model, (1, 4, 5))
    image = images(1, 1, 5, 7)
    sliding(image).sum().backward()
    for i in range(2):
        for j in range(3):
            model(image[:, :, i : i + 4, j : j + 5]).sum().backward()
    # A gradient is the sum over 6 positions of a tanh, at most 1 and within two roundings: each of
    # the two sums is within 6 · (6 + 2) roundings.
    found = sliding.network.get_submodule("3").weight.grad.flatten(1)
    assert (found - model[3].weight.grad).abs().max() <= 2 * 6 * (6 + 2) * 2**-53
    assert found.abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(dtype: torch.dtype) -> None:
    model = whole_numbers(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(12, 3)))
    image = images(2, 1, 6, 7)
    wanted = fully_convolutional(model, (1, 4, 5))(image)
    sliding = fully_convolutional(model.to(dtype), (1, 4, 5))
    assert wanted.abs().max() <= 256, "a bfloat16 holds these integers"
    for format_ in (torch.contiguous_format, torch.channels_last):
        found = sliding(image.to(dtype).contiguous(memory_format=format_))
        assert found.dtype == dtype
        assert torch.equal(found.double(), wanted)


def test_converted_networks_are_copied_and_pickled() -> None:
    model = whole_numbers(LeNet())
    sliding = fully_convolutional(model, (1, 32, 24))
    image = images(1, 1, 37, 33)
    for twin in (copy.deepcopy(sliding), pickle.loads(pickle.dumps(sliding))):
        assert isinstance(twin, FullyConvolutional)
        assert twin.geometry == sliding.geometry
        assert torch.equal(twin(image), sliding(image))


def sizes(model: nn.Sequential) -> nn.Sequential:
    """The network whose outputs bound what the terms of the model's sums add up to in size."""
    model = copy.deepcopy(model).double()
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            value.abs_()
            if name.endswith("running_mean"):
                value.neg_()  # x − mean becomes |x| + |mean|
    return model


def test_floats_are_within_the_bound() -> None:
    """|error| ≤ k·u·(the sum of all products of sizes), k roundings on a path (Higham, 3.1)."""
    torch.manual_seed(0)
    model = vgg().eval()
    image = torch.randn(2, 3, 29, 37)
    sliding = fully_convolutional(model, (3, 24, 30))
    assert sliding.exact
    # Products and bias of the four 3×3s and two linear layers, and eight for each of five norms.
    roundings = 28 + 37 + 37 + 46 + 46 + 9 + 5 * 8
    with torch.no_grad():
        found, wanted = sliding(image), answers(model, sliding, image)
        bound = 2 * 1.01 * roundings * 2**-24 * answers(sizes(model), sliding, image.abs().double())
    assert found.shape == (2, 4, 2, 2)
    assert ((found - wanted).abs() <= bound).all()
    assert (found - wanted).abs().max() < 1e-3 * wanted.std(), "the bound says nothing"


def test_smaller_images_are_refused() -> None:
    sliding = fully_convolutional(whole_numbers(LeNet()), (1, 32, 24))
    with pytest.raises(UsageError, match=r"got an image of 31×40, wanted at least 32×24"):
        sliding(images(1, 1, 31, 40))


def test_it_says_what_it_is() -> None:
    sliding = fully_convolutional(whole_numbers(LeNet()), (1, 32, 24))
    assert "size=(32, 24), stride=(4, 4), receptive_field=(32, 24), exact=True" in str(sliding)
    assert "exact            each position equals the classifier's answer on its 32×24 crop" in (
        sliding.describe()
    )
