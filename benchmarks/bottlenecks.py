"""What a bottleneck saves on a machine, beside what is counted: figures for the explorer.

    block   relu(x + W₃ relu(K ∗ relu(W₁ x)))      C → C/4 → C/4 → C, K 3×3 on C/4 channels
    wide    relu(x + K ∗ x)                        K 3×3 on C channels

    python benchmarks/bottlenecks.py                        a table
    python benchmarks/bottlenecks.py --json out.json        and the figures

Each model runs in ONNX Runtime on one thread, the two of a row in turns; a figure is the median.
Seconds are those of the processor, so that others may use the machine. All layers have biases.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onebyone.engines.engine import Run, engine
from onebyone.engines.machine import processor
from onebyone.engines.turns import take_turns

WIDTHS, SIDES = (64, 128, 256, 512), (7, 14, 28, 56)
ENGINE = engine("onnxruntime")
SECONDS = 3.0
Kernel = tuple[int, int, int]
"""C_in, C_out and the side of the kernel."""


def model(layers: Sequence[Kernel], side: int) -> bytes:
    """Convolutions one after the other on side × side positions, ReLUs behind, and a skip."""
    random = np.random.default_rng(0)
    nodes, weights, value = list[NodeProto](), list[TensorProto](), "x"
    for n, (c_in, c_out, k) in enumerate(layers):
        weight = random.standard_normal((c_out, c_in, k, k), np.float32) / (c_in * k * k) ** 0.5
        bias = random.standard_normal(c_out, np.float32)
        weights += [numpy_helper.from_array(a, f"{w}{n}") for a, w in ((weight, "W"), (bias, "b"))]
        pads = [k // 2] * 4
        nodes.append(helper.make_node("Conv", [value, f"W{n}", f"b{n}"], [f"c{n}"], pads=pads))
        value = f"c{n}"
        if n == len(layers) - 1:
            nodes.append(helper.make_node("Add", [value, "x"], ["added"]))
            value = "added"
        nodes.append(helper.make_node("Relu", [value], [f"r{n}"]))
        value = f"r{n}"
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, side, side])
        for name, channels in (("x", layers[0][0]), (value, layers[-1][1]))
    ]
    graph = helper.make_graph(nodes, "block", ends[:1], ends[1:], weights)
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def calls(width: int, side: int) -> list[Run]:
    """The block and the wide 3×3."""
    mid = width // 4
    x = np.random.default_rng(1).standard_normal((1, width, side, side), np.float32)
    block = model([(width, mid, 1), (mid, mid, 3), (mid, width, 1)], side)
    wide = model([(width, width, 3)], side)
    return [ENGINE.load(made, {"x": x}, 1) for made in (block, wide)]


def measured(widths: Iterable[int], sides: Iterable[int], seconds: float) -> list[list[float]]:
    """[width, side, ms of the block, of the wide 3×3] of each."""
    rows = []
    for width in widths:
        for side in sides:
            times = take_turns(calls(width, side), seconds, clock=process_time)
            rows.append([width, side, *(float(f"{1e3 * median(one):.4g}") for one in times)])
            print("{:5} {:4}² {:10} {:10}".format(*rows[-1]), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each row")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(f"width side   block ms    wide ms    {processor()}, {ENGINE.title}")
    figures = {
        "processor": processor(),
        "engine": f"{ENGINE.title} {ENGINE.version}",
        "threads": 1,
        "columns": ["width", "side", "block", "wide"],
        "rows": measured(WIDTHS, SIDES, options.seconds),
    }
    if options.json:
        # A line for each row: the file is kept in the repository.
        text = json.dumps(figures).replace("[[", "[\n[").replace("], [", "],\n[")
        options.json.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
