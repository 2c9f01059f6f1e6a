"""Sites: places in a network where there is something to decide, as small models of their own.

A site is a region of linear maps with the operators that read its result: what an engine makes of a
map depends on what comes after it. Its *forms* are the site as it stands and what `optimize` makes
of it on machines of very
different kinds.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir
from onnx import ModelProto, helper, numpy_helper

from onebyone.algebra.laws import LAWS
from onebyone.cost.profile import DEFAULT, Profile
from onebyone.graph.constants import constant
from onebyone.graph.read import read
from onebyone.graph.shapes import Sizes, infer
from onebyone.graph.write import to_proto
from onebyone.optimize.regions.lift import regions
from onebyone.optimize.regions.region import Context
from onebyone.optimize.rewrite import rewrite

__all__ = ["Site", "chosen", "forms", "sites"]

_KINDS = (  # profiles under which as many forms as possible are the cheapest
    DEFAULT,
    *(replace(DEFAULT, overhead=DEFAULT.overhead * f) for f in (1e-3, 1e3)),
    *(replace(DEFAULT, bandwidth=DEFAULT.bandwidth * f) for f in (1e-2, 1e2)),
    *(replace(DEFAULT, resize=DEFAULT.resize * f) for f in (1e-2, 1e2)),
)
_LEFT_OUT = ("commute", "split", "compose", "sum")


@dataclass(frozen=True, eq=False)
class Site:
    """A part of a network: its own model, where it is, and how many like it the network has."""

    name: str
    model: ModelProto
    count: int = 1


def sites(path: Path, shapes: Mapping[str, Sequence[int]]) -> list[Site]:
    """The sites of a network, those that are alike once; its normalisations are folded already."""
    model = read(path)
    infer(model)
    sizes = Sizes(model, shapes)
    rewrite(model, sizes, ("affine",), DEFAULT)
    found: dict[object, Site] = {}
    for name, nodes in _regions(model.graph, sizes):
        part = _cut_out(model, nodes, sizes)
        if part is not None:
            key = signature(part)
            old = found.get(key, Site(name, part, 0))
            found[key] = replace(old, count=old.count + 1)
    return list(found.values())


@functools.cache
def forms(site: Site) -> list[ModelProto]:
    """The site as it stands, and the different forms that it takes on machines of all kinds."""
    found = {signature(site.model): site.model}
    for kind, left_out in [*((k, ()) for k in _KINDS), *((DEFAULT, (law,)) for law in _LEFT_OUT)]:
        made = chosen(site, kind, left_out)
        found.setdefault(signature(made), made)
    return list(found.values())


def chosen(site: Site, profile: Profile, without: Sequence[str] = ()) -> ModelProto:
    """The form that `optimize` gives a site under a profile."""
    model = read(site.model)
    infer(model)
    laws = [law for law in LAWS if law not in without]
    rewrite(model, Sizes(model), laws, profile)
    return to_proto(model)


def signature(proto: ModelProto) -> tuple[str, ...]:
    """What a model computes, but for its weights' values and names: operators, sizes, order."""
    model = read(proto)
    infer(model)
    number: dict[ir.Value, int] = {}
    lines = []
    for node in model.graph:
        attributes = sorted((n, str(a.value)) for n, a in node.attributes.items())
        inputs = [(number.get(v, -1), str(v.shape)) for v in node.inputs if v is not None]
        lines.append(f"{node.op_type} {attributes} {inputs}")
        for value in node.outputs:
            number[value] = len(number)
    return tuple(lines)


# Finding them -------------------------------------------------------------------------------------


def _regions(graph: ir.Graph, sizes: Sizes) -> Iterator[tuple[str, set[ir.Node]]]:
    for region in regions(graph, Context.of(graph, sizes, list(LAWS))):
        yield f"region {region.root.name}", region.makers | set(_readers(region.root))


def _readers(value: ir.Value) -> list[ir.Node]:
    return list(dict.fromkeys(use.node for use in value.uses()))


# Cutting them out ---------------------------------------------------------------------------------


def _cut_out(model: ir.Model, nodes: Iterable[ir.Node], sizes: Sizes) -> ModelProto | None:
    """The nodes as a model; None where a size is unknown or an operand is no float tensor."""
    wanted = set(nodes)
    inside = [node for node in model.graph if node in wanted]
    made = {value for node in inside for value in node.outputs}
    read_ = dict.fromkeys(v for node in inside for v in node.inputs if v is not None)
    inputs = [v for v in read_ if v not in made and constant(v) is None]
    outputs = [v for v in made if v.is_graph_output() or not set(_readers(v)) <= wanted]
    outputs.sort(key=lambda v: v.name or "")
    ends = [*inputs, *outputs]
    if any(v.dtype != ir.DataType.FLOAT or sizes.shape(v) is None for v in ends):
        return None
    names = {node.name for node in inside}
    proto = to_proto(model)
    held = {v.name: array for v in read_ if (array := constant(v)) is not None}
    graph = helper.make_graph(
        [node for node in proto.graph.node if node.name in names],
        "site",
        [_info(v, sizes) for v in inputs],
        [_info(v, sizes) for v in outputs],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    opsets = list(proto.opset_import)
    return helper.make_model(graph, opset_imports=opsets, ir_version=min(proto.ir_version, 10))


def _info(value: ir.Value, sizes: Sizes) -> object:
    assert value.dtype is not None
    return helper.make_tensor_value_info(value.name, value.dtype.value, sizes.shape(value))
