"""One training of one network, by a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.evaluate import DivergedError, logits_of, predict
from benchmarks.seeding import balanced_batches, batches, generator
from benchmarks.sets.network import build_optimizer
from benchmarks.sets.problem import Labelled, Problem
from benchmarks.sets.setting import Setting
from benchmarks.trials.cells import Run
from benchmarks.trials.finding.observer import Observer
from benchmarks.trials.record import Record
from benchmarks.trials.rows import ROWS, Made, Row, loss_of, selected
from benchmarks.trials.weight_tally import WeightTally
from reweight import MetaReweighter, NonFiniteError


class Training:
    """A network, what it learns from and how.

    Initial weights and batches depend on the seed alone, so that all rows share them.

    Args:
        problem: The data.
        run: The row, learning rate and seed.
        setting: The task.
        observer: Looks on.
    """

    def __init__(
        self, problem: Problem, run: Run, setting: Setting, observer: Observer | None = None
    ) -> None:
        self.problem, self.setting = problem, setting
        self._observer = observer or Observer()
        self.row: Row = ROWS[run.cell.row]
        self.model = problem.network(run.seed, "weights")
        self.steps_per_epoch = max(1, len(problem.pool[1]) // setting.batch)
        steps = setting.epochs * self.steps_per_epoch
        self._optimizer, self._schedule = build_optimizer(
            self.model, problem.optimizer, run.rate, steps
        )
        self._loss = loss_of(self.row, problem)
        self._reweighter: MetaReweighter | None = None
        if self.row.build is not None:
            made = Made(self.model, problem, run.seed, self._loss, self._observer.options)
            self._reweighter = self.row.build(made)
        self._own = self.row.samples == "trusted"
        self._selected = selected(self.row, problem)
        count = len(problem.trusted[1]) if self._own else len(self._selected)
        self._order = _order(count, setting.batch, run.seed, "pool order")
        self._trusted = _trusted_order(problem, setting.batch, run.seed)
        self.best: dict[str, Tensor] = {}

    def fill(self, record: Record, check: Callable[[], None]) -> None:
        """Train, and note what came of it.

        Args:
            record: Where to.
            check: Called before each epoch; what it raises ends the run.

        Raises:
            DivergedError: If a number is not finite.
        """
        for epoch in range(self.setting.epochs):
            check()
            tally, rate = self._new_tally(), float(self._schedule.get_last_lr()[0])
            for _ in range(self.steps_per_epoch):
                record.empty_steps += not self._step(tally)
                self._schedule.step()
            self._keep_tally(record, tally)
            record.validation.append(self._worth(self.problem.validation))
            if epoch == 0 or record.validation[epoch] > record.validation[record.early_epoch]:
                record.early_epoch = epoch
                state = self.model.state_dict()
                self.best = {name: value.clone() for name, value in state.items()}
            self._observer.after_epoch(self.model, epoch, rate)

    def evaluate(self, record: Record) -> None:
        """Fill in what the network of the last epoch is worth, and that of the best.

        Raises:
            DivergedError: If an output is not finite.
        """
        problem = self.problem
        inputs, labels = problem.test
        predicted = predict(self.model, inputs)
        record.test = problem.metric(predicted, labels)
        if problem.rare_classes:
            rare = torch.isin(labels, torch.tensor(problem.rare_classes))
            record.rare_test = problem.metric(predicted[rare], labels[rare])
        on_pool = predict(self.model, problem.pool[0])
        record.pool_labels = problem.metric(on_pool, problem.pool[1])
        if problem.truth is not None:
            record.pool_truth = problem.metric(on_pool, problem.truth)
        self.model.load_state_dict(self.best)
        record.early_test = self._worth(problem.test)

    def _step(self, tally: WeightTally | None) -> bool:
        """Make one step, and return whether the optimiser had anything to go by."""
        self._optimizer.zero_grad()
        if self._reweighter is not None:
            return self._weighted_step(self._reweighter, tally)
        chosen = next(self._order)
        if not self._own:
            chosen = self._selected[chosen]
        inputs, labels = _at(self.problem.trusted if self._own else self.problem.pool, chosen)
        output = self.model(inputs)
        loss = self._loss(output, labels).mean()
        if not loss.isfinite():
            raise DivergedError("the loss is not finite")
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        if tally is not None:
            tally.add(chosen, torch.full((len(chosen),), 1 / len(chosen)))
            self._observer.after_step(chosen, output)
        return True

    def _weighted_step(self, reweighter: MetaReweighter, tally: WeightTally | None) -> bool:
        problem, chosen = self.problem, self._selected[next(self._order)]
        groups = problem.pool[1] if problem.groups is None else problem.groups
        by_item = self.row.by_item and problem.items is not None
        try:
            step = reweighter(
                _at(problem.pool, chosen),
                _at(problem.trusted, next(self._trusted)),
                ids=problem.items[chosen] if by_item and problem.items is not None else chosen,
                groups=groups[chosen],
            )
        except (NonFiniteError, FloatingPointError) as error:
            raise DivergedError(str(error)) from error
        step.loss.backward()  # type: ignore[no-untyped-call]
        if step.kept:
            self._optimizer.step()
        if tally is not None:
            tally.add(chosen, step.weights)
        return step.kept > 0

    def _new_tally(self) -> WeightTally | None:
        if self._own:
            return None
        marks = {}
        if self.problem.rare is not None:
            marks["rare"] = self.problem.rare
        elif self.problem.truth is not None:
            marks["clean"] = self.problem.pool[1] == self.problem.truth
        return WeightTally(marks, self.problem.groups)

    def _keep_tally(self, record: Record, tally: WeightTally | None) -> None:
        if tally is None:
            return
        record.kept = [*(record.kept or ()), tally.kept]
        record.effective = [*(record.effective or ()), tally.effective]
        if self.problem.rare is not None:
            record.weight_on_rare = [*(record.weight_on_rare or ()), tally.share("rare")]
        elif self.problem.truth is not None:
            record.weight_on_clean = [*(record.weight_on_clean or ()), tally.share("clean")]
        if self.problem.sources:
            record.weight_by_group = dict(zip(self.problem.sources, tally.by_group, strict=True))

    def _worth(self, samples: Labelled) -> float:
        return self.problem.metric(predict(self.model, samples[0]), samples[1])

    def best_logits(self, inputs: Tensor) -> Tensor:
        """Return the output of the network of the best epoch, which it then is."""
        self.model.load_state_dict(self.best)
        return logits_of(self.model, inputs)


def _order(count: int, size: int, seed: int, purpose: str) -> Iterator[Tensor]:
    return batches(count, size, generator(seed, f"{purpose} {count}"))


def _trusted_order(problem: Problem, size: int, seed: int) -> Iterator[Tensor]:
    labels = problem.trusted[1]
    if problem.balanced:
        return balanced_batches(labels, size, generator(seed, "balanced trusted order"))
    return _order(len(labels), size, seed, "trusted order")


def _at(samples: Labelled, indices: Tensor) -> Labelled:
    return samples[0][indices], samples[1][indices]
