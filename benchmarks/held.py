"""Networks that no number of the law winograd was chosen on: none may be slower on tiles.

    OMP_NUM_THREADS=2 python benchmarks/held.py                     all of them
    OMP_NUM_THREADS=2 python benchmarks/held.py resnet18 vgg11 --json held.json --lost-bits 6

Each is optimised by the other laws, and by all with winograd. Where winograd finds nothing to do
the files are equal and are not timed. Else the original and both run in turns, by the clock on the
wall, in both engines: wanted is at least 0.98 of the speed that the other laws give. The weights
are drawn. Exits with 1 if one is slower.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from winograd import ENGINES, onebyone_bytes

from onebyone.engines.engine import engine
from onebyone.engines.turns import take_turns

WANTED = 0.98
# Of pytorchcv, one or two of a kind that has 3×3s: where they stand, and their names.
ZOO = {
    "alexnet": ["alexnet"], "bamresnet": ["bam_resnet18"], "bninception": ["bninception"],
    "cbamresnet": ["cbam_resnet18"], "centernet": ["centernet_resnet18_coco"],
    "darknet": ["darknet_ref"], "darknet53": ["darknet53"], "densenet": ["densenet161"],
    "diracnetv2": ["diracnet18v2"], "dla": ["dla34", "dla60"], "dpn": ["dpn68"],
    "drn": ["drnc26"], "efficientnet": ["efficientnet_b0"], "fcn8sd": ["fcn8sd_resnetd50b_voc"],
    "fishnet": ["fishnet99"], "hardnet": ["hardnet68"], "hrnet": ["hrnet_w18_small_v1"],
    "inceptionv3": ["inceptionv3"], "linknet": ["linknet_cityscapes"],
    "mobilenet": ["mobilenet_w1"], "nin_cifar": ["nin_cifar10"], "peleenet": ["peleenet"],
    "preresnet": ["preresnet18"], "regnet": ["regnetx032"], "resnesta": ["resnesta18"],
    "resnet": ["resnet18", "resnet26"], "resnext": ["resnext26_32x4d"], "scnet": ["scnet50"],
    "selecsls": ["selecsls42"], "senet": ["senet16"], "seresnet": ["seresnet18"],
    "shufflenetv2": ["shufflenetv2_w1"], "sknet": ["sknet50"], "squeezenet": ["squeezenet_v1_1"],
    "unet": ["unet_cityscapes"], "vgg": ["vgg11", "bn_vgg13"], "vovnet": ["vovnet39"],
    "wrn": ["wrn50_2"], "zfnet": ["zfnet"],
}  # fmt: skip
SIDES = {"centernet": (512, 512), "fcn8sd": (480, 480), "inceptionv3": (299, 299),
         "linknet": (512, 1024), "nin_cifar": (32, 32), "unet": (512, 512)}  # fmt: skip
"""The height and width that one is made for, 224 each by default."""

WHERE = {name: family for family, names in ZOO.items() for name in names}


@dataclass(frozen=True)
class Held:
    """A network in an engine: how many times as fast as the original, and as by the other laws."""

    network: str
    engine: str
    on_tiles: int
    original_ms: float
    beside_original: float
    beside_others: float
    difference: float


def held(name: str, lost_bits: float | None, seconds: float, threads: int) -> Iterator[Held]:
    """One network; nothing where winograd finds nothing to do."""
    import onebyone

    model, feed = made(name)
    others = onebyone.optimize(model, verify=False)
    tiles = onebyone.optimize(model, also=["winograd"], lost_bits=lost_bits, verify=False)
    count = sum(law.law == "winograd" for law in tiles.report.laws)
    if not count:
        assert onebyone_bytes(others.model) == onebyone_bytes(tiles.model), name
        return
    files = [model.SerializeToString(), onebyone_bytes(others.model), onebyone_bytes(tiles.model)]
    for kind in ENGINES:
        runs = [engine(kind).load(file, feed, threads) for file in files]
        wanted, _, got = (run()[0] for run in runs)
        original, other, ours = take_turns(runs, seconds)
        yield Held(
            name,
            kind,
            count,
            1e3 * median(original),
            median(a / b for a, b in zip(original, ours, strict=True)),
            median(a / b for a, b in zip(other, ours, strict=True)),
            float(np.abs(wanted - got).max() / np.abs(wanted).max()),
        )


def made(name: str) -> tuple[Any, dict[str, np.ndarray]]:
    """A network as an exporter writes it, and what it is given."""
    import torch
    from models import ARCHITECTURES, network
    from networks import randomise

    from onebyone.nn.to_onnx import to_onnx

    torch.manual_seed(0)
    if name in ARCHITECTURES:
        row = ARCHITECTURES[name]
        module, inputs = network(row), [torch.randn(*shape) for shape in row.inputs.values()]
    else:
        family = import_module(f"pytorchcv.models.{WHERE[name]}")
        module = getattr(family, name)()
        inputs = [torch.randn(1, 3, *SIDES.get(WHERE[name], (224, 224)))]
        randomise(module)
    model = to_onnx(module.eval(), tuple(inputs), {"dynamo": False})
    names = [value.name for value in model.graph.input]
    return model, dict(zip(names, (x.numpy() for x in inputs), strict=True))


def main() -> int:
    """Print what is found, row by row."""
    from models import ARCHITECTURES

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = [*ARCHITECTURES, *WHERE]
    parser.add_argument("networks", nargs="*", help=f"default: all of {', '.join(known)}")
    parser.add_argument("--lost-bits", type=float)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if unknown := set(options.networks) - set(known):
        parser.error(f"got {', '.join(sorted(unknown))}, wanted some of {', '.join(known)}")
    found: list[Held] = []
    for name in options.networks or known:
        rows = list(held(name, options.lost_bits, options.seconds, options.threads))
        if not rows:
            print(f"{name:36} nothing on tiles", flush=True)
        for row in rows:
            print(f"{name:36} {row.on_tiles:3} on tiles  {row.engine:12}{row.original_ms:9.2f} ms  "
                  f"{row.beside_original:5.2f}×, {row.beside_others:5.2f}× beside the other laws  "
                  f"{row.difference:.1e}", flush=True)  # fmt: skip
        found += rows
        if options.json:
            options.json.write_text(json.dumps([asdict(row) for row in found], indent=2))
    slower = [f"{row.network} in {row.engine}" for row in found if row.beside_others < WANTED]
    print(f"below {WANTED}: {', '.join(slower) or 'none'}")
    return bool(slower)


if __name__ == "__main__":
    sys.exit(main())
