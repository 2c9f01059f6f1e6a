"""From the steps that a module ran to its count: the same rules as for an ONNX graph.

- A *layer* is a step that has MACs or reads weights. A bias that the next operator adds (a matrix
  product, then +) belongs to the layer before it.
- A parameter counts in the first layer that reads it; those that none reads are listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from onebyone.counting.formulas import Shape, Work
from onebyone.counting.gaps import Uncounted, grouped
from onebyone.counting.operators import grouped as grouped_operators
from onebyone.counting.peak import highest
from onebyone.counting.value import Count, LayerCount, total
from onebyone.nn.count_gaps import reason
from onebyone.nn.count_kinds import ran
from onebyone.nn.count_trace import Operand, Step

__all__ = ["Weight", "tally"]


@dataclass(frozen=True)
class Weight:
    """A parameter or buffer: its elements, and their size in bytes."""

    elements: int
    bytes: int
    buffer: bool


def tally(
    steps: Sequence[Step],
    weights: Mapping[str, Weight],
    returned: Collection[int],
    inputs: tuple[tuple[str, Shape], ...],
) -> Count:
    """The count of a module.

    Args:
        steps: in the order in which they ran.
        weights: all parameters and buffers, by name.
        returned: the values (`Operand.value`) that the module returns.
        inputs: names and shapes of what it was called with.
    """
    biases = _biases(steps, returned)
    merged = {i: _merged(steps[i], step) for step, i in _pairs(steps, biases)}
    kept = [merged.get(i, step) for i, step in enumerate(steps) if i not in biases]
    found = [step for step in kept if step.work is not None or _reads(step)]
    names = _names(found)
    seen: set[str] = set()
    layers = []
    for step, name in zip(found, names, strict=True):
        layers.append(_layer(step, name, weights, seen))
        seen.update(_reads(step))
    return total(
        layers,
        activation_bytes=sum(map(_traffic, kept)),
        weight_bytes=sum(weights[name].bytes for name in seen),
        nodes=len(steps),
        inputs=inputs,
        uncounted=(*_uncounted(kept), *_unused(weights, seen)),
        separator=".",
        peak_activation_bytes=_peak(steps, returned),
        operators=grouped_operators(ran(step) for step in kept if not step.constant),
    )


def _peak(steps: Sequence[Step], returned: Collection[int]) -> int:
    """The most bytes of activations that are alive at once.

    What writes over its first operand takes its place, and no memory.
    """
    place: dict[int, int] = {}
    sizes: dict[int, int] = {}
    spans: dict[int, tuple[int, int]] = {}
    for k, step in enumerate(steps):
        moving = [x for x in (*step.inputs, *step.outputs) if not x.constant]
        if step.op.endswith("_") and step.inputs:
            place.update((y.value, place.get(step.inputs[0].value, step.inputs[0].value))
                         for y in step.outputs)  # fmt: skip
        for operand in moving:
            held = place.get(operand.value, operand.value)
            sizes[held] = max(sizes.get(held, 0), operand.bytes)
            spans[held] = (spans.get(held, (k, k))[0], k)
    for value in returned:
        held = place.get(value, value)
        if held in spans:
            spans[held] = (spans[held][0], len(steps))
    return highest((*span, sizes[held]) for held, span in spans.items())


def _pairs(steps: Sequence[Step], biases: Mapping[int, int]) -> list[tuple[Step, int]]:
    return [(steps[bias], layer) for bias, layer in biases.items()]


def _merged(layer: Step, bias: Step) -> Step:
    """The layer with the bias that the next operator adds; what moves is the layer's own."""
    assert layer.work is not None
    adds = prod(bias.outputs[0].shape)
    read = [operand for operand in bias.inputs if operand.constant]
    work = replace(layer.work, bias_adds=adds)
    return replace(layer, work=work, inputs=(*layer.inputs, *read))


def _biases(steps: Sequence[Step], returned: Collection[int]) -> dict[int, int]:
    """Each addition of a bias -> the layer before it, both by position."""
    uses = Counter(value for step in steps for value in {x.value for x in step.inputs})
    uses.update(returned)
    made = {output.value: i for i, step in enumerate(steps) for output in step.outputs}
    found = {}
    for i, step in enumerate(steps):
        x = _biased(step)
        layer = None if x is None else made.get(x.value)
        if x is not None and layer is not None and uses[x.value] == 1:
            before = steps[layer]
            work, y = before.work, before.outputs[0]
            if work is not None and not work.bias_adds and prod(x.shape) == prod(y.shape):
                found[i] = layer
    return found


def _biased(step: Step) -> Operand | None:
    """What a step adds a bias to: a weight that varies along one axis at most."""
    if step.op not in ("add", "add_") or len(step.inputs) != 2:
        return None
    x, bias = sorted(step.inputs, key=lambda operand: operand.constant)
    is_bias = bias.origins and sum(size != 1 for size in bias.shape) <= 1
    same = x.shape == step.outputs[0].shape
    return x if is_bias and same and not x.constant else None


def _reads(step: Step) -> tuple[str, ...]:
    """The weights that a step reads, itself or through constants, unless it makes a constant."""
    if step.constant and step.work is None:
        return ()
    return tuple(dict.fromkeys(name for operand in step.inputs for name in operand.origins))


def _traffic(step: Step) -> int:
    """Bytes read and written, without constants."""
    if step.constant:
        return 0
    read = dict.fromkeys(operand for operand in step.inputs if not operand.constant)
    return sum(operand.bytes for operand in (*read, *dict.fromkeys(step.outputs)))


def _layer(
    step: Step, name: str, weights: Mapping[str, Weight], seen: Collection[str]
) -> LayerCount:
    work = step.work or Work(0)
    read = [weights[weight] for weight in _reads(step)]
    fresh = [weights[weight] for weight in _reads(step) if weight not in seen]
    return LayerCount(
        name=name,
        op=step.op,
        shape=step.outputs[0].shape,
        parameters=sum(weight.elements for weight in fresh if not weight.buffer),
        buffers=sum(weight.elements for weight in fresh if weight.buffer),
        macs=work.macs,
        pointwise_macs=work.pointwise_macs,
        bias_adds=work.bias_adds,
        activation_bytes=_traffic(step),
        weight_bytes=sum(weight.bytes for weight in read),
        kind=work.kind,
    )


def _names(steps: Sequence[Step]) -> list[str]:
    """The path of the module; and the operator, numbered, where it holds more than one layer."""
    alone = Counter(part for step in steps for part in _prefixes(step.path))
    names, times = [], Counter[str]()
    for step in steps:
        name = step.path
        if not name or alone[name] > 1:
            name = f"{name}.{step.op}" if name else step.op
            times[name] += 1
            name = name if times[name] == 1 else f"{name}_{times[name]}"
        names.append(name)
    return names


def _prefixes(path: str) -> Iterable[str]:
    parts = path.split(".")
    return (".".join(parts[: i + 1]) for i in range(len(parts)))


def _uncounted(steps: Iterable[Step]) -> tuple[Uncounted, ...]:
    rows = [(step, why) for step in steps if step.work is None and (why := reason(step))]
    return grouped((step.op, why, step.path) for step, why in rows)


def _unused(weights: Mapping[str, Weight], seen: Collection[str]) -> tuple[Uncounted, ...]:
    names = [name for name, w in weights.items() if not w.buffer and name not in seen]
    if not names:
        return ()
    elements = sum(weights[name].elements for name in names)
    return (Uncounted("parameter", len(names), f"not used: {elements:,} elements", names[0]),)
