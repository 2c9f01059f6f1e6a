"""What a PointNet's encoder gives. Its annotations are types, not text: TorchScript reads them."""

from typing import NamedTuple

from torch import Tensor

__all__ = ["PointFeatures"]


class PointFeatures(NamedTuple):
    """What `PointNetEncoder` knows about N clouds of P points."""

    local: Tensor
    """(N, C_local, P): of each point, after the feature transform."""
    overall: Tensor
    """(N, C_overall): of each cloud."""
    transform: Tensor | None
    """(N, C_local, C_local): the feature transform, for `orthogonality_loss`; None without one."""
