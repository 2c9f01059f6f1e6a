"""A grammar of small PyTorch networks: a number makes one, with shapes for its inputs.

A network is a chain of blocks on images (N, C, H, W) or tokens (N, L, C), each with drawn sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

__all__ = ["Made", "module"]


@dataclass(frozen=True)
class Made:
    """A network; `centre`: what it subtracts from its input first, and the scale it divides by."""

    net: nn.Module
    shapes: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]
    marks: tuple[str, ...]
    centre: tuple[float, float]


@dataclass
class _Draw:
    """What is drawn so far: channels now, and what was met."""

    rng: np.random.Generator
    channels: int
    size: tuple[int, ...]
    marks: list[str] = field(default_factory=list)
    centre: tuple[float, float] = (0.0, 1.0)
    masked: bool = False

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def chance(self, one_in: int) -> bool:
        return self.integer(1, one_in) == 1

    def width(self) -> int:
        self.channels = self.integer(2, 8)
        return self.channels


class Step(nn.Module):
    """A function of a value and of the layers that it names."""

    def __init__(
        self, function: Callable[..., Tensor], *layers: nn.Module, **buffers: Tensor
    ) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)
        for name, value in buffers.items():
            self.register_buffer(name, value)
        self.names = list(buffers)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.layers, *(getattr(self, name) for name in self.names))


class Chain(nn.Module):
    """Blocks in turn, and before the last of them, perhaps, a mask that sends scores away."""

    def __init__(self, blocks: list[nn.Module], far: float | None, last: nn.Module | None) -> None:
        super().__init__()
        self.blocks, self.far, self.last = nn.ModuleList(blocks), far, last

    def forward(self, x: Tensor, m: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x)
        if m is None or self.last is None:
            return x
        return _masked(x, self.last(x), m, self.far)


def _masked(x: Tensor, score: Tensor, m: Tensor, far: float | None) -> Tensor:
    if far is None:
        return torch.softmax(score.masked_fill(m == 0, -1e9), 1) * x
    score = score + (1.0 - m) * far
    return torch.softmax(score, 1) * x + score


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    with torch.no_grad():
        norm.running_mean.copy_(torch.randn(channels))  # type: ignore[union-attr]
        norm.running_var.copy_(torch.rand(channels) + 0.5)  # type: ignore[union-attr]
        norm.weight.copy_(torch.rand(channels) + 0.5)
        norm.bias.copy_(torch.randn(channels))
    return norm


Block = Callable[[_Draw], nn.Module]


def _pointwise(d: _Draw) -> nn.Module:
    groups = 2 if d.channels % 2 == 0 and d.chance(5) else 1
    before, after = d.channels, 2 * d.integer(1, 4)
    d.channels = after
    return nn.Conv2d(before, after, 1, groups=groups, bias=not d.chance(4))


def _convolution(d: _Draw) -> nn.Module:
    before = d.channels
    return nn.Conv2d(before, d.width(), 3, padding=d.integer(0, 1), bias=not d.chance(4))


def _depthwise(d: _Draw) -> nn.Module:
    return nn.Conv2d(d.channels, d.channels, 3, padding=1, groups=d.channels)


def _transposed(d: _Draw) -> nn.Module:
    before = d.channels
    return nn.ConvTranspose2d(before, d.width(), 2, stride=1)


def _batch_norm(d: _Draw) -> nn.Module:
    return _norm(d.channels)


def _activation(d: _Draw) -> nn.Module:
    kinds = (nn.ReLU, nn.SiLU, nn.GELU, nn.Hardswish, nn.Sigmoid, nn.Tanh, nn.LeakyReLU, nn.ReLU6)
    return kinds[d.integer(0, len(kinds) - 1)]()


def _pool(d: _Draw) -> nn.Module:
    return (nn.AvgPool2d, nn.MaxPool2d)[d.integer(0, 1)](3, stride=1, padding=d.integer(0, 1))


def _upsample(d: _Draw) -> nn.Module:
    return nn.Upsample(scale_factor=2, mode=("nearest", "bilinear")[d.integer(0, 1)])


def _centred(d: _Draw) -> nn.Module:
    """(x - c) / s with constants of anything up to 1e9."""
    size = 10.0 ** d.integer(0, 9)
    scale = max(1.0, size * 10.0 ** -d.integer(0, 5))
    d.centre = (size, scale)
    d.marks.append("centred")
    c, s = torch.tensor(size), torch.tensor(scale)
    kind = d.integer(0, 2)
    if kind == 0:
        return Step(lambda x, c, s: (x - c) / s, c=c, s=s)
    if kind == 1:
        return Step(lambda x, c, s: (x - c) * s, c=c, s=1 / s)
    return Step(lambda x, c: x - c, c=c)


def _residual(d: _Draw) -> nn.Module:
    inner = nn.Sequential(nn.Conv2d(d.channels, 3, 1), nn.Conv2d(3, d.channels, 1))
    return Step(lambda x, f: x + f(x), inner)


def _inception(d: _Draw) -> nn.Module:
    before, a, b = d.channels, d.integer(1, 4), d.integer(1, 4)
    d.channels = a + b
    parts = nn.Conv2d(before, a, 1), nn.Conv2d(before, b, 1)
    return Step(lambda x, f, g: torch.cat([F.relu(f(x)), F.relu(g(x))], 1), *parts)


def _squeeze(d: _Draw) -> nn.Module:
    inner = nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(d.channels, 2, 1), nn.ReLU(), nn.Conv2d(2, d.channels, 1)
    )
    return Step(lambda x, f: x * torch.sigmoid(f(x)), inner)


def _context(d: _Draw) -> nn.Module:
    inner = nn.Conv2d(d.channels, d.channels, 1)
    return Step(lambda x, f: x + f(x.mean((2, 3), keepdim=True)), inner)


def _shuffle(d: _Draw) -> nn.Module:
    if d.channels % 2:
        return nn.Identity()
    half = d.channels // 2

    def shuffled(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        return x.reshape(n, 2, half, h, w).transpose(1, 2).reshape(n, c, h, w)

    return Step(shuffled)


def _halves(d: _Draw) -> nn.Module:
    if d.channels % 2:
        return nn.Identity()
    inner = nn.Conv2d(d.channels // 2, d.channels // 2, 1)

    def both(x: Tensor, f: nn.Module) -> Tensor:
        a, b = x.chunk(2, 1)
        return torch.cat([a, f(b)], 1)

    return Step(both, inner)


def _pruned(d: _Draw) -> nn.Module:
    conv = nn.Conv2d(d.channels, d.width(), 1)
    prune.ln_structured(conv, "weight", 0.5, 2, 0)  # type: ignore[no-untyped-call]
    d.marks.append("constants computed")
    return conv


def _weight_norm(d: _Draw) -> nn.Module:
    kind = (parametrizations.weight_norm, parametrizations.spectral_norm)[d.integer(0, 1)]
    d.marks.append("constants computed")
    conv = nn.Conv2d(d.channels, d.width(), 1)
    return kind(conv)  # type: ignore[no-any-return,operator]


def _sliced(d: _Draw) -> nn.Module:
    before = d.channels
    weight = torch.randn(d.width() + 3, before, 1, 1)
    keep = d.channels
    d.marks.append("constants computed")
    return Step(lambda x, w: F.conv2d(x, w[:keep]), w=weight)


FILTERS = {
    "sobel": [[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "laplace": [[0.0, 1, 0], [1, -4, 1], [0, 1, 0]],
}


def _filtered(d: _Draw) -> nn.Module:
    kernel = torch.tensor(FILTERS[("sobel", "laplace")[d.integer(0, 1)]])
    channels = d.channels
    d.marks.append("few bits")
    weight = kernel.expand(channels, 1, 3, 3).contiguous()
    return Step(lambda x, w: F.conv2d(x, w, groups=channels), w=weight)


def _high_pass(d: _Draw) -> nn.Module:
    d.marks.append("difference")
    return Step(lambda x, p: x - p(x), nn.AvgPool2d(3, 1, 1, count_include_pad=False))


def _shared(d: _Draw) -> nn.Module:
    inner = nn.Conv2d(d.channels, d.channels, 1)
    d.marks.append("shared weight")
    scale = torch.rand(1) + 0.5
    return Step(lambda x, f, s: f(x) * s + f(F.relu(x)), inner, s=scale)


def _convnext(d: _Draw) -> nn.Module:
    c = d.channels
    inner = nn.Sequential(nn.LayerNorm(c), nn.Linear(c, 6), nn.GELU(), nn.Linear(6, c))
    d.marks.append("nhwc")
    scale = torch.rand(c)
    return Step(
        lambda x, f, s: x + (s * f(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2), inner, s=scale
    )


def _group_norm(d: _Draw) -> nn.Module:
    return nn.GroupNorm(1 if d.channels % 2 else 2, d.channels)


def _strided(d: _Draw) -> nn.Module:
    inner = nn.Conv2d(d.channels, d.channels, 1)
    return Step(lambda x, f: F.relu(f(x))[:, :, ::2, ::2], inner)


def _contracted(d: _Draw) -> nn.Module:
    before = d.channels
    weight = torch.randn(d.width(), before)
    return Step(lambda x, w: torch.einsum("nchw,oc->nohw", x, w), w=weight)


IMAGE: tuple[tuple[Block, int], ...] = (
    (_pointwise, 6), (_convolution, 3), (_depthwise, 1), (_transposed, 1), (_batch_norm, 3),
    (_activation, 4), (_pool, 2), (_upsample, 1), (_centred, 2), (_residual, 2), (_inception, 2),
    (_squeeze, 1), (_context, 1), (_shuffle, 1), (_halves, 1), (_pruned, 1), (_weight_norm, 1),
    (_sliced, 1), (_filtered, 2), (_high_pass, 1), (_shared, 1), (_convnext, 1), (_group_norm, 1),
    (_strided, 1), (_contracted, 1),
)  # fmt: skip


def _linear(d: _Draw) -> nn.Module:
    before = d.channels
    return nn.Linear(before, d.width(), bias=not d.chance(4))


def _layer_norm(d: _Draw) -> nn.Module:
    norm = nn.LayerNorm(d.channels)
    with torch.no_grad():
        norm.weight.copy_(torch.rand(d.channels) + 0.5)
        norm.bias.copy_(torch.randn(d.channels))
    return norm


def _rms(d: _Draw) -> nn.Module:
    gain = torch.rand(d.channels) + 0.5
    return Step(lambda x, g: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * g, g=gain)


def _attention(d: _Draw) -> nn.Module:
    c = d.channels

    def attend(x: Tensor, q: nn.Module, k: nn.Module, v: nn.Module, o: nn.Module) -> Tensor:
        score = q(x) @ k(x).transpose(1, 2) / c**0.5
        return x + o(torch.softmax(score, -1) @ v(x))  # type: ignore[no-any-return]

    return Step(attend, *(nn.Linear(c, c) for _ in range(4)))


def _adapted(d: _Draw) -> nn.Module:
    """A linear layer with a low-rank adapter merged in the graph."""
    before = d.channels
    after = d.width()
    parts = {
        "w": torch.randn(after, before),
        "b": torch.randn(after, 1),
        "a": torch.randn(1, before),
    }
    d.marks.append("constants computed")
    return Step(lambda x, w, b, a: F.linear(x, w + b @ a), **parts)


def _neighbours(d: _Draw) -> nn.Module:
    if d.size[0] < 3:
        return nn.Identity()
    d.size = (d.size[0] - 1,)
    d.marks.append("difference")
    return Step(lambda x: x[:, 1:] - x[:, :-1])


def _edges(d: _Draw) -> nn.Module:
    """[x_j - x_i; x_i], then a map, as EdgeConv has it."""
    before = d.channels
    inner = nn.Linear(2 * before, d.width())
    d.marks.append("difference")

    def both(x: Tensor, f: nn.Module) -> Tensor:
        return f(torch.cat([x.roll(1, 1) - x, x], -1))  # type: ignore[no-any-return]

    return Step(both, inner)


def _sums(d: _Draw) -> nn.Module:
    before = d.channels
    parts = nn.Linear(before, d.width()), nn.Linear(before, d.channels)
    return Step(lambda x, f, g: f(x) - g(x), *parts)


def _gated(d: _Draw) -> nn.Module:
    before = d.channels
    parts = nn.Linear(before, d.width()), nn.Linear(before, d.channels)
    return Step(lambda x, f, g: F.silu(f(x)) * g(x), *parts)


def _first(d: _Draw) -> nn.Module:
    d.size = (1,)
    return Step(lambda x: x[:, :1])


TOKENS: tuple[tuple[Block, int], ...] = (
    (_linear, 8), (_layer_norm, 3), (_rms, 2), (_activation, 4), (_attention, 2), (_adapted, 2),
    (_neighbours, 2), (_edges, 2), (_sums, 2), (_gated, 2), (_first, 1), (_centred, 2),
)  # fmt: skip


def module(number: int) -> Made:
    """The network of a number, its weights drawn as well."""
    rng = np.random.default_rng([number, 5])
    torch.manual_seed(number)
    image = bool(rng.random() < 0.6)
    size = tuple(int(n) for n in rng.integers(5, 9, 2 if image else 1))
    d = _Draw(rng, int(rng.integers(1, 8)), size)
    batch = d.integer(1, 3)
    shape = (batch, d.channels, *size) if image else (batch, *size, d.channels)
    table = [block for block, often in (IMAGE if image else TOKENS) for _ in range(often)]
    blocks = [_centred(d)] if d.chance(4) else []
    for _ in range(d.integer(2, 6)):
        block = table[d.integer(0, len(table) - 1)]
        d.marks.append(block.__name__[1:])
        blocks.append(block(d))
    shapes, names, far, last = [shape], ["x"], None, None
    if not image and d.size == size and d.chance(3):
        d.marks.append("mask")
        far = (-1e9, -1e4, None)[d.integer(0, 2)]
        last = nn.Linear(d.channels, 1)
        shapes.append((batch, *size, 1))
        names.append("m")
    chain = Chain(blocks, far, last).eval()
    marks = tuple(dict.fromkeys([*d.marks, "image" if image else "tokens"]))
    return Made(chain, tuple(shapes), tuple(names), marks, d.centre)
