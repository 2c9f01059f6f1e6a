"""K×K convolutions of images that tiles can compute, and the forms of these (`tiles.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, product

import numpy as np
import onnx_ir as ir

from onebyone.algebra.laws import refused
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.selection import Pad
from onebyone.algebra.weights import Array
from onebyone.algebra.window import Window
from onebyone.algebra.winograd import BASES, Basis
from onebyone.graph.axes import Spatial
from onebyone.graph.constants import constant
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.pooling import laid_windows
from onebyone.graph.ops.row import Role
from onebyone.graph.spatial import spatial
from onebyone.graph.values import Size, input_at, made_by, maker, rank_of, shape_of

__all__ = ["Form", "Site", "forms_of", "reads_nothing", "site_of"]


@dataclass(frozen=True)
class Form:
    """In which bases a convolution is computed.

    Args:
        rows: the basis along the height.
        columns: along the width, of as many outputs; None where the width keeps its taps.
    """

    rows: Basis
    columns: Basis | None = None

    @property
    def bases(self) -> tuple[Basis, Basis | None]:
        """Axis by axis."""
        return self.rows, self.columns

    @property
    def products(self) -> int:
        """How many groups there are: α along the rows, or those of both axes."""
        return len(self.one)

    @property
    def outputs(self) -> Array:
        """(m, α), or (m², α²): A along each axis."""
        if self.columns is None:
            return self.rows.A
        return np.kron(self.rows.A, self.columns.A)

    @property
    def kernel(self) -> Array:
        """(α², α, α): B along both axes, as the kernels of a convolution."""
        assert self.columns is not None
        sizes = self.rows.products, self.columns.products
        return np.kron(self.rows.B, self.columns.B).reshape(-1, *sizes)

    @property
    def one(self) -> Array:
        """(α,), or (α²,): what the outputs make ones of."""
        if self.columns is None:
            return self.rows.one
        return np.kron(self.rows.one, self.columns.one)

    def __str__(self) -> str:
        m = self.rows.outputs
        if self.columns is None:
            return f"tiles of {m} rows"
        return f"tiles of {m}×{m}"


@dataclass(frozen=True, eq=False)
class Site:
    """A convolution that can be computed on tiles.

    Args:
        node: the convolution.
        weight: (C_out, C_in / groups, K, L).
        sizes: the height and the width of its input.
        windows: along each.
    """

    node: ir.Node
    weight: Array
    sizes: tuple[int, int]
    windows: tuple[Window, Window]

    @property
    def groups(self) -> int:
        """Of its channels."""
        return self.node.attributes.get_int("group", 1)

    @property
    def outputs(self) -> tuple[int, int]:
        """The height and the width of its result."""
        (tall, wide), (h, w) = self.windows, self.sizes
        return tall.out_size(h), wide.out_size(w)

    @property
    def in_the_image(self) -> float:
        """The share of the taps that read the image; engines pass over those that read padding.

        Of 33 × 33 numbers and a dilation of 18, where two fifths do, tiles of rows took 1.4 to 1.6
        times as long as the convolution; of 6, where three quarters do, 0.85 times.
        """
        share = 1.0
        for window, n in zip(self.windows, self.sizes, strict=True):
            taps = window.taps(window.out_size(n))
            share *= float(((taps >= 0) & (taps < n)).mean())
        return share

    @property
    def batch(self) -> Size:
        """How many maps there are; it may be free."""
        shape = shape_of(self.node.inputs[0])
        assert shape is not None
        return shape[0]


def site_of(node: ir.Node) -> Site | Refusal | None:
    """The site of a K×K; None if a node is none, or its weight is not constant."""
    if node.domain != "" or node.op_type != "Conv":
        return None
    x, weight = node.inputs[0], constant(input_at(node, 1))
    if weight is None or rank_of(x) != weight.ndim or weight.ndim < 3 or not weight.size:
        return None
    bias = input_at(node, 2)
    if bias is not None and constant(bias) is None:
        return None
    # One row is no K×K, and where one channel is read nothing is summed over channels.
    if node.attributes.get_int("group", 1) * weight.shape[1] == 1 or weight.shape[2] == 1:
        return None
    if weight.shape[1] == 1:
        return refused("winograd", "depthwise")
    if _is_quantised(node):
        return refused("winograd", "quantised")
    kind = node.outputs[0].dtype
    if kind != ir.DataType.FLOAT:
        return refused("winograd", "numbers", numbers=_named(kind))
    return _laid(node, weight, shape_of(x) or ())


def _laid(node: ir.Node, weight: Array, shape: Sequence[Size]) -> Site | Refusal | None:
    """With its windows, where each position has one and the sizes are known."""
    if max([1, *node.attributes.get_ints("strides", ())]) > 1:
        return refused("winograd", "stride")
    if weight.ndim != 4:
        return refused("winograd", "axes", axes=weight.ndim - 2)
    if not any(k == weight.shape[2] for _, k in BASES):
        return refused("winograd", "taps", taps="×".join(map(str, weight.shape[2:])))
    sizes = tuple(n for n in shape[2:] if isinstance(n, int))
    if len(sizes) < 2:
        return refused("winograd", "free")
    windows = laid_windows(node, weight.shape[2:], sizes)
    if windows is None or min(min(w.before, w.after) for w in windows) < 0:
        return None
    site = Site(node, weight, (sizes[0], sizes[1]), (windows[0], windows[1]))
    if min(site.outputs) < 1:
        return None
    return site


def reads_nothing(site: Site) -> bool:
    """Whether somewhere a channel reads padding alone.

    It is exactly 0 there; on tiles it were what cancels of pixels that the tile sees as well.
    """
    seen = []
    for axis, (window, n) in enumerate(zip(site.windows, site.sizes, strict=True), start=2):
        first, last = _zeros(site.node.inputs[0], axis)
        before, pixels = window.before + first, n - first - last
        starts, apart = range(-before, window.out_size(n) - before), window.dilation
        # From the first tap that is not in front of the image up to the first behind it.
        inside = {
            (max(-(i // apart), 0), min(-((i - pixels) // apart), window.kernel)) for i in starts
        }
        seen.append([slice(low, max(low, high)) for low, high in inside])
    taps = np.asarray(site.weight.any(axis=1))
    taps = taps[taps.any(axis=(1, 2))]  # a channel without any weight is 0 in any basis
    return not all(taps[:, r, c].any(axis=(1, 2)).all() for r, c in product(*seen))


def _zeros(value: ir.Value | None, axis: int) -> tuple[int, int]:
    """How many zeros a Pad puts before and behind an axis of a value."""
    node = made_by(value, "Pad")
    found = None if node is None else spatial(node)
    pad = found.maps.get(axis) if isinstance(found, Spatial) else None
    if not isinstance(pad, Pad) or pad.mode != "constant":
        return 0, 0
    return max(pad.before, 0), max(pad.after, 0)


def _is_quantised(node: ir.Node) -> bool:
    """Whether what it reads comes from integers, or what it gives goes there."""
    around = chain(_near(node, _makers), _near(node, _readers))
    return any(operator_of(each).role is Role.QUANTIZATION for each in around)


def _near(node: ir.Node, step: Callable[[ir.Node], Iterable[ir.Node]]) -> Iterator[ir.Node]:
    """What a chain of steps reaches, up to products and to where tensors meet.

    Behind these stand other tensors, which may well be of integers where this one is not.
    """
    seen, left = {node}, list(step(node))
    while left:
        reached = left.pop()
        if reached in seen:
            continue
        seen.add(reached)
        yield reached
        row = operator_of(reached)
        if row.work is None and row.role not in (Role.SUM, Role.CONCAT, Role.QUANTIZATION):
            left += step(reached)


def _makers(node: ir.Node) -> list[ir.Node]:
    return [found for value in node.inputs if (found := maker(value)) is not None]


def _readers(node: ir.Node) -> list[ir.Node]:
    return [use.node for value in node.outputs for use in value.uses()]


def _named(kind: ir.DataType | None) -> str:
    return "unknown" if kind is None else kind.name.lower()


def forms_of(site: Site) -> Iterator[Form]:
    """All forms of a convolution: along its rows, and, if it is not dilated, along both axes.

    Of those along both axes it is that of the most outputs: smaller tiles were slower than rows at
    every size (docs/decisions/0035-winograd.md), and lose as many digits.
    """
    tall, wide = site.weight.shape[2:]
    yield from (Form(basis) for (_, taps), basis in BASES.items() if taps == tall)
    both = [m for m, taps in BASES if taps == tall and (m, wide) in BASES]
    if both and all(window.dilation == 1 for window in site.windows):
        yield Form(BASES[max(both), tall], BASES[max(both), wide])
