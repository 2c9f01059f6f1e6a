"""What a form costs: a roofline.

    time(operator) = overhead + max(MACs / peak, bytes / bandwidth)

MACs over the engine's peak, bytes read and written over its bandwidth, and a fixed price for each
operator that is started. Decisions need ratios more than times; `--profile FILE.json` puts measured
numbers in the place of the default ones.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from onebyone.errors import UsageError

__all__ = ["DEFAULT", "ORIGIN", "WHOLE", "Cost", "Profile", "load_profile", "origin_of", "pays"]


@dataclass(frozen=True)
class Profile:
    """An engine on a machine.

    Args:
        peak: multiply-accumulates a second in dense float32 products.
        bandwidth: bytes a second, reading and writing, out of the caches and memory together.
        overhead: seconds to start one operator.
        transpose: how many times dearer than a copy it is to move elements to other places
            (transposes, strided slices).
        softmax: how many times dearer than a copy a softmax along an axis is that is none of the
            last two (some engines take its lines one by one).
        resize: multiply-accumulates that interpolating one element is worth, behind a map (at a
            model's border, in the file's own layout, engines take several times as long).
        stamp: how many times dearer the multiply-accumulates of a transposed convolution are than
            those of a convolution.
        split: how many times dearer than a copy it is to cut the result of a channel map up
            (a Split before other maps: some engines leave their own layout for it).
        blocks: how many times dearer than a copy it is to lay channels out as blocks of an image
            (DepthToSpace, and the way back).
        channels: convolutions that read a multiple of so many channels are fast (engines keep
            them in blocks; others they compute in a slower way). A whole number.
        rows, tiles: how many times dearer than its operators by themselves the way of a 3×3 to
            tiles and back is: to tiles of rows, and of both axes (the law winograd).

    >>> Profile(peak=1e9, bandwidth=1e9, overhead=0.0).time(macs=2_000_000, elements=1000)
    2000000000
    """

    peak: float = 50e9
    bandwidth: float = 30e9
    overhead: float = 4e-6
    transpose: float = 5.0
    softmax: float = 20.0
    resize: float = 30.0
    stamp: float = 1.35
    split: float = 1.0
    blocks: float = 10.0
    channels: int = 4
    rows: float = 4.5
    tiles: float = 4.5

    def time(self, macs: float = 0, elements: float = 0) -> int:
        """Picoseconds of one operator that does `macs` and moves `elements` numbers of 4 bytes.

        A whole number, so that sums of costs do not depend on the order of summation.
        """
        seconds = self.overhead + max(macs / self.peak, elements * 4 / self.bandwidth)
        return round(seconds * 1e12)

    def reading(self, numbers: int) -> int:
        """Picoseconds in which so many numbers of 4 bytes come from memory: a second weight's.

        It is paid beside the roofline of the operators: a weight that several of them share is in a
        cache when the next one reads it, a copy is not.

        >>> Profile(bandwidth=1e9).reading(1000)
        4000000
        """
        return round(numbers * 4 / self.bandwidth * 1e12)


ORIGIN = "the default: ONNX Runtime 1.31 on two AVX2 cores"
"""Where its numbers come from."""

DEFAULT = Profile()
"""ONNX Runtime 1.31 on two AVX2 cores, rounded from single operators at 270 × 128 × 128.

Measured there: 1×1 convolutions 43–57 GMAC/s, additions 35 GB/s, transposes 6 GB/s, softmax along
channels 5–40 ns an element and along rows 0.2–3 ns, bilinear resizing 1.8 ns, nearest 0.1 ns.
OpenVINO: 80–150 GMAC/s, bilinear 1.1 ns. 3×3s of 45 channels took 17% longer than of 48, depthwise
ones of 58 70% longer than of 60. `blocks` is a mean of 16 to 19 in ONNX Runtime and 1.3 in
OpenVINO, on one AVX-512 core. With `rows` and `tiles` of 4.5 the numbers above say what 3×3s gain
on two threads of a Xeon, which computes twice as fast and copies not quite: with its own numbers 3
do (docs/decisions/0035-winograd.md). On another AVX-512 core, transposed 3×3s of 32 to 256 channels
took 1.18 to 1.51 times as long as 3×3s, in OpenVINO 1.01 to 1.08.
"""


WHOLE = frozenset({"channels"})
"""The fields that are whole numbers."""


class Cost(NamedTuple):
    """Time, then MACs, then stored parameters: compared in this order.

    >>> Cost(10, 5, 2) + Cost(5, 1, 1)
    Cost(picoseconds=15, macs=6, parameters=3)
    """

    picoseconds: int = 0
    macs: int = 0
    parameters: int = 0

    def __add__(self, other: Cost) -> Cost:  # type: ignore[override]  # tuples are joined
        return Cost(
            self.picoseconds + other.picoseconds,
            self.macs + other.macs,
            self.parameters + other.parameters,
        )


def pays(before: Cost, after: Cost, profile: Profile) -> bool:
    """Whether a form is cheaper, and not for more arithmetic, nor for more numbers for nothing.

    >>> now = Cost(100, 5, 2)
    >>> pays(now, Cost(90, 5, 2), DEFAULT), pays(now, Cost(90, 5, 3), DEFAULT)
    (True, False)
    """
    if not after < before or after.macs > before.macs:
        return False  # a few operators less are not worth arithmetic
    if after.macs < before.macs or after.parameters <= before.parameters:
        return True
    # For x + x to become 2x, a vector of twos is stored: an operator has to go, not half a read.
    # What goes in its place, a Split, may copy for half of that time.
    return before.picoseconds - after.picoseconds >= profile.overhead / 2 * 1e12


def load_profile(path: str | PathLike[str]) -> Profile:
    """Read a profile from JSON: an object with fields of `Profile`, all positive numbers.

    What is under "about" says where they come from and is not read.

    Raises:
        UsageError: the file cannot be read, is not such an object, or names another field.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"got profile {path}: {error}; wanted a JSON file") from None
    if isinstance(found, dict):
        found.pop("about", None)
    known = {f.name for f in fields(Profile)}
    if not isinstance(found, dict) or not set(found) <= known:
        raise UsageError(
            f"got profile {path}, wanted a JSON object with keys among {sorted(known)}"
        )
    for name, number in found.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not number > 0:
            raise UsageError(f"got {name} = {number!r} in {path}, wanted a positive number")
    for name in sorted(WHOLE & set(found)):
        if found[name] % 1:
            raise UsageError(f"got {name} = {found[name]} in {path}, wanted a whole number")
        found[name] = int(found[name])
    return Profile(**{**asdict(DEFAULT), **found})


def origin_of(path: str | PathLike[str]) -> str:
    """Where the numbers of a profile that can be loaded come from: what it says under "about"."""
    about = json.loads(Path(path).read_text(encoding="utf-8")).get("about")
    keys = ("engine", "version", "threads", "processor")
    if not isinstance(about, dict) or not all(key in about for key in keys):
        return f"{Path(path).name}, which does not say where it was measured"
    return "measured: {} {} on {} threads of {}".format(*(about[key] for key in keys))
