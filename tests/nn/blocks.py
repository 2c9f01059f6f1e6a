"""Every layer and block with an example input, and the operators that it is in an ONNX file."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onebyone.nn.bottleneck import Bottleneck
from onebyone.nn.class_maps import ClassMaps
from onebyone.nn.fire import FireBlock
from onebyone.nn.inception import InceptionBlock
from onebyone.nn.inverted import InvertedResidual, SqueezeExcite
from onebyone.nn.mlpconv import MLPConv
from onebyone.nn.points import PointNetClassifier, PointNetEncoder, PointNetSegmenter, TNet
from onebyone.nn.pointwise import Pointwise
from onebyone.nn.separable import DepthwiseSeparable
from onebyone.nn.shared_mlp import SharedMLP
from onebyone.nn.shortcut import ProjectionShortcut
from tests.quick import slow_but

__all__ = ["BLOCKS", "MOSTLY_SLOW", "TWO", "Block", "operators", "sample", "with_small_integers"]


@dataclass(frozen=True)
class Block:
    """A module to export.

    Args:
        make: makes it.
        shape: of an example input.
        free: the axes of the input that may have any size.
        operators: the ONNX operators that it comes down to, as "3 Conv, Add".
        script: the same for TorchScript's exporter where it spells something otherwise; this is
            what is left, so that a comment says why it is there.
        exact: whether it computes with +, ×, ÷2 and max alone, so that integers are exact.
    """

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    free: tuple[int, ...]
    operators: str
    script: str = ""
    exact: bool = True


def operators(text: str) -> Counter[str]:
    """How often each operator is named.

    >>> operators("3 Conv, Add")
    Counter({'Conv': 3, 'Add': 1})
    """
    words = [part.split() for part in text.split(", ")]
    return Counter({word[-1]: int(word[0]) if len(word) == 2 else 1 for word in words})


def sample(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Integers from −2 to 2."""
    return torch.randint(-2, 3, shape, generator=torch.Generator().manual_seed(seed)).float()


def with_small_integers(module: nn.Module, seed: int = 3) -> nn.Module:
    """The module itself, in eval mode, with small numbers that keep all arithmetic exact.

    Three of four weights are 0 and the others ±1, for the numbers to stay small through twenty
    layers; norms scale by 1/2, 1 or 2 (their variance and epsilon sum to a power of four).
    """
    generator = torch.Generator().manual_seed(seed)

    def drawn(like: Tensor, values: list[float]) -> Tensor:
        picks = torch.randint(0, len(values), like.shape, generator=generator)
        return torch.tensor(values)[picks]

    with torch.no_grad():
        for name, parameter in module.named_parameters():
            signs = [0.0, 0, 0, 0, 0, 0, 1, -1] if name.endswith("weight") else [0.0, 1, -1]
            parameter.copy_(drawn(parameter, signs))
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
                norm.eps = 0.0
                norm.running_var.copy_(drawn(norm.running_var, [1.0, 4.0]))
                norm.running_mean.copy_(drawn(norm.running_mean, [0.0, 1.0, -1.0]))
                norm.weight.copy_(drawn(norm.weight, [1.0, 2.0, -1.0]))
    return module.eval()


class _Maps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = ClassMaps(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x, maps=True)


def _encoder() -> PointNetEncoder:
    return PointNetEncoder(3, (4, 5), (4, 6, 8), (7, 6))


IMAGE, ANY = (2, 6, 9, 7), (0, 2, 3)
POINTS, TOKENS = (2, 6, 11), (2, 11, 6)

BLOCKS = {
    # Layouts of the one layer.
    "pointwise": Block(lambda: Pointwise(6, 4), IMAGE, ANY, "Conv"),
    "pointwise, stride 2": Block(lambda: Pointwise(6, 4, stride=2), IMAGE, ANY, "Conv"),
    "pointwise, groups": Block(lambda: Pointwise(6, 4, groups=2), IMAGE, ANY, "Conv"),
    "pointwise, NCL": Block(lambda: Pointwise(6, 4), POINTS, (0, 2), "Conv"),
    "pointwise, NCDHW": Block(lambda: Pointwise(6, 4), (2, 6, 3, 5, 4), (0, 2, 3, 4), "Conv"),
    "pointwise, NHWC": Block(
        lambda: Pointwise(6, 4, channel_dim=-1), (2, 9, 7, 6), (0, 1, 2), "MatMul, Add"
    ),
    "pointwise, tokens": Block(
        lambda: Pointwise(6, 4, channel_dim=-1), TOKENS, (0, 1), "MatMul, Add"
    ),
    "pointwise, vectors": Block(lambda: Pointwise(6, 4, channel_dim=-1), (2, 6), (0,), "Gemm"),
    "pointwise, NHWC, stride 2": Block(
        lambda: Pointwise(6, 4, stride=2, channel_dim=-1),
        (2, 9, 7, 6),
        (0, 1, 2),
        "Slice, MatMul, Add",
    ),
    "pointwise, tokens, groups": Block(
        lambda: Pointwise(6, 4, groups=2, channel_dim=-1),
        TOKENS,
        (0, 1),
        "Einsum, Add, 2 Reshape",
    ),
    "pointwise, one image": Block(
        lambda: Pointwise(6, 4, channel_dim=-3),
        (6, 9, 7),
        (1, 2),
        "Conv, Unsqueeze, Squeeze",
    ),
    # Residual blocks. A norm behind a convolution is in its weights.
    "bottleneck": Block(lambda: Bottleneck(6, 4, 6), IMAGE, ANY, "3 Conv, 3 Relu, Add"),
    "bottleneck, no norms": Block(
        lambda: Bottleneck(6, 4, 6, norm=None), IMAGE, ANY, "3 Conv, 3 Relu, Add"
    ),
    "bottleneck, v1.5, stride 2": Block(
        lambda: Bottleneck(6, 4, 10, 2), IMAGE, ANY, "4 Conv, 3 Relu, Add"
    ),
    "bottleneck, v1, stride 2": Block(
        lambda: Bottleneck(6, 4, 10, 2, stride_in="conv1"), IMAGE, ANY, "4 Conv, 3 Relu, Add"
    ),
    # Its first norm has a ReLU behind it: it stays.
    "bottleneck, pre-activation": Block(
        lambda: Bottleneck(6, 4, 6, preactivation=True),
        IMAGE,
        ANY,
        "BatchNormalization, 3 Conv, 3 Relu, Add",
    ),
    "bottleneck, shortcut D": Block(
        lambda: Bottleneck(6, 4, 10, 2, shortcut="D"),
        IMAGE,
        ANY,
        "4 Conv, 3 Relu, Add, AveragePool",
    ),
    "bottleneck, shortcut A": Block(
        lambda: Bottleneck(6, 4, 10, 2, shortcut="A"),
        IMAGE,
        ANY,
        "3 Conv, 3 Relu, Add, Slice, Pad",
    ),
    "shortcut A": Block(lambda: ProjectionShortcut(6, 10, 2, "A"), IMAGE, ANY, "Slice, Pad"),
    "shortcut B": Block(lambda: ProjectionShortcut(6, 10, 2), IMAGE, ANY, "Conv"),
    "shortcut C": Block(lambda: ProjectionShortcut(6, 6, 1, "C"), IMAGE, ANY, "Conv"),
    "shortcut D": Block(lambda: ProjectionShortcut(6, 10, 2, "D"), IMAGE, ANY, "AveragePool, Conv"),
    # Mobile blocks.
    "depthwise separable": Block(lambda: DepthwiseSeparable(6, 4), IMAGE, ANY, "2 Conv, 2 Relu"),
    "squeeze-excite": Block(
        lambda: SqueezeExcite(6, 2),
        IMAGE,
        ANY,
        "ReduceMean, 2 Conv, Relu, Sigmoid, Mul",
        "GlobalAveragePool, 2 Conv, Relu, Sigmoid, Mul",
        exact=False,
    ),
    "inverted residual": Block(
        lambda: InvertedResidual(6, 6, 4), IMAGE, ANY, "3 Conv, 2 Relu, Add"
    ),
    "inverted residual, no expansion": Block(
        lambda: InvertedResidual(6, 4, 1), IMAGE, ANY, "2 Conv, Relu"
    ),
    "inverted residual, squeeze-excite": Block(
        lambda: InvertedResidual(6, 10, 4, 5, 2, squeeze_excite=2, activation=nn.Hardswish),
        IMAGE,
        ANY,
        "5 Conv, 3 HardSwish, ReduceMean, Sigmoid, Mul",
        "5 Conv, 3 HardSwish, GlobalAveragePool, Sigmoid, Mul",
        exact=False,
    ),
    # Blocks of branches.
    "inception": Block(
        lambda: InceptionBlock(6, 4, (3, 5), (2, 3), 4),
        IMAGE,
        ANY,
        "6 Conv, 6 Relu, MaxPool, Concat",
    ),
    "fire": Block(lambda: FireBlock(6, 3, 4, 5), IMAGE, ANY, "3 Conv, 3 Relu, Concat"),
    # Networks in networks, over patches and points.
    "mlpconv": Block(lambda: MLPConv(6, (4, 3, 5), 3), IMAGE, ANY, "3 Conv, 3 Relu"),
    "mlpconv, norms": Block(
        lambda: MLPConv(6, (4, 3, 5), 3, norm=nn.BatchNorm2d), IMAGE, ANY, "3 Conv, 3 Relu"
    ),
    "shared MLP": Block(lambda: SharedMLP(6, (4, 5)), POINTS, (0, 2), "2 Conv, 2 Relu"),
    "shared MLP, channels last": Block(
        # All points are the rows of one matrix, and then points again.
        lambda: SharedMLP(6, (4, 5), channel_dim=-1),
        TOKENS,
        (0, 1),
        "2 Gemm, 2 Relu, 2 Reshape, 2 Shape, Concat",
        "2 Gemm, 2 Relu, Flatten, Shape, 2 Gather, 2 Unsqueeze, Concat, Reshape",
    ),
    "T-Net": Block(
        lambda: TNet(3, (4, 8), (7, 6)),
        (2, 3, 11),
        (0, 2),
        "2 Conv, 3 Gemm, 4 Relu, ReduceMax, Reshape, Add",
    ),
    "PointNet classifier": Block(
        lambda: PointNetClassifier(5, _encoder(), (7, 6)),
        (2, 3, 11),
        (0, 2),
        "11 Conv, 9 Gemm, 17 Relu, 3 ReduceMax, 2 Reshape, 2 Add, 2 MatMul",
    ),
    "PointNet segmenter": Block(
        lambda: PointNetSegmenter(5, _encoder(), (7, 6, 8)),
        (2, 3, 11),
        (0, 2),
        "15 Conv, 7 Gemm, 18 Relu, 3 ReduceMax, 2 Reshape, 3 Add, 2 MatMul, Unsqueeze",
    ),
    # Heads.
    "class maps": Block(_Maps, IMAGE, ANY, "Conv"),
    "class scores": Block(
        lambda: ClassMaps(6, 5),
        (2, 6, 8, 4),
        ANY,
        "ReduceMean, Conv, Reshape",
        "ReduceMean, Conv, Flatten",
    ),
}

# For what takes a second a block (compilers, exporters). These meet images and tokens, strides,
# norms and sums.
TWO = ("bottleneck, v1.5, stride 2", "shared MLP, channels last")
MOSTLY_SLOW = slow_but(*TWO, of=BLOCKS)
