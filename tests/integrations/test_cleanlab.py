"""Label issues of a training, in cleanlab's Datalab."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("cleanlab", reason="cleanlab is in the extra cleanlab")
pytest.importorskip("datasets", reason="Datalab needs datasets, of cleanlab[datalab]")

from cleanlab import Datalab
from cleanlab.datalab.internal import issue_manager_factory

from reweight import MetaReweighter, TrainingDynamics, Uniform
from reweight.integrations.cleanlab import ReweightIssueManager

ROWS, WRONG, CLASSES = 90, 9, 3
NAMES = ["cat", "dog", "eel"]


def trained(rows: int = ROWS, seen: int | None = None) -> tuple[TrainingDynamics, Any]:
    """Return the dynamics of a training on labels of which the first are wrong, and these."""
    torch.manual_seed(0)
    truth = torch.arange(rows) % CLASSES
    x = torch.randn(rows, 4) + 6 * nn.functional.one_hot(truth, 4)
    given = torch.where(torch.arange(rows) < WRONG, (truth + 1) % CLASSES, truth)
    model = nn.Linear(4, CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    dynamics = TrainingDynamics(rows)
    loss = nn.CrossEntropyLoss(reduction="none")
    reweighter = MetaReweighter(model, loss, scorer=Uniform(), dynamics=dynamics)
    for _ in range(15):
        for ids in torch.randperm(rows if seen is None else seen).split(30):
            optimizer.zero_grad()
            reweighter((x[ids], given[ids]), ids=ids).loss.backward()
            optimizer.step()
    return dynamics, given


@pytest.fixture(scope="module")
def training() -> tuple[TrainingDynamics, Any]:
    return trained()


def lab_of(labels: Any, **data: Any) -> Datalab:
    return Datalab({"label": list(labels), **data}, label_name="label", verbosity=0)


def find(lab: Datalab, **options: Any) -> Datalab:
    lab.find_issues(issue_types={"reweight": options})
    return lab


def test_columns_are_those_of_the_training_in_the_order_of_the_data(training):
    dynamics, given = training
    lab = find(lab_of(given.tolist()), dynamics=dynamics)
    found, issues = lab.get_issues("reweight"), dynamics.find_label_issues()
    assert list(found.columns) == [
        "is_reweight_issue",
        "reweight_score",
        "reweight_given_label",
        "reweight_predicted_label",
    ]
    assert len(found) == ROWS
    order = issues.id.numpy()
    assert (found["reweight_score"].to_numpy()[order] == issues.label_quality.numpy()).all()
    assert (found["is_reweight_issue"].to_numpy()[order] == issues.is_label_issue.numpy()).all()
    predicted = found["reweight_predicted_label"].to_numpy()
    assert (predicted[order] == issues.suggested_label.numpy()).all()
    assert found["reweight_given_label"].tolist() == given.tolist()
    assert (predicted == np.arange(ROWS) % CLASSES).mean() > 0.95
    assert found["is_reweight_issue"][:WRONG].all()
    assert found["is_reweight_issue"].sum() == issues.num_issues < 2 * WRONG
    assert found["reweight_score"].between(0, 1).all()
    worst = found["reweight_score"].nsmallest(WRONG).index
    assert set(worst) == set(range(WRONG))


def test_the_report_shows_them_beside_those_of_cleanlab(training, capsys):
    dynamics, given = training
    lab = Datalab({"label": [NAMES[c] for c in given]}, label_name="label")
    probabilities = dynamics.mean_probabilities.numpy().astype(float)
    lab.find_issues(
        pred_probs=probabilities / probabilities.sum(1, keepdims=True),
        issue_types={"label": {}, "reweight": {"dynamics": dynamics}},
    )
    lab.report(verbosity=4)
    shown = capsys.readouterr().out
    assert "Error" not in shown
    assert "Failed" not in shown
    assert "\n  reweight " in shown.split("Here is a summary")[1].split("Learn about")[0]
    part = shown.split("- reweight issues -")[1]
    number = dynamics.find_label_issues().num_issues
    assert f"Number of examples with this issue: {number}" in part
    assert "did not hold while a model trained on it" in part
    assert "reweight_predicted_label" in part
    assert "dog" in part
    assert "mean_margin" in part
    summary = lab.get_issue_summary()
    assert set(summary["issue_type"]) == {"label", "reweight"}
    assert 0 < lab.get_issue_summary("reweight")["score"][0] < 1


@pytest.mark.filterwarnings("ignore:Overwriting")
def test_names_of_the_data_are_used(training):
    import datasets

    dynamics, given = training
    words = find(lab_of([NAMES[c] for c in given]), dynamics=dynamics).get_issues("reweight")
    assert words["reweight_given_label"].tolist() == [NAMES[c] for c in given]
    other = ["zebra", "ant", "cow"]  # whose order is not that of the alphabet
    features = datasets.Features({"label": datasets.ClassLabel(names=other)})
    data = datasets.Dataset.from_dict({"label": given.tolist()}, features=features)
    lab = find(Datalab(data, label_name="label", verbosity=0), dynamics=dynamics)
    assert lab.get_issues("reweight")["reweight_given_label"].tolist() == [other[c] for c in given]
    lab = lab_of([other[c] for c in given])
    issues = dynamics.find_label_issues(class_names=other)
    for options in ({"dynamics": dynamics, "class_names": other}, {"issues": issues}):
        found = find(lab, **options).get_issues("reweight")
        assert found["reweight_given_label"].tolist() == [other[c] for c in given]
    info = lab.get_info("reweight")
    assert info["predicted_label"].tolist() == found["reweight_predicted_label"].tolist()
    assert info["mean_loss"].shape == (ROWS,)


def test_rows_in_another_order_are_told_by_ids(training):
    dynamics, given = training
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(0))[:50]
    lab = find(lab_of(given[order].tolist()), dynamics=dynamics, ids=order.tolist())
    found = lab.get_issues("reweight")
    whole = find(lab_of(given.tolist()), dynamics=dynamics).get_issues("reweight")
    assert (
        found["reweight_score"].to_numpy() == whole["reweight_score"].to_numpy()[order.numpy()]
    ).all()


def test_rows_that_the_training_never_saw_have_no_score(capsys):
    dynamics, given = trained(seen=80)
    lab = find(lab_of(given.tolist()), dynamics=dynamics)
    found = lab.get_issues("reweight")
    assert found["reweight_score"].isna().tolist() == [False] * 80 + [True] * 10
    assert not found["is_reweight_issue"][80:].any()
    assert lab.get_info("reweight")["num_unseen"] == 10
    assert found["reweight_given_label"][80:].isna().all()
    lab.report(verbosity=1)
    assert "num_unseen: 10" in capsys.readouterr().out


def test_it_works_without_labels_in_the_data_and_for_regression(training):
    dynamics, _ = training
    lab = find(Datalab({"x": list(range(ROWS))}, verbosity=0), dynamics=dynamics)
    assert lab.get_issues("reweight")["is_reweight_issue"].sum() >= WRONG
    values = TrainingDynamics(20)
    model = nn.Linear(1, 1)
    reweighter = MetaReweighter(
        model, nn.MSELoss(reduction="none"), scorer=Uniform(), dynamics=values
    )
    x = torch.linspace(0, 1, 20).unsqueeze(1)
    y = torch.where(torch.arange(20).unsqueeze(1) < 2, x + 50, x)
    reweighter((x, y), ids=torch.arange(20)).loss.backward()
    lab = Datalab({"y": y[:, 0].tolist()}, label_name="y", task="regression", verbosity=0)
    found = find(lab, dynamics=values).get_issues("reweight")
    assert found["is_reweight_issue"].tolist() == [True] * 2 + [False] * 18
    assert found["reweight_predicted_label"].isna().all()


def test_a_saved_lab_has_them_still(training, tmp_path):
    dynamics, given = training
    lab = find(lab_of(given.tolist()), dynamics=dynamics)
    lab.save(str(tmp_path), force=True)
    again = Datalab.load(str(tmp_path))
    assert again.get_issues("reweight").equals(lab.get_issues("reweight"))


def test_what_goes_wrong_is_an_error_and_not_a_line_in_the_output(training):
    dynamics, given = training
    with pytest.raises(TypeError, match='"reweight" needs one of dynamics'):
        find(lab_of(given.tolist()))
    with pytest.raises(TypeError, match="needs one of dynamics"):
        find(lab_of(given.tolist()), dynamics=dynamics, issues=dynamics.find_label_issues())
    with pytest.raises(ValueError, match="80 rows and the training knew 90 ids: give ids="):
        find(lab_of(given[:80].tolist()), dynamics=dynamics)
    with pytest.raises(ValueError, match="knew 90 ids, not 90: give ids="):
        find(lab_of(given.tolist()), dynamics=dynamics, ids=list(range(1, 91)))
    with pytest.raises(ValueError, match=r"row 0 is 0, and was 1 in training. Give ids="):
        find(lab_of((given - 1).remainder(3).tolist()), dynamics=dynamics)
    with pytest.raises(ValueError, match="trained on a class 2, and there are names for 2"):
        find(lab_of(given.tolist()), dynamics=dynamics, class_names=["a", "b"])
    with pytest.raises(ValueError, match="nothing was learnt yet"):
        find(lab_of(given.tolist()), dynamics=TrainingDynamics(ROWS))


def test_the_import_alone_registers_it_for_every_task_without_a_word():
    registry = issue_manager_factory.REGISTRY
    assert [kinds["reweight"] for kinds in registry.values()] == 3 * [ReweightIssueManager]
    code = "import reweight.integrations.cleanlab"
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert ran.stdout == ""
