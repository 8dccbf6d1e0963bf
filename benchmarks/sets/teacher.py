"""A teacher's labels: noise as a network makes it."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from benchmarks.errors import UserError
from benchmarks.evaluate import DivergedError, predict
from benchmarks.seeding import batches, generator
from benchmarks.sets.network import build_optimizer
from benchmarks.sets.problem import Problem

_RATE = 0.1


def with_teacher_labels(problem: Problem, steps: int, batch: int, seed: int) -> Problem:
    """Train a teacher on the trusted set alone and let it label the pool.

    Its initial weights and its batches are not those of any row, so that the row ``trusted`` is
    not the teacher itself.

    Args:
        problem: The images, truly labelled.
        steps: Of the teacher's training.
        batch: Images per step, of which there may be fewer.
        seed: What its weights and batches depend on.

    Raises:
        UserError: If the teacher diverges.
    """
    inputs, labels = problem.trusted
    model = problem.network(seed, "teacher weights")
    optimizer, schedule = build_optimizer(model, "sgd", _RATE, steps)
    order = batches(len(labels), batch, generator(seed, f"teacher order {len(labels)}"))
    for _ in range(steps):
        chosen = next(order)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs[chosen]), labels[chosen]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    try:
        given = predict(model, problem.pool[0])
        right = problem.metric(predict(model, problem.test[0]), problem.test[1])
    except DivergedError as error:
        raise UserError(
            f"the teacher of seed {seed} diverged on {len(labels)} trusted images at learning "
            f"rate {_RATE:g}; these data cannot be labelled by it. Leave its --tasks out."
        ) from error
    return replace(problem, pool=(problem.pool[0], given), teacher=right)
