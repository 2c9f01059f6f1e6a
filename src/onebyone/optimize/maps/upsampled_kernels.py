"""K×K convolutions that read a nearest upsampling: where they are, and what they become.

K P U x,  K P [U x; z] = K₁ P U x + K₂ P z           P: padding, if a node of its own does it
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onebyone.algebra.digits import bits, refolded
from onebyone.algebra.kernel import Kernel
from onebyone.algebra.laws import refused
from onebyone.algebra.phases import as_transposed, phases
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.selection import Pad
from onebyone.algebra.transposed import TransposedKernel
from onebyone.graph.constants import constant, is_float
from onebyone.graph.ops.call import call_of
from onebyone.graph.ops.pooling import axis_windows
from onebyone.graph.spatial import Spatial, spatial
from onebyone.graph.upsampled import Upsampled, upsampled
from onebyone.graph.values import all_known, input_at, made_by, rank_of, size

__all__ = ["Form", "Site", "form_of", "site_of"]

_NONE = (0, 0)


@dataclass(frozen=True, eq=False)
class Site:
    """A convolution behind an upsampling.

    Args:
        node: the convolution.
        kernel: of it, for the channels that are upsampled; with all zeros that are padded.
        up: what is upsampled.
        mode: how a node pads that does not pad by zeros; empty if none does.
        pad, concat: the nodes between the upsampling and the convolution, if there are any.
        part: which operand of the concat is upsampled.
        rest: of the kernel, for all other channels; None if there are none.
    """

    node: ir.Node
    kernel: Kernel
    up: Upsampled
    mode: str = ""
    pad: ir.Node | None = None
    concat: ir.Node | None = None
    part: int = 0
    rest: np.ndarray | None = None

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """All that is between, and the upsampling: readers before what they read."""
        between = (node for node in (self.node, self.pad, self.concat) if node is not None)
        return (*between, *reversed(self.up.nodes))


@dataclass(frozen=True, eq=False)
class Form:
    """What a convolution becomes on the small map.

    Args:
        kernels: one a phase, or one that is transposed.
        lost: the bits that sums of taps can lose.
    """

    kernels: tuple[Kernel, ...] | TransposedKernel
    lost: float


def site_of(node: ir.Node) -> Site | Refusal | None:
    """The site of a node; None if it is no K×K, or nothing that it reads is upsampled."""
    if node.domain != "" or node.op_type != "Conv" or not is_float(node.outputs[0]):
        return None
    kernel = _kernel(node)
    if kernel is None:
        return None
    x = node.inputs[0]
    pad = made_by(x, "Pad")
    if pad is not None:
        x = pad.inputs[0]
    concat = made_by(x, "Concat")
    if concat is not None and _joins_channels(concat, kernel.weight.ndim):
        site = _concatenated(node, kernel, concat)
    else:
        site = _plain(node, kernel, x)
    if not isinstance(site, Site) or pad is None:
        return site
    return _padded(site, pad)


def _joins_channels(concat: ir.Node, rank: int) -> bool:
    return len(concat.inputs) > 1 and concat.attributes.get_int("axis", 1) % rank == 1


def _kernel(node: ir.Node) -> Kernel | None:
    """The weight and the windows of a convolution of more than single positions."""
    weight, x = constant(input_at(node, 1)), node.inputs[0]
    if weight is None or rank_of(x) != weight.ndim or not weight.size:
        return None
    windows = []
    for axis, window in enumerate(axis_windows(call_of(node, 1), weight.shape[2:]), start=2):
        n = size(x, axis)
        # Padding that keeps the size hangs on it, unless each position has an output.
        if n is None and window.auto_pad != "NOTSET" and window.stride > 1:
            return None
        windows.append(window.window(n or 1))
    if all(window.extent == 1 for window in windows):
        return None
    return Kernel(
        weight,
        None,
        tuple(window.stride for window in windows),
        tuple(window.dilation for window in windows),
        tuple((window.before, window.after) for window in windows),
        node.attributes.get_int("group", 1),
    )


def _plain(node: ir.Node, kernel: Kernel, x: ir.Value | None) -> Site | Refusal | None:
    up = upsampled(x)
    if isinstance(up, Upsampled):
        return Site(node, kernel, up)
    return up


def _concatenated(node: ir.Node, kernel: Kernel, concat: ir.Node) -> Site | Refusal | None:
    found = list(map(upsampled, concat.inputs))
    part = next((k for k, up in enumerate(found) if isinstance(up, Upsampled)), None)
    if part is None:
        return next((up for up in found if isinstance(up, Refusal)), None)
    widths = all_known(size(value, 1) for value in concat.inputs)
    if widths is None or sum(widths) != kernel.channels[0]:
        return None
    if kernel.groups > 1:
        return refused("phases", "groups", groups=kernel.groups)
    up, start = found[part], sum(widths[:part])
    assert isinstance(up, Upsampled)
    columns = range(start, start + widths[part])
    mine = replace(kernel, weight=kernel.weight[:, columns])
    rest = np.delete(kernel.weight, columns, axis=1)
    return Site(node, mine, up, concat=concat, part=part, rest=rest)


def _padded(site: Site, pad: ir.Node) -> Site | Refusal | None:
    """With the node that pads what the convolution reads."""
    where = spatial(pad)
    if not isinstance(where, Spatial) or not all(axis > 1 for axis in where.maps):
        return None
    found = [where.maps.get(axis) for axis in range(2, 2 + len(site.up.factors))]
    pads = [(m.before, m.after) if isinstance(m, Pad) else _NONE for m in found]
    if min(map(min, pads)) < 0:
        return None
    mode = pad.attributes.get_string("mode", "constant") or "constant"
    if mode == "constant":
        both = zip(pads, site.kernel.pads, strict=True)
        pads = [(a + c, b + d) for (a, b), (c, d) in both]
        return replace(site, pad=pad, kernel=replace(site.kernel, pads=tuple(pads)))
    if site.kernel.padded:
        return refused("phases", "twice")
    reaches = zip(pads, site.up.factors, strict=True)
    if mode == "reflect" and any(max(pair) >= factor for pair, factor in reaches if any(pair)):
        return refused("phases", "reflected", pads=pads, factors=site.up.factors)
    # Reflected are copies of the border's position, which is what the edge repeats.
    mode = {"reflect": "edge"}.get(mode, mode)
    return replace(site, pad=pad, mode=mode, kernel=replace(site.kernel, pads=tuple(pads)))


def form_of(site: Site) -> Form | Refusal:
    """What the convolution of a site becomes.

    In images, a kernel a phase: one transposed convolution takes engines longer (docs/algebra.md).
    Else that is what there is, unless no more than one phase is.
    """
    kernel, factors = site.kernel, site.up.factors
    found = phases(kernel, factors)
    if not isinstance(found, Refusal) and _fits_blocks(list(found)):
        kernels = tuple(found.values())
        return Form(kernels, _lost(kernel, [k.weight for k in kernels]))
    if site.mode:
        # Of the padded small map, more than is padded of the large one is cropped.
        around = zip(kernel.pads, factors, strict=True)
        crops = [(a + -a // s * s, b + -b // s * s) for (a, b), s in around]
        kernel = replace(kernel, pads=tuple(crops))
    transposed = as_transposed(kernel, factors)
    if transposed is None:
        if isinstance(found, Refusal):
            return found
        return refused("phases", "blocks")
    if isinstance(transposed, Refusal):
        return transposed
    by_output = _by_output(transposed)
    return Form(transposed, _lost(site.kernel, [by_output]))


def _fits_blocks(phase: Sequence[tuple[int, ...]]) -> bool:
    """Whether the phases are blocks of an image: as many along both axes; or if there is one."""
    last = phase[-1]
    return not any(last) or (len(last) == 2 and last[0] == last[1])


def _by_output(kernel: TransposedKernel) -> np.ndarray:
    """The weight as (C_out, C_in / groups, taps…)."""
    into, out, *taps = kernel.weight.shape
    blocks = kernel.weight.reshape(kernel.groups, into // kernel.groups, out, *taps)
    return np.swapaxes(blocks, 1, 2).reshape(kernel.groups * out, into // kernel.groups, *taps)


def _lost(kernel: Kernel, folded: Sequence[np.ndarray]) -> float:
    return bits(refolded(kernel.weight, folded, kernel.padded))
