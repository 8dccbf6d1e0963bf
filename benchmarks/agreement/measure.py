"""Rank correlations, step by step."""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy.stats import spearmanr
from torch import Tensor

from benchmarks.agreement.approximations import Held, State, approximations
from benchmarks.agreement.task import Batch, Task
from reweight import GradientSimilarity, KeepAll, MetaReweighter, ScoringContext
from reweight._isolation.objective import Objective
from reweight._step.batches import SupervisedForward
from reweight._step.losses import UnitLosses


def measure(
    task: Task, steps: int, every: int, progress: Callable[[int], None]
) -> dict[str, list[float]]:
    """Train under exact weights, and compare the scores on the way.

    Args:
        task: What to train.
        steps: Training steps.
        every: Compare in every so manieth step. What keeps a gradient follows all steps.
        progress: Called with the number of steps made.

    Returns:
        By approximation, Spearman's correlation with the exact scores within the batch, one for
        each comparison; NaN where scores are all equal.
    """
    reweighter = MetaReweighter(
        task.model, task.loss, scorer=GradientSimilarity(), selector=KeepAll()
    )
    objective = Objective(task.model, UnitLosses(SupervisedForward(task.loss), "sample"))
    asked = approximations()
    found: dict[str, list[float]] = {name: [] for name in asked}
    for number in range(steps):
        noisy, trusted, other = next(task.batches)

        def judged_by(batch: Batch, noisy: Batch = noisy) -> ScoringContext:
            return ScoringContext(objective, noisy, batch, granularity="sample", training=False)

        context = judged_by(trusted)
        with context.passes.precision.for_scores():
            state = State(task, context, judged_by, other, context.trusted_gradient())
            for approximation in asked.values():
                if isinstance(approximation, Held):
                    approximation.follow(state)
            if number % every == 0:
                exact = context.directional_derivative(state.gradient)
                for name, approximation in asked.items():
                    found[name].append(rank_correlation(exact, approximation(state)))
        task.optimizer.zero_grad()
        step = reweighter(noisy, trusted)
        step.loss.backward()  # type: ignore[no-untyped-call]
        if step.kept:
            task.optimizer.step()
        progress(number + 1)
    return found


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Return Spearman's, NaN where all values of one are the same."""
    if bool((a == a[0]).all()) or bool((b == b[0]).all()):
        return math.nan
    return float(spearmanr(a.cpu().numpy(), b.cpu().numpy()).statistic)
