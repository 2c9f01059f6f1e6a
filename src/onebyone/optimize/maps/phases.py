"""Phases: a K×K behind a nearest upsampling, computed on the small map (`algebra.phases`).

    K P U x       = D [K₀ P₀ x; K₁ P₁ x; …]           D: phases interleave, with channels last
                                                     or, of free sizes, by DepthToSpace
    f(D x)        = D f(x)                            f: an activation
    K P [U x; z]  = K₁ P U x + K₂ P z                 the kernel is split; K₂ stays as large as K

Where phases are no blocks of an image, one transposed convolution computes all of them. The
activation goes with the kernels: engines compute it in the convolution that it stands behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import onnx_ir as ir

from onebyone.algebra.kernel import Kernel
from onebyone.algebra.laws import refused
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.transposed import TransposedKernel
from onebyone.algebra.weights import Array
from onebyone.algebra.window import Window
from onebyone.cost.estimate import elements_of, node_time
from onebyone.cost.profile import Cost, pays
from onebyone.graph.constants import constant, is_float
from onebyone.graph.count import macs
from onebyone.graph.count_walk import name_of
from onebyone.graph.edit import Edit
from onebyone.graph.exact import Unrepresentable
from onebyone.graph.ops import Role, role
from onebyone.graph.symbolic import simplified
from onebyone.graph.values import Size, all_known, input_at, size
from onebyone.optimize.maps.upsampled_kernels import Form, Site, form_of, site_of
from onebyone.optimize.rewritten import Rewrite, Task
from onebyone.optimize.sharing import is_kept

__all__ = ["near_misses", "split_phases"]


class _DoesNotPay(Exception):
    """What was made costs more than what it would replace."""


def split_phases(task: Task) -> Iterator[Rewrite]:
    """Compute, in place, each K×K behind a nearest upsampling by its phases, where that pays.

    One whose sums of taps could lose more than the task's `lost_bits` stays.
    """
    placer = _Placer(Edit(task.model.graph), task)
    for node in list(task.model.graph):
        site = site_of(node)
        form = form_of(site) if isinstance(site, Site) else None
        if isinstance(site, Site) and isinstance(form, Form) and form.lost <= task.lost_bits:
            yield from placer.place(site, form)


def near_misses(task: Task) -> Iterator[tuple[ir.Node, Refusal]]:
    """The K×Ks behind a nearest upsampling that stay where they are, and why."""
    for node in task.model.graph:
        found: Site | Form | Refusal | None = site_of(node)
        if isinstance(found, Site):
            found = form_of(found)
        if isinstance(found, Refusal):
            yield node, found
        elif isinstance(found, Form) and found.lost > task.lost_bits:
            yield node, refused("phases", "digits", lost=found.lost)
        elif isinstance(found, Form):
            yield node, refused("phases", "price")


@dataclass(eq=False)
class _Placer:
    """Puts phases into a graph.

    Args:
        edit: of the graph.
        task: with the sizes and the machine.
        gone: nodes that nobody reads any more.
    """

    edit: Edit
    task: Task
    gone: set[ir.Node] = field(default_factory=set)

    def place(self, site: Site, form: Form) -> Iterator[Rewrite]:
        """Replace a convolution, if what takes its place is cheaper."""
        node, last = site.node, _activated(site, form)
        replaced = tuple(dict.fromkeys([last, *site.nodes]))
        unread = self._unread(replaced)
        before = self._cost(unread)
        try:
            with self.edit.attempt() as made:
                result = self._made(site, form, last)
                after = self._cost(made, self._beside(node, made))
                # Kernels of all phases are stored: fewer operators alone are not worth that.
                if after.macs >= before.macs or not pays(before, after, self.task.profile):
                    raise _DoesNotPay
        except (_DoesNotPay, Unrepresentable):
            self.edit.fresh()
            return
        self.gone |= unread
        y = last.outputs[0]
        names = tuple(name_of(other) for other in replaced)
        self.edit.replace(y, result)
        saved = {"phases": before.macs - after.macs}
        yield Rewrite(
            y.name or "", names, saved, before, after, lost_bits=form.lost, made=self.edit.fresh()
        )

    def _unread(self, nodes: Sequence[ir.Node]) -> set[ir.Node]:
        """The nodes that go when the first does: readers stand before what they read."""
        unread = {nodes[0]}
        for node in nodes[1:]:
            users = {use.node for value in node.outputs for use in value.uses()}
            told = any(value.is_graph_output() for value in node.outputs)
            if not told and users <= unread | self.gone:
                unread.add(node)
        return unread

    def _cost(self, nodes: Iterable[ir.Node], beside: int = 0) -> Cost:
        sizes, profile, cost = self.task.sizes, self.task.profile, Cost(beside)
        elements = partial(elements_of, sizes=sizes)
        for node in nodes:
            work = macs(self.edit.graph, sizes, [node])
            cost += Cost(node_time(node, work, profile, elements), work)
        return cost

    def _beside(self, node: ir.Node, made: Sequence[ir.Node]) -> int:
        """Where others keep K, the phases are stored beside it, and read from memory."""
        weight = node.inputs[1]
        if weight is None or not is_kept(weight, [node, *self.gone]):
            return 0
        read = (value for new in made for value in new.inputs if value is not None)
        stored = {value for value in read if value.const_value is not None}
        numbers = sum(elements_of(value, self.task.sizes) for value in stored)
        return self.task.profile.reading(numbers)

    # What is made ------------------------------------------------------------------------------

    def _made(self, site: Site, form: Form, last: ir.Node) -> ir.Value:
        node, bias = site.node, input_at(site.node, 2)
        if site.rest is None:
            return self._phases(site, form, bias, last)
        rest = self._rest(site, bias)
        y = node.outputs[0]
        return self._node(node, "Add", [rest, self._phases(site, form, None, node)], {}, y.shape)

    def _rest(self, site: Site, bias: ir.Value | None) -> ir.Value:
        """The convolution of what is not upsampled, as it was."""
        node, concat = site.node, site.concat
        assert concat is not None
        assert site.rest is not None
        values = [value for k, value in enumerate(concat.inputs) if k != site.part]
        x: ir.Value | None = values[0]
        if len(values) > 1:
            joined = _with_channels(concat.outputs[0].shape, site.rest.shape[1])
            x = self._node(node, "Concat", values, concat.attributes, joined)
        if site.pad is not None:
            padded = _with_channels(site.pad.outputs[0].shape, site.rest.shape[1])
            operands = [x, *site.pad.inputs[1:]]
            x = self._node(node, "Pad", operands, site.pad.attributes, padded)
        shape = node.outputs[0].shape
        return self._convolution(site, "Conv", x, site.rest, bias, node.attributes, shape)

    def _phases(self, site: Site, form: Form, bias: ir.Value | None, last: ir.Node) -> ir.Value:
        kernels, node = form.kernels, site.node
        if isinstance(kernels, TransposedKernel):
            return self._transposed(site, kernels, bias)
        parts = [self._phase(site, kernel, bias) for kernel in kernels]
        if len(parts) == 1:
            return parts[0]
        if last is not node:
            of_each = partial(self._node, node, last.op_type, attributes=last.attributes)
            others = last.inputs[1:]
            parts = [of_each([part, *others], shape=part.shape) for part in parts]
        stacked = _with_channels(parts[0].shape, len(parts) * kernels[0].channels[1])
        joined = self._node(node, "Concat", parts, {"axis": 1}, stacked)
        known = all_known(size(node.outputs[0], axis) for axis in (2, 3))
        factor = round(len(parts) ** 0.5)
        if known is not None:
            return self._interleaved(node, joined, known, factor)
        # Phases stand row by row, as this mode has the places of a block.
        blocks = {"blocksize": factor, "mode": "DCR"}
        return self._node(node, "DepthToSpace", [joined], blocks, node.outputs[0].shape)

    def _interleaved(
        self, node: ir.Node, x: ir.Value, image: Sequence[int], factor: int
    ) -> ir.Value:
        """What DepthToSpace does, by rows of all channels, which are copied whole.

        Where channels come last, columns of phases in turn are what stands there already.
        """
        assert x.shape is not None
        batch, (height, width) = x.shape[0], image
        stacked, low, short = (n for n in x.shape[1:] if isinstance(n, int))
        wide = stacked // factor
        turn = partial(self._node, node, "Transpose")
        rows = low * batch if isinstance(batch, int) else _times(batch, low)
        y = turn([x], {"perm": [0, 2, 3, 1]}, [batch, low, short, stacked])
        # Engines are slow at one more axis, so rows of the image are told as images.
        y = self._reshaped(node, y, [rows, short, factor, wide])
        y = turn([y], {"perm": [0, 2, 1, 3]}, [rows, factor, short, wide])
        y = self._reshaped(node, y, [batch, height, width, wide // factor])
        return turn([y], {"perm": [0, 3, 1, 2]}, node.outputs[0].shape)

    def _reshaped(self, node: ir.Node, x: ir.Value, shape: Sequence[Size]) -> ir.Value:
        # The batch may be free: what is left is its size.
        to = self.edit.integers([-1, *(n for n in shape[1:] if isinstance(n, int))])
        return self._node(node, "Reshape", [x, to], {}, shape)

    def _phase(self, site: Site, kernel: Kernel, bias: ir.Value | None) -> ir.Value:
        """A convolution of the small map, padded as the large one was."""
        x, pads = site.up.x, kernel.pads
        assert x.shape is not None
        every = zip(x.shape[2:], kernel.windows, strict=True)
        dims = [x.shape[0], kernel.channels[1], *(_outputs(n, window) for n, window in every)]
        if site.mode:
            x, pads = self._padded(site, pads), tuple((0, 0) for _ in pads)
        attributes = {"pads": _listed(pads), "strides": kernel.stride, "group": kernel.groups}
        return self._convolution(site, "Conv", x, kernel.weight, bias, attributes, dims)

    def _transposed(self, site: Site, kernel: TransposedKernel, bias: ir.Value | None) -> ir.Value:
        node, x = site.node, site.up.x
        if site.mode:
            around = zip(site.kernel.pads, site.up.factors, strict=True)
            x = self._padded(site, [(-(-a // s), -(-b // s)) for (a, b), s in around])
        ends, shape = _listed(kernel.pads), node.outputs[0].shape
        attributes = {"pads": ends, "strides": kernel.stride, "group": kernel.groups}
        return self._convolution(site, "ConvTranspose", x, kernel.weight, bias, attributes, shape)

    def _padded(self, site: Site, pads: Sequence[tuple[int, int]]) -> ir.Value:
        x = site.up.x
        assert x.shape is not None
        if not any(map(any, pads)):
            return x
        every = zip(x.shape[2:], pads, strict=True)
        dims = [*x.shape[:2], *(_outputs(n, Window(1, 1, *pair)) for n, pair in every)]
        ends = self.edit.integers(_listed([(0, 0), (0, 0), *pads]))
        return self._node(site.node, "Pad", [x, ends], {"mode": site.mode}, dims)

    def _convolution(
        self, site: Site, op: str, x: ir.Value | None, weight: Array, bias: ir.Value | None,
        attributes: Mapping[str, Any], shape: Any,
    ) -> ir.Value:  # fmt: skip
        operands: list[ir.Value | None] = [
            x,
            self.edit.constant_like(site.node.inputs[1], weight, "phases"),
        ]
        if bias is not None:
            operands.append(bias)
        return self._node(site.node, op, operands, attributes, shape)

    def _node(
        self, node: ir.Node, op: str, operands: Sequence[ir.Value | None],
        attributes: Mapping[str, Any], shape: Any,
    ) -> ir.Value:  # fmt: skip
        y = node.outputs[0]
        stem = f"{y.name}.{op}"
        return self.edit.node(
            op, operands, attributes, before=node, stem=stem, dtype=y.dtype, shape=shape
        )


def _activated(site: Site, form: Form) -> ir.Node:
    """The activation that alone reads a convolution of several phases, or that convolution."""
    y = site.node.outputs[0]
    users = [use.node for use in y.uses()]
    are_several = isinstance(form.kernels, tuple) and len(form.kernels) > 1
    if not are_several or site.rest is not None or y.is_graph_output() or len(users) != 1:
        return site.node
    return users[0] if _is_of_each(users[0], y) else site.node


def _is_of_each(node: ir.Node, x: ir.Value) -> bool:
    """Whether a node does the same to each number of x, wherever it stands."""
    if role(node) is not Role.ELEMENTWISE or node.inputs[0] is not x or node.graph is not x.graph:
        return False
    others = [value for value in node.inputs[1:] if value is not None]
    # Initialisers are there wherever the node goes; views of them stand somewhere.
    stored = all(value.producer() is None for value in others)
    single = all(n is not None and n.size == 1 for n in map(constant, others))
    return stored and single and is_float(node.outputs[0])


def _listed(pads: Sequence[tuple[int, int]]) -> list[int]:
    """All that is padded before, then all behind, as operators have it."""
    return [*(before for before, _ in pads), *(after for _, after in pads)]


def _with_channels(shape: ir.Shape | None, channels: int) -> list[Size] | None:
    if shape is None:
        return None
    return [shape[0], channels, *shape[2:]]


def _times(n: ir.SymbolicDim, times: int) -> Size:
    return simplified(ir.SymbolicDim(f"{times}*({n.value})"))


def _outputs(n: Size, window: Window) -> Size:
    """The number of outputs of a window on an axis that may be free."""
    if isinstance(n, int):
        return window.out_size(n)
    return simplified(ir.SymbolicDim(f"floor(({n.value} + {window.slack})/{window.stride}) + 1"))
