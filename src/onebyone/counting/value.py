"""What a count is, of an ONNX model and of a PyTorch module alike.

MACs = Σ over layers,   FLOPs = 2 · MACs,   pointwise share = pointwise MACs / MACs
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from onebyone.counting.assumed import Assumed, said
from onebyone.counting.conventions import Counted, by_conventions
from onebyone.counting.formulas import Shape
from onebyone.counting.gaps import Uncounted
from onebyone.counting.operators import Operators
from onebyone.counting.tree import Branch, grow, sums
from onebyone.shown import Shown

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Count", "LayerCount", "total"]


@dataclass(frozen=True)
class LayerCount:
    """One layer: an operator that multiplies and accumulates, or that reads weights.

    Args:
        name: of the node, or of its first output if it has none; in a PyTorch module the path of
            the submodule that ran the operator, and the operator where that runs several.
        op: its operator.
        shape: of its first output; None if unknown.
        parameters, buffers: elements of the weights that no layer before it has read.
        macs: multiply-accumulates; `pointwise_macs`: those in 1×1 convolutions and linear layers.
        bias_adds: additions of a bias.
        activation_bytes: read and written, without constants; None if unknown.
        weight_bytes: stored size of all weights and buffers that it reads.
        kind: one of `formulas.KINDS`.
        scope: the path of the module that the node of a file comes from, where the file says so.
    """

    name: str
    op: str
    shape: Shape | None
    parameters: int
    buffers: int
    macs: int
    pointwise_macs: int
    bias_adds: int
    activation_bytes: int | None
    weight_bytes: int
    kind: str = "other"
    scope: str = ""

    @property
    def path(self) -> str:
        """Where it stands in the tree of modules."""
        return ".".join(filter(None, (self.scope, self.name)))

    @property
    def intensity(self) -> float | None:
        """FLOPs per byte moved; None if the bytes are unknown or none."""
        return _intensity(self.macs, self.activation_bytes, self.weight_bytes)

    def to_dict(self) -> dict[str, Any]:
        """All fields and `intensity`, for JSON."""
        return {**asdict(self), "intensity": self.intensity}


@dataclass(frozen=True, repr=False)
class Count(Shown):
    """What a model holds, computes and moves; 1 MAC = 2 FLOPs.

    The sums are over `layers`, except `activation_bytes` (over all nodes) and `weight_bytes`
    (shared weights once). `nodes` are those of the main graph, or for a PyTorch module the
    operators that ran and were no views; `inputs` are the shapes counted for, and `assumed` which
    of their sizes a file leaves open and nobody gave. `separator` is what stands between the parts
    of the layers' names where these are paths: a dot for PyTorch modules. `misfit` is the first
    node that cannot run at these sizes, where their shapes tell. `peak_activation_bytes` is what is
    alive at once at most, node by node in their order; None where that is not known. `operators`
    are those that run, put together by name. `depth` is how many levels of modules are shown.
    """

    parameters: int
    buffers: int
    macs: int
    pointwise_macs: int
    bias_adds: int
    activation_bytes: int
    weight_bytes: int
    nodes: int
    inputs: tuple[tuple[str, Shape], ...]
    layers: tuple[LayerCount, ...]
    uncounted: tuple[Uncounted, ...]
    separator: str | None = None
    assumed: tuple[Assumed, ...] = ()
    misfit: str = ""
    peak_activation_bytes: int | None = None
    operators: tuple[Operators, ...] = ()
    depth: int | None = None

    @property
    def told(self) -> str:
        """What was assumed of the inputs' sizes, in a line; empty where nothing was."""
        return said(self.assumed, dict(self.inputs))

    @property
    def summary(self) -> str:
        """Parameters, MACs, and the share of them in 1×1s."""
        share = f"{self.pointwise_share:.0%} in 1×1s"
        return f"{self.parameters:,} parameters, {self.macs:,} MACs, {share}"

    @property
    def flops(self) -> int:
        """Two for each MAC."""
        return 2 * self.macs

    @property
    def pointwise_share(self) -> float:
        """The fraction of the MACs that is in 1×1 convolutions and linear layers."""
        return self.pointwise_macs / self.macs if self.macs else 0.0

    @property
    def intensity(self) -> float | None:
        """FLOPs per byte of activations and weights; None if nothing is moved."""
        return _intensity(self.macs, self.activation_bytes, self.weight_bytes)

    def totals(self) -> dict[str, Any]:
        """All numbers of the whole model, without layers."""
        return {
            "parameters": self.parameters,
            "buffers": self.buffers,
            "macs": self.macs,
            "flops": self.flops,
            "pointwise_macs": self.pointwise_macs,
            "pointwise_share": self.pointwise_share,
            "bias_adds": self.bias_adds,
            "activation_bytes": self.activation_bytes,
            "weight_bytes": self.weight_bytes,
            "peak_activation_bytes": self.peak_activation_bytes,
            "intensity": self.intensity,
            "nodes": self.nodes,
        }

    def tree(self, separator: str | None = None) -> Branch:
        """The layers as a tree of their dotted names, with sums at each branch.

        Names that are no paths of modules can be split too: those of an exported ONNX file at "/",
        or behind the module's path where the exporter wrote that beside the name.
        """
        return grow(self.layers, separator or self.separator or _separator(self.layers))

    def conventions(self) -> tuple[Counted, ...]:
        """What other tools would say of this model, a row each."""
        return by_conventions(self.operators)

    def at_depth(self, depth: int) -> Count:
        """This count with so many levels of modules shown."""
        separator = self.separator or _separator(self.layers)
        return replace(self, separator=separator, depth=depth)

    def to_dict(self) -> dict[str, Any]:
        """For JSON, schema 1; with the tree where names are paths."""
        found = {
            "schema": 1,
            "unit": "1 MAC = 2 FLOPs",
            **self.totals(),
            "inputs": [{"name": name, "shape": list(shape)} for name, shape in self.inputs],
            "assumed": [size.to_dict() for size in self.assumed],
            "misfit": self.misfit,
            "layers": [layer.to_dict() for layer in self.layers],
            "uncounted": [asdict(row) for row in self.uncounted],
            "operators": [row.to_dict() for row in self.operators],
            "conventions": [row.to_dict() for row in self.conventions()],
        }
        # Names that are no paths make a tree of one level, which is the list of layers again.
        if self.separator:
            found["tree"] = self.tree().to_dict(self.depth)
        return found

    def table(self, depth: int | None = 2) -> RenderableType:
        """Tables for people, the layers summed by module down to `depth` levels; None: all."""
        return self._drawn(tree=self.tree(), depth=depth)


def total(layers: Sequence[LayerCount], **rest: Any) -> Count:
    """The count of a whole model: the sums over its layers, and the fields that are no such sum."""
    return Count(**sums(layers), layers=tuple(layers), **rest)


def _intensity(macs: int, activations: int | None, weights: int) -> float | None:
    if activations is None or activations + weights == 0:
        return None
    return 2 * macs / (activations + weights)


def _separator(layers: Sequence[LayerCount]) -> str:
    if any(layer.scope for layer in layers):
        return "."
    # Exporters that write no module's path put it into the name: "/layer1/conv/Conv".
    if any("/" in layer.name for layer in layers):
        return "/"
    return "."
