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
from onebyone.nn.sliding.walk import Plan, results
from onebyone.nn.sliding.walk import plan as planned

__all__ = ["FullyConvolutional", "fully_convolutional"]


class FullyConvolutional(nn.Module):
    """A classifier that slides: images (N, C, H, W) -> class maps (N, classes, H', W').

    Made by `fully_convolutional`, also of classifiers of signals (N, C, L) and of volumes
    (N, C, D, H, W). The layers of `network` have the names that they had in the classifier. Where
    that gives several results, in a tuple, a list or a dictionary, this gives as many maps.

    Attributes:
        network: the converted graph.
        geometries: one for each of the maps: stride, receptive field, offset and halo, which say
            which pixels a position belongs to.
        reasons: what keeps it from being exact, a line each; empty if it is.
        channels: C.
    """

    def __init__(
        self,
        network: fx.GraphModule,
        geometries: tuple[Geometry, ...],
        reasons: tuple[str, ...] = (),
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.network, self.geometries, self.reasons = network, geometries, reasons
        self.channels = channels

    @property
    def geometry(self) -> Geometry:
        """That of the maps; of several, of the first."""
        return self.geometries[0]

    @property
    def exact(self) -> bool:
        """Whether each position of every image equals the classifier's answer on its crop."""
        return all(geometry.exact for geometry in self.geometries)

    def forward(self, x: Tensor) -> Any:
        """Images of the original size or larger -> class maps, or several, as the classifier."""
        size, wanted = tuple(x.shape[2:]), self.geometry.size
        if len(size) != len(wanted) or any(n < m for n, m in zip(size, wanted, strict=True)):
            raise UsageError(
                f"got an image of {_by(size)}, wanted at least {_by(wanted)}, "
                "the size that the classifier was made for: pad or enlarge the image"
            )
        return self.network(x)

    def export(
        self,
        path: str | os.PathLike[str],
        *,
        classes: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Write it as an ONNX file of free batch and sizes, which says where it looks.

        The file's `metadata_props` hold, as JSON, lists with one entry for each axis of the image,
        the height and the width say: `onebyone.stride`, `onebyone.window` (the receptive field;
        null: the whole image), `onebyone.offset`, `onebyone.halo` (how many positions at the start
        and at most at the end see padding), `onebyone.size` (of the crop that a position belongs
        to); then `onebyone.crops` and `onebyone.tiles` (is each position the answer on its crop; do
        tiles of an image give what the image gives), `onebyone.reasons` and `onebyone.classes`. Of
        several maps these are of the first; all are called `maps`, `maps_1` and so on.

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
        rows = [("original size", _by(self.geometry.size))]
        # Several that look alike are said once.
        for g in dict.fromkeys(self.geometries):
            rows += [("stride", _by(g.stride)), ("receptive field", _field(g))]
            rows += [("sees padding", _halo(g))] * (not self.exact)
        if self.exact:
            crop = f"each position equals the classifier's answer on its {_by(g.size)} crop"
            return [*rows, ("exact", crop)]
        why = _why(self.geometries)
        return [*rows, ("not exact", why), *[("", reason) for reason in self.reasons]]

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
        model: images (N, C, H, W) -> scores (N, classes), or several of them in a tuple, a list or
            a dictionary; also of signals (N, C, L) and volumes (N, C, D, H, W). Its head flattens
            or pools over positions, of all axes at once or axis by axis, and has linear layers,
            norms, activations and dropout after that. It is traced by `torch.fx` and left as it is;
            what it decides by the size of the image is decided as for one of the original size, as
            on a crop. What pruning, `weight_norm` or a parametrization computes is stored.
        size: of the images that it was made for: a side, (H, W), (C, H, W), or a batch of them;
            with one size for signals, with three for volumes.
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
    extent = tuple(example.shape[2:])
    geometries = tuple(Geometry(answer.along, extent) for answer in plan.answers)
    remarks = tuple(plan.remarks)
    if not plan.exact and not accept_approx:
        raise UsageError(_refusal(geometries, remarks))
    for edit in plan.edits:
        edit()
    network = _cleaned(traced.network)
    _check(network, geometries, example)
    # Of an exact network what was remarked on the way (padding that a crop took away) is no reason.
    sliding = FullyConvolutional(
        network, geometries, () if plan.exact else remarks, example.shape[1]
    )
    sliding.training = network.training = model.training  # its layers have modes of their own
    return sliding


def _plan(traced: Traced) -> Plan:
    """`ceil_mode` is left out where it adds nothing, if the network is then exact; else kept."""
    try:
        rounded_down = planned(traced, keep_ceil=False)
    except UsageError:
        return planned(traced, keep_ceil=True)
    if rounded_down.exact:
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


def _check(network: fx.GraphModule, geometries: tuple[Geometry, ...], example: Tensor) -> None:
    """The converted network gives maps of the sizes that the geometry says, on larger images too.

    Raises:
        UsageError: it does not; some layer has a size of its own written into it.
    """
    nodes = [node for node in results(next(iter(reversed(network.graph.nodes)))) if node]
    original = geometries[0].size
    steps = [max(each) for each in zip(*(g.stride for g in geometries), strict=True)]
    for grown in range(len(original)):
        # One axis grows so that positions are added, others by too little, or not at all.
        more = [3 * s - 1 if k == grown else int(k < grown) for k, s in enumerate(steps)]
        size = tuple(n + m for n, m in zip(original, more, strict=True))
        found = run_fake(network, example.new_empty((*example.shape[:2], *size)))
        for node, geometry in zip(nodes, geometries, strict=True):
            maps = tuple(found[node].shape[2:])
            if maps != geometry.maps(size):
                raise UsageError(
                    f"got maps of {_by(maps)} for an image of {_by(size)}, wanted "
                    f"{_by(geometry.maps(size))}: a size is written into the model as a number"
                )


def _refusal(geometries: tuple[Geometry, ...], reasons: tuple[str, ...]) -> str:
    first, *rest = reasons
    more = f" and {len(rest)} more" if rest else ""
    geometry = next(g for g in geometries if not g.exact)
    return (
        f"got a classifier in which {first}{more}: {_why(geometries)}; "
        f"stride {_by(geometry.stride)}, receptive field {_field(geometry)}, "
        f"padding is seen by {_halo(geometry)}; remove the padding and train again, run the "
        "classifier on crops, or pass accept_approx=True"
    )


def _why(geometries: tuple[Geometry, ...]) -> str:
    """The sentence that says what the maps of an inexact network are not."""
    axes = [axis for geometry in geometries for axis in geometry.axes]
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


_NAMES = {1: ("positions",), 2: ("rows", "columns"), 3: ("planes", "rows", "columns")}


def _halo(geometry: Geometry) -> str:
    """How many positions see padding on a large image, at most."""
    each = zip(geometry.axes, _NAMES[len(geometry.axes)], strict=True)
    return ", ".join(f"the first {a.border[0]} and last {a.border[1]} {name}" for a, name in each)


def _field(geometry: Geometry) -> str:
    """The receptive field in words."""
    known = tuple(n for n in geometry.receptive_field if n is not None)
    if len(known) < len(geometry.axes):
        return "the whole image"
    return _by(known)


def _by(sizes: tuple[int, ...]) -> str:
    return "×".join(map(str, sizes))
