"""What the blocks are compared with: convolutions as sums over taps, and small integers.

Everything drawn here is an integer so small that all sums are exact, in any order, in the dtype of
the test: results are compared with `==`.
"""

from __future__ import annotations

from functools import partial
from itertools import product

import torch
from torch import Tensor, nn

# eps=0 and a variance that is a power of four: the norm then divides by a power of two, exactly.
ExactNorm = partial(nn.BatchNorm2d, eps=0.0)


def integers(seed: int, *shape: int, largest: int = 2) -> Tensor:
    """Integers in ±largest, float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-largest, largest + 1, shape, generator=generator).double()


def fill(module: nn.Module, seed: int = 0) -> nn.Module:
    """Integers for all parameters and statistics, in float64; for evaluation.

    Within ±1, but 1, 2 or 3 for the scales of norms, which would else switch channels off, and
    1, 4 or 16 for variances.
    """
    for index, (name, value) in enumerate(module.state_dict().items()):
        drawn = integers(seed + index, *value.shape, largest=1)
        if name.endswith("running_var"):
            drawn = 4 ** (drawn + 1)
        elif name.endswith("weight") and value.ndim == 1:
            drawn = drawn + 2
        value.copy_(drawn)
    return module.double().eval()


def convolved(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """One product of matrices for each tap, on the window of the padded input that it sees."""
    n, c, h, w = x.shape
    out, per_group, *kernel = weight.shape
    padded = x.new_zeros(n, c, h + 2 * padding, w + 2 * padding)
    padded[:, :, padding : padding + h, padding : padding + w] = x
    rows, columns = (
        (size + 2 * padding - dilation * (taps - 1) - 1) // stride + 1
        for size, taps in zip((h, w), kernel, strict=True)
    )
    y = x.new_zeros(n, out, rows, columns)
    for i, j in product(*map(range, kernel)):
        top, left = i * dilation, j * dilation
        window = padded[:, :, top:, left:][:, :, ::stride, ::stride][:, :, :rows, :columns]
        parts = window.unflatten(1, (groups, per_group))
        tap = weight[:, :, i, j].unflatten(0, (groups, out // groups))
        y += torch.einsum("ngihw,goi->ngohw", parts, tap).flatten(1, 2)
    return y if bias is None else y + bias[:, None, None]


def normalised(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Batch normalisation with its stored statistics, from its definition."""
    mean, var, scale, shift = (
        value[:, None, None]
        for value in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    return (x - mean) / var.sqrt() * scale + shift
