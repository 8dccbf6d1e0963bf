"""Leaving non-finite samples out of a step, and saying afterwards where they were."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from reweight._isolation.batches import fresh
from reweight._isolation.objective import Objective
from reweight._step.leave_out import LeaveOut, narrow
from reweight._step.nonfinite import nonfinite_samples
from reweight._step.states import States
from reweight._trusted.loss_term import known_gradient_term
from reweight.errors import NonFiniteError
from reweight.step import ReweightedStep

Attempt = Callable[[Any, Any, Tensor | None], ReweightedStep]


def without_nonfinite(
    attempt: Attempt,
    objective: Objective,
    names: list[str],
    noisy: Any,
    trusted: Any,
    *,
    stateful: Iterable[Any] = (),
    leave_out: LeaveOut | None = None,
) -> ReweightedStep:
    """Run ``attempt(noisy, trusted, kept)``, and again without the samples that are not finite.

    A weight of zero is not enough: 0 · NaN is NaN, in the loss and in every gradient that sums
    over the batch. So the samples are taken out of the batch, after buffers, random numbers and
    what scorers remember have been put back, and the step is as if they had never been in it.

    Args:
        attempt: Makes the step or raises :class:`NonFiniteError`. ``kept``, ``(C,)`` bool, marks
            the samples that are still in the noisy batch; ``None``: all.
        objective: The losses as a function of the parameters.
        names: The scorers' names.
        noisy: The noisy batch.
        trusted: The trusted batch.
        stateful: Scorers and the selector, which may remember something.
        leave_out: ``(batch, kept) -> batch`` with only the samples that ``kept``, ``(C,)`` bool on
            the CPU, marks; ``None``: :func:`~reweight._step.leave_out.narrow`.

    Returns:
        The step, its tensors in the shape of the whole batch: weight 0 and loss and scores NaN at
        the samples left out.

    Raises:
        NonFiniteError: If no trusted sample is left.
        FloatingPointError: If the model's own parameters are not finite.
        TypeError, ValueError: If how to leave a sample out would be a guess, or ``leave_out``
            leaves another number of them.
    """
    before, states = objective.start(restores=True), States(stateful)
    sides = {
        # A model may write into the noisy batch; what is left out is left out of it as it came.
        "noisy": _Side(fresh(noisy), noisy, leave_out or narrow),
        "trusted": _Side(trusted, trusted, leave_out or narrow),
    }
    while True:
        try:
            noisy_side = sides["noisy"]
            step = attempt(noisy_side.batch, sides["trusted"].batch, noisy_side.kept)
        except NonFiniteError as error:
            before.restore()
            states.restore()
            if any(not p.isfinite().all() for p in objective.trainable().values()):
                raise FloatingPointError(
                    "the model's parameters are not finite: there is no sample to blame. Go back "
                    "to an earlier checkpoint, with a lower learning rate or clipped gradients."
                ) from error
            side = sides[error.batch]
            kept = side.without(error.indices, error.count)
            if kept.any():
                side.leave_out()
            elif error.batch == "trusted":
                raise
            else:
                return _nothing_left(objective, names, kept.numel())
        except Exception as error:
            if any(side.kept is not None for side in sides.values()):
                error.add_note(
                    'on_nonfinite="drop" had left samples out of the batch. If a sample is more '
                    "than a row of each tensor (distances, an adjacency matrix), pass leave_out=, "
                    "a function (batch, kept) -> batch."
                )
            raise
        else:
            side = sides["noisy"]
            side.check(step.losses.shape[0])
            return step if side.kept is None else _spread(step, side.kept)


class _Side:
    """One of the two batches, and which of its samples are still in."""

    def __init__(self, whole: Any, batch: Any, leave_out: LeaveOut) -> None:
        self.batch = batch
        self.kept: Tensor | None = None
        self._whole = whole
        self._leave_out = leave_out

    def without(self, positions: list[int], count: int) -> Tensor:
        """Mark the samples at ``positions``, of ``count`` still in, as out; return who is in."""
        self.check(count)
        kept = torch.ones(count, dtype=torch.bool, device="cpu") if self.kept is None else self.kept
        bad = torch.zeros(count, dtype=torch.bool, device="cpu")
        bad[positions] = True
        if bad.all():
            # BatchNorm may have spread it: look for the source.
            source = nonfinite_samples(self._whole, kept.numel())[kept]
            bad = source if source.any() else bad
        kept = kept.clone()
        kept[kept.nonzero().flatten()[bad]] = False
        self.kept = kept
        return kept

    def leave_out(self) -> None:
        """Take those marked out of the batch."""
        assert self.kept is not None
        self.batch = self._leave_out(fresh(self._whole), self.kept.clone())

    def check(self, count: int) -> None:
        """Raise if the batch, once samples were left out, has not as many as are still in."""
        if self.kept is not None and count != int(self.kept.sum()):
            raise ValueError(
                f'on_nonfinite="drop": {int(self.kept.sum())} samples were to be left in the '
                f"batch, and the loss returned {count} values. Check what leave_out= returns."
            )


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
        label_scores=None if step.label_scores is None else spread(step.label_scores, float("nan")),
        counted=None if step.counted is None else spread(step.counted, False),
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
