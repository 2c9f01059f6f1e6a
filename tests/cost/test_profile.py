"""Costs and profiles."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from onebyone.cost.profile import DEFAULT, Cost, Profile, load_profile, origin_of
from onebyone.errors import UsageError

SLOW = Profile(peak=4.0, bandwidth=8.0, overhead=1.0)


@pytest.mark.parametrize(
    ("macs", "elements", "seconds"),
    [(0, 0, 1), (8, 0, 3), (0, 6, 4), (8, 6, 4), (16, 6, 5)],
)
def test_the_larger_of_work_and_traffic_counts(macs: int, elements: int, seconds: int) -> None:
    assert SLOW.time(macs, elements) == seconds * 10**12


def test_time_decides_before_macs_and_macs_before_parameters() -> None:
    costs = [Cost(1, 9, 9), Cost(2, 1, 9), Cost(2, 3, 1), Cost(2, 3, 2)]
    assert all(a < b for a, b in pairwise(costs))


def test_sums_do_not_depend_on_their_order() -> None:
    costs = [Cost(DEFAULT.time(macs, macs // 7), macs, 1) for macs in (1, 10**6, 10**12, 3)]
    assert sum(costs, Cost()) == sum(reversed(costs), Cost())


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "profile.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_profile_file_replaces_what_it_names(tmp_path: Path) -> None:
    loaded = load_profile(written(tmp_path, {"peak": 7, "overhead": 0.5}))
    assert (loaded.peak, loaded.overhead) == (7, 0.5)
    assert loaded.bandwidth == DEFAULT.bandwidth


def test_where_the_numbers_come_from_may_stand_beside_them(tmp_path: Path) -> None:
    loaded = load_profile(written(tmp_path, {"peak": 7, "about": {"engine": "e", "threads": 2}}))
    assert loaded == Profile(peak=7)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "wanted a JSON file"),
        ([1], "wanted a JSON object with keys among"),
        ({"speed": 1}, "wanted a JSON object with keys among"),
        ({"peak": 0}, "got peak = 0 "),
        ({"peak": "fast"}, "got peak = 'fast'"),
        ({"peak": True}, "got peak = True"),
        ('{"peak": NaN}', "got peak = nan"),
        ({"channels": 2.5}, "got channels = 2.5 in"),
    ],
)
def test_a_bad_profile_is_named(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(UsageError, match="profile") as caught:
        load_profile(written(tmp_path, content))
    assert message in str(caught.value)


def test_a_missing_profile_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        load_profile(tmp_path / "nowhere.json")


def test_a_profile_says_where_it_was_measured(tmp_path: Path) -> None:
    about = {"engine": "onnxruntime", "version": "1", "threads": 2, "processor": "a processor"}
    told = origin_of(written(tmp_path, {"peak": 7, "about": about}))
    assert told == "measured: onnxruntime 1 on 2 threads of a processor"
    assert origin_of(written(tmp_path, {"peak": 7})).startswith("profile.json, which does not say")
