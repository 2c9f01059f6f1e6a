"""How the time of `optimize` grows with the number of nodes, from 100 to 10,000.

    python benchmarks/scaling.py                              all networks and sizes
    python benchmarks/scaling.py --networks chain --sizes 300 1000 --verify-up-to 0

Synthetic networks, each made to stress one part of the optimizer: residual blocks, chains of 1×1s,
concats, a fan-out of siblings, channel shuffles, strides that could move, dead channels, and a
mixture as it is met in practice. Maps are small, so that what is timed is work on the graph.

Each line is a fresh process: seconds of `optimize` without and with `verify`, per node, and peak
memory. The exponent k of "seconds ~ nodes^k" is fitted by least squares to the sizes from 1,000
nodes on (below, the fixed costs of the first call still count). Exits with 1 where k is above 1.25.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onebyone.optimize import optimize

SIZES = (100, 300, 1000, 3000, 10000)
CHANNELS = 8
STEEPEST = 1.25  # of the fitted exponents; n log n has 1.1 between 1,000 and 10,000 nodes


@dataclass
class Net:
    """A network being written down: nodes, and the weights they share."""

    seed: int = 0
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        """Append a node; the name of its first output, the others end in .1, .2 and so on."""
        name = f"v{len(self.nodes)}"
        names = [name, *(f"{name}.{k}" for k in range(1, outputs))]
        self.nodes.append(helper.make_node(op, list(inputs), names, name, **attributes))
        return name

    def weight(self, *shape: int, dead: int = 0) -> str:
        """A new weight, its first `dead` rows zero, scaled so that signals keep their size."""
        name = f"w{len(self.constants)}"
        rng = np.random.default_rng(len(self.constants))
        fan_in = int(np.prod(shape[1:])) or 1
        array = rng.standard_normal(shape) / np.sqrt(fan_in)
        array[:dead] = 0
        self.constants[name] = array.astype(np.float32)
        return name

    def integers(self, *values: int) -> str:
        """A shared vector of integers."""
        name = "i" + "_".join(map(str, values))
        self.constants[name] = np.array(values)
        return name

    def pointwise(self, x: str, into: int = CHANNELS, out: int = CHANNELS, **more: object) -> str:
        return self.add("Conv", x, self.weight(out, into, 1, 1), **more)

    def conv(self, x: str, dead: int = 0) -> str:
        weight = self.weight(CHANNELS, CHANNELS, 3, 3, dead=dead)
        return self.add("Conv", x, weight, pads=[1, 1, 1, 1])

    def relu(self, x: str) -> str:
        return self.add("Relu", x)


Block = Callable[[Net, str], str]
"""Adds some nodes behind a value; the value they end in, of the same shape."""


def residual(net: Net, x: str) -> str:
    """A bottleneck with its shortcut."""
    y = net.relu(net.pointwise(x, CHANNELS, 4))
    y = net.relu(net.add("Conv", y, net.weight(4, 4, 3, 3), pads=[1, 1, 1, 1]))
    return net.relu(net.add("Add", net.pointwise(y, 4), x))


def chain(net: Net, x: str) -> str:
    """A linear 1×1; in a row they all compose."""
    return net.pointwise(x)


def concat(net: Net, x: str) -> str:
    """A concat of one new branch and the input, fused by a 1×1."""
    y = net.relu(net.pointwise(x))
    return net.relu(net.pointwise(net.add("Concat", x, y, axis=1), 2 * CHANNELS))


def shuffle(net: Net, x: str) -> str:
    """A unit of ShuffleNetV2: halves, a branch, a concat, a shuffle."""
    half = CHANNELS // 2
    left = net.add("Split", x, net.integers(half, half), outputs=2, axis=1)
    y = net.relu(net.pointwise(f"{left}.1", half, half))
    y = net.add("Concat", left, net.pointwise(y, half, half), axis=1)
    y = net.add("Reshape", y, net.integers(0, 2, half, 7, 5))
    y = net.add("Transpose", y, perm=[0, 2, 1, 3, 4])
    return net.add("Reshape", y, net.integers(0, CHANNELS, 7, 5))


def strided(net: Net, x: str) -> str:
    """A stride that moves back through an activation into a convolution; upsampled again."""
    y = net.pointwise(net.relu(net.conv(x)), strides=[2, 2])
    y = net.add("Resize", net.relu(y), "", "", net.integers(1, CHANNELS, 7, 5), mode="nearest")
    return net.relu(net.add("Add", x, y))


def pruned(net: Net, x: str) -> str:
    """A residual block with dead channels in the middle."""
    y = net.conv(net.relu(net.conv(x, dead=3)))
    return net.relu(net.add("Add", x, y))


def mixture(net: Net, x: str) -> str:
    """What networks are made of, block after block."""
    blocks = (residual, residual, concat, normalised, shuffle, strided, gated, residual)
    return blocks[len(net.nodes) % len(blocks)](net, x)


def normalised(net: Net, x: str) -> str:
    """A convolution, a batch normalisation, an activation."""
    parameters = [net.weight(CHANNELS) for _ in range(3)]
    net.constants["variance"] = np.ones(CHANNELS, np.float32)
    y = net.add("BatchNormalization", net.conv(x), *parameters, "variance")
    return net.relu(y)


def gated(net: Net, x: str) -> str:
    """Squeeze and excitation."""
    y = net.add("GlobalAveragePool", x)
    y = net.pointwise(net.relu(net.pointwise(y, CHANNELS, 2)), 2)
    return net.add("Mul", x, net.add("Sigmoid", y))


def _row(block: Block) -> Callable[[Net, int], str]:
    """Blocks one behind the other, up to about that many nodes."""

    def build(net: Net, nodes: int) -> str:
        x = "x"
        while len(net.nodes) < nodes:
            x = block(net, x)
        return x

    return build


def fan_out(net: Net, nodes: int) -> str:
    """Many siblings on one input, each with an activation; added up in a tree."""
    ends = [net.relu(net.pointwise("x")) for _ in range(nodes // 3)]
    return _tree(net, ends)


def _tree(net: Net, ends: list[str]) -> str:
    while len(ends) > 1:
        pairs = zip(ends[::2], ends[1::2], strict=False)
        ends = [net.add("Add", a, b) for a, b in pairs] + ends[len(ends) - len(ends) % 2 :]
    return ends[0]


def dense(net: Net, nodes: int) -> str:
    """Blocks of DenseNet: in each, a concat grows by a few channels at a time."""
    x = "x"
    while len(net.nodes) < nodes:
        known, channels = x, CHANNELS
        for _ in range(8):
            y = net.relu(net.pointwise(known, channels, 4))
            known, channels = net.add("Concat", known, y, axis=1), channels + 4
        x = net.relu(net.pointwise(known, channels))
    return x


NETWORKS: dict[str, Callable[[Net, int], str]] = {
    "residual": _row(residual),
    "chain": _row(chain),
    "concat": _row(concat),
    "dense": dense,
    "fan-out": fan_out,
    "shuffle": _row(shuffle),
    "strided": _row(strided),
    "pruned": _row(pruned),
    "mixture": _row(mixture),
}


def network(name: str, nodes: int) -> ModelProto:
    """One of the networks, of about so many nodes."""
    net = Net()
    y = NETWORKS[name](net, nodes)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CHANNELS, 7, 5])
    out = helper.make_tensor_value_info(y, TensorProto.FLOAT, None)
    constants = [numpy_helper.from_array(array, key) for key, array in net.constants.items()]
    graph = helper.make_graph(net.nodes, name, [x], [out], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


# Measuring ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """One network of one size: processor time in seconds, peak memory in MiB, nodes left."""

    network: str
    nodes: int
    seconds: float
    verified: float | None
    memory: float
    after: int


def measure(name: str, nodes: int, verify: bool) -> Point:
    """Optimise one network in this process, after a small one that pays for the imports."""
    optimize(network(name, 20), verify=verify)
    model = network(name, nodes)
    seconds, result = _timed(model, verify=False)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    verified = _timed(model, verify=True)[0] if verify else None
    return Point(name, len(model.graph.node), seconds, verified, memory, result)


def _timed(model: ModelProto, *, verify: bool) -> tuple[float, int]:
    """Processor time, which the neighbours of this process do not change much."""
    start = time.process_time()
    report = optimize(model, verify=verify).report
    if report.certificate is not None and not report.certificate.passed:
        raise SystemExit(f"{model.graph.name}: the certificate failed")
    return time.process_time() - start, report.after.nodes


def fresh(name: str, nodes: int, verify: bool) -> Point:
    """The same in a process of its own."""
    given = json.dumps([name, nodes, verify])
    command = [sys.executable, __file__, "--one", given]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Point(**json.loads(done.stdout))


def exponent(points: Sequence[Point]) -> float:
    """k in seconds ~ nodes^k, from 1,000 nodes on, or from all if fewer than two are that large."""
    large = [p for p in points if p.nodes >= 900]
    chosen = large if len(large) > 1 else points
    nodes, seconds = np.log([p.nodes for p in chosen]), np.log([p.seconds for p in chosen])
    return float(np.polyfit(nodes, seconds, 1)[0]) if len(chosen) > 1 else float("nan")


def main() -> int:
    """Run the command line; 1 if the time grows faster than about linearly."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--networks", nargs="+", choices=[*NETWORKS], default=[*NETWORKS])
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--verify-up-to", type=int, default=SIZES[-1])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(asdict(measure(*json.loads(given.one)))))
        return 0
    points, steep = [], []
    print(f"{'network':10}{'nodes':>7}{'after':>7}{'seconds':>9}{'ms/node':>9}"
          f"{'with verify':>13}{'MiB':>7}")  # fmt: skip
    for name in given.networks:
        row = []
        for size in given.sizes:
            row.append(fresh(name, size, size <= given.verify_up_to))
            print(_line(row[-1]), flush=True)
        k = exponent(row)
        print(f"{name:10}seconds ~ nodes^{k:.2f}")
        steep += [name] if k > STEEPEST else []
        points += row
    if given.json:
        given.json.write_text(json.dumps([asdict(p) for p in points], indent=1))
    print(f"grows faster than nodes^{STEEPEST}: {', '.join(steep) or 'none'}")
    return int(bool(steep))


def _line(p: Point) -> str:
    verified = "-" if p.verified is None else f"{p.verified:.2f}"
    return (
        f"{p.network:10}{p.nodes:7}{p.after:7}{p.seconds:9.2f}{1000 * p.seconds / p.nodes:9.2f}"
        f"{verified:>13}{p.memory:7.0f}"
    )


if __name__ == "__main__":
    sys.exit(main())
