"""3×3s on Winograd's tiles: what layers and networks gain in two engines, and what they lose.

    python benchmarks/winograd.py --layers             single layers, form by form
    python benchmarks/winograd.py --networks vgg16     whole networks, by `optimize --with winograd`
    python benchmarks/winograd.py --points             the points with the smallest error
    … --json FILE, --seconds S, --lost-bits 6, --no-verify

In turns, processor time of one thread, so that other work on the machine shows little: ratios only.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from onebyone.algebra.winograd import BASES, Basis
from onebyone.engines.engine import engine
from onebyone.engines.single_operators import conv
from onebyone.engines.tiled_convolutions import tiled
from onebyone.engines.turns import take_turns

ENGINES = ("onnxruntime", "openvino")
LAYERS = ((64, 56), (64, 112), (96, 28), (128, 28), (256, 28), (384, 28), (512, 28), (512, 16))
FORMS = ((2, False), (3, False), (4, False), (2, True), (4, True))
CANDIDATES = [Fraction(quarters, 4) for quarters in range(-8, 9) if quarters]


@dataclass(frozen=True)
class Row:
    """How many times as fast as the convolutions a form is: in one engine, of one layer or network.

    `difference` is the largest of an output, over the largest output.
    """

    what: str
    form: str
    engine: str
    ratio: float
    original_ms: float
    difference: float
    note: str = ""


def layers(seconds: float) -> Iterator[Row]:
    """Chains of two equal 3×3s, all forms in turns with the convolution."""
    for channels, side in LAYERS:
        shape = (1, channels, side, side)
        forms = [(m, both) for m, both in FORMS if side % m == 0]
        sources = [
            conv(shape, channels, 3, 2),
            *(tiled(shape, BASES[m, 3], b, 2) for m, b in forms),
        ]
        x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        for name in ENGINES:
            runs = [engine(name).load(source, {"h0": x}, 1) for source in sources]
            plain, *others = take_turns(runs, seconds, clock=time.process_time)
            for (m, both), taken in zip(forms, others, strict=True):
                form = f"tiles of {m}×{m}" if both else f"tiles of {m} rows"
                ratio = median(a / b for a, b in zip(plain, taken, strict=True))
                # Weights are drawn in another order: what is lost is measured on networks.
                yield Row(
                    f"{channels} → {channels} @{side}", form, name, ratio, 1e3 * median(plain), 0
                )


def network(
    name: str, seconds: float, lost_bits: float | None, verify: bool = True
) -> Iterator[Row]:
    """One network as it was and as the law leaves it; without the law what both have in common."""
    import onebyone

    proto, feed = NETWORKS[name]()
    plain = onebyone.optimize(proto, verify=False)
    after = onebyone.optimize(proto, also=["winograd"], lost_bits=lost_bits, verify=verify)
    certificate, proof = after.report.certificate, "not verified"
    if certificate is not None:
        proof = f"certificate {certificate.used:.0%} {'passed' if certificate.passed else 'FAILED'}"
    laws = [law for law in after.report.laws if law.law == "winograd"]
    stored = [each.report.after.to_dict()["weight_bytes"] for each in (after, plain)]
    note = (
        f"{len(laws)} layers, {max((law.lost_bits for law in laws), default=0):.1f} bits, "
        f"{proof}, "
        f"weights × {stored[0] / stored[1]:.2f}, "
        f"{plain.report.after.macs / 1e9:.2f} → {after.report.after.macs / 1e9:.2f} GMAC"
    )
    sources = [onebyone_bytes(each.model) for each in (plain, after)]
    for kind in ENGINES:
        runs = [engine(kind).load(source, feed, 1) for source in sources]
        a, b = runs[0]()[0], runs[1]()[0]
        difference = float(np.abs(a - b).max() / np.abs(a).max())
        first, second = take_turns(runs, seconds, clock=time.process_time)
        ratio = median(x / y for x, y in zip(first, second, strict=True))
        yield Row(name, "winograd", kind, ratio, 1e3 * median(first), difference, note)


def onebyone_bytes(model: Any) -> bytes:
    """A model as a file."""
    from onebyone.graph.write import to_proto

    return bytes(to_proto(model).SerializeToString())


# Networks -----------------------------------------------------------------------------------------

Made = tuple[Any, dict[str, np.ndarray]]


def exported(module: Any, *shape: int) -> Made:
    """A module in ONNX, with weights that keep the size of what they get, and an input for it."""
    import torch
    from torch import nn

    from onebyone.nn.to_onnx import to_onnx

    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
    x = torch.randn(*shape)
    proto = to_onnx(module.eval(), x, {"dynamo": False})
    return proto, {proto.graph.input[0].name: x.numpy()}


def vgg16() -> Made:
    """The convolutions of VGG16 @224."""
    from pytorchcv.models.vgg import vgg16 as build

    return exported(build().features, 1, 3, 224, 224)


def resnet34() -> Made:
    """ResNet-34 @224."""
    from pytorchcv.models.resnet import resnet34 as build

    return exported(build(), 1, 3, 224, 224)


def rdb() -> Made:
    """A residual dense block of ESRGAN: 64 channels, growth 32, @128."""
    import torch
    from torch import nn

    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [(64 + 32 * k, 32) for k in range(4)] + [(192, 64)]
            self.parts = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in widths)

        def forward(self, x: Any) -> Any:
            found = [x]
            for k, part in enumerate(self.parts):
                y = part(torch.cat(found, 1))
                found.append(nn.functional.leaky_relu(y, 0.2) if k < 4 else y)
            return x + 0.2 * found[-1]

    return exported(Dense(), 1, 64, 128, 128)


def unet() -> Made:
    """A U-Net with a ResNet-50 encoder @512, nearest upsampling."""
    from decoders import unet_resnet50

    return exported(unet_resnet50(), 1, 3, 512, 512)


def vae() -> Made:
    """The decoder of Stable Diffusion's autoencoder, latent 32×32."""
    from decoders import VaeDecoder

    return exported(VaeDecoder(), 1, 4, 32, 32)


def yolo() -> Made:
    """The backbone of a detector like YOLOv8m @640: 3×3s with SiLU, blocks that split and join."""
    import torch
    from torch import nn

    def unit(a: int, b: int, k: int = 3, s: int = 1) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(a, b, k, s, k // 2, bias=False), nn.BatchNorm2d(b), nn.SiLU()
        )

    class Block(nn.Module):
        def __init__(self, c: int, n: int) -> None:
            super().__init__()
            self.half = c // 2
            self.first, self.last = unit(c, c, 1), unit((n + 2) * self.half, c, 1)
            pairs = (nn.Sequential(unit(self.half, self.half), unit(self.half, self.half))
                     for _ in range(n))  # fmt: skip
            self.parts = nn.ModuleList(pairs)

        def forward(self, x: Any) -> Any:
            found = list(self.first(x).split(self.half, 1))
            for part in self.parts:
                found.append(found[-1] + part(found[-1]))
            return self.last(torch.cat(found, 1))

    widths, counts = (48, 96, 192, 384, 576), (2, 4, 4, 2)
    layers: list[nn.Module] = [unit(3, 48, 3, 2)]
    for a, b, n in zip(widths, widths[1:], counts, strict=False):
        layers += [unit(a, b, 3, 2), Block(b, n)]
    return exported(nn.Sequential(*layers), 1, 3, 640, 640)


NETWORKS: dict[str, Callable[[], Made]] = {
    "vgg16": vgg16,
    "resnet34": resnet34,
    "rdb": rdb,
    "unet": unet,
    "vae": vae,
    "yolo": yolo,
}


# Points -------------------------------------------------------------------------------------------


def loss(basis: Basis) -> float:
    """The error of random taps on random inputs, in units of one product's: a model of rounding."""
    a, b, g = basis.A, basis.B, basis.G
    return float(np.sqrt((a**2 * (b**2).sum(1) @ (g**2).sum(1)).mean() / basis.taps))


def points() -> Iterator[str]:
    """For each basis its loss, the best that there is, and that of small integers."""
    for (m, taps), basis in BASES.items():
        others = combinations(CANDIDATES, m + taps - 3)
        every = ((loss(Basis(m, taps, (Fraction(0), *rest))), rest) for rest in others)
        least, rest = min(every)
        names = ", ".join(map(str, rest))
        yield f"m = {m}, K = {taps}: {loss(basis):.3f} as it is, {least:.3f} at 0, {names}"


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", action="store_true")
    parser.add_argument("--networks", nargs="*", choices=list(NETWORKS), default=[])
    parser.add_argument("--points", action="store_true")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--lost-bits", type=float)
    parser.add_argument("--no-verify", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.points:
        for line in points():
            print(line, flush=True)
    rows: list[Row] = []

    def shown(found: Iterator[Row]) -> None:
        for row in found:
            rows.append(row)
            print(f"{row.what:18} {row.form:15} {row.engine:12} {row.original_ms:9.2f} ms "
                  f"{row.ratio:5.2f}×  {row.difference:.1e}  {row.note}", flush=True)  # fmt: skip

    if options.layers:
        shown(layers(options.seconds))
    for name in options.networks:
        shown(network(name, options.seconds, options.lost_bits, not options.no_verify))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2))


if __name__ == "__main__":
    main()
