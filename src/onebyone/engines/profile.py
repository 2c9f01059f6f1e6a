"""Profile: what operators cost in an engine on this machine, measured one by one.

    overhead   (t(n) − t(1)) / (n − 1)              chains of n tiny operators
    peak       MACs / ((t(n) − t(1)) / (n − 1))     chains of convolutions and products
    bandwidth  Δbytes / Δt                          an operator on a large and on a small tensor
    transpose  Δt · bandwidth / Δbytes              of moving elements to other places
    softmax    the same                             of softmaxes along the channels of images
    resize     Δt · peak / elements                 of bilinear interpolation between two maps
    stamp      Δt / Δt of the same that is not transposed      chains of transposed 3×3s
    blocks     Δt · bandwidth / bytes              of phases that are interleaved less apart
    split      (Δt + overhead of the nodes saved) · bandwidth / bytes      stacked less apart
    rows       what the way to tiles of rows and back takes / its price      chains of both
    tiles      the same of tiles of both axes
    channels   the least multiple at which more channels gain no more      convolutions of 45 … 48

Differences, so that what a call costs, and what an engine does at the borders of a model, falls
out. Each number is the median over several shapes; the two models of a difference run in turns.
Images are interpolated between maps, where engines keep them in blocks of channels and do it
several times faster than at a model's border: where a map goes before a resize, there it will be.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from math import prod
from statistics import median
from typing import Any, Protocol

import numpy as np
import onnx

from onebyone.algebra.weights import Array
from onebyone.cost.profile import DEFAULT, WHOLE, Profile
from onebyone.engines import single_operators as operators
from onebyone.engines.bench import Progress, chosen_clock
from onebyone.engines.engine import engine
from onebyone.engines.machine import processor, usable_cores
from onebyone.engines.turns import take_turns
from onebyone.errors import UsageError
from onebyone.graph.files import replace
from onebyone.shown import Shown

__all__ = ["Measured", "OnTiles", "Profiled", "profile", "save"]

Shape = tuple[int, int, int, int]


class OnTiles(Protocol):
    """A form of 3×3s on tiles.

    Who asks for a profile brings it (`optimize.maps.tiled_models`): what is timed is what the law
    winograd writes, and engines know no law.
    """

    def written(self, model: bytes) -> bytes:
        """A model with all its 3×3s in this form."""

    def dearer(self, model: bytes, gain: float, profile: Profile) -> float:
        """By how much the way to tiles and back is, if one 3×3 is `gain` times as fast on them."""


_DEEP = 5
"""Operators in a chain of large ones, and of tiny ones, that is compared with a chain of one."""
_LONG = 33
# (C, H, W) of the middle of common networks, from few channels and many positions to the reverse.
_IMAGES = ((32, 112, 112), (64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7))
# To twice the height and width, as between the levels of a pyramid.
_TWICE: tuple[tuple[Shape, Shape], ...] = (
    ((1, 64, 28, 28), (1, 64, 56, 56)),
    ((1, 128, 28, 28), (1, 128, 56, 56)),
    ((1, 256, 16, 16), (1, 256, 32, 32)),
)
# (C, side) of maps of decoders.
_STAMPED = ((64, 28), (128, 14))
# Of inception blocks: the input, the channels of each sibling, and how many there are.
_SIBLINGS: tuple[tuple[Shape, int, int], ...] = (
    ((1, 192, 28, 28), 64, 3),
    ((1, 192, 28, 28), 32, 3),
    ((1, 480, 14, 14), 64, 3),
)
# Multiples of 1, 2, 4 and 8, and as many convolutions of them, by kernel and side.
_WIDTHS = (45, 46, 44, 48)
_WIDTH_CONVS = ((1, 56), (3, 28), (3, 56))
_GAIN = 1.05
"""What more channels have to gain, to be worth more multiply-accumulates."""
# Of 3×3s on tiles of four, which divides the side. Of more channels the products take nearly all,
# and what the way takes would be told by a small difference.
_TILED_CHANNELS, _TILED_SIDE = (64, 96, 128, 192, 256), 28
# From 200 KB to 3 MB: what a roofline's one bandwidth is for, caches and memory together.
_SMALL, _LARGE = (1, 64, 28, 28), (1, 64, 112, 112)


_DIFFERENCES = 68
"""How many are measured for the whole profile."""


@dataclass(frozen=True)
class Measured:
    """One number that went into a profile: of which operator, and what it says of which field."""

    field: str
    operator: str
    value: float


@dataclass(frozen=True, repr=False)
class Profiled(Shown):
    """A measured profile.

    Args:
        profile: what `onebyone optimize --profile` reads.
        measured: what it was taken from.
        engine, version: what ran the operators.
        processor: the machine's.
        threads: of the engine.
        clock: "wall" or "cpu".
        date: when, in UTC.
    """

    profile: Profile
    measured: tuple[Measured, ...]
    engine: str
    version: str
    processor: str
    threads: int
    clock: str
    date: str

    def to_dict(self) -> dict[str, Any]:
        """The fields of the profile, and under "about" where they come from."""
        about = {key: value for key, value in vars(self).items() if key != "profile"}
        about["measured"] = [asdict(each) for each in self.measured]
        return {**asdict(self.profile), "about": {"schema": 1, **about}}

    @property
    def summary(self) -> str:
        """The numbers by name, and where they come from."""
        numbers = ", ".join(f"{name} {value:.3g}" for name, value in asdict(self.profile).items())
        return f"{numbers}; {self.where}"

    @property
    def where(self) -> str:
        """The engine and the machine, in words."""
        return f"{self.engine} {self.version} on {self.threads} threads of {self.processor}"


def profile(
    name: str = "onnxruntime",
    *,
    on_tiles: Mapping[str, OnTiles],
    threads: int | None = None,
    seconds: float = 0.5,
    clock: str = "wall",
    progress: Progress | None = None,
) -> Profiled:
    """Measure an engine on this machine: about 60 differences of `seconds` each.

    Args:
        name: "onnxruntime" or "openvino".
        on_tiles: the forms of 3×3s on tiles that are timed, by the field of the profile.
        threads: of the engine; otherwise every core that this process may use.
        seconds: for each difference.
        clock: "wall" or "cpu" (`bench`).
        progress: called with (stage, done, total), never while something is timed.

    Raises:
        UsageError: an engine that is unknown, not installed, or does not run ONNX files.
    """
    row = engine(name)
    if row.suffix != ".onnx":
        raise UsageError(f"got engine {name!r}, wanted one that runs ONNX: onnxruntime or openvino")
    count = usable_cores() if threads is None else threads
    stand = _Stand(name, count, seconds, chosen_clock(clock, count), _counted(progress))
    measured = _measured(stand, on_tiles)
    found = _fitted(measured)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return Profiled(found, measured, name, row.version, processor(), count, clock, now)


def save(profiled: Profiled, path: str | os.PathLike[str]) -> None:
    """Write what `load_profile` reads: the whole new file under its name, or the old one.

    Raises:
        UsageError: the file cannot be written.
    """
    replace(path, (json.dumps(profiled.to_dict(), indent=2) + "\n").encode())


def _counted(progress: Progress | None) -> Callable[[], None]:
    """Call the result at the beginning of each difference."""
    done = itertools.count()

    def begun() -> None:
        if progress is not None:
            progress("profile", next(done), _DIFFERENCES)

    return begun


# One field after the other ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stand:
    """Where operators are timed."""

    engine: str
    threads: int
    seconds: float
    clock: Callable[[], float]
    begun: Callable[[], None] = lambda: None

    def difference(self, short: bytes, long: bytes) -> float:
        """How many seconds longer the second takes: the median over the rounds."""
        self.begun()
        runs = [engine(self.engine).load(m, _inputs(m), self.threads) for m in (short, long)]
        first, second = take_turns(runs, self.seconds, clock=self.clock)
        return median(b - a for a, b in zip(first, second, strict=True))

    def step(self, short: bytes, long: bytes) -> float:
        """The same where it must be something; a nanosecond if it does not show."""
        return max(self.difference(short, long), 1e-9)


def _inputs(model: bytes) -> dict[str, Array]:
    random = np.random.default_rng(0)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in onnx.load_model_from_string(model).graph.input
    }
    return {n: random.standard_normal(shape).astype(np.float32) for n, shape in shapes.items()}


def _measured(stand: _Stand, on_tiles: Mapping[str, OnTiles]) -> tuple[Measured, ...]:
    """All fields, those first that others are measured in."""
    found = [*_overhead(stand), *_peak(stand), *_bandwidth(stand)]
    base = _fitted(found)
    found += [*_places(stand, base), *_resize(stand, base), *_split(stand, base)]
    found += _stamp(stand)
    found += _interleaving(stand, base)
    found += _channels(stand)
    return (*found, *_tiled(stand, on_tiles, _fitted(found)))


def _fitted(measured: Sequence[Measured]) -> Profile:
    """The median of what was measured for each field; the geometric mean of two."""
    values: dict[str, list[float]] = {}
    for each in measured:
        values.setdefault(each.field, []).append(math.log(each.value))
    found = {field: math.exp(median(logs)) for field, logs in values.items()}
    whole = {name: round(found.pop(name, getattr(DEFAULT, name))) for name in WHOLE}
    return Profile(**found, **whole)  # type: ignore[arg-type]


def _overhead(stand: _Stand) -> Iterator[Measured]:
    tiny = (1, 16, 4, 4)
    seconds = stand.step(operators.conv(tiny, 16), operators.conv(tiny, 16, depth=_LONG))
    yield Measured("overhead", "Conv 16 → 16 at 4 × 4", seconds / (_LONG - 1))
    weight = _weight(16)
    chains = [operators.matmul(weight, (1, 16, 16), depth) for depth in (1, _LONG)]
    yield Measured("overhead", "MatMul 16 → 16 on 16", stand.step(*chains) / (_LONG - 1))


def _peak(stand: _Stand) -> Iterator[Measured]:
    for c, h, w in _IMAGES:
        for kernel in (1, 3):
            seconds = _conv_seconds(stand, (1, c, h, w), kernel)
            rate = c * c * kernel**2 * h * w / seconds
            yield Measured("peak", f"Conv {kernel} × {kernel}, {c} → {c} at {h} × {w}", rate)
        chains = [operators.matmul(_weight(c), (1, h * w, c), depth) for depth in (1, _DEEP)]
        rate = c * c * h * w * (_DEEP - 1) / stand.step(*chains)
        yield Measured("peak", f"MatMul {c} → {c} on {h * w}", rate)


def _conv_seconds(stand: _Stand, shape: Shape, kernel: int = 1) -> float:
    chains = [operators.conv(shape, shape[1], kernel, depth) for depth in (1, _DEEP)]
    return stand.step(*chains) / (_DEEP - 1)


def _bandwidth(stand: _Stand) -> Iterator[Measured]:
    for name, build, moved in (("Add", operators.add, 3), ("Concat", operators.concat, 4)):
        elements = moved * (prod(_LARGE) - prod(_SMALL))
        seconds = stand.step(build(_SMALL), build(_LARGE))
        yield Measured("bandwidth", f"{name} of {_grown()}", 4 * elements / seconds)


def _places(stand: _Stand, base: Profile) -> Iterator[Measured]:
    for field, name, build, share in (
        ("transpose", "Transpose to channels last", operators.transpose, 1.0),
        ("transpose", "Slice of every second row and column", operators.subsample, 0.25),
        ("softmax", "Softmax along the channels", operators.softmax, 1.0),
    ):
        copied = 2 * 4 * share * (prod(_LARGE) - prod(_SMALL)) / base.bandwidth
        seconds = stand.step(build(_SMALL), build(_LARGE))
        yield Measured(field, f"{name}, {_grown()}", seconds / copied)


def _resize(stand: _Stand, base: Profile) -> Iterator[Measured]:
    for small, large in _TWICE:
        apart, resized = (operators.between(small, is_resized) for is_resized in (False, True))
        more = _conv_seconds(stand, large) - _conv_seconds(stand, small)
        seconds = stand.difference(apart, resized) - more
        # One MAC an element at least: of a difference of differences nothing may be left.
        worth = max(1.0, seconds * base.peak / prod(large))
        name = f"bilinear, {_of(small)} to {_of(large)} between 1 × 1s"
        yield Measured("resize", name, worth)


def _stamp(stand: _Stand) -> Iterator[Measured]:
    for c, side in _STAMPED:
        shape = (1, c, side, side)
        chains = [operators.conv_transpose(shape, depth) for depth in (1, _DEEP)]
        seconds = stand.step(*chains) / (_DEEP - 1)
        name = f"ConvTranspose 3 × 3, {c} → {c} at {side} × {side}"
        yield Measured("stamp", name, seconds / _conv_seconds(stand, shape, 3))


def _split(stand: _Stand, base: Profile) -> Iterator[Measured]:
    for shape, channels, parts in _SIBLINGS:
        models = [operators.siblings(shape, channels, parts, 3, both) for both in (False, True)]
        saved = (parts - 2) * base.overhead  # a map for each part but one, less the Split itself
        copied = 2 * 4 * parts * channels * prod(shape[2:]) / base.bandwidth
        # A tenth of a copy at least: an engine that leaves the parts in place still has a node.
        dearer = max(0.1, (stand.difference(*models) + saved) / copied)
        name = f"{_of(shape)} to {parts} × {channels} channels, before 3 × 3s"
        yield Measured("split", name, dearer)


def _interleaving(stand: _Stand, base: Profile) -> Iterator[Measured]:
    """In the place of phases that stay apart; the nodes that this takes are the law's to pay."""
    for small, large in _TWICE:
        copied = 2 * 4 * prod(large) / base.bandwidth
        apart = operators.phases(small, False)
        seconds = stand.difference(apart, operators.phases(small, True)) - base.overhead
        # A tenth of a copy at least: of a difference nothing may be left.
        dearer = max(0.1, seconds / copied)
        yield Measured("blocks", f"phases of {_of(small)} between 1 × 1s", dearer)


def _channels(stand: _Stand) -> Iterator[Measured]:
    for kernel, side in _WIDTH_CONVS:
        seconds = {c: _conv_seconds(stand, (1, c, side, side), kernel) for c in _WIDTHS}
        enough = _GAIN * seconds[max(_WIDTHS)]
        least = min(c & -c for c in _WIDTHS if seconds[c] <= enough)
        widths = f"{min(_WIDTHS)} to {max(_WIDTHS)} channels at {side} × {side}"
        yield Measured("channels", f"Conv {kernel} × {kernel}, {widths}", min(least, 8))


def _tiled(stand: _Stand, on_tiles: Mapping[str, OnTiles], base: Profile) -> Iterator[Measured]:
    for channels in _TILED_CHANNELS:
        shape = (1, channels, _TILED_SIDE, _TILED_SIDE)
        one, chain = (operators.conv(shape, channels, 3, depth) for depth in (1, _DEEP))
        plain = stand.step(one, chain)
        for field, form in on_tiles.items():
            gain = plain / stand.step(form.written(one), form.written(chain))
            # Half of its price at least: of a small difference nothing may be left.
            dearer = max(0.5, form.dearer(one, gain, base))
            name = f"Conv 3 × 3, {channels} → {channels} at {_TILED_SIDE} × {_TILED_SIDE}"
            yield Measured(field, f"{name}, on tiles", dearer)


def _weight(channels: int) -> Array:
    weight: Array = np.random.default_rng(0).standard_normal((channels, channels)) / channels**0.5
    return weight.astype(np.float32)


def _of(shape: Shape) -> str:
    return "×".join(map(str, shape))


def _grown() -> str:
    return f"{_of(_SMALL)} to {_of(_LARGE)}"
