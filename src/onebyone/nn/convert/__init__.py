"""Exact conversions: the same function with a matrix in another place."""

from __future__ import annotations

from onebyone.nn.convert.patches import mlpconv_to_patch_mlp, patch_mlp_to_mlpconv
from onebyone.nn.convert.points import point_mlp_to_shared_mlp, shared_mlp_to_point_mlp

__all__ = [
    "mlpconv_to_patch_mlp",
    "patch_mlp_to_mlpconv",
    "point_mlp_to_shared_mlp",
    "shared_mlp_to_point_mlp",
]
