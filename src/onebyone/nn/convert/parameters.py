"""Parameters out of modules and into new ones, each number rounded once.

    tensor → float64 array → law → tensor        |fl(w) - w| ≤ u|w|

float64 holds every float32, float16 and bfloat16 number exactly, so what a law makes of them is
rounded once, to nearest, on its way back, whatever the type: by way of float32, as PyTorch goes, a
16-bit number would be rounded twice. A new module is made on the meta device and then filled,
which draws no random numbers.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from onebyone.algebra.weights import Array
from onebyone.errors import UsageError
from onebyone.nn.pointwise import Pointwise

__all__ = [
    "CONVOLUTIONS",
    "TRANSPOSED",
    "alike",
    "bias_array",
    "check_stored",
    "filled",
    "is_a",
    "loaded",
    "to_array",
    "to_tensor",
    "unfit",
]

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

M = TypeVar("M", bound=nn.Module)

_WINDOW = ("stride", "padding", "dilation", "padding_mode")
# What a module is built from again, besides what its weight, bias and groups tell.
_SETTINGS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: (),
    Pointwise: ("stride", "channel_dim"),
    **dict.fromkeys(CONVOLUTIONS, _WINDOW),
    **dict.fromkeys(TRANSPOSED, (*_WINDOW, "output_padding")),
}


def is_a(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether a module computes what one of `kinds` does: it is one, and overrides no forward.

    >>> class Centred(nn.Conv2d):
    ...     def forward(self, x):
    ...         return super().forward(x - x.mean())
    >>> is_a(nn.Conv2d(3, 4, 1), nn.Conv2d), is_a(Centred(3, 4, 1), nn.Conv2d)
    (True, False)
    """
    return _kind(module, kinds) is not None


def _kind(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> type[nn.Module] | None:
    return next((k for k in kinds if isinstance(module, k) and _computes_as(module, k)), None)


def _computes_as(module: nn.Module, kind: type[nn.Module]) -> bool:
    steps = ("forward", "_conv_forward")
    # What is done to weights before a call (a hook) is another matter: `check_stored`.
    return all(getattr(type(module), s, None) is getattr(kind, s, None) for s in steps)


def unfit(module: nn.Module, wanted: str) -> UsageError:
    """The error that says that a module is not what was `wanted`.

    >>> str(unfit(nn.ReLU(), "a Linear"))
    'got ReLU(), wanted a Linear'
    """
    shown = " ".join(repr(module).split())
    return UsageError(f"got {shown}, wanted {wanted}")


def check_stored(module: nn.Module) -> None:
    """Raise UsageError where a hook computes the weight or bias at each call.

    `prune` and the older `weight_norm` do: what is found there between calls may be out of date.

    >>> from torch.nn.utils import prune
    >>> check_stored(prune.identity(nn.Linear(3, 4), "weight"))
    Traceback (most recent call last):
    ...
    onebyone.errors.UsageError: got Linear(in_features=3, out_features=4, bias=True), whose weight \
a hook computes at each call, wanted it stored: onebyone.nn.convert.stored(layer)
    """
    computed = [name for name in ("weight", "bias") if isinstance(vars(module).get(name), Tensor)]
    if computed and module._forward_pre_hooks:
        name = computed[0]
        wanted = "wanted it stored: onebyone.nn.convert.stored(layer)"
        raise UsageError(f"got {module}, whose {name} a hook computes at each call, {wanted}")


def to_array(tensor: Tensor) -> Array:
    """A float64 copy on the host.

    Raises:
        UsageError: complex numbers, or none (the meta device).

    >>> to_array(torch.ones(2, dtype=torch.bfloat16))
    array([1., 1.])
    """
    if tensor.is_complex():
        raise UsageError(f"got parameters of type {tensor.dtype}, wanted real ones")
    if tensor.is_meta:
        raise UsageError("got parameters on the meta device, wanted ones with values")
    return tensor.detach().cpu().to(torch.float64, copy=True).numpy()


def bias_array(module: nn.Module) -> Array | None:
    """The bias of a module as `to_array` gives it, or None.

    Raises:
        UsageError: as `check_stored` and `to_array`.

    >>> bias_array(nn.Linear(3, 2, bias=False)) is None
    True
    """
    check_stored(module)
    bias = cast(nn.Linear, module).bias
    return None if bias is None else to_array(bias)


def to_tensor(values: Array, *, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    """An array as a tensor, each number rounded once, to nearest.

    Raises:
        UsageError: a finite number is beyond the range of `dtype`.

    >>> above_halfway = np.array([1 + 2**-11 + 2**-30])  # by way of float32 it would become 1
    >>> to_tensor(above_halfway, dtype=torch.float16, device="cpu") == 1 + 2**-10
    tensor([True])
    """
    values = np.array(values, np.float64)
    # PyTorch goes to 16 bits by way of float32, and would round twice.
    narrow = torch.finfo(dtype).bits < 32
    tensor = torch.from_numpy(_to_odd(values) if narrow else values).to(dtype)
    if np.isfinite(values).all() and not tensor.isfinite().all():
        raise UsageError(
            f"got values up to {np.abs(values).max():.6g}, wanted at most "
            f"{torch.finfo(dtype).max:.6g}, the largest {dtype}: convert the module to float32"
        )
    return tensor.to(device)


def _to_odd(values: Array) -> Array:
    """float64 as float32, such that rounding it to 16 bits rounds the float64 number.

    Towards zero, with the last bit set if anything was cut off: no number comes to lie halfway
    between two of the narrower type unless it did before. (S. Boldo, G. Melquiond, "Emulation of
    FMA and Correctly Rounded Sums: Proved Algorithms Using Rounding to Odd", IEEE Trans. Computers
    57, 2008.)
    """
    with np.errstate(over="ignore", under="ignore"):
        near = values.astype(np.float32)
        cut = np.where(np.abs(near) > np.abs(values), np.nextafter(near, np.float32(0)), near)
    odd: Array = (cut.view(np.int32) | (near != values)).view(np.float32)
    return odd


def filled(new: M, weight: Tensor, bias: Tensor | None, like: nn.Module) -> M:
    """`new` with copies of `weight` and `bias`; gradient flags and mode are those of `like`.

    A bias that `like` does not have asks for a gradient if its weight does.

    Raises:
        UsageError: as `check_stored`.

    >>> linear = nn.Linear(3, 2).requires_grad_(False)
    >>> new = nn.Linear(3, 2, device="meta")
    >>> filled(new, linear.weight, linear.bias, linear).weight.requires_grad
    False
    """
    check_stored(like)
    source, target = cast(nn.Linear, like), cast(Any, new)
    asks = source.weight if source.bias is None else source.bias
    target.weight = _parameter(weight, source.weight.requires_grad)
    target.bias = None if bias is None else _parameter(bias, asks.requires_grad)
    return new.train(like.training)


def _parameter(tensor: Tensor, requires_grad: bool) -> nn.Parameter:
    # A weight that was reshaped or chunked is a view, often of strides that kernels are slow on.
    copy = tensor.detach().clone(memory_format=torch.contiguous_format)
    return nn.Parameter(copy, requires_grad=requires_grad)


def loaded(
    new: M,
    weight: Array,
    bias: Array | None,
    device: torch.device | str,
    dtype: torch.dtype | None,
    like: nn.Module | None = None,
) -> M:
    """`filled` with arrays, each number rounded once to `dtype` (None: PyTorch's default).

    Without a `like`, parameters ask for gradients and the mode is that of `new`.

    >>> new = nn.Linear(3, 2, bias=False, device="meta")
    >>> loaded(new, np.ones((2, 3)), None, "cpu", torch.float16).weight.dtype
    torch.float16
    """
    dtype = dtype or torch.get_default_dtype()
    w = to_tensor(weight, dtype=dtype, device=device)
    b = None if bias is None else to_tensor(bias, dtype=dtype, device=device)
    return filled(new, w, b, new if like is None else like)


def alike(module: M, weight: Array, bias: Array | None, **changes: Any) -> M:
    """A module as `module` with another weight and bias, rounded once, and `changes` of settings.

    For Linear, Pointwise, Conv1d to 3d, ConvTranspose1d to 3d; the weight is laid out as that of
    `module` is, and tells the channels and the size of the kernel.

    Raises:
        UsageError: another module; numbers beyond the range of its dtype.

    >>> alike(nn.Conv2d(3, 4, 1, bias=False), np.ones((2, 5, 3, 3)), np.zeros(2), padding="same")
    Conv2d(5, 2, kernel_size=(3, 3), stride=(1, 1), padding=same)
    """
    kind = _kind(module, tuple(_SETTINGS))
    if kind is None:
        raise unfit(module, "Linear, Pointwise, Conv1d to 3d or ConvTranspose1d to 3d")
    settings = {name: getattr(module, name) for name in _SETTINGS[kind]} | changes
    settings |= _sizes(kind, weight, changes.get("groups", getattr(module, "groups", 1)))
    new = kind(**settings, bias=bias is not None, device="meta")
    old = cast(nn.Linear, module).weight
    return cast(M, loaded(new, weight, bias, old.device, old.dtype, module))


def _sizes(kind: type[nn.Module], weight: Array, groups: int) -> dict[str, Any]:
    """The arguments that a weight's shape tells."""
    first, second, *kernel = weight.shape
    if kind is nn.Linear:
        return {"in_features": second, "out_features": first}
    # A transposed convolution stores C_in first, and of the two it is C_out that groups divide.
    if kind in TRANSPOSED:
        channels = {"in_channels": first, "out_channels": second * groups}
    else:
        channels = {"in_channels": second * groups, "out_channels": first}
    if kind is Pointwise:
        return {**channels, "spatial_dims": len(kernel), "groups": groups}
    return {**channels, "kernel_size": tuple(kernel), "groups": groups}
