"""One network, trained by gradient similarity and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from benchmarks.evaluate import predict
from benchmarks.seeding import batches, generator
from benchmarks.sets.fashion import make_problem
from benchmarks.sets.idx_folder import Images
from benchmarks.sets.problem import Problem, accuracy
from reweight import GradientSimilarity, MetaReweighter

_MOMENTUM = 0.9


@dataclass(frozen=True)
class Setting:
    """What a network is trained on, and how.

    Attributes:
        noise: Of the labels, as :mod:`benchmarks.label_noise` names it.
        trusted: How many trusted images; a batch of them is at most as large as a noisy one.
        optimizer: SGD with momentum, or Adam.
        rate: Learning rate, which falls to 0 along a cosine.
    """

    noise: str
    trusted: int
    optimizer: Literal["SGD", "Adam"]
    rate: float

    def __str__(self) -> str:
        return f"{self.noise}, {self.trusted} trusted, {self.optimizer} {self.rate:g}"


SETTINGS = (
    Setting("symmetric-40", 1000, "SGD", 0.02),
    Setting("symmetric-40", 100, "SGD", 0.02),
    Setting("symmetric-40", 100, "Adam", 0.001),
    Setting("asymmetric-40", 100, "SGD", 0.02),
)
"""With 1000 trusted images every step draws another 100; with 100 it sees all of them."""


@dataclass(frozen=True)
class Outcome:
    """Test accuracy of the last epoch, and the share of steps that passed a trusted batch."""

    accuracy: float
    renewed: float


def problem_of(data: Images, setting: Setting, pool: int, seed: int) -> Problem:
    """Return the images of one setting and seed.

    Raises:
        UserError: If the data are too few.
    """
    return make_problem(data, setting.noise, pool, data.classes, setting.trusted, seed)


def train(
    problem: Problem,
    setting: Setting,
    scorer: GradientSimilarity,
    *,
    batch: int,
    epochs: int,
    seed: int,
) -> Outcome:
    """Train and evaluate; initial weights and batches depend on the seed alone."""
    inputs, labels = problem.pool
    model = problem.network(seed, "weights")
    steps = epochs * max(1, len(labels) // batch)
    optimizer = _optimizer(model, setting)
    schedule = CosineAnnealingLR(optimizer, T_max=steps)
    reweighter = MetaReweighter(model, nn.CrossEntropyLoss(reduction="none"), scorer=scorer)
    noisy = batches(len(labels), batch, generator(seed, "pool order"))
    trusted = batches(setting.trusted, batch, generator(seed, "trusted order"))
    renewed = 0
    for _ in range(steps):
        chosen, judges = next(noisy), next(trusted)
        optimizer.zero_grad()
        step = reweighter(
            (inputs[chosen], labels[chosen]),
            (problem.trusted[0][judges], problem.trusted[1][judges]),
        )
        step.loss.backward()  # type: ignore[no-untyped-call]
        if step.kept:
            optimizer.step()
        schedule.step()
        renewed += step.trusted_loss is not None
    return Outcome(accuracy(predict(model, problem.test[0]), problem.test[1]), renewed / steps)


def _optimizer(model: nn.Module, setting: Setting) -> torch.optim.Optimizer:
    if setting.optimizer == "Adam":
        return torch.optim.Adam(model.parameters(), lr=setting.rate)
    return torch.optim.SGD(model.parameters(), lr=setting.rate, momentum=_MOMENTUM)
