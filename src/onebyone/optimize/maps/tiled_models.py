"""Whole models with K×Ks on tiles, in a form that is given, whatever it costs.

For what compares forms: a profile times them, and so do benchmarks; `winograd.py` chooses, and asks
for the memory that one of them takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import onnx
import onnx_ir as ir

from onebyone.algebra.winograd import BASES
from onebyone.cost.estimate import elements_of, node_time
from onebyone.cost.profile import Profile
from onebyone.graph.count import macs, peak_memory
from onebyone.graph.edit import Edit
from onebyone.graph.exact import settle
from onebyone.graph.read import read
from onebyone.graph.shapes import Sizes, infer
from onebyone.graph.simplify import simplify
from onebyone.graph.unused import remove_unused
from onebyone.graph.write import to_proto
from onebyone.optimize.maps.tiled_kernels import Form, Site, site_of
from onebyone.optimize.maps.tiles import dearer, strips_of, tile

__all__ = ["TIMED", "Tiled", "on_tiles", "peak_with"]


def on_tiles(
    source: onnx.ModelProto, form: Form, strips: Sequence[range] | None = None
) -> ir.Model:
    """A model with every K×K that has a basis in one form.

    Args:
        source: the model; it is not changed.
        form: of kernels that are as tall as its basis has taps; there have to be no others.
        strips: rows of tiles that are done together; None: as the law writes them.
    """
    model = read(source)
    infer(model)
    edit = Edit(model.graph)
    for node in list(model.graph):
        site = site_of(node)
        if isinstance(site, Site):
            rows = strips_of(site, form, _batch(site)) if strips is None else strips
            edit.replace(node.outputs[0], tile(site, form, edit, rows))
    remove_unused(model.graph)
    settle(model.graph)
    return model


def _batch(site: Site) -> int:
    if isinstance(site.batch, int):
        return site.batch
    return 1


def peak_with(
    model: ir.Model, sizes: Sizes, site: Site, form: Form, strips: Sequence[range]
) -> int | None:
    """The peak memory of activations of a model with one K×K more on tiles, which stays as it is.

    In bytes, None if unknown. What stands there twice by then is merged, and lives longer: two
    layers may read the same tiles.
    """
    copy = model.clone()  # of the weights only the names are copied
    node, edit = copy.graph[list(model.graph).index(site.node)], Edit(copy.graph)
    edit.replace(node.outputs[0], tile(replace(site, node=node), form, edit, strips))
    simplify(copy.graph, copy.opset_imports[""])
    return peak_memory(copy.graph, sizes)


@dataclass(frozen=True)
class Tiled:
    """Models of 3×3s on tiles in one form: what a profile times."""

    form: Form

    def written(self, model: bytes) -> bytes:
        """A model with all its 3×3s on tiles.

        >>> from onebyone.engines.single_operators import conv
        >>> tiled = onnx.load_model_from_string(TIMED["tiles"].written(conv((1, 3, 8, 8), 3, 3)))
        >>> [node.op_type for node in tiled.graph.node if node.op_type != "Reshape"]
        ['Conv', 'Transpose', 'Conv', 'MatMul', 'DepthToSpace']
        """
        tiled = on_tiles(onnx.load_model_from_string(model), self.form)
        return bytes(to_proto(tiled).SerializeToString())

    def dearer(self, model: bytes, gain: float, profile: Profile) -> float:
        """By how much the way to tiles and back is, if one 3×3 is `gain` times as fast on them.

        What the 3×3 itself takes is told by the profile.
        """
        plain = read(onnx.load_model_from_string(model))
        infer(plain)
        (site,) = (found for node in plain.graph if isinstance(found := site_of(node), Site))
        sizes = Sizes(plain)
        work = macs(plain.graph, sizes, [site.node])
        taken = node_time(site.node, work, profile, partial(elements_of, sizes=sizes))
        return dearer(site, self.form, _batch(site), round(taken / gain), profile)


_FOUR = BASES[4, 3]
TIMED = {"rows": Tiled(Form(_FOUR)), "tiles": Tiled(Form(_FOUR, _FOUR))}
"""For each price of a profile the form that it is taken from."""
