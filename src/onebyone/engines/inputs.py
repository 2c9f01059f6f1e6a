"""The inputs on which two models are compared.

Random ones for the sizes that the caller has in mind, the caller's own, and, where dimensions are
free, smaller ones of other sizes: batch 2, height and width apart, odd and not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.errors import UsageError
from onebyone.graph.checks import one_line
from onebyone.graph.dimensions import evaluated, names
from onebyone.graph.ops.call import is_floating
from onebyone.graph.shapes import Sizes
from onebyone.graph.spatial import picked_from

__all__ = [
    "Feed",
    "chosen_shapes",
    "drawn_shapes",
    "fed",
    "given_inputs",
    "nudged",
    "random_inputs",
]

# Sizes that pyramids and patch embeddings accept are multiples of 32; an axis that is shorter than
# two of them is no image axis.
_STEP = 32


@dataclass(frozen=True)
class Feed:
    """Inputs by name, and what they are: "random", "given", "drawn", or a kind of trouble."""

    kind: str
    inputs: Mapping[str, Array]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each input."""
        return {name: array.shape for name, array in self.inputs.items()}

    def modest(self) -> Feed:
        """The same with all integers reduced to 0 and 1."""
        small = {n: np.asarray(x % 2) for n, x in self.inputs.items() if x.dtype.kind in "iu"}
        return Feed(self.kind, {**self.inputs, **small})


def fed(graph: ir.Graph) -> dict[str, ir.Value]:
    """The inputs that have to be given, by name: all but those with a default."""
    return {str(value.name): value for value in graph.inputs if value.const_value is None}


def random_inputs(
    model: ir.Model,
    shapes: Mapping[str, Sequence[int]],
    rng: np.random.Generator,
    below: int = 10,
) -> dict[str, Array]:
    """Random inputs of these shapes: floats from the standard normal, integers in 0..below-1.

    Of integers that are indices, any that is valid where the sizes are known.

    Raises:
        UsageError: an input is no tensor of numbers or booleans.

    >>> import onnx.parser
    >>> text = "g (float16[2] x, bool[3] c) => (float16[2] y) {y = Identity(x)}"
    >>> head = '<ir_version: 8, opset_import: ["": 17]>'
    >>> model = ir.from_proto(onnx.parser.parse_model(head + text))
    >>> made = random_inputs(model, {"x": (2,), "c": (3,)}, np.random.default_rng(0))
    >>> made["x"].dtype.name, made["c"].dtype.name
    ('float16', 'bool')
    """
    lengths = _lengths(model, shapes)
    return {
        # What is no tensor has no shape; `_random` says so.
        name: _random(value, shapes.get(name, ()), rng, _valid(value, lengths, below))
        for name, value in fed(model.graph).items()
    }


def _lengths(model: ir.Model, shapes: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """The free sizes that are those of inputs of these shapes."""
    inputs = (value for value in model.graph.inputs if value.shape is not None)
    ends = ((value.shape or (), shapes.get(str(value.name), ())) for value in inputs)
    pairs = (pair for dims, sizes in ends for pair in zip(dims, sizes, strict=False))
    return {str(dim): size for dim, size in pairs if not isinstance(dim, int)}


def _valid(value: ir.Value, lengths: Mapping[str, int], below: int) -> int:
    """How many indices are valid, of integers by which gathers pick; `below` of all others."""
    dims = [(x.shape or ())[axis] for x, axis in picked_from(value)]
    known = [dim if isinstance(dim, int) else lengths.get(str(dim), below) for dim in dims]
    return max(1, min(known, default=below))


def _random(value: ir.Value, shape: Sequence[int], rng: np.random.Generator, below: int) -> Array:
    kind = _dtype(value)
    if is_floating(kind):
        return rng.standard_normal(tuple(shape)).astype(kind)
    if kind.kind == "b":
        below = 2
    return rng.integers(0, below, tuple(shape)).astype(kind)


def _dtype(value: ir.Value) -> np.dtype[np.generic]:
    _check_tensor(value)
    if value.dtype is None or value.dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED):
        raise UsageError(
            f"input {one_line(value.name, 100)!r} is {one_line(value.type, 100)}, and random "
            "values can be drawn for tensors of numbers only: give it by data"
        )
    return value.dtype.numpy()


def given_inputs(model: ir.Model, data: Mapping[str, Array]) -> dict[str, Array]:
    """The caller's inputs, checked and in the types that the model declares.

    Raises:
        UsageError: a name, a shape or a type does not fit the model, or an input is no tensor.
    """
    wanted = fed(model.graph)
    if data.keys() != wanted.keys():
        raise UsageError(f"data for inputs {sorted(data)}, wanted exactly {sorted(wanted)}")
    for value in wanted.values():
        _check_tensor(value)
    return {name: _fitted(value, np.asarray(data[name])) for name, value in wanted.items()}


def _check_tensor(value: ir.Value) -> None:
    if not isinstance(value.type, ir.TensorType | None):
        raise UsageError(
            f"input {one_line(value.name, 100)!r} is {one_line(value.type, 100)}, and models are "
            "compared on tensors only"
        )


def _fitted(value: ir.Value, array: Array) -> Array:
    shape = value.shape
    fits = shape is None or (
        len(shape) == array.ndim
        and all(not isinstance(n, int) or n == m for n, m in zip(shape, array.shape, strict=True))
    )
    if not fits:
        raise UsageError(f"data for {value.name!r} has shape {array.shape}, wanted {value.shape}")
    kind = array.dtype if value.dtype == ir.DataType.STRING else _dtype(value)
    # float64 data for a float32 input is welcome, a fraction for an integer input is not.
    narrows = is_floating(kind) and (is_floating(array.dtype) or array.dtype.kind in "iu")
    if not narrows and not np.can_cast(array.dtype, kind, "safe"):
        raise UsageError(f"data for {value.name!r} is {array.dtype}, wanted {kind}")
    return array.astype(kind, copy=False)


def drawn_shapes(
    model: ir.Model, sizes: Sizes, rng: np.random.Generator
) -> Iterator[dict[str, tuple[int, ...]]]:
    """Two choices of all free dimensions, other than `sizes`: first even, then odd.

    A free first axis is a batch of 2 and of 3. The others differ from one another: multiples of
    32 from 64 on, and then one more than these; or a little more than half the nominal size where
    that is under 64. Nothing where no dimension is free.
    """
    free = _free(model, sizes)
    if not free:
        return
    for odd in (False, True):
        chosen = dict.fromkeys(free, 2 + odd)
        taken: set[int] = set()
        for name in (name for name, size in free.items() if size):
            chosen[name] = _drawn(free[name], int(rng.integers(4)), odd, taken)
        shapes = _shapes(model, chosen)
        if shapes is not None:
            yield shapes


def chosen_shapes(model: ir.Model, sizes: Sizes, edge: int) -> dict[str, tuple[int, ...]] | None:
    """Free dimensions of at most `edge`, a batch of one; None where none is free or none fits."""
    free = _free(model, sizes)
    return _shapes(model, {name: min(max(size, 1), edge) for name, size in free.items()})


def _shapes(model: ir.Model, chosen: Mapping[str, int]) -> dict[str, tuple[int, ...]] | None:
    """The shapes of the inputs at these sizes; None where a dimension has no whole size then."""
    found = {}
    if not chosen:
        return None
    for name, value in fed(model.graph).items():
        dims = [
            n if isinstance(n, int) else evaluated(n.value or "", chosen) for n in value.shape or ()
        ]
        whole = tuple(n for n in dims if n is not None and n > 0)
        if len(whole) < len(dims):
            return None
        if value.shape is not None:
            found[name] = whole
    return found or None


def _drawn(nominal: int, place: int, odd: bool, taken: set[int]) -> int:
    """A size that is not taken yet, and is from now on."""
    step, start = _STEP, 2 * _STEP
    if nominal < start:  # a sequence or a list of boxes, which any size will do for
        step, start = 2, nominal // 2 + 1
    size = (start + place * step) | odd
    while size in taken:
        size += step
    taken.add(size)
    return size


def _free(model: ir.Model, sizes: Sizes) -> dict[str, int]:
    """The free sizes by name with their nominal value; 0 for a batch.

    A dimension may be an expression of several, such as past + new.
    """
    free: dict[str, int] = {}
    for value in fed(model.graph).values():
        for axis, dim in enumerate(value.shape or ()):
            if isinstance(dim, int):
                continue
            for name in sorted(names(dim.value or "")):
                nominal = sizes.size(ir.SymbolicDim(name)) or 1
                if axis == 0 and name == dim.value:  # a batch
                    nominal = 0
                # What is a batch anywhere is one everywhere.
                free[name] = min(free.get(name, nominal), nominal)
    return free


def nudged(inputs: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
    """Each floating element moved to a neighbouring number of its type, up, down or not at all.

    >>> x = np.float32([1, 1, 1, 1])
    >>> np.abs(nudged({"x": x}, np.random.default_rng(1))["x"] - x).max() <= 2**-23
    np.True_
    """
    return {name: _moved(x, rng) if is_floating(x.dtype) else x for name, x in inputs.items()}


def _moved(x: Array, rng: np.random.Generator) -> Array:
    signs = rng.integers(-1, 2, x.shape)
    towards = np.where(signs == 0, x, np.where(signs > 0, np.inf, -np.inf)).astype(x.dtype)
    # Towards itself nothing moves; neither do infinities and NaN.
    return np.asarray(np.where(np.isfinite(x), np.nextafter(x, towards), x), x.dtype)
