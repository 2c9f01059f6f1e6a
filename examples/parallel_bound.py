"""The losses of a small network in network under gradient descent, with a bound for each.

    z₁ = W₁ patches + b₁,  z₂ = W₂ relu(z₁) + b₂,  scores = W₃ mean_p relu(z₂) + b₃
    loss = Σ (scores − wanted)² / images,          W ← W − rate · ∂loss/∂W

This is written out, forward and backward, in the numbers of `rounding`: each step hands on not only
the weights but how far anyone's weights can be from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from rounding import Near, exact, joined
from torch import Tensor
from torch.nn.functional import one_hot, unfold

# Of a mean: the division. Where processes share the work, each divides by its number of images, the
# sum of the processes is one more addition, and dividing by their number one more rounding.
SHARING = 4


@dataclass(frozen=True)
class Layer:
    """A matrix (C_out, C_in) and a bias (C_out, 1)."""

    weight: Near
    bias: Near

    def __call__(self, x: Near) -> Near:
        """x (C_in, columns) -> (C_out, columns); the bias is a term of the sum like any other."""
        ones = exact(torch.ones_like(x.value[:1]))
        return joined([self.weight, self.bias], 1) @ joined([x, ones], 0)

    def descended(self, x: Near, gradient: Near, rate: float) -> Layer:
        """After a step down, from the input and the gradient of the output."""
        down = gradient.scaled(-rate, SHARING)
        return Layer(self.weight + down @ x.transposed(), self.bias + down.sum(1).view(-1, 1))


def layers(parameters: Sequence[Tensor]) -> list[Layer]:
    """From weights and biases by turns, weights with any number of axes behind the first."""
    pairs = zip(parameters[::2], parameters[1::2], strict=True)
    return [Layer(exact(w.flatten(1)), exact(b.reshape(-1, 1))) for w, b in pairs]


def step(
    network: Sequence[Layer], patches: Tensor, labels: Tensor, rate: float
) -> tuple[Near, list[Layer]]:
    """The loss on patches (images, taps, positions), and the layers after the step."""
    count, taps, positions = patches.shape
    first, second, head = network
    x = exact(patches.transpose(0, 1).reshape(taps, -1))
    z1 = first(x)
    z2 = second(z1.relu())
    pooled = z2.relu().view(-1, count, positions).sum(2).scaled(1 / positions)
    wanted = one_hot(labels, len(head.weight.value)).T.to(patches)
    off = head(pooled) + exact(-wanted)
    # Squares: as many products of one term each.
    squares = off.view(-1, 1, 1) @ off.view(-1, 1, 1)
    loss = squares.sum(0, 1, 2).scaled(1 / count, SHARING)

    slope = off.scaled(2 / count, SHARING)
    spread = (head.weight.transposed() @ slope).scaled(1 / positions)
    each = Near(*(part.repeat_interleave(positions, 1) for part in (spread.value, spread.error)))
    d2 = each.where_positive(z2)
    d1 = (second.weight.transposed() @ d2).where_positive(z1)
    inputs, slopes = (x, z1.relu(), pooled), (d1, d2, slope)
    after = [
        layer.descended(given, down, rate)
        for layer, given, down in zip(network, inputs, slopes, strict=True)
    ]
    return loss, after


def bounded_losses(
    parameters: Sequence[Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    kernel: int,
    stride: int,
    rate: float,
) -> list[Near]:
    """The loss before each step, float64; twice its error is the most that two programs differ by.

    Args:
        parameters: weight and bias of the K×K, of the 1×1 and of the class maps.
        batches: images (n, C, H, W) float64 and labels (n,), a batch for each step.
        kernel, stride: of the K×K, which has no padding.
        rate: of the descent.
    """
    with torch.no_grad():
        network, losses = layers(parameters), []
        for images, labels in batches:
            loss, network = step(network, unfold(images, kernel, stride=stride), labels, rate)
            losses.append(loss)
    return losses
