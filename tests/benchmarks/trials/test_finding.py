from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.errors import UserError
from benchmarks.sets.fashion import Fashion
from benchmarks.trials.cells import Cell, Run
from benchmarks.trials.finding.measures import (
    Found,
    auroc,
    average_precision,
    measure,
    precision_at,
)
from benchmarks.trials.finding.out_of_fold import folds
from benchmarks.trials.finding.plain import PlainTraining, products
from benchmarks.trials.making import make
from tests.benchmarks.trials.made_up import SETTING

FINDS = replace(SETTING, finds=True, epochs=12)


def pairs_auroc(suspicion, wrong):
    """Over all pairs, as it is defined."""
    found = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a in suspicion[wrong]
        for b in suspicion[~wrong]
    ]
    return float(np.mean(found))


@pytest.mark.parametrize("levels", [3, 1000])
def test_measures_are_what_they_are_defined_as(levels):
    stream = torch.Generator().manual_seed(levels)
    suspicion = torch.randint(0, levels, (60,), generator=stream).double()
    wrong = torch.rand(60, generator=stream) < 0.3
    assert auroc(suspicion, wrong) == pytest.approx(pairs_auroc(suspicion, wrong))
    total, hits, recall = 0.0, 0, 0.0
    for level in suspicion.unique().flip(0):
        taken = suspicion >= level
        hits = int(wrong[taken].sum())
        total += (hits / int(wrong.sum()) - recall) * hits / int(taken.sum())
        recall = hits / int(wrong.sum())
    assert average_precision(suspicion, wrong) == pytest.approx(total)
    metrics = pytest.importorskip("sklearn.metrics")
    assert auroc(suspicion, wrong) == pytest.approx(metrics.roc_auc_score(wrong, suspicion))
    expected = metrics.average_precision_score(wrong, suspicion)
    assert average_precision(suspicion, wrong) == pytest.approx(expected)


def test_a_list_by_hand():
    given, truth = torch.tensor([0, 1, 2, 0]), torch.tensor([1, 1, 2, 2])
    found = Found(torch.tensor([0.1, 0.9, 0.3, math.nan]), torch.tensor([1, 1, 2, 1]))
    result = measure(found, given, truth)
    assert result["suggested"] == 0.5  # of the two wrong labels, one
    assert result["at_number"] == 0.5  # the first two are of ids 0 and 2
    assert result["auroc"] == 0.5  # id 3 was never seen: it comes last
    assert precision_at(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([True, False, True]), 1) == 1.0


@pytest.fixture(scope="module")
def problem(folder):
    return Fashion(folder).problem(FINDS, 8, 0)


def test_traces_are_products_of_gradients(problem):
    model = problem.network(0, "weights").double()
    pool = problem.pool[0][:9].double(), problem.pool[1][:9]
    trusted = problem.trusted[0].double(), problem.trusted[1]

    def gradient(batch):
        loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, model.parameters())])

    direction = gradient(trusted)
    expected = [gradient((pool[0][k : k + 1], pool[1][k : k + 1])) @ direction for k in range(9)]
    torch.testing.assert_close(products(model, pool, trusted), torch.stack(expected))


def test_losses_and_margins_are_means_over_the_steps(problem):
    observer = PlainTraining(problem, 5)
    labels = problem.pool[1]
    logits = torch.randn(2, 3, problem.classes, generator=torch.Generator().manual_seed(0)).double()
    chosen = torch.tensor([4, 5, 6])
    for part in logits:
        observer.after_step(chosen, part)
    found = observer.found(None)
    for place, k in enumerate(chosen.tolist()):
        losses, margins = [], []
        for part in logits:
            given = part[place, labels[k]]
            others = [v for c, v in enumerate(part[place]) if c != labels[k]]
            margins.append(given - max(others))
            losses.append(part[place].logsumexp(0) - given)
        assert float(found["mean loss"].quality[k]) == pytest.approx(-float(sum(losses)) / 2)
        assert float(found["AUM"].quality[k]) == pytest.approx(float(sum(margins)) / 2)


@pytest.mark.parametrize(
    ("row", "ways"),
    [
        ("mended-labels", {"label_quality"}),
        ("plain", {"mean loss", "AUM", "TracIn"}),
        ("trusted", {"trusted alone"}),
    ],
)
def test_each_row_finds_in_its_own_way(problem, row, ways):
    record = make(problem, Run(Cell("made-up", 8, row), 0.05, 0), FINDS, lambda: None)
    assert set(record.found) == ways
    for values in record.found.values():
        assert {"auroc", "precision", "at_number"} <= set(values)
        assert all(0 <= value <= 1 for value in values.values())
    assert max(values["auroc"] for values in record.found.values()) > 0.6


def test_folds_have_of_each_label_as_many():
    labels = torch.tensor([0] * 9 + [1] * 6 + [2] * 4)
    fold = folds(labels, 0)
    for label, least in ((0, 3), (1, 2), (2, 1)):
        assert fold[labels == label].bincount(minlength=3).min() >= least
    assert not torch.equal(fold, folds(labels, 1))


def test_cleanlab_judges_predictions_out_of_fold(folder):
    pytest.importorskip("cleanlab")
    run = Run(Cell("made-up", 8, "folds"), 0.05, 0)
    setting = replace(FINDS, noise="symmetric-20", epochs=60)
    record = make(Fashion(folder).problem(setting, 8, 0), run, setting, lambda: None)
    assert set(record.found) == {"cleanlab", "cleanlab, margin"}
    assert record.found["cleanlab"]["auroc"] > 0.6
    assert len(record.validation) == 60


def test_without_cleanlab_it_says_what_to_do(problem, monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    monkeypatch.setitem(sys.modules, "cleanlab.rank", None)
    run = Run(Cell("made-up", 8, "folds"), 0.05, 0)
    with pytest.raises(UserError, match="pip install cleanlab"):
        make(problem, run, FINDS, lambda: None)
