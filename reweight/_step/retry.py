"""Leaving non-finite samples out of a step, and saying afterwards where they were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from reweight._isolation.objective import Objective
from reweight._isolation.start import Snapshot
from reweight._step.leave_out import narrow, nonfinite_samples
from reweight._trusted.loss_term import known_gradient_term
from reweight.errors import NonFiniteError
from reweight.step import ReweightedStep

Attempt = Callable[[Any, Any], ReweightedStep]


def without_nonfinite(
    attempt: Attempt, objective: Objective, names: list[str], noisy: Any, trusted: Any
) -> ReweightedStep:
    """Run ``attempt(noisy, trusted)``, and again without the samples that are not finite.

    A weight of zero is not enough: 0 · NaN is NaN, in the loss and in every gradient that sums
    over the batch. So the samples are taken out of the batch, after buffers and random numbers
    have been put back, and the step is as if they had never been in it.

    Args:
        attempt: Makes the step or raises :class:`NonFiniteError`.
        objective: The losses as a function of the parameters.
        names: The scorers' names.
        noisy: The noisy batch.
        trusted: The trusted batch.

    Returns:
        The step, its tensors in the shape of the whole batch: weight 0 and loss and scores NaN at
        the samples left out.

    Raises:
        NonFiniteError: If no trusted sample is left.
        FloatingPointError: If the model's own parameters are not finite.
    """
    before = Snapshot(objective.module)
    kept: Tensor | None = None  # which samples of the original noisy batch are still in
    while True:
        try:
            step = attempt(noisy, trusted)
        except NonFiniteError as error:
            before.restore()
            if any(not p.isfinite().all() for p in objective.trainable().values()):
                raise FloatingPointError(
                    "the model's parameters are not finite: there is no sample to blame. Go back "
                    "to an earlier checkpoint, with a lower learning rate or clipped gradients."
                ) from error
            bad = torch.zeros(error.count, dtype=torch.bool, device="cpu")
            bad[error.indices] = True
            if error.batch == "trusted":
                bad = _culprits(trusted, bad)
                if bad.all():
                    raise
                trusted = narrow(trusted, ~bad)
                continue
            bad = _culprits(noisy, bad)
            if kept is None:
                kept = torch.ones(error.count, dtype=torch.bool, device="cpu")
            kept[kept.nonzero().flatten()[bad]] = False
            if bad.all():
                return _nothing_left(objective, names, kept.numel())
            noisy = narrow(noisy, ~bad)
        else:
            return step if kept is None else _spread(step, kept)


def _culprits(batch: Any, bad: Tensor) -> Tensor:
    """Where every sample is bad, BatchNorm may have spread it: look for the source."""
    if bad.all():
        source = nonfinite_samples(batch, bad.numel())
        if source.any():
            return source
    return bad


def _spread(step: ReweightedStep, kept: Tensor) -> ReweightedStep:
    where = kept.to(step.weights.device)

    def spread(values: Tensor, missing: float) -> Tensor:
        whole = values.new_full((kept.numel(), *values.shape[1:]), missing)
        whole[where] = values
        return whole

    return replace(
        step,
        weights=spread(step.weights, 0.0),
        losses=spread(step.losses, float("nan")),
        scores={name: spread(values, float("nan")) for name, values in step.scores.items()},
        dropped=tuple((~kept).nonzero().flatten().tolist()),
    )


def _nothing_left(objective: Objective, names: list[str], count: int) -> ReweightedStep:
    parameters = objective.trainable()
    first = next(iter(parameters.values()))
    nothing = torch.zeros(count, device=first.device)
    unknown = torch.full_like(nothing, float("nan"))
    return ReweightedStep(
        loss=known_gradient_term(nothing.sum(), parameters, {}),
        weights=nothing,
        losses=unknown,
        scores=dict.fromkeys(names, unknown),
        empty=True,
        dropped=tuple(range(count)),
    )
