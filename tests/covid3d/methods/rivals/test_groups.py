from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.covid3d.methods.rivals.groups import deal_groups, phase_of


@given(
    names=st.lists(st.text(max_size=4), unique=True, max_size=30),
    groups=st.integers(1, 12),
    seed=st.integers(0, 2**32),
)
def test_every_name_is_dealt_once_and_evenly(names, groups, seed):
    dealt = deal_groups(names, groups, seed)
    assert len(dealt) == groups
    assert sorted(name for group in dealt for name in group) == sorted(names)
    sizes = [len(group) for group in dealt]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)
    assert dealt == deal_groups(names[::-1], groups, seed)


def test_groups_are_random():
    names = [f"{i:02}" for i in range(20)]
    first, second = deal_groups(names, 4, 0), deal_groups(names, 4, 1)
    assert first != second
    assert all(group != sorted(group) for group in first)
    # Over many seeds each name is about as often in each group.
    count = sum("00" in deal_groups(names, 4, seed)[0] for seed in range(400))
    assert 70 <= count <= 130


def test_bad_arguments():
    with pytest.raises(ValueError, match="0 groups"):
        deal_groups(["a"], 0, 0)
    with pytest.raises(ValueError, match="more than once"):
        deal_groups(["a", "a"], 1, 0)
    with pytest.raises(ValueError, match="step 3"):
        phase_of(3, 3, 1)
    with pytest.raises(ValueError, match="-1 groups"):
        phase_of(0, 3, -1)


@given(steps=st.integers(1, 200), groups=st.integers(0, 20))
def test_phases_rise_from_0_to_k_and_are_equally_long(steps, groups):
    phases = [phase_of(step, steps, groups) for step in range(steps)]
    assert phases == sorted(phases)
    assert phases[0] == 0
    assert max(phases) <= groups
    lengths = [phases.count(phase) for phase in range(groups + 1)]
    assert max(lengths) - min(lengths) <= 1
    if steps > groups:
        assert phases[-1] == groups


def test_phases_by_hand():
    assert [phase_of(step, 9, 2) for step in range(9)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
