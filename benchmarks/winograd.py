"""3×3s on Winograd's tiles: what layers and networks gain in two engines, and what they lose.

    python benchmarks/winograd.py --layers             single layers, form by form
    python benchmarks/winograd.py --law                single layers, as the law writes them
    python benchmarks/winograd.py --decisions          how often the faster form is chosen
    python benchmarks/winograd.py --networks vgg16     whole networks, by `optimize --with winograd`
    python benchmarks/winograd.py --networks           all of them
    python benchmarks/winograd.py --points             the points with the smallest error
    python benchmarks/winograd.py --losses             the digits that each basis loses
    … --json FILE, --seconds S, --lost-bits 6, --verify, --others, --measured, --threads 2,
      --tflite FOLDER

Networks stand beside the original, and with `--others` what the other laws make of it does, too.
With `--measured` a profile of each engine is taken first, and each gets a file of its own.
Decisions are of two 3×3s with activations, by such a profile: what it chooses beside every other
form, as far as the two differ by more than 5%; fewer than 95% right, and it exits with 1. In
turns; on one thread by its processor time, so that other work on the machine shows little: ratios
only. On more threads by the clock on the wall, on a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onebyone.algebra.winograd import BASES, Basis, lost_bits
from onebyone.cost.profile import Profile
from onebyone.engines.engine import engine
from onebyone.engines.profile import profile
from onebyone.engines.single_operators import conv
from onebyone.engines.turns import take_turns
from onebyone.optimize.maps.tiled_kernels import Form
from onebyone.optimize.maps.tiled_models import TIMED, on_tiles

ENGINES = ("onnxruntime", "openvino")
# (channels in, out, side, groups, dilation)
LAID = ((48, 48, 28, 1, 1), (48, 48, 160, 1, 1), (64, 64, 112, 1, 1), (64, 64, 256, 1, 1),
        (128, 128, 112, 1, 1), (256, 256, 128, 1, 1), (448, 448, 28, 4, 1), (256, 256, 28, 4, 1),
        (256, 256, 60, 1, 2), (2048, 256, 33, 1, 6), (2048, 256, 33, 1, 18))  # fmt: skip
LAYERS = ((64, 56), (64, 112), (96, 28), (128, 28), (256, 28), (384, 28), (512, 28), (512, 16))
FORMS = tuple((m, both) for both in (False, True) for m in (2, 3, 4))
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


@dataclass(frozen=True)
class Way:
    """How networks are optimised and timed.

    `others` asks for what the other laws make alone, `tflite` is a folder of originals for LiteRT.
    `profiles` are of single engines; without, one file by the default profile is for both.
    """

    seconds: float
    threads: int = 1
    lost_bits: float | None = None
    verify: bool = False
    others: bool = False
    tflite: Path | None = None
    profiles: Mapping[str, Profile] = field(default_factory=dict)

    @property
    def clock(self) -> Callable[[], float]:
        """By what calls are timed: that of the processor adds up what all threads take."""
        return time.process_time if self.threads == 1 else time.perf_counter


def layers(way: Way) -> Iterator[Row]:
    """Chains of two equal 3×3s, all forms in turns with the convolution."""
    for channels, side in LAYERS:
        shape = (1, channels, side, side)
        plain = conv(shape, channels, 3, 2)
        forms = [Form(BASES[m, 3], BASES[m, 3] if both else None) for m, both in FORMS]
        proto = onnx.load_model_from_string(plain)
        sources = [plain, *(onebyone_bytes(on_tiles(proto, form)) for form in forms)]
        x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        for name in ENGINES:
            runs = [engine(name).load(source, {"h0": x}, way.threads) for source in sources]
            wanted, *got = (run()[0] for run in runs)
            original, *others = take_turns(runs, way.seconds, clock=way.clock)
            for form, y, taken in zip(forms, got, others, strict=True):
                ratio = median(a / b for a, b in zip(original, taken, strict=True))
                difference = float(np.abs(wanted - y).max() / np.abs(wanted).max())
                what = f"{channels} → {channels} @{side}"
                yield Row(what, str(form), name, ratio, 1e3 * median(original), difference)


def laid(way: Way) -> Iterator[Row]:
    """Single 3×3s as the law writes them, in strips, and the same with the whole map at once."""
    import onebyone
    from onebyone.optimize.maps import tiles

    draw = np.random.default_rng(0).standard_normal
    strips = tiles._MOST
    for into, out, side, groups, apart in LAID:
        weight = (draw((out, into // groups, 3, 3)) / (9 * into // groups) ** 0.5).astype(
            np.float32
        )
        proto = _one(weight, side, groups, apart)
        feed = {"x": draw((1, into, side, side)).astype(np.float32)}
        results = {}
        try:
            for form, tiles._MOST in (("in strips", strips), ("at once", 1)):
                results[form] = onebyone.optimize(
                    proto, only=["winograd"], lost_bits=way.lost_bits, verify=False
                )
        finally:
            tiles._MOST = strips
        name = f"{into}→{out} @{side}" + f" g={groups}" * (groups > 1) + f" d={apart}" * (apart > 1)
        yield from _beside(name, proto, results, feed, way)


def _one(weight: np.ndarray, side: int, groups: int, apart: int) -> Any:
    """A model of one 3×3 that keeps the size."""
    out, into = weight.shape[0], weight.shape[1] * groups
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], pads=[apart] * 4, dilations=[apart] * 2, group=groups
    )
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, side, side])
        for name, channels in (("x", into), ("y", out))
    ]
    graph = helper.make_graph(
        [node], "layer", ends[:1], ends[1:], [numpy_helper.from_array(weight, "w")]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def network(name: str, way: Way) -> Iterator[Row]:
    """One network as it was beside what the laws make of it, without winograd and with it."""
    import onebyone
    from onebyone.nn.to_onnx import to_onnx

    module, x = built(name)
    proto = to_onnx(module, x, {"dynamo": False})
    feed = {proto.graph.input[0].name: x.numpy()}
    for machine, kinds in _machines(way):
        results = {}
        if way.others:
            results["other laws"] = onebyone.optimize(proto, profile=machine, verify=False)
        results["winograd"] = onebyone.optimize(
            proto, also=["winograd"], lost_bits=way.lost_bits, profile=machine, verify=way.verify
        )
        yield from _beside(name, proto, results, feed, way, kinds)


def _machines(way: Way) -> Iterator[tuple[Profile | None, Sequence[str]]]:
    """The profiles that models are optimised by, and the engines that run what comes out."""
    if not way.profiles:
        yield None, ENGINES
    for kind, machine in way.profiles.items():
        yield machine, [kind]


def _beside(
    name: str,
    proto: Any,
    results: dict[str, Any],
    feed: dict[str, np.ndarray],
    way: Way,
    kinds: Sequence[str] = ENGINES,
) -> Iterator[Row]:
    """What was made of a model beside it, in turns."""
    files = [proto.SerializeToString(), *(onebyone_bytes(each.model) for each in results.values())]
    for kind in kinds:
        runs = [engine(kind).load(file, feed, way.threads) for file in files]
        wanted, *got = (run()[0] for run in runs)
        tflite = way.tflite and way.tflite / f"{name}.tflite"
        if tflite and tflite.exists() and kind == "onnxruntime":
            runs.append(engine("litert").load(tflite, {}, way.threads))
        original, *others = take_turns(runs, way.seconds, clock=way.clock)
        ours, litert = others[: len(results)], others[len(results) :]
        for (form, result), y, taken in zip(results.items(), got, ours, strict=True):
            difference = float(np.abs(wanted - y).max() / np.abs(wanted).max())
            ratio = median(a / b for a, b in zip(original, taken, strict=True))
            yield Row(name, form, kind, ratio, 1e3 * median(original), difference, told(result))
        for taken in litert:
            ratio = median(a / b for a, b in zip(original, taken, strict=True))
            note = "the original, beside that in ONNX Runtime"
            yield Row(name, "as it is", "litert", ratio, 1e3 * median(original), 0, note)


# Decisions ----------------------------------------------------------------------------------------

# (channels, side): of the middle of networks, of detectors, of decoders.
DECIDED = [(c, side) for c in (48, 64, 96, 128, 192, 256, 384, 512) for side in (14, 20, 28, 56)
           if c * side <= 512 * 28]  # fmt: skip
DIFFERENT, RIGHT = 1.05, 0.95


def decisions(way: Way) -> int:
    """Print what is chosen, and what else would be as fast or faster; 1 if too little is right."""
    import onebyone

    lost = False
    forms = [Form(BASES[m, 3], BASES[m, 3] if both else None) for m, both in FORMS]
    for kind, machine in way.profiles.items():
        right, wrong = 0, 0
        for channels, side in DECIDED:
            proto = _active(channels, side)
            laws = onebyone.optimize(
                proto, only=["winograd"], lost_bits=6, profile=machine, verify=False
            ).report.laws
            files = {"as it is": proto.SerializeToString()}
            files |= {str(form): onebyone_bytes(on_tiles(proto, form)) for form in forms}
            chosen = laws[0].note if laws else "as it is"
            x = np.random.default_rng(1).standard_normal((1, channels, side, side))
            feed = {"x": x.astype(np.float32)}
            runs = [engine(kind).load(file, feed, way.threads) for file in files.values()]
            taken = dict(zip(files, take_turns(runs, way.seconds, clock=way.clock), strict=True))
            gains = {
                form: median(a / b for a, b in zip(taken[form], taken[chosen], strict=True))
                for form in files
                if form != chosen
            }
            counted = {f: gain for f, gain in gains.items() if max(gain, 1 / gain) > DIFFERENT}
            slower = {form: gain for form, gain in counted.items() if gain < 1}
            right, wrong = right + len(counted) - len(slower), wrong + len(slower)
            better = ", ".join(f"{form} {1 / gain:.2f}×" for form, gain in slower.items())
            print(f"{channels:4} @{side:<4}{kind:12} {chosen:16} {better}", flush=True)
        share = right / max(1, right + wrong)
        lost |= share < RIGHT
        print(f"{kind}: {right + wrong} differ by more than 5%, {right} right ({share:.0%})")
    return int(lost)


def _active(channels: int, side: int) -> Any:
    """A model of two 3×3s with an activation behind each, which engines compute with them."""
    draw = np.random.default_rng(0).standard_normal
    shape = channels, channels, 3, 3
    names = "x", "h", "y"
    nodes = []
    for k in range(2):
        nodes.append(helper.make_node("Conv", [names[k], f"w{k}"], [f"c{k}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{k}"], [names[k + 1]]))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, side, side])
        for name in ("x", "y")
    ]
    weights = [
        numpy_helper.from_array((draw(shape) / (9 * channels) ** 0.5).astype(np.float32), f"w{k}")
        for k in range(2)
    ]
    graph = helper.make_graph(nodes, "layers", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def told(result: Any) -> str:
    """How many layers are on tiles, what that may lose and costs, in a line."""
    report = result.report
    laws = [law for law in report.laws if law.law == "winograd"]
    lost = max((law.lost_bits for law in laws), default=0.0)
    pieces = [f"{len(laws)} layers on tiles", *[f"{lost:.1f} bits"] * bool(laws)]
    if report.certificate is not None:
        verdict = "passed" if report.certificate.passed else "FAILED"
        pieces.append(f"certificate {report.certificate.used:.0%} {verdict}")
    before, after = report.before.to_dict(), report.after.to_dict()
    for key, word in (("weight_bytes", "weights"), ("peak_activation_bytes", "peak memory")):
        if before[key] and after[key]:
            pieces.append(f"{word} × {after[key] / before[key]:.2f}")
    macs = f"{report.before.macs / 1e9:.2f} → {report.after.macs / 1e9:.2f} GMAC"
    return ", ".join([*pieces, macs])


def onebyone_bytes(model: Any) -> bytes:
    """A model as a file."""
    from onebyone.graph.write import to_proto

    return bytes(to_proto(model).SerializeToString())


# Networks -----------------------------------------------------------------------------------------

Made = tuple[Any, tuple[int, ...]]
"""A PyTorch module, and the shape of what it is given."""


def built(name: str) -> tuple[Any, Any]:
    """A network, with weights that keep the size of what they get, and an input for it."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    module, shape = NETWORKS[name]()
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
    return module.eval(), torch.randn(*shape)


def vgg16() -> Made:
    """The convolutions of VGG16 @224."""
    from pytorchcv.models.vgg import vgg16 as build

    return build().features, (1, 3, 224, 224)


def resnet34() -> Made:
    """ResNet-34 @224."""
    from pytorchcv.models.resnet import resnet34 as build

    return build(), (1, 3, 224, 224)


def resnet50() -> Made:
    """ResNet-50 @224, its strides in the 3×3s."""
    from pytorchcv.models.resnet import resnet50b as build

    return build(), (1, 3, 224, 224)


def mobilenetv2() -> Made:
    """MobileNetV2 @224: no 3×3 sums over channels but the first, which strides."""
    from pytorchcv.models.mobilenetv2 import mobilenetv2_w1 as build

    return build(), (1, 3, 224, 224)


def vit() -> Made:
    """A vision transformer, DeiT-S/16 @224."""
    from networks import deit_small

    return deit_small(), (1, 3, 224, 224)


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

    return Dense(), (1, 64, 128, 128)


def unet() -> Made:
    """A U-Net with a ResNet-50 encoder @512, nearest upsampling."""
    from decoders import unet_resnet50

    return unet_resnet50(), (1, 3, 512, 512)


def vae() -> Made:
    """The decoder of Stable Diffusion's autoencoder, latent 32×32."""
    from decoders import VaeDecoder

    return VaeDecoder(), (1, 4, 32, 32)


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
    return nn.Sequential(*layers), (1, 3, 640, 640)


NETWORKS: dict[str, Callable[[], Made]] = {
    "vgg16": vgg16,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "mobilenetv2": mobilenetv2,
    "vit": vit,
    "rdb": rdb,
    "unet": unet,
    "yolo": yolo,
    "vae": vae,
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


# What is lost ------------------------------------------------------------------------------------


CHANNELS = 128
"""That are summed over in `losses`."""
USUAL = [
    Basis(4, 3, tuple(map(Fraction, points)))
    for points in (("0", "1/2", "-1/2", "2", "-2"), ("0", "1", "-1", "2", "-2"))
]
"""What lost: two sets of points for tiles of four; the last one is that of most implementations."""


def losses() -> Iterator[str]:
    """A table in Markdown: for each basis the bits that it can lose and the error that is seen.

    Of random taps N(0, 1) on N(0, 1), the error in float32 beside that of the sum taken tap by tap,
    in the root mean square and at the worst element; the reference is in float64.
    """
    yield "| taps | tiles | points beside ∞ | at most, bits | random taps, bits | seen | products |"
    yield "|---|---|---|---|---|---|---|"
    for basis in [*BASES.values(), *USUAL]:
        for columns in (None, basis):
            yield "| " + " | ".join(_loss(basis, columns)) + " |"


def _loss(basis: Basis, columns: Basis | None) -> Iterator[str]:
    """The cells of a basis: along the rows of a kernel of one column, or along both axes."""
    m, taps, axes = basis.outputs, basis.taps, 1 + (columns is not None)
    shape = (taps, taps if columns else 1)
    weight = np.random.default_rng(0).standard_normal((CHANNELS, CHANNELS, *shape))
    rms, worst = seen(basis, columns is not None)
    yield "×".join(map(str, shape))
    yield f"{m}×{m}" if columns else f"{m} rows"
    yield ", ".join(map(str, basis.points))
    yield f"{axes * np.log2(basis.condition):.1f}"
    yield f"{lost_bits(weight, (basis, columns)):.1f}"
    yield f"{rms:.1f} ({worst:.1f})"
    yield f"{(basis.products / (m * taps)) ** axes:.2f}"


def seen(basis: Basis, is_square: bool) -> tuple[float, float]:
    """The error of tiles over that of the sum tap by tap: root mean square, and the worst."""
    draw = np.random.default_rng(1).standard_normal
    m, k, a = basis.outputs, basis.taps, basis.products
    wide, n, b = (k, m, a) if is_square else (1, 1, 1)
    one = np.ones((1, 1))
    A, B, G = (np.kron(x, x if is_square else one) for x in (basis.A, basis.B, basis.G))
    w = draw((CHANNELS, CHANNELS, k * wide)).astype(np.float32)
    x = draw((64, CHANNELS, a, b)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x, (k, wide), axis=(2, 3))
    columns = np.ascontiguousarray(windows.reshape(64, CHANNELS, m * n, k * wide))
    true = np.einsum("dck,tcpk->tdp", w.astype(np.float64), columns, optimize=True)
    plain = sum(np.einsum("dc,tcp->tdp", w[..., j], columns[..., j], optimize=True)
                for j in range(k * wide))  # fmt: skip
    u = np.einsum("jk,dck->jdc", G, w.astype(np.float64), optimize=True).astype(np.float32)
    z = np.einsum("jp,tcp->jct", B.astype(np.float32), x.reshape(64, CHANNELS, -1), optimize=True)
    tiles = np.einsum("pj,jdt->tdp", A.astype(np.float32), u @ z, optimize=True)
    off, usual = np.abs(tiles - true), np.abs(plain - true)
    rms = np.sqrt((off**2).mean() / (usual**2).mean())
    return float(rms), float(off.max() / usual.max())


def main() -> int:
    """Print what is asked for; 1 if too few decisions are right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", action="store_true")
    parser.add_argument("--law", action="store_true")
    parser.add_argument("--decisions", action="store_true")
    parser.add_argument("--networks", nargs="*", choices=list(NETWORKS))
    parser.add_argument("--points", action="store_true")
    parser.add_argument("--losses", action="store_true")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--lost-bits", type=float)
    parser.add_argument("--verify", action="store_true")
    parser.add_argument("--others", action="store_true")
    parser.add_argument("--measured", action="store_true")
    parser.add_argument("--tflite", type=Path, help="a folder that benchmarks/tflite.py filled")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    profiles = {}
    if options.measured or options.decisions:
        clock = "cpu" if options.threads == 1 else "wall"
        for kind in ENGINES:
            taken = profile(kind, on_tiles=TIMED, threads=options.threads, clock=clock)
            print(taken.summary, flush=True)
            profiles[kind] = taken.profile
    way = Way(
        options.seconds, options.threads, options.lost_bits, options.verify, options.others,
        options.tflite, profiles,
    )  # fmt: skip
    for line in [*(points() if options.points else ()), *(losses() if options.losses else ())]:
        print(line, flush=True)
    rows: list[Row] = []

    def shown(found: Iterator[Row]) -> None:
        for row in found:
            rows.append(row)
            if options.json:
                options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2))
            print(f"{row.what:18} {row.form:15} {row.engine:12} {row.original_ms:9.2f} ms "
                  f"{row.ratio:5.2f}×  {row.difference:.1e}  {row.note}", flush=True)  # fmt: skip

    if options.layers:
        shown(layers(way))
    if options.law:
        shown(laid(way))
    # Given without a name, all of them.
    for name in NETWORKS if options.networks == [] else options.networks or ():
        shown(network(name, way))
    return decisions(way) if options.decisions else 0


if __name__ == "__main__":
    sys.exit(main())
