"""The laws by name: what the report, the documentation and `--only`/`--without` speak of.

A law is a row: its name, the equation that is printed, and the side conditions under which it
holds. The functions that carry the laws out live beside their mathematics: `channel` (compose, sum,
split), `word` (commute), `kernel` and `transposed` (affine), `layout` (linear).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LAWS", "Law", "named"]


@dataclass(frozen=True)
class Law:
    """One law.

    Args:
        name: one word.
        equation: as printed.
        covers: where it is used.
        conditions: when it holds; each is a refusal when it does not.
    """

    name: str
    equation: str
    covers: str
    conditions: str


LAWS: dict[str, Law] = {
    law.name: law
    for law in (
        Law(
            "compose",
            "W₂(W₁x + b₁) + b₂ = (W₂W₁)x + (W₂b₁ + b₂)",
            "chains of 1×1s and linear layers, in matrix-chain order; K×K then 1×1",
            "nothing nonlinear between; r(a + b) < ab stays factored",
        ),
        Law(
            "affine",
            "W(diag(s)x + t) = (W diag(s))x + Wt,  diag(s)(Wx + b) = (diag(s)W)x + s∘b",
            "batch normalisation, LayerScale, per-channel Mul, Add, Sub, Div",
            "before a zero-padded K×K only a scale: the border sees 0 and not t",
        ),
        Law(
            "split",
            "W[x₁; x₂] = W₁x₁ + W₂x₂",
            "a 1×1 over a concat",
            "when it pays together with what it opens",
        ),
        Law(
            "commute",
            "W S x = S W x",
            "pooling by averages, resizing, striding, cropping, flipping, padding, repeating",
            "a bias passes S only where S 1 = 1: not zero padding, not counted padding, not "
            "extrapolation",
        ),
        Law(
            "sum",
            "W₁x + W₂x = (W₁ + W₂)x",
            "parallel branches, W + BA, the identity branch (W = I)",
            "the branches see the same positions of the same x",
        ),
        Law(
            "linear",
            "x ↦ Wx on tokens = 1×1 on maps,  V⁻¹V = 1",
            "MatMul and Gemm on the channel axis in any layout; views that cancel",
            "the views leave the channel axis whole",
        ),
        Law(
            "rank",
            "W = BA,  A: (r, C_in), B: (C_out, r)",
            "1×1s and linear layers whose outputs are combinations of r of them",
            "W is numerically of rank r, at rounding level; r(a + b) < ab",
        ),
        Law(
            "permute",
            "W(Px) = (WP)x,  P(Wx) = (PW)x,  f(Px) = P f(x)",
            "channel shuffles, Gather, Slice and Split on channels, into the weights around them",
            "P a permutation or selection; what is elementwise or depthwise is permuted along",
        ),
        Law(
            "prune",
            "W[x; k] = W₁x + W₂k,  W[x; z] = W₁x where W₂ = 0",
            "zero rows, zero columns and constant channels of pruned networks",
            "all that adds to or scales the channel goes too; no padding after a constant k ≠ 0",
        ),
        Law(
            "demand",
            "S f(x, y) = f(Sx, Sy),  S Kₛx = K₍gs₎x",
            "strided 1×1s, crops, picks: what computes the positions they skip, back to K×Ks",
            "no reader needs them; f position by position; strides: sizes rounded down",
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
