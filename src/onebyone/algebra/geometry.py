"""Where the outputs of a network look along one axis, and what part of an image they need.

Symbols. An image of n pixels along the axis. The outputs come in *blocks* of u, one for each
*phase*, S pixels from one block to the next: output i is phase φ = i mod u of block B = ⌊i / u⌋. A
chain of convolutions and pools has u = 1 and the stride S; an upsampling makes u > 1. Five numbers
say all of a phase, for every block and every n:

    it sees the pixels                        B·S + first … B·S + last
    it sees nothing before the image    iff   B ≥ start
    nothing behind it                   iff   B·S + end ≤ n
    there is such an output             iff   B·S + exists ≤ n

A window (k, s, p, q) of extent r over the pixels is one phase: first = −p, last = r − 1 − p, start
= ⌈p / s⌉, end = r − p, exists = r − p − q.

Composition. Let position j of a first network be a pixel of a second, which reads positions j₀ … j₁
for an output. That output sees what these see, so its five numbers follow from theirs: it is clean
at an end where all of these are, and where they are positions at all, which for the end is what
`exists` says. The blocks of both have to start together: with m = lcm(u, s), where s positions are
a block of the second, S·m/u pixels and m/s of its blocks are one block of the whole. So padding
that comes after a crop is seen (it stands where there were pixels), and padding that a crop takes
away again is not.

Branches that meet have the same S/u, and the same `exists`, or their sizes would differ for some
image. Those that only agree for an n that is a multiple of some number (a U-Net, say) make a
network for such images only: `multiple`.

Tiles. Let P, the *period*, be a common multiple of the S of all layers and of `multiple`. A tile
[t₀, t₁) of the image has ends at multiples of P, or at the image's. Then output i of the network on
the tile is output i + u·t₀/S of that on the image, for all i that are clean at the tile's ends
which are not the image's:

    B − t₀/S ≥ max(start, 0)  if t₀ > 0         B·S + max(end, exists) ≤ t₁  if t₁ < n

Proof. By induction over the layers. A pixel of the tile is one of the image. Shifting the image by
P shifts the positions of each layer by a whole number of its blocks, so position j of the layer on
the tile has the same phase and the same window as the one it is to equal. If it is clean at an end,
what it reads there are positions which are clean, and these are equal; at an end that is the
image's it reads the same padding, as many positions from the end on both sides (sizes on the tile
and on the image differ by a number of blocks, since n − t₀ and n differ by a multiple of P), and
padding that is made of pixels, a reflection say, is made of some at that end. Those are clean at
the other end if the tile has `least` pixels. □
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import lcm

from onebyone.algebra.window import Window
from onebyone.errors import UsageError

__all__ = ["Axis", "Geometry", "Phase", "join"]


MOST = 4096
"""Phases of an axis: strides and scales that have little in common multiply."""


@dataclass(frozen=True, slots=True)
class Phase:
    """One of the u outputs of a block: what it sees, and when, as the module's text says.

    >>> Phase.of(Window(3, stride=2, before=1))
    Phase(first=-1, last=1, start=1, end=2, exists=2)
    """

    first: int = 0
    last: int = 0
    start: int = 0
    end: int = 1
    exists: int = 1

    @classmethod
    def of(cls, window: Window) -> Phase:
        """The only phase of a window."""
        last = window.extent - 1 - window.before
        start = -(-window.before // window.stride)
        return cls(-window.before, last, start, last + 1, -window.slack)

    def later(self, blocks: int, stride: int, of: int) -> Phase:
        """The same output as one of a block of `of` blocks, of which it is in the one of number
        `blocks`."""
        shift = blocks * stride
        return Phase(
            self.first + shift,
            self.last + shift,
            -((blocks - self.start) // of),
            self.end + shift,
            self.exists + shift,
        )


@dataclass(frozen=True, slots=True)
class Axis:
    """What the outputs of a network, or of a layer, see along one axis, in pixels of the image.

    Args:
        phases: of the outputs of a block; one, if nothing is upsampled.
        stride: pixels from one block to the next.
        period: ends of a tile are multiples of it, so that all layers fall on it as on the image.
        multiple: images have to be of a multiple of it.
        least: a tile has at least so many pixels. Of a layer: so many positions does it need.
        whole: whether something (a pool inside the network) sees the whole image besides.
        smallest: of fewer pixels a layer inside gets too few positions. Of a layer: what it needs.

    >>> stem = Axis.of(Window(7, 2, 3, 3)).then(Axis.of(Window(3, 2, 1, 1)))
    >>> stem.stride, stem.receptive_field, stem.offset
    (4, 11, -5)
    >>> stem.size(224), stem.halo(224)
    (56, (2, 1))
    >>> tile = stem.needed(range(10, 20), 224)
    >>> tile, stem.kept(range(10, 20), tile, 224)
    (range(32, 84), slice(2, 12, None))
    """

    phases: tuple[Phase, ...] = (Phase(),)
    stride: int = 1
    period: int = 1
    multiple: int = 1
    least: int = 1
    whole: bool = False
    smallest: int = 1

    @classmethod
    def of(cls, window: Window, least: int = 1) -> Axis:
        """One layer of windows; least: the positions that its padding is made of."""
        return cls((Phase.of(window),), window.stride, window.stride, least=least, smallest=least)

    @property
    def up(self) -> int:
        """u: outputs of a block."""
        return len(self.phases)

    @property
    def step(self) -> Fraction:
        """Pixels from one output to the next; of several phases their mean.

        >>> str(Axis.of(Window(2, stride=2)).then(Axis((Phase(), Phase(), Phase()))).step)
        '2/3'
        """
        return Fraction(self.stride, self.up)

    @property
    def hull(self) -> Window:
        """Of an axis of one phase: from the first to the last pixel that an output sees."""
        [phase] = self.phases
        extent = phase.last - phase.first + 1
        return Window(extent, self.stride, -phase.first, extent + phase.first - phase.exists)

    @property
    def receptive_field(self) -> int | None:
        """Pixels that an output depends on, from the first to the last; None: on all there are.

        Of several phases, that of the one that sees most.
        """
        if self.whole:
            return None
        return max(phase.last - phase.first + 1 for phase in self.phases)

    @property
    def offset(self) -> int:
        """Where the window of output u·B starts, seen from B·stride: negative is in the padding."""
        return self.phases[0].first

    @property
    def exact(self) -> bool:
        """Whether no output of any image sees padding, or the whole image."""
        return not self.whole and self.border == (0, 0)

    @property
    def border(self) -> tuple[int, int]:
        """How many outputs at the start see padding, and at most how many at the end."""
        starts = (self.up * (p.start - 1) + k + 1 for k, p in enumerate(self.phases) if p.start > 0)
        # Every size repeats after a block: some block of images that are large enough.
        large = self.large
        sizes = range(large, large + lcm(self.stride, self.multiple), self.multiple)
        return max(starts, default=0), max(0, *(self.size(n) - self._clean(n) for n in sizes))

    @property
    def large(self) -> int:
        """A size of image, a multiple of all that matters, whose ends do not meet."""
        furthest = max(abs(n) for p in self.phases for n in (p.first, p.last, p.end, p.exists))
        every = lcm(self.stride, self.multiple)
        return (2 * furthest // every + 2) * every

    def then(self, layer: Axis) -> Axis:
        """This axis followed by `layer`, whose numbers are in outputs of this one.

        Raises:
            UsageError: the layer wants a multiple of positions that there are for no image; or
                the phases are more than can be told.
        """
        # A block of the whole is the first number of outputs of this axis that is whole blocks of
        # it, and whole steps of the layer.
        together = lcm(self.up, layer.stride)
        if together // layer.stride * layer.up > MOST:
            raise UsageError(f"its outputs repeat after more than {MOST} only: use smaller strides")
        copies = together // layer.stride
        phases = [
            self._through(phase.later(copy, layer.stride, copies), together)
            for copy in range(copies)
            for phase in layer.phases
        ]
        return Axis(
            tuple(phases),
            self.stride * together // self.up,
            lcm(self.period, self._multiple(layer), self._pixels(layer.period)),
            self._multiple(layer),
            max(self.least, self._least(layer.least)),
            self.whole or layer.whole,
            max(self.smallest, self._exists(layer.fewest - 1)),
        )

    def size(self, pixels: int) -> int:
        """How many outputs there are on so many pixels."""
        return sum(max((pixels - p.exists) // self.stride + 1, 0) for p in self.phases)

    @property
    def smallest_image(self) -> int:
        """The smallest image that has an output, and positions for every layer.

        >>> Axis.of(Window(5)).then(Axis.of(Window(3, before=2, after=2))).smallest_image
        5
        """
        return -(-self.fewest // self.multiple) * self.multiple

    @property
    def fewest(self) -> int:
        """Pixels from which on every layer has positions, whatever `multiple` asks for."""
        return max(self.smallest, self._exists(0))

    def halo(self, pixels: int) -> tuple[int, int]:
        """How many outputs at the start and at the end of so many pixels see padding.

        Outputs that see it at both ends count at the start.
        """
        size = self.size(pixels)
        first = min(self.border[0], size)
        return first, size - min(max(self._clean(pixels), first), size)

    def needed(self, outputs: range, pixels: int) -> range:
        """The tile of an image that holds all that some of its outputs need.

        The network on that tile alone gives them as it does on the whole image; `kept` says where
        they stand. Its ends are multiples of `period`, or the image's own.

        Args:
            outputs: some outputs, of step 1, of the whole image.
            pixels: of the image.

        Raises:
            UsageError: there are no such outputs, or the image is no multiple of `multiple`.

        >>> blur = Axis.of(Window(5, before=2, after=2))
        >>> [blur.needed(outputs, 40) for outputs in (range(3), range(10, 12), range(30, 40))]
        [range(0, 5), range(8, 14), range(28, 40)]
        """
        self._check(outputs, pixels)
        # A phase comes again after a block: the first of each starts first, the last ends last.
        starts = [block - max(phase.start, 0) for block, phase in map(self._at, outputs[: self.up])]
        ends = [
            block * self.stride + max(phase.end, phase.exists)
            for block, phase in map(self._at, outputs[-self.up :])
        ]
        start = max(self._down(min(starts) * self.stride), 0)
        end = max(self._up(max(ends)), self._up(start + self.least))
        if end < pixels:
            return range(start, end)
        # The image ends here: where that leaves too little for a tile, it starts earlier.
        return range(min(start, max(self._down(pixels - self.least), 0)), pixels)

    def kept(self, outputs: range, tile: range, pixels: int) -> slice:
        """Where these outputs of an image stand among those of the network on a tile of it.

        Raises:
            UsageError: the tile cuts the image where layers would fall on it in another way.
        """
        if tile.start % self.period or (tile.stop % self.period and tile.stop != pixels):
            raise UsageError(
                f"got a tile {tile} of {pixels} pixels, wanted one that starts and ends at a "
                f"multiple of {self.period}, or with the image"
            )
        before = tile.start // self.stride * self.up
        return slice(outputs.start - before, outputs.stop - before)

    def refined(self, stride: int) -> Axis:
        """The same, in blocks of a multiple of its stride."""
        times = stride // self.stride
        phases = [phase.later(k, self.stride, times) for k in range(times) for phase in self.phases]
        return replace(self, phases=tuple(phases), stride=stride, period=lcm(self.period, stride))

    def _at(self, output: int) -> tuple[int, Phase]:
        """The block and the phase of an output."""
        block, phase = divmod(output, self.up)
        return block, self.phases[phase]

    def _exists(self, output: int) -> int:
        """The smallest number of pixels for which there is an output of this number."""
        block, phase = self._at(output)
        return block * self.stride + phase.exists

    def _clean(self, pixels: int) -> int:
        """The first output that sees something behind so many pixels."""
        blocks = ((pixels - phase.end) // self.stride + 1 for phase in self.phases)
        return min(self.up * block + k for k, block in enumerate(blocks))

    def _through(self, phase: Phase, together: int) -> Phase:
        """What an output that reads positions of this axis sees: `together` of them a block."""
        blocks = together // self.up
        read = range(phase.first, phase.last + 1)
        ends = {*read[: self.up], *read[-self.up :]}
        seen = [(block * self.stride, block, own) for block, own in map(self._at, ends)]
        return Phase(
            min(at + own.first for at, _, own in seen),
            max(at + own.last for at, _, own in seen),
            max(phase.start, *(-((block - own.start) // blocks) for _, block, own in seen)),
            max(self._exists(phase.end - 1), *(at + own.end for at, _, own in seen)),
            self._exists(phase.exists - 1),
        )

    def _pixels(self, positions: int) -> int:
        """Pixels that are whole blocks, and a multiple of so many outputs."""
        return self.stride * lcm(self.up, positions) // self.up

    def _least(self, positions: int) -> int:
        """Pixels from which on so many outputs at an end are clean at the other one."""
        ends = (self._at(j) for j in range(max(positions - self.up, 0), positions))
        first = max(block * self.stride + max(p.end, p.exists) for block, p in ends)
        starts = max(0, *(phase.start for phase in self.phases))
        return max(first, self._exists(positions - 1 + self.up * starts))

    def _multiple(self, layer: Axis) -> int:
        """What images have to be a multiple of, so that a layer gets a multiple that it takes."""
        if layer.multiple == 1:
            return self.multiple
        # Remainders of sizes repeat after so many pixels: one such stretch shows all there are.
        every = lcm(self.multiple, self._pixels(layer.multiple))
        large = -(-self.large // every) * every
        for multiple in _divisors(every, self.multiple):
            sizes = range(large, large + every, multiple)
            if not any(self.size(n) % layer.multiple for n in sizes):
                return multiple
        raise UsageError(
            f"it wants a multiple of {layer.multiple} positions, and there are "
            f"{self.size(large)} on {large} pixels: pad the image, or crop what it gets"
        )

    def _check(self, outputs: range, pixels: int) -> None:
        if pixels % self.multiple:
            raise UsageError(
                f"got an image of {pixels} pixels along an axis, wanted a multiple of "
                f"{self.multiple}: pad or crop it"
            )
        if (
            not outputs
            or outputs.step != 1
            or outputs.start < 0
            or outputs.stop > self.size(pixels)
        ):
            raise UsageError(
                f"got outputs {outputs}, wanted some of the {self.size(pixels)} that {pixels} "
                "pixels have, one after the other"
            )

    def _down(self, pixels: int) -> int:
        return pixels // self.period * self.period

    def _up(self, pixels: int) -> int:
        return -(-pixels // self.period) * self.period


def _divisors(n: int, of: int) -> Iterator[int]:
    """The multiples of `of` that divide n, from the smallest on."""
    return (k for k in range(of, n + 1, of) if n % k == 0)


def join(axes: Sequence[Axis], *, multiples: bool = False) -> Axis | str:
    """The axis of what depends on several branches position by position, or why there is none.

    Args:
        axes: of the branches.
        multiples: also join branches that are of one size for the multiples of a number only.

    >>> join([Axis.of(Window(3, 2, 1, 1)), Axis.of(Window(1, 2))]).hull
    Window(kernel=3, stride=2, before=1, after=1, dilation=1)
    >>> join([Axis.of(Window(3, stride=2)), Axis.of(Window(3))])
    'branches with strides 1 and 2 meet'
    >>> pool, convolution = Axis.of(Window(2, 2)), Axis.of(Window(3, 2, 1, 1))
    >>> join([pool, convolution])
    'branches meet that are of one size for some images only'
    >>> join([pool, convolution], multiples=True).multiple
    2
    """
    if len(set(axes)) == 1:
        return axes[0]
    steps = sorted({axis.step for axis in axes})
    if len(steps) > 1:
        return f"branches with strides {steps[0]} and {steps[1]} meet"
    given = lcm(*(axis.multiple for axis in axes))
    stride = lcm(given, *(axis.stride for axis in axes))
    # In blocks of one stride the phases of all branches stand side by side.
    fine = [axis.refined(stride) for axis in axes]
    multiple = _common(fine, given)
    if multiple is None or (multiple > given and not multiples):
        return "branches meet that are of one size for some images only"
    return Axis(
        tuple(_joined(phases, multiple) for phases in zip(*(a.phases for a in fine), strict=True)),
        stride,
        lcm(multiple, *(axis.period for axis in fine)),
        multiple,
        max(axis.least for axis in fine),
        any(axis.whole for axis in fine),
        max(axis.smallest for axis in fine),
    )


def _common(axes: Sequence[Axis], given: int) -> int | None:
    """The smallest number for whose multiples, which are those of `given`, all sizes agree."""
    pairs = [{a.exists for a in phases} for phases in zip(*(a.phases for a in axes), strict=True)]
    for multiple in _divisors(axes[0].stride, given):
        if all(len({-(-n // multiple) for n in exists}) == 1 for exists in pairs):
            return multiple
    return None


def _joined(phases: Sequence[Phase], multiple: int) -> Phase:
    """What depends on outputs of several branches sees all that they see."""
    exists = max(phase.exists for phase in phases)
    return Phase(
        min(phase.first for phase in phases),
        max(phase.last for phase in phases),
        max(phase.start for phase in phases),
        max(phase.end for phase in phases),
        -(-exists // multiple) * multiple,
    )


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where a sliding classifier looks along each axis, and the image size that it was made for.

    Position (i, j) of its maps belongs to the crop of that size that starts at pixel (i·stride,
    j·stride). It depends on `receptive_field` pixels of it, from `offset` on. So with one axis, or
    three. All that is asked for comes back with an entry for each axis.

    >>> axes = Axis.of(Window(30, stride=4)), Axis.of(Window(15, 2, 1, 1))
    >>> geometry = Geometry(axes, size=(32, 15))
    >>> geometry.stride, geometry.receptive_field, geometry.offset
    ((4, 2), (30, 15), (0, -1))
    >>> geometry.maps((40, 20)), geometry.crop(1, 2)
    ((3, 4), (slice(4, 36, None), slice(4, 19, None)))
    >>> geometry.exact
    False
    """

    axes: tuple[Axis, ...]
    size: tuple[int, ...]

    @property
    def stride(self) -> tuple[int, ...]:
        """Pixels from one map position to the next."""
        return tuple(axis.stride for axis in self.axes)

    @property
    def receptive_field(self) -> tuple[int | None, ...]:
        """Pixels that a map position depends on; None: all of the image."""
        return tuple(axis.receptive_field for axis in self.axes)

    @property
    def offset(self) -> tuple[int, ...]:
        """Where the receptive field starts, from i·stride on; negative: in the padding."""
        return tuple(axis.offset for axis in self.axes)

    @property
    def exact(self) -> bool:
        """Whether every map position of every image equals the classifier's answer on its crop."""
        return all(axis.exact for axis in self.axes)

    def maps(self, size: Sequence[int]) -> tuple[int, ...]:
        """The size of the maps on an image of `size`."""
        return tuple(axis.size(n) for axis, n in zip(self.axes, size, strict=True))

    def halo(self, size: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """How many map positions of an image see padding: at the start and at the end."""
        return tuple(axis.halo(n) for axis, n in zip(self.axes, size, strict=True))

    def crop(self, *position: int) -> tuple[slice, ...]:
        """The crop that a map position belongs to: of two axes, rows and columns.

        The last ones may reach past the image, by less than a stride: without padding, the
        classifier does not look at those pixels.
        """
        starts = (i * s for i, s in zip(position, self.stride, strict=True))
        return tuple(slice(k, k + n) for k, n in zip(starts, self.size, strict=True))
