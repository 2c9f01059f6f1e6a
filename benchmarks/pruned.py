"""Networks with filters pruned to zero, and how much of them goes: all that the zeros allow?

    python benchmarks/pruned.py [--networks vgg16 unet] [--exporter dynamo] [--image 224]

30% of the filters of each convolution are zero, those of the smallest norm, with their biases and
with the scale and the shift of the normalisation behind them; so are hidden units of linear layers,
and whole heads of an attention. What that allows is counted in PyTorch, from the weights alone
(`zeros.py`), and compared with what `optimize` leaves with the law `prune` alone, any width as good
as another. Shown beside it: all laws, and widths in fours, as the default profile likes them.
Where there is no count the rest is only shown. Exit status 1 where the two differ.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import zeros
from branches import remaining_macs
from models import SEED, TORCHSCRIPT_OPSET, quiet
from networks import FirstOutput, classifier, randomise
from torch import Tensor, nn

__all__ = ["NETWORKS", "Network", "export", "zeroed"]

SHARE = 0.3

# ---------------------------------------------------------------- networks


class Unit(nn.Sequential):
    """Convolution, normalisation, SiLU."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 1, stride: int = 1) -> None:
        conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
        super().__init__(conv, nn.BatchNorm2d(c_out), nn.SiLU())


class C2f(nn.Module):
    """The block of YOLOv8: half of the channels go through bottlenecks, all are concatenated."""

    def __init__(self, c_in: int, c_out: int, count: int) -> None:
        super().__init__()
        half = c_out // 2
        self.first, self.last = Unit(c_in, c_out), Unit((2 + count) * half, c_out)
        self.blocks = nn.ModuleList(
            nn.Sequential(Unit(half, half, 3), Unit(half, half, 3)) for _ in range(count)
        )

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.first(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(parts[-1] + block(parts[-1]))
        return self.last(torch.cat(parts, 1))


def c2f() -> nn.Module:
    """The first stages of YOLOv8, as wide as those of its size s, and a 1×1 of 80 classes."""
    stages = (Unit(3, 32, 3, 2), Unit(32, 64, 3, 2), C2f(64, 64, 1))
    more = (Unit(64, 128, 3, 2), C2f(128, 128, 2), nn.Conv2d(128, 80, 1))
    return nn.Sequential(*stages, *more)


class UNet(nn.Module):
    """Two levels down and two up again, with the maps of the same size concatenated."""

    def __init__(self, widths: tuple[int, int, int] = (32, 64, 128)) -> None:
        super().__init__()
        a, b, c = widths
        self.down = nn.ModuleList(_two(i, o) for i, o in ((3, a), (a, b), (b, c)))
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, 2) for i, o in ((c, b), (b, a)))
        self.up = nn.ModuleList(_two(i, o) for i, o in ((2 * b, b), (2 * a, a)))
        self.last = nn.Conv2d(a, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.down[0](x)]
        for block in self.down[1:]:
            skips.append(block(nn.functional.max_pool2d(skips[-1], 2)))
        x = skips.pop()
        for enlarge, block in zip(self.enlarge, self.up, strict=True):
            x = block(torch.cat([skips.pop(), enlarge(x)], 1))
        return self.last(x)


def _two(c_in: int, c_out: int) -> nn.Module:
    return nn.Sequential(Unit(c_in, c_out, 3), Unit(c_out, c_out, 3))


def vgg16(image: int, narrower: int = 1) -> nn.Module:
    """Thirteen 3×3s, Flatten, three linear layers (Simonyan, Zisserman 2014, arXiv:1409.1556)."""
    layers: list[nn.Module] = []
    c_in = 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            layers += [nn.Conv2d(c_in, width // narrower, 3, padding=1), nn.ReLU()]
            c_in = width // narrower
        layers.append(nn.MaxPool2d(2))
    hidden = 4096 // narrower
    linear = [nn.Linear(c_in * (image // 32) ** 2, hidden), nn.ReLU(), nn.Dropout()]
    linear += [nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, 1000)]
    return nn.Sequential(*layers, nn.Flatten(), *linear)


def vit(image: int) -> nn.Module:
    """Two layers of six heads of sixteen channels on patches of 8×8."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=6,
        intermediate_size=160,
        image_size=image,
        patch_size=8,
        num_labels=10,
        attn_implementation="eager",
    )
    return FirstOutput(ViTForImageClassification(config))


@dataclass(frozen=True)
class Network:
    """One row: `build` gets the side of the image; `count` gets the network and an image."""

    build: Callable[[int], nn.Module]
    count: Callable[[nn.Module, Tensor], int] | None = None


def resnet(network: nn.Module, x: Tensor) -> int:
    """The count that the table of claims goes by."""
    return remaining_macs(network, tuple(x.shape))


NETWORKS = {
    "resnet50": Network(lambda _: classifier("resnet", "resnet50"), resnet),
    "vgg16": Network(vgg16, zeros.chain),
    "mobilenetv2": Network(lambda _: classifier("mobilenetv2", "mobilenetv2_w1"), zeros.mobilenet),
    "densenet121": Network(lambda _: classifier("densenet", "densenet121"), zeros.densenet),
    "c2f": Network(lambda _: c2f(), zeros.c2f),
    "unet": Network(lambda _: UNet(), zeros.unet),
    "vit": Network(vit, zeros.vit),
    "efficientnet-b0": Network(lambda _: classifier("efficientnet", "efficientnet_b0")),
    "shufflenetv2": Network(lambda _: classifier("shufflenetv2", "shufflenetv2_w1")),
    "resnext50": Network(lambda _: classifier("resnext", "resnext50_32x4d")),
}

# ---------------------------------------------------------------- zeroing and exporting


@torch.no_grad()
def zeroed(network: nn.Module, x: Tensor, share: float = SHARE) -> nn.Module:
    """The network in evaluation mode, with a share of its filters, hidden units and heads zero."""
    randomise(network)
    network.eval()
    for layer, behind in zeros.followed(network, x).items():
        rows = zeros.rows(layer)
        hidden = type(behind).__name__ in ("ReLU", "GELUActivation")
        # A stream of tokens keeps its width, and the answer its classes.
        if (isinstance(layer, nn.Linear) and not hidden) or zeros.is_last(layer, network):
            continue
        dead = rows.flatten(1).abs().sum(1).argsort()[: int(share * len(rows))]
        rows[dead] = 0
        also = behind if isinstance(behind, nn.BatchNorm2d) else None
        for tensor in (layer.bias, also and also.weight, also and also.bias):
            if tensor is not None:
                tensor[dead] = 0
    for name, layer in network.named_modules():
        if name.endswith(("attention.value", "v_proj")):
            layer.weight[16:48], layer.bias[16:48] = 0, 0  # the second and the third head
    return network


def export(name: str, path: Path, exporter: str, image: int) -> tuple[nn.Module, Tensor]:
    """Write a network of the table to `path`; returns it, and an image of zeros."""
    torch.manual_seed(SEED)
    x = torch.zeros(1, 3, image, image)
    with quiet():
        network = zeroed(NETWORKS[name].build(image), x)
        write(network, x, path, exporter)
    return network, x


def write(network: nn.Module, x: Tensor, path: Path, exporter: str) -> None:
    """Write a network to `path`, for images of the shape of x."""
    if exporter == "dynamo":
        options = {"dynamo": True, "verbose": False, "external_data": False}
    else:
        options = {"dynamo": False, "opset_version": TORCHSCRIPT_OPSET}
    torch.onnx.export(network, (x,), str(path), **options)


# ---------------------------------------------------------------- command line


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="What goes of networks with filters of zeros.")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--exporter", choices=("torchscript", "dynamo"), default="torchscript")
    parser.add_argument("--image", type=int, default=224)
    options = parser.parse_args(arguments)
    titles = ("MACs", "zeros allow", "prune", "all laws", "in fours")
    print(f"{'network':16}" + "".join(f"{title:>15}" for title in titles))
    met = [_row(name, options.exporter, options.image) for name in options.networks]
    return 0 if all(met) else 1


def _row(name: str, exporter: str, image: int) -> bool:
    from onebyone.cost.profile import DEFAULT, Profile
    from onebyone.optimize import optimize

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        network, x = export(name, path, exporter, image)
        count = NETWORKS[name].count
        allowed = None if count is None else count(network, x)
        any_width = Profile(channels=1)
        ways = ((["prune"], any_width), (None, any_width), (None, DEFAULT))
        reports = [optimize(path, only=o, profile=p, verify=False).report for o, p in ways]
    pruned, best, filled = (report.after.macs for report in reports)
    shown = "-" if allowed is None else f"{allowed:,}"
    left = f"{reports[0].before.macs:15,}{shown:>15}{pruned:15,}{best:15,}{filled:15,}"
    print(f"{name:16}{left}", flush=True)
    return allowed is None or allowed == pruned


if __name__ == "__main__":
    sys.exit(main())
