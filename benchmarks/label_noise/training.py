"""One run: train a network by a method, and record what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from benchmarks.label_noise.cells import Run
from benchmarks.label_noise.evaluate import DivergedError, accuracy, predict
from benchmarks.label_noise.methods import METHODS
from benchmarks.label_noise.network import build_network, build_optimizer
from benchmarks.label_noise.problem import Labelled, Problem
from benchmarks.label_noise.record import Record
from benchmarks.label_noise.seeding import batches, generator
from benchmarks.label_noise.settings import Settings
from benchmarks.label_noise.weight_tally import WeightTally
from reweight import MetaReweighter, NonFiniteError


def train(problem: Problem, run: Run, settings: Settings, check: Callable[[], None]) -> Record:
    """Train and evaluate; equal arguments give equal numbers, whatever ran before.

    Initial weights and batches depend on the seed alone, so that all methods share them.

    Args:
        problem: The data.
        run: The method, learning rate and seed.
        settings: The rest.
        check: Called before each epoch; what it raises ends the run.
    """
    start = time.perf_counter()
    record = Record(run)
    record.clean_share = float((problem.pool[1] == problem.truth).double().mean())
    if problem.rare is not None:
        record.rare_share = float(problem.rare.double().mean())
    try:
        _Training(problem, run, settings).fill(record, check)
    except DivergedError:
        _at_chance(record, problem.classes, settings.epochs)
    record.seconds = time.perf_counter() - start
    return record


class _Training:
    def __init__(self, problem: Problem, run: Run, settings: Settings) -> None:
        self.problem, self.settings = problem, settings
        self.method = METHODS[run.cell.method]
        height, width = problem.pool[0].shape[2:]
        self.model = build_network(height, width, problem.classes, run.seed, "weights")
        steps = settings.epochs * settings.steps_per_epoch
        self.optimizer, self.schedule = build_optimizer(
            self.model, run.rate, settings.momentum, steps
        )
        build = self.method.build
        self.reweighter = build(self.model, run.seed) if build is not None else None
        self.noisy = _order(problem.pool, settings.batch, run.seed, "pool order")
        self.trusted = _order(problem.trusted, settings.batch, run.seed, "trusted order")

    def fill(self, record: Record, check: Callable[[], None]) -> None:
        best: dict[str, Tensor] = {}
        for epoch in range(self.settings.epochs):
            check()
            tally = WeightTally() if self.method.trains_on == "pool" else None
            for _ in range(self.settings.steps_per_epoch):
                record.empty_steps += not self._step(tally)
                self.schedule.step()
            self._keep_tally(record, tally)
            record.validation.append(self._accuracy(self.problem.validation))
            if epoch == 0 or record.validation[epoch] > record.validation[record.early_epoch]:
                record.early_epoch = epoch
                best = {name: value.clone() for name, value in self.model.state_dict().items()}
        self._evaluate(record)
        self.model.load_state_dict(best)
        record.early_test = self._accuracy(self.problem.test)

    def _step(self, tally: WeightTally | None) -> bool:
        """Make one step, and return whether the optimiser had anything to go by."""
        self.optimizer.zero_grad()
        if self.reweighter is not None:
            return self._weighted_step(self.reweighter, tally)
        samples = self.problem.trusted if self.method.trains_on == "trusted" else self.problem.pool
        order = self.trusted if self.method.trains_on == "trusted" else self.noisy
        indices = next(order)
        inputs, labels = _at(samples, indices)
        loss = nn.functional.cross_entropy(self.model(inputs), labels)
        if not loss.isfinite():
            raise DivergedError("the loss is not finite")
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self._tally(tally, indices, torch.full((len(indices),), 1 / len(indices)))
        return True

    def _weighted_step(self, reweighter: MetaReweighter, tally: WeightTally | None) -> bool:
        indices = next(self.noisy)
        trusted = None
        if self.method.needs_trusted:
            trusted = _at(self.problem.trusted, next(self.trusted))
        try:
            step = reweighter(_at(self.problem.pool, indices), trusted)
        except (NonFiniteError, FloatingPointError) as error:
            raise DivergedError(str(error)) from error
        step.loss.backward()  # type: ignore[no-untyped-call]
        if step.kept:
            self.optimizer.step()
        self._tally(tally, indices, step.weights)
        return step.kept > 0

    def _tally(self, tally: WeightTally | None, indices: Tensor, weights: Tensor) -> None:
        if tally is not None:
            clean = self.problem.pool[1][indices] == self.problem.truth[indices]
            rare = None if self.problem.rare is None else self.problem.rare[indices]
            tally.add(weights, clean, rare)

    def _keep_tally(self, record: Record, tally: WeightTally | None) -> None:
        if tally is None:
            return
        record.kept = [*(record.kept or ()), tally.kept]
        record.effective = [*(record.effective or ()), tally.effective]
        if self.problem.rare is None:
            record.weight_on_clean = [*(record.weight_on_clean or ()), tally.share("clean")]
        else:
            record.weight_on_rare = [*(record.weight_on_rare or ()), tally.share("rare")]

    def _evaluate(self, record: Record) -> None:
        """Fill in what the network of the last epoch is worth."""
        inputs, labels = self.problem.test
        predicted = predict(self.model, inputs)
        record.test = accuracy(predicted, labels)
        if self.problem.rare_classes:
            rare = torch.isin(labels, torch.tensor(self.problem.rare_classes))
            record.rare_test = accuracy(predicted[rare], labels[rare])
        on_pool = predict(self.model, self.problem.pool[0])
        record.pool_truth = accuracy(on_pool, self.problem.truth)
        record.pool_labels = accuracy(on_pool, self.problem.pool[1])

    def _accuracy(self, samples: Labelled) -> float:
        return accuracy(predict(self.model, samples[0]), samples[1])


def _order(samples: Labelled, size: int, seed: int, purpose: str) -> Iterator[Tensor]:
    count = len(samples[1])
    return batches(count, size, generator(seed, f"{purpose} {count}"))


def _at(samples: Labelled, indices: Tensor) -> Labelled:
    return samples[0][indices], samples[1][indices]


def _at_chance(record: Record, classes: int, epochs: int) -> None:
    chance = 1 / classes
    record.diverged = True
    record.validation += [chance] * (epochs - len(record.validation))
    record.test = record.early_test = chance
    record.early_epoch = epochs - 1
    record.rare_test = None if record.rare_share is None else chance
    record.pool_truth = record.pool_labels = None
