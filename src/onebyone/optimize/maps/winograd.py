"""Winograd: a K×K on tiles, as 1×1s in another basis (`algebra.winograd`), where that pays.

The basis is chosen convolution by convolution: of those that lose no more digits than the task
allows the one that takes the least time by the machine's profile. Where memory is limited, it is
the first by time, finer strips among them, with which the whole network keeps within the limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice

import onnx_ir as ir

from onebyone.algebra.laws import refused
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.winograd import lost_bits
from onebyone.cost.estimate import elements_of, node_time
from onebyone.cost.profile import Cost, pays
from onebyone.graph.count import macs
from onebyone.graph.count_walk import name_of
from onebyone.graph.edit import Edit
from onebyone.graph.exact import Unrepresentable
from onebyone.optimize.maps.tiled_kernels import Form, Site, forms_of, reads_nothing, site_of
from onebyone.optimize.maps.tiled_models import peak_with
from onebyone.optimize.maps.tiles import cost_of, cuts_of, is_large, tile
from onebyone.optimize.rewritten import Memory, Rewrite, Task

__all__ = ["near_misses", "tile_maps"]


def tile_maps(task: Task) -> Iterator[Rewrite]:
    """Compute, in place, each K×K on tiles, in the form that takes the least time, where one pays.

    A basis that could lose more than the task's `lost_bits` is none of these, nor is a form by
    which the network would take more than the task's `memory`.
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
        try:
            choice = self._within(site, _choices(site, taken, batch, self.task))
            if choice is None:
                return
            with self.edit.attempt():
                result = tile(site, choice.form, self.edit, choice.strips)
        except Unrepresentable:
            self.edit.fresh()
            return
        after = choice.cost
        self.edit.replace(y, result)
        yield Rewrite(
            y.name or "",
            (name_of(node),),
            {"winograd": before.macs - after.macs},
            before,
            after,
            note=str(choice.form),
            lost_bits=lost_bits(site.weight, choice.form.bases),
            made=self.edit.fresh(),
        )

    def _within(self, site: Site, choices: Iterator[_Choice]) -> _Choice | None:
        """The first that keeps within the limit of memory; if none does, that is told."""
        task, peaks = self.task, list[int | None]()
        for choice in choices:
            if not task.memory.is_bounded:
                return choice
            peak = peak_with(task.model, task.sizes, site, choice.form, choice.strips)
            if task.memory.allows(peak):
                return choice
            peaks.append(peak)
        if peaks:
            task.refused[name_of(site.node)] = _beyond(peaks, task.memory)
        return None

    def _cost(self, node: ir.Node) -> Cost:
        work = macs(self.task.model.graph, self.task.sizes, [node])
        elements = partial(elements_of, sizes=self.task.sizes)
        return Cost(node_time(node, work, self.task.profile, elements), work)


_GAIN = 1.05
"""How many times as fast as the convolution tiles have to be, for what they store is more."""


@dataclass(frozen=True)
class _Choice:
    """A form, the strips that it is done in, and what that takes."""

    form: Form
    strips: Sequence[range]
    cost: Cost


def _choices(site: Site, before: Cost, batch: int, task: Task) -> Iterator[_Choice]:
    """What pays and loses no more bits than the task allows, the cheapest first.

    Strips that are finer than those that stay in a cache are for who limits memory.
    """
    profile, lost = task.profile, cache(partial(lost_bits, site.weight))
    cuts = None if task.memory.is_bounded else 1
    found = [
        _Choice(form, strips, cost_of(site, form, strips, batch, profile))
        for form in forms_of(site)
        if is_large(site, form)
        for strips in islice(cuts_of(site, form, batch), cuts)
    ]
    for choice in sorted(found, key=lambda choice: choice.cost):
        gains = before.picoseconds >= _GAIN * choice.cost.picoseconds
        keeps = lost(choice.form.bases) <= task.lost_bits
        if gains and keeps and pays(before, choice.cost, profile):
            yield choice


def _beyond(peaks: Sequence[int | None], memory: Memory) -> Refusal:
    """That the least of these peaks is more than the limit of memory."""
    known = [peak for peak in peaks if peak is not None]
    if memory.original is None or not known:
        return refused("winograd", "unknown")
    words = {"factor": memory.factor, "original": memory.original}
    return refused("winograd", "memory", peak=min(known), **words)


def near_misses(task: Task) -> Iterator[tuple[ir.Node, Refusal]]:
    """The K×Ks that stay as they are, and why."""
    for node in task.model.graph:
        found = site_of(node)
        if isinstance(found, Refusal):
            yield node, found
        elif isinstance(found, Site) and reads_nothing(found):
            yield node, refused("winograd", "padding")
        elif isinstance(found, Site):
            yield node, refused("winograd", "price")
