"""How many MACs a network needs with its filters of zeros taken out, counted from the weights.

Counted for networks with narrower layers and nothing else changed. A filter goes if it, its bias
and the normalisation behind it are zero; what is added up keeps one width, so there a channel goes
only if it is zero in all summands. Nothing here knows of ONNX or of `onebyone`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["c2f", "chain", "densenet", "followed", "is_last", "mobilenet", "rows", "unet", "vit"]

LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def rows(layer: nn.Module) -> Tensor:
    """The weight with one entry for each channel of the result along the first axis."""
    transposed = isinstance(layer, nn.ConvTranspose2d)
    return layer.weight.transpose(0, 1) if transposed else layer.weight


def followed(network: nn.Module, x: Tensor) -> dict[nn.Module, nn.Module | None]:
    """Each layer with weights, and the module that reads its result first, seen by running it."""
    made: dict[int, tuple[nn.Module, Tensor]] = {}
    found: dict[nn.Module, nn.Module | None] = {}

    def note(module: nn.Module, operands: tuple[Tensor, ...], y: Tensor) -> None:
        layer, _ = made.get(id(operands[0]), (None, None)) if operands else (None, None)
        if layer is not None and found[layer] is None:
            found[layer] = module
        if isinstance(module, LAYERS):
            made[id(y)] = module, y
            found[module] = None

    leaves = [m for m in network.modules() if not list(m.children())]
    hooks = [module.register_forward_hook(note) for module in leaves]
    network(x)
    for hook in hooks:
        hook.remove()
    return found


def is_last(layer: nn.Module, network: nn.Module) -> bool:
    """Whether a layer is the last one with weights: the classes."""
    return layer is [m for m in network.modules() if isinstance(m, LAYERS)][-1]


@dataclass(frozen=True)
class Weights:
    """What the counts go by.

    Args:
        behind: layer -> what reads its result.
        positions: layer -> how many positions it computes.
    """

    behind: dict[nn.Module, nn.Module | None]
    positions: dict[nn.Module, int]

    @classmethod
    def of(cls, network: nn.Module, x: Tensor) -> Weights:
        """By running the network once on x: (N, C, H, W)."""
        sizes: dict[nn.Module, int] = {}

        def note(layer: nn.Module, operands: tuple[Tensor, ...], y: Tensor) -> None:
            # A transposed convolution multiplies at each position of what it reads.
            seen = operands[0] if isinstance(layer, nn.ConvTranspose2d) else y
            sizes[layer] = seen.numel() // seen.shape[-1 if isinstance(layer, nn.Linear) else 1]

        layers = [m for m in network.modules() if isinstance(m, LAYERS)]
        hooks = [layer.register_forward_hook(note) for layer in layers]
        with torch.no_grad():
            behind = followed(network, x)
        for hook in hooks:
            hook.remove()
        return cls(behind, sizes)

    def alive(self, layer: nn.Module) -> Tensor:
        """(C_out,): which channels are not zero, behind the normalisation if there is one."""
        norm = self.behind[layer]
        parts = [rows(layer).detach().flatten(1).abs().sum(1)]
        if layer.bias is not None:
            parts.append(layer.bias.detach().abs())
        if isinstance(norm, nn.BatchNorm2d):
            parts += [norm.weight.detach().abs(), norm.bias.detach().abs()]
        return torch.stack(parts).sum(0) > 0

    def macs(self, layer: nn.Module, read: Tensor | int, written: Tensor | int) -> int:
        """Of one layer for so many channels in and out; masks (C,) are counted."""
        taps = rows(layer)[0, 0].numel() if rows(layer).dim() > 2 else 1
        n_in, n_out = (int(n.sum()) if isinstance(n, Tensor) else n for n in (read, written))
        return n_in * n_out * taps * self.positions[layer]


ALL = torch.ones(3, dtype=torch.bool)


def _chain(w: Weights, layers: Iterable[nn.Module], read: Tensor) -> tuple[int, Tensor]:
    """The MACs of layers that follow each other, and the channels that the last one leaves."""
    total = 0
    for layer in layers:
        # Flattened, a channel is as many neighbours as it had positions.
        width = layer.weight.shape[1] // len(read) if isinstance(layer, nn.Linear) else 1
        written = w.alive(layer)
        total += w.macs(layer, read.repeat_interleave(width), written)
        read = written
    return total, read


def chain(network: nn.Module, x: Tensor) -> int:
    """Of a network in which each layer reads the one before: VGG-16."""
    w = Weights.of(network, x)
    return _chain(w, w.positions, ALL)[0]


def _layers(module: nn.Module) -> Sequence[nn.Module]:
    return [m for m in module.modules() if isinstance(m, LAYERS)]


# ---------------------------------------------------------------- MobileNetV2


def mobilenet(network: nn.Module, x: Tensor) -> int:
    """Of pytorchcv's MobileNetV2."""
    w = Weights.of(network, x)
    total, stream = _chain(w, [network.features.init_block.conv], ALL)
    for chained in _residual_runs(network):
        ends = torch.stack([w.alive(unit.conv3.conv) for unit in chained]).any(0)
        for unit in chained:
            widen, depthwise, narrow = _layers(unit)
            hidden = w.alive(widen) & w.alive(depthwise)
            total += w.macs(widen, stream, hidden)
            total += w.macs(depthwise, 1, hidden) + w.macs(narrow, hidden, ends)
            stream = ends
    more, stream = _chain(w, [network.features.final_block.conv], stream)
    return total + more + w.macs(network.output, stream, network.output.out_channels)


def _residual_runs(network: nn.Module) -> list[list[nn.Module]]:
    """Units whose results are added up, together."""
    units = [m for m in network.features.modules() if hasattr(m, "residual")]
    runs: list[list[nn.Module]] = []
    for unit in units:
        if unit.residual:
            runs[-1].append(unit)
        else:
            runs.append([unit])
    return runs


# ---------------------------------------------------------------- DenseNet


def densenet(network: nn.Module, x: Tensor) -> int:
    """Of pytorchcv's DenseNet. A normalisation makes a constant of a channel of zeros, and the 1×1
    behind it takes that into a bias; a 3×3 pads, so before it only zeros go."""
    w = Weights.of(network, x)
    total, stream = _chain(w, [network.features.init_block.conv], ALL)
    for name, stage in network.features.named_children():
        for part in stage.children() if name.startswith("stage") else ():
            if hasattr(part, "conv1"):  # a unit: what it makes is joined to what it reads
                more, made = _chain(w, _layers(part), stream)
                stream = torch.cat([stream, made])
            else:
                more, stream = _chain(w, _layers(part), stream)
            total += more
    return total + w.macs(network.output, stream, network.output.out_features)


# ---------------------------------------------------------------- C2f


def c2f(network: nn.Module, x: Tensor) -> int:
    """Of the stages of YOLOv8 in `pruned.py`."""
    w = Weights.of(network, x)
    total, stream = 0, ALL
    for part in network:
        if hasattr(part, "blocks"):
            more, stream = _c2f(w, part, stream)
        else:
            more, stream = _chain(w, _layers(part) or [part], stream)
        total += more
    return total


def _c2f(w: Weights, part: nn.Module, stream: Tensor) -> tuple[int, Tensor]:
    """The last half and all that is added to it keep one width."""
    made = w.alive(part.first[0])
    pairs = [_layers(block) for block in part.blocks]
    left, right = made.chunk(2)
    right = torch.stack([right, *(w.alive(second) for _, second in pairs)]).any(0)
    total = w.macs(part.first[0], stream, torch.cat([left, right]))
    for first, second in pairs:
        total += w.macs(first, right, w.alive(first)) + w.macs(second, w.alive(first), right)
    joined = torch.cat([left, right, *(right for _ in pairs)])
    return total + w.macs(part.last[0], joined, w.alive(part.last[0])), w.alive(part.last[0])


# ---------------------------------------------------------------- U-Net


def unet(network: nn.Module, x: Tensor) -> int:
    """Of the U-Net in `pruned.py`."""
    w = Weights.of(network, x)
    total, stream, skips = 0, ALL, []
    for block in network.down:
        more, stream = _chain(w, _layers(block), stream)
        total += more
        skips.append(stream)
    skips.pop()
    for enlarge, block in zip(network.enlarge, network.up, strict=True):
        more, larger = _chain(w, [enlarge], stream)
        again, stream = _chain(w, _layers(block), torch.cat([skips.pop(), larger]))
        total += more + again
    return total + w.macs(network.last, stream, network.last.out_channels)


# ---------------------------------------------------------------- attention


def vit(network: nn.Module, x: Tensor) -> int:
    """Of a vision transformer: hidden units, and heads whose values are zero."""
    w = Weights.of(network, x)
    total = 0
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):  # of the patches
            total += w.macs(layer, ALL, layer.out_channels)
        if hasattr(layer, "attention") and hasattr(layer, "mlp"):
            total += _block(w, layer)
    last = _layers(network)[-1]
    return total + w.macs(last, last.in_features, last.out_features)


def _block(w: Weights, block: nn.Module) -> int:
    """Whole heads go, from queries and keys too, and hidden units."""
    query, key, value, output = _layers(block.attention)
    heads = w.alive(value).reshape(block.attention.num_attention_heads, -1).any(1)
    kept = int(heads.sum()) * (value.out_features // len(heads))
    total = sum(w.macs(layer, layer.in_features, kept) for layer in (query, key, value))
    total += w.macs(output, kept, output.out_features)
    total += 2 * kept * w.positions[value] ** 2  # queries by keys, and weights by values
    first, second = _layers(block.mlp)
    hidden = w.alive(first)
    return (
        total + w.macs(first, first.in_features, hidden) + w.macs(second, hidden, query.in_features)
    )
