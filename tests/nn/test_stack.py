"""Blocks that are layers in a row are taken apart as any `nn.Sequential` is."""

from __future__ import annotations

from collections import OrderedDict

import pytest
from torch import nn

from onebyone.nn.mlpconv import MLPConv
from onebyone.nn.separable import DepthwiseSeparable
from onebyone.nn.shared_mlp import SharedMLP
from onebyone.nn.shortcut import ProjectionShortcut
from onebyone.nn.stack import Stack

BLOCKS = (
    MLPConv(3, (4, 2), 3),
    SharedMLP(3, (4, 2)),
    DepthwiseSeparable(3, 4),
    ProjectionShortcut(3, 4, option="D"),
)


def test_every_block_in_a_row_is_tried() -> None:
    assert set(map(type, BLOCKS)) == set(Stack.__subclasses__())


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: type(block).__name__)
def test_a_slice_is_a_sequential_of_the_same_layers(block: Stack) -> None:
    plain = nn.Sequential(OrderedDict(block.named_children()))
    for index in (slice(2), slice(1, None), slice(-1), slice(None, None, 2)):
        assert type(block[index]) is nn.Sequential
        assert dict(block[index].named_children()) == dict(plain[index].named_children())
    assert block[-1] is plain[-1]
