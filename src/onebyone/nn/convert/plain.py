"""A network with PyTorch's own layers in the place of ours, for tools that look for types.

    Pointwise, weight (C_out, C_in / groups, 1, …), channels before 1 to 3 axes     Conv1d to Conv3d
    Pointwise, weight (C_out, C_in), channels last                                  Linear
    ClassMaps                                                       a Linear, with the channels last

A tool that counts or quantises by `type(layer)` (torchinfo, thop, ptflops, `quantize_dynamic`,
quantisation by `torch.fx`) knows `nn.Conv2d` and `nn.Linear`, not a class that computes the same.
"""

from __future__ import annotations

from typing import TypeVar, cast

from torch import Tensor, nn

from onebyone.errors import UsageError
from onebyone.nn.class_maps import ClassMaps, features, scores
from onebyone.nn.convert.linear import empty_conv
from onebyone.nn.convert.parameters import is_a
from onebyone.nn.copies import stored
from onebyone.nn.pointwise import Pointwise

__all__ = ["plain", "put"]

M = TypeVar("M", bound=nn.Module)


def plain(module: M) -> M | nn.Module:
    """A copy with an exact `nn.Conv1d` to `nn.Conv3d` or `nn.Linear` for each `Pointwise`.

    It computes the same and has the same state dict: names, shapes and values, so that each can
    load the other's. Layers that were one stay one, and so do tied parameters. Hooks on a
    `Pointwise` are not copied; what pruning or a parametrization computes is stored (`stored`).

    A `Pointwise` takes inputs of any number of axes, a layer of PyTorch does not: which one stands
    for it is told by its stored weight, and its inputs must have as many spatial axes. So a
    `Pointwise(3, 4)` becomes a `Conv2d`, for (N, C, H, W); `spatial_dims=1` makes it a `Conv1d`.

    Raises:
        UsageError: a layer that no layer of PyTorch with this weight computes: channels last with a
            stride, with groups or with a weight that is not flat; or channels first that is.

    >>> plain(nn.Sequential(Pointwise(3, 4, stride=2), nn.ReLU(), Pointwise(4, 5, spatial_dims=1)))
    Sequential(
      (0): Conv2d(3, 4, kernel_size=(1, 1), stride=(2, 2))
      (1): ReLU()
      (2): Conv1d(4, 5, kernel_size=(1,), stride=(1,))
    )
    >>> plain(Pointwise(3, 4, channel_dim=-1))
    Linear(in_features=3, out_features=4, bias=True)
    """
    made: nn.Module = stored(getattr(module, "_orig_mod", module))
    # Heads first: the `Pointwise` in one is wanted with the channels last.
    for head in [part for part in made.modules() if is_a(part, ClassMaps)]:
        made = put(made, head, _LinearMaps(cast(ClassMaps, head)))
    for part in [part for part in made.modules() if is_a(part, Pointwise)]:
        made = put(made, part, _layer(cast(Pointwise, part)))
    return made


def put(root: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """`root` with `new` wherever `old` is, under each of its names; `new` if it is the root itself.

    >>> put(nn.Sequential(relu := nn.ReLU()), relu, nn.Tanh())
    Sequential(
      (0): Tanh()
    )
    """
    if root is old:
        return new
    # A layer that is shared has a name in each place.
    for name, part in list(root.named_modules(remove_duplicate=False)):
        if part is old:
            root.set_submodule(name, new)
    return root


class _LinearMaps(ClassMaps):
    """`ClassMaps` whose matrix is an `nn.Linear`, which wants the channels last."""

    def __init__(self, like: ClassMaps) -> None:
        nn.Module.__init__(self)
        self.project = _as_linear(like.project)  # type: ignore[assignment]
        self.train(like.training)

    def forward(self, x: Tensor, maps: bool = False) -> Tensor:
        """Features (N, C, *space) -> scores (N, classes), or the maps (N, classes, *space)."""
        last: Tensor = self.project(features(x, maps).movedim(1, -1))
        return scores(last.movedim(-1, 1), maps)


def _layer(p: Pointwise) -> nn.Module:
    """The layer of PyTorch that has this weight and computes the same."""
    axes = p.weight.ndim - 2
    # The state dict is to stay, so that the stored weight decides which layer it can be.
    fits = axes == 0 and p.channel_dim == -1 and p.groups == 1 and p.stride == 1
    if fits:
        return _as_linear(p)
    strided = isinstance(p.stride, int) or len(p.stride) == axes
    if axes in (1, 2, 3) and p.channel_dim in (1, -1 - axes) and strided:
        return _with_parameters(empty_conv(p, axes), p)
    raise UsageError(
        f"got {p}, whose weight {tuple(p.weight.shape)} is that of no layer of PyTorch that "
        "computes the same, wanted channel_dim=-1 and spatial_dims=0 (Linear, no stride or groups) "
        "or channel_dim=1 and spatial_dims=1, 2 or 3 (Conv1d, Conv2d, Conv3d): make it so, "
        "load_state_dict takes the weight"
    )


def _as_linear(p: Pointwise) -> nn.Linear:
    linear = nn.Linear(p.in_channels, p.out_channels, p.bias is not None, device="meta")
    return _with_parameters(linear, p)


def _with_parameters(new: M, p: Pointwise) -> M:
    """`new` with the parameters themselves, so that what was tied to them still is."""
    target = cast(nn.Linear, new)
    target.weight, target.bias = p.weight, cast(nn.Parameter, p.bias)
    return new.train(p.training)
