import pytest

from examples.covid3d.report.summary import summarise, verdict, weight_quality


def metric(method, scan, dice, expert_ml=1.0, missed=0, false_alarm=0):
    return {
        "method": method,
        "scan": scan,
        "dice": str(dice),
        "hd_mm": "10",
        "hd95_mm": "5",
        "missed": str(missed),
        "false_alarm": str(false_alarm),
        "expert_ml": str(expert_ml),
    }


def metrics(ours, equal, teacher=(0.5, 0.5, 0.5)):
    columns = {"teacher": teacher, "equal": equal, "rgsm_al": ours}
    return [metric(name, str(i), d) for name, dices in columns.items() for i, d in enumerate(dices)]


def sample(step, weight, dice, similarity=0.0):
    return {
        "step": str(step),
        "weight": str(weight),
        "pseudo_dice": str(dice),
        "gradient_similarity": str(similarity),
    }


def test_means_deviations_and_counts():
    rows = [
        metric("teacher", "a", 0.2),
        metric("teacher", "b", 0.6, missed=1),
        metric("teacher", "c", 0.7, expert_ml=0.0, false_alarm=1),
    ]
    (summary,) = summarise(rows)
    assert summary.dice == pytest.approx((0.5, 0.2645751))
    assert (summary.scans, summary.with_lesion) == (3, 2)
    assert (summary.missed, summary.false_alarms) == (1, 1)


@pytest.mark.parametrize(
    ("ours", "equal", "said"),
    [
        ((0.80, 0.81, 0.79), (0.6, 0.6, 0.6), "above equal weights"),
        ((0.60, 0.61, 0.59), (0.8, 0.8, 0.8), "below equal weights"),
        ((0.6, 0.6, 0.6), (0.6, 0.6, 0.603), "came out level"),
    ],
)
def test_verdict_says_who_won_whoever_it_is(ours, equal, said):
    rows = metrics(ours, equal)
    assert said in verdict(summarise(rows), rows)


def test_verdict_names_the_best_and_owns_up_to_chance():
    rows = metrics((0.9, 0.1, 0.5), (0.4, 0.5, 0.5), teacher=(0.7, 0.7, 0.7))
    text = verdict(summarise(rows), rows)
    assert text.endswith("Teacher. So few scans can differ as much by chance alone.")
    assert "by more than 0.005 on 1 of 3 scans and against it on 1" in text
    clear = metrics((0.80, 0.81, 0.79), (0.6, 0.6, 0.6))
    assert "chance" not in verdict(summarise(clear), clear)


def test_weight_on_good_pseudo_labels():
    rows = [
        sample(0, 0.75, 0.9, 2),
        sample(0, 0.25, 0.1, 1),
        sample(1, 0, 0.9, 1),
        sample(1, 0, 0, 2),
    ]
    quality = weight_quality("rgsm_al", rows)
    assert quality is not None
    assert quality.good_samples == 0.5
    assert quality.good_weight == 0.75
    assert quality.kept == 0.5
    assert quality.empty_steps == 1
    # Right in step 0; in step 1 both weights are zero, and the similarity is wrong.
    assert quality.concordance == {"weight": 0.75, "gradient_similarity": 0.5}


def test_no_judgement_where_the_truth_is_unknown():
    assert weight_quality("rgsm_al", [sample(0, 0.5, "")]) is None
