"""The rows of operators."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from onnx import defs

from onebyone.graph.ops import OPERATORS, Role, operator_of, role

# Operators that are newer than the oldest onnx package that is supported.
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
