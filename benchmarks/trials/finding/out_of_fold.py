"""Wrong labels as cleanlab lists them, from predictions for samples that were not trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.errors import UserError
from benchmarks.seeding import generator
from benchmarks.sets.problem import Problem
from benchmarks.sets.setting import Setting
from benchmarks.trials.cells import Cell, Run
from benchmarks.trials.finding.measures import Found
from benchmarks.trials.record import Record
from benchmarks.trials.training import Training

_FOLDS = 3
_WAYS = {"cleanlab": "self_confidence", "cleanlab, margin": "normalized_margin"}


def find_out_of_fold(
    problem: Problem, run: Run, setting: Setting, record: Record, check: Callable[[], None]
) -> dict[str, Found]:
    """Train on two thirds of the pool, thrice, and let cleanlab judge what the thirds are told.

    Each network is that of the epoch that was best on validation data.

    Args:
        problem: The data.
        run: At which rate and seed.
        setting: The task.
        record: Where the means over the three trainings are noted.
        check: Called before each epoch; what it raises ends the run.

    Raises:
        UserError: If cleanlab is not installed.
        DivergedError: If a number is not finite.
    """
    score = _cleanlab()
    labels = problem.pool[1]
    fold = folds(labels, run.seed)
    probabilities = torch.empty(len(labels), problem.classes)
    plain = Run(Cell(run.cell.task, run.cell.trusted, "plain"), run.rate, run.seed)
    parts = []
    for k in range(_FOLDS):
        training = Training(_without(problem, fold == k), plain, setting)
        parts.append(Record(run))
        training.fill(parts[-1], check)
        training.evaluate(parts[-1])
        logits = training.best_logits(problem.pool[0][fold == k])
        probabilities[fold == k] = logits.softmax(dim=1)
    curves = torch.tensor([part.validation for part in parts]).double().mean(dim=0)
    record.validation = curves.tolist()
    record.early_epoch = int(curves.argmax())
    record.test = sum(part.test for part in parts) / _FOLDS
    record.early_test = sum(part.early_test for part in parts) / _FOLDS
    suggested = probabilities.argmax(dim=1)
    return {
        name: Found(score(labels, probabilities, how), suggested) for name, how in _WAYS.items()
    }


def folds(labels: Tensor, seed: int) -> Tensor:
    """Return the fold of each sample, ``(n,)``, of each label as many in each as can be."""
    order = torch.randperm(len(labels), generator=generator(seed, "folds"))
    by_label = order[labels[order].argsort(stable=True)]
    fold = torch.empty_like(labels)
    fold[by_label] = torch.arange(len(labels)) % _FOLDS
    return fold


def _without(problem: Problem, out: Tensor) -> Problem:
    inputs, labels = problem.pool
    truth = None if problem.truth is None else problem.truth[~out]
    return replace(
        problem,
        pool=(inputs[~out], labels[~out]),
        truth=truth,
        groups=None if problem.groups is None else problem.groups[~out],
        items=None,
        rare=None if problem.rare is None else problem.rare[~out],
    )


def _cleanlab() -> Callable[[Tensor, Tensor, str], Tensor]:
    try:
        from cleanlab.rank import get_label_quality_scores
    except ImportError as error:
        raise UserError(
            'the row "folds" is cleanlab\'s: pip install cleanlab, or leave it out of --rows.'
        ) from error

    def score(labels: Tensor, probabilities: Tensor, how: str) -> Tensor:
        double = probabilities.double()
        double = double / double.sum(dim=1, keepdim=True)
        found = get_label_quality_scores(labels.numpy(), double.numpy(), method=how)
        return torch.from_numpy(found.copy())

    return score
