from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.covid3d.measure.report.figures.svg import Axes, number, panel, text, ticks


@given(low=st.floats(-1e4, 1e4), width=st.floats(1e-3, 1e4))
def test_ticks_are_few_round_and_within(low, width):
    found = ticks(low, low + width)
    assert 2 <= len(found) <= 8
    assert all(low - 1e-6 * width <= tick <= low + width * (1 + 1e-6) for tick in found)
    steps = {round((b - a) / (found[1] - found[0]), 3) for a, b in pairwise(found)}
    assert steps == {1.0}


@pytest.mark.parametrize(
    ("ends", "expected"),
    [((0, 1), [0, 0.2, 0.4, 0.6, 0.8, 1]), ((-0.02, 0.02), [-0.02, -0.01, 0, 0.01, 0.02])],
)
def test_ticks_by_hand(ends, expected):
    assert ticks(*ends) == pytest.approx(expected)
    assert ticks(3, 3) == [3]


def test_numbers_have_a_true_minus_and_no_noise():
    assert [number(v) for v in (-0.2, 0.30000000000000004, 250.0)] == ["−0.2", "0.3", "250"]


def test_up_is_up_and_the_ends_are_the_ends():
    axes = Axes((0, 2), (-1, 1), "x", "y")
    assert (axes.x(0), axes.x(2)) == (axes.left, axes.right)
    assert (axes.y(-1), axes.y(1)) == (axes.bottom, axes.top)
    assert axes.top < axes.bottom


def test_whoever_cannot_see_it_is_told():
    drawn = panel("A <title>", "how", 'what "it" shows', 100, [text(1, 2, "a<b")])
    assert 'role="img" aria-label="what &quot;it&quot; shows"' in drawn
    assert "a&lt;b" in drawn
    assert "<b>A &lt;title&gt;</b>" in drawn
