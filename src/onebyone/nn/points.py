"""PointNet: shared MLPs over points, and a maximum.

    h[:, p] = MLP(A · x[:, p])            the same MLP and A for every point p: 1×1 convolutions
    g       = max_p h[:, p]               the same for every order of the points

A point cloud is a set. What treats each point alike is equivariant under permutations, a maximum
over the points is invariant, and PointNet is nothing else.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from onebyone.errors import UsageError
from onebyone.nn.mlpconv import check_widths, finish
from onebyone.nn.point_features import PointFeatures
from onebyone.nn.pointwise import sizes
from onebyone.nn.shared_mlp import SharedMLP, point_linear

__all__ = [
    "PointFeatures",
    "PointNetClassifier",
    "PointNetEncoder",
    "PointNetSegmenter",
    "TNet",
    "orthogonality_loss",
]


class TNet(nn.Module):
    """Looks at a cloud (N, C, P) and proposes a matrix (N, C, C) for each: a small PointNet.

    Its matrix A is to be applied to every point, `torch.bmm(A, x)`: a 1×1 convolution whose weight
    is computed from the input. A new one is the identity, for every input.

    Args:
        channels: C.
        widths: of the shared MLP before the maximum over the points.
        head_widths: of the layers after it, before the last, which gives C·C numbers.
        norm, activation: as of `SharedMLP`, for all layers but the last.

    Source: Qi, Su, Mo, Guibas, 2016, arXiv:1612.00593, section 4.2 and supplement C.

    >>> bool((TNet(3)(torch.randn(2, 3, 11)) == torch.eye(3)).all())
    True
    """

    def __init__(
        self,
        channels: int,
        widths: Sequence[int] = (64, 128, 1024),
        head_widths: Sequence[int] = (512, 256),
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm1d,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.shared = SharedMLP(channels, widths, norm, activation)
        self.head = SharedMLP(widths[-1], head_widths, norm, activation, channel_dim=-1)
        self.last = point_linear(head_widths[-1], channels**2, True, -1)
        # Learning begins where no transform is: at the identity, which `forward` adds.
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Points (N, C, P) -> one matrix for each cloud, (N, C, C)."""
        y: Tensor = self.last(self.head(self.shared(x).amax(-1)))
        change = y.reshape(-1, self.channels, self.channels)
        return change + torch.eye(self.channels, device=x.device, dtype=x.dtype)


def orthogonality_loss(transform: Tensor) -> Tensor:
    """How far matrices are from orthogonal: ‖I − AAᵀ‖²_F of each, (…, C, C) -> (…).

    PointNet adds 0.001 times this, of the C×C feature transform, to its loss: an orthogonal matrix
    loses nothing of its input, and a large one is hard to learn without being told so.

    Source: Qi, Su, Mo, Guibas, 2016, arXiv:1612.00593, equation 2.

    >>> orthogonality_loss(torch.stack([torch.eye(3), 2 * torch.eye(3)]))
    tensor([ 0., 27.])
    """
    identity = torch.eye(transform.shape[-1], device=transform.device, dtype=transform.dtype)
    return (identity - transform @ transform.mT).square().sum((-2, -1))


class PointNetEncoder(nn.Module):
    """Points (N, C, P) -> features of each point and of each cloud.

    Transform the points, a shared MLP, transform the features, a shared MLP, maximum over points.

    Args:
        in_channels: C; 3 for coordinates, 6 with normals.
        local_widths: of the first shared MLP; the last of them is C_local.
        widths: of the second one, and of that in the T-Nets; the last of them is C_overall.
        transform_widths: of the layers after the maximum in the T-Nets; None for no T-Nets.
        norm, activation: of all layers but those that give a matrix.

    The number of points may be any from one on, and differ from call to call. Without T-Nets or
    with, the order of the points does not matter: `local` follows it, `overall` stays the same.

    Raises:
        UsageError: sizes that do not fit, here or in the input; the message says which.

    Source: Qi, Su, Mo, Guibas, 2016, arXiv:1612.00593, figure 2.

    >>> features = PointNetEncoder()(torch.randn(2, 3, 11))
    >>> features.local.shape, features.overall.shape, features.transform.shape
    (torch.Size([2, 64, 11]), torch.Size([2, 1024]), torch.Size([2, 64, 64]))
    """

    def __init__(
        self,
        in_channels: int = 3,
        local_widths: Sequence[int] = (64, 64),
        widths: Sequence[int] = (64, 128, 1024),
        transform_widths: Sequence[int] | None = (512, 256),
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm1d,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.local = SharedMLP(in_channels, local_widths, norm, activation)
        self.shared = SharedMLP(local_widths[-1], widths, norm, activation)
        self.in_channels, self.local_channels = in_channels, local_widths[-1]
        self.out_channels = widths[-1]
        self.input_transform, self.feature_transform = (
            None
            if transform_widths is None
            else TNet(size, widths, transform_widths, norm, activation)
            for size in (in_channels, local_widths[-1])
        )

    def forward(self, x: Tensor) -> PointFeatures:
        """Points (N, C, P) -> their `PointFeatures`."""
        x = _cloud(x, self.in_channels)
        if self.input_transform is not None:
            x = torch.bmm(self.input_transform(x), x)
        local: Tensor = self.local(x)
        transform: Tensor | None = None
        if self.feature_transform is not None:
            matrix = self.feature_transform(local)
            local, transform = torch.bmm(matrix, local), matrix
        # The maximum over the points does not see their order: the only place where they meet.
        return PointFeatures(local, self.shared(local).amax(-1), transform)


def _cloud(x: Tensor, channels: int) -> Tensor:
    """x itself, which has to be (N, C, P)."""
    if x.ndim != 3 or x.shape[1] != channels:
        raise UsageError(
            f"got points of shape {sizes(list(x.shape))}, wanted (N, {channels}, P): "
            f"transpose (N, P, {channels})"
        )
    return x


def _answer(
    scores: Tensor, transform: Tensor | None, with_transform: bool
) -> Tensor | tuple[Tensor, Tensor | None]:
    """What a network gives: a choice by a flag, which a symbolic trace does not know."""
    if with_transform:
        return scores, transform
    return scores


torch.fx.wrap("_cloud")
torch.fx.wrap("_answer")


class PointNetClassifier(nn.Module):
    """Points (N, C, P) -> scores (N, classes), the same for every order of the points.

    Args:
        classes: number of classes.
        encoder: a `PointNetEncoder`; None for the paper's, on coordinates (N, 3, P).
        widths: of the layers between the encoder and the last one.
        dropout: probability before the last layer.
        norm, activation: of these layers, and of the encoder if that is None.

    Source: Qi, Su, Mo, Guibas, 2016, arXiv:1612.00593, figure 2.

    >>> net = PointNetClassifier(40)
    >>> scores, transform = net(torch.randn(2, 3, 11), with_transform=True)
    >>> scores.shape, orthogonality_loss(transform)
    (torch.Size([2, 40]), tensor([0., 0.], grad_fn=<SumBackward1>))
    """

    def __init__(
        self,
        classes: int,
        encoder: PointNetEncoder | None = None,
        widths: Sequence[int] = (512, 256),
        dropout: float = 0.3,
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm1d,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.encoder = encoder or PointNetEncoder(norm=norm, activation=activation)
        self.head = SharedMLP(self.encoder.out_channels, widths, norm, activation, channel_dim=-1)
        self.dropout = nn.Dropout(dropout)
        self.last = point_linear(widths[-1], classes, True, -1)

    def forward(
        self, x: Tensor, with_transform: bool = False
    ) -> Tensor | tuple[Tensor, Tensor | None]:
        """Scores (N, classes); `with_transform`, also the transform (N, C_local, C_local)."""
        features = self.encoder(x)
        scores: Tensor = self.last(self.dropout(self.head(features.overall)))
        return _answer(scores, features.transform, with_transform)


class PointNetSegmenter(nn.Module):
    """Points (N, C, P) -> scores of each point (N, classes, P), in the order of the points.

    The paper repeats the features of the cloud for each point, concatenates them to the point's own
    and applies a shared MLP. Here the first matrix of that is cut in two, `local` and `overall`:

        W [x_p; g] = W₁ x_p + W₂ g

    so that its larger part is applied once a cloud instead of once a point (for 1024 overall and
    64 local features, 1/17 of the multiplications), and nothing is repeated.

    Args:
        classes: number of classes.
        encoder: a `PointNetEncoder`; None for the paper's, on coordinates (N, 3, P).
        widths: of the shared MLP before the last layer.
        norm, activation: of these layers, and of the encoder if that is None.

    Source: Qi, Su, Mo, Guibas, 2016, arXiv:1612.00593, figure 2.

    >>> PointNetSegmenter(13)(torch.randn(2, 3, 11)).shape
    torch.Size([2, 13, 11])
    """

    def __init__(
        self,
        classes: int,
        encoder: PointNetEncoder | None = None,
        widths: Sequence[int] = (512, 256, 128, 128),
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm1d,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.encoder = encoder or PointNetEncoder(norm=norm, activation=activation)
        check_widths(classes, widths)
        self.local = point_linear(self.encoder.local_channels, widths[0], norm is None, 1)
        self.overall = point_linear(self.encoder.out_channels, widths[0], False, -1)
        self.finish = nn.Sequential(*finish(widths[0], norm, activation))
        further = widths[1:]
        self.shared: nn.Module = nn.Identity()
        if further:
            self.shared = SharedMLP(widths[0], further, norm, activation)
        self.last = point_linear(widths[-1], classes, True, 1)

    def forward(
        self, x: Tensor, with_transform: bool = False
    ) -> Tensor | tuple[Tensor, Tensor | None]:
        """Scores (N, classes, P); `with_transform`, also the transform (N, C_local, C_local)."""
        features = self.encoder(x)
        # W [x; g] = W₁x + W₂g, the second once a cloud, and broadcast to its points.
        y = self.local(features.local) + self.overall(features.overall).unsqueeze(-1)
        scores: Tensor = self.last(self.shared(self.finish(y)))
        return _answer(scores, features.transform, with_transform)
