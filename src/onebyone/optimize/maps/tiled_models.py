"""Whole models with K×Ks on tiles, in a form that is given, whatever it costs.

For what compares forms: a profile times them, and so do benchmarks; `winograd.py` chooses, and asks
for the memory that one of them takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import onnx
import onnx_ir as ir

from onebyone.algebra.winograd import BASES
from onebyone.graph.count import peak_memory
from onebyone.graph.edit import Edit
from onebyone.graph.exact import settle
from onebyone.graph.read import read
from onebyone.graph.shapes import Sizes, infer
from onebyone.graph.simplify import simplify
from onebyone.graph.unused import remove_unused
from onebyone.graph.write import to_proto
from onebyone.optimize.maps.tiled_kernels import Form, Site, site_of
from onebyone.optimize.maps.tiles import strips_of, tile

__all__ = ["four_by_four", "on_tiles", "peak_with"]


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


def four_by_four(model: bytes, is_square: bool) -> bytes:
    """A model of 3×3s, all on tiles of four rows, or of 4×4, as bytes both: what a profile times.

    >>> from onebyone.engines.single_operators import conv
    >>> graph = onnx.load_model_from_string(four_by_four(conv((1, 3, 8, 8), 3, 3), True)).graph
    >>> [node.op_type for node in graph.node if node.op_type != "Reshape"]
    ['Conv', 'Transpose', 'Conv', 'MatMul', 'DepthToSpace']
    """
    basis = BASES[4, 3]
    form = Form(basis, basis if is_square else None)
    return bytes(to_proto(on_tiles(onnx.load_model_from_string(model), form)).SerializeToString())
