"""Winograd: a K×K on tiles, as 1×1s in another basis (`algebra.winograd`), where that pays.

The basis is chosen convolution by convolution: of those that lose no more digits than the task
allows the one that takes the least time by the machine's profile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import onnx_ir as ir

from onebyone.algebra.laws import refused
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.winograd import lost_bits
from onebyone.cost.estimate import elements_of, node_time
from onebyone.cost.profile import Cost, Profile, pays
from onebyone.graph.count import macs
from onebyone.graph.count_walk import name_of
from onebyone.graph.edit import Edit
from onebyone.graph.exact import Unrepresentable
from onebyone.graph.shapes import Sizes
from onebyone.optimize.maps.tiled_kernels import Form, Site, forms_of, reads_nothing, site_of
from onebyone.optimize.maps.tiles import cost_of, is_wide, strips_of, tile
from onebyone.optimize.rewritten import Rewrite, Task

__all__ = ["near_misses", "tile_maps"]


def tile_maps(task: Task) -> Iterator[Rewrite]:
    """Compute, in place, each K×K on tiles, in the form that takes the least time, where one pays.

    A basis that could lose more than the task's `lost_bits` is none of these.
    """
    placer = _Placer(Edit(task.model.graph), task)
    for node in list(task.model.graph):
        site = site_of(node)
        if isinstance(site, Site) and not reads_nothing(site):
            yield from placer.place(site)


@dataclass(frozen=True, eq=False)
class _Placer:
    """Puts tiles into a graph."""

    edit: Edit
    task: Task

    def place(self, site: Site) -> Iterator[Rewrite]:
        """Replace a convolution, if a form of it is cheaper."""
        node, y = site.node, site.node.outputs[0]
        before = self._cost(node)
        batch = self.task.sizes.size(site.batch) or 1
        taken = Cost(round(before.picoseconds * site.in_the_image), before.macs, before.parameters)
        form, after = _best(site, taken, batch, self.task.profile, self.task.lost_bits)
        if form is None:
            return
        try:
            with self.edit.attempt():
                strips = strips_of(site, form, batch)
                result = tile(site, form, self.edit, strips)
        except Unrepresentable:
            self.edit.fresh()
            return
        self.edit.replace(y, result)
        yield Rewrite(
            y.name or "",
            (name_of(node),),
            {"winograd": before.macs - after.macs},
            before,
            after,
            note=str(form),
            lost_bits=lost_bits(site.weight, form.bases),
            made=self.edit.fresh(),
        )

    def _cost(self, node: ir.Node) -> Cost:
        work = macs(self.task.model.graph, self.task.sizes, [node])
        elements = partial(elements_of, sizes=self.task.sizes)
        return Cost(node_time(node, work, self.task.profile, elements), work)


def _best(
    site: Site, before: Cost, batch: int, profile: Profile, limit: float
) -> tuple[Form | None, Cost]:
    """The cheapest form that pays and loses no more than so many bits."""
    forms = [form for form in forms_of(site) if is_wide(site, form, profile)]
    found = [(cost_of(site, form, batch, profile), form) for form in forms]
    for after, form in sorted(found, key=lambda pair: pair[0]):
        if pays(before, after, profile) and lost_bits(site.weight, form.bases) <= limit:
            return form, after
    return None, before


def near_misses(
    graph: ir.Graph, sizes: Sizes, axes: Mapping[ir.Value, int]
) -> Iterator[tuple[ir.Node, Refusal]]:
    """The K×Ks that stay as they are, and why."""
    for node in graph:
        found = site_of(node)
        if isinstance(found, Refusal):
            yield node, found
        elif isinstance(found, Site) and reads_nothing(found):
            yield node, refused("winograd", "padding")
        elif isinstance(found, Site):
            yield node, refused("winograd", "price")
