"""Grouped convolutions as block-diagonal matrices, and with fewer channels."""

from __future__ import annotations

import numpy as np
import pytest

from onebyone.algebra.channel import ChannelMap
from onebyone.algebra.groups import block_diagonal, by_rows, missing, narrowed

from ..graphs.text import integers


@pytest.mark.parametrize(("shape", "groups"), [((4, 3), 1), ((4, 3), 2), ((6, 1), 3)])
def test_the_matrix_of_blocks_is_that_of_the_channel_map(
    shape: tuple[int, int], groups: int
) -> None:
    weight = integers("w", shape)
    whole = ChannelMap(weight, None, groups).dense()
    assert block_diagonal(weight, groups).tolist() == whole.tolist()


def test_transposed_weights_by_rows_and_back() -> None:
    weight = integers("w", (6, 2, 3, 1))  # three groups of two inputs and two outputs
    rows = by_rows(weight, 3)
    assert rows.shape == (6, 2, 3, 1)
    assert (rows[5, 0] == weight[4, 1]).all()  # output 1 of the third group, its input 0
    assert (by_rows(rows, 3) == weight).all()


def test_a_kernel_keeps_the_taps_of_the_channels_that_stay() -> None:
    weight = integers("w", (6, 2, 3, 1))
    rows, columns = np.array([0, 4, 5]), np.array([1, 4])  # one input of groups 0 and 2
    less = narrowed(weight, 3, rows, columns)
    assert (less == np.stack([weight[0, 1:], weight[4, :1], weight[5, :1]])).all()


def _missing(inside: str, outside: str, groups: int) -> tuple[str, ...]:
    """Of channels marked x where they stay: a + for those that have to stay too."""
    before, after = (np.array([c == "x" for c in side]) for side in (inside, outside))
    return tuple("".join(".+"[int(m)] for m in side) for side in missing(before, after, groups))


def test_groups_keep_as_many_as_the_largest() -> None:
    assert _missing("xx.x....x", "x.xx.x", 3) == ("....+.+..", ".+..+.")
    assert _missing("xx..x...", "xx.x", 2) == (".....+..", "..+.")


def test_a_group_of_which_nothing_is_left_goes() -> None:
    assert _missing("xx..x.", "x..", 3) == (".....+", "..+")


def test_a_group_with_results_keeps_an_operand() -> None:
    assert _missing("......", "x.x.", 2) == ("+..+..", "....")
