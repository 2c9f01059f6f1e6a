"""Where the outputs of a network of windows look: each path through it is one window.

Along one axis a convolution or a pool has stride s, a window of r pixels and padding p before and q
after. Output i looks at the pixels i·s − p … i·s − p + r − 1, and of n pixels it makes

    size(n) = ⌊(n + p + q − r) / s⌋ + 1.

The layer (s₂, r₂, p₂, q₂) after (s₁, r₁, p₁, q₁) is again one of the kind:

    s = s₁s₂    r = r₁ + (r₂ − 1)s₁    p = p₁ + p₂s₁    q = q₁ + q₂s₁

Proof: output i of the second looks at the outputs i·s₂ − p₂ … i·s₂ − p₂ + r₂ − 1 of the first; put
the first and the last of them into i·s₁ − p₁ … and collect. Output i exists while
i·s + r ≤ n + p + q, and so does the last output of the first that it looks at. □

Output i sees padding if its window leaves the image. Negative padding is a crop; padding that comes
after a crop stands where there were pixels, so the window must not leave what the crop left over: a
pixels fewer at the start and b at the end, with a = max(a₁, a₂s₁ − p₁) and b = max(b₁, b₂s₁ − q₁).

Branches that meet have the same stride and the same p + q − r, or their
sizes would differ for some image; what they look at together is the hull of their windows.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Axis", "Geometry", "join"]


@dataclass(frozen=True, slots=True)
class Axis:
    """Stride, window and padding of a network along one axis, in pixels of the image.

    Args:
        stride: pixels from one output to the next.
        window: pixels from the first to the last that an output looks at.
        before, after: the padding that was added up at the two ends; negative: a crop.
        lead, trail: pixels at the two ends that a crop had taken when padding came: a and b.
        whole: whether something (a pool inside the network) looks at the whole image besides.

    >>> stem = Axis(stride=2, window=7, before=3, after=3).then(Axis(2, 3, 1, 1))
    >>> stem
    Axis(stride=4, window=11, before=5, after=5, lead=0, trail=0, whole=False)
    >>> stem.size(224), stem.halo(224)
    (56, (2, 1))
    """

    stride: int = 1
    window: int = 1
    before: int = 0
    after: int = 0
    lead: int = 0
    trail: int = 0
    whole: bool = False

    def then(self, layer: Axis) -> Axis:
        """This axis followed by `layer`, whose numbers are in outputs of this one."""
        return Axis(
            self.stride * layer.stride,
            self.window + (layer.window - 1) * self.stride,
            self.before + layer.before * self.stride,
            self.after + layer.after * self.stride,
            max(self.lead, layer.lead * self.stride - self.before),
            max(self.trail, layer.trail * self.stride - self.after),
            self.whole or layer.whole,
        )

    @property
    def receptive_field(self) -> int | None:
        """Pixels that an output depends on, from the first to the last; None: on all there are."""
        return None if self.whole else self.window

    @property
    def offset(self) -> int:
        """Where the window of output i starts, seen from i·stride: negative is in the padding."""
        return -self.before

    @property
    def slack(self) -> int:
        """p + q − r: with the stride it decides the number of outputs for every image."""
        return self.before + self.after - self.window

    @property
    def exact(self) -> bool:
        """Whether no output of any image sees padding, or the whole image."""
        return not self.whole and self.border == (0, 0)

    @property
    def border(self) -> tuple[int, int]:
        """How many outputs at the start see padding, and at most how many at the end."""
        first, last = self.before + self.lead, self.after + self.trail
        return max(-(-first // self.stride), 0), max(-(-last // self.stride), 0)

    def size(self, pixels: int) -> int:
        """How many outputs there are on so many pixels."""
        return max((pixels + self.slack) // self.stride + 1, 0)

    def halo(self, pixels: int) -> tuple[int, int]:
        """How many outputs at the start and at the end of so many pixels see padding.

        Outputs that see it at both ends count at the start.
        """
        size = self.size(pixels)
        first = min(self.border[0], size)
        inside = (pixels - self.trail + self.before - self.window) // self.stride + 1
        return first, size - min(max(inside, first), size)


def join(axes: list[Axis]) -> Axis | str:
    """The axis of what depends on several branches position by position, or why there is none.

    >>> join([Axis(2, 3, 1, 1), Axis(2, 1, 0, 0)])
    Axis(stride=2, window=3, before=1, after=1, lead=0, trail=0, whole=False)
    >>> join([Axis(2, 3), Axis(1, 3)])
    'branches with strides 1 and 2 meet'
    """
    strides = sorted({axis.stride for axis in axes})
    if len(strides) > 1:
        return f"branches with strides {strides[0]} and {strides[1]} meet"
    slacks = {axis.slack for axis in axes}
    if len(slacks) > 1:
        return "branches meet that are of one size for some images only"
    before = max(axis.before for axis in axes)
    window = before + max(axis.window - axis.before for axis in axes)
    after = slacks.pop() + window - before
    lead = max(axis.lead + axis.before for axis in axes) - before
    trail = max(axis.trail + axis.after for axis in axes) - after
    return Axis(strides[0], window, before, after, lead, trail, any(a.whole for a in axes))


@dataclass(frozen=True, slots=True)
class Geometry:
    """Both axes of a sliding classifier, and the image size that the classifier was made for.

    Map position (i, j) belongs to the crop of that size that starts at pixel (i·stride, j·stride).
    It depends on `receptive_field` pixels of it, from `offset` on.

    >>> geometry = Geometry(Axis(4, 30), Axis(2, 15, 1, 1), size=(32, 15))
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
