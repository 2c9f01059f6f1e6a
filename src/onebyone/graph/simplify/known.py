"""One node whose operands are known before the model runs: what it computes.

Weights are composed in float64 and rounded once, where they are stored. So a floating tensor is
known twice: as an engine has it, in its own type, and in float64. They differ by rounding, except
where a step (Floor, a comparison, a cast to integers) makes much of it: 0.7f · 10 is 7 in float32
and less in float64. A step is taken where IEEE 754 determines its operands to the last bit in any
engine, or where both ways lead to the same; otherwise the engine shall say what it does there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onebyone.algebra.weights import Array
from onebyone.graph.evaluate import reference
from onebyone.graph.ops import operator_of
from onebyone.graph.ops.call import call_of, is_floating
from onebyone.graph.ops.row import Rounding

__all__ = ["Known", "computed", "stored"]


_TYPES = frozenset(
    {"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16",
     "bfloat16", "float32", "float64"}
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Known:
    """A tensor that is known before the model runs.

    Args:
        array: as an engine has it, in the tensor's own type.
        exact: the same in float64, from operands that were not rounded; None where it is `array`.
        determined: whether every engine has these bits.
    """

    array: Array
    exact: Array | None = None
    determined: bool = True

    @property
    def wide(self) -> Array:
        """In float64, if it is floating."""
        if self.exact is not None:
            return self.exact
        return np.asarray(_floats_as(np.float64, self.array))


def stored(known: Known) -> Array:
    """What a file holds of it: rounded once, to its own type."""
    if known.exact is None:
        return known.array
    return known.exact.astype(known.array.dtype)


def computed(
    node: ir.Node, operands: Sequence[Known | None], version: int
) -> tuple[Known, ...] | None:
    """What a node gives, one for each of its outputs; None where that is not for us to say.

    Args:
        node: of the standard domain.
        operands: its inputs; None for one that is left out.
        version: of the standard operators.

    >>> w = Known(np.float32([1, 2]))
    >>> node = ir.node("Add", [ir.val("a"), ir.val("b")])
    >>> computed(node, [w, w], 17)[0].array
    array([2., 4.], dtype=float32)
    """
    given = [known for known in operands if known is not None]
    if operator_of(node).rounding is None or not all(k.array.dtype.name in _TYPES for k in given):
        return None
    try:
        with np.errstate(all="ignore"):
            return _results(node, operands, version)
    except Exception:  # the engine shall say what it does there, if it ever comes to it
        return None


def _results(
    node: ir.Node, operands: Sequence[Known | None], version: int
) -> tuple[Known, ...] | None:
    if node.op_type in ("Cast", "CastLike"):
        return _cast(node, operands)
    given = [known for known in operands if known is not None]
    if not _defined(node, given):
        return None
    kind = _type(node, given)
    own = _run(node, [None if k is None else k.array for k in operands], version, kind)
    if own is None or not all(map(_typed, own, node.outputs)):
        return None
    # Sure of the operands' bits; of the result's too, where the operator adds no doubt.
    determined = all(known.determined for known in given)
    if not _needs_exact(node, given):
        return tuple(Known(array, None, determined) for array in own)
    wide = _run(node, [None if k is None else k.wide for k in operands], version, np.float64)
    if wide is None or not all(map(_agree, own, wide)):
        return None
    rounding = operator_of(node).rounding
    if rounding is Rounding.STEPS and not determined and not all(map(_same, own, wide)):
        return None
    sure = determined and rounding is not Rounding.SMOOTHLY
    stepped = rounding is Rounding.STEPS
    return tuple(_known(a, b, sure, stepped) for a, b in zip(own, wide, strict=True))


def _needs_exact(node: ir.Node, given: Sequence[Known]) -> bool:
    """Whether float64 can give anything but what the tensor's own type gives."""
    floating = any(is_floating(known.array.dtype) for known in given)
    rounded = any(known.exact is not None for known in given)
    return rounded or (floating and operator_of(node).rounding is not Rounding.NEVER)


def _defined(node: ir.Node, given: Sequence[Known]) -> bool:
    """Whether engines and NumPy mean the same by it."""
    # What a scatter adds up where indices meet, it adds in any order.
    if node.attributes.get_string("reduction", "none") != "none":
        return False
    row, arrays = operator_of(node), [known.array for known in given]
    floating = [array for array in arrays if is_floating(array.dtype)]
    if floating:
        return not row.is_unsure_of_nan or not any(np.isnan(array).any() for array in floating)
    if node.op_type in ("Div", "Mod"):
        return bool((arrays[1] != 0).all()) and not any(map(_lowest, arrays))
    if node.op_type == "Pow":
        return arrays[0].dtype == arrays[1].dtype and bool((arrays[1] >= 0).all())
    return row.is_sure_of_integers or row.rounding in (Rounding.NEVER, Rounding.STEPS)


def _lowest(array: Array) -> bool:
    """Whether it holds the one number that has no negative."""
    return array.dtype.kind == "i" and bool((array == np.iinfo(array.dtype).min).any())


def _typed(array: Array, value: ir.Value) -> bool:
    told = value.dtype is None or bool(array.dtype == value.dtype.numpy())
    return told and array.dtype.name in _TYPES


def _known(own: Array, wide: Array, determined: bool, stepped: bool) -> Known:
    if stepped or not is_floating(own.dtype):
        return Known(own, None, determined)
    return _both(own, wide, determined)


def _agree(own: Array, wide: Array) -> bool:
    """Whether both ways meet NaN and infinities at the same places, and NaN nowhere."""
    if own.shape != wide.shape:
        return False
    if not is_floating(own.dtype):
        return True
    rounded = np.asarray(wide).astype(own.dtype)
    if np.isnan(rounded).any() or np.isnan(own).any():
        return False
    loose = np.isinf(own) | np.isinf(rounded) | np.isinf(wide)
    return bool((own[loose] == rounded[loose]).all() and (np.isinf(wide) == loose).all())


def _same(own: Array, wide: Array) -> bool:
    return bool((own == np.asarray(wide).astype(own.dtype)).all())


def _type(node: ir.Node, given: Sequence[Known]) -> np.dtype[Any]:
    """The floating type in which the node computes."""
    kinds = [known.array.dtype for known in given]
    if node.op_type == "ConstantOfShape" and "value" in node.attributes:
        kinds = [node.attributes["value"].as_tensor().dtype.numpy()]
    return next(filter(is_floating, kinds), np.dtype(np.float32))


def _cast(node: ir.Node, operands: Sequence[Known | None]) -> tuple[Known, ...] | None:
    """To a floating type: rounded there, as the file asks. To an integer: where it is in range."""
    x, *others = operands
    if x is None:
        return None
    like = others[0] if others else None  # of a CastLike
    if like is None:
        target = ir.DataType(node.attributes.get_int("to", 0)).numpy()
    else:
        target = like.array.dtype
    if target.name not in _TYPES:
        return None
    if not is_floating(x.array.dtype):
        return (Known(x.array.astype(target)),)
    if is_floating(target):
        return _cast_float(x, target)
    if target.kind != "b" and not _in_range(x, target):
        return None
    own, wide = x.array.astype(target), x.wide.astype(target)
    if x.determined or bool((own == wide).all()):
        return (Known(own),)
    return None


def _cast_float(x: Known, target: np.dtype[Any]) -> tuple[Known, ...] | None:
    """Whoever stores the result rounds it: what is cast to less is remembered as it was."""
    array, wide = x.array.astype(target), x.wide
    if (np.isinf(array) != np.isinf(wide)).any() or np.isnan(array).any():
        return None
    return (_both(array, wide, x.determined),)


def _both(array: Array, wide: Array, determined: bool) -> Known:
    """A floating tensor in its own type and in float64, kept apart where they differ."""
    if (array.astype(np.float64) == wide).all():
        return Known(array, None, determined)
    return Known(array, np.asarray(wide, np.float64), determined)


def _in_range(x: Known, target: np.dtype[Any]) -> bool:
    """Outside of it, what engines give differs."""
    limits = np.iinfo(target)
    array = np.trunc(x.array.astype(np.float64))
    return bool(((array >= limits.min) & (array < float(limits.max) + (limits.max < 2**53))).all())


def _run(
    node: ir.Node, arrays: Sequence[Array | None], version: int, kind: Any
) -> tuple[Array, ...] | None:
    """The node's results in one floating type."""
    dtype, row = np.dtype(kind), operator_of(node)
    if dtype.itemsize < 4 and row.rounding is Rounding.SMOOTHLY:
        # NumPy has no fast products of halves.
        wide = _run(node, [_floats_as(np.float32, array) for array in arrays], version, np.float32)
        return wide and tuple(_floats_as(dtype, array) for array in wide)
    result = row.value and row.value(call_of(node, version, dtype), *arrays)
    if result is None and node.op_type == "Dropout":  # in training
        return None
    if result is None:
        result = reference(node, arrays, {"": version})
    results = result if isinstance(result, tuple | list) else (result,)
    if len(results) < len(node.outputs):
        return None
    return tuple(np.asarray(array) for array in results[: len(node.outputs)])


def _floats_as(kind: Any, array: Any) -> Any:
    """An array in this floating type, if it is floating; one that is left out stays so."""
    if array is not None and is_floating(array.dtype):
        return array.astype(kind)
    return array
