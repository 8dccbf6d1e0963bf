"""The row that is told the truth: only where there is one, and then by nothing but weights."""

import dataclasses

import numpy as np
import pytest
import torch

from examples.covid3d.common.errors import UserError
from examples.covid3d.measure.evaluate import judge_pseudo_labels
from examples.covid3d.measure.report.weights import GOOD
from examples.covid3d.methods.rows import ROWS, told
from examples.covid3d.run.pipeline import run_stages
from examples.covid3d.run.truth import check_truth
from examples.covid3d.scans.splits import plan
from examples.covid3d.scans.store import stored_with_mask, write_labels
from tests.covid3d.entries import cohort
from tests.covid3d.running import hide_masks, nnunet, small


@pytest.mark.parametrize("methods", [("oracle",), ("supervised", "oracle")])
def test_unlabelled_scans_without_a_mask_are_refused(methods):
    config = small(methods=methods, shares=(2, 2, 2, 2))
    known, unknown = cohort(8), cohort(8, unlabelled=3)
    check_truth(config, known, plan(known, config))
    with pytest.raises(UserError, match=r"oracle: 3 of 3 unlabelled scans .*u0, u1, u2") as error:
        check_truth(config, unknown, plan(unknown, config))
    assert "leave oracle out of --methods" in str(error.value)
    others = dataclasses.replace(config, methods=("supervised", "equal-trusted"))
    check_truth(others, unknown, plan(unknown, others))


def test_nothing_is_trained_before_it_is_refused(tmp_path):
    data = hide_masks(nnunet(tmp_path / "data", 6), "case04", "case05")
    config = small(data=str(data), kind="nnunet", methods=("supervised", "oracle"))
    with pytest.raises(UserError, match="2 of 2 unlabelled scans"):
        run_stages(tmp_path / "run", config)
    assert not (tmp_path / "run" / "teacher").exists()


def test_what_is_told_is_what_the_report_says(taught, tmp_path):
    (replicate,) = taught.replicates()
    quality = taught.lesson(replicate, tmp_path).true_quality()
    judged = {row["scan"]: row["dice"] for row in judge_pseudo_labels(taught, replicate)}
    assert quality == judged
    assert set(quality) == set(replicate.roles["unlabelled"])


def test_good_labels_alone_have_weight(taught, tmp_path):
    (replicate,) = taught.replicates()
    names = replicate.roles["unlabelled"]
    labels = tmp_path / "labels"
    for number, name in enumerate(names):
        scan = stored_with_mask(taught.prepared, name)
        # The first is right, the others are the contrary of the truth.
        write_labels(labels / name, np.asarray(scan.mask if number == 0 else 1 - scan.mask))
    lesson = dataclasses.replace(
        taught.lesson(replicate, tmp_path),
        labels=labels,
        true_quality=lambda: {name: float(number == 0) for number, name in enumerate(names)},
    )
    torch.manual_seed(0)
    recipe = ROWS["oracle"].recipe(lesson, lesson.initial_network())
    weights = {name: set() for name in names}
    for step in range(6):
        outcome = recipe(step)
        kept = [sample["scan"] for sample in outcome.samples if sample["weight"] > 0]
        for sample in outcome.samples:
            weights[sample["scan"]].add(sample["weight"])
        # With none that is good the trusted batch alone is trained on.
        assert outcome.update
        assert set(kept) <= {names[0]}
    assert max(weights[names[0]]) == pytest.approx(1)
    assert set().union(*(weights[name] for name in names[1:])) == {0}
    assert told.GOOD == GOOD
