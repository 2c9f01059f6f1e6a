"""The most that activations take at once, against sums by hand."""

from __future__ import annotations

import pytest

import onebyone
from tests.graphs.text import model

# Bytes of x, of four channels, of eight, at 5 × 7 in float32.
X, FOUR, EIGHT = 4 * 3 * 35, 4 * 4 * 35, 4 * 8 * 35
WEIGHTS = {"W": (4, 3, 1, 1), "V": (8, 4, 1, 1), "U": (4, 8, 1, 1)}


@pytest.mark.parametrize(
    ("body", "most"),
    [
        ("y = Conv(x, W)", X + FOUR),
        # Of a chain two at a time; of a shortcut the third, too.
        ("h = Conv(x, W) g = Conv(h, V) y = Conv(g, U)", FOUR + EIGHT),
        ("h = Conv(x, W) g = Conv(h, V) f = Conv(g, U) y = Add(f, h)", 2 * FOUR + EIGHT),
        # A view has no memory of its own, and keeps what it looks at.
        ("h = Conv(x, W) v = Identity(h) g = Conv(v, V) y = Conv(g, U)", FOUR + EIGHT),
        ("h = Conv(x, W) v = Identity(h) g = Conv(h, V) f = Conv(g, U) y = Add(f, v)",
         2 * FOUR + EIGHT),
        # What computes on constants alone is no activation.
        ("k = Add(W, W) y = Conv(x, k)", X + FOUR),
    ],
)  # fmt: skip
def test_peak(body: str, most: int) -> None:
    used = {name: shape for name, shape in WEIGHTS.items() if name in body}
    counted = onebyone.count(model(body, "float[1,3,5,7] x", "y", used))
    assert counted.peak_activation_bytes == most
    assert counted.to_dict()["peak_activation_bytes"] == most


def test_outputs_stay_to_the_end() -> None:
    body = "h = Conv(x, W) g = Conv(h, V) y = Conv(g, U)"
    counted = onebyone.count(model(body, "float[1,3,5,7] x", "y, h", WEIGHTS))
    assert counted.peak_activation_bytes == 2 * FOUR + EIGHT


def test_of_sizes_that_are_unknown_nothing_is_said() -> None:
    counted = onebyone.count(model("y = NonZero(x)", "float[3,5] x", "int64[N,M] y"))
    assert counted.peak_activation_bytes is None


def test_a_module_has_the_peak_of_its_file() -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    module = nn.Sequential(
        nn.Conv2d(3, 4, 1, bias=False), nn.ReLU(inplace=True), nn.Conv2d(4, 8, 1, bias=False)
    )
    counted = onebyone.count(module, torch.empty(1, 3, 5, 7))
    assert counted.peak_activation_bytes == FOUR + EIGHT
    assert onebyone.count(module[:2], torch.empty(1, 3, 5, 7)).peak_activation_bytes == X + FOUR
