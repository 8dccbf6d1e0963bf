"""The panels of the page draw what the numbers are, and say it."""

import re

import pytest

from examples.covid3d.measure.report.figures.distributions import distribution_panel
from examples.covid3d.measure.report.figures.trusted import gain_panel, trust_panel
from examples.covid3d.measure.report.figures.volumes import agreement, volume_panels
from examples.covid3d.measure.report.figures.weighing import quality_panel, time_panel
from examples.covid3d.measure.report.trust import ScanTrust
from tests.covid3d.measure.report.measured_rows import LABELS, result, results


def dots(panel, kind):
    return re.findall(rf'<circle [^>]*class="{kind}"><title>(.*?)</title>', panel)


def test_every_test_scan_is_a_dot_once_however_many_seeds():
    rows = results("rgs", [(0.2, 0.4, 0.6), (0.4, 0.6, 0.8)])
    panel = distribution_panel(rows, ["rgs"], "dice", "rgs", LABELS)
    assert sorted(dots(panel, "hot")) == ["s0: 0.300", "s1: 0.500", "s2: 0.700"]
    assert "RGS: median 0.500" in panel


def test_penalties_are_not_drawn_as_distances_but_counted():
    rows = [result("rgs", 0, 1, "a", 0.5, hd95_mm=7), result("equal", 0, 1, "a", 0, missed=1)]
    rows += [result("rgs", 0, 1, "b", 0, hd95_mm=460, false_alarm=1, expert_ml=0)]
    panel = distribution_panel(rows, ["rgs", "equal"], "hd95_mm", "rgs", LABELS)
    assert dots(panel, "hot") == ["a: 7.00"]
    assert "RGS: median 7.00, 1 empty; Equal: none, 1 empty" in panel
    assert distribution_panel(rows, ["equal"], "hd95_mm", "equal", LABELS) == ""


def test_bland_and_altman_by_hand():
    rows = [
        result("rgs", 0, 1, scan, 0.5, predicted_ml=predicted, expert_ml=expert)
        for scan, predicted, expert in (("a", 12, 10), ("b", 20, 20), ("c", 26, 30))
    ]
    found = agreement(rows, "rgs")
    assert found.differences == pytest.approx((2, 0, -4))
    assert found.means == pytest.approx((11, 20, 28))
    assert found.bias == pytest.approx(-2 / 3)
    half = 1.96 * (28 / 3) ** 0.5
    assert found.limits == pytest.approx((-2 / 3 - half, -2 / 3 + half))
    (panel,) = volume_panels(rows, ["rgs"], "rgs", LABELS)
    assert "Bias −0.7 ml; limits of agreement −6.7 to +5.3 ml." in panel
    assert len(dots(panel, "hot")) == 3


def test_two_scans_have_no_limits_of_agreement():
    assert agreement(results("rgs", [(0.1, 0.2)]), "rgs").limits is None
    assert volume_panels(results("rgs", [(0.1,)]), ["rgs"], "rgs", LABELS)


def test_whom_one_trusts_is_good_or_bad_by_the_truth():
    trusts = [
        ScanTrust(("0", "1"), "a", 1.5, 0.9),
        ScanTrust(("0", "1"), "b", 0.5, 0.2),
        ScanTrust(("0", "1"), "c", 1.0, None),
    ]
    panel = trust_panel(trusts, "RGS")
    assert dots(panel, "good") == ["a: true Dice 0.90, weight 1.50"]
    assert dots(panel, "bad") == ["b: true Dice 0.20, weight 0.50"]
    assert trust_panel(trusts[2:], "RGS") == ""


def test_a_hospital_of_scans_is_a_cloud_and_takes_little_room():
    trusts = [ScanTrust(("0", "1"), f"s{i}", 1 + i % 7 / 10, i % 11 / 10) for i in range(3000)]
    panel = trust_panel(trusts, "RGS")
    assert len(panel) < 45_000
    assert panel.count("h0") == 3000
    assert "<circle" not in panel


def test_the_gain_is_drawn_with_its_interval_where_there_is_one():
    rows = results("rgs", [[0.6] * 4 + [0.7] * 4]) + results("equal", [[0.5] * 8])
    panel = gain_panel(rows, ("equal", "rgs"), "equal", "rgs", LABELS)
    assert panel.count('class="rangehot"') == 1
    assert "RGS: mean Dice 0.650, +0.150 against the control (95 % interval +0.1" in panel
    few = results("rgs", [[0.6] * 3]) + results("equal", [[0.5] * 3])
    panel = gain_panel(few, ("equal", "rgs"), "equal", "rgs", LABELS)
    assert "rangehot" not in panel
    assert "too few for an interval" in panel


def sample(step, weight, dice):
    return {"step": str(step), "weight": str(weight), "pseudo_dice": str(dice)}


def test_weight_by_quality_and_over_time_in_units_of_the_average():
    samples = [sample(0, 0.2, 0.9), sample(0, 0.2, 0.1), sample(9, 0.3, 0.9), sample(9, 0.1, 0.1)]
    assert "Dice 0 to 0.2: weight 0.75, 2 patches; Dice 0.8 to 1: weight 1.25" in (
        quality_panel(samples)
    )
    assert "good patches from 1.00 to 1.50; bad patches from 1.00 to 0.50" in time_panel(samples)


@pytest.mark.parametrize("samples", [[], [sample(0, 0.5, "")], [sample(0, 0, 0.5)]])
def test_where_nothing_is_known_nothing_is_drawn(samples):
    assert quality_panel(samples) == time_panel(samples) == ""
