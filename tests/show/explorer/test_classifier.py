"""The classifier by class maps that ships with the page: small, and as good as the page says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from onebyone.show.explorer import data

ROOT = Path(__file__).parents[3]


def test_it_reads_held_out_digits_as_well_as_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples")
    sys.modules.pop("train_page", None)
    import train_page

    _, held_out = train_page.load(train_page.fixed(train_page.SEED))
    model = train_page.network()
    layers = [layer for layer in model if isinstance(layer, nn.Conv2d)]
    for layer, (weight, bias, _) in zip(layers, data.classifier(), strict=True):
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(bias))
    found = train_page.accuracy(model, held_out)
    told = json.loads((data._DATA / "classifier.json").read_text(encoding="utf-8"))["right"]
    # Two digits of the thousand may fall the other way where sums have another order.
    assert abs(found - told) <= 0.002
    assert found >= train_page.WANTED
    assert sum(w.size + b.size for w, b, _ in data.classifier()) <= 15_000


def test_its_weights_are_whole_numbers_times_powers_of_two() -> None:
    for weight, _, _ in data.classifier():
        most = np.abs(weight).reshape(len(weight), -1).max(1)
        unit = 2.0 ** np.ceil(np.log2(most / 127))
        assert np.array_equal(np.rint(weight.T / unit), weight.T / unit)
