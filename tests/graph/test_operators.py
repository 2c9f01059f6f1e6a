"""The table of operators."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from onnx import defs

from onebyone.graph.operators import ROLES, Role, role


def test_every_name_in_the_table_is_an_operator_of_onnx() -> None:
    known = {schema.name for schema in defs.get_all_schemas() if schema.domain == ""}
    assert set(ROLES) - known == set()


@pytest.mark.parametrize(
    ("op", "expected"),
    [("Conv", Role.CONVOLUTION), ("Gather", Role.SELECTION), ("Relu", Role.ELEMENTWISE),
     ("MaxPool", Role.OPAQUE), ("If", Role.OPAQUE), ("DequantizeLinear", Role.QUANTIZATION)],
)  # fmt: skip
def test_roles(op: str, expected: Role) -> None:
    assert role(ir.node(op, [])) is expected


def test_other_domains_are_opaque() -> None:
    assert role(ir.node("Conv", [], domain="com.microsoft")) is Role.OPAQUE
