"""PyTorch layers and blocks built on the 1×1 convolution.

    Pointwise               the 1×1 convolution, for every layout
    Bottleneck              1×1 → 3×3 → 1×1 and a skip (ResNet)
    ProjectionShortcut      a skip that fits channels and stride (ResNet)
    DepthwiseSeparable      depthwise, then 1×1 (MobileNet)
    InvertedResidual        1×1 → depthwise → 1×1 (MobileNetV2, V3, EfficientNet)
    SqueezeExcite           a gate for each channel
    InceptionBlock          branches behind 1×1 reductions (GoogLeNet)
    FireBlock               squeeze by a 1×1, expand by 1×1 and 3×3 (SqueezeNet)
    MLPConv                 a small MLP slid over the image (network in network)
    SharedMLP               the same MLP for every point
    PointNetClassifier      a class for a set of points (PointNet)
    PointNetSegmenter       a class for each point of it
    PointNetEncoder, TNet   their parts; PointFeatures is what an encoder gives
    orthogonality_loss      what PointNet's training adds for the transforms of TNet
    ClassMaps               a map for each class, and scores that are their means
    pointwise_products      the products that a 1×1 convolution sums up
    convert                 exact conversions between layers, and of whole classifiers

>>> from onebyone import nn
>>> nn.Pointwise(256, 64)
Pointwise(256, 64)
"""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401 - only to say what to install if it is not there
except ImportError as error:
    raise ImportError("onebyone.nn needs PyTorch: pip install 'onebyone[torch]'") from error

from onebyone.nn import convert
from onebyone.nn.bottleneck import Bottleneck
from onebyone.nn.class_maps import ClassMaps
from onebyone.nn.fire import FireBlock
from onebyone.nn.inception import InceptionBlock
from onebyone.nn.inverted import InvertedResidual, SqueezeExcite
from onebyone.nn.mlpconv import MLPConv
from onebyone.nn.points import (
    PointFeatures,
    PointNetClassifier,
    PointNetEncoder,
    PointNetSegmenter,
    TNet,
    orthogonality_loss,
)
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.products import pointwise_products
from onebyone.nn.separable import DepthwiseSeparable
from onebyone.nn.shared_mlp import SharedMLP
from onebyone.nn.shortcut import ProjectionShortcut

__all__ = [
    "Bottleneck",
    "ClassMaps",
    "DepthwiseSeparable",
    "FireBlock",
    "InceptionBlock",
    "InvertedResidual",
    "MLPConv",
    "PointFeatures",
    "PointNetClassifier",
    "PointNetEncoder",
    "PointNetSegmenter",
    "Pointwise",
    "ProjectionShortcut",
    "SharedMLP",
    "SqueezeExcite",
    "TNet",
    "convert",
    "orthogonality_loss",
    "pointwise_products",
]
