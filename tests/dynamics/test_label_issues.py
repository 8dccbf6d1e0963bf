"""The table of labels, and how many of them are called wrong."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pytest
import torch
from torch import nn

from reweight import MetaReweighter, TrainingDynamics, Uniform
from reweight.dynamics.split import split
from tests.dynamics.steps import Step

CLASSES, SAMPLES = 5, 600


def noisy(share, seed=0):
    """Five clouds of points, some of them under another's name."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(SAMPLES) % CLASSES
    x = torch.randn(SAMPLES, 8, generator=generator)
    x[torch.arange(SAMPLES), truth] += 3.5
    labels, wrong = truth.clone(), torch.randperm(SAMPLES, generator=generator)
    wrong = wrong[: round(share * SAMPLES)]
    shift = torch.randint(1, CLASSES, (len(wrong),), generator=generator)
    labels[wrong] = (truth[wrong] + shift) % CLASSES
    return x, labels, truth


def trained(share, epochs=6, by_losses=False, num_samples=SAMPLES):
    x, labels, truth = noisy(share)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, CLASSES))
    loss = nn.CrossEntropyLoss(reduction="none")
    dynamics = TrainingDynamics(num_samples)
    how = {"forward": lambda m, b: loss(m(b[0]), b[1])} if by_losses else {"loss": loss}
    reweighter = MetaReweighter(model, **how, scorer=Uniform(), dynamics=dynamics)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    generator = torch.Generator().manual_seed(1)
    for _ in range(epochs):
        for ids in torch.randperm(SAMPLES, generator=generator).split(50):
            reweighter((x[ids], labels[ids]), ids=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    return dynamics, labels, truth


@pytest.fixture(autouse=True)
def _on_the_cpu():
    before = torch.get_default_device()
    torch.set_default_device("cpu")
    yield
    torch.set_default_device(before)


@pytest.mark.parametrize("by_losses", [False, True])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_about_as_many_are_issues_as_are_wrong_and_most_of_these_are(share, by_losses):
    dynamics, labels, truth = trained(share, by_losses=by_losses)
    issues = dynamics.find_label_issues(labels)
    wrong = (labels != truth)[issues.id]
    assert 0.75 <= issues.num_issues / int(wrong.sum()) <= 1.25
    assert int((wrong & issues.is_label_issue).sum()) >= 0.85 * issues.num_issues
    if not by_losses:
        right = (issues.suggested_label == truth[issues.id])[wrong]
        assert float(right.float().mean()) >= 0.75


@pytest.mark.parametrize(("epochs", "few"), [(2, 0.05), (6, 0.02), (20, 0.02)])
def test_where_all_labels_are_right_few_are_issues(epochs, few):
    dynamics, labels, _ = trained(0.0, epochs=epochs)
    assert dynamics.find_label_issues(labels).num_issues <= few * SAMPLES


def test_the_order_is_by_quality_and_one_half_parts_issues_from_the_rest():
    dynamics, *_ = trained(0.3, epochs=3)
    issues = dynamics.find_label_issues()
    quality = issues.label_quality
    assert (quality[1:] >= quality[:-1]).all()
    assert ((quality >= 0) & (quality <= 1)).all()
    assert ((quality < 0.5) == issues.is_label_issue).all()
    assert sorted(issues.id.tolist()) == list(range(SAMPLES))
    ratio = issues.parts["given_probability"] / (
        issues.parts["given_probability"] + issues.parts["other_probability"]
    )
    assert (ratio[1:] >= ratio[:-1]).all()
    flagged = issues.is_label_issue
    assert (issues.suggested_label != issues.given_label)[flagged].all()


def test_ids_that_were_never_seen_come_last_and_are_no_issue():
    dynamics, *_ = trained(0.2, epochs=2, num_samples=SAMPLES + 3)
    issues = dynamics.find_label_issues()
    last = issues[-3:]
    assert sorted(last.id.tolist()) == [SAMPLES, SAMPLES + 1, SAMPLES + 2]
    assert last.label_quality.isnan().all()
    assert not last.is_label_issue.any()
    assert issues.num_unseen == 3
    assert last.parts["times_seen"].tolist() == [0, 0, 0]


def table():
    dynamics = TrainingDynamics(3)
    logits = torch.tensor([[4.0, 0.0, 0.0], [5.0, 0.0, 1.0], [0.0, 0.0, 6.0]])
    step = Step(torch.arange(3), torch.ones(3), torch.ones(3), logits, torch.tensor([0, 1, 2]))
    dynamics.learn(step.context(), step.weights)
    return dynamics


@pytest.mark.parametrize("make", [list, tuple, np.array, torch.tensor])
def test_labels_may_be_a_list_an_array_a_tensor_or_left_out(make):
    dynamics = table()
    given = dynamics.find_label_issues(make([0, 1, 2]))
    remembered = dynamics.find_label_issues()
    for name, values in given.columns().items():
        torch.testing.assert_close(values, remembered.columns()[name], equal_nan=True)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0, 1], ValueError, "one an id"),
        ([0.0, 1.0, 2.0], TypeError, "integers"),
        ("abc", TypeError, "integers"),
        ([0, 1, 1], ValueError, "the first is id 2: 1 here, 2 in"),
    ],
)
def test_labels_that_are_none_or_others_than_those_trained_on_are_refused(labels, error, message):
    with pytest.raises(error, match=message):
        table().find_label_issues(labels)


def test_names_must_be_one_a_class():
    with pytest.raises(ValueError, match="class 2"):
        table().find_label_issues(class_names=["a", "b"])


def test_before_a_step_there_is_nothing_to_say():
    with pytest.raises(ValueError, match="nothing was learnt yet"):
        TrainingDynamics(3).find_label_issues()


def test_rows_are_records_and_a_head_prints_them():
    issues = table().find_label_issues(class_names=["cat", "dog", "<cow>"])
    assert len(issues) == 3
    rows = list(issues)
    assert rows[0].id == 1
    assert rows[0].given_label == 1
    assert rows[0].suggested_label == 0
    assert rows[0].is_label_issue is True
    assert rows[0].parts["times_seen"] == 1
    text = repr(issues.head(1)).splitlines()
    assert text[0].split()[:3] == ["id", "given_label", "suggested_label"]
    assert text[1].split()[:5] == ["1", "dog", "cat", "0.007", "yes"]
    assert len(text) == 3
    html = issues._repr_html_()
    assert "&lt;cow&gt;" in html
    assert "<cow>" not in html


def test_a_csv_holds_every_column_and_replaces_a_file_whole(tmp_path):
    issues = table().find_label_issues()
    path = tmp_path / "new" / "issues.csv"
    assert issues.to_csv(path) == path
    issues.to_csv(str(path))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == issues.id.tolist()
    assert list(rows[0]) == list(issues.columns())
    assert rows[0]["similarity"] == ""  # no scorer had a sign
    assert float(rows[0]["label_quality"]) == pytest.approx(float(issues.label_quality[0]))
    assert [entry.name for entry in path.parent.iterdir()] == ["issues.csv"]


def test_pandas_is_asked_for_by_name_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        table().find_label_issues().to_pandas()


def test_a_data_frame_has_the_columns_and_is_indexed_by_id():
    pytest.importorskip("pandas")
    issues = table().find_label_issues()
    frame = issues.to_pandas()
    assert frame.index.tolist() == issues.id.tolist()
    assert list(frame.columns) == [name for name in issues.columns() if name != "id"]
    assert frame["label_quality"].tolist() == issues.label_quality.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_the_split_is_the_best_of_all(seed):
    values = torch.randn(40, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values[:15] += 4 * (seed % 3)
    cut, share = split(values)
    numbers = sorted(values.tolist())

    def between(count):
        low, high = numbers[:count], numbers[count:]
        parts = (sum(low) / len(low), sum(high) / len(high))
        return len(low) * len(high) / len(numbers) ** 2 * (parts[0] - parts[1]) ** 2

    best = max(range(1, 40), key=between)
    assert cut == pytest.approx(numbers[best - 1])
    assert share == pytest.approx(between(best) / float(values.var(unbiased=False)))


def test_equal_numbers_are_not_split():
    assert split(torch.ones(5))[0] == float("-inf")
    assert split(torch.ones(1))[0] == float("-inf")
    assert split(torch.tensor([0.0, 0.0, 1.0, 1.0])) == (0.0, 1.0)
