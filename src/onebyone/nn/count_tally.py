"""From the steps that a module ran to its count, by the rules of `counting.tally`.

Parameters that no layer reads are listed with what is not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod

from onebyone.counting.formulas import Shape
from onebyone.counting.gaps import Uncounted, grouped
from onebyone.counting.operators import grouped as grouped_operators
from onebyone.counting.peak import Touched, peak
from onebyone.counting.tally import Operation, Weight, layers_of, with_bias
from onebyone.counting.value import Count, total
from onebyone.nn.count_gaps import reason
from onebyone.nn.count_kinds import ran
from onebyone.nn.count_trace import Operand, Step

__all__ = ["tally"]


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
    merged = {layer: _merged(steps[layer], steps[bias]) for bias, layer in biases.items()}
    kept = [merged.get(i, step) for i, step in enumerate(steps) if i not in biases]
    operations = list(_named([_operation(step) for step in kept]))
    layers, weight_bytes = layers_of(operations, weights)
    read = {name for operation in operations for name in operation.reads}
    return total(
        layers,
        activation_bytes=sum(map(_traffic, kept)),
        weight_bytes=weight_bytes,
        nodes=len(steps),
        inputs=inputs,
        uncounted=(*_uncounted(kept), *_unused(weights, read)),
        separator=".",
        peak_activation_bytes=peak(list(map(_touched, steps)), returned),
        operators=grouped_operators(ran(step) for step in kept if not step.constant),
    )


def _touched(step: Step) -> Touched[int]:
    """What writes over its first operand takes its place, and no memory."""
    moved = [(x.value, x.bytes) for x in (*step.inputs, *step.outputs) if not x.constant]
    over = step.inputs[0].value if step.op.endswith("_") and step.inputs else None
    return Touched(moved, [y.value for y in step.outputs], over)


def _merged(layer: Step, bias: Step) -> Step:
    """The layer with the bias that the next operator adds; what moves is the layer's own."""
    assert layer.work is not None
    read = [operand for operand in bias.inputs if operand.constant]
    work = with_bias(layer.work, bias.outputs[0].shape)
    return replace(layer, work=work, inputs=(*layer.inputs, *read))


def _biases(steps: Sequence[Step], returned: Collection[int]) -> dict[int, int]:
    """Each addition of a bias -> the layer before it, both by position."""
    uses = Counter(value for step in steps for value in {x.value for x in step.inputs})
    uses.update(returned)
    made = {output.value: i for i, step in enumerate(steps) for output in step.outputs}
    biases = {}
    for i, step in enumerate(steps):
        x = _biased(step)
        # Who else reads the result sees it without the bias: then it is an addition like any other.
        if x is None or x.value not in made or uses[x.value] != 1:
            continue
        layer = steps[made[x.value]]
        # A view in between may have left out a part.
        whole = prod(x.shape) == prod(layer.outputs[0].shape)
        if whole and layer.work is not None and not layer.work.bias_adds:
            biases[i] = made[x.value]
    return biases


def _biased(step: Step) -> Operand | None:
    """What a step adds a bias to: a weight that varies along one axis at most."""
    if step.op not in ("add", "add_") or len(step.inputs) != 2:
        return None
    x, bias = sorted(step.inputs, key=lambda operand: operand.constant)
    # One number, or one a channel; a table of positions varies along two axes.
    is_bias = bias.origins and sum(size != 1 for size in bias.shape) <= 1
    same = x.shape == step.outputs[0].shape
    if is_bias and same and not x.constant:
        return x
    return None


def _reads(step: Step) -> tuple[str, ...]:
    """The weights that a step reads, itself or through constants, unless it makes a constant."""
    if step.constant and step.work is None:
        return ()
    return tuple(dict.fromkeys(name for operand in step.inputs for name in operand.origins))


def _traffic(step: Step) -> int:
    """Bytes read and written, without constants."""
    if step.constant:
        return 0
    # One that is read twice, or written into what was read, moves once each way.
    read = dict.fromkeys(operand for operand in step.inputs if not operand.constant)
    return sum(operand.bytes for operand in (*read, *dict.fromkeys(step.outputs)))


def _operation(step: Step) -> Operation[str]:
    shape = step.outputs[0].shape
    return Operation(step.path, step.op, shape, step.work, _reads(step), _traffic(step))


def _named(operations: Sequence[Operation[str]]) -> Iterator[Operation[str]]:
    """The path of the module; and the operator, numbered, where it holds more than one layer."""
    layers = [operation for operation in operations if operation.is_layer]
    held = Counter(part for layer in layers for part in _prefixes(layer.name))
    times = Counter[str]()
    for operation in operations:
        name = operation.name
        # A module with one layer gives it its name, one with several numbers them by operator.
        if operation.is_layer and (not name or held[name] > 1):
            name = ".".join(filter(None, (name, operation.op)))
            times[name] += 1
            if times[name] > 1:
                name += f"_{times[name]}"
        yield replace(operation, name=name)


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
