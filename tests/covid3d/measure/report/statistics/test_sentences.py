import random

from examples.covid3d.measure.report.statistics.paired import difference
from examples.covid3d.measure.report.statistics.sentences import p_text, say
from tests.covid3d.measure.report.measured_rows import results

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
