import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from examples.covid3d.common.errors import UserError
from examples.covid3d.measure.report.statistics import (
    cell,
    difference,
    holm,
    over_seeds,
    p_text,
    rows_of,
    say,
    unpaired,
)


def result(method, seed, fold, scan, dice, **more):
    row = {"seed": seed, "fold": fold, "method": method, "scan": scan, "patient": scan}
    row |= {"source": "benchmark", "dice": dice, "hd_mm": 10, "hd95_mm": 5, "nsd": 0.5}
    row |= {"missed": 0, "false_alarm": 0, "expert_ml": 1.0, "predicted_ml": 1.0}
    return {key: str(value) for key, value in (row | more).items()}


def results(method, by_seed, metric="dice", patients=None):
    """Rows of one method: for each seed, a value per scan; two folds in turn."""
    rows = []
    for seed, values in enumerate(by_seed):
        for index, value in enumerate(values):
            patient = f"p{index}" if patients is None else patients[index]
            row = result(method, seed, 1 + index % 2, f"s{index}", 0.5, patient=patient)
            rows.append(row | {metric: repr(float(value))})
    return rows


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


def test_bad_rows_are_refused():
    row = result("rgs", 0, 1, "a", 0.5)
    with pytest.raises(UserError, match="two results of rgs for seed 0, fold 1, scan a"):
        rows_of([row, row], "rgs")
    with pytest.raises(UserError, match="no result of equal"):
        rows_of([row], "equal")
    for bad in ("", "nan", "inf", "high"):
        with pytest.raises(UserError, match="dice of rgs is"):
            cell([row | {"dice": bad}], "rgs", "dice")
    with pytest.raises(UserError, match="nsd of rgs is None"):
        cell([{k: v for k, v in row.items() if k != "nsd"}], "rgs", "nsd")


dice = st.floats(0, 1).map(lambda value: round(value, 3))


@st.composite
def two_methods(draw):
    seeds, scans = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    table = st.lists(st.lists(dice, min_size=scans, max_size=scans), min_size=seeds, max_size=seeds)
    patients = [f"p{draw(st.integers(0, scans))}" for _ in range(scans)]
    return [row for method in ("a", "b") for row in results(method, draw(table), patients=patients)]


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


NAMES = {"rgs": "RGS", "equal": "equal weights"}


def told(by_seed, metric="dice", base=0.5):
    rows = results("rgs", by_seed, metric)
    rows += results("equal", [[base] * len(values) for values in by_seed], metric)
    return say(difference(rows, "rgs", "equal", metric), NAMES)


def test_say_who_won_by_how_much_and_how_sure():
    gains = [0.6, 0.61, 0.62, 0.63, 0.64, 0.65, 0.66, 0.4]
    assert told([gains, [g + 0.01 for g in gains], [g - 0.01 for g in gains]]) == (
        "RGS is above equal weights in Dice by 0.101, over 3 seeds, more than the spread between "
        "seeds (0.010); over 8 patients p = 0.023 (Wilcoxon signed-rank test; better for 7, worse "
        "for 1)."
    )


def test_say_so_if_it_lost_and_if_seeds_disagree():
    text = told([[0.3] * 5, [0.65] * 5, [0.4] * 5])
    assert text == (
        "RGS is below equal weights in Dice by 0.050, over 3 seeds, no more than the spread "
        "between seeds (0.180), so that other seeds may say otherwise; 5 patients are too few for "
        "a test."
    )


def test_say_what_one_seed_cannot_tell():
    text = told([[9.0]], "hd_mm", 10.0)
    assert text == (
        "RGS is below equal weights in HD by 1.00 mm (lower is better), with one seed, too few to "
        "tell it from the spread between seeds; one patient is too few for a test."
    )


def test_say_level_where_the_digits_are_zero():
    text = told([[0.5] * 8] * 2)
    assert text.startswith("RGS and equal weights are level in Dice (less than 0.001 apart)")
    assert "with 2 seeds, too few" in text
    assert text.endswith("; it is zero for every one of 8 patients.")


def test_p_in_print():
    assert [p_text(p) for p in (None, 0.0004, 0.0316, 1.0)] == ["–", "< 0.001", "0.032", "1.000"]
    rng = random.Random(0)
    text = told([[0.9 + rng.random() / 100 for _ in range(20)]])
    assert "over 20 patients p < 0.001 (" in text
