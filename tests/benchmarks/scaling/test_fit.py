"""Exponents, table and plot, from made-up power laws."""

from __future__ import annotations

import pytest

from benchmarks.scaling.fit import exponent, series
from benchmarks.scaling.plot import figure
from benchmarks.scaling.sweep import Point
from benchmarks.scaling.table import markdown

VALUES = (4, 8, 16, 32)


@pytest.mark.parametrize("power", [-0.5, 0.0, 1.0, 2.3])
def test_a_power_law_gives_its_exponent(power):
    assert exponent(VALUES, [0.3 * v**power for v in VALUES]) == pytest.approx(power)


def test_one_point_has_no_exponent():
    assert exponent([4], [1.0]) is None
    assert exponent([4, 4], [1.0, 2.0]) is None


def power_laws() -> list[Point]:
    points = []
    for value in VALUES:
        seconds = {"plain": [1e-3 * value, 2e-3 * value], "l2r": [4e-3 * value**1.5] * 2}
        points.append(Point("noisy-batch", value, seconds))
    del points[-1].seconds["l2r"]
    points[-1].notes["l2r"] = "out of memory"
    points.append(Point("mlp-depth", 2, {"plain": [1.0]}, {}))
    return points


def test_a_series_is_one_method_along_one_axis():
    found = series(power_laws(), "noisy-batch", "l2r")
    assert found.values == VALUES[:3]
    assert found.time_exponent == pytest.approx(1.5)
    assert found.ratio_exponent == pytest.approx(0.5)
    assert found.ratios[0] == pytest.approx((4 * 2 + 4 * 2 / 2) / 2)  # median of the rounds' ratios
    assert found.note == "at 32: out of memory"
    nothing = series(power_laws(), "mlp-depth", "l2r")
    assert (nothing.values, nothing.time_exponent) == ((), None)


def all_series():
    points = power_laws()
    return [
        series(points, axis, m) for axis in ("noisy-batch", "mlp-depth") for m in ("plain", "l2r")
    ]


def test_the_table():
    lines = markdown(all_series()).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2] == "| noisy samples C_p | plain | 1.00 | 0.00 | 1.00 | 1.00 | 4–32 |  |"
    assert lines[3].startswith("| noisy samples C_p | l2r | 1.50 | 0.50 | 6.00 | 12.00 | 4–16 |")
    assert lines[3].endswith("| at 32: out of memory |")


def test_the_plot_has_a_column_for_each_axis_and_a_line_for_each_series():
    drawn = figure(all_series())
    assert len(drawn.axes) == 4
    above = drawn.axes[0]
    assert {line.get_label() for line in above.lines} == {"plain", "l2r"}
    assert above.get_xscale() == above.get_yscale() == "log"
    assert list(above.lines[1].get_xdata()) == list(VALUES[:3])
    assert len(drawn.axes[1].lines) == 1
