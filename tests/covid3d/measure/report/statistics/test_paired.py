import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from examples.covid3d.common.errors import UserError
from examples.covid3d.measure.report.statistics.paired import difference, unpaired
from examples.covid3d.measure.report.statistics.summary import cell, over_seeds
from tests.covid3d.measure.report.measured_rows import (
    result,
    results,
    two_methods,
)


def test_difference_by_hand():
    # Patient x has two scans, y one; two seeds.
    a = results("rgs", [(0.5, 0.7, 0.3), (0.7, 0.7, 0.3)], patients="xxy")
    b = results("equal", [(0.4, 0.4, 0.4), (0.4, 0.4, 0.5)], patients="xxy")
    found = difference(a + b, "rgs", "equal")
    assert found.per_seed == pytest.approx(((0.1 + 0.3 - 0.1) / 3, (0.3 + 0.3 - 0.2) / 3))
    assert found.mean == pytest.approx(0.35 / 3)
    assert found.std == pytest.approx(abs(0.3 - 0.4) / 3 / math.sqrt(2))
    assert (found.seeds, found.patients, found.better, found.worse) == (2, 2, 1, 1)
    assert found.patient_mean == pytest.approx((0.25 - 0.15) / 2)
    assert found.interval is found.wilcoxon is found.t_test is found.beyond_seeds is None


def test_tests_are_over_patients_not_over_scans_and_seeds():
    rng = np.random.default_rng(0)
    patients = [f"p{i // 2}" for i in range(16)]
    gains = rng.normal(0.02, 0.05, (3, 16))
    rows = results("rgs", 0.5 + gains, patients=patients)
    rows += results("equal", np.full((3, 16), 0.5), patients=patients)
    found = difference(rows, "rgs", "equal")
    by_patient = gains.mean(0).reshape(8, 2).mean(1)
    assert found.patients == 8
    assert found.wilcoxon == pytest.approx(stats.wilcoxon(by_patient).pvalue)
    pairs = stats.ttest_rel(0.5 + by_patient, np.full(8, 0.5))
    assert found.t_test == pytest.approx(pairs.pvalue)
    assert found.mean == pytest.approx(gains.mean())
    assert found.patient_mean == pytest.approx(gains.mean())
    low, high = found.interval
    exact = stats.bootstrap((by_patient,), np.mean, method="percentile", rng=1)
    assert (low, high) == pytest.approx(tuple(exact.confidence_interval), abs=0.003)


def test_no_test_where_all_are_alike():
    same = results("rgs", [[0.5] * 8]) + results("equal", [[0.5] * 8])
    found = difference(same, "rgs", "equal")
    assert (found.mean, found.wilcoxon, found.t_test) == (0, None, None)
    shifted = results("rgs", [[0.6] * 8]) + results("equal", [[0.5] * 8])
    found = difference(shifted, "rgs", "equal")
    assert found.wilcoxon == pytest.approx(2 / 2**8)
    assert found.t_test is None


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        ((0.1, 0.1), None),
        ((0.1, 0.2, 0.3), True),  # 0.2 against 0.1
        ((-0.1, -0.2, -0.3), True),
        ((0.1, 0.0, -0.1), False),
        ((0.3, 0.0, 0.0), False),  # 0.1 against 0.17
        ((0.0, 0.0, 0.0), False),
    ],
)
def test_larger_than_the_spread_between_seeds(gains, expected):
    rows = results("rgs", [[0.5 + gain] for gain in gains])
    rows += results("equal", [[0.5] for _ in gains])
    assert difference(rows, "rgs", "equal").beyond_seeds is expected


def test_spread_is_that_of_the_paired_difference():
    """What a seed does to both methods is not held against either."""
    a, b = [[0.9], [0.5], [0.1]], [[0.88], [0.49], [0.07]]
    found = difference(results("rgs", a) + results("equal", b), "rgs", "equal")
    assert found.std == pytest.approx(0.01)
    assert found.beyond_seeds is True


def test_chance_of_the_docstring():
    for seeds, chance in ((3, 0.23), (5, 0.09)):
        assert 2 * stats.t.sf(math.sqrt(seeds), seeds - 1) == pytest.approx(chance, abs=0.005)


def test_better_goes_by_the_metrics_direction():
    a, b = results("rgs", [(9.0, 12.0, 8.0)], "hd_mm"), results("equal", [(10.0,) * 3], "hd_mm")
    found = difference(a + b, "rgs", "equal", "hd_mm")
    assert (found.better, found.worse) == (2, 1)
    assert found.mean == pytest.approx(-1 / 3)


def test_a_missing_scan_is_named():
    rows = results("rgs", [(0.1, 0.2, 0.3)] * 2) + results("equal", [(0.1, 0.2)] * 2)
    with pytest.raises(UserError, match="equal has no result for seed 0, fold 1, scan s2 and 1 mo"):
        difference(rows, "rgs", "equal")
    with pytest.raises(UserError, match="equal has no result"):
        difference(rows, "equal", "rgs")
    assert unpaired(rows, "rgs", "rgs") is None


def test_the_fold_is_part_of_the_pair():
    rows = [result("rgs", 0, 1, "a", 0.5), result("equal", 0, 2, "a", 0.5)]
    with pytest.raises(UserError, match="equal has no result for seed 0, fold 1, scan a, which"):
        difference(rows, "rgs", "equal")


def test_one_scan_of_two_patients_is_refused():
    rows = [result("rgs", 0, 1, "a", 0.5, patient="x"), result("equal", 0, 1, "a", 0.5)]
    with pytest.raises(UserError, match="is of patient x for rgs and of a for equal"):
        difference(rows, "rgs", "equal")


@settings(deadline=None, max_examples=60)
@given(rows=two_methods())
def test_antisymmetric(rows):
    there, back = difference(rows, "a", "b"), difference(rows, "b", "a")
    assert there.per_seed == pytest.approx([-d for d in back.per_seed])
    assert (there.mean, there.patient_mean) == pytest.approx((-back.mean, -back.patient_mean))
    assert (there.better, there.worse) == (back.worse, back.better)
    assert there.std == pytest.approx(back.std)
    assert there.beyond_seeds == back.beyond_seeds
    if there.interval:
        assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))
    for one, other in ((there.wilcoxon, back.wilcoxon), (there.t_test, back.t_test)):
        assert one == (None if other is None else pytest.approx(other))


@settings(deadline=None, max_examples=60)
@given(rows=two_methods(), order=st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(rows, order):
    shuffled = list(rows)
    order.shuffle(shuffled)
    assert difference(shuffled, "a", "b") == difference(rows, "a", "b")
    assert over_seeds(shuffled, "a", "dice") == over_seeds(rows, "a", "dice")
    assert cell(shuffled, "a", "dice") == cell(rows, "a", "dice")


@settings(deadline=None, max_examples=60)
@given(rows=two_methods())
def test_what_belongs_together(rows):
    found = difference(rows, "a", "b")
    a, b = over_seeds(rows, "a", "dice"), over_seeds(rows, "b", "dice")
    assert found.per_seed == pytest.approx([a.means[s] - b.means[s] for s in a.means])
    assert found.mean == pytest.approx(a.mean - b.mean, abs=1e-9)
    assert found.better + found.worse <= found.patients
    assert (found.interval is None) == (found.patients < 6)
    assert (found.beyond_seeds is None) == (found.seeds < 3)
    if found.interval:
        low, high = found.interval
        assert low - 1e-12 <= found.patient_mean <= high + 1e-12
    for p in (found.wilcoxon, found.t_test):
        assert p is None or 0 <= p <= 1
