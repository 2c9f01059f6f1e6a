"""How often the cost model chooses the faster form, with the profile that `onebyone profile` takes.

    python benchmarks/decisions.py                                  all networks, both engines
    python benchmarks/decisions.py --networks googlenet --engines onnxruntime --json out.json
    python benchmarks/decisions.py --threads 1 --clock cpu          on a machine that others use

Every place where there is something to decide (`sites.py`) becomes small models of its own, one for
each form that it can take, and all forms are timed in turns. A choice is compared with every other
form of its site. What counts is a pair whose times differ by more than 5%, told apart as in
`onebyone bench`: right if the chosen form is the faster one. Exits with 1 if fewer than 95% are.
As a site with many slow forms makes many right decisions, sites with a faster form are counted too.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
from models import ARCHITECTURES, DEFAULT_CACHE, export
from onnx import ModelProto
from sites import Site, chosen, forms, signature, sites

from onebyone.cost.profile import Profile, load_profile
from onebyone.engines.bench import CLOCKS
from onebyone.engines.engine import Run, engine
from onebyone.engines.machine import usable_cores
from onebyone.engines.profile import profile
from onebyone.engines.spread import ratio, told
from onebyone.engines.turns import take_turns
from onebyone.optimize.maps.tiled_models import TIMED

NETWORKS = (
    "segformer-b0",
    "googlenet",
    "mobileone-s0",
    "shufflenetv2",
    "yolo-neck",
    "lora-vit",
)
ENGINES = ("onnxruntime", "openvino")
DIFFERENT = 1.05
WANTED = 0.95


@dataclass(frozen=True)
class Decision:
    """A choice against one other form of its site.

    `chosen` and `other` are the operators of the two forms; `ratio` is the time of the other one
    over that of the chosen one, `told` whether the two could be told apart.
    """

    network: str
    engine: str
    site: str
    count: int
    chosen: str
    other: str
    chosen_us: float
    other_us: float
    ratio: float
    told: bool

    @property
    def place(self) -> tuple[str, ...]:
        """What is the same for all decisions of a site in an engine."""
        return self.network, self.engine, self.site, self.chosen

    @property
    def counts(self) -> bool:
        """Whether the times differ by more than 5%."""
        return self.told and max(self.ratio, 1 / self.ratio) > DIFFERENT

    @property
    def right(self) -> bool:
        """Whether the chosen form is the faster one."""
        return self.ratio > 1


def decide(
    site: Site, network: str, name: str, machine: Profile, options: argparse.Namespace
) -> Iterator[Decision]:
    """The decisions of one site in one engine; none where it has one form only."""
    choice = chosen(site, machine)
    found = {signature(form): form for form in [choice, *forms(site)]}
    if len(found) == 1:
        return
    models = [choice, *(form for key, form in found.items() if key != signature(choice))]
    runs = [_loaded(form, name, options.threads) for form in [*models, choice]]
    mine, *others, again = take_turns(runs, options.seconds, clock=CLOCKS[options.clock])
    control = ratio(mine, again)
    for form, taken in zip(models[1:], others, strict=True):
        compared = ratio(taken, mine)
        yield Decision(
            network,
            name,
            site.name,
            site.count,
            operators(choice),
            operators(form),
            median(mine) * 1e6,
            median(taken) * 1e6,
            compared.median,
            told(compared, control),
        )


def _loaded(model: ModelProto, name: str, threads: int) -> Run:
    random = np.random.default_rng(0)
    inputs = {
        value.name: random.standard_normal(
            [dim.dim_value for dim in value.type.tensor_type.shape.dim], dtype=np.float32
        )
        for value in model.graph.input
    }
    return engine(name).load(model.SerializeToString(), inputs, threads)


def operators(model: ModelProto) -> str:
    """The operators of a model, counted, in the order in which they first appear."""
    types = [node.op_type for node in model.graph.node]
    return " ".join(f"{n}·{t}" for t in dict.fromkeys(types) if (n := types.count(t)))


# ---------------------------------------------------------------- showing


def show(decisions: Sequence[Decision]) -> None:
    """Print what counts, wrong ones first, and the share of right ones for each engine."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 200)
    table = Table("network", "engine", "site", "×", "chosen", "other", "µs", "other, µs", "")
    for d in sorted((d for d in decisions if d.counts), key=lambda d: d.ratio):
        times = f"{d.chosen_us:.1f}", f"{d.other_us:.1f}"
        mark = "" if d.right else "WRONG"
        row = (d.network, d.engine, d.site, str(d.count), d.chosen, d.other, *times, mark)
        table.add_row(*row)
    console.print(table)
    for name in dict.fromkeys(d.engine for d in decisions):
        for network in (*dict.fromkeys(d.network for d in decisions), None):
            mine = [d for d in decisions if d.engine == name and network in (None, d.network)]
            console.print(f"{name}, {network or 'all'}: {summary(mine)}", highlight=False)


def summary(decisions: Sequence[Decision]) -> str:
    """The figures of some decisions, in words."""
    counted = [d for d in decisions if d.counts]
    right = sum(d.right for d in counted)
    share = f" ({right / len(counted):.0%})" if counted else ""
    lost = len({d.place for d in counted if not d.right})
    return (
        f"{len(decisions)} decisions, {len(counted)} differ by more than 5%, {right} right{share}; "
        f"at {lost} of {len({d.place for d in decisions})} sites another form is faster by that"
    )


def met(decisions: Iterable[Decision]) -> bool:
    """Whether enough of what counts is right, in each engine."""
    counted = [d for d in decisions if d.counts]
    engines = {d.engine for d in counted}
    return bool(counted) and all(
        sum(d.right for d in counted if d.engine == e)
        >= WANTED * sum(d.engine == e for d in counted)
        for e in engines
    )


# ---------------------------------------------------------------- command line


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; see the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=ARCHITECTURES, default=list(NETWORKS))
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--seconds", type=float, default=3.0, help="for the forms of one site")
    parser.add_argument("--profile", type=Path, help="a profile, instead of measuring one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the decisions there too")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="folder of the exports")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Time every site of the chosen networks in the chosen engines; 1 if too few are right."""
    options = parse(arguments)
    decisions: list[Decision] = []
    machines = {name: _machine(name, options) for name in options.engines}
    for network in options.networks:
        path = export(network, "torchscript", False, options.cache)
        found = sites(path, ARCHITECTURES[network].inputs)
        print(f"{network}: {len(found)} different sites", file=sys.stderr, flush=True)
        for name, machine in machines.items():
            for site in found:
                decisions += decide(site, network, name, machine, options)
    show(decisions)
    if options.json is not None:
        rows = [{**asdict(d), "counts": d.counts, "right": d.right} for d in decisions]
        profiles = {name: asdict(machine) for name, machine in machines.items()}
        options.json.write_text(json.dumps({"schema": 1, "profiles": profiles, "rows": rows}))
    return 0 if met(decisions) else 1


def _machine(name: str, options: argparse.Namespace) -> Profile:
    if options.profile is not None:
        return load_profile(options.profile)
    return profile(name, on_tiles=TIMED, threads=options.threads, clock=options.clock).profile


if __name__ == "__main__":
    sys.exit(main())
