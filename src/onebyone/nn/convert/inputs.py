"""A trained layer, or a network, for other input channels.

    W′ = W·mix        W′x = W(mix·x)        mix: (C_trained, C_new)

Column c of the mix says how the trained channels are made of new channel c. Ones alone are copies:
a grey image in the place of all three colours. The mix itself is the user's: nothing here guesses
which of five bands is red.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar, cast

import numpy as np
from torch import Tensor, fx, nn

from onebyone.algebra import channel
from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.weights import Array
from onebyone.errors import UsageError
from onebyone.nn.convert.bridge import channel_dim, value_of
from onebyone.nn.convert.norm_pairs import graphs, is_watched
from onebyone.nn.convert.parameters import CONVOLUTIONS, TRANSPOSED, alike, is_a, to_array, unfit
from onebyone.nn.convert.plain import put
from onebyone.nn.copies import copied, stored
from onebyone.nn.pointwise import Pointwise

__all__ = ["adapt_input"]

Layer = TypeVar("Layer", bound=nn.Module)
Mix = Tensor | Array | Sequence[Sequence[float]]

_LAYERS = (nn.Linear, Pointwise, *CONVOLUTIONS, *TRANSPOSED)


def adapt_input(module: Layer, mix: Mix | None = None) -> Layer:
    """A copy of a layer or network for other input channels: it gives `module(mix·x)` for x.

    Args:
        module: Linear, Pointwise, Conv1d to 3d or ConvTranspose1d to 3d, in one group; or a network
            whose input is read by such layers alone, each called once. Those are found by tracing
            `forward`.
        mix: (C_trained, C_new), how each trained channel is made of the new ones. Without it there
            is one new channel, which stands for all trained ones: a mix of ones.

    Returns:
        The same with C_new input channels; W·mix is computed in float64 and rounded once to the
        dtype of the weight. Biases, strides, padding, gradient flags and mode stay. What a hook
        computes (pruning, `weight_norm`) is stored in the layers that change.

    Raises:
        UsageError: a mix of another shape; a module or group as above; a network whose input is
            also read by something else (a normalisation, a slice): put the mix in front of it.

    >>> import torch
    >>> conv = nn.Conv2d(3, 8, 3, padding=1)
    >>> grey = adapt_input(conv)
    >>> image = torch.rand(1, 1, 6, 5)
    >>> torch.allclose(grey(image), conv(image.expand(-1, 3, -1, -1)), atol=1e-6)
    True
    >>> bands = [[0, 0, 1, 0], [0, 1, 0, 0], [0.5, 0, 0, 0.5]]  # red, green, blue of four bands
    >>> adapt_input(conv, bands)
    Conv2d(4, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))
    """
    if is_a(module, *_LAYERS):
        return _mixed(module, mix)
    adapted = copied(module)
    for layer in _first_layers(adapted):
        put(adapted, layer, _mixed(stored(layer), mix))
    graphs(adapted)  # fails where a layer is reached by other ways than the names it has
    return adapted


def _mixed(layer: Layer, mix: Mix | None) -> Layer:
    """The layer behind the mix, as one layer."""
    if getattr(layer, "groups", 1) != 1:
        raise unfit(layer, "a layer in one group: a mix would fill in the zeros between groups")
    value, weight = value_of(layer), cast(nn.Linear, layer).weight
    c_in = value.in_channels if isinstance(value, ChannelMap) else value.channels[0]
    M = _matrix(mix, c_in)
    if isinstance(value, ChannelMap):
        made = channel.compose(value, ChannelMap(M))
        taps = [1] * (weight.ndim - 2)
        return alike(layer, made.weight.reshape(*made.weight.shape, *taps), made.bias)
    composed = value.compose_right(M)
    assert not isinstance(composed, Refusal), "a map without a bias enters any kernel in one group"
    return alike(layer, composed.weight, composed.bias)


def _matrix(mix: Mix | None, trained: int) -> Array:
    if mix is None:
        return np.ones((trained, 1))
    if isinstance(mix, Tensor):
        mix = to_array(mix)
    M = np.asarray(mix, np.float64)
    if M.ndim != 2 or M.shape[0] != trained or not M.shape[1]:
        raise UsageError(
            f"got a mix of shape {M.shape}, wanted ({trained}, C_new): a row for each of the "
            f"{trained} trained channels, a column for each new one"
        )
    return M


def _first_layers(root: nn.Module) -> list[nn.Module]:
    """The layers that read a network's input.

    Raises:
        UsageError: something else reads it, too, or a layer is used in another place.
    """
    drawn = graphs(root)
    if len(drawn) != 1 or drawn[0][0] is not root:
        raise unfit(root, "a layer, or a network that is called with its input")
    modules, nodes = dict(root.named_modules()), list(drawn[0][1].nodes)
    calls = Counter(modules[str(node.target)] for node in nodes if node.op == "call_module")
    # Who reads a parameter by itself sees the other weight.
    read = {str(node.target).rpartition(".")[0] for node in nodes if node.op == "get_attr"}
    x = next(node for node in nodes if node.op == "placeholder")
    layers = []
    for user in x.users:
        layer = modules.get(str(user.target)) if user.op == "call_module" else None
        fits = layer is not None and is_a(layer, *_LAYERS) and user.args == (x,)
        if layer is None or not fits or is_watched(layer):
            raise _also_read(root, user)
        if calls[layer] != 1 or user.target in read:
            raise UsageError(f"got {user.target}, which is used in other places, wanted it once")
        layers.append(layer)
    if len({channel_dim(layer) for layer in layers}) != 1:
        raise unfit(root, "layers with their channels along one axis of the input")
    return layers


def _also_read(root: nn.Module, user: fx.Node) -> UsageError:
    name: Any = getattr(user.target, "__name__", user.target)
    return UsageError(
        f"got {type(root).__name__}, whose input is read by {name!r}, wanted only linear layers "
        "and convolutions without hooks: put the mix in front, as the weight of a 1×1"
    )
