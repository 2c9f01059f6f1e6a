"""What a scan gives back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from onebyone.scan.agreement import Agreement
from onebyone.scan.targets import Target
from onebyone.shown import Shown

__all__ = ["Scanned"]


@dataclass(frozen=True, repr=False)
class Scanned(Shown):
    """A scan that is done.

    Args:
        output: what was asked for: a folder of Zarr, or a TIFF.
        folder: of Zarr, with the certificate and the preview.
        classes: the names of the maps; () where the network has none.
        chunks: that were done by this call; the others were there.
        seconds: that it took.
        agreements: how far the maps of an inexact network are from those of crops, and of tiles.
    """

    output: str
    folder: str
    classes: tuple[str, ...]
    chunks: int
    seconds: float
    agreements: tuple[Agreement, ...] = ()

    def array(self) -> Any:
        """The maps (K, H', W'), as a Zarr array that reads when it is sliced."""
        return Target(self.folder).array()

    @property
    def summary(self) -> str:
        """Where it is, and what it took."""
        return f"{self.output}: {self.chunks:,} chunks in {self.seconds:.1f} s"

    def to_dict(self) -> dict[str, Any]:
        """All fields, for JSON, schema 1."""
        return {"schema": 1, **asdict(self)}
