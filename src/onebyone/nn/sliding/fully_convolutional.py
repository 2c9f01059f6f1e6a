"""A whole classifier as a fully convolutional network: its answer at every place of a larger image.

    maps[:, :, i, j] = classifier(image[:, :, i·s : i·s + H, j·s : j·s + W])

for a classifier of H×W images whose layers have stride s together. The first linear layer after a
flattened C×h×w feature map is a convolution with an h×w kernel, a global pool is a pool with an h×w
window and stride 1, each later linear layer is a 1×1; all else stays as it is.

The equation holds for every (i, j) if the classifier never pads and nothing in it looks at the
whole image. With padding it holds for the one position of an image of the original size only: in
general a crop sees zeros beyond its border, where the maps see the crop's neighbours.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, fx, nn

from onebyone.algebra.geometry import Geometry
from onebyone.errors import UsageError
from onebyone.nn.sliding.export import export
from onebyone.nn.sliding.inplace import written
from onebyone.nn.sliding.trace import Traced, image, run_fake, trace
from onebyone.nn.sliding.walk import Plan
from onebyone.nn.sliding.walk import plan as planned

__all__ = ["FullyConvolutional", "fully_convolutional"]


class FullyConvolutional(nn.Module):
    """A classifier that slides: images (N, C, H, W) -> class maps (N, classes, H', W').

    Made by `fully_convolutional`. The layers of `network` have the names that they had in the
    classifier.

    Attributes:
        network: the converted graph.
        geometry: stride, receptive field, offset and halo: which pixels a position belongs to.
        reasons: what keeps it from being exact, a line each; empty if it is.
        channels: C.
    """

    def __init__(
        self,
        network: fx.GraphModule,
        geometry: Geometry,
        reasons: tuple[str, ...] = (),
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.network, self.geometry, self.reasons = network, geometry, reasons
        self.channels = channels

    @property
    def exact(self) -> bool:
        """Whether each position of every image equals the classifier's answer on its crop."""
        return self.geometry.exact

    def forward(self, x: Tensor) -> Tensor:
        """Images of the original size or larger -> class maps."""
        height, width = self.geometry.size
        if x.shape[-2] < height or x.shape[-1] < width:
            raise UsageError(
                f"got an image of {x.shape[-2]}×{x.shape[-1]}, wanted at least {height}×{width}, "
                "the size that the classifier was made for: pad or enlarge the image"
            )
        maps: Tensor = self.network(x)
        return maps

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        classes: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Write it as an ONNX file of free batch, height and width, which says where it looks.

        The file's `metadata_props` hold, as JSON, lists with one entry for the height and one for
        the width: `onebyone.stride`, `onebyone.window` (the receptive field; null: the whole
        image), `onebyone.offset`, `onebyone.halo` (how many positions at the start and at most at
        the end see padding), `onebyone.size` (of the crop that a position belongs to); then
        `onebyone.crops` and `onebyone.tiles` (is each position the answer on its crop; do tiles of
        an image give what the image gives), `onebyone.reasons` and `onebyone.classes`.

        Args:
            path: of the file.
            classes: a name for each channel of the maps.
            options: of `torch.onnx.export`; the older exporter is used: it needs nothing besides.

        Raises:
            UsageError: PyTorch cannot export it, the file cannot be written, or the names are not
                as many as the maps.

        >>> import onnx, tempfile
        >>> head = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 5))
        >>> sliding = fully_convolutional(head, (4, 5))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sliding.export(f"{folder}/head.onnx", classes="abcde")
        ...     told = onnx.load(f"{folder}/head.onnx").metadata_props
        >>> {each.key: each.value for each in told}["onebyone.window"]
        '[4, 5]'
        """
        export(self, path, tuple(classes), options)

    def describe(self) -> str:
        """What the maps mean, in a few lines.

        >>> head = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 5))
        >>> print(fully_convolutional(head, (4, 5)).describe())
        original size    4×5
        stride           1×1
        receptive field  4×5
        exact            each position equals the classifier's answer on its 4×5 crop
        """
        return "\n".join(f"{name:16} {value}" for name, value in self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        g = self.geometry
        rows = [
            ("original size", _by(g.size)),
            ("stride", _by(g.stride)),
            ("receptive field", _field(g)),
        ]
        if self.exact:
            return [
                *rows,
                (
                    "exact",
                    f"each position equals the classifier's answer on its {_by(g.size)} crop",
                ),
            ]
        halo = ("sees padding", _halo(g))
        return [*rows, halo, ("not exact", _why(self.reasons, g)), *[("", r) for r in self.reasons]]

    def extra_repr(self) -> str:
        g = self.geometry
        return (
            f"size={g.size}, stride={g.stride}, receptive_field={g.receptive_field}, "
            f"exact={self.exact}"
        )


def fully_convolutional(
    model: nn.Module, size: int | tuple[int, ...] | Tensor, *, accept_approx: bool = False
) -> FullyConvolutional:
    """Convert a classifier to a network that gives its answer at every place of a larger image.

    On images of the original size the 1×1 maps equal the classifier's answer. On larger ones, with
    `.exact`, map position (i, j) equals its answer on the crop that starts at (i·stride, j·stride);
    the last crops may reach past the image by less than a stride, in pixels that the classifier
    does not look at. Equal means: over the real numbers, in evaluation mode; the floating-point
    sums are the same up to their order.

    Args:
        model: images (N, C, H, W) -> scores (N, classes). Its head flattens or pools over all
            positions, and has linear layers, norms, activations and dropout after that. It is
            traced by `torch.fx` and left as it is; what it decides by the size of the image is
            decided as for one of the original size, as on a crop.
        size: of the images that it was made for: a side, (H, W), (C, H, W), or a batch of them.
        accept_approx: convert a model with padding, `ceil_mode`, or a pool or norm over the whole
            image all the same: `.exact` is then False.

    Raises:
        UsageError: the model cannot be traced, a node is not understood, or the result is not exact
            and `accept_approx` is not set. The message names the node, or says the stride, the
            receptive field and how many positions see padding.

    Source: Sermanet et al., "OverFeat", 2013, arXiv:1312.6229; Long, Shelhamer, Darrell, "Fully
    Convolutional Networks for Semantic Segmentation", 2014, arXiv:1411.4038.

    >>> import torch
    >>> lenet = nn.Sequential(
    ...     nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
    ...     nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 10),
    ... )
    >>> sliding = fully_convolutional(lenet, 32)
    >>> sliding(torch.ones(2, 1, 40, 56)).shape
    torch.Size([2, 10, 3, 7])
    >>> sliding.geometry.stride, sliding.exact
    ((4, 4), True)
    """
    example = image(model, size)
    traced = trace(model, example)
    plan = _plan(traced)
    geometry = Geometry(plan.answer.height, plan.answer.width, _extent(example))
    remarks = tuple(plan.remarks)
    if not geometry.exact and not accept_approx:
        raise UsageError(_refusal(geometry, remarks))
    for edit in plan.edits:
        edit()
    network = _cleaned(traced.network)
    _check(network, geometry, example)
    # Of an exact network what was remarked on the way (padding that a crop took away) is no reason.
    sliding = FullyConvolutional(
        network, geometry, () if geometry.exact else remarks, example.shape[1]
    )
    sliding.training = network.training = model.training  # its layers have modes of their own
    return sliding


def _plan(traced: Traced) -> Plan:
    """`ceil_mode` is left out where it adds nothing, if the network is then exact; else kept."""
    try:
        rounded_down = planned(traced, keep_ceil=False)
    except UsageError:
        return planned(traced, keep_ceil=True)
    answer = rounded_down.answer
    if answer.height.exact and answer.width.exact:
        return rounded_down
    return planned(traced, keep_ceil=True)


def _cleaned(network: fx.GraphModule) -> fx.GraphModule:
    """Without what the edits left unused."""
    modules = dict(network.named_modules())
    # What writes in place has no reader that a graph knows of, and is needed all the same.
    network.graph.eliminate_dead_code(
        lambda node: node.is_impure() or written(node, modules) is not None
    )
    network.delete_all_unused_submodules()
    network.graph.lint()
    network.recompile()
    return network


def _check(network: fx.GraphModule, geometry: Geometry, example: Tensor) -> None:
    """The converted network gives maps of the sizes that the geometry says, on larger images too.

    Raises:
        UsageError: it does not; some layer has a size of its own written into it.
    """
    # One axis grows by less than its stride, which adds no position, or by more, which does.
    for down, right in ((0, 3 * geometry.stride[1] - 1), (2 * geometry.stride[0] + 1, 1)):
        size = geometry.size[0] + down, geometry.size[1] + right
        shape = (*example.shape[:2], *size)
        output = next(iter(reversed(network.graph.nodes))).args[0]
        maps = run_fake(network, example.new_empty(shape))[output]
        if tuple(maps.shape[2:]) != geometry.maps(size):
            raise UsageError(
                f"got maps of {_by(tuple(maps.shape[2:]))} for an image of {_by(size)}, wanted "
                f"{_by(geometry.maps(size))}: a size is written into the model as a number"
            )


def _extent(example: Tensor) -> tuple[int, int]:
    return example.shape[-2], example.shape[-1]


def _refusal(geometry: Geometry, reasons: tuple[str, ...]) -> str:
    first, *rest = reasons
    more = f" and {len(rest)} more" if rest else ""
    return (
        f"got a classifier in which {first}{more}: {_why(reasons, geometry)}; "
        f"stride {_by(geometry.stride)}, receptive field {_field(geometry)}, "
        f"padding is seen by {_halo(geometry)}; remove the padding and train again, run the "
        "classifier on crops, or pass accept_approx=True"
    )


def _why(reasons: tuple[str, ...], geometry: Geometry) -> str:
    """The sentence that says what the maps of an inexact network are not."""
    axes = geometry.height, geometry.width
    padded = any(axis.border != (0, 0) for axis in axes)
    causes = [
        "a crop sees padding at its borders where the maps see its neighbours" * padded,
        "what is computed over the whole image differs from what is computed over a crop"
        * any(axis.whole for axis in axes),
    ]
    return (
        "on larger images map positions differ from the classifier's answer on their crops, "
        "because " + ", and ".join(filter(None, causes))
    )


def _halo(geometry: Geometry) -> str:
    """How many positions see padding on a large image, at most."""
    height, width = geometry.height.border, geometry.width.border
    return (
        f"the first {height[0]} and last {height[1]} rows, "
        f"the first {width[0]} and last {width[1]} columns"
    )


def _field(geometry: Geometry) -> str:
    """The receptive field in words."""
    height, width = geometry.receptive_field
    if height is None or width is None:
        return "the whole image"
    return _by((height, width))


def _by(sizes: tuple[int, ...]) -> str:
    return "×".join(map(str, sizes))
