"""What is written over is read as it is then, also where the writing looks unused."""

from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from onebyone.errors import UsageError
from onebyone.nn.sliding.fully_convolutional import fully_convolutional
from onebyone.nn.sliding.inplace import rerouted
from tests.nn.sliding.networks import check_slides, whole_numbers

WRITERS: dict[str, Callable[[nn.Module, Tensor], object]] = {
    "layer": lambda m, y: m.relu(y),
    "function": lambda m, y: functional.relu(y, inplace=True),
    "function, by position": lambda m, y: functional.relu(y, True),
    "function with an underscore": lambda m, y: torch.relu_(y),
    "method": lambda m, y: y.clamp_(-3, 5),
    "operator": lambda m, y: operator.iadd(y, 1),
    "twice": lambda m, y: (y.add_(1), y.relu_()),
    "out": lambda m, y: torch.mul(y, 2, out=y),
}


class Unassigned(nn.Module):
    """An operation in place, whose result is dropped."""

    def __init__(self, write: Callable[[nn.Module, Tensor], object]) -> None:
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(3, 4, 2), nn.ReLU(inplace=True), nn.Linear(80, 2)
        self.write = write

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        self.write(self, y)
        return self.fc(y.flatten(1))


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_written_in_place_counts(name: str) -> None:
    check_slides(whole_numbers(Unassigned(WRITERS[name])), (3, 5, 6), (2, 3))


@pytest.mark.parametrize(
    "write", [lambda m, y: m.relu(y[:, :, 1:]), lambda m, y: y.flatten(1).add_(1)]
)
def test_what_is_written_through_a_view_and_read_without_is_refused(write) -> None:
    # relu on all rows but the first: of a crop that is another row than of the image.
    with pytest.raises(UsageError, match="writes in place to what is read under another name"):
        fully_convolutional(Unassigned(write), (3, 5, 6))


def test_reads_before_stay_and_those_after_move() -> None:
    class Both(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            before = x.exp()
            x.add_(y)
            x.relu_()
            return before + x

    graph = fx.symbolic_trace(Both()).graph
    rerouted(graph, {})
    reads = {node.name: [str(read) for read in node.all_input_nodes] for node in graph.nodes}
    assert reads["exp"] == ["x"]
    assert reads["relu_"] == ["add_"]
    assert reads["add"] == ["exp", "relu_"]


def test_what_is_added_in_place_widens_the_window() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 3, 3), nn.Linear(3 * 3 * 4, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = x[:, :, 1:-1, 1:-1].clone()
            y.add_(self.conv(x))
            return self.fc(y.flatten(1))

    sliding = check_slides(whole_numbers(Residual()), (3, 5, 6), (2, 3))
    assert sliding.geometry.receptive_field == (5, 6)
