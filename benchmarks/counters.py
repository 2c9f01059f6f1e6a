"""What other counters of PyTorch modules say, beside `onebyone.count`'s rows for them.

    pip install --no-deps ptflops==0.7.5 thop==0.1.1.post2209072238 \
        fvcore==0.1.5.post20221221 iopath yacs portalocker tabulate termcolor setuptools
    python benchmarks/counters.py [--json tests/counting/counters.json]

Each tool is called with its defaults on each network of `tests/counting/networks.py`. Where its
figure is not that of the row, the difference is printed; the tests hold the reason for each. The
JSON is what the tests compare with, so that they need none of the tools.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.counting.networks import NETWORKS

from onebyone.nn.count import count


def flop_counter(network: nn.Module, x: Tensor) -> int:
    """PyTorch's own."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        network(x)
    return int(counter.get_total_flops())


def ptflops(network: nn.Module, x: Tensor) -> int:
    """Of one image: the tool adds the batch's axis itself."""
    from ptflops import get_model_complexity_info

    options = {"as_strings": False, "print_per_layer_stat": False, "verbose": False}
    return int(get_model_complexity_info(network, tuple(x.shape[1:]), **options)[0])


def thop(network: nn.Module, x: Tensor) -> int:
    """Its hooks count the children of a module, so that a layer needs one around it."""
    from thop import profile

    return int(profile(nn.Sequential(network), (x,), verbose=False)[0])


def fvcore(network: nn.Module, x: Tensor) -> int:
    """By its trace."""
    from fvcore.nn import FlopCountAnalysis

    found = FlopCountAnalysis(network, x).unsupported_ops_warnings(False)
    return int(found.uncalled_modules_warnings(False).tracer_warnings("none").total())


COUNTERS: dict[str, tuple[str, Callable[[nn.Module, Tensor], int]]] = {
    "torch.utils.flop_counter": ("torch", flop_counter),
    "ptflops": ("ptflops", ptflops),
    "thop": ("thop", thop),
    "fvcore": ("fvcore", fvcore),
}
"""A row's name -> the distribution that has the tool, and how it is asked."""


def figures() -> dict[str, dict[str, int]]:
    """What each tool says of each network."""
    found: dict[str, dict[str, int]] = {}
    for name, (build, shape) in NETWORKS.items():
        x = torch.zeros(shape)
        found[name] = {tool: ask(build().eval(), x) for tool, (_, ask) in COUNTERS.items()}
    return found


def main() -> None:
    """Ask all, print all, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    path = parser.parse_args().json
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    with torch.no_grad():
        found = figures()
    table = Table("network", *COUNTERS)
    for name, (build, shape) in NETWORKS.items():
        rows = count(build().eval(), torch.zeros(shape)).conventions()
        ours = {row.convention.name: row.total for row in rows}
        cells = [_cell(theirs, ours[tool]) for tool, theirs in found[name].items()]
        table.add_row(name, *cells)
    Console().print(table)
    if path is not None:
        versions = {tool: version(package) for tool, (package, _) in COUNTERS.items()}
        text = json.dumps({"versions": versions, "figures": found}, indent=1)
        path.write_text(text + "\n", encoding="utf-8")


def _cell(theirs: int, ours: int) -> str:
    return f"{theirs:,}" + (f" ({ours - theirs:+,})" if ours != theirs else "")


if __name__ == "__main__":
    main()
