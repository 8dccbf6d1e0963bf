"""A step of the optimiser in which no sample is kept moves nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from reweight.meta_reweighter import MetaReweighter
from reweight.selectors import KeepAll
from reweight.step import ReweightedStep
from reweight.weightings import EqualWeights
from reweight.weightings.weighting import LogitWeighting


class Kept:
    """Counts the samples that were kept, over the batches of one step of the optimiser."""

    def __init__(self) -> None:
        self._count: Tensor | None = None

    def add(self, step: ReweightedStep, reweighter: MetaReweighter) -> None:
        """Count those of a step, if it can be that there are none and nothing else is learnt."""
        some = reweighter.trusted_coefficient > 0 or reweighter.on_empty == "uniform"
        positive = isinstance(reweighter.weighting, (LogitWeighting, EqualWeights))
        if some or (positive and isinstance(reweighter.selector, KeepAll)):
            return
        kept = (step.weights > 0).sum() if step.kept_by_all is None else step.kept_by_all
        self._count = kept if self._count is None else self._count + kept

    def none(self) -> bool:
        """Whether there were none since this was last asked; waits for the device to tell."""
        count, self._count = self._count, None
        return count is not None and int(count) == 0


class SkipEmptySteps(TrainerCallback):
    """Take the gradients away before such a step, so that momentum and decay move nothing either.

    A gradient of zero is not enough for that: an optimiser leaves alone what has none at all.

    Args:
        empty: Says whether no sample was kept since it was last asked.
    """

    def __init__(self, empty: Callable[[], bool]) -> None:
        self._empty = empty

    def on_pre_optimizer_step(
        self,
        args: TrainingArguments,  # noqa: ARG002 - as the Trainer calls it
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        model: nn.Module | None = None,
        **others: Any,  # noqa: ARG002
    ) -> None:
        """Take them away if nothing was kept."""
        if self._empty() and model is not None:
            model.zero_grad(set_to_none=True)
