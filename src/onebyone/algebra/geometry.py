"""Where the outputs of a network of windows look: each path through it is one window.

A chain of convolutions and pools is one window (`window`: its composition). Output i sees padding
if that window leaves the image:

    the first ⌈(p + a) / s⌉ outputs, and at most the last ⌈(q + b) / s⌉

where a = b = 0 but for crops. Negative padding is a crop; padding that comes after a crop stands
where there were pixels, so the window must not leave what the crop left over: a pixels fewer at the
start and b at the end,

    a = max(a₁, a₂s₁ − p₁)    b = max(b₁, b₂s₁ − q₁).

Branches that meet have the same stride and the same p + q − r, or their sizes would differ for some
image; what they see together is the hull of their windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onebyone.algebra.window import Window

__all__ = ["Axis", "Geometry", "join"]

PIXEL = Window()
"""What a pixel sees: itself."""


@dataclass(frozen=True, slots=True)
class Axis:
    """What the outputs of a network see along one axis, in pixels of the image.

    Args:
        hull: from the first to the last pixel that an output sees, as one window.
        lead, trail: pixels at the two ends that a crop had taken when padding came: a and b.
        whole: whether something (a pool inside the network) sees the whole image besides.

    >>> stem = Axis(Window(7, 2, 3, 3)).then(Axis(Window(3, 2, 1, 1)))
    >>> stem.stride, stem.receptive_field, stem.offset
    (4, 11, -5)
    >>> stem.size(224), stem.halo(224)
    (56, (2, 1))
    """

    hull: Window = PIXEL
    lead: int = 0
    trail: int = 0
    whole: bool = False

    def then(self, layer: Axis) -> Axis:
        """This axis followed by `layer`, whose numbers are in outputs of this one."""
        return Axis(
            self.hull.then(layer.hull),
            max(self.lead, layer.lead * self.stride - self.hull.before),
            max(self.trail, layer.trail * self.stride - self.hull.after),
            self.whole or layer.whole,
        )

    @property
    def stride(self) -> int:
        """Pixels from one output to the next."""
        return self.hull.stride

    @property
    def receptive_field(self) -> int | None:
        """Pixels that an output depends on, from the first to the last; None: on all there are."""
        return None if self.whole else self.hull.extent

    @property
    def offset(self) -> int:
        """Where the window of output i starts, seen from i·stride: negative is in the padding."""
        return -self.hull.before

    @property
    def exact(self) -> bool:
        """Whether no output of any image sees padding, or the whole image."""
        return not self.whole and self.border == (0, 0)

    @property
    def border(self) -> tuple[int, int]:
        """How many outputs at the start see padding, and at most how many at the end."""
        first, last = self.hull.before + self.lead, self.hull.after + self.trail
        return max(-(-first // self.stride), 0), max(-(-last // self.stride), 0)

    def size(self, pixels: int) -> int:
        """How many outputs there are on so many pixels."""
        return self.hull.out_size(pixels)

    def halo(self, pixels: int) -> tuple[int, int]:
        """How many outputs at the start and at the end of so many pixels see padding.

        Outputs that see it at both ends count at the start.
        """
        size = self.size(pixels)
        first = min(self.border[0], size)
        # Those that would also fit without the padding behind, and without what crops had taken.
        room = pixels - self.trail + self.hull.before - self.hull.extent
        clean_from_the_start = room // self.stride + 1
        return first, size - min(max(clean_from_the_start, first), size)


def join(axes: Sequence[Axis]) -> Axis | str:
    """The axis of what depends on several branches position by position, or why there is none.

    >>> join([Axis(Window(3, 2, 1, 1)), Axis(Window(1, 2))]).hull
    Window(kernel=3, stride=2, before=1, after=1, dilation=1)
    >>> join([Axis(Window(3, stride=2)), Axis(Window(3))])
    'branches with strides 1 and 2 meet'
    """
    hulls = [axis.hull for axis in axes]
    strides = sorted({hull.stride for hull in hulls})
    if len(strides) > 1:
        return f"branches with strides {strides[0]} and {strides[1]} meet"
    slacks = {hull.slack for hull in hulls}
    if len(slacks) > 1:
        return "branches meet that are of one size for some images only"
    before = max(hull.before for hull in hulls)
    extent = before + max(hull.extent - hull.before for hull in hulls)
    after = slacks.pop() + extent - before
    return Axis(
        Window(extent, strides[0], before, after),
        # Each branch's own limits, seen from the ends of the hull.
        max(axis.lead + axis.hull.before for axis in axes) - before,
        max(axis.trail + axis.hull.after for axis in axes) - after,
        any(axis.whole for axis in axes),
    )


@dataclass(frozen=True, slots=True)
class Geometry:
    """Both axes of a sliding classifier, and the image size that the classifier was made for.

    Map position (i, j) belongs to the crop of that size that starts at pixel (i·stride, j·stride).
    It depends on `receptive_field` pixels of it, from `offset` on.

    >>> height, width = Axis(Window(30, stride=4)), Axis(Window(15, 2, 1, 1))
    >>> geometry = Geometry(height, width, size=(32, 15))
    >>> geometry.stride, geometry.receptive_field, geometry.offset
    ((4, 2), (30, 15), (0, -1))
    >>> geometry.maps((40, 20)), geometry.crop(1, 2)
    ((3, 4), (slice(4, 36, None), slice(4, 19, None)))
    >>> geometry.exact
    False
    """

    height: Axis
    width: Axis
    size: tuple[int, int]

    @property
    def stride(self) -> tuple[int, int]:
        """Pixels from one map position to the next, along each axis."""
        return self.height.stride, self.width.stride

    @property
    def receptive_field(self) -> tuple[int | None, int | None]:
        """Pixels that a map position depends on, along each axis; None: all of the image."""
        return self.height.receptive_field, self.width.receptive_field

    @property
    def offset(self) -> tuple[int, int]:
        """Where the receptive field starts, from (i·stride, j·stride); negative: in the padding."""
        return self.height.offset, self.width.offset

    @property
    def exact(self) -> bool:
        """Whether every map position of every image equals the classifier's answer on its crop."""
        return self.height.exact and self.width.exact

    def maps(self, size: tuple[int, int]) -> tuple[int, int]:
        """(H', W') of the class maps on an image of (H, W)."""
        return self.height.size(size[0]), self.width.size(size[1])

    def halo(self, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """How many map positions of an image see padding: (top, bottom), (left, right)."""
        return self.height.halo(size[0]), self.width.halo(size[1])

    def crop(self, i: int, j: int) -> tuple[slice, slice]:
        """Rows and columns of the crop that map position (i, j) belongs to.

        The last ones may reach past the image, by less than a stride: without padding, the
        classifier does not look at those pixels.
        """
        top, left = i * self.stride[0], j * self.stride[1]
        return slice(top, top + self.size[0]), slice(left, left + self.size[1])
