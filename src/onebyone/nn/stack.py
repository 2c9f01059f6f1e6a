"""What our blocks that are layers in a row have in common."""

from collections import OrderedDict
from collections.abc import Callable

from torch import nn

__all__ = ["Norm", "Stack", "normed"]

Norm = Callable[[int], nn.Module] | None


def normed(norm: Norm, width: int) -> nn.Module:
    """The norm of so many channels; without one, what keeps its place and changes nothing."""
    if norm is None:
        return nn.Identity()
    return norm(width)


class Stack(nn.Sequential):
    """A Sequential that is built from sizes: a slice of it is a plain `nn.Sequential`.

    PyTorch makes a slice by calling the class with the layers, which here would be taken for sizes.

    >>> from onebyone.nn.separable import DepthwiseSeparable
    >>> list(dict(DepthwiseSeparable(3, 4)[:2].named_children()))
    ['depthwise', 'bn1']
    """

    def __getitem__(self, index: slice | int) -> nn.Sequential | nn.Module:
        if isinstance(index, slice):
            return nn.Sequential(OrderedDict(list(self._modules.items())[index]))
        return super().__getitem__(index)
