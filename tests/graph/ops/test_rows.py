"""The rows of operators."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import defs

from onebyone.graph.ops import OPERATORS, Role, operator_of, role
from onebyone.graph.ops.call import Call

# Operators that are newer than the oldest onnx package that is supported.
SCHEMAS = [schema for schema in defs.get_all_schemas_with_history() if not schema.domain]
NEWER = {"BitCast", "CausalConvWithState", "LinearAttention"}


def test_every_row_is_an_operator_of_onnx() -> None:
    known = {schema.name for schema in defs.get_all_schemas_with_history() if not schema.domain}
    assert set(OPERATORS) - known <= NEWER


def test_slots_are_inputs_that_the_operator_has() -> None:
    for name in set(OPERATORS) - NEWER:
        row, schemas = OPERATORS[name], defs.get_all_schemas_with_history()
        most = max(s.max_input for s in schemas if s.name == name and not s.domain)
        assert all(slot < most for slot in row.settings + row.unread + row.buffers + row.codes)


def test_the_size_of_terms_is_told_by_an_operator_that_has_its_own() -> None:
    told = {row.magnitude for row in OPERATORS.values() if isinstance(row.magnitude, str)}
    assert all(OPERATORS[name].magnitude == name for name in told)


def test_what_is_followed_on_sizes_can_be_computed() -> None:
    assert all(row.value for row in OPERATORS.values() if row.on_sizes)


KINDS = (np.float64, np.int64, bool)


@pytest.mark.parametrize("name", [n for n, row in OPERATORS.items() if row.elementwise])
def test_elementwise_is_position_by_position(name: str) -> None:
    """S f(x, y) = f(Sx, Sy), in each type of numbers that the operator computes with at all."""
    kernel, most = OPERATORS[name].value, max(s.min_input for s in SCHEMAS if s.name == name)
    attributes = {"to": 1} if name == "Cast" else {}
    call = Call(name, 22, attributes=attributes)
    rng, tried = np.random.default_rng(3), 0
    for kind in KINDS if kernel else ():
        operands = [rng.integers(1, 5, (4, 3)).astype(kind) for _ in range(most)]
        try:
            with np.errstate(all="ignore"):  # some are not defined for all of these
                whole = kernel(call, *operands)
                part = kernel(call, *(x[[2, 0]] for x in operands))
        except TypeError:  # no operator for this type
            continue
        tried += 1
        np.testing.assert_array_equal(whole[[2, 0]], part)
    assert tried or kernel is None


@pytest.mark.parametrize(
    ("op", "expected"),
    [("Conv", Role.CONVOLUTION), ("Gather", Role.SELECTION), ("Relu", Role.ELEMENTWISE),
     ("MaxPool", Role.OPAQUE), ("If", Role.OPAQUE), ("DequantizeLinear", Role.QUANTIZATION)],
)  # fmt: skip
def test_roles(op: str, expected: Role) -> None:
    assert role(ir.node(op, [])) is expected


def test_other_domains_are_opaque() -> None:
    node = ir.node("Conv", [], domain="com.microsoft")
    assert role(node) is Role.OPAQUE
    assert operator_of(node).value is operator_of(node).work is None
