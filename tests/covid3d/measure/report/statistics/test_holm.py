import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.covid3d.measure.report.statistics.holm import holm


def test_holm_by_hand():
    # Sorted: 0.01 × 4, 0.02 × 3, 0.03 × 2 → 0.06, 0.9 × 1.
    assert holm([0.03, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert holm([0.03, None, 0.01]) == [pytest.approx(0.03), None, pytest.approx(0.02)]
    assert holm([0.6, 0.7]) == [1, 1]
    assert holm([]) == []


@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_is_monotone_and_between_none_and_bonferroni(p_values):
    adjusted = holm(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= min(1, p * len(p_values))
    ranks = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(adjusted)[ranks]) >= 0)
    assert min(adjusted) == min(1, min(p_values) * len(p_values))


@given(p_values=st.lists(st.floats(0, 1), max_size=9), level=st.floats(0.001, 0.5))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values, level):
    left = sorted(p_values)
    while left and left[0] * len(left) <= level:
        left.pop(0)
    rejected = sum(q <= level for q in holm(p_values))
    assert rejected == len(p_values) - len(left)
