"""The rank of a layer: how many of its output channels are linear combinations of the others.

    y = Wx + b      rank [W | b]       a 1×1, a K×K (W is (C_out, C_in·K·K)) or a linear layer
    y = f(x)        rank of Y          Y: (positions, C_out), the outputs on an example

64 → 256 channels have rank 64, or 65 with a bias; a ReLU behind them lifts it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from onebyone.algebra import rank as algebra
from onebyone.algebra.rank import Rank
from onebyone.algebra.weights import Array
from onebyone.errors import UsageError
from onebyone.nn.convert.parameters import CONVOLUTIONS, check_stored, is_a
from onebyone.nn.copies import computing_hooks, copied, stored
from onebyone.nn.examples import arguments
from onebyone.nn.pointwise import Pointwise

__all__ = ["rank"]

# Outputs are computed in float64 and compared at the rounding level of float32, which the rounding
# of that computation stays below.
OUTPUT_UNIT = 2.0**-24


def rank(
    module: nn.Module | Tensor,
    example: Tensor | Sequence[object] | Mapping[str, object] | None = None,
    *,
    channel_dim: int = 1,
) -> Rank:
    """How many output channels of a module are linearly redundant.

    `Pointwise`, `Conv1d`, `Conv2d`, `Conv3d` and `Linear` are judged by their weight and bias, for
    every input; a tensor is taken for a weight (C_out, C_in, …). Any other module is judged by its
    outputs on the example, computed in float64 by a copy in eval mode: what is found then holds for
    the positions of that example. The module is left as it was.

    Args:
        module: a layer, a weight, or any module with one output tensor.
        example: an input, a sequence of them, or a dictionary of keyword arguments, such that the
            output has at least C_out positions. Layers that have a matrix do not look at it.
        channel_dim: the channel axis of the output; all other axes, the batch too, are positions.

    Raises:
        UsageError: an example is needed and not given, or has too few positions; the output is not
            one tensor with that axis; the parameters hold no finite numbers, or a hook that is not
            PyTorch's own computes them at each call.

    >>> _ = torch.manual_seed(0)
    >>> wide = Pointwise(4, 16)
    >>> rank(wide).rank
    5
    >>> rank(nn.Sequential(wide, nn.ReLU()), torch.randn(2, 4, 7, 5)).rank
    16
    """
    if isinstance(module, Tensor):
        return _of_matrix(module, None, 1)
    module = getattr(module, "_orig_mod", module)  # what torch.compile wraps
    if is_a(module, Pointwise, nn.Linear, *CONVOLUTIONS):
        if computing_hooks(module):
            module = stored(module)
        check_stored(module)
        layer = cast(nn.Conv2d, module)
        return _of_matrix(layer.weight, layer.bias, getattr(layer, "groups", 1))
    if example is None:
        raise UsageError(
            f"got a {type(module).__name__}, which has no matrix of its own: "
            "give an example input to judge it by its outputs"
        )
    return _of_outputs(_outputs(module, example), channel_dim)


def _of_matrix(weight: Tensor, bias: Tensor | None, groups: int) -> Rank:
    if weight.is_meta:
        raise UsageError("got parameters on the meta device, wanted ones with values")
    # In float64, in which it is looked at, a weight no longer tells how it was rounded.
    unit = torch.finfo(weight.dtype).eps / 2 if weight.is_floating_point() else None
    vector = None if bias is None else _array(bias)
    return algebra.rank(_array(weight), vector, groups=groups, unit=unit)


def _array(x: Tensor) -> Array:
    wide: Tensor = _double(x.detach().cpu())
    return wide.numpy()


def _outputs(
    module: nn.Module, example: Tensor | Sequence[object] | Mapping[str, object]
) -> Tensor:
    if not isinstance(example, Tensor | Mapping):
        example = tuple(example)
    args, kwargs = tree_map(_double, arguments(example))
    with torch.no_grad():
        output = copied(module).double().eval()(*args, **kwargs)
    if not isinstance(output, Tensor):
        raise UsageError(f"got a {type(output).__name__} from the module, wanted one tensor")
    return output


def _double(x: Any) -> Any:
    if isinstance(x, Tensor) and x.is_floating_point():
        return x.double()
    return x


def _of_outputs(output: Tensor, channel_dim: int) -> Rank:
    if not -output.ndim <= channel_dim < output.ndim:
        raise UsageError(
            f"got outputs of shape {tuple(output.shape)}, wanted channels along axis {channel_dim}"
        )
    y = _array(output.movedim(channel_dim, -1).flatten(0, -2))
    positions, channels = y.shape
    # So few rows have no higher rank, whatever the module is.
    if positions < channels:
        raise UsageError(
            f"got an example with {positions} positions, wanted at least one for each of the "
            f"{channels} output channels: give a larger image or batch"
        )
    sigma = algebra.singular_values(y)
    tau = algebra.threshold(y, sigma, OUTPUT_UNIT)
    return Rank(channels, int((sigma > tau).sum()), tuple(map(float, sigma)), tau, "outputs")
