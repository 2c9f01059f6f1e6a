"""A window that slides along one axis: which positions each output of a layer sees.

Symbols. k taps, d apart (dilation); s positions from one output to the next (stride); on an axis of
n positions, p more before the first and q behind the last (padding; a negative one crops).

    output i sees        i·s − p + j·d for j < k;  what of it is not in [0, n) is padding
    extent               r = (k − 1)·d + 1, from the first to the last position seen
    number of outputs    ⌊(n + p + q − r) / s⌋ + 1, or 0

All other ways to lay windows are windows of this kind with other padding.

*Rounding up* asks for ⌈(n + p + q − r) / s⌉ + 1 outputs, without a last one that would start behind
the n + p positions: that is q' = min(q + s − 1, max(q, r) − 1) in the place of q.

*Keeping the size* asks for ⌈n / s⌉ outputs: p + q = max((⌈n / s⌉ − 1)·s + r − n, 0).

Laws. A window (s₂, r₂, p₂, q₂) over the outputs of another (s₁, r₁, p₁, q₁) is again one:

    s = s₁s₂    r = r₁ + (r₂ − 1)s₁    p = p₁ + p₂s₁    q = q₁ + q₂s₁

Proof: output i of the second sees the outputs i·s₂ − p₂ … i·s₂ − p₂ + r₂ − 1 of the first; put the
first and the last of them into i·s₁ − p₁ … and collect. Output i exists while i·s + r ≤ n + p + q,
and so does the last output of the first that it sees. □

The outputs a, a + g, …, z alone are all outputs of a window of stride g·s over the positions
a·s − p … z·s − p + r − 1, of which those outside the axis are its padding: S K x = K'(C x), where S
picks outputs, C crops the axis, and K and K' have the same taps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = ["Window"]


@dataclass(frozen=True, slots=True)
class Window:
    """The windows of a layer along one axis.

    Args:
        kernel: positions that an output sees.
        stride: from one output to the next.
        before, after: padding at the two ends; negative: a crop.
        dilation: from one position that an output sees to the next.

    >>> Window(kernel=3, stride=2, before=1, after=1).taps(3)
    array([[-1,  0,  1],
           [ 1,  2,  3],
           [ 3,  4,  5]])
    """

    kernel: int = 1
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1

    @property
    def extent(self) -> int:
        """r: positions from the first to the last that an output sees."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def is_single(self) -> bool:
        """Whether each output is made of one position, as those of a 1×1 are."""
        return self.extent == 1 and self.before == self.after == 0

    @property
    def slack(self) -> int:
        """p + q − r: with the stride it decides the number of outputs for every n."""
        return self.before + self.after - self.extent

    @property
    def first(self) -> range:
        """What output 0 sees."""
        return range(-self.before, self.extent - self.before, self.dilation)

    def fits(self, n: int) -> bool:
        """Whether there is a whole window in the padded axis.

        >>> Window(3, before=1).fits(2), Window(3, before=1).fits(1)
        (True, False)
        """
        return n + self.slack >= 0

    def out_size(self, n: int) -> int:
        """The number of outputs on an axis of n.

        >>> [Window(3, 2, 1, 1).out_size(n) for n in (1, 2, 5, 6)]
        [1, 1, 3, 3]
        """
        return max((n + self.slack) // self.stride + 1, 0)

    def taps(self, n_out: int) -> NDArray[np.int64]:
        """What each output sees, (n_out, kernel); outside the axis is padding."""
        starts = np.arange(n_out) * self.stride
        seen: NDArray[np.int64] = np.add.outer(starts, np.array(self.first, np.int64))
        return seen

    def seen(self, outputs: range) -> range:
        """From the first to the last position that these outputs see, padding with them.

        >>> Window(3, 2, before=1).seen(range(1, 3))
        range(1, 6)
        """
        start = outputs[0] * self.stride - self.before
        return range(start, start + (outputs[-1] - outputs[0]) * self.stride + self.extent)

    def rounded_up(self) -> Window:
        """The same where the number of outputs is rounded up, as padding behind the axis.

        >>> pool = Window(kernel=2, stride=2)
        >>> [(pool.out_size(n), pool.rounded_up().out_size(n)) for n in (4, 5)]
        [(2, 2), (2, 3)]
        """
        most = max(self.after, self.extent) - 1
        return replace(self, after=min(self.after + self.stride - 1, most))

    def same_pads(self, n: int, *, odd_before: bool = False) -> tuple[int, int]:
        """The padding that gives ⌈n / stride⌉ outputs; an odd one is behind, or before.

        >>> Window(kernel=4, stride=3).same_pads(6), Window(kernel=4).same_pads(6, odd_before=True)
        ((0, 1), (2, 1))
        """
        outputs = -(-n // self.stride)
        total = max((outputs - 1) * self.stride + self.extent - n, 0)
        less, more = total // 2, total - total // 2
        if odd_before:
            return more, less
        return less, more

    def then(self, layer: Window) -> Window:
        """From the first to the last position that `layer` sees through the outputs of this one.

        >>> Window(7, 2, 3, 3).then(Window(3, 2, 1, 1))
        Window(kernel=11, stride=4, before=5, after=5, dilation=1)
        """
        return Window(
            self.extent + (layer.extent - 1) * self.stride,
            self.stride * layer.stride,
            self.before + layer.before * self.stride,
            self.after + layer.after * self.stride,
        )

    def part(self, outputs: range, n: int) -> tuple[Window, range] | None:
        """The window that gives `outputs` and no others, and the positions of n that it slides on.

        None where these see nothing but padding.

        >>> Window(3, before=1, after=1).part(range(0, 4, 2), 9)
        (Window(kernel=3, stride=2, before=1, after=0, dilation=1), range(0, 4))
        """
        stride = self.stride * (outputs.step if len(outputs) > 1 else 1)
        seen = self.seen(outputs)
        start, stop = max(seen.start, 0), min(seen.stop, n)
        if start >= stop:
            return None
        # Fewer positions than a stride hold no further output: where the front stays whole, cutting
        # them off would be a crop for nothing.
        if start == 0 and n - stop < stride:
            stop = n
        pads = {"before": max(-seen.start, 0), "after": max(seen.stop - n, 0)}
        return replace(self, stride=stride, **pads), range(start, stop)
