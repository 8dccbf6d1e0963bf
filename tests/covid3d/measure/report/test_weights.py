import pytest

from examples.covid3d.measure.report.weights import weight_quality


def sample(step, weight, dice, similarity=0.0, seed=0, fold=1):
    return {
        "seed": str(seed),
        "fold": str(fold),
        "step": str(step),
        "weight": str(weight),
        "pseudo_dice": str(dice),
        "gradient_similarity": str(similarity),
    }


def test_weight_on_good_pseudo_labels():
    rows = [
        sample(0, 0.75, 0.9, 2),
        sample(0, 0.25, 0.1, 1),
        sample(1, 0, 0.9, 1),
        sample(1, 0, 0, 2),
    ]
    quality = weight_quality("rgsm-al", rows)
    assert quality is not None
    assert quality.good_samples == 0.5
    assert quality.good_weight == 0.75
    assert quality.kept == 0.5
    assert quality.empty_steps == 1
    # Right in step 0; in step 1 both weights are zero, and the similarity is wrong.
    assert quality.concordance == {"weight": 0.75, "gradient_similarity": 0.5}


@pytest.mark.parametrize("other", [{"seed": 1}, {"fold": 2}])
def test_steps_of_several_seeds_and_folds_are_not_mixed(other):
    """Each of the two batches is ordered rightly; the samples of both together are not."""
    rows = [
        sample(0, 0.9, 0.4),
        sample(0, 0.1, 0.2),
        sample(0, 0.09, 0.9, **other),
        sample(0, 0.01, 0.7, **other),
    ]
    quality = weight_quality("rgs", rows)
    assert quality is not None
    assert quality.concordance["weight"] == 1.0
    mixed = [row | {"seed": "0", "fold": "1"} for row in rows]
    assert weight_quality("rgs", mixed).concordance["weight"] < 0.5
    # Where one of two batches of the same number kept none, that is one empty step.
    dropped = [sample(0, 0, 0.4), sample(0, 0.5, 0.4, **other)]
    assert weight_quality("rgs", dropped).empty_steps == 1


def test_no_judgement_where_the_truth_is_unknown():
    assert weight_quality("rgsm-al", [sample(0, 0.5, "")]) is None


def test_no_judgement_where_no_weight_was_given():
    assert weight_quality("rgsm-al", [sample(0, 0, 0.5)]) is None
