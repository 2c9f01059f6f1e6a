"""`optimize`: the whole way from a model to an equal, cheaper one and its report."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from onebyone.algebra.digits import LOST_BITS
from onebyone.algebra.laws import LAWS
from onebyone.algebra.refusal import Refusal
from onebyone.algebra.weights import Array
from onebyone.cost.estimate import estimate
from onebyone.cost.profile import DEFAULT, ORIGIN, Profile, load_profile, origin_of
from onebyone.errors import UnreadableModel, UsageError
from onebyone.graph.checks import all_nodes, declare, keep_kinds, kinds, one_line
from onebyone.graph.count import tally
from onebyone.graph.evaluate import CannotEvaluate
from onebyone.graph.form import unshared
from onebyone.graph.memory_limit import ExceedsMemory, check_memory
from onebyone.graph.opset import modernise
from onebyone.graph.read import read
from onebyone.graph.shapes import Sizes, shapes_of
from onebyone.graph.time_limit import TakesTooLong
from onebyone.optimize.refusals import refusals
from onebyone.optimize.report import AppliedLaw, RefusedLaw, Region, Report, Side
from onebyone.optimize.rewrite import rewrite
from onebyone.optimize.rewritten import Memory, Rewrite, Task
from onebyone.shown import Shown
from onebyone.verify.certificate import Alone, Certificate
from onebyone.verify.pieces.ledger import Ledger
from onebyone.verify.pieces.prove import Proof

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Optimized", "optimize"]

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, repr=False)
class Optimized(Shown):
    """An optimised model and what there is to say about it."""

    model: ir.Model
    report: Report

    @property
    def summary(self) -> str:
        """That of the report."""
        return self.report.summary

    def __rich__(self) -> RenderableType:
        return self.report


def optimize(
    source: str | os.PathLike[str] | onnx.ModelProto | ir.Model,
    *,
    only: Collection[str] | None = None,
    without: Collection[str] = (),
    also: Collection[str] = (),
    shapes: Mapping[str, Sequence[int]] | None = None,
    data: Mapping[str, Array] | None = None,
    profile: Profile | str | os.PathLike[str] | None = None,
    lost_bits: float | None = None,
    winograd_memory: float | None = None,
    verify: bool = True,
    progress: Progress | None = None,
) -> Optimized:
    """Rewrite a model into an equal one that costs less, and prove it equal.

    Args:
        source: a path, a ModelProto or an onnx_ir.Model; it is not changed.
        only, without: names of laws to use alone, or to leave out.
        also: names of laws to use beside the usual ones: "winograd", which is used only where it is
            asked for.
        shapes: sizes to decide for, by input name, where an input is dynamic; the result is valid
            for all sizes. Otherwise those of `data`, or batch 1, sequence 128, image 224.
        data: the caller's own inputs, by name, for verification.
        profile: the machine to decide for, or the path of its JSON.
        lost_bits: the digits, in bits, that a rewrite may lose where the original cancels exactly
            (docs/numerics.md); what would lose more is refused. 4 if not given.
        winograd_memory: the law winograd leaves a layer where the peak memory of activations would
            be more than so many times the original's; other laws do not ask. No limit if not given.
        verify: whether to run both models and compare; without it there is no certificate.
        progress: called with (stage, done, total).

    Returns:
        The new model and the report; `report.certificate.passed` says whether it may be used.

    Raises:
        UnreadableModel: the source is no usable ONNX model, or contradicts itself.
        UsageError: an unknown law, a shape or data that do not fit, an unusable profile, bits
            below zero, a limit of memory that is none or has no use.

    >>> from onnx import TensorProto, helper, numpy_helper
    >>> import numpy as np
    >>> x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64, 56, 40])
    >>> y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 64, 56, 40])
    >>> draw = np.random.default_rng(0).standard_normal
    >>> up = numpy_helper.from_array(draw((128, 64, 1, 1), np.float32), "up")
    >>> down = numpy_helper.from_array(draw((64, 128, 1, 1), np.float32), "down")
    >>> nodes = [helper.make_node("Conv", ["x", "up"], ["h"], "wide"),
    ...          helper.make_node("Conv", ["h", "down"], ["y"], "narrow")]
    >>> graph = helper.make_graph(nodes, "g", [x], [y], [up, down])
    >>> opsets = [helper.make_opsetid("", 17)]
    >>> result = optimize(helper.make_model(graph, ir_version=8, opset_imports=opsets))
    >>> result.report.before.macs // result.report.after.macs, result.report.laws[0].law
    (4, 'compose')
    >>> result.report.certificate.passed
    True
    """
    laws, limit = _laws(only, without, also), _limit(lost_bits)
    factor = _factor(winograd_memory, laws)
    machine, origin = _profile(profile)
    model = read(source)
    # Of the weights only the names are copied. Without a proof it is seldom asked for.
    kept = unshared(model.clone()) if verify else None
    declared = kinds(model.graph)
    old = modernise(model)
    keep_kinds(declared, model.graph)
    sizes = Sizes(model, shapes, shapes_of(data))
    narrow = _narrow(model, sizes) if verify else None
    if old is not None:
        side = _side(model, sizes, machine)
        report = Report(side, side, (), (_refused(*old),), profile=machine)
        original = read(source) if kept is None else kept
        if verify:
            report = replace(report, certificate=_unchanged(original, shapes, data, progress))
        return Optimized(original, replace(report, origin=origin))
    ledger = Ledger(model.graph, sizes, proves=verify)
    try:
        report, alone = _rewritten(model, sizes, laws, machine, limit, factor, progress, ledger)
    except (UnreadableModel, MemoryError):
        raise
    except Exception as error:
        # A model that contradicts itself is met anywhere, in the algebra as a request that cannot
        # be. What it is that cannot be, the engine says best; only where the model runs is it our
        # fault.
        original = read(source) if kept is None else kept
        _certified(original, original, shapes, data, progress)
        if isinstance(error, UsageError):
            raise UnreadableModel(f"cannot rewrite this model: {error}") from error
        raise
    declare(declared, model.graph)
    if kept is not None:
        before = kept

        def whole() -> Certificate:
            if narrow is not None:
                raise narrow
            return _certified(before, model, shapes, data, progress)

        report = replace(report, certificate=_with_pieces(before, alone, whole))
    return Optimized(model, replace(report, origin=origin))


def _narrow(model: ir.Model, sizes: Sizes) -> ExceedsMemory | None:
    """Why there is no room to run a model; None where there is."""
    try:
        check_memory((v for node in model.graph for v in node.outputs), sizes)
    except ExceedsMemory as error:
        return error
    return None


def _with_pieces(original: ir.Model, alone: Alone, whole: Callable[[], Certificate]) -> Certificate:
    """The certificate, with what was found of the rewrites one by one.

    A model that cannot be run has that alone, if each was proved: one that is too large, has a loop
    without end, or operators of others.
    """
    try:
        return replace(whole(), alone=alone)
    except (CannotEvaluate, ExceedsMemory, TakesTooLong, MemoryError) as error:
        foreign = any(node.domain not in ("", "ai.onnx") for node in all_nodes(original))
        if isinstance(error, CannotEvaluate) and not foreign:
            raise
        if not alone.rewrites or not alone.complete:
            raise
        return Certificate(
            (), "none", 0, alone=alone, apart=one_line(str(error)) or "memory is short"
        )


def _alone(done: Sequence[Rewrite], ledger: Ledger) -> Alone:
    """What was found of rewrites one by one."""
    told = [(f"{', '.join(sorted(r.laws))} at {r.root}", r.proof or Proof(None)) for r in done]
    told += [("simplified", piece.proof) for piece in ledger.loose]
    failed = [f"{what}: {proof.reason}" for what, proof in told if proof.holds is False]
    unproved = [f"{what}: {proof.reason}" for what, proof in told if proof.holds is None]
    proved = [r for r in done if r.proof is not None and r.proof.holds]
    used = max((proof.used for _, proof in told if proof.holds), default=0.0)
    return Alone(len(done), len(proved), used, tuple(failed), tuple(unproved))


def _certified(
    a: ir.Model,
    b: ir.Model,
    shapes: Mapping[str, Sequence[int]] | None,
    data: Mapping[str, Array] | None,
    progress: Progress | None,
) -> Certificate:
    from onebyone.verify.verify import verify

    certificate = verify(a, b, shapes=shapes, data=data, progress=progress)
    return replace(certificate, told="")  # the report says it already


def _unchanged(
    model: ir.Model,
    shapes: Mapping[str, Sequence[int]] | None,
    data: Mapping[str, Array] | None,
    progress: Progress | None,
) -> Certificate | None:
    """That a model is itself; None where nothing here runs it, and no proof is needed."""
    from onebyone.engines.engine import EngineRefuses

    try:
        return _certified(model, model, shapes, data, progress)
    except (EngineRefuses, CannotEvaluate):
        return None


def _rewritten(
    model: ir.Model,
    sizes: Sizes,
    laws: tuple[str, ...],
    machine: Profile,
    lost_bits: float,
    factor: float,
    progress: Progress | None,
    ledger: Ledger,
) -> tuple[Report, Alone]:
    """Rewrite a model with known shapes in place; the report has no certificate yet."""
    before = _side(model, sizes, machine)
    gone: Counter[str] = Counter()
    memory = Memory(before.count.peak_activation_bytes, factor)
    done, refused = rewrite(model, sizes, laws, machine, progress, lost_bits, ledger, gone, memory)
    after = _side(model, sizes, machine)
    told = [_refused(*each) for each in refused]
    # What a law said of a node when it left it is the reason; the graph alone tells a likely one.
    said = {(each.law, each.node) for each in told}
    near = refusals(Task(model, sizes, machine, lost_bits), laws)
    told += [each for each in near if (each.law, each.node) not in said]
    alone = _alone(done, ledger) if ledger.proves else Alone(len(done), 0)
    report = Report(
        before,
        after,
        _applied(done),
        tuple(told),
        simplified=dict(gone),
        regions=tuple(map(_region, done)),
        profile=machine,
    )
    return report, alone


def _laws(
    only: Collection[str] | None, without: Collection[str], also: Collection[str]
) -> tuple[str, ...]:
    unknown = sorted({*(only or ()), *without, *also} - set(LAWS))
    if unknown:
        raise UsageError(f"got law {unknown[0]!r}, wanted one of {', '.join(sorted(LAWS))}")
    usual = [law.name for law in LAWS.values() if not law.asked]
    chosen = {*(only or usual), *also}
    return tuple(law for law in LAWS if law in chosen and law not in without)


def _limit(lost_bits: float | None) -> float:
    if lost_bits is None:
        return LOST_BITS
    if not lost_bits >= 0:
        raise UsageError(f"got lost_bits = {lost_bits}, wanted 0 or more")
    return lost_bits


def _factor(winograd_memory: float | None, laws: tuple[str, ...]) -> float:
    if winograd_memory is None:
        return inf
    if not winograd_memory > 0:
        raise UsageError(f"got winograd_memory = {winograd_memory}, wanted a factor above 0")
    if "winograd" not in laws:
        raise UsageError(
            f"got winograd_memory = {winograd_memory} and not the law that it is for, wanted "
            "--with winograd (from Python also=['winograd'])"
        )
    return winograd_memory


def _profile(profile: Profile | str | os.PathLike[str] | None) -> tuple[Profile, str]:
    """The machine, and where its numbers come from."""
    if profile is None or profile == DEFAULT:
        return DEFAULT, ORIGIN
    if isinstance(profile, Profile):
        return profile, "a profile given from Python"
    return load_profile(profile), origin_of(profile)


def _side(model: ir.Model, sizes: Sizes, profile: Profile) -> Side:
    count = tally(model, sizes)
    return Side(count, estimate(model.graph, sizes, count, profile))


def _region(step: Rewrite) -> Region:
    saved = sum(step.saved.values())
    return Region(step.root, tuple(law for law in LAWS if law in step.laws), saved, *step.sides)


def _refused(node: str, refusal: Refusal) -> RefusedLaw:
    return RefusedLaw(refusal.law, node, refusal.reason)


def _applied(done: Sequence[Rewrite]) -> tuple[AppliedLaw, ...]:
    return tuple(
        AppliedLaw(
            law,
            step.root,
            step.nodes,
            saved,
            step.note,
            step.lost_bits,
            step.made,
            None if step.proof is None else step.proof.holds,
            "" if step.proof is None else step.proof.reason,
        )
        for step in done
        for law, saved in step.saved.items()
    )
