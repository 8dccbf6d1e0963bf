"""Best, median and worst are picked by a rule."""

import pytest

from examples.covid3d.measure.report.cases.choice import choose
from tests.covid3d.measure.report.measured_rows import result


def ranks(*dices, **more):
    rows = [result("rgs", 0, 1, f"s{i}", dice, **more) for i, dice in enumerate(dices)]
    return [(case.rank, case.key[2]) for case in choose(rows, "rgs")]


def test_best_median_and_worst():
    assert ranks(0.3, 0.9, 0.1, 0.5, 0.4) == [("best", "s1"), ("median", "s4"), ("worst", "s2")]


@pytest.mark.parametrize(
    ("dices", "expected"),
    [((0.5,), [("best", "s0")]), ((0.2, 0.5), [("best", "s1"), ("worst", "s0")])],
)
def test_with_fewer_scans_there_are_fewer(dices, expected):
    assert ranks(*dices) == expected


def test_healthy_lungs_are_left_out_unless_there_is_nothing_else():
    rows = [result("rgs", 0, 1, f"s{i}", 0.5) for i in range(3)]
    rows += [result("rgs", 0, 1, "healthy", 1, expert_ml=0.0)]
    assert "healthy" not in {case.key[2] for case in choose(rows, "rgs")}
    assert ranks(1, 0, expert_ml=0.0) == [("best", "s0"), ("worst", "s1")]


def test_the_order_of_the_rows_does_not_matter():
    rows = [result("rgs", 0, 1, f"s{i}", 0.5) for i in range(5)]
    assert choose(rows, "rgs") == choose(rows[::-1], "rgs")
