"""Mutants: each law broken on purpose, one place at a time; the tests have to see every one.

    python benchmarks/mutants.py                     all laws
    python benchmarks/mutants.py --law prune         one law

A row names a law, a file, a text that stands in it exactly once and what it becomes, what that
breaks, and the tests that should see it. For each row the package and its tests are copied to a
temporary folder, the copy is changed, and the tests are run on it. A mutant is *killed* when a
test fails; it *survived* when all pass, and is *broken* when the tests cannot even be collected or
take longer than `--limit`, which proves nothing. Before that, the same tests have to pass on an
unchanged copy. Prints law × killed and survived; exits with 1 unless all are killed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path("src/onebyone")

KILLED, SURVIVED, BROKEN = "killed", "survived", "broken"


@dataclass(frozen=True)
class Mutant:
    """One fault.

    Args:
        law: the law that it breaks.
        file: under src/onebyone.
        fault: what is wrong then.
        tests: names of test files, "algebra/channel" for tests/algebra/test_channel.py.
        text: what stands in the file, once.
        instead: what stands there after.
    """

    law: str
    file: str
    fault: str
    tests: str
    text: str
    instead: str

    @property
    def paths(self) -> list[str]:
        """The test files."""
        return [_path(name) for name in self.tests.split()]


def _path(name: str) -> str:
    folder, _, stem = name.rpartition("/")
    return f"tests/{folder}/test_{stem}.py"


# fmt: off
MUTANTS: tuple[Mutant, ...] = (
    # W₂(W₁x + b₁) + b₂ = (W₂W₁)x + (W₂b₁ + b₂)
    Mutant("compose", "algebra/channel.py", "the inner bias is dropped", "algebra/channel",
           "summed(first.bias if first.bias is None else second.push(first.bias), second.bias)",
           "second.bias"),
    Mutant("compose", "algebra/channel.py", "blocks are multiplied the wrong way round",
           "algebra/channel",
           "(wide(second.blocks()) @ wide(first.blocks()))",
           "(wide(first.blocks()) @ wide(second.blocks()))"),
    Mutant("compose", "algebra/channel.py", "groups that cut across are taken for equal ones",
           "algebra/channel",
           "return first if first == second else 1", "return max(first, second)"),
    Mutant("compose", "algebra/weights.py", "the outer bias is dropped", "algebra/weights",
           "return summed(M @ bias if M.ndim == 2 else M * bias, b)",
           "return M @ bias if M.ndim == 2 else M * bias"),
    Mutant("compose", "algebra/kernel.py", "a matrix after a kernel is transposed",
           "algebra/kernel",
           "weight=np.tensordot(M, weight, 1)", "weight=np.tensordot(M.T, weight, 1)"),
    Mutant("compose", "algebra/transposed.py", "a matrix after a stamp is transposed",
           "algebra/transposed",
           "np.tensordot(weight, wide(M), (1, 1))", "np.tensordot(weight, wide(M), (1, 0))"),
    Mutant("compose", "algebra/kernel.py", "the groups of a kernel are ignored", "algebra/kernel",
           "if M.ndim == 2 and self.groups > 1:\n            return grouped_refusal(self.groups)\n"
           "        M, weight",
           "M, weight"),
    Mutant("compose", "optimize/search.py", "a bias enters a kernel whatever its padding",
           "optimize/search optimize/laws_on_graphs",
           "(kernel.padded or below.segment_of(k) != last)", "below.segment_of(k) != last"),
    Mutant("compose", "optimize/search.py", "a bottleneck is multiplied out", "optimize/search",
           "if mixing > 1 and channels * between // groups > factored:", "if False:"),
    Mutant("compose", "optimize/operations.py", "a bias before a kernel is dropped",
           "optimize/operations",
           "pending = summed(None if pending is None else f.push(pending), f.bias)",
           "pending = None if pending is None else f.push(pending)"),
    Mutant("compose", "optimize/lift.py", "a graph output is taken for the reader's own",
           "optimize/lift",
           "if value.is_graph_output() or len(users) != 1:", "if len(users) != 1:"),
    Mutant("compose", "optimize/lift.py", "a shared value is taken for the reader's own",
           "optimize/lift",
           "if value.is_graph_output() or len(users) != 1:", "if value.is_graph_output():"),

    # W(diag(s)x + t) = (W diag(s))x + Wt,  diag(s)(Wx + b) = (diag(s)W)x + s∘b
    Mutant("affine", "algebra/kernel.py", "padding is taken for none", "algebra/kernel",
           "if b is not None and np.any(b) and self.padded:", "if False:"),
    Mutant("affine", "algebra/kernel.py", "only one tap sees the shift", "algebra/kernel",
           "-1).sum(axis=2)", "-1)[..., 0]"),
    Mutant("affine", "algebra/kernel.py", "a scale after a kernel is laid on its inputs",
           "algebra/kernel",
           "along(M, weight.ndim, 0) * weight", "along(M, weight.ndim, 1) * weight"),
    Mutant("affine", "algebra/weights.py", "a scale is dealt to the groups in turn",
           "algebra/weights algebra/kernel",
           "np.repeat(s.reshape(groups, -1), shape[0] // groups, axis=0)",
           "np.tile(s.reshape(groups, -1), (shape[0] // groups, 1))"),
    Mutant("affine", "algebra/transposed.py", "a stamped shift is taken for a constant",
           "algebra/transposed",
           "if b is not None and np.any(b) and not self.pointwise:", "if False:"),
    Mutant("affine", "algebra/transposed.py", "a grown 1×1 is taken for a 1×1",
           "algebra/transposed",
           "return taps == self.stride == plain and not grown",
           "return taps == self.stride == plain"),
    Mutant("affine", "algebra/channel.py", "a scale before a map is laid on the first group",
           "algebra/channel",
           "scale = wide(first.weight).reshape(second.groups, 1, -1)",
           "scale = wide(first.weight).reshape(second.groups, 1, -1)[:1]"),
    Mutant("affine", "optimize/place.py", "a shift has the wrong sign", "optimize/place",
           '"bias": m.bias,', '"bias": -m.bias,'),
    Mutant("affine", "optimize/normalization.py", "the shift of a normalisation is dropped",
           "optimize/normalization",
           "compose(reader.map, affine)", "compose(reader.map, affine.linear)"),
    Mutant("affine", "optimize/normalization.py", "a normalised graph output is forgotten",
           "optimize/normalization",
           "if value.is_graph_output() or value.shape is None:", "if value.shape is None:"),
    Mutant("affine", "optimize/normalization.py", "one linear reader is enough",
           "optimize/normalization",
           "known if known and len(known) == len(readers) else None", "known or None"),
    Mutant("affine", "optimize/normalization.py", "one reader with a bias is enough",
           "optimize/normalization",
           "any(reader.map.bias is None for reader in readers)",
           "all(reader.map.bias is None for reader in readers)"),
    Mutant("affine", "optimize/normalization.py", "a Gemm's weight is transposed",
           "optimize/normalization",
           'weight if node.attributes.get_int("transB", 0) else weight.T',
           'weight.T if node.attributes.get_int("transB", 0) else weight'),

    # W[x₁; x₂] = W₁x₁ + W₂x₂
    Mutant("split", "algebra/channel.py", "each piece keeps the bias", "algebra/channel",
           "f.bias if k == 0 else None", "f.bias"),
    Mutant("split", "algebra/channel.py", "the shifts of a diagonal are dropped",
           "algebra/channel",
           "shifts = [None] * len(sizes) if f.bias is None else np.split(f.bias, cuts)",
           "shifts = [None] * len(sizes)"),
    Mutant("split", "algebra/channel.py", "the pieces are cut in the wrong order",
           "algebra/channel",
           "cuts = np.cumsum(sizes)[:-1]", "cuts = np.cumsum(sizes[::-1])[:-1]"),
    Mutant("split", "algebra/channel.py", "groups are ignored", "algebra/channel",
           "np.split(f.dense(), cuts, axis=1)", "np.array_split(f.weight, len(sizes), axis=1)"),
    Mutant("split", "optimize/search.py", "biases behind the cut map are added once a piece",
           "optimize/search",
           "words = [word] + [word.linear] * (len(sizes) - 1)", "words = [word] * len(sizes)"),
    Mutant("split", "optimize/operations.py", "a concat's bias is dealt out in equal shares",
           "optimize/operations",
           "np.split(bias, np.cumsum(widths)[:-1])", "np.array_split(bias, len(widths))"),
    Mutant("split", "optimize/lift.py", "any concat is taken for one of channels",
           "optimize/lift",
           'if node.attributes.get_int("axis", 1) % max(rank, 1) != axis:', "if False:"),

    # W S x = S W x, and the biases
    Mutant("commute", "algebra/pool.py", "count_include_pad is ignored", "algebra/pool",
           "return not self._padded and not self.ceil_mode", "return not self.ceil_mode"),
    Mutant("commute", "algebra/pool.py", "ceil_mode is ignored", "algebra/pool",
           "return not self._padded and not self.ceil_mode", "return not self._padded"),
    Mutant("commute", "algebra/pool.py", "windows that miss the input are forgotten",
           "algebra/pool",
           "met = self.dilation == 1 and max(", "met = max("),
    Mutant("commute", "algebra/pool.py", "a sum is taken for a mean", "algebra/pool algebra/space",
           "preserves_constants = False", "preserves_constants = True"),
    Mutant("commute", "algebra/resize.py", "extrapolation is ignored", "algebra/resize",
           "return not self._extrapolates", "return True"),
    Mutant("commute", "algebra/selection.py", "zero padding is taken for a selection",
           "algebra/selection algebra/space algebra/word",
           'return self.mode != "constant" or max(self.before, self.after) <= 0', "return True"),
    Mutant("commute", "algebra/word.py", "a map is carried past padding with its bias",
           "algebra/word",
           "all(k < j or segment >= here for", "all(True for"),
    Mutant("commute", "algebra/word.py", "a pending bias passes a map unmapped",
           "algebra/word",
           "pending = None if pending is None else f.push(pending)", "pass"),
    Mutant("commute", "algebra/word.py", "a bias enters in every segment", "algebra/word",
           "if f.bias is not None and self.segment_of(k) == self.segments[i]:",
           "if f.bias is not None:"),
    Mutant("commute", "algebra/word.py", "the maps behind stand before all space maps",
           "algebra/word",
           "slot + len(self.spaces) for slot", "slot for slot"),
    Mutant("commute", "optimize/operations.py", "biases that enter behind padding are dropped",
           "optimize/operations optimize/search",
           "how.word.advance(None, how.i + 1, 0, how.j), None", "None, None"),
    Mutant("commute", "optimize/operations.py", "a bias before padding is added behind it",
           "optimize/operations",
           "if not step.preserves_constants:\n        _flush(built, how.before)",
           "if not step.preserves_constants:"),
    Mutant("commute", "optimize/lift.py", "the padding of a 1×1 is taken for none",
           "optimize/lift optimize/laws_on_graphs",
           "window, not any(found.pads))", "window, True)"),
    Mutant("commute", "optimize/place.py", "axes of a stride are swapped", "optimize/place",
           "axes, list(strides)]", "axes, list(strides)[::-1]]"),

    # W₁x + W₂x = (W₁ + W₂)x
    Mutant("sum", "algebra/channel.py", "the second map has the wrong sign", "algebra/channel",
           "wide(f.dense()) + wide(g.dense())", "wide(f.dense()) - wide(g.dense())"),
    Mutant("sum", "algebra/channel.py", "the second bias is dropped", "algebra/channel",
           "bias = summed(f.bias, g.bias)", "bias = f.bias"),
    Mutant("sum", "algebra/expression.py", "a bias above a nested sum is added per summand",
           "algebra/expression",
           "t.then(term.word.linear) for t", "t.then(term.word) for t"),
    Mutant("sum", "algebra/expression.py", "branches that see other positions are collected",
           "algebra/expression",
           "setdefault((id(term.node), term.word.spaces, place)",
           "setdefault((id(term.node), (), place)"),
    Mutant("sum", "algebra/expression.py", "a bias moves to the wrong side of a space map",
           "algebra/expression",
           "shifts.append((word.slots[k], product", "shifts.append((0, product"),
    Mutant("sum", "algebra/expression.py", "a bias skips the maps behind it",
           "algebra/expression",
           "product(rest).push(f.bias) if rest else f.bias", "f.bias"),
    Mutant("sum", "algebra/kernel.py", "the smaller kernel's bias is dropped", "algebra/kernel",
           "bias=summed(large.bias, small.bias)", "bias=large.bias"),
    Mutant("sum", "algebra/kernel.py", "strides are not compared", "algebra/kernel",
           "large.stride[axis] == small.stride[axis] and _growth", "_growth"),
    Mutant("sum", "algebra/kernel.py", "pads have the wrong sign", "algebra/kernel",
           "start, step = -kernel.pads", "start, step = kernel.pads"),
    Mutant("sum", "optimize/lift.py", "a difference is taken for a sum", "optimize/lift",
           'minus=k == 1 and node.op_type == "Sub"', "minus=False"),
    Mutant("sum", "optimize/search.py", "the bias above a sum is added per summand",
           "optimize/search",
           "words = [word] + [word.linear] * (len(node.terms) - 1)",
           "words = [word] * len(node.terms)"),
    Mutant("sum", "optimize/operations.py", "only the last summand's bias is kept",
           "optimize/operations",
           "pending = summed(pending, part.pending)", "pending = part.pending"),
    Mutant("sum", "optimize/parallel.py", "the padding of a 1×1 branch is ignored",
           "optimize/parallel",
           "None if window is None or any(window.pads) else", "None if window is None else"),
    Mutant("sum", "optimize/parallel.py", "what stands before a branch's kernel is ignored",
           "optimize/parallel",
           "same = below.node is node.term.node and not below.word.spaces and not below.word.maps",
           "same = below.node is node.term.node"),
    Mutant("sum", "optimize/parallel.py", "weights outside the groups are dropped",
           "optimize/parallel",
           "if np.count_nonzero(weight) < np.count_nonzero(blocks):", "if False:"),

    # x ↦ Wx on tokens = 1×1 on maps,  V⁻¹V = 1
    Mutant("linear", "algebra/layout.py", "transposes are undone instead of done",
           "algebra/layout",
           "[tracer.axes[k] for k in view.permutation]",
           "[tracer.axes[view.permutation.index(k)] for k in range(len(view.permutation))]"),
    Mutant("linear", "algebra/layout.py", "the same atoms in another order are the identity",
           "algebra/layout",
           "return self.before == self.after", "return sorted(self.before) == sorted(self.after)"),
    Mutant("linear", "algebra/layout.py", "the pieces of an axis are swapped", "algebra/layout",
           "axis.insert(axis.index(old) + 1, new)", "axis.insert(axis.index(old), new)"),
    Mutant("linear", "algebra/layout.py", "a channel axis is found by its size alone",
           "algebra/layout",
           "if size == before[axis] and product(after[:k]) == lead:", "if size == before[axis]:"),
    Mutant("linear", "optimize/search.py", "views that end in the same shape cancel",
           "optimize/search optimize/laws_on_graphs",
           "return followed is not None and followed.is_identity", "return True"),
    Mutant("linear", "optimize/place.py", "a MatMul's weight is not transposed",
           "optimize/place optimize/laws_on_graphs",
           'self._constant(f.dense().T, "weight")', 'self._constant(f.dense(), "weight")'),
    Mutant("linear", "optimize/place.py", "a Gemm's weight is taken for transposed",
           "optimize/place optimize/laws_on_graphs",
           'ir.AttrInt64("transB", 1)', 'ir.AttrInt64("transB", 0)'),
    Mutant("linear", "optimize/place.py", "a bias is laid along the last axis",
           "optimize/place optimize/laws_on_graphs",
           "(1,) * (layout.rank - 1 - layout.axis)", "()"),

    # W = BA
    Mutant("rank", "algebra/rank.py", "the threshold is a million times too high", "algebra/rank",
           "return float(u * norm", "return float(1e6 * u * norm"),
    Mutant("rank", "algebra/rank.py", "a bias adds no dimension", "algebra/rank",
           "rank=sum(ranks) + constant,", "rank=sum(ranks),"),
    Mutant("rank", "optimize/factor.py", "what is nearly of low rank is factored",
           "optimize/factor",
           "(sigma > tau).sum()", "(sigma > 1e6 * tau).sum()"),
    Mutant("rank", "optimize/factor.py", "the singular values are dropped", "optimize/factor",
           "u[:, :rank] * sigma[:rank])", "u[:, :rank])"),
    Mutant("rank", "optimize/factor.py", "the last right vectors are taken", "optimize/factor",
           "vt[:rank], u", "vt[-rank:], u"),
    Mutant("rank", "optimize/factor.py", "two maps are placed whatever they cost",
           "optimize/factor",
           "return inner + outer + detour(node, profile) < whole", "return True"),
    Mutant("rank", "optimize/factor.py", "groups are ignored", "optimize/factor",
           'is_pointwise_convolution(node) and node.attributes.get_int("group", 1) == 1:',
           "is_pointwise_convolution(node):"),
    Mutant("rank", "optimize/factor.py", "both factors stride", "optimize/factor",
           "node.attributes.pop(name, None)", "pass"),
    Mutant("rank", "optimize/factor.py", "alpha scales twice", "optimize/factor",
           'if a.name not in ("alpha", "beta")', ""),
    Mutant("rank", "optimize/factor.py", "a weight stored in two ways shares its factors",
           "optimize/factor",
           'key = node.inputs[1], node.op_type == "Conv" or transposed', "key = (node.inputs[1],)"),

    # [f(W₁x + b₁); f(W₂x + b₂)] = f([W₁; W₂]x + [b₁; b₂])
    Mutant("stack", "optimize/restack.py", "weights are stacked in the wrong order",
           "optimize/stack",
           "for s in siblings], siblings[0].out_axis)",
           "for s in siblings[::-1]], siblings[0].out_axis)"),
    Mutant("stack", "optimize/restack.py", "no bias becomes a bias of ones", "optimize/stack",
           "np.zeros(s.channels) if s.bias is None", "np.ones(s.channels) if s.bias is None"),
    Mutant("stack", "optimize/restack.py", "a part has the first part's bias", "optimize/stack",
           "whole.bias[start:stop]", "whole.bias[: stop - start]"),
    Mutant("stack", "optimize/siblings.py", "the constants of what follows are not compared",
           "optimize/stack optimize/siblings",
           "key=(*found.key, node.op_type, values, _options(node))",
           "key=(*found.key, node.op_type, _options(node))"),
    Mutant("stack", "optimize/siblings.py", "maps of different values are siblings",
           "optimize/stack optimize/siblings",
           "(node.op_type, id(x), kernel,", "(node.op_type, kernel,"),
    Mutant("stack", "optimize/siblings.py", "groups are ignored", "optimize/stack",
           'if node.attributes.get_int("group", 1) != 1 or not _rank', "if not _rank"),
    Mutant("stack", "optimize/siblings.py", "a graph output between is forgotten",
           "optimize/stack optimize/siblings",
           "return len(value.uses()) == 1 and not value.is_graph_output()",
           "return len(value.uses()) == 1"),
    Mutant("stack", "optimize/stack.py", "a Split is free", "optimize/stack",
           "elements=copied * self.profile.split)", "elements=0)"),
    Mutant("stack", "optimize/stack.py", "a concat of positions is taken for one of channels",
           "optimize/stack",
           "% shape.rank() == sibling.axis else None", "% shape.rank() >= 0 else None"),

    # W(Px) = (WP)x,  P(Wx) = (PW)x,  f(Px) = P f(x)
    Mutant("permute", "optimize/moves.py", "a shuffle moves nothing", "optimize/moves",
           "reshape(groups, each).T.reshape(-1)", "reshape(groups, each).reshape(-1)"),
    Mutant("permute", "optimize/moves.py", "every part of a Split begins at channel 0",
           "optimize/moves",
           "        at += count or 0\n\n\ndef _selected", "\n\ndef _selected"),
    Mutant("permute", "optimize/relabel.py", "graph outputs are permuted", "optimize/relabel",
           "for v in (*graph.inputs, *graph.outputs)}\n    for node in graph.all_nodes():",
           "for v in graph.inputs}\n    for node in graph.all_nodes():"),
    Mutant("permute", "optimize/relabel.py", "a Gather permutes the wrong way",
           "optimize/relabel",
           "plan.gathers[value] = np.argsort(ordered)", "plan.gathers[value] = ordered"),
    Mutant("permute", "optimize/relabel.py", "repeated channels are taken for a stretch",
           "optimize/relabel",
           "(np.diff(stored) != 1)", "(np.diff(stored) > 1)"),
    Mutant("permute", "optimize/relabel.py", "what a mix reads whole is left out",
           "optimize/relabel",
           "readers[-1] = _is_read_whole(group, labels)", "readers[-1] = False"),
    Mutant("permute", "optimize/reindex.py", "columns are not put in the new order",
           "optimize/reindex optimize/relabel",
           "np.take(weight, into, columns)", "np.take(weight, np.sort(into), columns)"),
    Mutant("permute", "optimize/reindex.py", "biases stay in the old order",
           "optimize/reindex optimize/relabel",
           "total if out is None else total[out]", "total"),
    Mutant("permute", "optimize/reindex.py", "a weight's rows are taken for its columns",
           "optimize/reindex optimize/relabel",
           "rows, columns = (1, 0) if _is", "rows, columns = (0, 1) if _is"),

    # W[x; k] = W₁x + W₂k,  W[x; z] = W₁x where W₂ = 0
    Mutant("prune", "optimize/prune.py", "the bias that was there is dropped", "optimize/prune",
           "return mix.weight @ constants + (0 if mix.bias is None else mix.bias)",
           "return mix.weight @ constants"),
    Mutant("prune", "optimize/prune.py", "what a constant channel adds has the wrong sign",
           "optimize/prune",
           "return mix.weight @ constants + (0", "return -(mix.weight @ constants) + (0"),
    Mutant("prune", "optimize/prune.py", "what a constant channel adds is dropped",
           "optimize/prune",
           "if not (mix.used & (constants != 0)).any():", "if True:"),
    Mutant("prune", "optimize/dead.py", "a constant that is not zero goes before padding",
           "optimize/dead optimize/prune",
           "stay | (needed & (known != 0) & mix.used.any(axis=0))", "stay"),
    Mutant("prune", "optimize/dead.py", "padding in a depthwise kernel is ignored",
           "optimize/dead optimize/prune",
           "((k != 0) & pads)) & (taps", "((k != 0) & False)) & (taps"),
    Mutant("prune", "optimize/dead.py", "every space map keeps constants",
           "optimize/dead optimize/prune",
           "return k if same else np.where(k == 0, k, np.nan)", "return k"),
    Mutant("prune", "optimize/dead.py", "graph outputs are forgotten",
           "optimize/dead optimize/prune",
           "for v in (*graph.inputs, *graph.outputs) if v in a.axes}",
           "for v in graph.inputs if v in a.axes}"),
    Mutant("prune", "optimize/dead.py", "channels that are tied go one by one",
           "optimize/dead optimize/prune",
           "_, group = connected_components(matrix, directed=False)",
           "group = np.arange(ends[-1])"),
    Mutant("prune", "optimize/dead.py", "a value may lose all of its channels",
           "optimize/dead optimize/prune",
           "stays[own[0]] = True", "pass"),
    Mutant("prune", "optimize/flow.py", "taps that cancel are taken for zeros",
           "optimize/flow optimize/prune",
           "weight, (taps != 0).any(axis=2),", "weight, weight != 0,"),
    Mutant("prune", "optimize/flow.py", "automatic padding is taken for none",
           "optimize/flow",
           'or "auto_pad" in node.attributes', ""),

    # S f(x, y) = f(Sx, Sy),  S K_s x = K_{g·s} x
    Mutant("demand", "optimize/demand.py", "readers may skip different positions",
           "optimize/demand",
           "if len(asked) != 1:", "if len(asked) < 1:"),
    Mutant("demand", "optimize/demand.py", "strides are added", "optimize/demand",
           "[a * b for a, b in grown]", "[a + b for a, b in grown]"),
    Mutant("demand", "optimize/demand.py", "strides are put on the wrong axes",
           "optimize/demand",
           "[a * b for a, b in grown]", "[a * b for a, b in grown][::-1]"),
    Mutant("demand", "optimize/demand.py", "ceil_mode is ignored", "optimize/demand",
           'return not automatic and not node.attributes.get_int("ceil_mode", 0)',
           "return not automatic"),
    Mutant("demand", "optimize/demand.py", "automatic padding is ignored", "optimize/demand",
           'return not automatic and not node', "return not node"),
    Mutant("demand", "optimize/demand.py", "a graph output is asked for in part",
           "optimize/demand",
           "if value.is_graph_output() or not is_float(value) or value.shape is None:",
           "if not is_float(value) or value.shape is None:"),
    Mutant("demand", "optimize/demand.py", "readers outside the cone are forgotten",
           "optimize/demand",
           "all(use.node in cone.inside for use in value.uses())", "True"),
    Mutant("demand", "optimize/demand.py", "a padded 1×1 is taken for a plain one",
           "optimize/demand",
           'return not any(node.attributes.get_ints("pads", ())) and _plain(node)',
           "return _plain(node)"),
    Mutant("demand", "optimize/demand.py", "a constant of all positions is left whole",
           "optimize/demand",
           "            if constant(operand) is not None:\n                return None\n", ""),
    Mutant("demand", "optimize/demand.py", "a concat of positions is taken for one of channels",
           "optimize/demand",
           "% shape.rank() in (0, 1)", "% shape.rank() >= 0"),
    Mutant("demand", "optimize/demand.py", "strides move whatever that costs", "optimize/demand",
           "if after < before and after.macs <= before.macs:", "if True:"),
)
# fmt: on


def snapshot(folder: Path) -> None:
    """Copy what tests need, as it is now; in the copy Hypothesis does not shrink."""
    for part in ("docs", "src", "tests"):
        shutil.copytree(ROOT / part, folder / part)
    shutil.copy(ROOT / "pyproject.toml", folder)
    with (folder / "tests/conftest.py").open("a", encoding="utf-8") as conftest:
        conftest.write(_UNSHRUNK)


_UNSHRUNK = """
from hypothesis import Phase

_PHASES = (Phase.explicit, Phase.generate)  # the first counterexample will do
settings.register_profile("mutants", deadline=None, derandomize=True, phases=_PHASES)
settings.load_profile("mutants")
"""


def change(path: Path, mutant: Mutant) -> None:
    """Break a file."""
    text = path.read_text(encoding="utf-8")
    if (count := text.count(mutant.text)) != 1:
        raise SystemExit(f"{mutant.file}: got {mutant.text!r} {count} times, wanted it once")
    path.write_text(text.replace(mutant.text, mutant.instead), encoding="utf-8")


def outcome(folder: Path, paths: Sequence[str], limit: float) -> tuple[str, str]:
    """What the tests say of a copy, and the last line of what they print."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder / "src"),
        "PYTHONDONTWRITEBYTECODE": "",  # the original's serves all copies
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *paths]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return BROKEN, f"longer than {limit:g} s"
    told = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    # pytest: 0 all passed, 1 some failed, above: not collected, interrupted, no tests.
    return {0: SURVIVED, 1: KILLED}.get(done.returncode, BROKEN), "".join(told[:1])


def check(mutant: Mutant, original: Path, limit: float) -> tuple[str, str]:
    """Whether the tests kill a mutant of the original, and which one does."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name) / "copy"
        shutil.copytree(original, folder)
        change(folder / PACKAGE / mutant.file, mutant)
        return outcome(folder, mutant.paths, limit)


def unchanged(mutants: Sequence[Mutant], original: Path, limit: float) -> str:
    """What the tests say of the original: empty where all of them pass."""
    paths = sorted({path for mutant in mutants for path in mutant.paths})
    found, told = outcome(original, paths, limit)
    return "" if found == SURVIVED else told or found


def checked(mutants: Sequence[Mutant], original: Path, limit: float, workers: int) -> Iterator[str]:
    """What becomes of each mutant, told as it is known."""
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(lambda mutant: check(mutant, original, limit), mutants)
        for mutant, (found, told) in zip(mutants, results, strict=True):
            print(f"{found:<9} {mutant.law:<8} {mutant.file}: {mutant.fault}  {told}", flush=True)
            yield found


def table(mutants: Sequence[Mutant], found: Sequence[str]) -> str:
    """Law × killed, survived, broken."""
    counts = Counter(zip((m.law for m in mutants), found, strict=True))
    kinds = (KILLED, SURVIVED, BROKEN)
    lines = [f"{'law':<10}" + "".join(f"{kind:>10}" for kind in kinds)]
    for law in dict.fromkeys(m.law for m in mutants):
        lines.append(f"{law:<10}" + "".join(f"{counts[law, kind]:>10}" for kind in kinds))
    totals = Counter(found)
    return "\n".join([*lines, f"{'all':<10}" + "".join(f"{totals[kind]:>10}" for kind in kinds)])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--law", choices=tuple(dict.fromkeys(m.law for m in MUTANTS)))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=float, default=600, help="seconds for one mutant's tests")
    options = parser.parse_args()
    mutants = [m for m in MUTANTS if options.law in (None, m.law)]
    with tempfile.TemporaryDirectory(prefix="original-") as name:
        original = Path(name)
        snapshot(original)
        if wrong := unchanged(mutants, original, 10 * options.limit):
            print(f"the tests do not pass on the package as it is: {wrong}")
            return 1
        found = list(checked(mutants, original, options.limit, options.workers))
    print(table(mutants, found))
    return int(any(kind != KILLED for kind in found))


if __name__ == "__main__":
    sys.exit(main())
