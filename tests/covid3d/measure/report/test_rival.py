"""nnU-Net has its sentence wherever it was imported, and only of tests that it has taken."""

import dataclasses

import pytest

from examples.covid3d.measure.report.results import LABELS
from examples.covid3d.measure.report.rival import beside_nnunet
from examples.covid3d.methods.rows import ROWS


def measured(**values):
    """Rows by method: Dice by (seed, patient)."""
    return [
        {
            "seed": str(seed), "fold": "1", "method": method.replace("_", "-"), "scan": patient,
            "patient": patient, "dice": str(dice), "expert_ml": "1", "missed": "0",
            "false_alarm": "0",
        }
        for method, own in values.items()
        for (seed, patient), dice in own.items()
    ]  # fmt: skip


def every(dice, seeds=(0,), patients=6):
    return {(seed, f"p{i}"): dice + i / 1000 for seed in seeds for i in range(patients)}


def sentences(**values):
    return beside_nnunet(measured(**values), [name.replace("_", "-") for name in values], LABELS)


@pytest.mark.parametrize(("theirs", "word"), [(0.9, "above"), (0.5, "below")])
def test_it_is_compared_with_the_row_of_the_same_scans_and_with_the_highest(theirs, word):
    same, highest = sentences(
        equal=every(0.6), supervised_all=every(0.7), best=every(0.8), nnunet=every(theirs)
    )
    assert same.startswith(f"{LABELS['nnunet']} is {word} {LABELS['supervised-all']} in Dice")
    assert f"{word} {LABELS['best']} in Dice by {abs(theirs - 0.8):.3f}" in highest
    assert "imported for" not in same


def test_of_several_seeds_and_patients_only_its_own_tests_count():
    # Under seed 1, and for p5, the other row is much better: nnU-Net was not there.
    other = every(0.6, (0, 1)) | {(1, "p0"): 1.0, (0, "p5"): 1.0}
    (sentence,) = sentences(equal=other, nnunet=every(0.7, patients=5))
    assert f"above {LABELS['equal']} in Dice by 0.100" in sentence
    assert sentence.endswith("(on the 5 of 12 tests that nnU-Net was imported for).")


def test_the_row_that_is_told_the_truth_is_no_rival(monkeypatch):
    monkeypatch.setitem(ROWS, "told", dataclasses.replace(ROWS["equal"], told=True))
    (sentence,) = sentences(equal=every(0.6), told=every(0.9), nnunet=every(0.7))
    assert LABELS["equal"] in sentence


def test_where_it_was_not_imported_or_stands_alone_there_is_none():
    assert sentences(equal=every(0.6)) == []
    assert sentences(nnunet=every(0.6)) == []
    assert sentences(nnunet=every(0.6), equal=every(0.6, patients=3)) == []
