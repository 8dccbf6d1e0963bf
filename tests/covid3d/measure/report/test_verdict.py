"""The sentences say who won, whoever it is, and what could be chance."""

from types import SimpleNamespace

import pytest

from examples.covid3d.measure.report.verdict import verdict


def results(values, seeds=("0",)):
    """Methods with one Dice for each of four scans under each seed."""
    rows = [
        {
            "seed": seed, "fold": "1", "method": method, "scan": f"s{i}", "patient": f"p{i}",
            "source": "x", "dice": str(dice + 0.001 * int(seed)), "hd_mm": "1", "hd95_mm": "1",
            "nsd": "1", "missed": "0", "false_alarm": "0", "expert_ml": "1", "predicted_ml": "1",
        }
        for method, dices in values.items()
        for seed in seeds
        for i, dice in enumerate(dices)
    ]  # fmt: skip
    return SimpleNamespace(metrics=rows, methods=list(values))


@pytest.mark.parametrize(
    ("ours", "equal", "winner"),
    [(0.8, 0.6, "RGS&M+AL"), (0.6, 0.8, "Equal weights")],
)
def test_names_the_highest_and_compares_with_each_control(ours, equal, winner):
    values = {"equal": [equal] * 4, "random": [0.5] * 4, "rgsm-al": [ours] * 4}
    sentences = verdict(results(values))
    assert len(sentences) == 3
    assert "Equal weights" in sentences[0]
    assert "Random weights" in sentences[1]
    assert sentences[-1] == f"The highest mean Dice, 0.800, is that of: {winner}."
    assert all("with one seed" in sentence for sentence in sentences[:-1])


def test_whoever_wins_the_difference_has_its_sign():
    up = verdict(results({"equal": [0.6] * 4, "rgsm-al": [0.8, 0.81, 0.79, 0.8]}))[0]
    down = verdict(results({"equal": [0.8] * 4, "rgsm-al": [0.6, 0.61, 0.59, 0.6]}))[0]
    assert up != down
    assert "0.200" in up
    assert "0.200" in down


def test_one_row_alone_is_compared_with_nothing():
    (sentence,) = verdict(results({"rgs": [0.5, 0.7]}))
    assert sentence == "The highest mean Dice, 0.600, is that of: RGS."


def test_rows_tested_on_other_scans_are_not_compared():
    values = {"equal": [0.6] * 4, "rgsm-al": [0.8] * 3}
    (sentence,) = verdict(results(values))
    # 0.8 is the higher mean, but of fewer, perhaps easier, scans.
    assert sentence == "The highest mean Dice, 0.600, is that of: Equal weights."


def test_several_seeds_are_spoken_of():
    values = {"equal": [0.6] * 4, "rgsm-al": [0.8] * 4}
    sentence = verdict(results(values, seeds=("0", "1", "2")))[0]
    assert "one seed" not in sentence
    assert "seeds" in sentence
