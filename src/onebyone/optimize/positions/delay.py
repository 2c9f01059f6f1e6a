"""Delay: what repeats positions waits until all that is done position by position is done.

    f(S x) = S f(x)        S repeats: it gives more positions than it reads

A gather of neighbours, a nearest resize, an Expand; f is whatever hangs on S x alone and looks at
each of its positions by itself: activations, normalisations over channels, whole MLPs. Of a linear
layer the regions see the same, but an activation behind it stands in the way of the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

import onnx_ir as ir

from onebyone.cost.estimate import elements_of, node_time
from onebyone.cost.profile import Cost, pays
from onebyone.graph.axes import Spatial
from onebyone.graph.constants import constant, is_float
from onebyone.graph.count_walk import name_of
from onebyone.graph.edit import Edit
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.conversion import is_of_int8_codes
from onebyone.graph.picks import Picks
from onebyone.graph.spatial import spatial
from onebyone.graph.values import Size, input_at, rank_of, shape_of
from onebyone.optimize.positions.prices import macs_of
from onebyone.optimize.positions.through import through
from onebyone.optimize.rewritten import Rewrite, Task

__all__ = ["delay"]

MAX_NODES = 64
"""Nodes that one selection is moved behind."""

_SELECTIONS = frozenset({"Expand", "Gather", "GatherND", "Resize", "Tile", "Upsample"})
_ONE = Picks(range(1), None, 1)  # of any axis: what is needed for the first position


@dataclass(frozen=True, eq=False)
class Delayed:
    """A selection, and what may be done before it.

    Args:
        node: the selection.
        axes: along which it gives other positions than it reads.
        behind: the nodes that hang on it alone, position by position, in order.
        last: the one result of theirs that others read.
    """

    node: ir.Node
    axes: tuple[int, ...]
    behind: tuple[ir.Node, ...]
    last: ir.Value

    @property
    def operand(self) -> ir.Value:
        """What the selection reads."""
        value = self.node.inputs[0]
        assert value is not None
        return value


def delay(task: Task) -> Iterator[Rewrite]:
    """Move each selection that repeats behind what is done position by position, in place."""
    graph, edit = task.model.graph, Edit(task.model.graph)
    gone = set[ir.Node]()
    for node in list(graph):
        found = _delayed(node, graph.opset_imports.get("", 0)) if node not in gone else None
        if found is None or gone.intersection(found.behind):
            continue
        before, after = _costs(found, task)
        if not pays(before, after, task.profile):
            continue
        root = found.last.name or ""
        names = tuple(name_of(n) for n in (node, *found.behind))
        _carry_out(found, edit)
        gone.update((node, *found.behind))
        saved = {"demand": before.macs - after.macs}
        yield Rewrite(root, names, saved, before, after, made=edit.fresh(), small=False)


def _delayed(node: ir.Node, version: int) -> Delayed | None:
    """A selection that repeats, and all that may be done before it; None if nothing may."""
    x, y = input_at(node, 0), node.outputs[0]
    if node.domain != "" or node.op_type not in _SELECTIONS or not is_float(y) or x is None:
        return None
    found, before, after = spatial(node), shape_of(x), shape_of(y)
    if not isinstance(found, Spatial) or not found.is_selection or constant(x) is not None:
        return None
    if is_of_int8_codes(x, version):
        return None
    if before is None or after is None or len(before) != len(after):
        return None
    if found.vanished or found.added or not found.maps:
        return None
    axes = tuple(sorted(found.maps))
    if any(a != b for k, (a, b) in enumerate(zip(before, after, strict=True)) if k not in axes):
        return None
    behind = _behind(y, axes, version)
    ends = [v for n in behind for v in n.outputs if _leaves(v, behind)]
    if len(ends) != 1 or _leaves(y, behind) or not _serves(node, ends[0], axes):
        return None
    return Delayed(node, axes, behind, ends[0])


def _behind(y: ir.Value, axes: Sequence[int], version: int) -> tuple[ir.Node, ...]:
    """The nodes that hang on a value alone, and on constants, position by position along axes."""
    known, taken, waiting = {y}, list[ir.Node](), [use.node for use in y.uses()]
    while waiting and len(taken) < MAX_NODES:
        node = waiting.pop(0)
        others = [v for v in node.inputs if v is not None and v not in known]
        # Not all of its operands may be known yet: then one of them asks again.
        if node in taken or not all(constant(v) is not None for v in others):
            continue
        if node.graph is not y.graph or not _is_local(node, known, axes, version):
            continue
        taken.append(node)
        known.add(node.outputs[0])
        waiting += [use.node for use in node.outputs[0].uses()]
    return tuple(taken)


def _is_local(node: ir.Node, known: set[ir.Value], axes: Sequence[int], version: int) -> bool:
    """Whether each position of a result is made of the same one of the operands, along axes."""
    row, out = operator_of(node), shape_of(node.outputs[0])
    if row.spelled is not None or row.target is not None or node.op_type == "Dropout":
        return False  # it is told sizes, or may draw
    if out is None or not is_float(node.outputs[0]) or len(node.outputs) > 1:
        return False
    # Where an axis came or went, the others are called by other numbers.
    if any(rank_of(v) != len(out) for v in node.inputs if v in known):
        return False
    for axis in axes:
        needs = through(node, axis, _ONE, version)
        if needs is None or any(own != axis or picks is not _ONE for own, picks in needs.values()):
            return False
        # Constants are the same at all positions, and all else is what was selected.
        data = {k for k, v in enumerate(node.inputs) if v in known}
        if needs.keys() != data:
            return False
    return True


def _leaves(value: ir.Value, nodes: Sequence[ir.Node]) -> bool:
    """Whether something else than these nodes reads a value."""
    return value.is_graph_output() or any(use.node not in nodes for use in value.uses())


def _serves(node: ir.Node, value: ir.Value, axes: Sequence[int]) -> bool:
    """Whether a selection can be told as it is to select of what becomes of its operand."""
    if node.op_type in ("Gather", "GatherND"):
        return True
    # Sizes, scales and repeats are told of all axes.
    before, after = shape_of(node.outputs[0]) or (), shape_of(value) or ()
    return before == after


def _costs(found: Delayed, task: Task) -> tuple[Cost, Cost]:
    """Of the nodes as they are, and of as many with fewer positions."""
    sizes, profile = task.sizes, task.profile
    shapes = [sizes.shape(v) for v in (found.operand, found.node.outputs[0])]
    if shapes[0] is None or shapes[1] is None or 0 in shapes[1]:
        return Cost(), Cost()
    fewer = Fraction(prod(shapes[0]), prod(shapes[1]))
    large = {found.node.outputs[0], *(node.outputs[0] for node in found.behind)}

    def cost(node: ir.Node, share: Fraction, wider: Fraction = Fraction(1)) -> Cost:
        def elements(value: ir.Value) -> float:
            here = share if value in large else Fraction(1)
            return float(elements_of(value, sizes) * here * wider)

        macs = macs_of(node, sizes) * share
        return Cost(node_time(node, float(macs), profile, elements), round(macs))

    now, then = cost(found.node, Fraction(1)), Cost()
    ends = elements_of(found.last, sizes)
    then = cost(found.node, Fraction(1), Fraction(ends, prod(shapes[1])))
    for node in found.behind:
        now += cost(node, Fraction(1))
        then += cost(node, fewer)
    return now, then


def _carry_out(found: Delayed, edit: Edit) -> None:
    """The nodes on what is selected from, and the selection of their result."""
    x, y, last = found.operand, found.node.outputs[0], found.last
    there, maker = {y: x}, last.producer()
    assert maker is not None
    for node in found.behind:
        out = node.outputs[0]
        there[out] = edit.node(
            node.op_type,
            [v if v is None else there.get(v, v) for v in node.inputs],
            node.attributes,
            before=maker,
            stem=f"{out.name}.{node.op_type}",
            dtype=out.dtype,
            shape=_dims(out, x, found.axes),
        )
    operands = [there[last], *found.node.inputs[1:]]
    value = edit.node(found.node.op_type, operands, found.node.attributes, before=maker,
                      stem=f"{last.name}.{found.node.op_type}", dtype=last.dtype,
                      shape=last.shape)  # fmt: skip
    edit.replace(last, value)


def _dims(value: ir.Value, x: ir.Value, axes: Sequence[int]) -> list[Size]:
    """The shape of a value at the positions of another one."""
    assert value.shape is not None
    assert x.shape is not None
    return [x.shape[k] if k in axes else n for k, n in enumerate(value.shape)]
