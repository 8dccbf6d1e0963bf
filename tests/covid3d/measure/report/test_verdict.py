"""The sentences say who won, whoever it is, and what could be chance."""

import dataclasses
from types import SimpleNamespace

import pytest

from examples.covid3d.measure.report.headline import headline
from examples.covid3d.measure.report.results import LABELS
from examples.covid3d.measure.report.verdict import verdict
from examples.covid3d.methods.rows import ROWS


def results(values, seeds=("0",), weights=None, truth=None):
    """Methods with a Dice for each scan under each seed; weights by method and unlabelled scan."""
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
    samples = {
        method: [
            {"seed": seed, "fold": "1", "scan": scan, "step": "0", "weight": str(weight)}
            for seed in seeds
            for scan, weight in by_scan.items()
        ]
        for method, by_scan in (weights or {}).items()
    }
    pseudo = [
        {"seed": seed, "fold": "1", "scan": scan, "dice": str(dice)}
        for seed in seeds
        for scan, dice in (truth or {}).items()
    ]
    return SimpleNamespace(
        metrics=rows,
        methods=list(values),
        pseudo_labels=pseudo,
        samples=lambda method: samples.get(method, []),
    )


def said(*args, **more):
    found = results(*args, **more)
    return verdict(found, headline(found))


THREE = ("0", "1", "2")
TRUTH = {f"u{i}": (0.9 if i < 4 else 0.1) for i in range(8)}
RIGHT = {scan: 0.4 if dice > 0.5 else 0.1 for scan, dice in TRUTH.items()}
WRONG = {scan: 0.5 - weight for scan, weight in RIGHT.items()}
BLIND = {scan: 0.1 + 0.1 * (int(scan[1:]) % 4) for scan in TRUTH}


@pytest.mark.parametrize(
    ("weights", "ours", "answer"),
    [
        (RIGHT, 0.7, "RGS&M+AL trusted the right scans, and it helped: Dice +0.100"),
        (RIGHT, 0.5, "RGS&M+AL trusted the right scans, but it did worse: Dice −0.100"),
        (RIGHT, 0.6, "RGS&M+AL trusted the right scans, but no gain is shown: Dice +0.000"),
        (WRONG, 0.6, "RGS&M+AL trusted the wrong scans, and no gain is shown"),
        (WRONG, 0.7, "RGS&M+AL trusted the wrong scans, but it helped"),
        (BLIND, 0.6, "RGS&M+AL is not shown to tell good pseudo-labels from bad ones, and no"),
    ],
)
def test_the_answer_goes_with_the_numbers_whatever_they_are(weights, ours, answer):
    values = {"equal": [0.6] * 8, "rgsm-al": [ours] * 8}
    found = said(values, THREE, {"rgsm-al": weights}, TRUTH)
    assert found.answer.startswith(answer)
    assert [question for question, _ in found.facts] == [
        "Who was trusted?", "Were they right?", "Did it help?",
    ]  # fmt: skip


def test_right_or_not_is_told_by_pairs_and_by_ranks():
    values = {"equal": [0.6] * 8, "rgsm-al": [0.7] * 8}
    facts = dict(said(values, THREE, {"rgsm-al": RIGHT}, TRUTH).facts)
    assert (
        "100% of the pairs (AUROC 1.00; all or nothing, which chance does with p = 0.029)"
        in (facts["Were they right?"])
    )
    assert (
        "u0 (1.60 times the average weight, true Dice of its label 0.90)"
        in (facts["Who was trusted?"])
    )


def test_three_pairs_of_scans_are_too_few_to_call_it_trust():
    truth = {"u0": 0.9, "u1": 0.8, "u2": 0.1}
    weights = {"u0": 0.5, "u1": 0.4, "u2": 0.1}
    values = {"equal": [0.6] * 8, "rgsm-al": [0.7] * 8}
    found = said(values, THREE, {"rgsm-al": weights}, truth)
    assert found.answer.startswith("RGS&M+AL is not shown to tell good pseudo-labels from bad ones")


def test_where_nobody_knows_the_truth_it_is_not_judged():
    found = said({"equal": [0.6] * 8, "rgsm-al": [0.7] * 8}, THREE, {"rgsm-al": RIGHT})
    assert found.answer.startswith("RGS&M+AL helped: Dice +0.100")
    assert "nobody knows" in dict(found.facts)["Were they right?"]


def test_one_seed_helps_in_one_training_and_few_patients_tell_nothing():
    one = said({"equal": [0.6] * 8, "rgsm-al": [0.7] * 8})
    assert one.answer.startswith("RGS&M+AL helped in this one training: Dice +0.100")
    assert "what training again would change is not known" in one.facts[-1][1]
    few = said({"equal": [0.6] * 5, "rgsm-al": [0.7] * 5}, THREE)
    assert few.answer.startswith("Whether RGS&M+AL helped cannot be told from so few patients")


def test_what_changes_from_seed_to_seed_is_no_gain():
    found = results({"equal": [0.6] * 8, "rgsm-al": [0.6] * 8}, THREE)
    for row in found.metrics:
        if row["method"] == "rgsm-al" and row["seed"] == "0":
            row["dice"] = "0.9"
    answer = verdict(found, headline(found)).answer
    assert answer.startswith("No gain of RGS&M+AL is shown: Dice +0.100")


@pytest.fixture
def oracle(monkeypatch):
    """A row that is told the truth, whether or not the library has one."""
    monkeypatch.setitem(ROWS, "told-all", dataclasses.replace(ROWS["equal"], told=True))
    monkeypatch.setitem(LABELS, "told-all", "Told all")
    return "told-all"


@pytest.mark.parametrize(
    ("best", "told"), [(0.7, "that is 50%"), (0.61, "would itself gain next to nothing")]
)
def test_who_is_told_the_truth_says_what_there_was_to_gain(oracle, best, told):
    values = {"equal": [0.6] * 8, "rgsm-al": [0.65] * 8, oracle: [best] * 8}
    found = said(values, THREE, {"rgsm-al": RIGHT, oracle: RIGHT}, TRUTH)
    assert found.answer.startswith("RGS&M+AL trusted the right scans")
    assert told in found.facts[-1][1]
    assert f"Told all: {best + 0.001:.3f}." in found.facts[-1][1]
    assert "is that of: RGS&M+AL." in found.comparisons[-1]


@pytest.mark.parametrize(
    ("ours", "equal", "winner"),
    [(0.8, 0.6, "RGS&M+AL"), (0.6, 0.8, "Equal weights")],
)
def test_names_the_highest_and_compares_with_each_control(ours, equal, winner):
    values = {"equal": [equal] * 4, "random": [0.5] * 4, "rgsm-al": [ours] * 4}
    sentences = said(values).comparisons
    assert len(sentences) == 3
    assert "Equal weights" in sentences[0]
    assert "Random weights" in sentences[1]
    assert sentences[-1] == f"The highest mean Dice, 0.800, is that of: {winner}."
    assert all("with one seed" in sentence for sentence in sentences[:-1])


def test_whoever_wins_the_difference_has_its_sign():
    up = said({"equal": [0.6] * 4, "rgsm-al": [0.8, 0.81, 0.79, 0.8]})
    down = said({"equal": [0.8] * 4, "rgsm-al": [0.6, 0.61, 0.59, 0.6]})
    assert "Dice +0.200 against Equal weights" in up.answer
    assert "Dice −0.200 against Equal weights" in down.answer
    assert "above" in up.comparisons[0]
    assert "below" in down.comparisons[0]


def test_one_row_alone_is_compared_with_nothing():
    found = said({"rgs": [0.5, 0.7]})
    assert found.answer == "RGS stands alone: mean Dice 0.600."
    assert found.comparisons == ("The highest mean Dice, 0.600, is that of: RGS.",)


def test_rows_tested_on_other_scans_are_not_compared():
    found = said({"equal": [0.6] * 4, "rgsm-al": [0.8] * 3})
    # 0.8 is the higher mean, but of fewer, perhaps easier, scans.
    assert found.comparisons == ("The highest mean Dice, 0.600, is that of: Equal weights.",)
    assert found.answer.startswith("RGS&M+AL stands alone")


def test_several_seeds_are_spoken_of():
    sentence = said({"equal": [0.6] * 4, "rgsm-al": [0.8] * 4}, THREE).comparisons[0]
    assert "one seed" not in sentence
    assert "seeds" in sentence
