"""What is run in a network's place: what `optimize` makes of it, if that is proved to be equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from onebyone.algebra.geometry import Axis
from onebyone.errors import UnreadableModel
from onebyone.graph.write import to_proto
from onebyone.optimize.run import optimize
from onebyone.scan.network import Network, fed
from onebyone.text import finite

__all__ = ["Smaller", "smaller"]

# Pixels along each axis beyond one window, for which the optimizer decides and compares, ...
_ROOM = 32
_PIXELS = 64 * 64
"""... and pixels of an image, at least, whether it is a signal, an image or a volume."""


@dataclass(frozen=True)
class Smaller:
    """A model to run.

    Args:
        content: its bytes.
        certificate: the report of the optimisation, as JSON has it; {} where the target has it.
        notes: why it is the network itself, if it should not be.
    """

    content: bytes
    certificate: Mapping[str, Any]
    notes: tuple[str, ...]


def smaller(network: Network, progress: Callable[[str, int, int], None] | None = None) -> Smaller:
    """The network, optimised; itself, with the reason, where the proof fails."""
    shapes = fed(network.model, network.channels, _sizes(network.axes))
    given = network.model.SerializeToString(deterministic=True)
    try:
        found = optimize(network.model, shapes=shapes, progress=progress)
    except UnreadableModel as error:
        return Smaller(given, {}, (f"run as it is, not optimised: {error}",))
    certificate = found.report.certificate
    said = finite(found.report.to_dict())
    if certificate is None or not certificate.passed:
        return Smaller(given, said, ("run as it is: the optimised network was not proved equal",))
    if found.report.unchanged:
        return Smaller(given, said, ())
    return Smaller(to_proto(found.model).SerializeToString(deterministic=True), said, ())


def _sizes(axes: Sequence[Axis]) -> list[int]:
    """Of an image that the network takes: a window fits, and it is not large for its rank."""
    usual = round(_PIXELS ** (1 / len(axes)))
    sizes = [max(usual, (axis.receptive_field or 0) + _ROOM) for axis in axes]
    return [ceil(n / axis.multiple) * axis.multiple for n, axis in zip(sizes, axes, strict=True)]
