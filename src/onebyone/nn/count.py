"""Count a PyTorch module: parameters, multiply-accumulates and bytes of one call.

The call is made on a copy whose tensors have shapes but no numbers, so that it costs neither time
nor memory and leaves nothing behind; a module that looks at numbers (`if x.sum() > 0`), or whose
operators do not say what shapes they give, is called again on a copy with its numbers.
"""

from __future__ import annotations

import inspect
import logging
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_map

from onebyone.counting.formulas import Shape
from onebyone.counting.tally import Weight
from onebyone.counting.value import Count
from onebyone.errors import UsageError
from onebyone.nn.copies import copied
from onebyone.nn.count_tally import tally
from onebyone.nn.count_trace import Ledger, Recorder, Recurrences, tensors, tracked
from onebyone.nn.examples import arguments

__all__ = ["count"]


def count(module: nn.Module, example: object) -> Count:
    """Count one call of `module`, in the mode (training or evaluation) that it is in.

    Args:
        module: any; it is left as it is, also when the call fails.
        example: a tensor, a tuple of arguments, or a dictionary of keyword arguments. Anything
            else is the one argument. Only sizes and types matter: `torch.empty` will do.

    Names of layers are paths of submodules, and `tree()` sums them. Gradients are not recorded, and
    the fused inference path of `nn.TransformerEncoder` and `nn.MultiheadAttention` is not taken:
    what it computes is counted operator by operator. Buffers that are read count in `buffers`,
    tensors that are neither parameters nor buffers are constants and count nowhere. Parameters
    that the call does not use are listed in `uncounted`.

    Raises:
        UsageError: no example, sizes instead of one, or a module that cannot be copied.
        Exception: whatever the call itself raises.

    >>> tokens = count(nn.Linear(3, 4), torch.empty(2, 196, 3))
    >>> tokens.parameters, tokens.macs, tokens.pointwise_share, tokens.bias_adds
    (16, 4704, 1.0, 1568)
    """
    module = getattr(module, "_orig_mod", module)
    args, kwargs = _arguments(module, example)
    counted = _unless_it_needs_numbers(module, args, kwargs)
    if counted is not None:
        return counted
    return _counted(module, args, kwargs, None)


def _arguments(module: nn.Module, example: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
    sizes = isinstance(example, tuple) and example and all(type(x) is int for x in example)
    if example is None or sizes:
        got = "no example" if example is None else f"the sizes {example}"
        raise UsageError(
            f"{type(module).__name__}: got {got}, wanted what to call it with: "
            "a tensor, a tuple of arguments or a dict of keyword arguments, like torch.empty(1, 3)"
        )
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in module.parameters()):
        raise UsageError(
            f"{type(module).__name__}: got lazy parameters without sizes, wanted sizes: "
            "call the module once before counting it"
        )
    return arguments(example)


def _unless_it_needs_numbers(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Count | None:
    # That an operator cannot run without numbers is no failure here, and not worth a warning.
    log = logging.getLogger("torch._subclasses.fake_tensor")
    before, log.disabled = log.disabled, True
    try:
        return _counted(module, args, kwargs, FakeTensorMode(allow_non_fake_inputs=True))
    except UsageError:
        raise
    except Exception:
        # Whatever went wrong: the call with numbers tells whether it was for want of them.
        return None
    finally:
        log.disabled = before


def _counted(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], fake: FakeTensorMode | None
) -> Count:
    twin = _copy_of_tensor if fake is None else fake.from_tensor
    copy = copied(module, twin)
    args, kwargs = tree_map(lambda x: twin(x) if isinstance(x, Tensor) else x, (args, kwargs))
    weights = dict(_weights(copy))
    given = tensors((args, kwargs))
    ledger = Ledger({id(tensor): name for name, tensor in weights.items()})
    # In this order: what is given may be one of the module's own tensors, and then it is an input.
    for name, tensor in weights.items():
        ledger.write(tensor, constant=True, origins=(name,))
    recorder = Recorder(ledger, given)
    with ExitStack() as stack:
        for context in (_undisturbed([*weights.values(), *given]), torch.no_grad()):
            stack.enter_context(context)
        stack.enter_context(tracked(copy, recorder.paths.append, recorder.paths.pop))
        stack.enter_context(fake or nullcontext())
        stack.enter_context(Recurrences(recorder))
        stack.enter_context(recorder)
        result = copy(*args, **kwargs)
    returned = {ledger.operand(tensor).value for tensor in tensors(result)}
    inputs = tuple(_inputs(module, args, kwargs))
    return tally(recorder.steps, _sizes(copy, weights), returned, inputs)


def _copy_of_tensor(tensor: Tensor) -> Tensor:
    clone = tensor.detach().clone()
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(clone, False)
    return clone


def _weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _sizes(module: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Weight]:
    buffers = {name for name, _ in module.named_buffers()}
    return {
        name: Weight(tensor.numel(), tensor.numel() * tensor.element_size(), name in buffers)
        for name, tensor in weights.items()
    }


def _inputs(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[str, Shape]]:
    """The shapes of all tensors given, by the names of the arguments that they are or are in."""
    for name, value in _named(module, args, kwargs).items():
        for path, leaf in tree_flatten_with_path(value)[0]:
            if isinstance(leaf, Tensor):
                yield name + keystr(path), tuple(leaf.shape)


def _named(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Mapping[str, object]:
    """Arguments by name; where `forward` does not tell its names (TorchScript), by number."""
    if isinstance(module, torch.jit.ScriptModule):
        return {**{f"input{i}": x for i, x in enumerate(args)}, **kwargs}
    return inspect.signature(module.forward).bind(*args, **kwargs).arguments


@contextmanager
def _undisturbed(held: list[Tensor]) -> Iterator[None]:
    """Random states and the choice of fused kernels are the same afterwards as before."""
    devices = {t.device for t in held if t.device.type not in ("cpu", "meta")}
    kind = next((device.type for device in devices), "cuda")
    numpy = sys.modules.get("numpy")
    drawn, drawn_by_numpy = random.getstate(), numpy and numpy.random.get_state()
    # The fused kernel of attention would hide the products in it.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            torch.random.fork_rng([d.index or 0 for d in devices], device_type=kind),
            torch.compiler.set_stance("force_eager"),
        ):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        random.setstate(drawn)
        if numpy:
            numpy.random.set_state(drawn_by_numpy)
