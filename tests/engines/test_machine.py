"""What the machine reaches: rates are positive, in the right units, and the best of several."""

from __future__ import annotations

import os

import numpy as np

from onebyone.engines import machine
from onebyone.engines.machine import Machine, copy_rate, gemm_rate, measure_machine, usable_cores


def test_rates_count_operations_and_bytes() -> None:
    ticks = iter(range(1000))
    # A clock on which every call takes one second: rates are then the work itself.
    assert gemm_rate(np.float32, 1, size=8, clock=lambda: next(ticks)) == 2 * 8**3
    assert copy_rate(1, size=64, clock=lambda: next(ticks)) == 2 * 64
    assert copy_rate(3, size=64, clock=lambda: next(ticks)) == 2 * 21 * 3


def test_a_machine_is_measured_and_shown_in_giga() -> None:
    found = measure_machine(1)
    assert found.cores == usable_cores() <= (os.cpu_count() or 1)
    assert found.processor == machine.processor() != ""
    shown = found.to_dict()
    assert shown["peak_gflops"] == found.peak / 1e9 > 0
    assert shown["bandwidth_gb_per_s"] == found.bandwidth / 1e9 > 0


def test_the_best_of_two_measurements_is_taken_rate_by_rate() -> None:
    first, second = Machine("p", 2, 1, 5e9, 3e9), Machine("p", 2, 1, 4e9, 6e9)
    assert first.best(second) == second.best(first) == Machine("p", 2, 1, 5e9, 6e9)
