"""Who was trusted: the weight of a scan, and whether the better ones had more."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from examples.covid3d.measure.report.trust import ScanTrust, ranking, trust_in


def sample(scan, weight, seed=0):
    return {"seed": str(seed), "fold": "1", "scan": scan, "weight": str(weight)}


def truth(scan, dice, seed=0):
    return {"seed": str(seed), "fold": "1", "scan": scan, "dice": str(dice)}


def test_a_scans_weight_is_its_mean_in_units_of_the_trainings():
    samples = [sample("a", 0.6), sample("a", 0.2), sample("b", 0.1), sample("b", 0.1)]
    found = trust_in(samples, [truth("a", 0.8), truth("b", "")])
    assert [(t.scan, t.dice) for t in found] == [("a", 0.8), ("b", None)]
    assert [t.weight for t in found] == pytest.approx([1.6, 0.4])


def test_weights_of_another_training_do_not_move_it():
    samples = [sample("a", 0.6), sample("b", 0.2), sample("a", 30, 1), sample("b", 10, 1)]
    assert [t.weight for t in trust_in(samples, [])] == pytest.approx([1.5, 0.5] * 2)


def test_equal_weights_trust_nobody():
    assert trust_in([sample("a", 0.25), sample("b", 0.25)], [truth("a", 1)]) == []
    assert trust_in([sample("a", 0), sample("b", 0)], []) == []
    assert trust_in([], []) == []


def trusts(pairs, seed="0"):
    return [ScanTrust((seed, "1"), f"s{i}", w, d) for i, (w, d) in enumerate(pairs)]


def test_auroc_by_hand():
    # Good: 2 and 1; bad: 1 and 0.5. Three of four pairs are won, and one is a tie.
    found = ranking(trusts([(2, 0.9), (1, 0.5), (1, 0.4), (0.5, 0.1)]))
    assert found.auroc == pytest.approx(3.5 / 4)
    assert (found.scans, found.good, found.bad) == (4, 2, 2)
    assert found.interval is None
    assert found.chance is None


def test_where_every_pair_is_won_chance_is_counted_out():
    """Drawing the scans again would give the same, and an interval without width."""
    apart = trusts([(2, 0.9)] * 3 + [(1, 0.1)] * 5)
    found = ranking(apart)
    assert (found.auroc, found.interval) == (1.0, None)
    # One of the 56 ways to deal three good ones among eight, or its mirror image.
    assert found.chance == pytest.approx(2 / 56)
    assert ranking(trusts([(1, 0.9), (2, 0.1)])).chance == 1.0


def test_pairs_are_of_one_training():
    """Each training ranks its scans rightly, though one gives all of them less."""
    high, low = trusts([(9, 0.9), (5, 0.1)]), trusts([(2, 0.9), (1, 0.1)], "1")
    assert ranking([*high, *low]).auroc == 1.0


def test_nothing_is_said_where_nobody_knows():
    assert ranking([ScanTrust(("0", "1"), "a", 1.0, None)]) is None
    assert ranking([]) is None


def test_where_none_is_bad_ranks_remain():
    found = ranking(trusts([(1, 0.6), (2, 0.7), (3, 0.8)]))
    assert (found.auroc, found.interval, found.bad) == (None, None, 0)
    assert found.correlation == pytest.approx(1.0)
    assert found.correlation_interval is None


def test_the_interval_is_wide_for_few_scans_and_tight_for_many():
    mixed = [(2, 0.9), (1, 0.8), (0.5, 0.9), (1.5, 0.2), (0.4, 0.1), (0.3, 0.1)]
    few, many = ranking(trusts(mixed)).interval, ranking(trusts(mixed * 8)).interval
    assert few[1] - few[0] > 2 * (many[1] - many[0])


weights = st.lists(
    st.tuples(st.floats(0.01, 3).map(lambda v: round(v, 2)), st.floats(0, 1)),
    min_size=7,
    max_size=12,
)


@settings(deadline=None, max_examples=25)
@given(pairs=weights)
def test_auroc_is_mann_and_whitneys_and_lies_in_its_interval(pairs):
    found = ranking(trusts(pairs))
    good = [w for w, d in pairs if d >= 0.5]
    bad = [w for w, d in pairs if d < 0.5]
    if not good or not bad:
        assert found.auroc is None
        return
    expected = stats.mannwhitneyu(good, bad).statistic / len(good) / len(bad)
    assert found.auroc == pytest.approx(expected)
    if found.interval:
        low, high = found.interval
        assert 0 <= low <= high <= 1
        assert low - 1e-9 <= found.auroc <= high + 1e-9
