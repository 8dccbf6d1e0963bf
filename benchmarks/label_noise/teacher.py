"""A teacher's labels: noise as a network makes it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from benchmarks.errors import UserError
from benchmarks.label_noise.evaluate import DivergedError, accuracy, predict
from benchmarks.label_noise.network import build_network, build_optimizer
from benchmarks.label_noise.problem import Problem
from benchmarks.label_noise.seeding import batches, generator
from benchmarks.label_noise.settings import Settings


@dataclass(frozen=True, eq=False)
class Taught:
    """A problem with the teacher's labels, and the teacher's accuracy on the test set."""

    problem: Problem
    accuracy: float


def with_teacher_labels(problem: Problem, settings: Settings, seed: int) -> Taught:
    """Train a teacher on the trusted set alone and let it label the pool.

    Its initial weights and its batches are not those of any method, so that the method
    ``trusted`` is not the teacher itself.

    Raises:
        UserError: If the teacher diverges.
    """
    inputs, labels = problem.trusted
    height, width = inputs.shape[2:]
    model = build_network(height, width, problem.classes, seed, "teacher weights")
    steps = settings.epochs * settings.steps_per_epoch
    optimizer, schedule = build_optimizer(model, settings.teacher_rate, settings.momentum, steps)
    order = batches(len(labels), settings.batch, generator(seed, f"teacher order {len(labels)}"))
    for _ in range(steps):
        batch = next(order)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    try:
        pool_labels = predict(model, problem.pool[0])
        right = accuracy(predict(model, problem.test[0]), problem.test[1])
    except DivergedError as error:
        raise UserError(
            f"the teacher of seed {seed} diverged on {len(labels)} trusted images at learning "
            f"rate {settings.teacher_rate:g}; give a lower --teacher-rate."
        ) from error
    return Taught(replace(problem, pool=(problem.pool[0], pool_labels)), right)
