import math

import pytest

from examples.covid3d.measure.report.statistics.summary import cell, over_seeds
from tests.covid3d.measure.report.measured_rows import (
    result,
    results,
)


def test_mean_and_deviation_over_scans_and_seeds_by_hand():
    rows = results("rgs", [(0.1, 0.2, 0.3), (0.3, 0.4, 0.5)]) + results("equal", [(0.9,)])
    everything, second = cell(rows, "rgs", "dice"), cell(rows, "rgs", "dice", "2")
    assert (everything.tests, second.tests) == (6, 2)
    assert everything.mean == pytest.approx(0.3)
    assert everything.std == pytest.approx(math.sqrt(0.1 / 5))
    assert (second.mean, second.std) == pytest.approx((0.3, math.sqrt(0.02)))
    assert cell(rows, "equal", "dice").std == 0
    assert cell(rows, "equal", "dice", "2") is None


def test_missed_and_false_alarms_are_of_those_that_could_be():
    rows = [
        result("rgs", 0, 1, "a", 0, missed=1),
        result("rgs", 0, 1, "b", 0.5),
        result("rgs", 0, 1, "c", 0, expert_ml=0.0, false_alarm=1),
        result("rgs", 1, 1, "c", 1, expert_ml=0.0),
    ]
    found = cell(rows, "rgs", "dice")
    assert (found.missed, found.with_lesion) == (1, 2)
    assert (found.false_alarms, found.without_lesion) == (1, 2)


def test_seed_means_by_hand():
    found = over_seeds(results("rgs", [(0.1, 0.3), (0.4, 0.6), (0.6, 1.0)]), "rgs", "dice")
    assert found.means == pytest.approx({"0": 0.2, "1": 0.5, "2": 0.8})
    assert (found.mean, found.std) == pytest.approx((0.5, 0.3))
    assert over_seeds(results("rgs", [(0.1, 0.3)]), "rgs", "dice").std == 0


def test_seeds_are_in_the_order_of_numbers():
    rows = [result("rgs", seed, 1, "a", seed / 100) for seed in (10, 9, 1)]
    assert list(over_seeds(rows, "rgs", "dice").means) == ["1", "9", "10"]
