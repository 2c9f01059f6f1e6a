"""The rows of tools against what the tools said, to the digit; where they differ, why.

`counters.json` holds figures of the tools themselves, which `benchmarks/counters.py` asks.
"""

from __future__ import annotations

import json
import logging
import re
from functools import cache
from pathlib import Path

import pytest

from onebyone.counting.conventions import CONVENTIONS, Counted, by_conventions
from onebyone.counting.formulas import Work
from onebyone.counting.operators import KINDS, Ran, grouped
from onebyone.counting.value import Count
from onebyone.graph.ops import OPERATORS

torch = pytest.importorskip("torch")

from onebyone.nn.count import count  # noqa: E402 - needs torch
from onebyone.nn.count_kinds import KIND_OF as TORCH_KINDS  # noqa: E402
from tests.counting.networks import NETWORKS  # noqa: E402
from tests.quick import slow_but  # noqa: E402

RECORDED = json.loads(Path(__file__).with_name("counters.json").read_text(encoding="utf-8"))
TOOLS = [row for row in CONVENTIONS if row.version]

# What a row cannot know: how a network calls what it computes. (tool, network) -> the parts of the
# row's total that the tool does not count, by kind.
FUSED = "PyTorch's counter does not know the name of the CPU's kernel"
BOUND = "transformers takes nn.functional.gelu before ptflops watches it"
DIFFERENT = {
    ("torch.utils.flop_counter", "fused attention"): ("fused attention", FUSED),
    ("torch.utils.flop_counter", "vit-tiny, fused"): ("fused attention", FUSED),
    ("torch.utils.flop_counter", "segformer-b0"): ("fused attention", FUSED),
    ("ptflops", "vit-tiny"): ("GELU", BOUND),
    ("ptflops", "vit-tiny, fused"): ("GELU", BOUND),
    ("ptflops", "segformer-b0"): ("GELU", BOUND),
}
# And where the tool counts more, as the row's sentence says.
MORE = {
    ("ptflops", "upsample"): "a module, and the function that it calls",
    ("thop", "upsample"): "a module: eleven an element",
    ("thop", "transposed"): "at the four times as many positions of the result",
}


@cache
def of_network(network: str) -> Count:
    build, shape = NETWORKS[network]
    logging.disable(logging.ERROR)
    counted = count(build().eval(), torch.empty(shape))
    logging.disable(logging.NOTSET)
    return counted


def rows(network: str) -> dict[str, Counted]:
    return {row.convention.name: row for row in of_network(network).conventions()}


def part(row: Counted, kind: str, network: str) -> int:
    """What a row counts for a kind: elements, or MACs."""
    operators = [o for o in of_network(network).operators if o.kind == kind]
    per = row.convention.rules[kind]
    return sum(per.mac * o.macs + per.read * o.read + per.written * o.written for o in operators)


@pytest.mark.parametrize(
    "network",
    slow_but(*NETWORKS.keys() - {"densenet121", "segformer-b0", "vgg16"}, of=list(NETWORKS)),
)
def test_rows_say_what_tools_say_and_measures_are_the_counts_own(network: str) -> None:
    """One test of a network: it is built and counted once."""
    for tool in TOOLS:
        _says_what_the_tool_says(tool.name, network)
    counted, found = of_network(network), rows(network)
    assert found["MACs"].total == counted.macs
    assert found["FLOPs"].total == counted.flops
    assert found["FLOPs and biases"].total == counted.flops + counted.bias_adds
    assert found["FLOPs with activations"].total >= counted.flops + counted.bias_adds


def _says_what_the_tool_says(tool: str, network: str) -> None:
    theirs, ours = RECORDED["figures"][network][tool], rows(network)[tool]
    if (tool, network) in DIFFERENT:
        kind, _ = DIFFERENT[tool, network]
        not_counted = part(ours, kind, network)
        assert not_counted, tool
        assert theirs == ours.total - not_counted, tool
    elif (tool, network) in MORE:
        assert theirs > ours.total, tool
    else:
        assert theirs == ours.total, tool


def test_what_a_tool_takes_more_is_what_its_sentence_says() -> None:
    figures = {key: RECORDED["figures"][key[1]][key[0]] for key in MORE}
    assert figures["ptflops", "upsample"] == 2 * rows("upsample")["ptflops"].total
    written = 6 * 20 * 28
    assert figures["thop", "upsample"] == 11 * written
    assert figures["thop", "transposed"] == 4 * rows("transposed")["thop"].total


def test_a_row_names_the_version_that_was_asked() -> None:
    for row in TOOLS:
        asked = re.match(r"\d+(\.\d+)+", RECORDED["versions"][row.name])
        assert asked is not None
        assert asked[0] == row.version


def test_parts_add_up_and_what_is_left_out_is_said() -> None:
    product = Ran("bmm", "product", Work(20), 4, 5)
    layer = Ran("conv", "convolution", Work(7, 7, 3), 2, 3)
    norm = Ran("bn", "batch normalisation", None, 11, 11)
    by = {row.convention.name: row for row in by_conventions(grouped([product, layer, norm, norm]))}
    thop, fvcore = by["thop"], by["fvcore"]
    assert (thop.products, thop.biases, thop.total) == (7, 0, 7 + 4 * 22)
    assert thop.elements == (("batch normalisation", 88),)
    assert thop.without == (("product", 20),)
    assert (fvcore.total, fvcore.without) == (27 + 2 * 22, ())
    assert fvcore.to_dict()["elements"] == [{"kind": "batch normalisation", "amount": 44}]
    assert by["FLOPs with activations"].total == 54 + 3 + 2 * 22


def test_tables_know_the_kinds_that_there_are() -> None:
    assert len(set(KINDS)) == len(KINDS)
    assert {kind for row in CONVENTIONS for kind in row.rules} <= set(KINDS)
    onnx_kinds = {row.kind for row in OPERATORS.values() if isinstance(row.kind, str)}
    assert {*onnx_kinds, *TORCH_KINDS.values()} <= set(KINDS)


def test_the_page_quotes_what_the_tools_said() -> None:
    page = (Path(__file__).parents[2] / "docs" / "count.md").read_text(encoding="utf-8")
    networks = {
        "ResNet-50 @224": "resnet50",
        "MobileNetV2 @224": "mobilenetv2",
        "VGG-16 @224": "vgg16",
        "ViT-Ti @224": "vit-tiny",
    }
    for title, network in networks.items():
        said = [rows(network)["MACs"].total, *RECORDED["figures"][network].values()]
        cells = " | ".join(f"{number:,}" for number in said)
        assert f"| {title} | {cells} |" in page
