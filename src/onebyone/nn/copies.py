"""Copies of modules whose weights a hook or a parametrization computes.

`prune` and the older `weight_norm` and `spectral_norm` keep the computed weight as an attribute,
which PyTorch does not copy; `torch.nn.utils.parametrize` computes it whenever it is read. A copy
with the weights *stored* computes the same and has the layers' own types and state dict.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar, cast

from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm
from torch.utils._pytree import tree_leaves

from onebyone.errors import UsageError

__all__ = ["computing_hooks", "copied", "stored"]

M = TypeVar("M", bound=nn.Module)

# The hooks of PyTorch that compute a tensor before each call: their class, where they have the
# name of the tensor, and what takes them away and leaves the tensor stored.
_COMPUTING: tuple[tuple[type, str, Callable[[nn.Module, str], object]], ...] = (
    (prune.BasePruningMethod, "_tensor_name", prune.remove),
    (WeightNorm, "name", remove_weight_norm),
    (SpectralNorm, "name", remove_spectral_norm),
)


def copied(module: M, twin: Callable[[Tensor], Tensor] | None = None) -> M:
    """A copy with `twin(t)` for each tensor t that a submodule holds.

    Without `twin` it is `copy.deepcopy`, and takes the tensors too that an operator computed, which
    that refuses.

    Raises:
        UsageError: something else in the module cannot be copied.

    >>> layer = prune.l1_unstructured(nn.Linear(3, 4), "weight", 0.5)
    >>> copied(layer).weight.equal(layer.weight)
    True
    """
    # By identity, so that what is tied in the module is tied in the copy.
    held = {id(x): x for part in module.modules() for x in tree_leaves(vars(part))}
    tensors = {key: x for key, x in held.items() if isinstance(x, Tensor)}
    if twin is None:
        twin, tensors = _detached, {key: x for key, x in tensors.items() if not x.is_leaf}
    memo: dict[int, Any] = {key: twin(tensor) for key, tensor in tensors.items()}
    try:
        return copy.deepcopy(module, memo)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"got a {type(module).__name__} that cannot be copied ({reason}), wanted one that "
            "copy.deepcopy can copy: the module itself is to stay as it is"
        ) from error


def _detached(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def stored(module: M) -> M:
    """A copy whose weights are stored where hooks of PyTorch or parametrizations compute them.

    Removed are pruning, `weight_norm` and `spectral_norm` of either kind, `orthogonal` and every
    other parametrization; the numbers are those that the next call would compute in eval mode. What
    hooks of others compute stays theirs.

    Raises:
        UsageError: something in the module cannot be copied.

    >>> net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 1)), nn.ReLU())
    >>> list(stored(net).state_dict())
    ['0.bias', '0.weight']
    >>> list(net.state_dict())
    ['0.bias', '0.parametrizations.weight.original0', '0.parametrizations.weight.original1']
    """
    made = copied(module)
    for part in list(made.modules()):
        for hook in computing_hooks(part):
            name, remove = next((n, r) for kind, n, r in _COMPUTING if isinstance(hook, kind))
            remove(part, getattr(hook, name))
        if parametrize.is_parametrized(part):
            _of_own_class(part)
            for tensor in list(cast(nn.ModuleDict, part.parametrizations)):
                parametrize.remove_parametrizations(part, tensor)
    return made


def _of_own_class(part: nn.Module) -> None:
    """A parametrized tensor is a property of a class that copies share, and removing takes it."""
    cls = type(part)
    own = {name: x for name, x in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    part.__class__ = type(cls.__name__, cls.__bases__, own)


def computing_hooks(module: nn.Module) -> list[object]:
    """The hooks of PyTorch on a module that compute its weight or bias before each call.

    >>> len(computing_hooks(prune.identity(nn.Linear(3, 4), "bias")))
    1
    """
    kinds = tuple(kind for kind, _, _ in _COMPUTING)
    return [hook for hook in module._forward_pre_hooks.values() if isinstance(hook, kinds)]
