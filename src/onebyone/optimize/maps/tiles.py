"""K×K convolutions of images in Winograd's bases: what that costs, and the nodes.

Two forms, for an image x (N, C, H, W), T tiles along an axis, α positions that a tile sees:

    rows     along the height alone, the width keeps its taps
             pad, gather        (N, C, α, T, W)      what each tile sees, whole rows at a time
             multiply by B      (N, C, α, T·W)
             transpose          (N, α, C, T·W)
             convolve           (N, α·D, T, W)       α groups: U_j, with the taps of the width;
                                                     each has as many as the convolution has
             multiply by A      (N, m, D·T·W)
             transpose          (N, D, T·m, W)
    tiles    along both, of as many outputs
             convolve by B      (N·C, α², T, T)      strides m, each channel by itself
             transpose          (N, α², C, T·T)
             convolve           (N, α²·D, T, T)      α² groups of 1×1s: U_j
             multiply by A      (N, m², D·T·T)
             blocks to image    (N, D, T·m, T·m)

What the last tiles have too much is cut off. A large image is done strip by strip of its rows, so
that what a strip becomes stays in a cache, and is never there of the whole image at once. Which
forms were tried, and what they took in two engines: docs/decisions/0035-winograd.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil, prod
from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.algebra.window import Window
from onebyone.algebra.winograd import in_basis
from onebyone.cost.price import Load, manner, time
from onebyone.cost.profile import Cost, Profile
from onebyone.graph.constants import constant
from onebyone.graph.edit import CUT, Edit
from onebyone.graph.symbolic import simplified
from onebyone.graph.values import Size, input_at
from onebyone.optimize.maps.tiled_kernels import Form, Site

__all__ = ["cost_of", "cuts_of", "dearer", "is_large", "strips_of", "tile"]

# What it costs ------------------------------------------------------------------------------------


_CACHED = 300_000
"""As many numbers of what a strip becomes, by its basis or by the products, stay in a cache."""
_READ_FOR = {False: 512, True: 64}
"""For so many columns at least each number of U is read once, on rows and on tiles of both axes."""
_FEWEST = {False: 64, True: 16}
"""Of fewer columns than so many products are slow, and reading U takes the most time."""
_MOST = 16
"""Strips of one image: each is some ten nodes."""


def strips_of(site: Site, form: Form, batch: int) -> list[range]:
    """The rows of tiles that are done together: all, or as many as stay in a cache."""
    return next(cuts_of(site, form, batch))


def cuts_of(site: Site, form: Form, batch: int) -> Iterator[list[range]]:
    """An image cut into strips, rows of tiles each: as `strips_of`, then finer and finer.

    Finer strips take less memory, and by their prices more time, for U is read for each. As long as
    each has columns enough they were as fast as fewer ones: docs/decisions/0035-winograd.md.
    """
    t, is_square = _Tiles.all(site, form), form.columns is not None
    rows, columns = len(t.rows), prod(t.made[2:])
    numbers = batch * max(prod(t.seen), prod(t.made))
    least = max(_CACHED / numbers, _READ_FOR[is_square] / columns), _FEWEST[is_square] / columns
    count, most = (min(_MOST, max(1, rows // ceil(rows * share))) for share in least)
    yield _cut(rows, count)
    while count < most:
        count = min(2 * count, most)
        yield _cut(rows, count)


def _cut(rows: int, count: int) -> list[range]:
    """So many strips, as equal as can be.

    >>> _cut(7, 3)
    [range(0, 2), range(2, 4), range(4, 7)]
    """
    ends = [k * rows // count for k in range(count + 1)]
    return [range(a, b) for a, b in pairwise(ends)]


def cost_of(site: Site, form: Form, strips: Sequence[range], batch: int, profile: Profile) -> Cost:
    """What a form takes: by the prices of its operators, the way to tiles and back by its own.

    What it stores more is read. An activation or a sum behind a convolution is computed with it,
    and behind tiles it is an operator of its own.
    """
    products, way = _loads(site, form, strips, batch)
    dearer = profile.rows if form.columns is None else profile.tiles
    taken = _priced(products, profile) + round(dearer * _way(site, way, profile))
    result = batch * site.weight.shape[0] * prod(site.outputs)
    taken += profile.time(elements=2 * result) + _reading(site, form, profile)
    return Cost(taken, round(sum(load.macs for _, load in (*products, *way))))


def dearer(site: Site, form: Form, batch: int, picoseconds: int, profile: Profile) -> float:
    """How many times dearer than its operators the way is, if a form takes so many picoseconds."""
    products, way = _loads(site, form, strips_of(site, form, batch), batch)
    rest = _priced(products, profile) + _reading(site, form, profile)
    return (picoseconds - rest) / _way(site, way, profile)


_Loads = list[tuple[str, Load]]


def _loads(site: Site, form: Form, strips: Sequence[range], batch: int) -> tuple[_Loads, _Loads]:
    """The products, and the operators from the image to the tiles and back."""
    whole = _Tiles.all(site, form)
    products = [_products(replace(whole, rows=rows), batch) for rows in strips]
    way = [*_around(whole, batch, len(strips) > 1)]
    for rows in strips:
        way += _ways(replace(whole, rows=rows), batch)
    return products, way


def _way(site: Site, loads: _Loads, profile: Profile) -> int:
    # Of several groups all channels are on their way together, and no cache holds them. One AVX-512
    # core, 28 × 28, both engines: 4 of 48 channels 0.98 and 1.14, of 64 1.12 and 1.19, of 112 1.23
    # and 1.33; 8 of 64 at 56 × 56 1.00 and 1.03.
    return _priced(loads, profile) * (1 + (site.groups > 1))


def _priced(loads: Iterable[tuple[str, Load]], profile: Profile) -> int:
    # Of a Gather, and by transposes, whole rows are copied.
    return sum(time(manner(op, of_rows=True), load, profile) for op, load in loads)


def _reading(site: Site, form: Form, profile: Profile) -> int:
    # What U has more than the weight.
    return profile.reading(max(0, _Tiles.all(site, form).stored - site.weight.size))


def is_large(site: Site, form: Form) -> bool:
    """Whether there are enough positions for U to be read."""
    columns = prod(_Tiles.all(site, form).made[2:])
    return columns >= _FEWEST[form.columns is not None]


def _products(t: _Tiles, batch: int) -> tuple[str, Load]:
    """The 1×1s of a strip."""
    seen, made = (batch * prod(shape) for shape in (t.seen, t.made))
    biases = t.groups * t.out * t.biased
    return "Conv", Load(made * t.summed * prod(t.taps), seen + t.stored + biases, made)


def _ways(t: _Tiles, batch: int) -> Iterator[tuple[str, Load]]:
    """The operators from an image to the tiles of a strip and back, and what each does."""
    seen, made = (batch * prod(shape) for shape in (t.seen, t.made))
    whole = batch * t.out * prod(t.whole)
    yield from [("Reshape", Load())] * 5
    yield "Transpose", Load(written=seen)
    yield _multiplied(t.groups, made, whole)
    if t.form.columns is None:
        yield "Gather", Load(written=seen)
        yield _multiplied(t.groups, seen, seen)
        yield "Transpose", Load(written=whole)
    else:
        x = batch * t.into * len(t.read) * t.site.sizes[1]
        yield from [(CUT, Load(written=x))] * t.is_cut
        yield "Conv", Load(seen * t.groups, x + t.groups**2, seen)
        yield "DepthToSpace", Load(written=whole)


def _around(t: _Tiles, batch: int, in_strips: bool) -> Iterator[tuple[str, Load]]:
    """What is done once for all strips."""
    image, whole = (batch * t.out * prod(sizes) for sizes in (t.site.outputs, t.whole))
    if t.form.columns is None and any(t.pads):
        x, tall = (batch * t.into * n * t.site.sizes[1] for n in (t.site.sizes[0], t.height))
        yield "Pad", Load(read=x, written=tall)
    if in_strips:
        yield "Concat", Load(read=whole, written=whole)
    if whole > image:
        yield CUT, Load(written=image)


def _multiplied(columns: int, read: int, written: int) -> tuple[str, Load]:
    """A matrix of so many columns times so many numbers; it has as many rows as make `written`."""
    return "MatMul", Load(written * columns, read + columns**2 * written // read, written)


# The nodes ----------------------------------------------------------------------------------------


def tile(site: Site, form: Form, edit: Edit, strips: Sequence[range] = ()) -> ir.Value:
    """The result of a convolution, computed in a form by new nodes.

    Args:
        site, form: the convolution, and how it is computed.
        edit: of its graph.
        strips: rows of tiles that are done together (`strips_of`); none: all at once.

    Raises:
        Unrepresentable: an entry of U is too large for the number type.
    """
    whole = _Tiles.all(site, form)
    start = _Placer(whole, edit)
    x = start.padded()
    parts = [_Placer(replace(whole, rows=rows), edit).made(x) for rows in strips or [whole.rows]]
    return start.joined(parts)


@dataclass(frozen=True, eq=False)
class _Tiles:
    """The sizes of a form: C and D channels, α groups, T tiles, m outputs of each.

    Args:
        site, form: of a convolution.
        rows: those of tiles that are meant.
    """

    site: Site
    form: Form
    rows: range

    @classmethod
    def all(cls, site: Site, form: Form) -> _Tiles:
        """Of the whole image."""
        together = form.rows.outputs * site.windows[0].dilation
        return cls(site, form, range(-(-site.outputs[0] // together)))

    @property
    def dilation(self) -> int:
        """d: a tile has every d-th row, so that d of them lie in one another."""
        return self.site.windows[0].dilation

    @property
    def summed(self) -> int:
        """The channels that a product sums: those of a group."""
        return int(self.site.weight.shape[1])

    @property
    def into(self) -> int:
        """C."""
        return self.summed * self.site.groups

    @property
    def out(self) -> int:
        """D."""
        return int(self.site.weight.shape[0])

    @property
    def groups(self) -> int:
        """α along the rows, or α² along both axes."""
        return self.form.products

    @property
    def biased(self) -> bool:
        """Whether a bias is added."""
        return input_at(self.site.node, 2) is not None

    @property
    def tiles(self) -> tuple[int, ...]:
        """T, along each axis that is cut into tiles."""
        if self.form.columns is None:
            return (len(self.rows) * self.dilation,)
        return len(self.rows), -(-self.site.outputs[1] // self.form.columns.outputs)

    @property
    def height(self) -> int:
        """The rows that all tiles see together."""
        basis = self.form.rows
        return (len(self.rows) * basis.outputs + basis.taps - 1) * self.dilation

    @property
    def first(self) -> int:
        """The first of them; negative in the padding."""
        start = self.rows.start * self.form.rows.outputs * self.dilation
        return start - self.site.windows[0].before

    @property
    def read(self) -> range:
        """Those of them that are the image's."""
        return range(max(self.first, 0), min(self.first + self.height, self.site.sizes[0]))

    @property
    def is_cut(self) -> bool:
        """Whether these are not all of the image."""
        return len(self.read) < self.site.sizes[0]

    @property
    def pads(self) -> tuple[int, int]:
        """Rows of zeros before and behind."""
        return self.read.start - self.first, self.first + self.height - self.read.stop

    @property
    def left(self) -> Window:
        """What the products see along the width."""
        if self.form.columns is None:
            return self.site.windows[1]
        return Window(1)

    @property
    def taps(self) -> tuple[int, int]:
        """The kernel of the products."""
        return 1, self.left.kernel

    @property
    def stored(self) -> int:
        """The numbers of U."""
        return self.groups * self.out * self.summed * prod(self.taps)

    @property
    def seen(self) -> tuple[int, ...]:
        """(α, C, …): what the products read."""
        places = self.tiles if self.form.columns else (*self.tiles, self.site.sizes[1])
        return self.groups, self.into, *places

    @property
    def made(self) -> tuple[int, ...]:
        """(α, D, …): what they give."""
        places = self.tiles if self.form.columns else (*self.tiles, self.site.outputs[1])
        return self.groups, self.out, *places

    @property
    def whole(self) -> tuple[int, int]:
        """The image before anything is cut off."""
        tall, *wide = (t * self.form.rows.outputs for t in self.tiles)
        return tall, (wide or self.site.outputs[1:])[0]


@dataclass(frozen=True, eq=False)
class _Placer:
    tiles: _Tiles
    edit: Edit

    def padded(self) -> ir.Value:
        """The image; for rows with zeros around, among which they are gathered."""
        t, x = self.tiles, self.tiles.site.node.inputs[0]
        assert x is not None
        if t.form.columns is not None or not any(t.pads):
            return x
        before, after = t.pads
        ends = self.edit.integers([0, 0, before, 0, 0, 0, after, 0])
        return self._node("Pad", [x, ends], {}, [t.into, t.height, t.site.sizes[1]])

    def made(self, x: ir.Value) -> ir.Value:
        """From the image to the result of a strip."""
        t = self.tiles
        x = self._seen_tiles(x) if t.form.columns else self._seen_rows(x)
        groups, out, *places = t.made
        x = self._products(self._view(x, [groups * t.into, *t.seen[2:]]))
        x = self._multiplied(t.form.outputs, self._view(x, [groups, out * prod(places)]))
        return self._image_of_tiles(x) if t.form.columns else self._image_of_rows(x)

    def joined(self, parts: Sequence[ir.Value]) -> ir.Value:
        """The image of strips, without what its last tiles have too much."""
        t, x = self.tiles, parts[0]
        if len(parts) > 1:
            x = self._node("Concat", parts, {"axis": 2}, [t.out, *t.whole])
        if t.site.outputs == t.whole:
            return x
        return self._slice(x, [0, 0], t.site.outputs, [2, 3], [t.out, *t.site.outputs])

    def _slice(
        self, x: ir.Value, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int],
        sizes: Sequence[int],
    ) -> ir.Value:  # fmt: skip
        bounds = map(self.edit.integers, (starts, ends, axes))
        return self._node(CUT, [x, *bounds], {}, sizes)

    def _seen_rows(self, x: ir.Value) -> ir.Value:
        """(N, α, C, T·W), of the image with zeros around."""
        t = self.tiles
        groups, into, tiles, wide = t.seen
        starts = np.add.outer(
            np.array(t.rows) * t.form.rows.outputs * t.dilation, range(t.dilation)
        )
        rows = np.add.outer(np.arange(groups) * t.dilation, starts.reshape(-1))
        index = self.edit.constant(rows, "rows", ir.DataType.INT64)
        x = self._node("Gather", [x, index], {"axis": 2}, [into, groups, tiles, wide])
        sizes = [into, groups, tiles * wide]
        B = self._constant(t.form.rows.B, "matrix")
        x = self._node("MatMul", [B, self._view(x, sizes)], {}, sizes)
        return self._turned(x, sizes)

    def _seen_tiles(self, x: ir.Value) -> ir.Value:
        """(N, α², C, T·T)."""
        t, basis = self.tiles, self.tiles.form.columns
        assert basis is not None
        groups, into, *tiles = t.seen
        high, wide = len(t.read), t.site.sizes[1]
        if t.is_cut:
            x = self._slice(x, [t.read.start], [t.read.stop], [2], [into, high, wide])
        x = self._view(x, [1, high, wide], into)
        kernel = self._constant(t.form.kernel[:, None], "B")
        (top, bottom), left = t.pads, t.site.windows[1].before
        right = tiles[1] * basis.outputs + basis.taps - 1 - wide - left
        attributes = {"pads": [top, left, bottom, right], "strides": [basis.outputs] * 2}
        x = self._node("Conv", [x, kernel], attributes, [groups, *tiles], into)
        sizes = [into, groups, prod(tiles)]
        return self._turned(self._view(x, sizes), sizes)

    def _products(self, x: ir.Value) -> ir.Value:
        """The 1×1s, with what is added to each so that A makes the bias of it."""
        t, site = self.tiles, self.tiles.site
        U = in_basis(site.weight, t.form.bases)
        U = np.moveaxis(U, [2, 3][: len(t.tiles)], range(len(t.tiles)))
        out = t.groups * t.out
        operands = [x, self._constant(U.reshape(out, t.summed, *t.taps), "U")]
        bias = constant(input_at(site.node, 2))
        if bias is not None:
            each = np.multiply.outer(t.form.one, bias.astype(np.float64))
            operands.append(self._constant(each.reshape(-1), "bias"))
        pads = [0, t.left.before, 0, t.left.after]
        # The channels of a group stand side by side, and so they do in each product.
        attributes: dict[str, Any] = {"group": t.groups * site.groups, "pads": pads}
        if t.left.dilation > 1:
            attributes["dilations"] = [1, t.left.dilation]
        return self._node("Conv", operands, attributes, [out, *t.made[2:]])

    def _image_of_rows(self, x: ir.Value) -> ir.Value:
        """(N, m, D·T·W) → (N, D, T·m, W), of the tiles that lie in one another row by row."""
        t, outputs = self.tiles, self.tiles.form.rows.outputs
        _, out, _, wide = t.made
        x = self._view(x, [outputs, out, len(t.rows), t.dilation * wide])
        shape = [out, len(t.rows), outputs, t.dilation * wide]
        x = self._node("Transpose", [x], {"perm": [0, 2, 3, 1, 4]}, shape)
        return self._view(x, [out, *t.whole])

    def _image_of_tiles(self, x: ir.Value) -> ir.Value:
        """(N, m², D·T·T) → (N, D, T·m, T·m)."""
        t, outputs = self.tiles, self.tiles.form.rows.outputs
        _, out, *tiles = t.made
        x = self._view(x, [outputs**2 * out, *tiles])
        blocks = {"blocksize": outputs, "mode": "DCR"}
        return self._node("DepthToSpace", [x], blocks, [out, *t.whole])

    def _multiplied(self, matrix: Array, x: ir.Value) -> ir.Value:
        """A matrix times (N, rows, columns)."""
        assert x.shape is not None
        shape = [len(matrix), *x.shape[2:]]
        return self._node("MatMul", [self._constant(matrix, "matrix"), x], {}, shape)

    def _turned(self, x: ir.Value, sizes: Sequence[int]) -> ir.Value:
        """(N, *sizes) with the first two of these axes exchanged."""
        first, second, rest = sizes
        return self._node("Transpose", [x], {"perm": [0, 2, 1, 3]}, [second, first, rest])

    def _view(self, x: ir.Value | None, sizes: Sequence[int], times: int = 1) -> ir.Value:
        """(N · times, *sizes)."""
        told = self.edit.integers([-1, *sizes])
        return self._node("Reshape", [x, told], {}, sizes, times)

    def _constant(self, array: Array, what: str) -> ir.Value:
        return self.edit.constant_like(self.tiles.site.node.inputs[1], array, what)

    def _node(
        self, op: str, operands: Sequence[ir.Value | None], attributes: Mapping[str, Any],
        sizes: Sequence[Size], times: int = 1,
    ) -> ir.Value:  # fmt: skip
        """A new node of the type of the convolution, of shape (N · times, *sizes)."""
        node, y = self.tiles.site.node, self.tiles.site.node.outputs[0]
        shape = [_times(self.tiles.site.batch, times), *sizes]
        stem = f"{y.name}.{op}"
        return self.edit.node(
            op, operands, attributes, before=node, stem=stem, dtype=y.dtype, shape=shape
        )


def _times(batch: Size, times: int) -> Size:
    if isinstance(batch, int):
        return batch * times
    if batch.value is None or times == 1:
        return batch
    return simplified(ir.SymbolicDim(f"({batch.value})*{times}"))
