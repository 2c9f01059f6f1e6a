"""Where every value of a model looks in the image: stride, window, padding, period, axis by axis.

A walk from the image to the outputs. Of each value it knows for each of its axes which axis of the
image stands there, and the `Axis` (`algebra.geometry`) that says where its positions look; and
along which axes of the image it depends on all positions besides. The rows of operators say how
nodes slide (`slides`), which axes they mix, and which positions they need; where none of these says
that a position is made of positions, all of them are taken to be looked at.

What keeps a network from being cut into tiles is found and named, and the walk goes on: with a
squeeze-and-excitation, say, the maps have positions still, and are not exact. Two exactnesses:

    tiles   the network on tiles gives what it gives on the whole image     no reasons
    crops   each output is the network's answer on the crop that it sees    and no padding is seen
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import lcm

import onnx_ir as ir

from onebyone.algebra.geometry import Axis, join
from onebyone.algebra.layout import Reshape
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.resize import Resize
from onebyone.algebra.selection import Slice
from onebyone.algebra.upsampled import resized
from onebyone.errors import UsageError
from onebyone.graph.axes import Spatial
from onebyone.graph.image import channels_first, freed, image_of
from onebyone.graph.located import Located, Part, Parts, regrouped
from onebyone.graph.ops import Role, operator_of
from onebyone.graph.opset import modernise
from onebyone.graph.picks import Picks
from onebyone.graph.shapes import infer
from onebyone.graph.simplify import simplify
from onebyone.graph.values import all_known, has_subgraphs, rank_of, shape_of, size
from onebyone.graph.views import dims_of, view, view_axis

__all__ = ["Located", "Looks", "look"]


@dataclass
class Looks:
    """Where the values of a model look, and what stands in the way.

    Args:
        image: the input that is looked at; its axes from 2 on, `spatial`, are those of positions.
        values: what is known of each value that is computed from it.
        reasons: of nodes that look at all positions, tell where in the image they are, or slide in
            a way that has no period: a sentence each, in the order of the model.
        padded: nodes that look beyond the ends of their operand.
        sizes: those that the model declared of the image, if they are numbers.
    """

    image: ir.Value
    spatial: tuple[int, ...]
    values: dict[ir.Value, Located] = field(default_factory=dict)
    reasons: dict[ir.Node, str] = field(default_factory=dict)
    padded: list[ir.Node] = field(default_factory=list)
    sizes: tuple[int, ...] | None = None


def look(model: ir.Model, image: str | None = None) -> Looks:
    """Where the values of a model look.

    Args:
        model: as `graph.read` gives it; the sizes of the image and all that follows from them are
            forgotten, for it is to be of any size. It is simplified, of opset 11 at least, and of
            an image N×H×W×C that it turns first of all the turned one is its input.
        image: the name of the input, where the model has several that could be images.

    Raises:
        UsageError: there is no such input, or none or several with axes of positions; or the model
            is of an older opset, and means what newer ones cannot say.

    >>> from onnx import parser
    >>> from onebyone.graph.read import read
    >>> looks = look(read(parser.parse_model('''<ir_version: 8, opset_import: ["": 17]>
    ...     g (float[n, 2, h, w] x) => (float[n, 2, i, j] y) {
    ...     p = MaxPool<kernel_shape = [3, 2], strides = [2, 1]>(x)
    ...     y = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(p) }''')))
    >>> y = looks.values[looks.image.graph.outputs[0]]
    >>> [(y.axis(k).stride, y.axis(k).receptive_field) for k in looks.spatial]
    [(2, 7), (1, 4)]
    """
    graph = model.graph
    found = image_of(graph, image)
    channels_first(graph, found)
    declared = tuple(found.shape or ())[2:]
    infer(model)  # what is written as numbers for one size is told by the sizes there
    spatial = freed(graph, found)
    stopped = modernise(model)
    if stopped is not None:
        raise UsageError(f"{stopped[0]}: {stopped[1]}; export the model at opset 11 or newer")
    if "" in model.opset_imports:
        simplify(graph, model.opset_imports[""])
    places = tuple((Part(axis, Axis()),) for axis in range(rank_of(found) or 0))
    looks = Looks(found, spatial, {found: Located(places)})
    looks.sizes = all_known(n if isinstance(n, int) else None for n in declared)
    walk = _Walk(looks, model.opset_imports.get("", 1))
    for node in graph:
        walk.visit(node)
    return looks


class _Walk:
    """From node to node: `visit` says what is known of the results of one."""

    def __init__(self, looks: Looks, version: int) -> None:
        self.looks, self.values, self.version = looks, looks.values, version
        # Computed from the size of the image, and of no position.
        self.sized: set[ir.Value] = set()

    def visit(self, node: ir.Node) -> None:
        operator = operator_of(node)
        if has_subgraphs(node) or operator.is_random:
            # What a subgraph reads is not among the operands.
            why = "it runs graphs of its own" if has_subgraphs(node) else "it draws at random"
            self.values.update((value, self._unknown(node, why)) for value in node.outputs)
            return
        read = [value for k, value in enumerate(node.inputs) if value and k not in operator.unread]
        located = [value for value in read if value in self.values]
        if not located:
            touched = any(value in self.values or value in self.sized for value in node.inputs)
            self.sized.update(node.outputs if touched else ())
            return
        for value in node.outputs:
            if rank_of(value) is None:
                self.values[value] = self._lost(node, "the rank of its result is not known")
            else:
                self.values[value] = self._result(node, value)

    # --- One result ------------------------------------------------------------------------------

    def _result(self, node: ir.Node, out: ir.Value) -> Located:
        operator, first = operator_of(node), node.inputs[0] if node.inputs else None
        if operator.elementwise:
            return self._met(node, out, range(len(node.inputs)))
        if operator.role is Role.CONCAT:
            along = node.attributes.get_int("axis", 0) % (rank_of(out) or 1)
            return self._met(node, out, range(len(node.inputs)), joined=along)
        if operator.slides is not None and first in self.values:
            return self._slid(node, operator.slides(node))
        if operator.role is Role.VIEW:
            return self._viewed(node, out)
        if operator.mixes is not None:
            mixed = operator.mixes(node, self.version)
            carried = [self._one(None if k in mixed else k) for k in range(rank_of(out) or 0)]
            return self._carried(node, out, carried, "it mixes all positions")
        if operator.needs is not None:
            carried = [self._needed(node, out, k) for k in range(rank_of(out) or 0)]
            return self._carried(node, out, carried, "it looks at all positions")
        if operator.space is not None:
            carried = self._mapped(operator.space(node), out)
            return self._carried(node, out, carried, "it looks at all positions")
        return self._lost(node, "it looks at all positions, or may")

    def _one(self, axis: int | None) -> dict[int, int]:
        """Positions of an axis of the first operand alone."""
        return {} if axis is None else {0: axis}

    def _needed(self, node: ir.Node, out: ir.Value, axis: int) -> dict[int, int]:
        """Operand -> its axis that is needed where axis `axis` of the result is."""
        reader, length = operator_of(node).needs, (out.shape or ())[axis]
        if reader is None or length == 1:
            return {}
        if isinstance(length, int):
            probe = Picks(range(length - 1), length, length - 1)
        else:
            probe = Picks(Slice(1), None, ir.SymbolicDim(f"({length.value})-1"))
        found = reader(node, axis, probe, self.version) or {}
        return {index: own for index, (own, picks) in found.items() if picks == probe}

    def _mapped(self, found: Spatial | Refusal | None, out: ir.Value) -> list[dict[int, int]]:
        """Axes that a map of positions leaves alone."""
        if not isinstance(found, Spatial):
            return [{}] * (rank_of(out) or 0)
        reads = [found.reads(axis) for axis in range(rank_of(out) or 0)]
        return [self._one(None if axis in found.maps else axis) for axis in reads]

    def _carried(
        self, node: ir.Node, out: ir.Value, carried: Sequence[Mapping[int, int]], why: str
    ) -> Located:
        """The result whose axes stand for these axes of operands, alone or together.

        All else that is read of an operand is read whole.
        """
        places: list[Parts] = []
        lost = self._wholes(node)
        for sources in carried:
            place, gone = self._meeting(node, sources)
            places.append(place)
            lost |= gone
        for index, value in enumerate(node.inputs):
            if value in self.values:
                kept = {own for sources in carried for at, own in sources.items() if at == index}
                every = enumerate(self.values[value].places)
                left = (place for axis, place in every if axis not in kept)
                lost |= {part.origin for place in left for part in place}
        return self._without(node, places, lost, why)

    def _met(
        self, node: ir.Node, out: ir.Value, operands: Iterable[int], joined: int | None = None
    ) -> Located:
        """Operands that meet position by position, aligned at their last axes.

        joined: the axis along which they are put one behind the other instead.
        """
        rank = rank_of(out) or 0
        carried: list[dict[int, int]] = []
        for axis in range(rank):
            sources = {}
            for index in operands:
                value = node.inputs[index]
                own = axis - rank + (rank_of(value) or 0)
                if value is not None and own >= 0 and axis != joined and size(value, own) != 1:
                    sources[index] = own
            carried.append(sources)
        return self._carried(node, out, carried, "it joins positions one behind the other")

    def _viewed(self, node: ir.Node, out: ir.Value) -> Located:
        """The same numbers in another shape: axes that are moved, merged, and told apart again."""
        x = node.inputs[0]
        assert x is not None
        known, before, after = self.values.get(x), dims_of(x), dims_of(out)
        why = "it merges or cuts apart the axis of positions"
        move = view(node)
        if known is None or before is None or after is None or not isinstance(move, Reshape):
            carried = [self._one(view_axis(node, k)) for k in range(rank_of(out) or 0)]
            return self._carried(node, out, carried, why)
        places = regrouped(known.places, before, after)
        for k, place in enumerate(places):
            own = None if place else view_axis(node, k)
            if own is not None:
                places[k] = known.places[own]
        kept = {part.origin for place in places for part in place}
        return self._without(node, places, self._wholes(node) | (known.origins - kept), why)

    def _slid(self, node: ir.Node, slides: Mapping[int, Axis | str]) -> Located:
        """The first operand after a layer."""
        first = node.inputs[0]
        assert first is not None
        known = self.values[first]
        lost = self._wholes(node)
        for value in node.inputs[1:]:
            lost |= self.values[value].origins if value in self.values else set()
        places, why = list(known.places), "its weights are computed from the image"
        for axis, layer in slides.items():
            place = known.places[axis]
            if not place:
                continue
            if len(place) > 1 and not isinstance(layer, str):
                layer = "it slides over axes that were merged"
            before, layer = self._resized(node, axis) or (place[0].axis, layer)
            after = layer if isinstance(layer, str) else _then(before, layer)
            if isinstance(after, str):
                places[axis], why = (), after
                lost |= {part.origin for part in place}
                continue
            if not isinstance(layer, str) and layer.border != (0, 0):
                self._pads(node, place[0].origin)
            places[axis] = (Part(place[0].origin, after),)
        return self._without(node, places, lost, why)

    def _pads(self, node: ir.Node, origin: int) -> None:
        if origin in self.looks.spatial and node not in self.looks.padded:
            self.looks.padded.append(node)

    # --- Axes that meet --------------------------------------------------------------------------

    def _meeting(self, node: ir.Node, sources: Mapping[int, int]) -> tuple[Parts, set[int]]:
        """What stands on an axis of the result, and which axes of the image do so no longer."""
        places: list[Parts] = []
        strangers: list[frozenset[int]] = []
        for index, own in sources.items():
            known = self.values.get(node.inputs[index])  # type: ignore[arg-type]
            if known is not None and known.places[own]:
                places.append(known.places[own])
            else:
                strangers.append(frozenset() if known is None else known.whole)
        origins = {part.origin for place in places for part in place}
        if not places:
            return (), set()
        # What depends on all positions has been found before, and goes on to do so.
        alike = len({tuple(part.origin for part in place) for place in places}) == 1
        if not alike or any(not origins <= whole for whole in strangers):
            self._note(node, origins, "it is given numbers for each position")
            return (), origins
        joined: list[Part] = []
        for parts in zip(*places, strict=True):
            found = join([part.axis for part in parts], multiples=True)
            if isinstance(found, str):
                self._note(node, origins, found)
                return (), origins
            joined.append(replace(parts[0], axis=found))
        return tuple(joined), set()

    def _resized(self, node: ir.Node, axis: int) -> tuple[Axis, Axis] | None:
        """A resize to a size that is computed, where that is a multiple: of what axis, by what.

        It is one where the size is that of a value whose axis is known: of both it is known how
        many positions there are, for every image. The axis before is then that for such images.
        """
        operator, first, out = operator_of(node), node.inputs[0], node.outputs[0]
        found = operator.space(node) if operator.space else None
        how = found.maps.get(axis) if isinstance(found, Spatial) else None
        if not isinstance(how, Resize) or first is None or out.shape is None:
            return None
        place, target = self.values[first].places[axis], self._of_size(out.shape[axis])
        if len(place) != 1 or target is None or target.origin != place[0].origin:
            return None
        if how.size is not None or how.scale is not None:
            return None
        own = place[0].axis
        ratio = _ratio(own, target.axis)
        if ratio is None:
            return None
        factor, multiple = ratio
        layer: Axis | str = Axis()
        if factor > 1:
            layer = resized(replace(how, scale=float(factor), unknown_scale=False))
        if isinstance(layer, str):
            return None
        return replace(own, period=lcm(own.period, multiple), multiple=multiple), layer

    def _of_size(self, dim: int | ir.SymbolicDim) -> Part | None:
        """An axis of a value that has a size of this name."""
        if isinstance(dim, int) or dim.value is None:
            return None
        for value, known in self.values.items():
            for place, own in zip(known.places, shape_of(value) or (), strict=False):
                if len(place) == 1 and own == dim:
                    return place[0]
        return None

    # --- What is lost ----------------------------------------------------------------------------

    def _wholes(self, node: ir.Node) -> set[int]:
        """Axes along which operands depend on all positions already; sizes tell of all of them."""
        wholes: set[int] = set()
        for index, value in enumerate(node.inputs):
            if value in self.values:
                wholes |= self.values[value].whole
            elif value in self.sized and not self._is_told(node, index):
                self._note(
                    node, set(self.looks.spatial), "it calculates with the size of the image"
                )
                wholes |= set(self.looks.spatial)
        return wholes

    def _is_told(self, node: ir.Node, index: int) -> bool:
        """Whether an operand is a size of the result, which its shape tells as well."""
        operator = operator_of(node)
        return index in (operator.target, *operator.settings) or operator.role is Role.VIEW

    def _without(self, node: ir.Node, places: Sequence[Parts], lost: set[int], why: str) -> Located:
        """A result with these axes, of which each axis of the image stands at one only."""
        origins = [part.origin for place in places for part in place]
        twice = {origin for origin in origins if origins.count(origin) > 1}
        before = self._wholes(node)
        self._note(node, (lost | twice) - before, why)
        kept = tuple(() if twice & {part.origin for part in place} else place for place in places)
        return Located(kept, frozenset(lost | twice))

    def _lost(self, node: ir.Node, why: str) -> Located:
        """A result of which nothing is known: it may depend on all there is."""
        origins = {o for v in node.inputs if v in self.values for o in self.values[v].origins}
        rank = max((rank_of(value) or 0 for value in node.outputs), default=0)
        return self._without(node, [()] * rank, origins | self._wholes(node), why)

    def _unknown(self, node: ir.Node, why: str) -> Located:
        """A result that may depend on anything."""
        origins = {0, *self.looks.spatial}
        return self._without(node, [()] * (rank_of(node.outputs[0]) or 0), origins, why)

    def _note(self, node: ir.Node, origins: set[int], why: str) -> None:
        """What a node does to axes of positions is remembered, the first thing only."""
        if origins & set(self.looks.spatial):
            name = node.name or (node.outputs[0].name or "")
            self.looks.reasons.setdefault(node, f"{node.op_type} {name}: {why}")


def _then(axis: Axis, layer: Axis) -> Axis | str:
    try:
        return axis.then(layer)
    except UsageError as error:
        return str(error)


def _ratio(axis: Axis, target: Axis) -> tuple[int, int] | None:
    """How many times as many outputs the one has as the other, and for images of which multiple.

    After a common multiple of all strides both have grown by fixed numbers: two sizes tell of all.
    """
    every = lcm(axis.stride, target.stride, axis.multiple, target.multiple)
    many = (max(axis.large, target.large) // every + 1) * every
    sizes = [(axis.size(n), target.size(n)) for n in (many, many + every)]
    (a, b), (c, d) = sizes
    if not a or not c or b % a or d % c or b // a != d // c:
        return None
    return b // a, every
