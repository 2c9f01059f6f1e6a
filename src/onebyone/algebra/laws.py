"""The laws, one row each: what is printed, linked, refused and run is read from here.

A row says what a law equates, when that holds, in which words it is refused where it does not hold,
and where it is carried out. The mathematics stands beside: `channel` (compose, sum, split), `word`
(commute), `kernel` and `transposed` (affine), `layout` (linear), `rank`.

The rows stand as the documentation explains them, the plainest law first. The optimizer goes from
the last row to the first: what leaves something out comes before what moves the rest, and the
products, which gain by all others, come last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onebyone.algebra.refusal import Refusal

__all__ = ["LAWS", "QUANTISED", "Law", "named", "refused"]


@dataclass(frozen=True)
class Law:
    """One law.

    Args:
        name: one word; `--only`, `--without`, the JSON and the report call it so.
        equation: as printed.
        covers: where it is used.
        conditions: when it holds.
        refusals: the ways in which it is refused: a short name, and the sentence that the report
            tells, with the words that are filled in.
        realised: empty for a law by which regions are planned (`optimize/regions/search.py`); else
            the pass that carries it out, as "module:function" inside `optimize/`.
        near_misses: in the same form, what reads off a graph where the pass was refused; empty
            where there is nothing to tell, or `optimize/refusals.py` does.
        first: whether the pass runs once before regions are planned, too: it makes them smaller.
        asked: whether it is used only where somebody asks for it by name.
        loses: where it can lose digits, as the verdict tells it.
    """

    name: str
    equation: str
    covers: str
    conditions: str
    refusals: Mapping[str, str] = field(default_factory=dict)
    realised: str = ""
    near_misses: str = ""
    first: bool = False
    asked: bool = False
    loses: str = "where the original cancels"

    @property
    def section(self) -> str:
        """Its section in the documentation, as a link from `docs/`.

        >>> named("sum").section
        'algebra.md#sum'
        """
        return f"algebra.md#{self.name}"


QUANTISED = "quantised regions are left untouched"

# A channel map that enters a kernel, by either law: it is affine if it is a diagonal, else compose.
_INTO_KERNELS = {
    "border": "zero padding comes after the bias, so the border would see it: pads {pads}",
    "padding": "zero padding does not commute with a shift",
    "stamp": "a transposed convolution stamps a constant as often as a position is hit",
    "stamped bias": "a transposed convolution stamps the bias a different number of times per "
    "position",
}


def _cancels(why: str) -> str:
    """The sentence of a fold that could lose digits."""
    return f"what cancels keeps its order, {why}: {{lost}}, the limit is {{limit:g}}"


LAWS: dict[str, Law] = {
    law.name: law
    for law in (
        Law(
            "compose",
            "W₂(W₁x + b₁) + b₂ = (W₂W₁)x + (W₂b₁ + b₂)",
            "chains of 1×1s and linear layers, factored where that is cheaper; a 1×1 before or "
            "behind a K×K; copies of channels, and constants beside them, in front of either",
            "nothing nonlinear between; r(a + b) < ab stays factored",
            {
                **_INTO_KERNELS,
                "nonlinear": "{operator} is nonlinear: it does not commute with a channel map",
                "factored": "it stays factored: r(a + b) < ab",
                "kernel": "a K×K and its neighbour cost less apart",
                "shared": "the result of {operator} has other consumers",
                "not constant": "its {part} is no constant: computed at run time, overridable, or "
                "not finite",
                "rows": "its bias differs from row to row",
                "groups": "a dense channel map would fill the zero blocks of {groups} groups",
                "stencil": _cancels("products of weights that subtract exactly round"),
                "overflow": "a composed weight overflows {numbers}",
                "codes": "a product of {numbers} codes, on which {engine} stumbles",
                "no engine": "a 1×1 convolution of {numbers}, which {engine} has not",
                # What no law touches is told of this one, the first that is looked for.
                "quantised": f"{{operator}}: {QUANTISED}",
                "subgraph": "{operator}: subgraphs are left untouched",
                "old": "{version}: {form}; the model stays as it is: export it with {oldest} or "
                "newer",
            },
        ),
        Law(
            "commute",
            "W S x = S W x,  W[x₁ ∥ x₂] = [Wx₁ ∥ Wx₂]",
            "a 1×1 around averages, also those of attention of one head, resizes, strides, crops, "
            "flips, gathers, padding, repeats and concats of positions",
            "a bias passes S only where S 1 = 1: not zero padding, not counted padding, not "
            "extrapolation; out of attention, and not into it",
            {
                "constants": "{operator} does not keep constants, so no bias passes it",
                "maximum": "{operator} is not linear: the largest of sums is no sum of largest",
                "channels": "{operator} acts on channels, not on positions",
                "price": "it does not pay to move a channel map past {operator}",
                # Of an operator that is no space map with these attributes or operands.
                "late": "the {operand} of the {operator} are computed at run time",
                "mode": "{kind} mode {mode!r} is not in {standard}",
                "excluded": "exclude_outside leaves a nearest resize undefined at the border",
                "extrapolated": "the resize extrapolates with a value that is not zero",
                "window": "its window is larger than the padded input",
                "lists": "the lists of the {operator} do not fit each other",
                "differ": "the indices of the {operator} are not known to be equal in all channels",
                "weighed": "the {operator} weighs positions by what no Softmax along them made",
                "axes": "it adds axes",
                "cropped": "padding by copies that also crops the other end",
                "filled": "padding with a value that is not zero",
                "rank": "the rank of its {value} is unknown",
                "padded past": "a pool behind as many zeros as its window is long, on which "
                "{engine} stumbles",
            },
        ),
        Law(
            "split",
            "W[x₁; x₂] = W₁x₁ + W₂x₂",
            "a 1×1 over a concat",
            "when it pays together with what it opens",
            {"price": "it does not pay: the pieces and their sum would cost more"},
        ),
        Law(
            "sum",
            "W₁x + W₂x = (W₁ + W₂)x",
            "parallel branches, added or in a concat, LoRA (W + BA), the identity branch (W = I), "
            "EdgeConv",
            "the branches see the same positions of the same x",
            {
                "channels": "{large} and {small} differ in channels or groups",
                "positions": "{large} and {small} read different positions",
                "difference": _cancels("a difference is exact and that of maps rounds"),
            },
        ),
        Law(
            "affine",
            "W(diag(s)x + t) = (W diag(s))x + Wt,  diag(s)(Wx + b) = (diag(s)W)x + s∘b",
            "batch normalisation, LayerScale, factors and shifts of single channels",
            "before a zero-padded K×K only a scale: the border sees 0 and not t",
            {
                **_INTO_KERNELS,
                "training": "the batch normalisation is in training mode",
                "fused": "engines fuse this GELU or normalisation as it is written",
                "copy": "others read the weight, and a copy of it saves no multiply-accumulate",
                "absorbed": "adding a shift this large rounds what it is added to: it takes "
                "{bits:.1f} bits, more than half of them",
                "folded": _cancels("a shift folded into what reads it rounds"),
                "rescaled": _cancels("what a shift leaves is divided by its own size later"),
            },
        ),
        Law(
            "linear",
            "x ↦ Wx on tokens = 1×1 on maps,  V⁻¹V = 1",
            "linear layers in any layout; views that cancel",
            "the views leave the channel axis whole",
        ),
        Law(
            "onehot",
            "W e_i + b = W[:, i] + b",
            "tokens, bytes and classes as one-hot vectors, before a linear layer or a 1×1",
            "e_i is one at i and zero elsewhere, or holds two other numbers; indices that mark "
            "nothing have a row of the table, too",
            {
                "late": "how many classes there are, or what marks them, is computed at run time",
                "numbers": "the indices of the {operator} are no integers: engines differ between "
                "whole numbers",
                "old": "an index may lie outside of the classes, and {version} cuts no integers",
            },
        ),
        Law(
            "pool",
            "A(Kx) = (AK)x",
            "an average pool behind a K×K, as one larger kernel of a larger stride",
            "no window of the pool leaves the map, by padding, by rounding up or where the map is "
            "small; one kernel costs less",
            {
                "outside": "{operator} averages over what is no output of the K×K: its windows "
                "leave the map, or may",
                "shared": "{operator} is not the only one that reads what the K×K gives",
                "free": "the padding of the K×K hangs on a size that is free",
                "small": "a size is free, and may leave no room for a window of {operator}",
                "price": "one larger kernel takes more multiply-accumulates than the K×K",
            },
        ),
        Law(
            "winograd",
            "K x = A [U₀B₀x; U₁B₁x; …],  U = GK",
            "3×3s, 2×2s and 5×5s of many channels, as 1×1s of what tiles of the map become; only "
            "where it is asked for: it takes less time, and a larger file",
            "stride of one, known sizes, float32; some digits are lost, no more than the limit",
            {
                "depthwise": "it reads single channels: nothing is summed to pay for the tiles",
                "stride": "it strides: its tiles share too little",
                "axes": "axes of positions: {axes}; the forms are for a height and a width",
                "taps": "no basis is known for {taps} taps",
                "padding": "somewhere a channel reads padding alone: tiles would round what is 0",
                "free": "its tiles hang on a height or a width that the model leaves open: "
                "fix it in the file",
                "numbers": "a basis loses too many of the digits of {numbers}",
                "quantised": "a basis would round codes: quantise the original, not this",
                "price": "no basis within the limit of digits pays: its tiles would cost more than "
                "they save",
                "memory": "on tiles the activations of the network would take {peak:,} bytes at "
                "once, more than {factor:g} times the {original:,} of the original",
                "unknown": "how many bytes the activations of the network take at once is not "
                "known, and they were limited",
            },
            realised="maps.winograd:tile_maps",
            near_misses="maps.winograd:near_misses",
            asked=True,
            loses="of what is computed on tiles",
        ),
        Law(
            "rank",
            "W = BA,  A: (r, C_in), B: (C_out, r)",
            "1×1s and linear layers whose outputs are combinations of r of them",
            "W is numerically of rank r, at rounding level; r(a + b) < ab",
            realised="maps.factor:factor_maps",
        ),
        Law(
            "phases",
            "K U x = D [K₀; K₁; …] x",
            "a K×K behind a nearest upsampling, also through a concat: in U-Nets, decoders of "
            "autoencoders, super-resolution",
            "U copies each position a whole number of times, computed at every position; K's "
            "stride and that number divide each other",
            {
                "index": "{operator} copies each position, but not a whole number of times in turn",
                "stride": "a stride of {stride} and an upsampling by {factor} have no phases in "
                "common",
                "sizes": "its outputs are no multiple of its {factor} phases",
                "blocks": "it strides, and its phases are no square blocks of an image",
                "border": "what it pads, {pads}, is more than its kernel reaches over",
                "groups": "its {groups} groups do not end where what is concatenated does",
                "reflected": "it reflects {pads} positions of an upsampling by {factors}: more "
                "than copies of the border",
                "twice": "it pads by zeros what was padded by other numbers",
                "price": "it does not pay: the phases and their interleaving would cost more",
                "digits": "its taps cancel exactly, and sums of them would round: {lost:.1f} bits "
                "could be lost",
            },
            realised="maps.phases:split_phases",
            near_misses="maps.phases:near_misses",
        ),
        Law(
            "permute",
            "W(Px) = (WP)x,  P(Wx) = (PW)x,  f(Px) = P f(x)",
            "shuffles, cuts and picks of channels, into the weights around them",
            "P a permutation or selection; what is elementwise or depthwise is permuted along",
            {"order": "others count on the order of these channels, or on two orders"},
            realised="channels.relabel:relabel",
            near_misses="channels.moves:near_misses",
        ),
        Law(
            "prune",
            "W[x; k] = W₁x + W₂k,  W[x; z] = W₁x where W₂ = 0",
            "zero rows, zero columns and constant channels of pruned networks",
            "all that adds to or scales the channel goes too; no padding after a constant k ≠ 0",
            {
                "rows": "{count} rows of zeros stay: they fill up a width, or others add to, pad "
                "or need them",
                "columns": "{count} columns of zeros stay: they fill up a width, or others read "
                "what they meet",
            },
            realised="channels.prune:prune",
            first=True,
            near_misses="channels.prune:near_misses",
        ),
        Law(
            "demand",
            "S f(x, y) = f(Sx, Sy),  S Kₛx = K₍gs₎x",
            "what computes the positions that strided 1×1s, crops and picks (a class token, the "
            "best boxes of a detector) skip",
            "no reader needs them; f position by position; strides: sizes rounded down",
            {
                "price": "to select on the way costs more than is saved",
                "read": "the result of {operator} is read at other positions too",
                "joins": "{operator} joins positions along this axis",
                "rounds": "{operator} rounds its sizes up, or pads by itself",
                "free": "the size of this axis is free, and {operator} hangs on it",
                "several": "{operator} does more than one position at a time along this axis",
            },
            realised="positions.crop:crop",
            near_misses="positions.stops:near_misses",
        ),
        Law(
            "layout",
            "f(Tx) = T f(x)",
            "activations, sums, softmaxes between transposes: networks that keep channels last",
            "T reorders axes; f is elementwise, or along an axis that it is told",
            realised="views.turn:turn",
            first=True,
        ),
    )
}
"""Name -> law, in the order of the documentation."""


def named(name: str) -> Law:
    """The law called `name`.

    >>> named("sum").equation
    'W₁x + W₂x = (W₁ + W₂)x'
    """
    return LAWS[name]


def refused(law: str, why: str, /, **words: object) -> Refusal:
    """The refusal of a law in the words of its row: the only way in which one is made.

    Args:
        law: its name.
        why: the short name of the sentence.
        words: those that the sentence leaves open.

    >>> print(refused("commute", "constants", operator="a zero pad"))
    commute: a zero pad does not keep constants, so no bias passes it
    """
    return Refusal(law, LAWS[law].refusals[why].format(**words))
