"""From a run to its record."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.evaluate import DivergedError
from benchmarks.sets.problem import Problem
from benchmarks.sets.setting import Setting
from benchmarks.trials.cells import Run
from benchmarks.trials.finding import (
    Found,
    Observer,
    PlainTraining,
    RecipeTraining,
    TrustedAlone,
    measure,
)
from benchmarks.trials.finding.out_of_fold import find_out_of_fold
from benchmarks.trials.record import Record
from benchmarks.trials.rows import RECIPE, ROWS
from benchmarks.trials.training import Training


def make(problem: Problem, run: Run, setting: Setting, check: Callable[[], None]) -> Record:
    """Train and evaluate; equal arguments give equal numbers, whatever ran before.

    Args:
        problem: The data.
        run: The row, learning rate and seed.
        setting: The task.
        check: Called before each epoch; what it raises ends the run.
    """
    start = time.perf_counter()
    record = Record(run, teacher=problem.teacher)
    if problem.truth is not None:
        record.clean_share = float((problem.pool[1] == problem.truth).double().mean())
    if problem.rare is not None:
        record.rare_share = float(problem.rare.double().mean())
    try:
        found = _train(problem, run, setting, record, check)
        if problem.truth is not None:
            given = problem.pool[1]
            record.found = {name: measure(f, given, problem.truth) for name, f in found.items()}
    except DivergedError:
        _at_chance(record, problem, setting.epochs)
    record.seconds = time.perf_counter() - start
    return record


def _train(
    problem: Problem, run: Run, setting: Setting, record: Record, check: Callable[[], None]
) -> dict[str, Found]:
    if ROWS[run.cell.row].samples == "folds":
        return find_out_of_fold(problem, run, setting, record, check)
    observer = _observer(problem, run, setting)
    training = Training(problem, run, setting, observer)
    training.fill(record, check)
    training.evaluate(record)
    return observer.found(training)


def _observer(problem: Problem, run: Run, setting: Setting) -> Observer:
    row = ROWS[run.cell.row]
    if not setting.finds:
        return Observer()
    if row.build is not None:
        of = "" if row.name == RECIPE else f" of {row.name}"
        return RecipeTraining(problem, f"label_quality{of}")
    return TrustedAlone() if row.samples == "trusted" else PlainTraining(problem, setting.epochs)


def _at_chance(record: Record, problem: Problem, epochs: int) -> None:
    chance = 1 / problem.classes
    record.diverged = True
    record.validation += [chance] * (epochs - len(record.validation))
    record.validation[-1] = chance
    record.test = record.early_test = chance
    record.early_epoch = epochs - 1
    record.rare_test = None if record.rare_share is None else chance
    record.pool_truth = record.pool_labels = None
    record.found = {}
