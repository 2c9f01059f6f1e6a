"""Exact conversions: the same function with its matrix in another place.

Each returns a new module and leaves its argument as it was. Where an inverse exists, it is here.
What is converted is the layer and its parameters; hooks on it are not, and are not copied.

    linear_to_kernel            fully connected on H×W  ↔  a kernel of H×W        kernel_to_linear
    linear_to_flat_pointwise    fully connected  ↔  1×1 on (C·H·W)×1×1    flat_pointwise_to_linear
    linear_to_pointwise         linear layer  ↔  1×1                           pointwise_to_linear
    pointwise_to_conv           1×1  ↔  Conv1d, Conv2d, Conv3d                   conv_to_pointwise
    class_maps_to_tied_linear   summed class maps  ↔  tied layer         tied_linear_to_class_maps
    patch_mlp_to_mlpconv        MLP on patches  ↔  network in network         mlpconv_to_patch_mlp
    point_mlp_to_shared_mlp     MLP on points  ↔  1×1s                     shared_mlp_to_point_mlp
    fuse_norm, fuse_norm_before batch normalisation into the layer beside it  ↔        unfuse_norm
    fuse_norms                  the same in a whole network
    adapt_input                 a layer or network for other input channels: grey, more bands
    compose                     two channel maps, or one and a K×K, as one layer  ↔         factor
    fully_convolutional         a classifier slid over images of any size
    plain                       PyTorch's own layers in the place of ours, for tools that know these
    stored                      weights that pruning or a parametrization computes, as they are now
"""

from __future__ import annotations

from onebyone.algebra.geometry import Geometry
from onebyone.nn.convert.channels import compose, factor
from onebyone.nn.convert.inputs import adapt_input
from onebyone.nn.convert.linear import (
    conv_to_pointwise,
    flat_pointwise_to_linear,
    kernel_to_linear,
    linear_to_flat_pointwise,
    linear_to_kernel,
    linear_to_pointwise,
    pointwise_to_conv,
    pointwise_to_linear,
)
from onebyone.nn.convert.norm import fuse_norm, fuse_norm_before, fuse_norms, unfuse_norm
from onebyone.nn.convert.patches import mlpconv_to_patch_mlp, patch_mlp_to_mlpconv
from onebyone.nn.convert.plain import plain
from onebyone.nn.convert.points import point_mlp_to_shared_mlp, shared_mlp_to_point_mlp
from onebyone.nn.convert.tied import class_maps_to_tied_linear, tied_linear_to_class_maps
from onebyone.nn.copies import stored
from onebyone.nn.sliding.fully_convolutional import FullyConvolutional, fully_convolutional

__all__ = [
    "FullyConvolutional",
    "Geometry",
    "adapt_input",
    "class_maps_to_tied_linear",
    "compose",
    "conv_to_pointwise",
    "factor",
    "flat_pointwise_to_linear",
    "fully_convolutional",
    "fuse_norm",
    "fuse_norm_before",
    "fuse_norms",
    "kernel_to_linear",
    "linear_to_flat_pointwise",
    "linear_to_kernel",
    "linear_to_pointwise",
    "mlpconv_to_patch_mlp",
    "patch_mlp_to_mlpconv",
    "plain",
    "point_mlp_to_shared_mlp",
    "pointwise_to_conv",
    "pointwise_to_linear",
    "shared_mlp_to_point_mlp",
    "stored",
    "tied_linear_to_class_maps",
    "unfuse_norm",
]
