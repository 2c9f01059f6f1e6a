"""One model through `optimize`, judged from outside: what is wrong with the result, if anything."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto

from onebyone.errors import OnebyoneError
from onebyone.graph.evaluate import CannotEvaluate
from onebyone.graph.write import to_proto
from onebyone.optimize import optimize

from .noise import Model, excess, quietest
from .run import differences, run
from .valid import faults, refusal

__all__ = ["KINDS", "Fault", "Subject", "Verdict", "trial"]

KINDS = (
    "wrong", "crash", "refused", "invalid", "engine", "larger", "again", "alarm", "reference",
)  # fmt: skip
"""Of faults: other numbers, an exception nobody foresaw, a valid model refused, a result that
checkers or that engines refuse, more parameters for no MACs, not idempotent, a certificate that
fails, and (of the judge's own reference) numbers that the engine does not give."""

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Subject:
    """What is tried: a model, inputs with a label each, and whether its arithmetic is exact."""

    model: ModelProto
    feeds: tuple[tuple[str, Arrays], ...]
    exact: bool
    dtype: str = "float32"


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong."""

    kind: str
    detail: str


@dataclass(frozen=True)
class Verdict:
    """What came of a trial: why it says nothing, or the laws that were used and the faults."""

    skipped: str = ""
    engine: str = ""
    laws: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


def trial(subject: Subject, certify: bool, seed: int, widely: bool = False) -> Verdict:
    """Optimise a model and judge the result on all of its inputs.

    Args:
        subject: the model and its inputs.
        certify: whether it is verified as well, and has to pass.
        seed: of the judge.
        widely: whether OpenVINO is asked to take the result, too.
    """
    if wrong := faults(subject.model):
        return Verdict(skipped=f"not valid: {wrong[0][:240]}")
    answers, why = _answers(subject.model, subject.feeds)
    if why and not _is_missing_kernel(why):
        return Verdict(skipped=f"the engine: {why}")
    engine = "numpy" if why else "onnxruntime"
    if why:
        try:
            answers = _evaluated(subject.model, subject)
        except CannotEvaluate as error:
            return Verdict(skipped=f"no engine: {_short(error)}")
        except OnebyoneError as error:
            return Verdict(engine=engine, faults=(Fault("refused", _short(error)),))
    try:
        options = {"shapes": {name: x.shape for name, x in subject.feeds[0][1].items()}}
        result = optimize(subject.model, verify=certify, **options)
        after = to_proto(result.model)
    except OnebyoneError as error:
        return Verdict(engine=engine, faults=(Fault("refused", _short(error)),))
    except Exception as error:
        return Verdict(engine=engine, faults=(Fault("crash", _where(error)),))
    told = result.report.to_dict()
    found = [
        *(Fault("invalid", why[:240]) for why in faults(after)),
        *_larger(subject.model, after, told),
        *_again(after, options),
        *_certified(result),
        *(_in_openvino(subject.model, after) if widely else ()),
        *_judged(subject, after, answers, engine, np.random.default_rng(seed)),
    ]
    laws = tuple(dict.fromkeys(row["law"] for row in told["laws"]))
    return Verdict("", engine, laws, tuple(found))


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:240]}"


def _where(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{_short(error)} at {last.name}:{last.lineno} in {last.filename.rsplit('/', 2)[-1]}"


def _is_missing_kernel(why: str) -> bool:
    return "NOT_IMPLEMENTED" in why or "bfloat16" in why


def _answers(model: ModelProto, feeds: tuple[tuple[str, Arrays], ...]) -> tuple[list[Arrays], str]:
    """The engine's outputs for each of the inputs, or why there are none."""
    try:
        return run(model, *(inputs for _, inputs in feeds)), ""
    except Exception as error:  # the engine's exceptions have no common type
        return [], _short(error)


def _larger(before: ModelProto, after: ModelProto, told: Mapping[str, Any]) -> Iterator[Fault]:
    """More parameters and no multiply-accumulate saved: for no time either, or a larger file.

    A kilobyte is what the names of nodes and of vectors may take, where a scale has become one.
    """
    a, b = told["before"], told["after"]
    if b["macs"] < a["macs"] or b["parameters"] <= a["parameters"]:
        return
    slower = b["modelled_seconds"] >= a["modelled_seconds"]
    if slower or after.ByteSize() > 1.1 * before.ByteSize() + 1024:
        yield Fault(
            "larger",
            f"parameters {a['parameters']} -> {b['parameters']}, MACs {a['macs']} -> {b['macs']}, "
            f"bytes {before.ByteSize()} -> {after.ByteSize()}, time {'not ' * slower}less",
        )


def _again(after: ModelProto, options: Mapping[str, Any]) -> Iterator[Fault]:
    """What a second time still changes."""
    try:
        result = optimize(after, verify=False, **options)
    except Exception as error:
        yield Fault("again", f"the result is refused: {_where(error)}")
        return
    laws = [law.law for law in result.report.laws]
    nodes = [sorted(n.op_type for n in m.graph.node) for m in (after, to_proto(result.model))]
    if laws or nodes[0] != nodes[1]:
        yield Fault(
            "again", f"a second time applies {laws}, nodes {len(nodes[0])} -> {len(nodes[1])}"
        )


def _certified(result: Any) -> Iterator[Fault]:
    certificate = result.report.certificate
    if certificate is not None and not certificate.passed:
        yield Fault("alarm", str(certificate.verdict)[:200])


def _in_openvino(before: ModelProto, after: ModelProto) -> Iterator[Fault]:
    """Why OpenVINO refuses the result, where it takes the original."""
    import openvino

    core = openvino.Core()
    for name, model in (("before", before), ("after", after)):
        try:
            core.compile_model(core.read_model(model.SerializeToString()), "CPU")
        except Exception as error:
            if name == "after":
                yield Fault("engine", f"OpenVINO: {_short(error)}")
            return


def _judged(
    subject: Subject,
    after: ModelProto,
    answers: list[Arrays],
    engine: str,
    rng: np.random.Generator,
) -> Iterator[Fault]:
    if engine == "numpy":
        yield from _judged_in_numpy(subject, after, answers, rng)
        return
    results, why = _answers(after, subject.feeds)
    if why:
        yield Fault("engine", why)
        return
    if (why := refusal(after, True)) and not refusal(subject.model, True):
        yield Fault("engine", f"with optimisations: {why[:240]}")
    yield from _compared(subject, answers, results, rng)


def _compared(
    subject: Subject, answers: list[Arrays], results: list[Arrays], rng: np.random.Generator
) -> Iterator[Fault]:
    """Each answer beside the result's: equal, or within the noise."""
    model = None
    for (label, inputs), a, b in zip(subject.feeds, answers, results, strict=True):
        if not differences(a, b):
            continue
        if subject.exact:
            if told := differences(_asked(a, a), _asked(a, b)):
                yield Fault("wrong", f"{label}: {'; '.join(told)}")
                return
            continue
        if model is None:
            model = Model.of(subject.model, subject.dtype)
        try:
            found = excess(model, inputs, a, b, rng)
            if found:
                others = (other for _, other in subject.feeds if other is not inputs)
                floor = quietest(model, others, rng)
                found = excess(model, inputs, a, b, rng, floor)
        except CannotEvaluate as error:
            yield Fault("reference", _short(error))
            return
        if found:
            times = ", ".join(f"{name} {value:.3g} times" for name, value in found.items())
            yield Fault("wrong", f"{label}: {times} what is allowed")
            return


def _asked(a: Arrays, outputs: Arrays) -> Arrays:
    """The outputs without numbers where A has overflowed: nothing is asked there."""
    found = dict(outputs)
    for name, x in a.items():
        if x.dtype.kind == "f" and outputs[name].shape == x.shape:
            found[name] = outputs[name].copy()
            found[name][~np.isfinite(x)] = 0
    return found


def _judged_in_numpy(
    subject: Subject, after: ModelProto, answers: list[Arrays], rng: np.random.Generator
) -> Iterator[Fault]:
    """Where no engine has the type: both in float64, within what the type rounds."""
    try:
        results = _evaluated(after, subject)
    except CannotEvaluate as error:
        yield Fault("engine", _short(error))
    else:
        yield from _compared(subject, answers, results, rng)


def _evaluated(model: ModelProto, subject: Subject) -> list[Arrays]:
    played = Model.of(model, subject.dtype)
    return [played.truth(inputs) for _, inputs in subject.feeds]
