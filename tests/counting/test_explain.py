"""What `explain` says, against numbers counted by hand and by loops over the definition."""

from __future__ import annotations

from itertools import pairwise, product
from math import ceil

import pytest
from rich.console import Console

from onebyone.counting.explain import Explanation, explain
from onebyone.counting.layer import Layer
from onebyone.errors import UsageError


def counted(layer: Layer) -> tuple[int, int]:
    """Parameters and MACs, one by one."""
    per_group = layer.in_channels // layer.groups
    weights = [
        (o, i, *taps)
        for o in range(layer.out_channels)
        for i in range(per_group)
        for taps in product(*map(range, layer.kernel))
    ]
    positions = sum(1 for _ in product(*map(range, layer.output)))
    return len(weights) + (layer.out_channels if layer.bias else 0), len(weights) * positions


def layers(explanation: Explanation) -> list[Layer]:
    stacks = (*explanation.instead, explanation.bottleneck)
    return [explanation.layer, explanation.direct, *(x for stack in stacks for x in stack.layers)]


def test_the_saving_of_the_seed_told_twice() -> None:
    told = explain(256, 64)
    assert told.direct.parameters == 590_080
    assert [layer.parameters for layer in told.bottleneck.layers] == [16_448, 36_928, 16_640]
    assert told.bottleneck.parameters == 70_016
    assert told.middle_saving == 590_080 / 36_928
    assert told.block_saving == 590_080 / 70_016
    assert f"{told.middle_saving:.2f} {told.block_saving:.2f}" == "15.98 8.43"


def test_a_1x1_beside_a_3x3() -> None:
    same = explain(256, 256)
    assert same.layer.parameters == 65_792
    assert same.instead[0].parameters == 590_080
    assert same.instead[0].macs == 9 * same.layer.macs


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kernel": 3},
        {"kernel": 2, "size": (5,), "stride": 3},
        {"groups": 2, "bias": False, "size": (3, 4)},
        {"kernel": 3, "groups": 2, "size": (2, 3, 4), "stride": 2},
        {"bottleneck": 7, "size": (3, 1)},
    ],
)
@pytest.mark.parametrize(("c_in", "c_out"), [(6, 4), (4, 6), (6, 6), (2, 8)])
def test_every_number_is_counted(c_in: int, c_out: int, options: dict[str, object]) -> None:
    options = {"size": (5, 3), **options}
    told = explain(c_in, c_out, **options)
    for layer in layers(told):
        assert (layer.parameters, layer.macs) == counted(layer)
        # The formula, read as Python, is the number.
        assert eval(layer.formula.replace("·", "*")) == layer.parameters
        assert eval(layer.macs_formula.replace("·", "*")) == layer.macs
    assert told.layer.output == tuple(ceil(n / told.stride) for n in told.size)
    for stack in (*told.instead, told.bottleneck):
        assert stack.parameters == sum(layer.parameters for layer in stack.layers)
        assert stack.macs == sum(layer.macs for layer in stack.layers)
        assert stack.layers[-1].output == told.layer.output
        assert all(a.out_channels == b.in_channels for a, b in pairwise(stack.layers))


@pytest.mark.parametrize(
    ("c_in", "c_out", "given", "name"),
    [
        (256, 64, None, "256 → 64 → 64 → 256"),
        (64, 256, None, "256 → 64 → 64 → 256"),
        (256, 256, None, "256 → 64 → 64 → 256"),
        (3, 3, None, "3 → 1 → 1 → 3"),
        (128, 256, 32, "128 → 32 → 32 → 256"),
    ],
)
def test_the_bottleneck_that_is_meant(c_in: int, c_out: int, given: int | None, name: str) -> None:
    told = explain(c_in, c_out, bottleneck=given)
    assert told.bottleneck.name == name
    first, middle, last = told.bottleneck.layers
    assert (first.in_channels, last.out_channels) == (
        told.direct.in_channels,
        told.direct.out_channels,
    )
    assert middle.kernel == told.direct.kernel == (3, 3)


def test_a_stride_is_taken_by_the_middle_of_the_bottleneck() -> None:
    first, middle, last = explain(8, 4, size=(5, 7), stride=2).bottleneck.layers
    assert (first.output, middle.output, last.output) == ((5, 7), (3, 4), (3, 4))


def test_rank_counts_the_constant() -> None:
    assert explain(64, 256).layer.max_rank == 65
    assert explain(64, 256, bias=False).layer.max_rank == 64
    assert explain(256, 64).layer.max_rank == 64
    assert explain(2, 32, 3).layer.max_rank == 19


def test_the_screen() -> None:
    assert "a linear layer" in str(explain(256, 64))
    assert "a linear layer" not in str(explain(256, 64, 3))
    assert "191 outputs are combinations" in str(explain(64, 256))
    assert "combinations" not in str(explain(256, 64))
    assert "2 blocks 128×32" in str(explain(64, 256, groups=2))
    assert "costs more than it saves" in str(explain(4, 4, bottleneck=9))
    assert "costs more" not in str(explain(256, 64))
    assert "3-tap" in str(explain(6, 4, size=(7,)))


@pytest.mark.parametrize(
    ("ends", "options", "said"),
    [
        ((256, 64), {}, "1×1 convolution, 256 → 64 channels, 56×56 → 56×56 positions"),
        ((8, 12), {"groups": 4}, "convolution, 8 → 12 channels, in 4 groups, 56×56"),
        ((4, 4), {"groups": 4}, "convolution, 4 → 4 channels, depthwise, 56×56"),
        ((1, 1), {}, "1×1 convolution, 1 → 1 channel, 56×56"),
        (
            (256, 64),
            {},
            "16,384 products at each, of a weight with an input, are summed to 64 maps.",
        ),
        ((3, 1), {}, "3 products at each, of a weight with an input, are summed to 1 map."),
        ((1, 1), {"kernel": 3}, "9 products at each, of a weight with an input, are summed to 1"),
        ((1, 1), {}, "Its map is one input map times one weight, plus a bias."),
        ((1, 1), {"bias": False}, "Its map is one input map times one weight."),
        ((1, 64), {}, "Each of the 64 maps is one input map times one weight, plus a bias."),
        ((4, 4), {"groups": 4}, "Each of the 4 maps is one input map times one weight"),
        ((5, 3), {"size": (1, 1)}, "One matrix 3×5: a linear layer.\n15 products, of a weight"),
        (
            (5, 3),
            {"size": (1, 2)},
            "One matrix 3×5, the same at all 2 positions: a linear layer th",
        ),
        ((1, 3), {}, "so 1 output is a combination of the others"),
        ((1, 64), {}, "3,692.80×"),
        ((1, 1), {}, "\nno bottleneck: one channel cannot become fewer"),
        ((1, 1), {"bottleneck": 5}, "a bottleneck this wide costs more than it saves"),
        ((2, 2), {}, "bottleneck 2 → 1 → 1 → 2"),
    ],
)
def test_one_is_not_many(ends: tuple[int, int], options: dict[str, object], said: str) -> None:
    assert said in str(explain(*ends, **options))


def test_where_there_is_no_bottleneck_nothing_is_said_of_what_it_saves() -> None:
    assert "saves" not in str(explain(1, 1))
    assert explain(1, 1).to_dict()["bottleneck"]["name"] == "1 → 1 → 1 → 1"


def test_the_value_as_plain_data() -> None:
    value = explain(256, 64, size=(7, 5)).to_dict()
    assert value["layer"]["formula"] == "(1·1·256 + 1)·64"
    assert (value["layer"]["parameters"], value["layer"]["output"]) == (16_448, [7, 5])
    assert value["bottleneck"]["direct"]["parameters"] == 590_080


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"in_channels": 0}, "got in_channels 0, wanted at least 1"),
        ({"out_channels": -3}, "got out_channels -3"),
        ({"kernel": 0}, "got kernel 0"),
        ({"stride": 0}, "got stride 0"),
        ({"groups": 0}, "got groups 0"),
        ({"bottleneck": 0}, "got bottleneck 0"),
        ({"size": ()}, "got size 0"),
        ({"size": (5, 0)}, "got size 0"),
        ({"size": (1, 2, 3, 4)}, "got size 1×2×3×4, wanted one to three axes"),
        ({"groups": 4}, "got 6 → 8 channels in 4 groups, wanted both to be multiples"),
    ],
)
def test_wrong_numbers(options: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        explain(**{"in_channels": 6, "out_channels": 8, **options})


@pytest.mark.parametrize("width", [40, 60, 80])
def test_no_number_is_cut_in_a_narrow_terminal(width: int) -> None:
    console = Console(width=width, no_color=True, highlight=False)
    with console.capture() as shown:
        console.print(explain(64, 64))
    text = shown.get()
    assert max(map(len, text.splitlines())) <= width
    for number in ("4,160", "12,845,056", "115,605,504", "15.92×", "16.00×"):
        assert number in text
    assert ("K·K·C_in" in text) == (width > 40), "formulas go first"
    assert "…" not in text
